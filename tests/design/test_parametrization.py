"""Curves over the pulses, and sequences made of them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from design import Curve, Parametrization, constant, free, published_spline, spline
from epgbloch import RFPulse, Sequence, trains

EXACT = 1e-12
"""Relative: the same linear algebra in another order; measured below 1e-14."""
BASE = Sequence(np.full(30, 0.5), tr=12e-3, te=4e-3, inversion_time=10e-3)
CURVES = {
    "published spline": published_spline(30, 1.5, n_points=4),
    "spline": spline(30, 5, 0.2, 1.5),
    "line": spline(30, 2, 0.2, 1.5),
    "constant": constant(30, 0.2, 1.5),
    "free": free(30, 0.2, 1.5),
    "steps": free(30, 0.2, 1.5, maximum_change=0.1),
}
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES.keys())


def within(curve, rng, fraction=1.0):
    """Parameters in the middle of the bounds."""
    return 0.5 * (curve.lower + curve.upper) + 0.5 * fraction * rng.uniform(-1, 1, curve.n_parameters) * (
        curve.upper - curve.lower
    )


def all_fields():
    return Parametrization(
        BASE,
        {
            "te": constant(30, 2e-3, 5e-3),
            "flip_angle": spline(30, 6, 0.1, 1.5),
            "phase": free(30, -3.0, 3.0),
            "inversion_time": constant(1, 5e-3, 0.5),
            "tr": spline(30, 3, 8e-3, 20e-3),
        },
    )


@pytest.mark.parametrize("n_knots", [2, 3, 4, 7, 30])
def test_splines_pass_through_their_knots(n_knots):
    curve = spline(30, n_knots, -10.0, 10.0)
    points = np.random.default_rng(n_knots).uniform(-1, 1, n_knots)
    knots = np.linspace(0, 29, n_knots)
    values = curve.values(points)
    whole = knots == np.round(knots)
    np.testing.assert_allclose(values[knots[whole].astype(int)], points[whole], rtol=EXACT, atol=EXACT)
    if n_knots >= 4:  # any cubic is its own spline without boundary conditions
        cubic = np.polynomial.Polynomial([0.3, -0.02, 3e-3, 1e-4])
        np.testing.assert_allclose(curve.values(cubic(knots)), cubic(np.arange(30)), rtol=1e3 * EXACT)


def test_one_knot_is_a_constant_and_two_are_a_line():
    np.testing.assert_array_equal(constant(5, 0.0, 2.0).values(np.array([0.7])), np.full(5, 0.7))
    line = spline(5, 2, 0.0, 2.0).values(np.array([0.4, 1.2]))
    np.testing.assert_allclose(line, [0.4, 0.6, 0.8, 1.0, 1.2], rtol=EXACT)


def test_the_published_spline_is_that_of_the_train_families():
    angles = np.random.default_rng(1).uniform(0, 1.5, 11)
    curve = published_spline(336, 1.5)
    assert curve.n_parameters == 11
    np.testing.assert_allclose(curve.values(angles), np.clip(trains.spline(336, angles), 0, 1.5), atol=EXACT)


def test_steps_add_up():
    curve = free(4, 0.0, 2.0, maximum_change=0.5)
    np.testing.assert_allclose(
        curve.values(np.array([1.0, 0.5, -0.2, 0.1])), [1.0, 1.5, 1.3, 1.4], rtol=EXACT
    )
    np.testing.assert_array_equal(curve.lower, [0.0, -0.5, -0.5, -0.5])
    np.testing.assert_array_equal(curve.upper, [2.0, 0.5, 0.5, 0.5])


@every_curve
def test_values_are_cut_at_the_bounds(curve):
    rng = np.random.default_rng(2)
    parameters = curve.lower + rng.integers(0, 2, (50, curve.n_parameters)) * (curve.upper - curve.lower)
    raw, values = curve.raw(parameters), curve.values(parameters)
    assert values.shape == (50, 30)
    assert values.min() >= curve.minimum
    assert values.max() <= curve.maximum
    inside = (raw > curve.minimum) & (raw < curve.maximum)
    np.testing.assert_array_equal(values[inside], raw[inside])


@given(seed=st.integers(0, 10**6), change=st.floats(0.01, 3.0))
def test_no_step_exceeds_the_largest_change(seed, change):
    curve = free(12, 0.0, 1.5, maximum_change=change)
    u = np.random.default_rng(seed).uniform(size=12)
    values = curve.values(curve.lower + u * (curve.upper - curve.lower))
    assert np.abs(np.diff(values)).max() <= change * (1 + EXACT)


@every_curve
def test_pull_back_is_the_derivative_where_values_are_cut_too(curve):
    rng = np.random.default_rng(3)
    weights = rng.normal(size=30)
    # knots at the upper bound in the first half: splines overshoot and are cut
    parameters = within(curve, rng, 0.9)
    parameters[: curve.n_parameters // 2] = curve.upper[: curve.n_parameters // 2] - 1e-4
    step = 1e-6
    differences = [
        (curve.values(parameters + d) - curve.values(parameters - d)) @ weights / (2 * step)
        for d in step * np.eye(curve.n_parameters)
    ]
    # piecewise linear: differences have rounding only, 1e-16 / 1e-6
    np.testing.assert_allclose(curve.pull_back(parameters, weights), differences, rtol=1e-8, atol=1e-8)


def test_some_of_those_curves_are_cut():
    curve = CURVES["published spline"]
    raw = curve.raw(np.full(4, 1.5 - 1e-4))
    assert np.any(raw > 1.5)
    assert np.any(raw < 1.5)


def test_coarser_curves_have_a_third_of_the_parameters_down_to_twenty():
    counts = []
    curve = free(336, 0.0, 1.5)
    while True:
        counts.append(curve.n_parameters)
        coarser = curve.coarser()
        if coarser is curve:
            break
        assert (coarser.minimum, coarser.maximum) == (0.0, 1.5)
        assert coarser.basis.shape[0] == 336
        curve = coarser
    assert counts == [336, 112, 38, 13]


def test_coarser_parametrizations_make_each_curve_coarser():
    wide = Parametrization(BASE, {"flip_angle": free(30, 0.0, 1.5), "tr": constant(30, 8e-3, 20e-3)})
    coarser = wide.coarser()
    assert [c.n_parameters for c in coarser.curves.values()] == [10, 1]
    assert coarser.n_parameters == 11
    assert coarser.sequence is BASE


def test_a_coarser_train_keeps_to_the_largest_step():
    fine = free(60, 0.0, 1.5, maximum_change=0.05)
    coarse = fine.coarser()
    assert coarse.n_parameters < 60
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = coarse.values(within(coarse, rng))
        assert np.abs(np.diff(values)).max() <= 0.05 * (1 + EXACT)
        assert np.ptp(values) > 0


def test_sequences_take_the_values_of_the_curves_and_keep_the_rest():
    parametrization = all_fields()
    u = np.random.default_rng(4).uniform(size=parametrization.n_parameters)
    sequence = parametrization.sequence_of(u)
    for name, curve, own in parametrization.parts(u):
        np.testing.assert_array_equal(getattr(sequence, name), np.squeeze(curve.values(own)))
    assert isinstance(sequence.inversion_time, float)
    assert sequence.spoiling == BASE.spoiling
    only_phase = Parametrization(BASE, {"phase": spline(30, 3, -1.0, 1.0)})
    assert not only_phase.flip_angle_only
    kept = only_phase.sequence_of(np.array([0.1, 0.5, 1.0]))
    np.testing.assert_array_equal(kept.flip_angle, BASE.flip_angle)
    np.testing.assert_allclose(kept.phase[[0, -1]], [-0.8, 1.0], rtol=EXACT)


def test_zero_and_one_are_the_bounds():
    parametrization = Parametrization(BASE, {"flip_angle": constant(30, 0.2, 1.4)})
    assert parametrization.flip_angle_only
    np.testing.assert_allclose(parametrization.sequence_of([0.0]).flip_angle, 0.2, rtol=EXACT)
    np.testing.assert_allclose(parametrization.sequence_of([1.0]).flip_angle, 1.4, rtol=EXACT)


def test_values_of_a_population_are_those_of_its_rows():
    parametrization = all_fields()
    population = np.random.default_rng(5).uniform(size=(3, parametrization.n_parameters))
    together = parametrization.values(population)
    for i, u in enumerate(population):
        for name, values in parametrization.values(u).items():
            # sums of a product of matrices may be in another order
            np.testing.assert_allclose(together[name][i], values, rtol=EXACT)


def test_derivatives_go_back_to_the_parameters_in_units_of_their_bounds():
    parametrization = all_fields()
    rng = np.random.default_rng(6)
    u = rng.uniform(0.3, 0.7, parametrization.n_parameters)
    weights = {name: rng.normal(size=np.shape(v)[-1]) for name, v in parametrization.values(u).items()}
    step = 1e-6

    def scalar(u):
        return sum(values @ weights[name] for name, values in parametrization.values(u).items())

    differences = [
        (scalar(u + d) - scalar(u - d)) / (2 * step) for d in step * np.eye(parametrization.n_parameters)
    ]
    # linear: rounding over the step
    np.testing.assert_allclose(parametrization.pull_back(u, weights), differences, rtol=1e-7, atol=1e-8)


@every_curve
def test_parameters_are_recovered_from_their_sequence(curve):
    parametrization = Parametrization(BASE, {"flip_angle": curve, "inversion_time": constant(1, 0.0, 1.0)})
    n = parametrization.n_parameters
    rng = np.random.default_rng(7)
    # where nothing is cut; at the bounds of single parameters too
    u = 0.5 + rng.uniform(-0.1, 0.1, n)
    u[-1] = 1.0
    sequence = parametrization.sequence_of(u)
    # condition of the basis (steps of 30 pulses: 40) times rounding
    np.testing.assert_allclose(parametrization.parameters_of(sequence), u, atol=1e-12)


@settings(deadline=None)  # the first fit loads scipy
@given(seed=st.integers(0, 10**6), name=st.sampled_from(["free", "spline", "steps"]))
def test_parameters_of_any_train_lie_within_the_bounds_and_close(seed, name):
    """The fit is no worse than random parameters, and than moving the free fit into the bounds."""
    parametrization = Parametrization(BASE, {"flip_angle": CURVES[name]})
    rng = np.random.default_rng(seed)
    target = replace(BASE, flip_angle=np.abs(rng.normal(0.7, 0.7, 30)))

    def distance(u):
        (values,) = (curve.raw(own) for _, curve, own in parametrization.parts(u))
        return np.linalg.norm(values - target.flip_angle)

    u = parametrization.parameters_of(target)
    assert np.all((u >= 0) & (u <= 1))
    # the bounded fit ends at a relative change of 1e-10 of its squared residual
    for _ in range(5):
        assert distance(u) <= distance(rng.uniform(size=u.size)) * (1 + 1e-6)
    curve = CURVES[name]
    own = np.linalg.lstsq(curve.basis, target.flip_angle, rcond=None)[0]
    moved = np.clip((own - curve.lower) / (curve.upper - curve.lower), 0, 1)
    assert distance(u) <= distance(moved) * (1 + 1e-6)


def test_a_jump_does_not_shift_what_follows_it():
    # steps of at most 0.1 cannot follow a jump by 1; they get there as soon as they can
    parametrization = Parametrization(BASE, {"flip_angle": CURVES["steps"]})
    target = np.where(np.arange(30) < 10, 0.3, 1.3)
    close = parametrization.sequence_of(parametrization.parameters_of(replace(BASE, flip_angle=target)))
    np.testing.assert_allclose(close.flip_angle[[0, -1]], [0.3, 1.3], atol=0.02)  # fit, not interpolation
    assert np.abs(np.diff(close.flip_angle)).max() <= 0.1 * (1 + EXACT)


def test_errors_of_curves():
    for make, message in (
        (lambda: spline(5, 6, 0.0, 1.0), "n_knots=6 exceeds n_pulses=5; use fewer knots"),
        (lambda: spline(5, 0, 0.0, 1.0), "n_knots=0 must be an integer of at least 1"),
        (lambda: constant(0, 0.0, 1.0), "n_pulses=0 must be an integer"),
        (lambda: free(5, 1.0, 1.0), "minimum=1 must be below maximum=1; leave out what does not vary"),
        (lambda: free(5, np.nan, 1.0), "minimum=nan is not finite"),
        (lambda: free(5, 0.0, 1.0, 0.0), "maximum_change=0 must be positive; use spline"),
        (lambda: published_spline(5, 1.0), "n_pulses=5 is less than the 11 control points"),
        (lambda: published_spline(50, -1.0), "minimum=0 must be below maximum=-1"),
        (lambda: published_spline(50, 1.0, 0), "n_points=0 must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_errors_of_parametrizations():
    pulse = RFPulse.gaussian(4e-3, 5e-3)
    selective = replace(BASE, pulse=pulse)
    without = Sequence(0.5, 12e-3, 4e-3)
    for sequence, curves, message in (
        (BASE, {}, "curves is empty; give at least one of flip_angle, phase, tr, te, inversion_time"),
        (BASE, {"b1": constant(30, 0.5, 1.0)}, "curves: 'b1' must be one of flip_angle"),
        (BASE, {"tr": constant(29, 8e-3, 20e-3)}, "curves: tr has 29 values; it must have 30"),
        (BASE, {"inversion_time": constant(30, 0.1, 1.0)}, "inversion_time has 30 values; it must have 1"),
        (without, {"inversion_time": constant(1, 0.1, 1.0)}, "the sequence has no inversion; give it one"),
        (BASE, {"flip_angle": constant(30, -0.1, 1.0)}, r"flip_angle\[0\]=-0.1 must be at least 0"),
        (BASE, {"flip_angle": constant(30, 0.1, 90.0)}, "at most 2 pi rad; is it in degrees"),
        (BASE, {"tr": constant(30, 3e-3, 20e-3)}, "te=0.004 s must be shorter than tr=0.003 s"),
        (BASE, {"te": constant(30, 1e-3, 20e-3)}, "te=0.02 s must be shorter than tr=0.012 s"),
        (
            BASE,
            {"te": constant(30, 1e-3, 9e-3), "tr": constant(30, 8e-3, 20e-3)},
            "te=0.009 s must be shorter than tr=0.008 s",
        ),
        (selective, {"te": constant(30, 1e-3, 5e-3)}, "te=0.001 s ends within the RF pulse"),
        (selective, {"inversion_time": constant(1, 1e-3, 1.0)}, "inversion_time=0.001 s lies within"),
    ):
        with pytest.raises(ValueError, match=message):
            Parametrization(sequence, curves)


def test_one_pulse_can_be_designed():
    single = Parametrization(Sequence(0.5, 10e-3, 4e-3), {"flip_angle": free(1, 0.0, 1.0, 0.1)})
    assert isinstance(single.curves["flip_angle"], Curve)
    np.testing.assert_allclose(single.sequence_of([0.25]).flip_angle, [0.25], rtol=EXACT)
