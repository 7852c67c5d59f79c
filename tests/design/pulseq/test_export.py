"""Pulseq files as pypulseq reads them back: what is played is what the sequence says."""

import numpy as np
import pypulseq
import pytest

from design.pulseq import (
    PRESETS,
    Inversion,
    Readout,
    build_train,
    export_pulseq,
    minimum_times,
    plan_timing,
    preset,
)
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from reconstruction.trajectory import cartesian_lines, golden_angle_radial, variable_density_spiral

MATRIX = (112, 112)
FOV = 0.224
PULSE = RFPulse.gaussian(1e-3, 3e-3)


def readout(kind, n_readouts=5, dwell=10e-6):
    if kind == "radial":
        trajectory = golden_angle_radial(n_readouts, 224)
    elif kind == "cartesian":
        trajectory = cartesian_lines(np.linspace(0, 111, n_readouts).astype(int), 128, matrix=MATRIX)
    else:
        trajectory = variable_density_spiral(n_readouts, 448, matrix=MATRIX)
    return Readout(trajectory, MATRIX, FOV, dwell)


def train(n_pulses=7, **values):
    angles = np.deg2rad(10 + 60 * np.sin(np.linspace(0.1, 3, n_pulses)))
    given = {"tr": 8.7e-3, "te": 4.9e-3, "inversion_time": 20e-3, "pulse": PULSE} | values
    return Sequence(angles, **given)


class Played:
    """What a file plays, from its events alone."""

    def __init__(self, path, scanner):
        self.sequence = pypulseq.Sequence(scanner.opts())
        self.sequence.read(str(path))
        flips, centres, phases, self.inversions, self.adc_phases, first = [], [], [], [], [], []
        start = 0.0
        for i_block in self.sequence.block_events:
            block = self.sequence.get_block(i_block)
            if block.rf is not None:
                turn = 2 * np.pi * block.rf.signal.sum() * scanner.rf_raster
                if block.rf.use == "inversion":
                    self.inversions.append(start + block.rf.delay + block.rf.center)
                else:
                    flips.append(turn)
                    phases.append(block.rf.phase_offset)
                    centres.append(start + block.rf.delay + block.rf.center)
            if block.adc is not None:
                self.adc_phases.append(block.adc.phase_offset)
                first.append(start + block.adc.delay + block.adc.dwell / 2)
                self.dwell, self.n_samples = block.adc.dwell, block.adc.num_samples
            start += block.block_duration
        self.flips, self.centres, self.phases = np.array(flips), np.array(centres), np.array(phases)
        self.first, self.end = np.array(first), start
        self.moments = [
            (lambda time: np.zeros_like(time)) if curve is None else curve.antiderivative()
            for curve in self.sequence.get_gradients()
        ]
        self.curves = self.sequence.get_gradients()

    def moment(self, axis, start, stop):
        """Areas [1/m] of one axis between times; outside of all gradients the moment stays as it is."""
        curve = self.curves[axis]
        if curve is None:
            return np.zeros(len(start))
        low, high = curve.x[0], curve.x[-1]
        moment = self.moments[axis]
        return moment(np.clip(stop, low, high)) - moment(np.clip(start, low, high))


