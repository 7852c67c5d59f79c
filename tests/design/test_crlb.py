"""Fisher information, bounds and criteria, against closed forms, numpy and finite differences."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from design import Criterion, cramer_rao_bound, fisher_information
from epgbloch import EPGBloch, Sequence, Tissue

TISSUE = Tissue(t1=[0.9, 0.5, 1.4], t2=[0.085, 0.065, 0.3])
DIRECT = 1e-12
"""Relative tolerance between two ways of the same algebra in double precision; measured below 1e-14."""


def random_signals(seed, *, n_wrt=3, n_atoms=3, n_pulses=9, imaginary=True):
    """Signals and derivatives of no tissue at all: the algebra must hold for any."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(1 + n_wrt, n_atoms, n_pulses)) + 0j
    if imaginary:
        values += 1j * rng.normal(size=values.shape)
    return values[0], values[1:]


def train(flip_angle, **changes):
    fields = {"tr": 8.7e-3, "te": 4.9e-3, "inversion_time": 0.0}
    return Sequence(flip_angle, **(fields | changes))


def by_hand(criterion, signal, derivatives):
    """Scaled covariances (n_atoms, n, n) of the parameters, by one inverse for each tissue."""
    n = len(criterion.parameters)
    extra = {"known": [], "real": [signal], "complex": [signal, 1j * signal]}[criterion.proton_density]
    columns = [*derivatives, *extra]
    weights = np.ones(n) if criterion.weights is None else np.asarray(criterion.weights)
    result = []
    for i in range(signal.shape[0]):
        jacobian = np.array([np.concatenate([c[i].real, c[i].imag]) for c in columns])
        covariance = np.linalg.inv(jacobian @ jacobian.T)[:n, :n]
        result.append(np.diag(np.sqrt(weights)) @ covariance @ np.diag(np.sqrt(weights)))
    return np.array(result)


def test_the_information_is_the_curvature_of_the_expected_log_likelihood():
    time = np.linspace(0.01, 0.2, 8)

    def signal(p):
        return (p[2] + 1j * p[3]) * np.exp(-time / np.exp(p[0]) + 2j * np.pi * p[1] * time)

    true = np.array([np.log(0.08), 3.0, 1.0, 0.0])

    def log_likelihood(p):
        """Its mean over noise of SD 1 in real and imaginary parts, up to a constant."""
        return -0.5 * np.sum(np.abs(signal(p) - signal(true)) ** 2)

    step = 1e-3
    curvature = np.empty((4, 4))
    for i, j in itertools.product(range(4), repeat=2):
        a, b = step * np.eye(4)[i], step * np.eye(4)[j]
        curvature[i, j] = sum(
            sign * log_likelihood(true + da + db)
            for da, db, sign in ((a, b, 1), (a, -b, -1), (-a, b, -1), (-a, -b, 1))
        ) / (4 * step**2)
    clean = signal(true)
    derivatives = np.stack([time / 0.08 * clean, 2j * np.pi * time * clean])
    fisher = fisher_information(clean, derivatives, "complex")
    # differences of second order: the error is step^2 times derivatives of order 4, some units
    np.testing.assert_allclose(fisher, -curvature, rtol=1e-5, atol=1e-5)


def test_two_echoes_give_the_variance_of_the_ratio_of_amplitudes():
    # two unknowns from two data: T2 = (t2 - t1) / ln(s1 / s2), whose variance follows by propagation
    t2, time = 0.07, np.array([0.02, 0.09])
    signal = np.exp(-time / t2)
    bound = cramer_rao_bound(fisher_information(signal, (time / t2 * signal)[np.newaxis]), 1)
    log_ratio = (time[1] - time[0]) / t2
    expected = (1 / signal[0] ** 2 + 1 / signal[1] ** 2) / log_ratio**2
    np.testing.assert_allclose(bound, [[expected]], rtol=DIRECT)


def test_a_known_amplitude_leaves_the_information_of_the_parameter_alone():
    time = np.linspace(0.01, 0.2, 5)
    signal = np.exp(-time / 0.07)
    derivative = time / 0.07 * signal
    bound = cramer_rao_bound(fisher_information(signal, derivative[np.newaxis], "known"))
    np.testing.assert_allclose(bound, [[1 / np.sum(derivative**2)]], rtol=DIRECT)


