"""Files of other people, written with pypulseq alone, as imaging sequences."""

import numpy as np
import pypulseq as pp
import pytest

from design.mrzero import Twin, Voxels
from design.mrzero.sequences import radial_gradient_echo
from design.pulseq import export_imaging_sequence, preset, read_imaging_sequence

FOV, N, THICKNESS, DWELL = 0.256, 8, 5e-3, 2e-5
SYSTEM = pp.Opts(
    max_grad=30, grad_unit="mT/m", max_slew=120, slew_unit="T/m/s", rf_dead_time=1e-4,
    rf_ringdown_time=2e-5, adc_dead_time=1e-5,
)  # fmt: skip
FLAT = pp.make_trapezoid("x", flat_area=N / FOV, flat_time=N * DWELL, system=SYSTEM)
ADC = {"num_samples": N, "dwell": DWELL, "delay": FLAT.rise_time, "system": SYSTEM}
LINE = (np.arange(N) + 0.5) / FOV
"""k of the samples from the start of the flat top on."""


def pulse(angle, use, phase=0.0, **options):
    """Slice-selective sinc, its gradient and the rewinder of it."""
    return pp.make_sinc_pulse(
        angle, duration=1e-3, slice_thickness=THICKNESS, time_bw_product=4, apodization=0.5, return_gz=True,
        phase_offset=phase, use=use, delay=1e-4, system=SYSTEM, **options,
    )  # fmt: skip


@pytest.fixture
def read(tmp_path):
    """A function that writes a sequence of pypulseq and reads it."""

    def written(sequence, **options):
        path = tmp_path / "other.seq"
        sequence.write(str(path), **options)
        return read_imaging_sequence(path)

    return written


def k_of_samples(sequence):
    """Moments since the last pulse, shape (n_samples, 3)."""
    since = []
    first = sequence.first_event
    for n in range(sequence.n_repetitions):
        events = slice(first[n], first[n + 1])
        since.append(np.cumsum(sequence.moments[events], axis=0)[sequence.adc[events]])
    return np.concatenate(since)


def totals(sequence):
    """Moments and times from pulse to pulse."""
    first = sequence.first_event[:-1]
    return np.add.reduceat(sequence.moments, first), np.add.reduceat(sequence.durations, first)


def gradient_echoes(n_lines=4):
    sequence = pp.Sequence(SYSTEM)
    rf, gz, gzr = pulse(0.3, "excitation")
    for i in range(n_lines):
        rf.phase_offset = 0.1 * i
        rf, adc = rf, pp.make_adc(phase_offset=0.1 * i, **ADC)
        before = pp.make_trapezoid("x", area=-FLAT.area / 2, duration=1e-3, system=SYSTEM)
        line = pp.make_trapezoid("y", area=(i - 2) / FOV, duration=1e-3, system=SYSTEM)
        sequence.add_block(rf, gz)
        sequence.add_block(before, line, gzr)
        sequence.add_block(FLAT, adc)
        back = pp.scale_grad(line, -1)
        sequence.add_block(before, back, pp.make_trapezoid("z", area=4 / THICKNESS, system=SYSTEM))
        sequence.add_block(pp.make_delay(2e-3))
    return sequence, rf, gz, gzr