def check(path, scanner, wanted, result, lines, cycles):
    """Compare a file with the sequence and the readout that it was made from."""
    played, sequence = Played(path, scanner), result.sequence
    is_ok, errors = played.sequence.check_timing()
    assert is_ok, errors
    gap = scanner.segment_gap
    n_pulses = wanted.n_pulses

    # half a raster step, and the rounding of sums of times
    assert np.abs(sequence.te - wanted.te).max() <= scanner.rf_raster / 2 + 1e-12
    assert np.abs(sequence.tr - wanted.tr).max() <= scanner.block_raster / 2 + 1e-12
    echoes = played.first + lines.echo_sample * lines.dwell
    # sums of hundreds of durations in double precision
    np.testing.assert_allclose(echoes - played.centres, sequence.te, rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.diff(played.centres) + gap, sequence.tr[:-1], rtol=0, atol=1e-10)
    if wanted.inversion_time is not None:
        assert abs(sequence.inversion_time - wanted.inversion_time) <= scanner.rf_raster / 2 + 1e-12
        assert played.centres[0] - played.inversions[0] + gap == pytest.approx(
            sequence.inversion_time, abs=1e-10
        )
    assert len(played.inversions) == (wanted.inversion_time is not None)

    # the file keeps six digits; the net phase of a pulse is zero
    np.testing.assert_allclose(played.flips, wanted.flip_angle, rtol=6e-6, atol=1e-8)
    np.testing.assert_allclose(np.exp(1j * played.phases), np.exp(1j * wanted.rf_phase), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(played.phases, played.adc_phases)

    # six digits (relative 5e-6) of a few amplitudes with areas up to about 1e3 / m
    nothing = {"rtol": 0, "atol": 1e-2}
    ends = np.append(played.centres[1:], played.end)
    for axis in range(2):
        np.testing.assert_allclose(played.moment(axis, played.centres, ends), 0, **nothing)
    np.testing.assert_allclose(played.moment(2, played.centres, played.first), 0, **nothing)
    np.testing.assert_allclose(played.moment(2, played.centres, echoes), 0, **nothing)
    spoiled = played.moment(2, echoes[:-1], played.centres[1:])
    np.testing.assert_allclose(
        spoiled, wanted.dephasing[:-1] * cycles / wanted.pulse.slice_thickness, **nothing
    )

    # where the samples lie: the tolerance of sampled gradients, in steps of k-space
    positions, _, _, _, times = played.sequence.calculate_kspace()
    positions = positions.T.reshape(n_pulses, lines.n_samples, 3)
    order = np.arange(n_pulses) % lines.n_readouts
    np.testing.assert_allclose(positions[..., :2], lines.positions[order], rtol=0, atol=1e-2 / FOV)
    np.testing.assert_allclose(positions[..., 2], 0, **nothing)
    np.testing.assert_allclose(times.reshape(n_pulses, -1)[:, 0], played.first, rtol=0, atol=1e-10)

    # limits, with the last digit of the file
    for axes in ((0, 1), (2,)):
        curves = [played.curves[axis] for axis in axes if played.curves[axis] is not None]
        knots = np.unique(np.concatenate([curve.x for curve in curves]))
        middle = (knots[1:] + knots[:-1]) / 2
        middle, knots = (
            time[
                (time >= max(curve.x[0] for curve in curves)) & (time <= min(curve.x[-1] for curve in curves))
            ]
            for time in (middle, knots)
        )
        amplitude = np.linalg.norm([curve(knots) for curve in curves], axis=0).max()
        slew = np.linalg.norm([curve.derivative()(middle) for curve in curves], axis=0).max()
        assert amplitude <= scanner.max_amplitude * (1 + 1e-5)
        assert slew <= scanner.max_slew_rate * (1 + 1e-4)
    return played


@pytest.mark.parametrize("kind", ["radial", "cartesian", "spiral"])
@pytest.mark.parametrize("vendor", list(PRESETS))
def test_file_plays_the_sequence(tmp_path, vendor, kind):
    scanner, lines = PRESETS[vendor], readout(kind)
    sequence = train(spoiling="rf", te=2.6e-3, tr=9.3e-3)
    result = export_pulseq(tmp_path / "a.seq", sequence, lines, scanner)
    check(tmp_path / "a.seq", scanner, sequence, result, lines, cycles=4)


def random_design(rng):
    """A scanner, a readout, a train that the scanner can play, its spoiler and its inversion."""
    scanner = preset(
        rng.choice(list(PRESETS)),
        max_gradient=rng.uniform(40e-3, 60e-3),
        max_slew=rng.uniform(120, 200),
        max_b1=60e-6,
        segment_gap=rng.choice([0.0, 117e-6]),
    )
    lines = readout(rng.choice(["radial", "cartesian", "spiral"]), int(rng.integers(1, 6)), dwell=12e-6)
    duration, thickness = rng.uniform(0.5e-3, 2.5e-3), rng.uniform(3e-3, 8e-3)
    chirp = np.hanning(52)[1:-1] * np.exp(1j * np.linspace(0, 1, 50) ** 2)
    shapes = (
        RFPulse.gaussian(duration, thickness),
        RFPulse.sinc(duration, thickness, time_bandwidth_product=rng.uniform(2, 4), n_steps=77),
        RFPulse.from_samples(chirp, duration, 2.5 / duration, thickness, center=0.6 * duration),
    )
    n_pulses, cycles = int(rng.integers(2, 9)), rng.uniform(1, 6)
    orders = rng.integers(0, 2, n_pulses)
    inversion = Inversion(rng.choice(["adiabatic", "block"]), rng.uniform(5e-3, 12e-3), rng.uniform(4, 12))
    pulse = shapes[rng.integers(3)]
    least = minimum_times(
        pulse, lines, scanner, spoiler_cycles=cycles, inversion=inversion, orders=tuple(np.unique(orders))
    )
    te = least.te + rng.uniform(0, 3e-3, n_pulses)
    sequence = Sequence(
        rng.uniform(0, np.pi / 2, n_pulses),
        te=te,
        tr=least.tr + (te - least.te) + rng.uniform(0, 5e-3, n_pulses),
        phase=rng.uniform(-10, 10, n_pulses),
        inversion_time=rng.choice([None, least.inversion_time + rng.uniform(0, 30e-3)]),
        pulse=pulse,
        spoiling=rng.choice(["rf", "gradient"]),
        dephasing=orders,
    )
    return scanner, lines, sequence, cycles, inversion


@pytest.mark.parametrize("seed", range(20))
def test_random_designs_are_played(tmp_path, seed):
    scanner, lines, sequence, cycles, inversion = random_design(np.random.default_rng(seed))
    given = cycles if sequence.dephasing.any() else None
    result = export_pulseq(
        tmp_path / "a.seq", sequence, lines, scanner, spoiler_cycles=given, inversion=inversion
    )
    check(tmp_path / "a.seq", scanner, sequence, result, lines, cycles)


def test_rounding_leaves_the_signal(tmp_path):
    pulse = RFPulse.sinc(1.0337e-3, 3e-3, n_steps=150)
    sequence = train(60, pulse=pulse, te=4.9037e-3, tr=8.7049e-3, inversion_time=20.0007e-3)
    result = export_pulseq(tmp_path / "a.seq", sequence, readout("radial"), PRESETS["ge"])
    tissue = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065])
    engine = EPGBloch()
    assert result.sequence.fingerprint() != sequence.fingerprint()
    # 1 us and 2 us of rounding; a TR of 2 us more changes T1 weighting by 2e-4, the pulse likewise
    difference = engine.signal(result.sequence, tissue) - engine.signal(sequence, tissue)
    assert np.abs(difference).max() < 5e-4


