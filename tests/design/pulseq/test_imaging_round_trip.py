"""Imaging sequences written as Pulseq files and read back: the same pulses, samples and signal."""

import numpy as np
import pypulseq
import pytest

from design.mrzero import ImagingSequence, Voxels, phase_graph_signal
from design.pulseq import export_imaging_sequence, preset, read_imaging_sequence

N, FOV = 6, 0.18
STEP = 1 / FOV
DWELL = 100e-6
LINES = (np.arange(N) - N // 2) * STEP
OPEN = [False] + [True] * N + [False]
SCANNER = preset("siemens", max_b1=60e-6)


def repetition(angle, phase, before, read, after, wait):
    """Pulse, moment before, N samples along `read`, moment after; both take `wait` seconds."""
    moments = [before, *[[STEP * part for part in read]] * N, after]
    return angle, phase, moments, [wait, *[DWELL] * N, wait], OPEN, phase


def flash():
    phase = [np.deg2rad(117) * i * (i + 1) / 2 for i in range(N)]
    return ImagingSequence.from_repetitions(
        [
            repetition(0.4, phase[i], [-N / 2 * STEP, ky, 0], (1, 0, 0), [0, -ky, 300], 2.5e-3)
            for i, ky in enumerate(LINES)
        ]
    )


def turbo_spin_echo():
    """Of 140 degrees, whose crushers are smaller than what slice gradients leave."""
    echoes = [
        repetition(np.deg2rad(140), np.pi / 2, [0, ky, 200], (1, 0, 0), [0, -ky, 200], 2.7e-3) for ky in LINES
    ]
    first = np.pi / 2, 0.0, [[N / 2 * STEP, 0, 200]], [3e-3], [False], 0.0
    return ImagingSequence.from_repetitions([first, *echoes], use=["excitation", *["refocusing"] * N])


def balanced():
    return ImagingSequence.from_repetitions(
        [
            repetition(0.7, np.pi * i, [-N / 2 * STEP, ky, 0], (1, 0, 0), [-N / 2 * STEP, -ky, 0], 2e-3)
            for i, ky in enumerate(LINES)
        ]
    )


def echo_planar():
    moments, times, sampled = [[-N / 2 * STEP, -N / 2 * STEP, 0]], [3e-3], [False]
    for i in range(N):
        moments += [[STEP * (-1) ** i, 0, 0]] * N + [[0, STEP, 0]]
        times += [20e-6] * N + [3e-4]
        sampled += [True] * N + [False]
    return ImagingSequence.from_repetitions([(1.2, 0.3, moments, times, sampled, 0.3)])


def radial():
    repetitions = []
    for angle in np.pi * np.arange(5) / 5:
        x, y = np.cos(angle), np.sin(angle)
        half = -N / 2 * STEP * np.array([x, y, 0])
        repetitions.append(repetition(0.35, 0.0, half, (x, y, 0), half + np.array([0, 0, 300]), 2.5e-3))
    return ImagingSequence.from_repetitions(repetitions)


def spiral():
    """Sampled gradients, after an inversion."""
    turn = (np.arange(40) + 1) / 40
    k = np.diff(3 * STEP * turn * np.exp(6j * np.pi * turn), prepend=0)
    moments = np.stack([k.real, k.imag, 0 * turn], axis=1)
    inversion = np.pi, 0.0, [[0, 0, 250]], [9e-3], [False], 0.0
    shot = (
        1.0,
        0.5,
        [[0, 0, 0], *moments, [0, 0, 250]],
        [2e-3, *[30e-6] * 40, 3e-3],
        [False, *[True] * 40, False],
    )
    return ImagingSequence.from_repetitions(
        [inversion, (*shot, 0.5)] * 2, use=["inversion", "excitation"] * 2
    )


SEQUENCES = {
    "FLASH": flash,
    "TSE": turbo_spin_echo,
    "bSSFP": balanced,
    "EPI": echo_planar,
    "radial": radial,
    "spiral": spiral,
}


@pytest.fixture(scope="module")
def voxels():
    rng = np.random.default_rng(3)
    x = (np.arange(N) - N // 2) * FOV / N
    ys, xs = np.meshgrid(x, x, indexing="ij")
    n = xs.size
    return Voxels(
        np.stack([xs.ravel(), ys.ravel(), rng.normal(0, 1e-3, n)], axis=1),
        [FOV / N, FOV / N, 5e-3],
        proton_density=rng.uniform(0.2, 1, n),
        t1=rng.uniform(0.3, 2.0, n),
        t2=rng.uniform(0.04, 0.2, n),
        off_resonance=rng.normal(0, 15, n),
        b1=rng.uniform(0.8, 1.2, n) * np.exp(1j * rng.normal(0, 0.3, n)),
    )


@pytest.mark.parametrize("slice_thickness", [5e-3, None], ids=["selective", "hard"])
@pytest.mark.parametrize("name", SEQUENCES)
def test_the_file_plays_the_sequence(name, slice_thickness, voxels, tmp_path):
    sequence = SEQUENCES[name]()
    path = tmp_path / "imaging.seq"
    export_imaging_sequence(sequence, path, SCANNER, fov=(FOV, FOV, 5e-3), slice_thickness=slice_thickness)
    file = pypulseq.Sequence(SCANNER.opts())
    file.read(str(path))
    timing, faults = file.check_timing()
    assert timing, faults

    played = read_imaging_sequence(path)
    # 6 digits in the file
    np.testing.assert_allclose(played.flip_angle, sequence.flip_angle, rtol=1e-5)
    np.testing.assert_allclose(np.exp(1j * (played.phase - sequence.phase)), 1, rtol=0, atol=1e-5)
    assert played.use.tolist() == sequence.use.tolist()
    k, times = (
        [np.cumsum(values(s), axis=0)[s.adc] for s in (played, sequence)]
        for values in (lambda s: s.moments, lambda s: s.durations)
    )
    # sums of moments with 6 digits; bent gradients of spirals miss a little
    np.testing.assert_allclose(*k, rtol=1e-5, atol=6e-3)
    # all times of these sequences are on the rasters
    np.testing.assert_allclose(*times, rtol=0, atol=2e-9)
    ours, theirs = (phase_graph_signal(s, voxels) for s in (played, sequence))
    # 6e-3 1/m at the edge of the object, 0.09 m: 3e-3 rad at most, and no sample alone
    assert np.linalg.norm(ours - theirs) <= 3e-4 * np.linalg.norm(theirs)


def test_a_played_file_is_played_alike_again(tmp_path):
    """What is read has events of blocks, gradients of slices apart from RF pulses; it can be exported too."""
    first, second = tmp_path / "first.seq", tmp_path / "second.seq"
    options = {"fov": (FOV, FOV, 5e-3), "slice_thickness": 5e-3}
    export_imaging_sequence(turbo_spin_echo(), first, SCANNER, **options)
    once = read_imaging_sequence(first)
    export_imaging_sequence(once, second, SCANNER, **options)
    twice = read_imaging_sequence(second)
    for values in (lambda s: s.moments, lambda s: s.durations):
        ours, theirs = (np.cumsum(values(s), axis=0)[s.adc] for s in (once, twice))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=6e-3)
    np.testing.assert_allclose(twice.flip_angle, once.flip_angle, rtol=1e-5)
