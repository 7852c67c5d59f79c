"""The engine against the oracles, and its promises about states, threads, order and progress."""

import numpy as np
import pytest

from epgbloch import EPGBloch, RFPulse, Sequence, SignalModel, Tissue
from epgbloch.operators import angle_step
from epgbloch.planning import states_per_atom
from epgbloch.reference import epg_bloch, instantaneous_epg
from epgbloch.trains import TRAINS

FLOAT32 = 2e-5
"""Rounding of float32 in states and RF operators over 1120 pulses (9e-6 seen, for T2 of 1 to 2 s),
relative to the largest signal; the project's acceptance bound."""


def random_tissue(n_atoms, seed=0, **fields):
    rng = np.random.default_rng(seed)
    t1 = np.exp(rng.uniform(np.log(0.1), np.log(5), n_atoms))
    t2 = np.exp(rng.uniform(np.log(0.01), np.log(np.minimum(t1, 2))))
    return Tissue(t1, t2, **({"b1": rng.uniform(0.8, 1.2, n_atoms)} | fields))


def train(n_pulses, seed=1, **fields):
    rng = np.random.default_rng(seed)
    tr = rng.uniform(8e-3, 15e-3, n_pulses)
    return Sequence(TRAINS["spline11"](n_pulses, rng), **({"tr": tr, "te": 0.5 * tr} | fields))


