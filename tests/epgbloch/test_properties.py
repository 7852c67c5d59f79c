"""What must hold for every sequence and every tissue, on random ones.

Examples are the same in every run (derandomized), so that a failure does not come and go.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue

REAL_PULSES = (
    *(3 * [None]),  # with real and complex states: more kernels than any pulse
    RFPulse.gaussian(1e-3, 5e-3, n_steps=4),
    RFPulse.rectangular(0.5e-3, n_steps=3),
    RFPulse.from_samples([1, -0.4, 3, 2], 1e-3, 3e3, 5e-3, center=0.7e-3),
)
PULSES = (*REAL_PULSES, RFPulse.from_samples([1, 2 + 1j, 3 - 1j, 1j], 1e-3, 3e3, 5e-3))
SPOILINGS = ("gradient", "gradient", "balanced", "rf")
SLICE = {"n_subslices": 5, "slice_extent": 2.5}
FLOAT32 = 1e-5
"""Of the largest possible signal: up to 40 pulses and relaxations, each with a few roundings of 6e-8."""

examples = settings(derandomize=True, deadline=None, max_examples=25)


def vectors(n, low, high):
    """Vectors with few distinct values, extremes among them, or all different ones."""
    few = arrays(np.float64, n, elements=st.floats(low, high))
    return few | st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).uniform(low, high, n))


@st.composite
def trains(draw, *, pulses=PULSES, real=False, n_pulses=None):
    """Fields of a sequence; `real`: phases 0 and pi."""
    n = draw(st.integers(1, 40)) if n_pulses is None else n_pulses
    pulse = draw(st.sampled_from(pulses))
    tr = draw(st.one_of(st.floats(4e-3, 20e-3), vectors(n, 4e-3, 20e-3)))
    phase = draw(arrays(np.int64, n, elements=st.integers(0, 1))) * np.pi
    if not real and draw(st.booleans()):
        phase = draw(vectors(n, -7, 7))
    fields = {
        "flip_angle": draw(vectors(n, 0, np.pi)),
        "tr": tr,
        "te": draw(st.floats(0.3, 0.7)) * tr,
        "phase": phase,
        "inversion_time": draw(st.none() | st.floats(1e-3, 0.5)),
        "inversion_efficiency": draw(st.floats(0, 1)),
        "pulse": pulse,
        "spoiling": draw(st.sampled_from(SPOILINGS[:3] if real else SPOILINGS)),
    }
    if fields["spoiling"] != "balanced":
        fields["dephasing"] = draw(st.none() | arrays(np.bool_, n))
        fields["spoiler_moment"] = 2 * np.pi / 1e-4  # one turn over 0.1 mm
    return fields


@st.composite
def tissues(draw, *, fields, n_atoms=None, diffusion=True, off_resonance=True):
    """Fields of a tissue; off-resonance takes few values, which share RF operators."""
    n = draw(st.integers(1, 5)) if n_atoms is None else n_atoms
    t1 = np.exp(draw(vectors(n, np.log(0.05), np.log(5))))
    atoms = {
        "t1": t1,
        # down to 50 ns, where relaxation underflows
        "t2": t1 * 10 ** draw(vectors(n, -2, 0) | vectors(n, -6, 0)),
        "b1": draw(vectors(n, 0.5, 1.5)),
        "off_resonance": draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 0.0, 17.0, -40.0]))),
    }
    if not off_resonance:
        del atoms["off_resonance"]
    if diffusion and "spoiler_moment" in fields:
        atoms["diffusion"] = draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 1e-9, 3e-9])))
    return atoms


@st.composite
def problems(draw, *, n_atoms=None, diffusion=True, off_resonance=True, **options):
    """Fields of a sequence and of a tissue."""
    fields = draw(trains(**options))
    return fields, draw(
        tissues(fields=fields, n_atoms=n_atoms, diffusion=diffusion, off_resonance=off_resonance)
    )


n_states = st.sampled_from([None, 1, 2, 16, 100])


def bound(pulse):
    """Sum of the weights of the sub-slices: the largest signal if all of them emit 1."""
    return 1.0 if pulse is None or pulse.slice_thickness is None else SLICE["slice_extent"]


def simulate(fields, atoms, **options):
    """Signal and derivatives by t1, ln(t2), b1 and off-resonance, shape (5, n_atoms, n_pulses).

    In three parts: trains of phases 0 and pi have real states unless off-resonance plays a part.
    """
    engine, sequence, tissue = EPGBloch(**SLICE | options), Sequence(**fields), Tissue(**atoms)
    _, derivatives = engine.jacobian(sequence, tissue, ("t1", "ln_t2", "b1"))
    _, by_frequency = engine.jacobian(sequence, tissue, ("off_resonance",))
    return np.concatenate([engine.signal(sequence, tissue)[np.newaxis], derivatives, by_frequency])


def assert_close(value, expected, largest, tolerance=FLOAT32):
    """Each derivative may err relative to its own largest value, if that exceeds the largest signal."""
    error = np.abs(value - expected).max(axis=(-2, -1))
    assert np.all(error <= tolerance * np.maximum(largest, np.abs(expected).max(axis=(-2, -1)))), error


@examples
@given(problems(), n_states)
def test_signals_are_finite_and_bounded(problem, n_states):
    """The squares of all states sum to at most 1: pulses keep the sum, the rest brings it towards 1."""
    fields, atoms = problem
    value = simulate(fields, atoms, n_states=n_states)
    assert np.all(np.isfinite(value))
    assert np.abs(value[0]).max() <= bound(fields["pulse"]) * (1 + FLOAT32)


@examples
@given(problems(), st.floats(0.5, 1.5))
def test_b1_scales_flip_angles(problem, scale):
    fields, atoms = problem
    scaled = fields | {"flip_angle": scale * fields["flip_angle"]}
    weak, strong = atoms | {"b1": scale}, atoms | {"b1": 1.0}
    value, expected = simulate(fields, weak), simulate(scaled, strong)
    value[3] *= scale  # derivative by ln(b1) on either side
    if fields["pulse"] is None:
        # cos and sin of the same products
        np.testing.assert_array_equal(value[[0, 1, 2, 4]], expected[[0, 1, 2, 4]])
    assert_close(value, expected, bound(fields["pulse"]))


@examples
@given(problems())
def test_t2_may_reach_t1(problem):
    fields, atoms = problem
    t1 = atoms["t1"]
    value = simulate(fields, atoms | {"t2": t1}, n_states=20)
    below = simulate(fields, atoms | {"t2": t1 * (1 - 1e-7)}, n_states=20)
    # 1e-7 changes the signal by less than its rounding
    assert_close(value, below, bound(fields["pulse"]))
    with pytest.raises(ValueError, match="T2 cannot be longer than T1"):
        Tissue(t1, np.nextafter(t1, np.inf))


@pytest.mark.parametrize("n_states", [None, 8])
@settings(examples, max_examples=12)  # each simulates 24 atoms ten times or more
@given(problems(n_pulses=33, n_atoms=24), st.data())
def test_splitting_a_dictionary_changes_no_bit(n_states, problem, data):
    fields, atoms = problem
    threads = st.integers(1, 3)
    whole = simulate(fields, atoms, n_states=n_states, n_threads=data.draw(threads, label="threads"))
    order = np.array(data.draw(st.permutations(range(24)), label="order"))
    cuts = data.draw(st.lists(st.integers(1, 23), max_size=3, unique=True).map(sorted), label="cuts")
    for chunk in np.split(order, cuts):
        part = {name: values[chunk] for name, values in atoms.items()}
        n_threads = data.draw(threads, label="threads of the chunk")
        value = simulate(fields, part, n_states=n_states, n_threads=n_threads)
        np.testing.assert_array_equal(value, whole[:, chunk])


@examples
@given(problems(pulses=REAL_PULSES, real=True), st.floats(-100, 100))
def test_opposite_off_resonance_gives_the_conjugate(problem, off_resonance):
    fields, atoms = problem
    value = simulate(fields, atoms | {"off_resonance": off_resonance})
    mirrored = simulate(fields, atoms | {"off_resonance": -off_resonance}).conj()
    mirrored[4] *= -1  # d/df of f(-x)
    assert_close(value, mirrored, bound(fields["pulse"]))


@examples
@given(problems(), n_states)
def test_no_flip_no_signal(problem, n_states):
    fields, atoms = problem
    silent = fields | {"flip_angle": 0 * fields["flip_angle"]}
    assert not np.any(simulate(silent, atoms, n_states=n_states))


@pytest.mark.parametrize("real", [True, False])
@examples
@given(st.data(), n_states)
def test_later_pulses_do_not_change_earlier_echoes(real, data, n_states):
    n, n_more = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    long, atoms = data.draw(problems(n_pulses=n + n_more, real=real, off_resonance=not real))
    short = {name: value[:n] if isinstance(value, np.ndarray) else value for name, value in long.items()}
    value, expected = simulate(short, atoms, n_states=n_states), simulate(long, atoms, n_states=n_states)
    if n_states is None:
        # The number of states follows the shortest TRs of the train. At every pulse, either train leaves out
        # coherences that return with 1e-4 at most, the default tolerance.
        error = np.abs(value[0] - expected[0, :, :n]).max()
        assert error <= 2 * (n + n_more) * 1e-4 * bound(long["pulse"])
    elif real:
        np.testing.assert_array_equal(value, expected[..., :n])
    else:  # the first pulses may all have the same phase, and real states then
        assert_close(value, expected[..., :n], bound(long["pulse"]))


@examples
@given(problems(), st.floats(-7, 7))
def test_receiver_follows_a_common_phase(problem, phase):
    fields, atoms = problem
    turned = fields | {"phase": fields["phase"] + phase}
    assert_close(simulate(turned, atoms), simulate(fields, atoms), bound(fields["pulse"]))


@examples
@given(problems(), st.floats(1e-3, 0.5), st.floats(0, 1))
def test_signal_is_linear_in_the_inversion_efficiency(problem, inversion_time, efficiency):
    fields, atoms = problem
    none, perfect, value = (
        simulate(fields | {"inversion_time": inversion_time, "inversion_efficiency": e}, atoms)
        for e in (0.0, 1.0, efficiency)
    )
    np.testing.assert_array_equal(none, simulate(fields | {"inversion_time": None}, atoms))
    assert_close(value, (1 - efficiency) * none + efficiency * perfect, bound(fields["pulse"]))


@examples
@given(problems(diffusion=False), n_states, st.integers(0, 2**32 - 1))
def test_gradient_is_adjoint_to_the_response_to_b1(problem, n_states, seed):
    """B1 turns all flip angles up together; and no number of threads changes a bit."""
    fields, atoms = problem
    sequence, tissue = Sequence(**fields), Tissue(**atoms)
    real, imaginary = np.random.default_rng(seed).normal(size=(2, tissue.n_atoms, sequence.n_pulses))
    bar = real + 1j * imaginary
    engine = EPGBloch(n_states=n_states, n_threads=1, **SLICE)
    _, (response,) = engine.jacobian(sequence, tissue, ("ln_b1",))
    gradient = engine.gradient(sequence, tissue, bar)
    forward, terms = np.sum(bar.conj() * response).real, gradient.flip_angle * sequence.flip_angle
    # the project's bound on sums smaller than their terms; 1e-38 and less counts as zero in the kernels
    size = np.abs(terms).sum() + np.abs(bar * response).sum()
    assert abs(forward - terms.sum()) <= 1e-5 * size + 1e-36
    again = EPGBloch(n_states=n_states, n_threads=3, **SLICE).gradient(sequence, tissue, bar)
    for name in ("flip_angle", "phase", "tr", "te", "inversion_time"):
        np.testing.assert_array_equal(getattr(again, name), getattr(gradient, name))
