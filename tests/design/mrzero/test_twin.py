"""The compiled twin against the double-precision phase graph, finite differences and isochromats."""

import dataclasses

import numpy as np
import pytest

from design.mrzero import ImagingSequence, Twin, Voxels, isochromat_signal, phase_graph_signal
from design.mrzero.sequences import turbo_spin_echo

from .conftest import FOV, SEQUENCES, STEP, N

OBJECTS = {
    "plain": {},
    "T2'": {"t2_prime": 0.02},
    "diffusion": {"diffusion": 2e-9, "t2_prime": 0.03},
    "no off-resonance": {"off_resonance": 0.0, "b1": 1.0},
    "coils": {"coil_sensitivities": np.random.default_rng(1).normal(size=(3, N * N, 2)) @ [1, 1j]},
}


def nrmse(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def changed(whole, **fields):
    own = {field.name: getattr(whole, field.name) for field in dataclasses.fields(whole)}
    return type(whole)(**(own | fields))


@pytest.mark.parametrize("name", OBJECTS)
def test_signal_agrees_with_phase_graph(sequence, make_voxels, name):
    voxels = make_voxels(**OBJECTS[name])
    exact = phase_graph_signal(sequence, voxels)
    twin = Twin(voxels)
    signal = twin.signal(sequence)
    assert signal.dtype == np.complex64
    assert signal.shape == exact.shape
    # the tolerance that is promised
    assert nrmse(signal, exact) <= 1e-3
    # single precision: 6e-8 a rounding, some tens of roundings; and the tolerance
    assert nrmse(Twin(voxels, tolerance=1e-5).signal(sequence), exact) <= 1.5e-5


def test_objects_on_no_grid_and_in_three_dimensions(sequence):
    rng = np.random.default_rng(4)
    n = 40
    fields = {
        "t1": rng.uniform(0.3, 2, n),
        "t2": rng.uniform(0.04, 0.2, n),
        "off_resonance": rng.normal(0, 10, n),
    }
    scattered = rng.uniform(-FOV / 2, FOV / 2, (n, 3))
    layers = np.stack(np.unravel_index(np.arange(n), (5, 4, 2)), axis=1) * [0.03, 0.03, 5e-3]
    for position in (scattered, layers):
        voxels = Voxels(position, [FOV / N, FOV / N, 5e-3], rng.uniform(0.2, 1, n), **fields)
        signal = Twin(voxels).signal(sequence)
        assert nrmse(signal, phase_graph_signal(sequence, voxels)) <= 1e-3


def spiral():
    time = np.linspace(0, 1, 50)
    place = 3 * STEP * time[:, np.newaxis] * np.stack([np.cos(9 * time), np.sin(9 * time), 0 * time], axis=1)
    moments = [*np.diff(place, axis=0), -place[-1] + [0, 0, 200.0]]
    sampled = [True] * 49 + [False]
    rng = np.random.default_rng(0)
    return ImagingSequence.from_repetitions(
        [(0.4, 0.5 * i, moments, rng.uniform(5e-5, 2e-4, 50), sampled, 0.0) for i in range(3)]
    )


def spin_echo_with_gap():
    """A readout whose echo lies between two samples."""
    rng = np.random.default_rng(0)
    moments = rng.normal(0, STEP, (20, 3))
    first = (1.5, 0.2, [moments.sum(axis=0) / 2], [6.03e-3], [False], 0.0)
    return ImagingSequence.from_repetitions([first, (2.6, 1.4, moments, [6e-4] * 20, [True] * 20, 0.3)])


@pytest.mark.parametrize("make", [spiral, spin_echo_with_gap])
def test_readouts_of_any_shape(make, make_voxels):
    for fields in ({}, {"t2_prime": 5e-3}):
        voxels = make_voxels(**fields)
        exact = phase_graph_signal(make(), voxels)
        assert nrmse(Twin(voxels).signal(make()), exact) <= 1e-3


# steps: rounding of double precision over them and their squares stay below 1e-5 of the derivatives
STEPS = {
    "flip_angle": 1e-5, "phase": 1e-5, "moments": 1e-4, "durations": 1e-7, "adc_phase": 1e-5,
    "proton_density": 1e-5, "t1": 1e-6, "t2": 1e-6, "t2_prime": 1e-7, "off_resonance": 1e-4,
    "diffusion": 1e-13, "b1": 1e-6, "coil_sensitivities": 1e-5,
}  # fmt: skip


def check_gradient(sequence, voxels, names=tuple(STEPS)):
    rng = np.random.default_rng(7)
    exact = phase_graph_signal(sequence, voxels)
    bar = rng.normal(size=(2, *exact.shape))
    bar = bar[0] + 1j * bar[1]
    gradient = Twin(voxels, tolerance=1e-5).gradient(sequence, bar)
    for name in names:
        owner = sequence if hasattr(sequence, name) else voxels
        value = getattr(owner, name)
        found = getattr(gradient, name)
        assert found.shape == value.shape
        if name == "t2_prime" and not np.isfinite(value).all():
            assert not found.any()
            continue
        if name == "diffusion" and not value.any():
            # it cannot be negative
            continue
        direction = rng.normal(size=value.shape)
        if found.dtype.kind == "c":
            direction = direction + 1j * rng.normal(size=value.shape)
        if name == "durations":
            direction = np.where(value > 0, direction, 0)
        ends = []
        for sign in (1, -1):
            other = changed(owner, **{name: value + sign * STEPS[name] * direction})
            pair = (other, voxels) if owner is sequence else (sequence, other)
            ends.append((bar.conj() * (phase_graph_signal(*pair) - exact)).real.sum())
        expected = (ends[0] - ends[1]) / (2 * STEPS[name])
        # sums over random directions may cancel: relative to the size of their parts
        size = np.linalg.norm(found) + 1e-12
        assert abs((found.conj() * direction).real.sum() - expected) <= 1e-3 * size, name


def test_states_that_nearly_meet(make_voxels):
    # durations differ by less than 1 %, and some ways through the echoes by a few nanoseconds
    rng = np.random.default_rng(2)
    train = SEQUENCES["TSE"]()
    uneven = changed(train, durations=train.durations * (1 + 0.01 * rng.uniform(size=train.durations.size)))
    voxels = make_voxels(b1=0.9)
    assert nrmse(Twin(voxels).signal(uneven), phase_graph_signal(uneven, voxels)) <= 1e-3


def first_repetitions(sequence, n):
    events = slice(0, sequence.first_event[n])
    own = {name: getattr(sequence, name)[:n] for name in ("flip_angle", "phase", "n_events", "use")}
    return changed(
        sequence,
        **own,
        **{name: getattr(sequence, name)[events] for name in ("moments", "durations", "adc", "adc_phase")},
    )


# not TSE with T2': its middle sample lies on the echo, where the derivative by times jumps
CASES = [("FLASH", "diffusion"), ("TSE", "plain"), ("bSSFP", "T2'"), ("EPI", "diffusion"), ("radial", "T2'")]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_gradients_agree_with_finite_differences(make_voxels, kind, name):
    sequence = SEQUENCES[kind]()
    # few: the oracle takes most of the time
    check_gradient(first_repetitions(sequence, min(4, sequence.n_repetitions)), make_voxels(**OBJECTS[name]))


def test_gradients_of_uneven_echo_trains(make_voxels):
    # no sample lies on an echo, and no ways through 5 pulses nearly meet
    rng = np.random.default_rng(2)
    train = SEQUENCES["TSE"]()
    uneven = changed(train, durations=train.durations * (1 + 0.01 * rng.uniform(size=train.durations.size)))
    check_gradient(first_repetitions(uneven, 5), make_voxels(**OBJECTS["diffusion"]))


def test_gradients_of_coils_kinks_and_oblique_readouts(make_voxels):
    voxels = make_voxels(t2_prime=0.01, **OBJECTS["coils"])
    check_gradient(spin_echo_with_gap(), voxels)
    check_gradient(SEQUENCES["radial"](), voxels, ("moments", "coil_sensitivities", "b1"))


def test_gradient_without_ways_is_that_with_them(sequence, make_voxels):
    twin = Twin(make_voxels(t2_prime=0.02), tolerance=1e-5)
    bar = np.ones((1, sequence.n_samples))
    short, whole = (twin.gradient(sequence, bar, ways=ways) for ways in (False, True))
    assert not short.moments.any()
    assert not short.durations.any()
    assert whole.moments.any()
    # more states are followed with ways: within the tolerance
    assert nrmse(short.flip_angle, whole.flip_angle) < 1e-3
    assert nrmse(short.t2, whole.t2) < 1e-3


def random_train(seed):
    rng = np.random.default_rng(seed)
    moment = rng.choice([150.0, 200.0, 400.0])
    repetitions = []
    for i in range(24):
        lines = [[-2 * STEP, (i % 6 - 3) * STEP, 0], *[[STEP, 0, 0]] * 4]
        back = [-2 * STEP * (seed % 2), -(i % 6 - 3) * STEP, moment]
        phase = rng.uniform(0, 6) if seed % 3 else 0.0
        repetitions.append(
            (rng.uniform(0.1, 1.5), phase, [*lines, back], [1.1e-3] * 6, [False, *[True] * 4, False], 0.0)
        )
    return ImagingSequence.from_repetitions(repetitions)


def test_estimated_error_is_above_the_measured_one(make_voxels):
    for seed in range(6):
        sequence, voxels = random_train(seed), make_voxels()
        exact = Twin(voxels, tolerance=1e-6).signal(sequence)
        before = 1.0
        for tolerance in (1e-2, 1e-3, 1e-4):
            twin = Twin(voxels, tolerance=tolerance)
            estimated = twin.plan(sequence).graph.estimated_error
            assert estimated <= tolerance
            assert estimated <= before
            # besides states, single precision and interpolation over readouts
            assert nrmse(twin.signal(sequence), exact) <= estimated + 0.05 * tolerance + 1e-6
            before = estimated


def test_results_do_not_depend_on_threads(sequence, make_voxels):
    voxels = make_voxels(t2_prime=0.02)
    one, three = (Twin(voxels, n_threads=n) for n in (1, 3))
    np.testing.assert_array_equal(one.signal(sequence), three.signal(sequence))
    bar = np.ones((1, sequence.n_samples))
    first, second = one.gradient(sequence, bar), three.gradient(sequence, bar)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_pulses_and_voxels_without_signal(make_voxels, sequence):
    still = changed(sequence, flip_angle=np.zeros_like(sequence.flip_angle))
    twin = Twin(make_voxels())
    assert not twin.signal(still).any()
    assert not twin.gradient(still, np.ones((1, still.n_samples))).proton_density.any()


def test_bad_input(make_voxels, sequence):
    for tolerance in (0.0, 1e-7, 0.2, np.nan):
        with pytest.raises(ValueError, match="tolerance"):
            Twin(make_voxels(), tolerance=tolerance)
    with pytest.raises(ValueError, match="n_threads"):
        Twin(make_voxels(), n_threads=0)
    with pytest.raises(ValueError, match="no signal"):
        Twin(make_voxels(proton_density=0.0))
    twin = Twin(make_voxels())
    with pytest.raises(ValueError, match="cotangent"):
        twin.gradient(sequence, np.ones((2, sequence.n_samples)))
    with pytest.raises(ValueError, match="cotangent"):
        twin.gradient(sequence, np.full((1, sequence.n_samples), np.nan))


def test_too_many_states_are_refused(make_voxels, monkeypatch):
    monkeypatch.setattr("design.mrzero.graph._MOST_STATES", 4096)
    rng = np.random.default_rng(0)
    sequence = ImagingSequence.from_repetitions(
        [(1.2, 0.0, [rng.normal(0, 300, 3)], [1e-3], [True], 0.0) for _ in range(20)]
    )
    with pytest.raises(ValueError, match=r"more than 2048 states.*loosen"):
        Twin(make_voxels(), tolerance=1e-6).signal(sequence)


@pytest.mark.slow
def test_agrees_with_isochromats(sequence, make_voxels):
    voxels = make_voxels()
    expected = isochromat_signal(sequence, voxels, 2**15)
    # acceptance: 1e-3. Spins themselves are this good: their error falls nearly as 1 / n
    assert nrmse(Twin(voxels).signal(sequence), expected) <= 1e-3


def chain(*pulses):
    """Pulses (angle, moment along z, time), the last one sampled."""
    last = len(pulses) - 1
    return ImagingSequence.from_repetitions(
        [(a, 0.0, [[0, 0, m]], [t], [i == last], 0.0) for i, (a, m, t) in enumerate(pulses)]
    )


@pytest.mark.parametrize(
    "sequence",
    [
        chain((0.0, 0.0, 1e-3)),
        chain((np.pi, 300.0, 0.1), (np.pi / 2, 0.0, 1e-3)),
        chain((np.pi / 2, 50.0, 0.01), (0.0, 50.0, 0.01), (np.pi / 2, -50.0, 0.01)),
        turbo_spin_echo(6, FOV, echo_spacing=10e-3),
    ],
    ids=["0", "180-90", "90-0-90", "90-180"],
)
def test_gradients_by_angles_that_make_states_vanish(sequence, make_voxels):
    voxels = make_voxels()
    rng = np.random.default_rng(2)
    cotangent = rng.normal(size=(1, sequence.n_samples)) + 1j * rng.normal(size=(1, sequence.n_samples))
    found = Twin(voxels).gradient(sequence, cotangent, ways=False).flip_angle
    for n in range(sequence.n_repetitions):
        values = []
        for step in (1e-5, -1e-5):
            angles = sequence.flip_angle + step * (np.arange(sequence.n_repetitions) == n)
            signal = phase_graph_signal(dataclasses.replace(sequence, flip_angle=angles), voxels)
            values.append((cotangent.conj() * signal).real.sum())
        # states are dropped for 1e-3 of the signal, angles kept 0.25 off
        scale = np.linalg.norm(found)
        np.testing.assert_allclose(found[n], (values[0] - values[1]) / 2e-5, rtol=0, atol=4e-3 * scale)


def test_voxels_with_and_without_dephasing_have_their_own_representatives():
    n = np.arange(16)
    place = np.random.default_rng(1).uniform(-0.05, 0.05, (16, 3))
    voxels = Voxels(place, [5e-3] * 3, 1.0, 1.0, 0.1, np.where(n % 2, np.inf, 2e-3))
    echoes = [(2.4, np.pi / 2, np.zeros((2, 3)), [0.02] * 2, [True] * 2, 0.0)] * 5
    sequence = ImagingSequence.from_repetitions(
        [(np.pi / 2, 0.0, np.zeros((1, 3)), [0.02], [False], 0.0), *echoes]
    )
    exact = phase_graph_signal(sequence, voxels)
    # the default tolerance
    assert np.linalg.norm(Twin(voxels).signal(sequence) - exact) < 1e-3 * np.linalg.norm(exact)


def test_dephasing_too_fast_for_single_precision_is_refused():
    voxels = Voxels([[0.0, 0.0, 0.0]], [1e-3] * 3, 1.0, 1.0, 0.1, 1e-3)
    long = ImagingSequence.from_repetitions([(1.0, 0.0, np.zeros((41, 3)), [5e-3] * 41, [True] * 41, 0.0)])
    with pytest.raises(ValueError, match=r"t2_prime=0.001 s must be at least 0.00125 s"):
        Twin(voxels).signal(long)
