"""Trains written with pypulseq: what is read is what was put in."""

import numpy as np
import pypulseq as pp
import pytest

from design.pulseq.read import read_pulseq
from epgbloch import EPGBloch, RFPulse, Sequence, Tissue
from epgbloch.constants import GAMMA_BAR

N_PULSES = 24
FLIP_ANGLE = np.deg2rad(10 + 50 * np.sin(np.pi * np.arange(N_PULSES) / N_PULSES) ** 2)
TISSUE = Tissue(t1=[0.9, 0.5, 2.0], t2=[0.085, 0.065, 0.3])
SINC = RFPulse.sinc(1e-3, 5e-3)
ALTERNATING = np.pi * (np.arange(N_PULSES) % 2)
SPOILED = np.deg2rad(117) * np.cumsum(np.arange(N_PULSES)) % (2 * np.pi)  # 6 digits in the file
VARYING_TR = 14e-3 + 1e-5 * np.arange(N_PULSES)
TRAINS = {
    "spoiled GRE": ({"phase": SPOILED}, {"phase": SPOILED}),
    "FISP, spokes": (
        {"readout": "spokes", "inversion": "inversion", "tr": VARYING_TR},
        {"inversion_time": 20e-3, "tr": VARYING_TR},
    ),
    "FISP, spirals": ({"readout": "spirals", "inversion": "adiabatic"}, {"inversion_time": 20.005e-3}),
    "bSSFP": (
        {"readout": "spokes", "phase": ALTERNATING, "spoiler": 0.0},
        {"phase": ALTERNATING, "spoiling": "balanced"},
    ),
    "version 1.4": (
        {"readout": "spirals", "inversion": "undefined", "version": "1.4"},
        {"inversion_time": 20e-3},
    ),
    "sagittal": ({"axes": "yzx"}, {}),
    "hard pulses": ({"shape": "hard"}, {"pulse": RFPulse.rectangular(4e-4)}),
}


@pytest.mark.parametrize("name", TRAINS)
def test_a_train_is_read_as_it_was_written(write_train, name):
    options, values = TRAINS[name]
    expected = Sequence(FLIP_ANGLE, **{"tr": 14e-3, "te": 5e-3, "pulse": SINC, **values})
    scan = read_pulseq(write_train(name, FLIP_ANGLE, **options))
    sequence = scan.sequence
    # amplitudes in the file have 6 digits
    np.testing.assert_allclose(sequence.flip_angle, expected.flip_angle, rtol=1e-5)
    np.testing.assert_allclose(np.exp(1j * sequence.phase), np.exp(1j * expected.phase), atol=1e-5)
    # times are rounded to 1e-8 s; the last TR is exact too, as the file ends with it
    np.testing.assert_allclose(sequence.tr, expected.tr, rtol=0, atol=1.1e-8)
    np.testing.assert_allclose(sequence.te, expected.te, rtol=0, atol=1.1e-8)
    assert sequence.inversion_time == pytest.approx(expected.inversion_time, abs=1e-8)
    np.testing.assert_array_equal(sequence.dephasing, expected.dephasing)
    np.testing.assert_array_equal(scan.readout_pulse, np.arange(N_PULSES))
    np.testing.assert_allclose(scan.receiver_phase, 0, atol=1e-5)
    assert scan.notices == ()
    signals = [EPGBloch().signal(train, TISSUE) for train in (sequence, expected)]
    # steps of the pulse: 1 us in the file, 5 us in the one expected
    np.testing.assert_allclose(*signals, rtol=0, atol=1e-4)


def test_the_pulse_and_its_gradient(write_train):
    pulse = read_pulseq(write_train("pulse", FLIP_ANGLE)).sequence.pulse
    assert not np.iscomplexobj(pulse.waveform)
    assert pulse.duration == pytest.approx(1e-3)
    assert pulse.center == pytest.approx(5e-4)
    assert pulse.bandwidth == pytest.approx(4000, rel=1e-5)
    assert pulse.slice_thickness == 5e-3
    assert pulse.gradient == pytest.approx(4000 / (GAMMA_BAR * 5e-3), rel=1e-5)


def test_thickness_from_the_profile_the_definition_or_the_caller(write_train):
    path = write_train("undefined", FLIP_ANGLE, definitions=False)
    scan = read_pulseq(path)
    assert scan.fov is None
    assert scan.matrix is None
    (notice,) = scan.notices
    assert "no definition SliceThickness" in notice
    # half maximum of the transform of the waveform, on a fine grid of frequencies
    frequency = np.linspace(-4000, 4000, 80001)
    times = (np.arange(SINC.n_steps) + 0.5) / SINC.n_steps * SINC.duration
    profile = np.abs(np.exp(2j * np.pi * np.outer(frequency[::20], times)) @ SINC.waveform)
    above = frequency[::20][profile >= profile.max() / 2]
    width = above[-1] - above[0]
    thickness = scan.sequence.pulse.slice_thickness
    assert thickness == pytest.approx(5e-3 * width / 4000, rel=1e-3)  # steps of 2 Hz
    given = read_pulseq(path, slice_thickness=6e-3).sequence.pulse
    assert given.slice_thickness == 6e-3
    assert given.gradient == pytest.approx(scan.sequence.pulse.gradient)