def test_nuisance_parameters_count_by_the_schur_complement():
    fisher = fisher_information(*random_signals(0), "complex")
    inner, outer, cross = fisher[..., :2, :2], fisher[..., 2:, 2:], fisher[..., :2, 2:]
    complement = inner - cross @ np.linalg.inv(outer) @ np.swapaxes(cross, -1, -2)
    np.testing.assert_allclose(cramer_rao_bound(fisher, 2), np.linalg.inv(complement), rtol=1e3 * DIRECT)
    whole = cramer_rao_bound(fisher)
    assert whole.shape == (3, 5, 5)
    np.testing.assert_array_equal(whole[:, :2, :2], cramer_rao_bound(fisher, 2))


def test_a_complex_proton_density_hides_what_only_turns_the_phase():
    signal = np.array([1.0, 0.5, 0.2]) + 0j
    turned = (1j * signal)[np.newaxis]
    real = cramer_rao_bound(fisher_information(signal, turned, "real"), 1)
    np.testing.assert_allclose(real, [[1 / np.sum(np.abs(signal) ** 2)]], rtol=DIRECT)
    assert np.isinf(cramer_rao_bound(fisher_information(signal, turned, "complex"), 1)).all()


def test_less_knowledge_of_the_proton_density_never_helps():
    signal, derivatives = random_signals(1)
    known, real, unknown = (
        np.diagonal(cramer_rao_bound(fisher_information(signal, derivatives, kind), 3), axis1=1, axis2=2)
        for kind in ("known", "real", "complex")
    )
    assert np.all(known < real)
    assert np.all(real < unknown)


@pytest.mark.parametrize("proton_density", ["real", "complex", "known"])
def test_optimality_reduces_the_weighted_covariance(proton_density):
    signal, derivatives = random_signals(2)
    for optimality, reduce in (
        ("A", np.trace),
        ("D", lambda c: np.linalg.det(c) ** (1 / c.shape[0])),
        ("E", lambda c: np.linalg.norm(c, 2)),
    ):
        criterion = Criterion(
            TISSUE,
            ("ln_t1", "t2"),
            ("b1",),
            proton_density,
            optimality,
            weights=[2.0, 0.3],
            tissue_weights=[1.0, 5.0, 0.5],
        )
        figures = [reduce(c) for c in by_hand(criterion, signal, derivatives)]
        expected = np.dot([1.0, 5.0, 0.5], figures)
        np.testing.assert_allclose(criterion.value(signal, derivatives, 3.0), expected, rtol=DIRECT)


def test_tissues_are_summed_averaged_or_the_worst_counts():
    signal, derivatives = random_signals(3, n_wrt=2)
    weights = np.array([1.0, 2.0, 4.0])

    def value(over_tissues):
        criterion = Criterion(TISSUE, tissue_weights=weights, over_tissues=over_tissues)
        return float(criterion.value(signal, derivatives, 1.0))

    traces = np.trace(by_hand(Criterion(TISSUE), signal, derivatives), axis1=1, axis2=2)
    np.testing.assert_allclose(value("sum"), traces @ weights, rtol=DIRECT)
    np.testing.assert_allclose(value("mean"), traces @ weights / weights.sum(), rtol=DIRECT)
    largest = (traces * weights).max()
    # the norm of power 16 of three values exceeds their maximum by at most 3^(1/16)
    assert largest <= value("worst") <= largest * 3 ** (1 / 16)
    np.testing.assert_allclose(value("worst"), np.linalg.norm(traces * weights, 16), rtol=DIRECT)


def test_per_time_multiplies_variances_by_the_duration():
    signal, derivatives = random_signals(4, n_wrt=2)
    for over_tissues in ("sum", "mean", "worst"):
        plain = Criterion(TISSUE, over_tissues=over_tissues).value(signal, derivatives, 2.5)
        timed = Criterion(TISSUE, over_tissues=over_tissues, per_time=True)
        np.testing.assert_allclose(timed.value(signal, derivatives, 2.5), 2.5 * plain, rtol=DIRECT)
    # a train played twice has half the variance in twice the time
    twice = np.concatenate([signal, signal], axis=-1), np.concatenate([derivatives, derivatives], axis=-1)
    once = timed.value(signal, derivatives, 2.5)
    np.testing.assert_allclose(timed.value(*twice, 5.0), once, rtol=DIRECT)


