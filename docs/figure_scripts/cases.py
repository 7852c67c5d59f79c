"""Trains, tissues and the measure of error that the measurements share."""

import numpy as np

from epgbloch import RFPulse, Sequence, Tissue
from epgbloch.trains import TRAINS, sin_squared

TR, TE, INVERSION_TIME = 8.7e-3, 4.9e-3, 10e-3
PEAKS_DEG = (20, 70, 120, 45, 90)
T1_MS = (300, 500, 900, 1300, 2000, 4000)
T2_MS = (10, 20, 50, 100, 300, 2000)


def tissue(*t2_ms):
    """Tissues of the given T2, each with the T1 that stands beside it in T1_MS."""
    chosen = [T2_MS.index(t2) for t2 in t2_ms or T2_MS]
    return Tissue(1e-3 * np.take(T1_MS, chosen), 1e-3 * np.take(T2_MS, chosen))


def random_tissue(n_atoms, seed=0):
    """T1 0.1-5 s and T2 0.01-2 s, log-uniform with T2 <= T1, B1 0.8-1.2."""
    rng = np.random.default_rng(seed)
    t1 = np.exp(rng.uniform(np.log(0.1), np.log(5), n_atoms))
    t2 = np.exp(rng.uniform(np.log(0.01), np.log(np.minimum(t1, 2))))
    return Tissue(t1, t2, rng.uniform(0.8, 1.2, n_atoms))


def sequence(flip_angle, pulse=None):
    return Sequence(flip_angle, TR, TE, inversion_time=INVERSION_TIME, pulse=pulse)


def lobes(pulse=None, peaks=PEAKS_DEG):
    """400 pulses: five sin^2 lobes in whole degrees, so that the oracle composes few operators."""
    angles = np.rad2deg(sin_squared(400, np.deg2rad(peaks)))
    return sequence(np.deg2rad(np.round(angles)), pulse)


def families(n_pulses, pulse=None):
    """One random train of each family."""
    return {name: sequence(draw(n_pulses, np.random.default_rng(3)), pulse) for name, draw in TRAINS.items()}


def gaussian(n_steps=200):
    """The pulse of the measurements, 1 ms and 3 mm."""
    return RFPulse.gaussian(1e-3, 3e-3, n_steps=n_steps)


def error(signal, expected):
    """Largest difference of every atom relative to its largest signal, shape (n_atoms,)."""
    return np.abs(signal - expected).max(axis=1) / np.abs(expected).max(axis=1)


def rounded(values, digits=3):
    """Numbers with three significant digits as nested lists, for JSON."""
    if np.ndim(values):
        return [rounded(value, digits) for value in values]
    return float(f"{values:.{digits - 1}e}")
