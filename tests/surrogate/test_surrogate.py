"""The surrogate is a signal model: that of its network, usable wherever the engine is."""

import json
from dataclasses import replace

import numpy as np
import pytest

import surrogate.surrogate
from dictionaries import Grid, generate, log_axis, match
from epgbloch import RFPulse, Sequence, SignalModel, Tissue
from epgbloch.model import identity
from surrogate import (
    GRUSurrogate,
    NetworkSize,
    OutOfRangeError,
    Ranges,
    WeightsError,
    shipped_networks,
    write_weights,
)
from surrogate.batches import batch_of

ANGLES = np.deg2rad(20 + 30 * np.sin(0.2 * np.arange(60)) ** 2)


@pytest.fixture
def model(random_weights):
    return GRUSurrogate(random_weights(), n_threads=2)


def sequence(**changes):
    values = {"flip_angle": ANGLES, "tr": 0.01, "te": 0.005, "inversion_time": 0.02}
    return Sequence(**values | {"pulse": RFPulse.gaussian(1e-3, 3e-3)} | changes)


def tissue(n_atoms):
    t2 = np.geomspace(0.02, 0.9, n_atoms)
    return Tissue(np.linspace(1.0, 3.0, n_atoms), t2, np.linspace(0.8, 1.2, n_atoms))


def test_surrogate_is_a_signal_model(model):
    assert isinstance(model, SignalModel)
    signal, derivatives = model.jacobian(sequence(), tissue(5))
    assert (signal.shape, derivatives.shape) == ((5, 60), (2, 5, 60))
    assert signal.dtype == derivatives.dtype == np.complex64
    assert not signal.imag.any()
    assert not derivatives.imag.any()
    assert np.all(np.ptp(signal.real, axis=0) > 0)
    np.testing.assert_array_equal(model.signal(sequence(), tissue(5)), signal)


def test_network_reads_what_it_was_trained_on(dataset, recipe, random_weights):
    """Each simulation of a data set gives the outputs of Keras for its row."""
    pytest.importorskip("tensorflow")
    from surrogate.network import network_of

    weights = random_weights(NetworkSize(2, 12))
    model, network = GRUSurrogate(weights), network_of(weights)
    batch = batch_of(dataset, slice(0, 6), dataset.n_pulses)
    expected = np.asarray(network({"pulses": batch.pulses, "initial": batch.initial}))
    inverted = np.isfinite(dataset.inversion_time[:6])
    assert inverted.any()
    assert not inverted.all()
    for i in range(6):
        own = sequence(
            flip_angle=dataset.flip_angle[i],
            tr=dataset.tr[i],
            te=dataset.te[i],
            inversion_time=float(dataset.inversion_time[i]) if inverted[i] else None,
            inversion_efficiency=float(dataset.inversion_efficiency[i]),
            pulse=recipe.pulse,
        )
        signal, derivatives = model.jacobian(own, Tissue(dataset.t1[i], dataset.t2[i]), ("ln_t1", "ln_t2"))
        found = np.stack([signal[0], *derivatives[:, 0]], axis=-1)
        np.testing.assert_allclose(found, expected[i], atol=1e-5)  # float32, 101 pulses


def test_b1_scales_the_flip_angles(model):
    atoms = Tissue(1.0, 0.1, [0.8, 1.0, 1.1])
    signal = model.signal(sequence(), atoms)
    for i, b1 in enumerate(atoms.b1):
        scaled = model.signal(sequence(flip_angle=b1 * ANGLES), Tissue(1.0, 0.1))
        np.testing.assert_array_equal(signal[i], scaled[0])
    assert np.abs(signal[0] - signal[1]).max() > 1e-3