def test_several_sequences_have_the_values_of_each():
    values = [random_signals(seed, n_wrt=2) for seed in range(4)]
    signal = np.stack([s for s, _ in values])
    derivatives = np.stack([d for _, d in values], axis=1)
    duration = np.array([1.0, 2.0, 3.0, 4.0])
    for over_tissues in ("sum", "worst"):
        criterion = Criterion(TISSUE, over_tissues=over_tissues, per_time=True)
        single = [criterion.value(*v, t) for v, t in zip(values, duration, strict=True)]
        np.testing.assert_allclose(criterion.value(signal, derivatives, duration), single, rtol=DIRECT)


@pytest.mark.parametrize("optimality", ["A", "D", "E"])
@pytest.mark.parametrize("over_tissues", ["sum", "mean", "worst"])
@pytest.mark.parametrize("proton_density", ["real", "complex", "known"])
@pytest.mark.parametrize("imaginary", [True, False])
def test_cotangents_are_derivatives_by_signals(optimality, over_tissues, proton_density, imaginary):
    criterion = Criterion(
        TISSUE,
        ("ln_t1", "ln_t2"),
        ("b1",),
        proton_density,
        optimality,
        weights=[1.0, 3.0],
        tissue_weights=[1.0, 2.0, 0.7],
        over_tissues=over_tissues,
        per_time=True,
    )
    point = [*random_signals(5, imaginary=imaginary), 1.7]
    value, signal_bar, derivative_bars, by_duration = criterion.value_and_cotangents(*point)
    np.testing.assert_allclose(value, criterion.value(*point), rtol=DIRECT)
    directions = [*random_signals(6, imaginary=imaginary), 0.4]
    expected = (
        np.vdot(signal_bar, directions[0]).real
        + np.vdot(derivative_bars, directions[1]).real
        + by_duration * directions[2]
    )
    step = 1e-5

    def along(h):
        return float(criterion.value(*(p + h * d for p, d in zip(point, directions, strict=True))))

    slope = (8 * (along(step) - along(-step)) - along(2 * step) + along(-2 * step)) / (12 * step)
    # differences of fourth order: rounding / step, 1e-16 / 1e-5, times condition numbers of some 100
    np.testing.assert_allclose(expected, slope, rtol=1e-8, atol=1e-8 * value)


def test_parameters_in_other_units_have_the_same_best_sequence_by_d():
    # det C scales with (T1 T2)^2 of the tissue, whatever the sequence; A and E change their order
    tissue = TISSUE[:1]
    model = EPGBloch()
    rng = np.random.default_rng(7)
    trains = [train(rng.uniform(0.1, 1.5, 30)) for _ in range(3)]

    def ratios(optimality):
        plain = Criterion(tissue, ("t1", "t2"), optimality=optimality)
        log = Criterion(tissue, ("ln_t1", "ln_t2"), optimality=optimality)
        return np.array([plain.of(model, s) / log.of(model, s) for s in trains])

    # derivatives in single precision, squared by the bound
    np.testing.assert_allclose(ratios("D"), tissue.t1[0] * tissue.t2[0], rtol=1e-5)
    assert np.ptp(ratios("A")) > 0.01 * ratios("A").mean()


def test_bounds_are_standard_deviations_at_signal_to_noise_one():
    model = EPGBloch()
    sequence = train(np.linspace(0.2, 1.2, 40))
    bounds = Criterion(TISSUE, weights=[7.0, 2.0], per_time=True).bounds(model, sequence)
    assert bounds.shape == (3, 2)
    # neither weights nor time count; the sum of squares is the plain A
    np.testing.assert_allclose(np.sum(bounds**2), Criterion(TISSUE).of(model, sequence), rtol=DIRECT)


def test_the_constant_train_of_45_degrees_has_the_known_value():
    # J = 11.42 by an independent prototype (sum over two tissues of the variances of ln T1 and ln T2)
    criterion = Criterion(Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065]))
    value = criterion.of(EPGBloch(), train(np.full(336, np.deg2rad(45))))
    assert value == pytest.approx(11.42, abs=0.005)  # its last digit