def relative_error(signal, expected):
    return np.abs(signal - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("inversion_time", [None, 15e-3])
@pytest.mark.parametrize("family", TRAINS)
def test_instantaneous_pulses_agree_with_textbook_epg_over_1120_pulses(family, inversion_time):
    flip_angle = TRAINS[family](1120, np.random.default_rng(3))
    sequence = Sequence(flip_angle, tr=8.7e-3, te=4.9e-3, inversion_time=inversion_time)
    tissue = random_tissue(50)
    signal = EPGBloch(n_states=30).signal(sequence, tissue)
    assert signal.dtype == np.complex64
    assert relative_error(signal, instantaneous_epg(sequence, tissue, n_states=30)) < FLOAT32


@pytest.mark.parametrize("n_atoms", [3, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.parametrize("inversion_time", [None, 15e-3])
@pytest.mark.parametrize("family", TRAINS)
def test_gaussian_pulses_agree_with_literal_epg_bloch_over_1120_pulses(family, inversion_time, n_atoms):
    flip_angle = TRAINS[family](1120, np.random.default_rng(3))
    pulse = RFPulse.gaussian(1e-3, 5e-3, n_steps=16)
    sequence = Sequence(flip_angle, tr=8.7e-3, te=4.9e-3, inversion_time=inversion_time, pulse=pulse)
    tissue = random_tissue(n_atoms)
    signal = EPGBloch(n_states=20, n_subslices=16).signal(sequence, tissue)
    expected = epg_bloch(sequence, tissue, n_states=20, n_subslices=16)
    assert relative_error(signal, expected) < FLOAT32


GAUSSIAN = RFPulse.gaussian(1e-3, 5e-3, n_steps=16)
SAMPLES = RFPulse.from_samples([1, 2 + 1j, 3 - 1j, 1j, -0.5], 2e-3, 2e3, 5e-3, center=0.7e-3)
N = 90
ALTERNATING = np.pi * np.arange(N) + 0.3
RANDOM_PHASE = np.random.default_rng(5).uniform(0, 6, N)


@pytest.mark.parametrize("off_resonance", [0.0, 17.0])
@pytest.mark.parametrize(
    "fields",
    [
        {"inversion_time": 0.02, "inversion_efficiency": 0.9},
        {"phase": ALTERNATING},
        {"phase": RANDOM_PHASE},
        {"spoiling": "rf"},
        {"spoiling": "balanced", "phase": ALTERNATING},
        {"spoiling": "balanced", "phase": RANDOM_PHASE},
        {"tr": 9e-3, "te": 4e-3},
    ],
)
@pytest.mark.parametrize(
    "pulse",
    [None, GAUSSIAN, RFPulse.sinc(2e-3, 5e-3, n_steps=16), RFPulse.rectangular(1e-3, n_steps=8), SAMPLES],
    ids=["instantaneous", "gaussian", "sinc", "non-selective", "complex samples"],
)
def test_every_option_agrees_with_literal_epg_bloch(pulse, fields, off_resonance):
    sequence = train(N, pulse=pulse, **fields)
    tissue = random_tissue(3, off_resonance=off_resonance)
    n_states = 1 if sequence.spoiling == "balanced" else 20
    signal = EPGBloch(n_states=20, n_subslices=9).signal(sequence, tissue)
    expected = epg_bloch(sequence, tissue, n_states=n_states, n_subslices=9)
    assert relative_error(signal, expected) < FLOAT32


@pytest.mark.parametrize("n_subslices", [1, 2, 15, 32, 40])
def test_any_number_of_subslices_with_and_without_symmetry(n_subslices):
    tissue = random_tissue(2)
    for pulse in (GAUSSIAN, RFPulse.from_samples(GAUSSIAN.waveform + 0j, 1e-3, GAUSSIAN.bandwidth, 5e-3)):
        sequence = train(40, pulse=pulse)
        signal = EPGBloch(n_states=40, n_subslices=n_subslices, slice_extent=2.0).signal(sequence, tissue)
        expected = epg_bloch(sequence, tissue, n_states=40, n_subslices=n_subslices, slice_extent=2.0)
        assert relative_error(signal, expected) < FLOAT32


def test_real_train_on_resonance_gives_exactly_real_signals():
    for pulse in (None, GAUSSIAN):
        signal = EPGBloch().signal(train(N, pulse=pulse, phase=ALTERNATING), random_tissue(4))
        assert not np.any(signal.imag)
        assert np.any(signal.real)


def test_interpolated_operators_over_the_whole_range_with_200_rf_steps():
    """Corners of the promised ranges: T1 0.1-5 s, T2 0.01-2 s, B1 0.5-1.5, up to 180 degrees."""
    flip_angle = np.deg2rad([180, 90, 33.3, 120, 60.1, 179, 1, 0, 75, 150])
    sequence = Sequence(flip_angle, tr=9e-3, te=4e-3, inversion_time=0.02, pulse=RFPulse.gaussian(1e-3, 5e-3))
    t1, t2, b1 = (grid.ravel() for grid in np.meshgrid([0.1, 5], [0.01, 0.1, 2], [0.5, 1.0, 1.5]))
    keep = t2 <= t1
    tissue = Tissue(t1[keep], t2[keep], b1[keep])
    signal = EPGBloch(n_states=10).signal(sequence, tissue)
    assert relative_error(signal, epg_bloch(sequence, tissue, n_states=10)) < FLOAT32


def test_atoms_that_relax_within_the_pulse_get_their_own_operators():
    tissue = Tissue(t1=[0.02, 0.04, 1.0], t2=[0.003, 0.002, 0.1], b1=1.1)
    sequence = train(60, pulse=GAUSSIAN, inversion_time=0.02)
    signal = EPGBloch(n_states=30, n_subslices=8).signal(sequence, tissue)
    expected = epg_bloch(sequence, tissue, n_states=30, n_subslices=8)
    # each atom against its own largest signal: the fast ones are weak
    for i_atom in range(3):
        assert relative_error(signal[i_atom], expected[i_atom]) < FLOAT32


def test_neighbours_of_higher_b1_change_no_bit():
    # flip angle x B1 on the last node that a table of a multiple of 16 angles still covers
    pulse = RFPulse.rectangular(1e-3, n_steps=4)
    sequence = Sequence(np.full(20, 27 * angle_step(pulse)), 10e-3, 5e-3, pulse=pulse)
    tissue, engine = Tissue(1.0, 0.1, b1=[1.0, 1.3]), EPGBloch()
    for alone, beside in zip(
        engine.jacobian(sequence, tissue[:1], ("b1",)),
        engine.jacobian(sequence, tissue, ("b1",)),
        strict=True,
    ):
        np.testing.assert_array_equal(alone[..., 0, :], beside[..., 0, :])


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
@pytest.mark.parametrize("family", TRAINS)
def test_automatic_number_of_states_keeps_the_truncation_below_the_tolerance(family, tolerance):
    sequence = Sequence(TRAINS[family](600, np.random.default_rng(2)), tr=8.7e-3, te=4.9e-3)
    tissue = random_tissue(40)
    full = EPGBloch(n_states=301).signal(sequence, tissue)
    signal = EPGBloch(tolerance=tolerance).signal(sequence, tissue)
    assert relative_error(signal, full) < tolerance
    # and the choice does save states
    assert states_per_atom(EPGBloch(tolerance=tolerance), sequence, tissue).min() < 30


def test_half_the_pulses_are_states_enough():
    sequence, tissue = train(50), random_tissue(5)
    full = epg_bloch(sequence, tissue, n_states=50)
    assert relative_error(EPGBloch(n_states=1000).signal(sequence, tissue), full) < FLOAT32


@pytest.mark.parametrize("pulse", [None, GAUSSIAN])
def test_result_does_not_depend_on_threads_order_or_neighbours(pulse):
    sequence = train(40, pulse=pulse, inversion_time=0.02)
    tissue = random_tissue(300)
    signal = EPGBloch(n_threads=1, n_subslices=8).signal(sequence, tissue)
    engine = EPGBloch(n_threads=3, n_subslices=8)
    np.testing.assert_array_equal(engine.signal(sequence, tissue), signal)
    shuffled = np.random.default_rng(0).permutation(300)[:77]
    np.testing.assert_array_equal(engine.signal(sequence, tissue[shuffled]), signal[shuffled])
    np.testing.assert_array_equal(engine.signal(sequence, tissue[5:6]), signal[5:6])


def test_silent_trains_stay_finite_and_zero():
    """Pulses of angle 0 after a strong one: states decay through the denormal range."""
    sequence = Sequence(np.r_[1.0, np.zeros(400)], tr=20e-3, te=5e-3)
    tissue = Tissue([1.0, 0.1], [0.01, 0.005])
    signal = EPGBloch(n_states=50).signal(sequence, tissue)
    np.testing.assert_allclose(signal[:, 0], np.sin(1.0) * np.exp(-5e-3 / tissue.t2), rtol=1e-6)
    assert not np.any(signal[:, 1:])


def test_progress_counts_up_to_all_atoms():
    calls = []
    EPGBloch().signal(train(12), random_tissue(500), progress=lambda *call: calls.append(call))
    done = [call[0] for call in calls]
    assert done == sorted(set(done))
    assert len(calls) > 1
    assert calls[-1] == (500, 500)
    assert {call[1] for call in calls} == {500}


def test_an_error_in_the_progress_callback_stops_the_simulation():
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        EPGBloch(n_threads=2).signal(train(12), random_tissue(500), progress=interrupt)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_states": 0}, "n_states=0 must be an integer of at least 1"),
        ({"n_states": 2.5}, "n_states=2.5 must be an integer"),
        ({"n_subslices": 0}, "n_subslices=0 must be"),
        ({"n_subslices": None}, "n_subslices=None must be"),
        ({"n_threads": -1}, "n_threads=-1 must be"),
        ({"tolerance": 0.0}, "tolerance=0.0 must lie between 0 and 1"),
        ({"slice_extent": np.nan}, "slice_extent=nan must be positive"),
    ],
)
def test_bad_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        EPGBloch(**settings)


def test_engine_is_a_signal_model_and_names_what_changes_its_result():
    engine = EPGBloch(n_states=12, n_threads=2)
    assert isinstance(engine, SignalModel)
    assert engine.settings() == EPGBloch(n_states=12).settings()
    assert engine.settings() != EPGBloch(n_states=13).settings()


@pytest.mark.parametrize("chunk_size", [1, 7, 100])
def test_stream_gives_the_bits_of_signal_in_order(chunk_size):
    sequence, tissue = train(80, pulse=GAUSSIAN), random_tissue(20)
    engine = EPGBloch(n_subslices=8)
    expected, got, done = engine.signal(sequence, tissue), [], []
    engine.stream(
        sequence,
        tissue,
        lambda atoms, signal: got.append((atoms, signal)),
        chunk_size=chunk_size,
        progress=lambda n_done, n_all: done.append((n_done, n_all)),
    )
    assert [atoms.start for atoms, _ in got] == list(range(0, 20, chunk_size))
    np.testing.assert_array_equal(np.concatenate([signal for _, signal in got]), expected)
    assert done[-1] == (20, 20)


def test_stream_refuses_a_bad_chunk_size():
    with pytest.raises(ValueError, match="chunk_size=0 must be an integer of at least 1"):
        EPGBloch().stream(train(20), random_tissue(2), lambda atoms, signal: None, chunk_size=0)