CHIRP = np.hanning(52)[1:-1] * np.exp(2j * np.linspace(0, 1, 50) ** 2)


@pytest.mark.parametrize(
    "pulse",
    [PULSE, RFPulse.from_samples(CHIRP, 2.003e-3, 1.5e3, 3e-3, center=1.2e-3)],
    ids=["gaussian", "chirp"],
)
def test_first_echo_is_that_of_the_model(tmp_path, pulse):
    """Turn magnetisation at positions in the slice by the samples and slice gradients of the file alone."""
    scanner, n_positions, extent = PRESETS["siemens"], 64, 3.0
    sequence = Sequence([1.2], tr=8.7e-3, te=4.9e-3, pulse=pulse, phase=0.4)
    export_pulseq(tmp_path / "a.seq", sequence, readout("radial"), scanner)
    played = Played(tmp_path / "a.seq", scanner)
    block = played.sequence.get_block(1)
    step = scanner.rf_raster
    field = np.zeros(round(4.5e-3 / step), complex)  # slice gradients have ended, the spoiler has not begun
    start = round(block.rf.delay / step)
    field[start : start + block.rf.signal.size] = block.rf.signal * np.exp(1j * block.rf.phase_offset)
    times = (np.arange(field.size) + 0.5) * step
    gradient = played.curves[2](np.clip(times, *played.curves[2].x[[0, -1]]))
    position = ((np.arange(n_positions) + 0.5) / n_positions - 0.5) * extent * pulse.slice_thickness
    m = np.zeros((n_positions, 3))
    m[:, 2] = 1
    for nutation, slope in zip(field, gradient, strict=True):
        turn = np.empty((n_positions, 3))
        turn[:, 0], turn[:, 1], turn[:, 2] = -nutation.imag, nutation.real, slope * position
        turn *= 2 * np.pi * step
        m = _turned(m, turn)
    echo = (m[:, 0] + 1j * m[:, 1]).sum() * extent / n_positions * np.exp(-0.4j)
    never = Tissue(t1=[1e6], t2=[1e6])
    model = EPGBloch(n_subslices=n_positions, slice_extent=extent).signal(sequence, never)[0, 0]
    # 50 steps on the raster of 2003; six digits of gradients; single precision
    assert echo == pytest.approx(model, abs=2e-4)