def test_derivatives_by_logarithms_are_derivatives_times_parameters(model):
    atoms = tissue(4)
    names = ("ln_t2", "t1", "ln_t1", "t2")
    ln_t2, by_t1, ln_t1, by_t2 = model.jacobian(sequence(), atoms, names)[1]
    # float32
    np.testing.assert_allclose(by_t1 * atoms.t1[:, None], ln_t1, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(by_t2 * atoms.t2[:, None], ln_t2, rtol=1e-6, atol=1e-7)
    assert np.abs(ln_t1 - ln_t2).max() > 1e-3


@pytest.mark.parametrize(
    ("wrt", "message"),
    [
        (("t1", "b1"), "wrt: 'b1' must be one of t1, t2, ln_t1, ln_t2, .* EPGBloch has more"),
        (("off_resonance",), "wrt: 'off_resonance'"),
        (("t1", "t1"), "names a parameter twice"),
    ],
)
def test_other_derivatives_are_refused(model, wrt, message):
    with pytest.raises(ValueError, match=message):
        model.jacobian(sequence(), tissue(2), wrt)


def test_every_train_has_the_bits_of_its_own_jacobian(random_weights):
    trains = np.random.default_rng(4).uniform(0, 1.5, (30, 60))  # with 3 atoms: two blocks of signals
    model, own, names = GRUSurrogate(random_weights(), n_threads=3), tissue(3), ("ln_t2", "t1")
    # the flip angles of the sequence itself do not matter
    signal, derivatives = model.jacobian_of_trains(sequence(), trains, own, names)
    assert (signal.shape, derivatives.shape) == ((30, 3, 60), (2, 30, 3, 60))
    assert signal.dtype == derivatives.dtype == np.complex64
    for i_train in (0, 13, 29):
        expected = model.jacobian(sequence(flip_angle=trains[i_train]), own, names)
        np.testing.assert_array_equal(signal[i_train], expected[0])
        np.testing.assert_array_equal(derivatives[:, i_train], expected[1])


def test_trains_are_checked(random_weights):
    trains = np.full((3, 60), 0.5)
    trains[1, 7] = np.deg2rad(110)  # times a B1 of 1.2: above 120 degrees
    model = GRUSurrogate(random_weights())
    with pytest.raises(OutOfRangeError, match=r"flip_angle x largest b1\[1, 7\]=2.30383 rad lies outside"):
        model.jacobian_of_trains(sequence(), trains, tissue(2))
    bold = GRUSurrogate(random_weights(), extrapolate=True)
    assert np.isfinite(bold.jacobian_of_trains(sequence(), trains, tissue(2))[0]).all()
    with pytest.raises(ValueError, match=r"flip_angle has shape \(3, 59\); it must be \(n_trains, 60\)"):
        bold.jacobian_of_trains(sequence(), trains[:, 1:], tissue(2))
    with pytest.raises(ValueError, match="wrt: 'b1' must be one of"):
        bold.jacobian_of_trains(sequence(), trains, tissue(2), ("b1",))


@pytest.mark.parametrize("n_threads", [1, 3, 40])
def test_threads_and_chunks_do_not_change_a_bit(random_weights, n_threads):
    atoms = tissue(131)
    whole = GRUSurrogate(random_weights(), n_threads=2).signal(sequence(), atoms)
    model = GRUSurrogate(random_weights(), n_threads=n_threads)
    np.testing.assert_array_equal(model.signal(sequence(), atoms), whole)
    for start, stop in [(0, 1), (5, 12), (20, 120)]:
        np.testing.assert_array_equal(model.signal(sequence(), atoms[start:stop]), whole[start:stop])


def test_progress_counts_atoms(model):
    calls = []
    model.signal(sequence(), tissue(131), progress=lambda *call: calls.append(call))
    assert calls == [(48, 131), (96, 131), (131, 131)]


def test_phase_of_all_pulses_does_not_matter(model):
    np.testing.assert_array_equal(
        model.signal(sequence(phase=0.7), tissue(3)), model.signal(sequence(), tissue(3))
    )


def test_what_is_unknown_or_out_of_range_is_refused(model, random_weights):
    with pytest.raises(ValueError, match="pulse=None"):
        model.signal(sequence(pulse=None), tissue(2))
    with pytest.raises(OutOfRangeError, match=r"t1=6 s lies outside"):
        model.jacobian(sequence(), Tissue(6.0, 0.1))
    bold = GRUSurrogate(random_weights(), extrapolate=True)
    assert np.all(np.isfinite(bold.signal(sequence(), Tissue(6.0, 0.1))))
    np.testing.assert_array_equal(bold.signal(sequence(), tissue(2)), model.signal(sequence(), tissue(2)))
    with pytest.raises(ValueError, match="spoiling='balanced'"):
        bold.signal(sequence(spoiling="balanced"), tissue(2))


def test_settings_identify_the_network(tmp_path, random_weights):
    weights = random_weights()
    settings = GRUSurrogate(weights, n_threads=1).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings["model"] == "GRUSurrogate"
    assert GRUSurrogate(random_weights(), n_threads=5, extrapolate=True).settings() == settings
    named = GRUSurrogate(write_weights(tmp_path / "mine.npz", weights)).settings()
    assert named == settings | {"network": "mine"}
    assert identity(named) == identity(settings)
    others = [
        random_weights(seed=1),
        replace(weights, ranges=Ranges(t1=(0.2, 5.0))),
        replace(weights, arrays=(*weights.arrays[:-1], weights.arrays[-1] + np.float32(1e-6))),
    ]
    for other in others:
        assert GRUSurrogate(other).settings()["sha256"] != settings["sha256"]


def test_weights_come_by_name_or_file(tmp_path, monkeypatch, random_weights):
    path = write_weights(tmp_path / "small.npz", random_weights())
    monkeypatch.setattr(surrogate.surrogate, "_FOLDER", tmp_path)
    assert shipped_networks() == ("small",)
    expected = GRUSurrogate(random_weights()).signal(sequence(), tissue(2))
    for weights in ("small", path, str(path)):
        np.testing.assert_array_equal(GRUSurrogate(weights).signal(sequence(), tissue(2)), expected)
    with pytest.raises(ValueError, match=r"weights='large' is none of the shipped networks \(small\); give"):
        GRUSurrogate("large")
    with pytest.raises(FileNotFoundError):
        GRUSurrogate(tmp_path / "none.npz")
    path.write_bytes(b"text")
    with pytest.raises(WeightsError, match="not a file of weights"):
        GRUSurrogate("small")


@pytest.mark.parametrize("card", [{}, {"data": {"recipe": {"pulse": None}}}])
def test_weights_of_an_unknown_pulse_are_refused(random_weights, card):
    with pytest.raises(WeightsError, match="card of network unnamed does not describe an RF pulse"):
        GRUSurrogate(replace(random_weights(), card=card))


def test_number_of_threads_is_checked(random_weights):
    with pytest.raises(ValueError, match="n_threads=0"):
        GRUSurrogate(random_weights(), n_threads=0)


def test_dictionary_of_the_surrogate_matches_its_own_atoms(model):
    grid = Grid(log_axis(0.5, 3.0, 8), log_axis(0.02, 0.4, 7), np.array([0.9, 1.1]))
    dictionary = generate(model, sequence(), grid, rank=8, chunk_size=30)
    assert dictionary.coefficients.dtype == np.float32
    assert dictionary.model == model.settings()
    # a random network forgets less than the physics; the subspace holds most of its signals
    assert dictionary.truncation_error.rms < 0.05
    result = match(dictionary, 2.0 * dictionary.norms[:, None] * dictionary.coefficients)
    np.testing.assert_array_equal(result.index, np.arange(dictionary.n_atoms))
    np.testing.assert_allclose(result.pd, 2.0, rtol=1e-5)  # float32
