"""A small object, and the sequences of the field on it."""

import numpy as np
import pytest

from design.mrzero import ImagingSequence, Voxels

N = 6
FOV = 0.18
STEP = 1 / FOV
READOUT = [[STEP, 0, 0]] * N
OPEN = [False] + [True] * N + [False]


def lines():
    """Phase encoding of every line [cycles/m]."""
    return (np.arange(N) - N // 2) * STEP


def flash(spoiler=300.0):
    repetitions = []
    for i, ky in enumerate(lines()):
        phase = np.deg2rad(117) * i * (i + 1) / 2
        moments = [[-N / 2 * STEP, ky, 0], *READOUT, [0, -ky, spoiler]]
        times = [1e-3, *[4e-3 / N] * N, 1e-3]
        repetitions.append((np.deg2rad(25), phase, moments, times, OPEN, phase))
    return ImagingSequence.from_repetitions(repetitions)


def turbo_spin_echo(angle=140.0):
    repetitions = [(np.pi / 2, 0.0, [[N / 2 * STEP, 0, 200.0]], [5e-3], [False], 0.0)]
    for ky in lines():
        moments = [[0, ky, 200.0], *READOUT, [0, -ky, 200.0]]
        times = [1e-3, *[8e-3 / N] * N, 1e-3]
        repetitions.append((np.deg2rad(angle), np.pi / 2, moments, times, OPEN, np.pi / 2))
    return ImagingSequence.from_repetitions(repetitions)


def balanced():
    repetitions = []
    for i, ky in enumerate(lines()):
        moments = [[-N / 2 * STEP, ky, 0], *READOUT, [-N / 2 * STEP, -ky, 0]]
        times = [1e-3, *[3e-3 / N] * N, 1e-3]
        repetitions.append((np.deg2rad(40), np.pi * i, moments, times, OPEN, np.pi * i))
    return ImagingSequence.from_repetitions(repetitions)


def echo_planar():
    moments, times, sampled = [[-N / 2 * STEP, -N / 2 * STEP, 0]], [2e-3], [False]
    for i in range(N):
        sign = 1 if i % 2 == 0 else -1
        moments += [[sign * STEP, 0, 0]] * N + [[0, STEP, 0]]
        times += [5e-4] * N + [2e-4]
        sampled += [True] * N + [False]
    return ImagingSequence.from_repetitions([(np.deg2rad(70), 0.3, moments, times, sampled, 0.3)])


def radial():
    repetitions = []
    for i in range(5):
        x, y = np.cos(np.pi * i / 5), np.sin(np.pi * i / 5)
        moments = [[-N / 2 * STEP * x, -N / 2 * STEP * y, 0], *[[STEP * x, STEP * y, 0]] * N]
        moments += [[-N / 2 * STEP * x, -N / 2 * STEP * y, 300.0]]
        times = [1e-3, *[4e-3 / N] * N, 1e-3]
        repetitions.append((np.deg2rad(20), 0.0, moments, times, OPEN, 0.0))
    return ImagingSequence.from_repetitions(repetitions)


SEQUENCES = {
    "FLASH": flash,
    "TSE": turbo_spin_echo,
    "bSSFP": balanced,
    "EPI": echo_planar,
    "radial": radial,
}


@pytest.fixture(params=SEQUENCES)
def sequence(request):
    return SEQUENCES[request.param]()


@pytest.fixture
def make_voxels():
    """A function that makes random voxels, with changes of their fields."""

    def make(**changes):
        rng = np.random.default_rng(3)
        x = (np.arange(N) - N // 2) * FOV / N
        ys, xs = np.meshgrid(x, x, indexing="ij")
        position = np.stack([xs.ravel(), ys.ravel(), np.zeros(xs.size)], axis=1)
        n = len(position)
        fields = {
            "proton_density": rng.uniform(0.2, 1, n),
            "t1": rng.uniform(0.3, 2.0, n),
            "t2": rng.uniform(0.04, 0.2, n),
            "off_resonance": rng.normal(0, 15, n),
            "b1": rng.uniform(0.8, 1.2, n) * np.exp(1j * rng.normal(0, 0.3, n)),
        }
        return Voxels(position, [FOV / N, FOV / N, 5e-3], **{**fields, **changes})

    return make
