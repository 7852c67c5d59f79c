"""Tissues to design for, drawn from ranges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from epgbloch import Tissue
from epgbloch._checks import positive_number, require_count, require_seed

Range = tuple[float, float]


def sample_tissues(n: int, t1: Range, t2: Range, b1: Range = (1.0, 1.0), *, seed: int = 0) -> Tissue:
    """Draw tissues that fill ranges evenly: scrambled Sobol points, those with T2 > T1 left out.

    Parameters
    ----------
    n : int
        Number of tissues.
    t1, t2 : tuple of float
        Smallest and largest value [s]; uniform in the logarithm. Two equal numbers fix it.
    b1 : tuple of float
        Smallest and largest transmit field relative to nominal; uniform.
    seed : int
        Of the scrambling.

    Returns
    -------
    Tissue
        n atoms.

    Raises
    ------
    ValueError
        If a range is not positive or descends, or the smallest T2 exceeds the largest T1.
    """
    require_seed(seed)
    require_count("n", n)
    ranges = {"t1": t1, "t2": t2, "b1": b1}
    for name, (low, high) in ranges.items():
        for value in (low, high):
            positive_number(name, value, "plain units" if name == "b1" else "seconds")
        if high < low:
            raise ValueError(f"{name}=({low:.6g}, {high:.6g}) descends; give the smaller value first")
    if t2[0] > t1[1]:
        raise ValueError(
            f"t2 begins at {t2[0]:.6g} s, above the largest T1 of {t1[1]:.6g} s; T2 cannot exceed T1"
        )
    # without what has no partner: at least about half of the points remain
    t1, t2 = (max(t1[0], t2[0]), t1[1]), (t2[0], min(t2[1], t1[1]))
    sobol = qmc.Sobol(3, rng=seed)
    found: NDArray[np.float64] = np.empty((0, 3))
    while len(found) < n:
        points = sobol.random(1 << int(n - 1).bit_length())  # a power of two
        values = np.stack(
            [
                t1[0] * (t1[1] / t1[0]) ** points[:, 0],
                t2[0] * (t2[1] / t2[0]) ** points[:, 1],
                b1[0] + (b1[1] - b1[0]) * points[:, 2],
            ],
            axis=1,
        )
        found = np.concatenate([found, values[values[:, 1] <= values[:, 0]]])
    return Tissue(*found[:n].T)