@pytest.mark.parametrize("readout", ["lines", "spokes", "spirals"])
def test_the_trajectory_is_that_of_pypulseq(write_train, readout):
    path = write_train(f"trajectory {readout}", FLIP_ANGLE, readout=readout)
    scan = read_pulseq(path)
    sequence = pp.Sequence()
    sequence.read(str(path))
    positions = sequence.calculate_kspace()[0]
    expected = np.moveaxis(positions[:2].reshape(2, N_PULSES, -1), 0, -1)
    # pypulseq rounds times to 1e-10 s, at up to 1e6 Hz/m
    np.testing.assert_allclose(scan.trajectory, expected, rtol=0, atol=1e-3)
    assert scan.axes == ("x", "y")
    assert scan.dwell == pytest.approx(2e-5)


def test_lines_in_cycles_per_pixel(write_train):
    scan = read_pulseq(write_train("pixels", FLIP_ANGLE))
    assert scan.fov == (0.256, 0.256)
    assert scan.matrix == (32, 32)
    k = scan.cycles_per_pixel()
    assert k.dtype == np.float32
    along = (np.arange(32) + 0.5) / 32 - 0.5
    lines = np.arange(N_PULSES) / 32 - 0.5
    # areas in the file have 6 digits
    np.testing.assert_allclose(k[..., 0], np.broadcast_to(along, (N_PULSES, 32)), atol=5e-6)
    np.testing.assert_allclose(k[..., 1], np.repeat(lines[:, np.newaxis], 32, axis=1), atol=5e-6)
    wide = scan.cycles_per_pixel(matrix=(32, 64), fov=(0.256, 0.512))
    np.testing.assert_allclose(wide, k, atol=1e-7)
    tall = scan.cycles_per_pixel(matrix=(32, 32), fov=(0.512, 0.256))
    np.testing.assert_allclose(tall, k * [1, 2], atol=1e-7)
    np.testing.assert_allclose(scan.cycles_per_pixel(matrix=(64, 64)), k / 2, atol=1e-7)


def test_cycles_per_pixel_needs_field_of_view_and_matrix(write_train):
    scan = read_pulseq(write_train("unknown", FLIP_ANGLE, definitions=False))
    with pytest.raises(ValueError, match="definition FOV"):
        scan.cycles_per_pixel()
    with pytest.raises(ValueError, match="definition Matrix"):
        scan.cycles_per_pixel(fov=(0.2, 0.2))


def test_pulses_without_readout_stay_in_the_train(write_train):
    scan = read_pulseq(write_train("dummies", FLIP_ANGLE, n_dummies=5))
    assert scan.sequence.n_pulses == N_PULSES
    assert scan.n_dummies == 5
    np.testing.assert_array_equal(scan.readout_pulse, np.arange(5, N_PULSES))
    assert scan.trajectory.shape == (N_PULSES - 5, 32, 2)
    np.testing.assert_allclose(scan.sequence.te, 5e-3, atol=1.1e-8)


def test_a_short_first_repetition_without_readout(write_train):
    """Half a flip angle half a TR before a balanced train: its TR leaves no room for the TE of the others."""
    sequence = _joined(
        write_train("half", FLIP_ANGLE[:1] / 2, spoiler=0.0, tr=11e-3, n_dummies=1, readout="lines"),
        write_train("rest", FLIP_ANGLE, spoiler=0.0, te=11e-3, tr=22e-3),
    )
    path = write_train("half", FLIP_ANGLE[:1]).with_name("joined.seq")
    sequence.write(str(path))
    scan = read_pulseq(path)
    assert scan.sequence.tr[0] == pytest.approx(11e-3)
    assert scan.sequence.te[0] == pytest.approx(5.5e-3)
    np.testing.assert_allclose(scan.sequence.te[1:], 11e-3, atol=1.1e-8)
    assert scan.sequence.spoiling == "balanced"


def test_a_receiver_that_stays_is_reported(write_train):
    scan = read_pulseq(write_train("receiver", FLIP_ANGLE, phase=ALTERNATING, adc_phase=0.3))
    expected = np.exp(1j * (0.3 - ALTERNATING))
    np.testing.assert_allclose(np.exp(1j * scan.receiver_phase), expected, atol=1e-5)
    (notice,) = scan.notices
    assert "receiver does not follow" in notice


def test_a_shifted_slice_keeps_its_phase_at_the_centre(write_train, tmp_path):
    """The carrier of an off-centre slice turns during the pulse; its phase counts at the pulse centre."""
    sequence = pp.Sequence()
    sequence.read(str(write_train("shift", FLIP_ANGLE)))
    for number, data in list(sequence.rf_library.data.items()):
        shift = 5e3  # Hz; rf.center is 0.5 ms: 2.5 turns
        sequence.rf_library.data[number] = (*data[:8], shift, data[9])
    path = tmp_path / "shifted.seq"
    sequence.write(str(path))
    phase = read_pulseq(path).sequence.phase
    np.testing.assert_allclose(np.exp(1j * phase), -np.ones(N_PULSES), atol=1e-5)