def test_gradient_echoes(read):
    sequence, rf, gz, gzr = gradient_echoes()
    scan = read(sequence)
    np.testing.assert_allclose(scan.flip_angle, 0.3, rtol=1e-5)  # 6 digits
    np.testing.assert_allclose(scan.phase, 0.1 * np.arange(4), atol=1e-6)
    np.testing.assert_allclose(
        scan.adc_phase[scan.adc].reshape(4, N), 0.1 * np.arange(4)[:, None] * np.ones(N)
    )
    assert scan.use.tolist() == ["excitation"] * 4
    k = k_of_samples(scan).reshape(4, N, 3)
    # the prephaser undoes half of the whole trapezoid, ramps included
    np.testing.assert_allclose(k[..., 0], np.tile(LINE - N / FOV / 2, (4, 1)), atol=1e-3)
    np.testing.assert_allclose(k[..., 1], (np.arange(4)[:, None] - 2) / FOV * np.ones(N), atol=1e-3)
    np.testing.assert_allclose(k[..., 2], 0, atol=2e-3)
    moment, time = totals(scan)
    np.testing.assert_array_equal(moment[:-1, :2], 0)  # what 6 digits leave is removed
    np.testing.assert_allclose(moment[:-1, 2], 4 / THICKNESS + gz.area + gzr.area, rtol=1e-5)
    blocks = list(sequence.block_durations.values())
    np.testing.assert_allclose(time[:-1], sum(blocks) / 4, atol=1e-9)
    center = rf.delay + rf.shape_dur / 2
    np.testing.assert_allclose(time[-1], sum(blocks) / 4 - center, atol=1e-9)
    # the last sample half a dwell time before the end of the flat top
    till = blocks[0] + blocks[1] + FLAT.rise_time + (N - 0.5) * DWELL - center
    np.testing.assert_allclose(np.cumsum(scan.durations)[scan.adc][N - 1], till, atol=1e-9)


def turbo_spin_echo(inverted=False):
    """Two excitations with three echoes each."""
    sequence = pp.Sequence(SYSTEM)
    excite, refocus = pulse(np.pi / 2, "excitation", np.pi / 2), pulse(np.deg2rad(150), "refocusing")
    crusher = pp.make_trapezoid("z", area=3 / THICKNESS, duration=2e-3, system=SYSTEM)
    before = pp.make_trapezoid("x", area=FLAT.area / 2, duration=2e-3, system=SYSTEM)
    for _ in range(2):
        if inverted:
            sequence.add_block(
                pp.make_block_pulse(np.pi, duration=1e-3, delay=1e-4, system=SYSTEM, use="inversion")
            )
            sequence.add_block(pp.make_delay(20e-3))
        sequence.add_block(*excite[:2])
        sequence.add_block(before, excite[2])
        for _ in range(3):
            sequence.add_block(*refocus[:2])
            sequence.add_block(crusher)
            sequence.add_block(FLAT, pp.make_adc(**ADC))
            sequence.add_block(crusher)
        sequence.add_block(pp.make_delay(50e-3))
    return sequence, refocus[1]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("version", ["1.4", "1.5"])
def test_turbo_spin_echoes(read, version, inverted):
    sequence, slice_select = turbo_spin_echo(inverted)
    scan = read(sequence, v141_compat=version == "1.4")
    before = ["inversion"] * inverted
    assert scan.use.tolist() == [*before, "excitation", *["refocusing"] * 3] * 2
    n = 4 + inverted
    angles = [*[180] * inverted, 90, *[150] * 3]
    np.testing.assert_allclose(np.rad2deg(scan.flip_angle), angles * 2, rtol=1e-5)
    moment, time = totals(scan)
    # between refocusing pulses: both halves of slice gradients, two crushers, one readout
    between = [FLAT.area, 0, 6 / THICKNESS + slice_select.area]
    np.testing.assert_allclose(moment[n - 3 : n - 1], [between] * 2, rtol=1e-5, atol=1e-9)
    first = [FLAT.area / 2, 0, (slice_select.area) / 2]
    # the excitation is rewound; half of the gradient of the first refocusing pulse is left
    np.testing.assert_allclose(moment[n - 4], first, rtol=1e-5, atol=1e-2)
    # exactly, or echoes that meet would not merge
    np.testing.assert_allclose(moment[n - 3, 0], 2 * moment[n - 4, 0], rtol=1e-12)
    blocks = [sequence.block_durations[i] for i in sequence.block_events]
    np.testing.assert_allclose(time[n - 3], sum(blocks[-5:-1]), atol=1e-9)


