"""Limits of designs, against brute-force integrals and finite differences."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint

from design import (
    Criterion,
    LimitError,
    Limits,
    Objective,
    Parametrization,
    constant,
    free,
    optimise_by_evolution,
    optimise_by_gradient,
    published_spline,
    spline,
)
from design.constraints import b1_energy
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.constants import GAMMA_BAR

TISSUE = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
PULSE = RFPulse.gaussian(1e-3, 5e-3, n_steps=10)
N_PULSES = 30
EXACT = 1e-12
ROUNDING = 1e-5
"""Relative excess that limits allow, as their docstring says."""


def train(**changes):
    fields = {
        "flip_angle": np.linspace(0.2, 1.0, N_PULSES),
        "tr": 8e-3,
        "te": 3e-3,
        "inversion_time": 0.01,
        "pulse": PULSE,
    }
    return Sequence(**(fields | changes))


def b1_waveform(sequence, step):
    """|B1+|^2 over time [T^2] in slots of `step` [s], which divides all times, from the first pulse on."""
    before = round(sequence.pulse.center / step)
    total = round(sequence.tr.sum() / step) + round(sequence.pulse.duration / step)
    power = np.zeros(total)
    rotation = np.abs(sequence.pulse.step_rotation)
    n_slots = round(sequence.pulse.duration / step)
    amplitude = rotation / (2 * np.pi * GAMMA_BAR * step)  # T / rad: turn of one slot
    assert n_slots == rotation.size
    starts = np.concatenate(([0.0], np.cumsum(sequence.tr)[:-1]))
    for start, angle in zip(starts, sequence.flip_angle, strict=True):
        first = round(start / step)  # the first pulse begins half a pulse early
        power[first : first + n_slots] += (angle * amplitude) ** 2
    assert before * 2 == n_slots
    return power


def brute_force_rms(sequence, window, step):
    """Largest root mean square in a window at any place; nothing is played before and after the train."""
    power = b1_waveform(sequence, step)
    n = round(window / step)
    silence = np.zeros(n)
    energy = np.cumsum(np.concatenate((silence, power, silence)))
    return np.sqrt((energy[n:] - energy[:-n]).max() / n)


def objective(limits_of, **changes):
    """Objective of a small problem; `limits_of` names the curves that vary."""
    curves = {
        "flip_angle": spline(N_PULSES, 5, 0.0, 1.5),
        "free": free(N_PULSES, 0.0, 1.5),
        "tr": constant(N_PULSES, 6e-3, 20e-3),
        "trs": free(N_PULSES, 6e-3, 12e-3),
        "inversion_time": constant(1, 5e-3, 0.5),
    }
    names = {"free": "flip_angle", "trs": "tr"}
    chosen = {names.get(key, key): curves[key] for key in limits_of}
    return Objective(EPGBloch(n_subslices=2), Criterion(TISSUE), Parametrization(train(**changes), chosen))


def test_the_energy_of_a_rectangular_pulse_is_the_closed_form():
    # 1 rad in 1 ms: B1 = 1 / (2 pi gamma_bar 1 ms)
    expected = (1 / (2 * np.pi * GAMMA_BAR * 1e-3)) ** 2 * 1e-3
    assert b1_energy(RFPulse.rectangular(1e-3)) == pytest.approx(expected, rel=EXACT)


def test_b1_rms_of_the_whole_train_is_the_closed_form():
    sequence = train(flip_angle=np.full(N_PULSES, 0.8), pulse=RFPulse.rectangular(1e-3))
    amplitude = 0.8 / (2 * np.pi * GAMMA_BAR * 1e-3)
    rms = Limits(maximum_b1_rms=1e-6).b1_rms(sequence)
    np.testing.assert_allclose(rms, [amplitude * np.sqrt(1 / 8)], rtol=EXACT)  # 1 ms in 8 ms


def test_a_window_beyond_the_train_is_the_train():
    whole = Limits(maximum_b1_rms=1e-6).b1_rms(train())
    for window in (N_PULSES * 8e-3, 10.0):
        rms = Limits(maximum_b1_rms=1e-6, b1_window=window).b1_rms(train())
        np.testing.assert_allclose(rms.max(), whole, rtol=EXACT)


@settings(deadline=None)
@given(
    tr=st.lists(st.integers(30, 120), min_size=2, max_size=12),
    window=st.integers(20, 500),
    seed=st.integers(0, 10**6),
)
@example(tr=[100, 100, 40, 40], window=90, seed=0)  # the hottest window ends with the train, between pulses
@example(tr=[50] * 8, window=100, seed=1)  # windows that end as a pulse begins
def test_no_window_has_more_than_the_sliding_integral_and_one_nearly_as_much(tr, window, seed):
    """Times in slots of 0.1 ms, which the RF steps fill."""
    step = 1e-4
    sequence = train(
        flip_angle=np.random.default_rng(seed).uniform(0, 1.5, len(tr)),
        tr=np.array(tr) * step,
        te=1e-3,
    )
    width = min(window * step, sequence.tr.sum())
    limits = Limits(maximum_b1_rms=1e-6, b1_window=window * step)
    largest = limits.b1_rms(sequence).max()
    if window * step <= sequence.tr.sum():
        # pulses at their centres count in whole: never less than the integral over the waveform
        assert largest >= brute_force_rms(sequence, width, step) * (1 - 1e-9)
    # and never more than that in a window longer by one pulse, which takes the same pulses in whole
    longer = brute_force_rms(sequence, width + PULSE.duration, step)
    assert largest <= longer * np.sqrt((width + PULSE.duration) / width) * (1 + 1e-9)


def test_b1_rms_over_a_constant_train_is_that_of_the_waveform():
    # windows of whole TRs hold whole pulses wherever they begin: equality
    sequence = train(flip_angle=np.full(N_PULSES, 0.7))
    limits = Limits(maximum_b1_rms=1e-6, b1_window=5 * 8e-3)
    expected = brute_force_rms(sequence, 5 * 8e-3, 1e-4)
    np.testing.assert_allclose(limits.b1_rms(sequence).max(), expected, rtol=1e-9)  # cumulative sums


@pytest.mark.parametrize(
    ("limits", "names"),
    [
        (Limits(maximum_duration=0.3), ["tr"]),
        (Limits(maximum_duration=0.3), ["inversion_time"]),
        (Limits(maximum_duration=0.3), ["flip_angle", "inversion_time", "trs"]),
        (Limits(maximum_b1_rms=1.5e-6), ["flip_angle"]),
        (Limits(maximum_b1_rms=1.5e-6), ["trs", "free", "inversion_time"]),
        (Limits(maximum_b1_rms=1.5e-6, b1_window=0.05), ["flip_angle", "inversion_time"]),
        (Limits(maximum_b1_rms=1.5e-6, b1_window=0.05), ["flip_angle", "trs"]),
        (Limits(maximum_b1_rms=1.5e-6, b1_window=9.0), ["tr", "flip_angle"]),
        (Limits(maximum_change=0.05), ["tr", "free", "inversion_time"]),
    ],
)
def test_constraints_hold_the_limits_and_their_derivatives(limits, names):
    parametrization = objective(names).parametrization
    (constraint,) = limits.constraints(parametrization)
    u = np.random.default_rng(0).uniform(0.2, 0.8, parametrization.n_parameters)
    if isinstance(constraint, LinearConstraint):
        sequence = parametrization.sequence_of(u)
        excess = constraint.A @ u - 0.5 * (constraint.lb + constraint.ub)
        np.testing.assert_allclose(0.05 * excess, np.diff(sequence.flip_angle), atol=EXACT)
        np.testing.assert_allclose(0.05 * (constraint.ub - constraint.lb), 0.1, rtol=EXACT)
        return
    step = 1e-6
    differences = np.transpose(
        [(constraint.fun(u + d) - constraint.fun(u - d)) / (2 * step) for d in step * np.eye(u.size)]
    )
    # rounding over the step; the ratios are quadratic or rational in u
    np.testing.assert_allclose(constraint.jac(u), differences, rtol=1e-7, atol=1e-8)
    assert np.abs(differences).max() > 0.01
    # a population, as differential evolution asks for it
    population = np.random.default_rng(1).uniform(size=(u.size, 4))
    values = constraint.fun(population)
    for i in range(4):
        np.testing.assert_allclose(values[:, i], constraint.fun(population[:, i]), rtol=EXACT)
        sequence = parametrization.sequence_of(population[:, i])
        if limits.maximum_duration is not None:
            largest = sequence.duration / limits.maximum_duration
        else:
            largest = (limits.b1_rms(sequence).max() / limits.maximum_b1_rms) ** 2
        np.testing.assert_allclose(values[:, i].max(), largest, rtol=EXACT)


def test_limits_that_the_bounds_imply_are_left_out():
    steps = Parametrization(train(), {"flip_angle": free(N_PULSES, 0.0, 1.5, maximum_change=0.05)})
    assert Limits(maximum_change=0.05).constraints(steps) == []
    assert len(Limits(maximum_change=0.04).constraints(steps)) == 1
    assert Limits(maximum_change=0.1, maximum_duration=1.0).constraints(objective(["free"]).parametrization)
    # the duration cannot change with flip angles
    assert Limits(maximum_duration=1.0).constraints(steps) == []
    single = Parametrization(Sequence(0.5, 10e-3, 4e-3), {"flip_angle": constant(1, 0.1, 1.0)})
    assert Limits(maximum_change=0.01).constraints(single) == []
    Limits(maximum_change=0.01).check(single.sequence)


DESIGNS = {
    "change": (Limits(maximum_change=0.04), ["flip_angle"]),
    "change of free angles": (Limits(maximum_change=0.04), ["free"]),
    "duration": (Limits(maximum_duration=0.35), ["tr", "flip_angle", "inversion_time"]),
    "B1+rms": (Limits(maximum_b1_rms=1.2e-6), ["flip_angle"]),
    "B1+rms in a window": (Limits(maximum_b1_rms=1.2e-6, b1_window=0.06), ["flip_angle"]),
    "all": (
        Limits(maximum_change=0.1, maximum_duration=0.4, maximum_b1_rms=1.2e-6, b1_window=0.06),
        ["flip_angle", "inversion_time"],
    ),
}


def excess(limits, sequence):
    """Largest quotient of a quantity and its limit, by other means than `Limits`."""
    quotients = []
    if limits.maximum_change is not None:
        quotients.append(np.abs(np.diff(sequence.flip_angle)).max() / limits.maximum_change)
    if limits.maximum_duration is not None:
        start = 0.0 if sequence.inversion_time is None else sequence.inversion_time
        quotients.append((sequence.tr.sum() + start) / limits.maximum_duration)
    if limits.maximum_b1_rms is not None:
        if limits.b1_window is None:
            energy = b1_waveform(sequence, 1e-4).sum() * 1e-4
            rms = np.sqrt(energy / sequence.tr.sum())
        else:
            rms = brute_force_rms(sequence, limits.b1_window, 1e-4)
        quotients.append(rms / limits.maximum_b1_rms)
    return max(quotients)


def instantaneous(limits, names):
    """The same objective without slice profile where no B1+ is asked for: much faster."""
    return objective(names, **({"pulse": None} if limits.maximum_b1_rms is None else {}))


@pytest.mark.parametrize("name", DESIGNS)
def test_designs_by_gradient_keep_to_limits(name):
    limits, names = DESIGNS[name]
    problem = instantaneous(limits, names)
    without = optimise_by_gradient(problem, n_starts=1, max_iterations=15, tolerance=1e-4)
    assert excess(limits, without.sequence) > 1.05
    design = optimise_by_gradient(problem, limits=limits, n_starts=1, max_iterations=30, tolerance=1e-4)
    assert excess(limits, design.sequence) <= 1 + ROUNDING
    limits.check(design.sequence)
    # the limit costs something, and is used
    assert excess(limits, design.sequence) > 0.95
    assert design.value == pytest.approx(problem.criterion.of(problem.model, design.sequence), rel=1e-6)


@pytest.mark.parametrize("name", ["change", "duration", "B1+rms in a window"])
def test_designs_by_evolution_keep_to_limits(name):
    limits, names = DESIGNS[name]
    problem = instantaneous(limits, names)
    design = optimise_by_evolution(problem, limits=limits, population=4, max_generations=12, seed=1)
    assert excess(limits, design.sequence) <= 1 + ROUNDING
    assert design.value == pytest.approx(problem.criterion.of(problem.model, design.sequence), rel=1e-6)


def test_trust_region_designs_keep_to_limits():
    for name in ("change", "duration"):
        limits, names = DESIGNS[name]
        design = optimise_by_gradient(
            instantaneous(limits, names), limits=limits, n_starts=1, method="trust-constr", max_iterations=100
        )
        assert excess(limits, design.sequence) <= 1 + ROUNDING


@pytest.mark.parametrize("name", DESIGNS)
def test_parameters_beyond_a_limit_move_just_inside(name):
    limits, names = DESIGNS[name]
    parametrization = objective(names).parametrization
    for seed in range(5):
        u = np.random.default_rng(seed).uniform(0.5, 1, parametrization.n_parameters)
        assert excess(limits, parametrization.sequence_of(u)) > 1 + ROUNDING
        inside = limits.moved_inside(parametrization, u)
        assert np.all((inside >= 0) & (inside <= 1))
        # up to the limit, less what the brute force finds between pulses
        assert 0.9 < excess(limits, parametrization.sequence_of(inside)) <= 1 + ROUNDING
        assert limits.moved_inside(parametrization, inside) is inside


def test_what_cannot_keep_to_a_limit_stays():
    parametrization = objective(["flip_angle"]).parametrization
    u = np.full(parametrization.n_parameters, 0.5)
    assert Limits(maximum_duration=0.1).moved_inside(parametrization, u) is u


def nearest_of(error):
    """Name and value of the nearest feasible argument in the message, in SI units."""
    name, value, unit = re.search(r"nearest feasible: (\w+)=([0-9.e+-]+) (\w+)", str(error)).groups()
    return name, float(value) * {"degrees": np.pi / 180, "s": 1.0, "uT": 1e-6}[unit]


@pytest.mark.parametrize(
    ("limits", "changes", "message"),
    [
        (
            {"maximum_change": 0.1},
            {"flip_angle": [0.2, 0.3, 0.9, 0.7]},
            "flip angle change: 34.3775 degrees from pulse 1 to 2 exceed the limit of 5.72958 degrees",
        ),
        (
            {"maximum_duration": 0.03},
            {"flip_angle": [0.2] * 4, "tr": 8.7654321e-3},
            "duration: 0.0450617 s exceed the limit of 0.03 s",
        ),
        (
            {"maximum_b1_rms": 1e-6},
            {"flip_angle": [0.2, 1.0, 1.0, 0.1]},
            "B1[+]rms: .* uT exceed the limit of 1 uT",
        ),
        (
            {"maximum_b1_rms": 1e-6, "b1_window": 16e-3},
            {"flip_angle": [0.2, 1.0, 1.0, 0.1]},
            "B1[+]rms: .* uT in the window from pulse 1 exceed the limit of 1 uT",
        ),
    ],
)
def test_errors_name_limit_place_value_and_what_is_feasible(limits, changes, message):
    sequence = train(**changes)
    with pytest.raises(LimitError, match=message) as caught:
        Limits(**limits).check(sequence)
    error = caught.value
    assert str(error).startswith(error.limit)
    name, value = nearest_of(error)
    assert value == pytest.approx(error.nearest, rel=1e-5)  # six digits
    Limits(**(limits | {name: value})).check(sequence)
    Limits(**(limits | {name: error.nearest})).check(sequence)
    with pytest.raises(LimitError):
        Limits(**(limits | {name: value * 0.999})).check(sequence)


def test_the_other_way_out_of_too_much_b1_is_feasible_too():
    sequence, limits = train(), Limits(maximum_b1_rms=1e-6, b1_window=0.05)
    with pytest.raises(LimitError) as caught:
        limits.check(sequence)
    factor = float(re.search(r"scale all flip angles by ([0-9.]+),", str(caught.value)).group(1))
    limits.check(train(flip_angle=sequence.flip_angle * factor))
    with pytest.raises(LimitError):
        limits.check(train(flip_angle=sequence.flip_angle * (factor + 0.001)))


@pytest.mark.parametrize(
    ("limits", "curves"),
    [
        ({"maximum_duration": 0.1}, {"tr": constant(N_PULSES, 6e-3, 20e-3)}),
        ({"maximum_duration": 0.1}, {"flip_angle": constant(N_PULSES, 0.1, 0.5)}),
        ({"maximum_b1_rms": 1e-7}, {"flip_angle": constant(N_PULSES, 0.1, 0.5)}),
        ({"maximum_b1_rms": 1e-7, "b1_window": 0.03}, {"tr": constant(N_PULSES, 6e-3, 20e-3)}),
        ({"maximum_change": 0.01}, {"tr": constant(N_PULSES, 6e-3, 20e-3)}),
        (
            {"maximum_b1_rms": 1e-7},
            {"tr": constant(N_PULSES, 3e-3, 5e-3), "te": constant(N_PULSES, 1e-3, 2e-3)},
        ),
    ],
)
def test_the_impossible_is_refused_before_the_search_with_the_nearest_possible(limits, curves):
    parametrization = Parametrization(train(), curves)
    with pytest.raises(LimitError, match="nearest feasible") as caught:
        Limits(**limits).check_reachable(parametrization)
    name, value = nearest_of(caught.value)
    Limits(**(limits | {name: value})).check_reachable(parametrization)
    with pytest.raises(LimitError):
        Limits(**(limits | {name: value * 0.999})).check_reachable(parametrization)
    problem = Objective(EPGBloch(), Criterion(TISSUE), parametrization)
    for optimise in (optimise_by_gradient, optimise_by_evolution):
        with pytest.raises(LimitError):
            optimise(problem, limits=Limits(**limits))
    assert problem.n_signals == 0


def test_what_is_possible_is_not_refused():
    published = Parametrization(train(), {"flip_angle": published_spline(N_PULSES, 1.5)})
    Limits(maximum_change=1e-3, maximum_b1_rms=1e-9, maximum_duration=0.26).check_reachable(published)


def test_errors_of_arguments():
    for arguments, message in (
        ({"maximum_change": 0.0}, "maximum_change=0 must be positive; give it in radians"),
        ({"maximum_duration": -1.0}, "maximum_duration=-1 must be positive; give it in seconds"),
        ({"maximum_b1_rms": np.inf}, "maximum_b1_rms=inf is not finite"),
        ({"maximum_b1_rms": 1e-6, "b1_window": 0.0}, "b1_window=0 must be positive"),
        ({"b1_window": 1.0}, "b1_window has no effect without maximum_b1_rms; give both or none"),
    ):
        with pytest.raises(ValueError, match=message):
            Limits(**arguments)
    with pytest.raises(ValueError, match=r"needs pulses of finite duration.*give the sequence a pulse"):
        Limits(maximum_b1_rms=1e-6).check(train(pulse=None))