@pytest.mark.parametrize("optimality", ["A", "D", "E"])
@pytest.mark.parametrize("over_tissues", ["sum", "mean", "worst"])
@pytest.mark.parametrize(
    "flip_angle",
    [np.zeros(20), [0.7], [0.7, 0.0, 0.0]],
    ids=["no signal", "one pulse", "one echo of three"],
)
def test_what_signals_do_not_determine_is_infinite(optimality, over_tissues, flip_angle):
    criterion = Criterion(TISSUE, optimality=optimality, over_tissues=over_tissues, per_time=True)
    model, sequence = EPGBloch(), train(flip_angle)
    assert criterion.of(model, sequence) == np.inf
    assert np.isinf(criterion.bounds(model, sequence)).all()
    signal, derivatives = model.jacobian(sequence, TISSUE, criterion.wrt)
    value, *bars, by_duration = criterion.value_and_cotangents(signal, derivatives, 1.0)
    assert value == np.inf
    assert not any(bar.any() for bar in bars)
    assert by_duration == 0


def test_equal_derivatives_are_infinite_in_their_tissue_only():
    signal, derivatives = random_signals(8, n_wrt=2)
    derivatives[1, 1] = -3 * derivatives[0, 1]
    # as from a model: rounding in single precision must not look like information
    signal, derivatives = signal.astype(np.complex64), derivatives.astype(np.complex64)
    covariance = cramer_rao_bound(fisher_information(signal, derivatives))
    assert np.isinf(covariance[1]).all()
    assert np.isfinite(covariance[[0, 2]]).all()
    assert Criterion(TISSUE).value(signal, derivatives, 1.0) == np.inf


@given(seed=st.integers(0, 10**6), exponents=st.tuples(*[st.integers(-9, 9)] * 3))
def test_units_of_parameters_do_not_matter(seed, exponents):
    """The bound of a parameter in another unit is the bound in that unit, also 18 orders apart."""
    signal, derivatives = random_signals(seed, n_atoms=1)
    units = 10.0 ** np.array(exponents)
    plain = cramer_rao_bound(fisher_information(signal, derivatives), 3)
    scaled = cramer_rao_bound(fisher_information(signal, derivatives * units[:, None, None]), 3)
    # normalised matrices differ by rounding, amplified by their condition, up to 1e6 for random ones
    np.testing.assert_allclose(scaled * np.outer(units, units), plain, rtol=1e-8)


def test_errors_name_argument_value_and_remedy():
    for arguments, message in (
        ({"proton_density": "imaginary"}, "proton_density='imaginary' must be one of real, complex, known"),
        ({"optimality": "T"}, "optimality='T' must be one of A, D, E"),
        ({"over_tissues": "best"}, "over_tissues='best' must be one of sum, mean, worst"),
        ({"parameters": ()}, "parameters is empty; name at least one"),
        ({"parameters": ("ln_t1", "t1")}, "name t1 twice"),
        ({"nuisance": ("t2",)}, "name t2 twice"),
        ({"weights": [1.0]}, "weights has 1 values; give one for each parameter, 2"),
        ({"weights": [1.0, 0.0]}, r"weights\[1\]=0 must be positive; leave the parameter out"),
        ({"tissue_weights": [1.0, 2.0]}, "tissue_weights has 2 values; give one for each tissue, 3"),
        ({"tissue_weights": [1.0, 2.0, np.nan]}, r"tissue_weights\[2\]=nan is not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            Criterion(TISSUE, **arguments)
    with pytest.raises(ValueError, match="wrt: 't3' must be one of t1"):
        Criterion(TISSUE, ("t3",)).of(EPGBloch(), train([0.5, 0.6]))
    with pytest.raises(ValueError, match="proton_density='unknown' must be one of real, complex, known"):
        fisher_information(*random_signals(0), "unknown")
    with pytest.raises(ValueError, match=r"derivatives has shape \(3, 3, 8\).*\(n_parameters, 3, 9\)"):
        fisher_information(random_signals(0)[0], random_signals(0)[1][..., :8])