def test_echo_planar_readouts_with_blips(read):
    sequence = pp.Sequence(SYSTEM)
    rf, gz, gzr = pulse(np.pi / 2, "excitation")
    sequence.add_block(rf, gz)
    before = [pp.make_trapezoid("x", area=-FLAT.area / 2, duration=1e-3, system=SYSTEM)]
    sequence.add_block(gzr, *before)
    for i in range(4):
        sequence.add_block(pp.scale_grad(FLAT, (-1) ** i), pp.make_adc(**ADC))
        sequence.add_block(pp.make_trapezoid("y", area=1 / FOV, duration=2e-4, system=SYSTEM))
    scan = read(sequence)
    assert scan.n_repetitions == 1
    k = k_of_samples(scan).reshape(4, N, 3)
    np.testing.assert_allclose(k[1::2, ::-1, 0], k[::2, :, 0], atol=1e-3)
    np.testing.assert_allclose(k[0, :, 0], LINE - N / FOV / 2, atol=1e-3)
    np.testing.assert_allclose(k[..., 1], np.arange(4)[:, None] / FOV * np.ones(N), atol=1e-3)


def test_arbitrary_gradients_and_ramp_sampling(read):
    wave = 2e5 * np.sin(np.pi * (np.arange(100) + 0.5) / 100)
    gradient = pp.make_arbitrary_grad("y", wave, first=0, last=0, system=SYSTEM)
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(pp.make_block_pulse(0.2, duration=2e-4, delay=1e-4, system=SYSTEM, use="excitation"))
    sequence.add_block(gradient, pp.make_adc(40, dwell=DWELL, delay=1e-4, system=SYSTEM))
    k = k_of_samples(read(sequence))
    times = 1e-4 + (np.arange(40) + 0.5) * DWELL
    expected = 2e5 * 1e-3 / np.pi * (1 - np.cos(np.pi * times / 1e-3))
    np.testing.assert_allclose(
        k[:, 1], expected, rtol=0, atol=2e-2
    )  # lines between samples: 1e-4 of the area
    np.testing.assert_array_equal(k[:, [0, 2]], 0)


@pytest.mark.parametrize("shape", ["gauss", "arbitrary", "offset"])
def test_pulses_of_any_shape(read, shape):
    common = {"system": SYSTEM, "delay": 1e-4, "use": "excitation", "phase_offset": 0.5}
    phase = 0.5
    if shape == "gauss":
        rf = pp.make_gauss_pulse(0.8, duration=1e-3, **common)
    elif shape == "arbitrary":
        samples = np.hanning(1002)[1:-1] * np.exp(0.3j)
        rf = pp.make_arbitrary_rf(samples, 0.8, center=5e-4, **common)
        phase += 0.3
    else:  # a slice off the centre: the carrier turns until the centre of the pulse
        rf = pp.make_sinc_pulse(0.8, duration=1e-3, freq_offset=1000.0 / 3, **common)
        phase += 2 * np.pi / 6
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(rf)
    sequence.add_block(FLAT, pp.make_adc(freq_offset=500.0, phase_offset=0.2, **ADC))
    scan = read(sequence)
    assert scan.flip_angle[0] == pytest.approx(0.8, rel=1e-5)
    assert scan.phase[0] == pytest.approx(phase, abs=1e-5)
    expected = 0.2 + 2 * np.pi * 500 * (np.arange(N) + 0.5) * DWELL
    np.testing.assert_allclose(scan.adc_phase[scan.adc], expected, atol=1e-6)


