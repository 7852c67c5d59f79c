"""Imaging sequences as Pulseq files: what is played, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from design import LimitError
from design.mrzero import ImagingSequence
from design.pulseq import export_imaging_sequence, preset, read_imaging_sequence
from design.pulseq.blocks import read_blocks
from design.pulseq.gradients import gentlest_trapezoid, least_steps
from design.pulseq.moments import Moments
from design.pulseq.pulses import played_pulses
from epgbloch.constants import GAMMA_BAR

FOV = (0.2, 0.2, 5e-3)
STEP, N = 1 / FOV[0], 16
SCANNER = preset("siemens", max_b1=60e-6)


def spin_echo(**changes):
    """Inversion, excitation and one refocused line."""
    values = {
        "flip_angle": [np.pi, np.pi / 2, np.pi],
        "phase": [0.0, 0.0, np.pi / 2],
        "n_events": [1, 1, N + 2],
        "moments": [
            [0, 0, 500],
            [N / 2 * STEP, 0, 400],
            [0, 3 * STEP, 400],
            *[[STEP, 0, 0]] * N,
            [0, 0, 200],
        ],
        "durations": [8e-3, 5e-3, 4.2e-3, *[50e-6] * N, 3e-3],
        "adc": [False] * 3 + [True] * N + [False],
        "adc_phase": 0.4,
        "use": ["inversion", "excitation", "refocusing"],
    }
    return ImagingSequence(**{**values, **changes})


@pytest.fixture
def write(tmp_path):
    """A function that exports a sequence and returns the path of its file."""

    def export(sequence, scanner=SCANNER, **options):
        path = tmp_path / "imaging.seq"
        export_imaging_sequence(sequence, path, scanner, **{"fov": FOV, "slice_thickness": 5e-3, **options})
        return path

    return export


def test_pulses_are_those_of_the_paper(write):
    blocks = read_blocks(write(spin_echo()))
    pulses = played_pulses(blocks)
    assert [pulse.event.use for pulse in pulses] == ["inversion", "excitation", "refocusing"]
    moments = Moments(blocks)
    for pulse in pulses:
        assert pulse.end - pulse.start == pytest.approx(1e-3)
        assert pulse.center - pulse.start == pytest.approx(0.5e-3)
    inversion, excitation, refocusing = (pulse.event.samples for pulse in pulses)
    assert np.ptp(np.abs(inversion)) == 0
    # bandwidth 4 / 1 ms over the slice, from the middle of the pulse
    for pulse in pulses[1:]:
        times = np.linspace(pulse.start, pulse.end, 9)
        expected = [0, 0, 4000 / 5e-3]
        np.testing.assert_allclose(moments.gradient(times), np.tile(expected, (9, 1)), rtol=1e-5)
    np.testing.assert_array_equal(moments.gradient([pulses[0].start, pulses[0].end]), 0)
    # zero crossings of a sinc of time-bandwidth product 4: a quarter of the duration from the centre
    envelope = excitation.real
    assert envelope[[260, 740]].min() > 0 > envelope[[240, 760]].max()
    np.testing.assert_allclose(refocusing / refocusing.max(), excitation / excitation.max(), atol=1e-5)


def test_options_of_pulses(write):
    path = write(spin_echo(), refocusing_duration=2e-3, pulse_duration=1.5e-3, time_bandwidth_product=3)
    pulses = played_pulses(read_blocks(path))
    assert [round((pulse.end - pulse.start) * 1e3, 6) for pulse in pulses] == [1.5, 1.5, 2.0]
    gradients = Moments(read_blocks(path)).gradient([pulse.center for pulse in pulses])[:, 2]
    np.testing.assert_allclose(gradients, [0, 3 / 1.5e-3 / 5e-3, 3 / 2e-3 / 5e-3], rtol=1e-5)
    hard = Moments(read_blocks(write(spin_echo(), slice_thickness=None)))
    np.testing.assert_array_equal(hard.gradient([pulse.center for pulse in pulses]), 0)


def test_definitions(write):
    definitions = read_blocks(write(spin_echo(), name="se")).definitions
    np.testing.assert_allclose(definitions["FOV"], FOV)
    assert definitions["SliceThickness"] == 5e-3
    assert definitions["Name"] == "se"


def test_negative_angles_turn_the_phase(write):
    played = read_imaging_sequence(write(spin_echo(flip_angle=[np.pi, -np.pi / 3, np.pi])))
    np.testing.assert_allclose(played.flip_angle, [np.pi, np.pi / 3, np.pi], rtol=1e-5)
    np.testing.assert_allclose(played.phase, [0, np.pi, np.pi / 2], atol=1e-5)


def test_waits_stay_waits(write):
    """Extra moments go to events with moments, not to long waits without."""
    sequence = ImagingSequence(
        [0.5], [0.0], [4 + N], [[0, 0, 0], [STEP, 0, 10], *[[STEP, 0, 0]] * N, [0, 0, 0], [0, 0, 50]],
        [5e-3, 1e-3, *[2e-5] * N, 5e-3, 2e-3], [False] * 2 + [True] * N + [False] * 2,
    )  # fmt: skip
    moments = Moments(read_blocks(write(sequence)))
    origin = played_pulses(read_blocks(write(sequence)))[0].center
    assert not moments.gradient(origin + np.linspace(0.7e-3, 4.9e-3, 20)).any()
    assert not moments.gradient(origin + 6e-3 + N * 2e-5 + np.linspace(0.2e-3, 4.9e-3, 20)).any()


@pytest.mark.parametrize(("moment", "time"), [(400.0, 10e-3), (-18000.0, 30e-3)])
def test_gradients_of_long_events_end_early(write, moment, time):
    """After 10 ms, or twice the least time: 15 ms at the largest amplitude."""
    sequence = ImagingSequence(
        [0.5], [0.0], [2 + N], [[0, 0, moment], *[[STEP, 0, 0]] * N, [0, 0, 0]],
        [0.2, *[2e-5] * N, 3e-3], [False, *[True] * N, False],
    )  # fmt: skip
    blocks = read_blocks(write(sequence))
    centre = played_pulses(blocks)[0].center
    on = Moments(blocks).gradient(centre + np.arange(1e-3, 0.1985, 1e-4))[:, 2] != 0
    assert on.sum() * 1e-4 == pytest.approx(time, abs=1.5e-3)
    assert on[: on.sum()].all()


def random_sequence(rng):
    """Events of any moments and times off the rasters, and samples on no line."""
    repetitions = []
    for _ in range(4):
        dwell = 60e-6 + rng.uniform(0, 1e-6)
        read = rng.normal(0, 4, 3) + rng.choice([0, 0.3]) * rng.normal(0, 1, (12, 3))
        moments = np.concatenate([rng.normal(0, 100, (2, 3)), read, rng.normal(0, 100, (1, 3))])
        times = [*rng.uniform(1.5e-3, 3e-3, 2), *[dwell] * 12, rng.uniform(2.5e-3, 4e-3)]
        sampled = [False, bool(rng.integers(2))] + [True] * 12 + [False]
        phases = rng.uniform(0, 6) + rng.choice([0, 0.2]) * np.arange(15)
        repetitions.append((rng.uniform(0, 1), rng.uniform(0, 6), moments, times, sampled, phases))
    return ImagingSequence.from_repetitions(repetitions)


@pytest.mark.parametrize("seed", range(8))
def test_random_sequences_are_played_within_limits(write, seed):
    rng = np.random.default_rng(seed)
    sequence = random_sequence(rng)
    scanner = [SCANNER, preset("philips"), preset("ge", segment_gap=0)][seed % 3]
    path = write(sequence, scanner, slice_thickness=[8e-3, None][seed % 2])
    played = read_imaging_sequence(path)
    assert played.n_repetitions == sequence.n_repetitions
    np.testing.assert_allclose(played.flip_angle, sequence.flip_angle, rtol=1e-5)
    for ours, theirs in (
        (played.phase, sequence.phase),
        (played.adc_phase[played.adc], sequence.adc_phase[sequence.adc]),
    ):
        # 6 digits of phases up to 2 pi, and of a frequency over the readout
        np.testing.assert_allclose(np.exp(1j * (ours - theirs)), 1, rtol=0, atol=5e-5)
    # 6 digits of moments up to 1000 1/m, 4 repetitions; bent gradients between raster times: 1 % of 1 / FOV
    np.testing.assert_allclose(*(sample_moments(s) for s in (played, sequence)), rtol=0, atol=0.06)
    np.testing.assert_allclose(*(pulse_moments(s) for s in (played, sequence)), rtol=0, atol=0.01)
    # pulses on the block raster, ADCs on the RF raster, dwell times on the ADC raster
    limit = scanner.block_raster / 2 + scanner.rf_raster / 2 + 6 * scanner.adc_raster
    np.testing.assert_allclose(*(sample_times(s) for s in (played, sequence)), rtol=0, atol=limit)
    blocks = read_blocks(path)
    times = np.arange(0, blocks.end, 1e-6)
    gradient = Moments(blocks).gradient(times)
    slew = np.diff(gradient, axis=0) / 1e-6
    for values, largest in ((gradient, scanner.max_amplitude), (slew, scanner.max_slew_rate)):
        # 6 digits of amplitudes
        assert np.linalg.norm(values[:, :2], axis=1).max() <= largest * (1 + 1e-5)
        assert np.abs(values[:, 2]).max() <= largest * (1 + 1e-5)


def sample_moments(sequence):
    return np.cumsum(sequence.moments, axis=0)[sequence.adc]


def pulse_moments(sequence):
    return np.add.reduceat(sequence.moments, sequence.first_event[:-1])


def sample_times(sequence):
    return np.cumsum(sequence.durations)[sequence.adc]


def test_single_samples_have_adcs_of_their_own(write):
    moments = [[0, 0, 0], [5, 3, 100], [0, 0, 300], [0, 0, 100]]
    sequence = ImagingSequence(
        [0.5], [0.0], [4], moments, [2e-3, 3.3337e-3, 4e-3, 4e-3], [False, True, True, False]
    )
    path = write(sequence)
    blocks = read_blocks(path)
    assert [blocks.adc_events[number].n_samples for number in blocks.adc if number] == [1, 1]
    played = read_imaging_sequence(path)
    np.testing.assert_allclose(sample_times(played), sample_times(sequence), atol=0.6e-6)  # RF raster
    np.testing.assert_allclose(sample_moments(played), sample_moments(sequence), atol=5e-3)  # 6 digits


FAULTS = {
    "B1 peak": ({}, {"scanner": preset("siemens")}, r"at pulse 1 exceeds the 20 uT .*shape in 1\.17 ms"),
    "slice gradient": ({}, {"slice_thickness": 2e-3}, "exceeds the 28 mT/m"),
    "readout gradient": ({"durations": [8e-3, 5e-3, 4.2e-3, *[4e-6] * N, 3e-3]}, {},
                         r"repetition 2, events 1 to 16, a readout: .* 28 mT/m"),
    "dwell": ({"durations": [8e-3, 5e-3, 4.2e-3, *[1e-8] * N, 3e-3]}, {}, "below the ADC raster of 0.1 us"),
    "duration": ({"durations": [8e-3, 1e-3, 4.2e-3, *[5e-5] * N, 3e-3]}, {},
                 r"repetition 1, events 0 to 0 \(block 4 of the file, between pulse and pulse\): .*no time"),
    "slew rate": ({"durations": [8e-3, 1.5e-3, 4.2e-3, *[5e-5] * N, 3e-3]}, {},
                  r"repetition 1, events 0 to 0 \(block 4 .*: slew rate=.* exceeds 150 T/m/s"),
    "gradient amplitude": ({"durations": [8e-3, 3e-3, 4.2e-3, *[5e-5] * N, 3e-3],
                            "moments": [[0, 0, 500], [2400, 0, 400], [0, 3 * STEP, 400], *[[STEP, 0, 0]] * N,
                                        [0, 0, 200]]}, {}, "exceeds 0.028 T/m"),
}  # fmt: skip


@pytest.mark.parametrize("limit", FAULTS)
def test_infeasible_events_name_place_and_limit(write, tmp_path, limit):
    changes, options, message = FAULTS[limit]
    with pytest.raises(LimitError, match=message) as caught:
        write(spin_echo(**changes), **options)
    assert caught.value.limit == limit
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", ["duration", "slew rate", "gradient amplitude"])
def test_nearest_duration_is_the_least(write, limit):
    changes, _, _ = FAULTS[limit]
    sequence = spin_echo(**changes)
    with pytest.raises(LimitError, match="nearest duration") as caught:
        write(sequence)
    durations = np.array(sequence.durations)
    durations[1] = caught.value.nearest
    write(spin_echo(**{**changes, "durations": durations}))
    durations[1] -= SCANNER.block_raster
    with pytest.raises(LimitError, match="repetition 1"):
        write(spin_echo(**{**changes, "durations": durations}))


def test_uneven_moments_need_time(write):
    moments = np.array(spin_echo().moments)
    moments[4:-1:2] *= -1
    with pytest.raises(LimitError, match=r"repetition 2, events 1 to 16, a readout: slew rate=.*more even"):
        write(spin_echo(moments=moments))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fov": (0.2, 0.2)}, "fov="),
        ({"fov": (0.2, 0.2, 0)}, "fov="),
        ({"slice_thickness": -1.0}, "slice_thickness"),
        ({"pulse_duration": 0.0}, "duration"),
        ({"name": "two words"}, "without spaces"),
        ({"scanner": preset("ge", max_b1=60e-6)}, "segment_gap"),
    ],
)
def test_bad_options_are_refused(write, options, message):
    with pytest.raises(ValueError, match=message):
        write(spin_echo(), **options)


def test_uneven_receiver_phases_are_refused(write):
    phases = np.zeros(N + 4)
    phases[8] = 1.0
    with pytest.raises(ValueError, match=r"repetition 2, events 1 to 16.*adc_phase"):
        write(spin_echo(adc_phase=phases))


def test_path_must_be_a_pulseq_file(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.seq"):
        export_imaging_sequence(spin_echo(), tmp_path / "a.txt", SCANNER, fov=FOV, slice_thickness=None)


def test_least_trapezoid_is_the_least():
    """Against all trapezoids on the raster."""
    amplitude, slew, raster = 28e-3 * GAMMA_BAR, 150 * GAMMA_BAR, 1e-5
    for area in (1e-3, 1.0, 10.98, 200.0, 900.0):
        least = next(
            n
            for n in range(2, 500)
            for rise in range(1, n // 2 + 1)
            if area <= min(amplitude, slew * rise * raster) * (n - rise) * raster
        )
        assert least_steps(area, amplitude, slew, raster) == least
        shape, part = gentlest_trapezoid(area, least, amplitude, slew, raster)
        assert shape.duration == pytest.approx(least * raster)
        assert 0.5 * (least > 4) <= part <= 1 + 1e-9


def test_labels_of_uses_change_the_pulses(write):
    """What is no excitation or refocusing is not selective."""
    sequence = spin_echo(use=["preparation", "excitation", "excitation"])
    blocks = read_blocks(write(sequence))
    gradients = Moments(blocks).gradient([pulse.center for pulse in played_pulses(blocks)])[:, 2]
    assert [bool(gradient) for gradient in gradients] == [False, True, True]


def test_scanner_raster_is_kept(write):
    coarse = replace(SCANNER, block_raster=100e-6)
    blocks = read_blocks(write(spin_echo(), coarse))
    np.testing.assert_allclose(blocks.duration / 1e-4, np.rint(blocks.duration / 1e-4), atol=1e-6)
