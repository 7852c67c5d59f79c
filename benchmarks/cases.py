"""Named pieces of work that benchmarks share."""

import numpy as np

from epgbloch import RFPulse, Sequence, Tissue
from epgbloch.trains import sin_squared

N_STATES = 20


def reference_sequence(*, selective):
    """Reference work E: inversion, 1000 pulses in 5 sin^2 lobes of 10-70 degrees, TR 8.7 ms, TE 4.9 ms."""
    return Sequence(
        sin_squared(1000, np.deg2rad([10, 25, 40, 55, 70])),
        tr=8.7e-3,
        te=4.9e-3,
        inversion_time=10e-3,
        pulse=RFPulse.gaussian(1e-3, 5e-3) if selective else None,
    )


def reference_tissue(n_atoms):
    """T1 0.1-5 s and T2 0.01-2 s, log-spaced, T2 <= T1: the first `n_atoms` of an even spread."""
    t1, t2 = np.meshgrid(np.geomspace(0.1, 5, 48), np.geomspace(0.01, 2, 48), indexing="ij")
    keep = np.flatnonzero((t2 <= t1).ravel())
    chosen = keep[np.linspace(0, keep.size - 1, n_atoms).astype(int)]
    return Tissue(t1.ravel()[chosen], t2.ravel()[chosen])


def design_sequence():
    """Setting of Liu et al. 2021, section 3.3.2: 336 pulses up to 90 degrees, ideal inversion at once."""
    return Sequence(
        sin_squared(336, np.deg2rad([20, 40, 60, 80, 90])), tr=8.7e-3, te=4.9e-3, inversion_time=0.0
    )


def design_tissue():
    """T1/T2 of 900/85 and 500/65 ms."""
    return Tissue([0.9, 0.5], [0.085, 0.065])


def surrogate_sequence(n_pulses):
    """Inversion and five sin^2 lobes of 10-70 degrees, TR 8.7 ms, TE 4.9 ms, Gaussian pulse of 1 ms, 3 mm."""
    return Sequence(
        sin_squared(n_pulses, np.deg2rad([10, 25, 40, 55, 70])),
        tr=8.7e-3,
        te=4.9e-3,
        inversion_time=10e-3,
        pulse=RFPulse.gaussian(1e-3, 3e-3),
    )