def test_adiabatic_inversion_saturation_and_noise(read):
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(pp.make_adc(N, dwell=DWELL, delay=1e-4, system=SYSTEM), pp.make_delay(5e-3))
    sequence.add_block(
        pp.make_adiabatic_pulse("hypsec", duration=8e-3, dwell=1e-5, delay=1e-4, system=SYSTEM)
    )
    sequence.add_block(pp.make_trapezoid("z", area=800, system=SYSTEM))
    saturation = pp.make_gauss_pulse(1.9, duration=8e-3, system=SYSTEM, delay=1e-4, use="saturation")
    sequence.add_block(saturation)
    rf, gz, gzr = pulse(0.3, "excitation")
    sequence.add_block(rf, gz)
    sequence.add_block(gzr)
    sequence.add_block(FLAT, pp.make_adc(**ADC))
    scan = read(sequence)
    assert scan.use.tolist() == ["preparation", "inversion", "preparation", "excitation"]
    np.testing.assert_allclose(scan.flip_angle, [0, np.pi, 1.9, 0.3], rtol=1e-5)
    assert scan.n_samples == 2 * N
    np.testing.assert_allclose(scan.durations[0], 1e-4 + DWELL / 2, atol=1e-12)
    np.testing.assert_array_equal(scan.moments[:N], 0)


def test_unknown_uses_are_guessed(read):
    """Twice refocused: only a large pulse before an excitation, without samples, inverts."""
    sequence = pp.Sequence(SYSTEM)

    def hard(angle):
        sequence.add_block(
            pp.make_block_pulse(angle, duration=1e-3, delay=1e-4, system=SYSTEM, use="undefined")
        )
        sequence.add_block(pp.make_delay(5e-3))

    for angle in (np.pi, np.pi / 2, np.pi, np.pi):
        hard(angle)
    sequence.add_block(FLAT, pp.make_adc(**ADC))
    hard(1.8)
    assert read(sequence).use.tolist() == [
        "inversion", "excitation", "refocusing", "refocusing", "refocusing",
    ]  # fmt: skip


def test_files_without_signal_are_refused(read):
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(FLAT, pp.make_adc(**ADC))
    with pytest.raises(ValueError, match=r"other\.seq: the file has no RF pulse"):
        read(sequence)
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(*pulse(0.3, "excitation")[:2])
    with pytest.raises(ValueError, match="no ADC"):
        read(sequence)


def test_samples_during_a_pulse_are_refused(read):
    sequence = pp.Sequence(SYSTEM)
    sequence.add_block(*pulse(0.3, "excitation")[:2], pp.make_adc(N, dwell=DWELL, delay=8e-4, system=SYSTEM))
    with pytest.raises(ValueError, match="ADC of block 1 is on during an RF pulse"):
        read(sequence)


def test_segment_gaps_count(tmp_path):
    sequence = pp.Sequence(SYSTEM)
    for _ in range(2):
        sequence.add_block(*pulse(0.3, "excitation")[:2], pp.make_label("TRID", "SET", 1))
        sequence.add_block(FLAT, pp.make_adc(**ADC))
    path = tmp_path / "gap.seq"
    sequence.write(str(path))
    plain, late = read_imaging_sequence(path), read_imaging_sequence(path, segment_gap=1e-4)
    # once between the pulses, once after the last segment
    np.testing.assert_allclose(totals(late)[1] - totals(plain)[1], 1e-4, atol=1e-9)
    with pytest.raises(ValueError, match="segment_gap=-1 s"):
        read_imaging_sequence(path, segment_gap=-1.0)


def test_spokes_merge_as_before(tmp_path):
    # an even number of spokes has one without moment along x, whose rounding is all that it plays there
    sequence = radial_gradient_echo(8, 0.2, flip_angle=0.4, tr=20e-3, te=5e-3)
    path = tmp_path / "spokes.seq"
    export_imaging_sequence(sequence, path, preset("siemens"), fov=(0.2, 0.2, 5e-3), slice_thickness=None)
    twin = Twin(Voxels([[0.01, 0.0, 0.0]], [0.025, 0.025, 5e-3], 1.0, 1.0, 0.1))
    counts = [twin.plan(one).graph.n_states for one in (sequence, read_imaging_sequence(path))]
    assert counts[0] == counts[1]
