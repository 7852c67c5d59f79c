"""Protocols: every form of a value, and every mistake that a message must name."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from epgbloch import EPGBloch, RFPulse, Sequence, Tissue, trains
from jobs import protocol_sequence
from jobs.protocol import ProtocolError, load_protocol
from surrogate import GRUSurrogate, OutOfRangeError, write_weights

SEQUENCE = {"flip_angle_deg": [10, 20, 30], "tr_ms": 10, "te_ms": 4}
DICTIONARY = {"t1_ms": [500, 1000], "t2_ms": [50, 100]}


@pytest.fixture
def load(tmp_path):
    """Write a protocol of YAML text or a mapping, and load it."""

    def write_and_load(content):
        path = tmp_path / "protocol.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return load_protocol(path)

    return write_and_load


def sequence(**changes):
    return {"sequence": {**SEQUENCE, **changes}}


def test_units_are_converted_and_defaults_hold(load):
    protocol = load(sequence())
    result = protocol.sequence
    np.testing.assert_allclose(result.flip_angle, np.deg2rad([10, 20, 30]), rtol=1e-15)  # rounding
    np.testing.assert_allclose(result.tr, 0.010, rtol=1e-15)
    np.testing.assert_allclose(result.te, 0.004, rtol=1e-15)
    assert result.inversion_time is None
    assert result.pulse is None
    assert result.spoiling == "gradient"
    assert not result.phase.any()
    assert protocol.grid is None
    assert not protocol.model_given
    assert (protocol.rank, protocol.n_iterations, protocol.coil_method) == (5, 12, "espirit")
    assert protocol.virtual_coils is None
    assert protocol.sensitivity_path is None
    assert protocol.gradient_delays == "none"
    assert protocol.check_consistency
    assert protocol.correct_receive_field
    assert protocol.slices is None
    assert protocol.trajectory is None
    assert protocol.trajectory_units == "cycles_per_pixel"
    assert protocol.model.settings()["tolerance"] == 1e-4


def test_every_key_of_the_sequence_reaches_it(load):
    result = load(
        sequence(
            phase_deg=[0, 180, 90],
            tr_ms=[10, 11, 12],
            te_ms=[4, 5, 6],
            inversion_time_ms=20,
            inversion_efficiency=0.95,
            spoiling="rf",
            rf_spoiling_increment_deg=50,
        )
    ).sequence
    np.testing.assert_allclose(result.phase, [0, np.pi, np.pi / 2], rtol=1e-15)
    np.testing.assert_allclose(result.tr, [0.010, 0.011, 0.012], rtol=1e-15)
    np.testing.assert_allclose(result.te, [0.004, 0.005, 0.006], rtol=1e-15)
    assert result.inversion_time == pytest.approx(0.020, rel=1e-15)
    assert result.inversion_efficiency == 0.95
    assert result.spoiling == "rf"
    assert result.rf_spoiling_increment == pytest.approx(np.deg2rad(50), rel=1e-15)


def test_scalar_flip_angle_is_repeated(load):
    result = load(sequence(flip_angle_deg=25, n_pulses=7)).sequence
    np.testing.assert_allclose(result.flip_angle, np.full(7, np.deg2rad(25)), rtol=1e-15)


@pytest.mark.parametrize("name", trains.TRAINS)
def test_random_trains_match_the_family(load, name):
    value = {"train": name, "n_pulses": 150, "seed": 3, "maximum_deg": 70}
    expected = trains.TRAINS[name](150, np.random.default_rng(3), np.deg2rad(70))
    np.testing.assert_array_equal(load(sequence(flip_angle_deg=value)).sequence.flip_angle, expected)
    del value["maximum_deg"]
    expected = trains.TRAINS[name](150, np.random.default_rng(3))
    # The default passes through degrees: rounding.
    result = load(sequence(flip_angle_deg=value)).sequence.flip_angle
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-15)


def test_fixed_trains_match_their_functions(load):
    angles = [20, 60, 30]
    radians = np.deg2rad(angles)
    for name, extra, expected in (
        ("spline", {}, trains.spline(60, radians)),
        ("sin_squared", {}, trains.sin_squared(60, radians)),
        ("piecewise_constant", {"edges": [20, 45]}, trains.piecewise_constant(60, radians, [20, 45])),
    ):
        value = {"train": name, "n_pulses": 60, "angles_deg": angles, **extra}
        np.testing.assert_array_equal(load(sequence(flip_angle_deg=value)).sequence.flip_angle, expected)


@pytest.mark.parametrize(
    ("n_pulses", "angles"),
    [(500, [15, 60, 30, 70, 45]), (60, [5, 80, 5])],  # falls to -2e-5 degrees; far below 0
)
def test_splines_are_cut_at_zero(load, n_pulses, angles):
    value = {"train": "spline", "n_pulses": n_pulses, "angles_deg": angles}
    curve = trains.spline(n_pulses, np.deg2rad(angles))
    assert curve.min() < 0
    expected = np.where(curve > 0, curve, 0)
    np.testing.assert_array_equal(load(sequence(flip_angle_deg=value)).sequence.flip_angle, expected)


def test_seeds_may_be_long(load):
    angles = load(train(seed=20261101123456789)).sequence.flip_angle
    expected = trains.TRAINS["spline11"](60, np.random.default_rng(20261101123456789))
    np.testing.assert_allclose(angles, expected, rtol=1e-13, atol=1e-15)  # the maximum passes through degrees


def test_csv_columns_are_read_beside_the_protocol(load, tmp_path):
    (tmp_path / "train.csv").write_text("angle,tr_ms\n10,11\n20,12\n30,13\n")
    protocol = load(
        sequence(
            flip_angle_deg={"csv": "train.csv", "column": "angle"},
            tr_ms={"csv": "train.csv"},  # the column is called like the key
        )
    )
    np.testing.assert_allclose(protocol.sequence.flip_angle, np.deg2rad([10, 20, 30]), rtol=1e-15)
    np.testing.assert_allclose(protocol.sequence.tr, [0.011, 0.012, 0.013], rtol=1e-15)


def test_text_stands_alone(load, tmp_path):
    (tmp_path / "train.csv").write_text("flip_angle_deg\n10.123456789\n20\n30\n")
    protocol = load(sequence(flip_angle_deg={"csv": "train.csv"}))
    (tmp_path / "train.csv").unlink()
    copy = load(protocol.text)
    assert copy.sequence.fingerprint() == protocol.sequence.fingerprint()
    assert copy.text == protocol.text  # nothing to replace: word for word


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"shape": "gaussian", "duration_ms": 1, "slice_thickness_mm": 5},
            RFPulse.gaussian(1e-3, 5e-3, time_bandwidth_product=3, n_steps=200),
        ),
        (
            {
                "shape": "sinc",
                "duration_ms": 2,
                "slice_thickness_mm": 3,
                "time_bandwidth_product": 6,
                "n_steps": 99,
            },
            RFPulse.sinc(2e-3, 3e-3, time_bandwidth_product=6, n_steps=99),
        ),
        ({"shape": "rectangular", "duration_ms": 0.5, "n_steps": 10}, RFPulse.rectangular(5e-4, n_steps=10)),
        (
            {
                "shape": "samples",
                "duration_ms": 2,
                "slice_thickness_mm": 3,
                "samples": [0, 1, 2, 1],
                "bandwidth_hz": 1500,
                "center_ms": 1.25,
            },
            RFPulse.from_samples([0, 1, 2, 1], 2e-3, 1500, 3e-3, center=1.25e-3),
        ),
    ],
    ids=lambda value: value["shape"] if isinstance(value, dict) else "",
)
def test_pulses(load, value, expected):
    pulse = load(sequence(pulse=value)).sequence.pulse
    assert pulse.name == expected.name
    np.testing.assert_allclose(pulse.waveform, expected.waveform, rtol=1e-13)
    for name in ("duration", "bandwidth", "slice_thickness", "center"):
        value = getattr(expected, name)
        assert getattr(pulse, name) == (value and pytest.approx(value, rel=1e-13)), name


def test_axes_of_the_grid(load):
    dictionary = {
        "t1_ms": {"log": [100, 1000, 3]},
        "t2_ms": {"linear": [20, 100, 5]},
        "b1": [0.9, 1.0],
        "off_resonance_hz": -5,
        "rank": 7,
    }
    protocol = load({**sequence(), "dictionary": dictionary})
    # Milliseconds to seconds: rounding.
    np.testing.assert_allclose(protocol.grid.t1, [0.1, 0.1 * np.sqrt(10), 1.0], rtol=1e-13)
    np.testing.assert_allclose(protocol.grid.t2, [0.02, 0.04, 0.06, 0.08, 0.1], rtol=1e-13)
    np.testing.assert_array_equal(protocol.grid.b1, [0.9, 1.0])
    np.testing.assert_array_equal(protocol.grid.off_resonance, [-5])
    assert protocol.rank == 7


def test_engine_and_reconstruction_settings(load):
    protocol = load(
        {
            **sequence(),
            "engine": {"n_states": 12, "tolerance": 1e-3, "n_subslices": 8, "slice_extent": 2.5},
            "reconstruction": {
                "iterations": 4,
                "coils": "adaptive",
                "correct_receive_field": False,
                "slices": [2, 0],
            },
            "trajectory_units": "cycles_per_m",
        }
    )
    assert protocol.model_given
    settings = protocol.model.settings()
    expected = {"n_states": 12, "tolerance": 1e-3, "n_subslices": 8, "slice_extent": 2.5}
    assert {name: settings[name] for name in expected} == expected
    assert (protocol.n_iterations, protocol.coil_method, protocol.slices) == (4, "adaptive", (2, 0))
    assert not protocol.correct_receive_field
    assert protocol.trajectory_units == "cycles_per_m"


def test_surrogate_is_the_model_where_there_is_a_section(load, tmp_path):
    protocol = load(sequence() | {"surrogate": None})
    assert protocol.model.settings() == GRUSurrogate().settings()
    assert protocol.model_given
    assert protocol.engine.settings() == EPGBloch().settings()

    file = write_weights(tmp_path / "mine.npz", GRUSurrogate("small").weights)
    protocol = load(sequence() | {"surrogate": {"network": "mine.npz", "extrapolate": True}})
    assert protocol.model.settings()["network"] == "mine"
    # the text says the same in another folder
    assert yaml.safe_load(protocol.text)["surrogate"] == {"network": str(file), "extrapolate": True}
    outside = Tissue(9.0, 0.05)
    train = Sequence([0.3], 10e-3, 5e-3, pulse=RFPulse.gaussian(1e-3, 3e-3))
    assert np.isfinite(protocol.model.signal(train, outside)).all()
    with pytest.raises(OutOfRangeError):
        load(sequence() | {"surrogate": {"network": "mine.npz"}}).model.signal(train, outside)


def test_trajectories(load, tmp_path):
    from reconstruction.trajectory import cartesian_lines, golden_angle_radial, variable_density_spiral

    (tmp_path / "lines.csv").write_text("line\n7\n2\n")
    for value, expected in (
        ("{golden_angle_radial: }", golden_angle_radial(5, 32)),
        (
            "{golden_angle_radial: {first_angle_deg: 10, angle_increment_deg: 23, n_skipped: 2}}",
            golden_angle_radial(
                5, 32, first_angle=np.deg2rad(10), angle_increment=np.deg2rad(23), n_skipped=2
            ),
        ),
        ("{spiral: {n_interleaves: 16}}", variable_density_spiral(5, 32, matrix=(8, 8), n_interleaves=16)),
        (
            "{spiral: {n_interleaves: 16, density_exponent: 1, angle_increment_deg: 111}}",
            variable_density_spiral(
                5, 32, matrix=(8, 8), n_interleaves=16, density_exponent=1, angle_increment=np.deg2rad(111)
            ),
        ),
        ("{cartesian: }", cartesian_lines([0, 1, 2, 3, 4], 32, matrix=(8, 8))),
        ("{cartesian: {lines: sequential}}", cartesian_lines([0, 1, 2, 3, 4], 32, matrix=(8, 8))),
        ("{cartesian: {lines: [6, 0, 6]}}", cartesian_lines([6, 0, 6, 6, 0], 32, matrix=(8, 8))),
        (
            "{cartesian: {lines: {csv: lines.csv, column: line}}}",
            cartesian_lines([7, 2] * 3, 32, matrix=(8, 8))[:5],
        ),
    ):
        protocol = load(f"{yaml.safe_dump(sequence())}\ntrajectory: {value}")
        # Angles in degrees: rounding of float32 positions up to 0.5.
        np.testing.assert_allclose(protocol.trajectory(5, 32, (8, 8)), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("n_pixels", [16, 64, 128, 512])
@pytest.mark.parametrize("n_interleaves", [1, 8, 48, 1000])
@pytest.mark.parametrize("exponent", [1, 2, 10])
def test_spirals_get_enough_samples(load, n_pixels, n_interleaves, exponent):
    spiral = {"n_interleaves": n_interleaves, "density_exponent": exponent}
    trajectory = load({**sequence(), "trajectory": {"spiral": spiral}}).trajectory
    n_samples = trajectory.n_samples(n_pixels)
    assert n_samples >= 2 * n_pixels
    positions = trajectory(1, n_samples, (n_pixels, n_pixels))[0].astype(np.float64)
    last_step = np.linalg.norm(positions[-1] - positions[-2])
    assert last_step <= 1 / n_pixels + 1e-6  # Nyquist at the edge; float32 positions
    # Not wasteful either: the bound of the speed, a sum of two parts, is at most sqrt(2) times their
    # hypotenuse, of which the last step falls short by less than 5 % where there are many.
    assert n_samples == 2 * n_pixels or last_step >= 0.95 / np.sqrt(2) / n_pixels


@pytest.mark.parametrize("kind", ["golden_angle_radial", "cartesian"])
def test_radial_and_cartesian_samples(load, kind):
    protocol = load(f"{yaml.safe_dump(sequence())}\ntrajectory: {{{kind}: }}")
    assert protocol.trajectory.n_samples(64) == 128


def test_cartesian_lines_go_round_and_must_be_in_the_image(load):
    trajectory = load({**sequence(), "trajectory": {"cartesian": None}}).trajectory
    np.testing.assert_array_equal(trajectory(7, 4, (3, 2))[:, 0, 1] * 3, [-1, 0, 1, -1, 0, 1, -1])
    trajectory = load({**sequence(), "trajectory": {"cartesian": {"lines": [0, 3]}}}).trajectory
    with pytest.raises(ValueError, match=r"cartesian\.lines .*line 3 of readout 1 .* from 0 to 2"):
        trajectory(2, 4, (3, 2))


def test_null_is_the_default_and_exponents_are_numbers(load):
    text = f"{yaml.safe_dump(sequence())}\nengine: {{n_states: null, tolerance: 2e-4}}\nreconstruction:\n"
    assert load(text).model.settings()["tolerance"] == 2e-4


def test_changed_replaces_what_is_given(load):
    protocol = load(sequence()).changed(rank=3, n_iterations=None)
    assert (protocol.rank, protocol.n_iterations) == (3, 12)


TRAIN = {"train": "spline11", "n_pulses": 60, "seed": 1}
PULSE = {"shape": "gaussian", "duration_ms": 1}


def train(**changes):
    return sequence(flip_angle_deg={**TRAIN, **changes})


def dictionary(**changes):
    return {**sequence(), "dictionary": {**DICTIONARY, **changes}}


def other(section, **values):
    return {**sequence(), section: values}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # keys
        ({}, r"sequence: missing"),
        ([1], r"protocol\.yaml: must be a section with keys \(sequence, "),
        ({"sequence": 3}, r"sequence: must be a section .* got 3"),
        (other("dictionnary"), r"dictionnary: unknown key; did you mean dictionary\? keys here: seq"),
        (sequence(tr_s=0.01), r"sequence\.tr_s: unknown key; use tr_ms \(in milliseconds\)"),
        (sequence(te_us=4000), r"sequence\.te_us: unknown key; use te_ms \(in milliseconds\)"),
        (sequence(tr=10), r"sequence\.tr: unknown key; use tr_ms \(in milliseconds\)"),
        (sequence(phase_rad=1), r"sequence\.phase_rad: unknown key; use phase_deg \(in degrees\)"),
        (sequence(inversion_efficiency_deg=1), r"use inversion_efficiency \(it has no unit\)"),
        (sequence(flip_angel_deg=1), r"sequence\.flip_angel_deg: unknown key; did you mean flip_angle_deg\?"),
        ({"sequence": {"flip_angle_deg": [1], "te_ms": 4}}, r"sequence\.tr_ms: missing"),
        (other("dictionary", t1_ms=5), r"dictionary\.t2_ms: missing"),
        (other("reconstruction", iteration=5), r"did you mean iterations\?"),
        (other("engine", n_state=5), r"engine\.n_state: unknown key; did you mean n_states\?"),
        # values
        (sequence(te_ms=12), r"sequence: te=0.012 s must be shorter than tr=0.01 s"),
        (sequence(te_ms=-4), r"sequence\.te_ms: must be finite and above 0; got -4"),
        (sequence(tr_ms=0), r"sequence\.tr_ms: must be finite and above 0; got 0"),
        (sequence(tr_ms=[10, float("nan"), 10]), r"sequence\.tr_ms: value 1 must be finite and .* got nan"),
        (sequence(tr_ms=float("inf")), r"sequence\.tr_ms: must be finite"),
        (sequence(tr_ms="10 ms"), r"sequence\.tr_ms: must be a number; got '10 ms'"),
        (sequence(tr_ms=True), r"sequence\.tr_ms: must be a number; got True"),
        (sequence(tr_ms=[10, None, 10]), r"sequence\.tr_ms: value 1 must be a number; got nothing"),
        (sequence(tr_ms=[10, 10]), r"sequence: tr has 2 values for 3 "),
        (sequence(flip_angle_deg=[]), r"sequence\.flip_angle_deg: is empty"),
        (sequence(flip_angle_deg=[10, 400, 5]), r"flip_angle_deg: value 1 must .* at most 360; got 400"),
        (sequence(flip_angle_deg=30), r"sequence\.n_pulses: missing"),
        (sequence(n_pulses=3), r"sequence\.n_pulses: only goes with one number as flip_angle_deg"),
        (sequence(flip_angle_deg=30, n_pulses=2.5), r"n_pulses: must be a whole number; got 2.5"),
        (sequence(flip_angle_deg=30, n_pulses=0), r"sequence\.n_pulses: must be at least 1; got 0"),
        (sequence(inversion_efficiency=0.9), r"inversion_efficiency: has no effect without"),
        (sequence(inversion_time_ms=-1), r"inversion_time_ms: must .* at least 0; got -1"),
        (sequence(rf_spoiling_increment_deg=50), r"rf_spoiling_increment_deg: has no effect without"),
        (sequence(spoiling="gradients"), r"sequence\.spoiling: must be one of .* did you mean gradient\?"),
        (sequence(pulse={"shape": "gaussian"}), r"sequence\.pulse\.duration_ms: missing"),
        (sequence(pulse={**PULSE, "shape": "gauss"}), r"sequence\.pulse\.shape: .* did you mean gaussian\?"),
        (sequence(pulse={**PULSE, "samples": [1]}), r"pulse\.samples: does not go with shape: gaussian"),
        (sequence(pulse={**PULSE, "duration_ms": 9}), r"sequence: te=0.004 s ends within the RF pulse"),
        # trains
        (sequence(flip_angle_deg={"list": [1]}), r"flip_angle_deg: give a number, a list"),
        (train(train="spline12"), r"flip_angle_deg\.train: .* did you mean spline11\?"),
        (train(train=["spline11"]), r"flip_angle_deg\.train: must be one of"),
        (sequence(flip_angle_deg={"train": "spline11", "n_pulses": 60}), r"flip_angle_deg\.seed: missing"),
        (train(edges=[3]), r"edges: does not go with train: spline11"),
        (train(train="piece_constant5"), r"flip_angle_deg: n_pulses=60 must be at least"),
        # CSV files
        (sequence(tr_ms={"csv": "none.csv"}), r"sequence\.tr_ms: cannot read .*none.csv: No such file"),
        (sequence(tr_ms={"csv": "train.csv"}), r"train.csv has no column 'tr_ms'; its columns: te_ms, text"),
        (sequence(te_ms={"csv": "train.csv", "col": "a"}), r"te_ms\.col: unknown .* mean column\?"),
        (
            sequence(tr_ms={"csv": "train.csv", "column": "text"}),
            r"sequence\.tr_ms: .*train.csv, line 3, column text: 'x' is not a number",
        ),
        # dictionary
        (dictionary(rank=0), r"dictionary\.rank: must be at least 1"),
        (dictionary(t1_ms={"log": [100, 1000]}), r"dictionary\.t1_ms\.log: takes"),
        (other("engine", n_states=9) | {"surrogate": {}}, "surrogate: one model makes the signals; remove"),
        (other("surrogate", network="larg"), r"surrogate\.network: .*none of the shipped networks .*small"),
        (other("surrogate", network="none.npz"), r"surrogate\.network: [^\[]*none\.npz: No such file"),
        (other("surrogate", network=3), r"surrogate\.network: must be a name or a file"),
        (other("surrogate", extrapolate=1), r"surrogate\.extrapolate: must be true or false"),
        (dictionary(t1_ms={"log": [9, 3, 5]}), r"t1_ms\.log: start=9.0 must be less"),
        (dictionary(t1_ms={"lin": [1, 3, 5]}), r"dictionary\.t1_ms: give a number"),
        (dictionary(t2_ms=[-1, 5]), r"dictionary\.t2_ms: value 0 must .* above 0"),
        (dictionary(t1_ms=50, t2_ms=80), r"dictionary: t2 starts at 0.08 s, above"),
        # the rest
        (other("engine", tolerance=2), r"engine: tolerance=2.0 must lie"),
        (other("reconstruction", coils="sum"), r"reconstruction\.coils: must be one of espirit, adaptive"),
        (other("reconstruction", correct_receive_field="no"), r"field: must be true or false"),
        (other("reconstruction", coil_compression=1.5), r"coil_compression: virtual_coils=1.5 must be"),
        (other("reconstruction", coil_compression="a"), r"coil_compression: must be a number"),
        (other("reconstruction", sensitivities=3), r"sensitivities: must be the name of a file; got 3"),
        (other("reconstruction", gradient_delays="yes"), r"gradient_delays: must be one of none, estimate"),
        (other("reconstruction", check_consistency=1), r"check_consistency: must be true or false"),
        (other("reconstruction", slices=[0.5]), r"slices: must hold whole numbers; got 0.5"),
        (other("reconstruction", slices=[1, 1]), r"slices: holds a number twice"),
        ({**sequence(), "trajectory": {}}, r"trajectory: give one of golden_angle_radial, spiral"),
        ({**sequence(), "trajectory": {"radial": {}}}, r"trajectory\.radial: unknown key"),
        ({**sequence(), "trajectory": {"cartesian": {"lines": [0, 0.5]}}}, r"lines: must hold whole numbers"),
        ({**sequence(), "trajectory": {"cartesian": {"lines": [3, -1]}}}, r"lines: value 1 must .* least 0"),
        ({**sequence(), "trajectory": {"cartesian": {"lines": "centric"}}}, r"lines: must be a number"),
        ({**sequence(), "trajectory_units": "radians"}, r"trajectory_units: must be one of"),
        (
            {**sequence(), "trajectory": {"spiral": None}, "trajectory_units": "cycles_per_m"},
            r"trajectory_units: a computed trajectory is in cycles_per_pixel",
        ),
        # the file
        ("sequence: {tr_ms: 10\n", r"protocol\.yaml: line 2, column 1: .*; a protocol is YAML text"),
        ("sequence: {tr_ms: 10, tr_ms: 11}", r"line 1, column 23: key 'tr_ms' is given twice"),
        ("sequence: {tr_ms: {{ tr }}}", r"line 1, column 20: a key must be plain text, not a list"),
        ("? [1]\n: 2", r"line 1, column 3: a key must be plain text"),
        (f"sequence: {{tr_ms: {'9' * 5000}}}", r"a value cannot be read"),
        ("sequence: 2024-13-45", r"a value cannot be read: month"),
        ("[" * 2000, r"a value cannot be read"),
        # numbers that no array holds
        (sequence(tr_ms=10**400), r"sequence\.tr_ms: a whole number of 401 digits is too large"),
        (sequence(tr_ms=[10, 10**400, 10]), r"sequence\.tr_ms: a whole number of 401 digits is too large"),
        (other("engine", tolerance=10**400), r"engine\.tolerance: a whole number of 401 digits"),
        (dictionary(rank=10**400), r"dictionary\.rank: must be at most 1000000000; got 10+\.\.\."),
        (dictionary(t1_ms={"log": [1, 9, 10**300]}), r"t1_ms\.log: takes"),
        (other("reconstruction", slices=[10**300]), r"slices: must .* at most 1e\+09; got 1e\+300"),
    ],
)  # fmt: skip
def test_mistakes_are_named(load, tmp_path, content, message):
    (tmp_path / "train.csv").write_text("te_ms,text\n4,1\n4,x\n4,3\n")
    with pytest.raises(ProtocolError, match=message) as caught:
        load(content)
    assert str(caught.value).startswith(str(tmp_path / "protocol.yaml: "))


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(ProtocolError, match=r"none\.yaml: cannot read the protocol: No such file"):
        load_protocol(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\x89HDF\xff\xfe")
    with pytest.raises(ProtocolError, match="not a text file"):
        load_protocol(tmp_path / "binary.yaml")


def test_coils_and_delays_of_the_reconstruction(load, tmp_path):
    section = {"coil_compression": 0.99, "sensitivities": "maps.npy", "gradient_delays": "estimate"}
    protocol = load({**sequence(), "reconstruction": {**section, "check_consistency": False}})
    assert protocol.virtual_coils == 0.99
    assert protocol.sensitivity_path == tmp_path / "maps.npy"
    assert str(tmp_path / "maps.npy") in protocol.text  # the protocol may be read from elsewhere
    assert protocol.gradient_delays == "estimate"
    assert not protocol.check_consistency


def test_required_grid(load):
    with pytest.raises(ProtocolError, match="dictionary: missing; this command needs"):
        load(sequence()).required_grid()


def test_example_explains_every_key():
    path = Path(protocol_sequence.__file__).parents[1] / "examples" / "protocol.yaml"
    protocol = load_protocol(path)
    assert protocol.sequence.n_pulses == 400
    assert protocol.grid.n_atoms > 1000
    groups = (*protocol_sequence._TRAIN_KEYS.values(), *protocol_sequence._PULSE_KEYS.values())
    keys = {key for group in (protocol_sequence._KEYS, *groups) for key in group}
    keys |= {*protocol_sequence._TRAIN_KEYS, "golden_angle_radial", "spiral", "cartesian"}
    keys |= {"lines", "slices", "trajectory_units", "coil_compression"}
    keys |= {"sensitivities", "gradient_delays", "check_consistency"}
    assert [key for key in sorted(keys) if key not in protocol.text] == []


def test_shipped_demo_protocol():
    path = Path(protocol_sequence.__file__).parent / "protocols" / "demo.yaml"
    assert load_protocol(path).required_grid().n_atoms > 1000
