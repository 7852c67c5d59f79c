"""A signal model in closed form, and a small dictionary made with it."""

import numpy as np
import pytest

from dictionaries import Grid, generate, linear_axis, log_axis
from epgbloch import Sequence


class ClosedForm:
    """Inversion recovery, T2 decay and precession at the echoes; records how many atoms it was asked for.

    Real on resonance; `scale` is applied to the atoms of the longest T1.
    """

    def __init__(self, scale=None):
        self.scale = scale
        self.calls = []

    def signal(self, sequence, tissue):
        self.calls.append(tissue.n_atoms)
        time = np.cumsum(sequence.tr)
        t1, t2, b1, f = (v[:, None] for v in (tissue.t1, tissue.t2, tissue.b1, tissue.off_resonance))
        recovery = 1 - 2 * np.exp(-time / t1)
        decay = np.exp(-(sequence.te + 0.1 * time) / t2 + 2j * np.pi * f * time)
        signal = np.sin(b1 * sequence.flip_angle) * recovery * decay
        if self.scale is not None:
            signal[tissue.t1 == T1_LONGEST] *= self.scale
        return signal.astype(np.complex64)

    def settings(self):
        return {"model": "ClosedForm", "scale": 1.0}


T1_LONGEST = 3.0
N_PULSES = 60


@pytest.fixture
def closed_form():
    return ClosedForm


@pytest.fixture(scope="session")
def sequence():
    n = np.arange(N_PULSES)
    return Sequence(
        flip_angle=np.deg2rad(20 + 30 * np.sin(0.3 * n) ** 2), tr=0.02, te=0.005, inversion_time=0.01
    )


@pytest.fixture(scope="session")
def grid():
    return Grid(log_axis(0.2, T1_LONGEST, 12), log_axis(0.02, 0.4, 10), linear_axis(0.8, 1.2, 3))


@pytest.fixture(scope="session")
def complex_grid():
    return Grid(log_axis(0.2, T1_LONGEST, 8), log_axis(0.02, 0.4, 6), 1.0, linear_axis(-3, 3, 5))


@pytest.fixture(scope="session")
def dictionary(sequence, grid):
    """Float32, 342 atoms (18 combinations have T2 > T1), rank 6."""
    return generate(ClosedForm(), sequence, grid, rank=6)


@pytest.fixture(scope="session")
def complex_dictionary(sequence, complex_grid):
    """Complex64, 225 atoms (15 combinations have T2 > T1), rank 7."""
    return generate(ClosedForm(), sequence, complex_grid, rank=7)