def test_a_spoiler_of_part_of_a_cycle_is_reported(write_train):
    scan = read_pulseq(write_train("part", FLIP_ANGLE, spoiler=1.5))
    (notice,) = scan.notices
    assert "by 1.5 cycles and leaves up to 21 %" in notice  # sinc(1.5) = 0.212
    np.testing.assert_allclose(scan.voxel_moment, [0, 0, 1.5], atol=1e-4)
    assert scan.sequence.spoiler_moment == pytest.approx(2 * np.pi * 1.5 / 5e-3, rel=1e-4)


def test_duration_and_b1_rms(write_train):
    scan = read_pulseq(write_train("power", FLIP_ANGLE, shape="hard"))
    assert scan.duration == pytest.approx(N_PULSES * 14e-3)
    field = FLIP_ANGLE / (2 * np.pi * GAMMA_BAR * 4e-4)
    assert scan.b1_rms == pytest.approx(np.sqrt(np.sum(field**2) * 4e-4 / scan.duration), rel=1e-5)


def test_a_train_that_spoils_in_part(write_train, tmp_path):
    """Balanced repetitions before spoiled ones: dephasing by repetition."""
    sequence = _joined(
        write_train("balanced part", FLIP_ANGLE[:6], spoiler=0.0),
        write_train("spoiled part", FLIP_ANGLE[6:]),
    )
    path = tmp_path / "part.seq"
    sequence.write(str(path))
    scan = read_pulseq(path)
    np.testing.assert_array_equal(scan.sequence.dephasing, np.arange(N_PULSES) >= 6)
    np.testing.assert_allclose(scan.sequence.flip_angle, FLIP_ANGLE, rtol=1e-5)


def test_noise_before_the_train_is_left_out(write_train, tmp_path):
    path = write_train("quiet", FLIP_ANGLE)
    sequence = pp.Sequence()
    sequence.add_block(pp.make_adc(64, dwell=1e-5, delay=1e-5), pp.make_delay(2e-3))
    joined = tmp_path / "noise.seq"
    _joined(path, first=sequence).write(str(joined))
    scan = read_pulseq(joined)
    assert scan.trajectory.shape == (N_PULSES, 32, 2)
    assert scan.notices == ("1 ADC events before the first RF pulse are left out (noise?)",)


def test_gaps_between_segments(write_train, tmp_path):
    """GE scanners wait after each segment; a label TRID starts one."""
    old, new = pp.Sequence(), pp.Sequence()
    old.read(str(write_train("segments", FLIP_ANGLE)))
    for number in old.block_events:
        block = old.get_block(number)
        events = [*filter(None, [block.rf, block.gx, block.gy, block.gz, block.adc])]
        if block.rf:
            events.append(pp.make_label("TRID", "SET", 1))
        new.add_block(*events, pp.make_delay(block.block_duration))
    path = tmp_path / "segments.seq"
    new.write(str(path))
    np.testing.assert_allclose(read_pulseq(path).sequence.tr, 14e-3, atol=1.1e-8)
    scan = read_pulseq(path, segment_gap=1.5e-4)
    np.testing.assert_allclose(scan.sequence.tr, 14.15e-3, atol=1.1e-8)
    np.testing.assert_allclose(scan.sequence.te, 5e-3, atol=1.1e-8)
    assert scan.duration == pytest.approx(N_PULSES * 14.15e-3)
    new.set_definition("SegmentGap", 1.5e-4)
    new.write(str(path))
    np.testing.assert_allclose(read_pulseq(path).sequence.tr, 14.15e-3, atol=1.1e-8)


def test_the_efficiency_of_an_inversion_is_a_definition(write_train, tmp_path):
    path = write_train("efficiency", FLIP_ANGLE, inversion="inversion")
    text = path.read_text().split("\n[SIGNATURE]")[0]
    assert read_pulseq(path).sequence.inversion_efficiency == 1
    changed = tmp_path / "efficiency.seq"
    changed.write_text(text.replace("[DEFINITIONS]", "[DEFINITIONS]\nInversionEfficiency 0.95"))
    assert read_pulseq(changed).sequence.inversion_efficiency == 0.95


def _joined(*paths, first=None):
    """One sequence of pypulseq after the other, with the definitions of the last."""
    result = first or pp.Sequence()
    for path in paths:
        part = pp.Sequence()
        part.read(str(path))
        for number in part.block_events:
            block = part.get_block(number)
            events = [block.rf, block.gx, block.gy, block.gz, block.adc]
            result.add_block(*filter(None, events), pp.make_delay(block.block_duration))
        for name in ("FOV", "SliceThickness", "Matrix"):
            result.set_definition(name, part.get_definition(name))
    return result