def _turned(m, turn):
    """Right-handed rotation of each row by |turn| about turn."""
    angle = np.linalg.norm(turn, axis=1, keepdims=True)
    axis = turn / np.where(angle, angle, 1)
    along = axis * (axis * m).sum(axis=1, keepdims=True)
    return along + (m - along) * np.cos(angle) + np.cross(axis, m) * np.sin(angle)


def test_sequence_on_the_rasters_is_played_as_it_is(tmp_path):
    sequence = train()
    result = export_pulseq(tmp_path / "a.seq", sequence, readout("radial"), PRESETS["siemens"])
    assert result.sequence.fingerprint() == sequence.fingerprint()


def test_file_says_what_it_is(tmp_path):
    lines, path = readout("cartesian"), tmp_path / "a.seq"
    sequence = train(te=np.linspace(4.9e-3, 5.2e-3, 7), inversion_efficiency=0.96)
    result = export_pulseq(
        path, sequence, lines, PRESETS["ge"], name="train", definitions={"Design": "abc", "Bound": 5.64}
    )
    played = Played(path, PRESETS["ge"]).sequence
    assert path.read_text().startswith("# Pulseq sequence file")
    assert "major 1\nminor 5\n" in path.read_text()
    wanted = {
        "Name": "train",
        "Design": "abc",
        "Bound": 5.64,
        "SliceThickness": 3e-3,
        "SpoilerCycles": 4,
        "InversionTime": 0.02,
        "InversionEfficiency": 0.96,
        "InversionPulse": "adiabatic",
        "SegmentGap": 117e-6,
        "SequenceFingerprint": result.sequence.fingerprint(),
    }
    for key, value in wanted.items():
        found = played.get_definition(key)
        assert found == (pytest.approx(value, abs=2e-6) if isinstance(value, float) else value), key
    np.testing.assert_allclose(played.get_definition("FOV"), [FOV, FOV, 3e-3])
    np.testing.assert_array_equal(played.get_definition("Matrix"), [112, 112])
    # the raster of RF
    np.testing.assert_allclose(played.get_definition("TE"), [4.9e-3, 5.2e-3], rtol=0, atol=2e-6)
    labels = played.evaluate_labels(evolution="adc")
    np.testing.assert_array_equal(labels["LIN"], np.arange(7) % 5)
    np.testing.assert_array_equal(labels["REP"], np.arange(7) // 5)
    assert "TE: " in result.report
    assert result.report_path.read_text() == result.report
    assert result.report_path == tmp_path / "a.txt"


@pytest.mark.parametrize(("kind", "n_segments"), [("radial", 2), ("spiral", 6)])
def test_segments_are_numbered(kind, n_segments):
    # the inversion, one for all spokes, one for each spiral
    built = build_train(plan_timing(train(te=2.6e-3, tr=9.3e-3), readout(kind), PRESETS["ge"]))
    labels = built.evaluate_labels(evolution="blocks")["TRID"]
    assert len(np.unique(labels[labels > 0])) == n_segments
    shapes = {}
    for segment, i_block in zip(labels, built.block_events, strict=True):
        block = built.get_block(i_block)
        events = [getattr(block, name) is not None for name in ("rf", "gx", "gy", "gz", "adc")]
        is_wait = not any(events)
        shapes.setdefault(segment, []).append((*events, 0 if is_wait else round(block.block_duration * 1e6)))
    for segment in range(2, n_segments + 1):
        blocks = shapes[segment]
        n_repeats = np.count_nonzero([events[0] for events in blocks])
        length = len(blocks) // n_repeats
        assert blocks == blocks[:length] * n_repeats


def test_zero_flip_angles_are_played(tmp_path):
    sequence = Sequence([0.0, 0.5], tr=8.7e-3, te=4.9e-3, pulse=PULSE)
    result = export_pulseq(tmp_path / "a.seq", sequence, readout("radial"), PRESETS["siemens"])
    check(tmp_path / "a.seq", PRESETS["siemens"], sequence, result, readout("radial"), cycles=4)


def test_balanced_train_rewinds_everything(tmp_path):
    sequence = train(spoiling="balanced", inversion_time=None)
    result = export_pulseq(tmp_path / "a.seq", sequence, readout("radial"), PRESETS["siemens"])
    check(tmp_path / "a.seq", PRESETS["siemens"], sequence, result, readout("radial"), cycles=4)
    assert result.minimum_times.tr < minimum_times(PULSE, readout("radial"), PRESETS["siemens"]).tr
    assert result.spoiler_cycles == 0
    with pytest.raises(ValueError, match="spoiler_cycles=4 has no use"):
        export_pulseq(tmp_path / "b.seq", sequence, readout("radial"), PRESETS["siemens"], spoiler_cycles=4)


def test_spoiler_moment_of_the_sequence_is_played(tmp_path):
    lines, scanner = readout("radial"), PRESETS["siemens"]
    sequence = train(spoiler_moment=2 * np.pi * 2 / 3e-3)
    result = export_pulseq(tmp_path / "a.seq", sequence, lines, scanner)
    assert result.spoiler_cycles == pytest.approx(2)
    check(tmp_path / "a.seq", scanner, sequence, result, lines, cycles=2)
    with pytest.raises(ValueError, match=r"spoiler_cycles=4 contradicts .* makes 2 turns"):
        export_pulseq(tmp_path / "b.seq", sequence, lines, scanner, spoiler_cycles=4)


def test_inversion_is_spoiled_on_all_axes(tmp_path):
    scanner = PRESETS["siemens"]
    inversion = Inversion("block", 1e-3, spoiler_cycles=6)
    export_pulseq(tmp_path / "a.seq", train(), readout("radial"), scanner, inversion=inversion)
    played = Played(tmp_path / "a.seq", scanner)
    before = played.centres[:1] - 2e-3  # the slice gradient of the first pulse starts later
    for axis in range(3):
        moment = played.moment(axis, np.array(played.inversions), before)
        assert moment[0] == pytest.approx(6 / 3e-3, rel=1e-5)  # six digits


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "my train"}, "definition 'Name': 'my train' must be words without spaces"),
        ({"path": "a.txt"}, r"path='a.txt' must end in \.seq"),
    ],
)
def test_unfit_names_are_refused(tmp_path, monkeypatch, values, message):
    monkeypatch.chdir(tmp_path)
    path = values.pop("path", "a.seq")
    with pytest.raises(ValueError, match=message):
        export_pulseq(path, train(), readout("radial"), PRESETS["siemens"], **values)
    assert list(tmp_path.iterdir()) == []
