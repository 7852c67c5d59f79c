"""Colours of quantitative maps, as recommended for relaxometry.

Lipari for T1 and navia for T2 are perceptually uniform and readable with colour vision deficiencies.
Relaxation times, whose relative differences count, go through a scale that is logarithmic above 1 / e of the
largest value shown, and linear below, so that it reaches zero.

References
----------
Fuderer et al. 2025, Magn Reson Med 93:490, doi 10.1002/mrm.30290 (colour maps and scale for relaxometry).
Crameri, Scientific colour maps 8, doi 10.5281/zenodo.1243862 (lipari and navia; MIT licence).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import FuncNorm, LinearSegmentedColormap
from numpy.typing import NDArray

# Equidistant; interpolated, they differ from the published 256 colours by less than 1 / 255.
_LIPARI = """
031326 061d35 092844 0e3253 183d61 25486d 355176 45587a 515b7a 5c5d79 655e77
6e5f75 785f72 826070 8c616d 98616a a46267 b16364 be6561 cc685f d96e5e e37761
e88365 ea8f6c e99a73 e7a47b e5ae83 e5b88c e7c399 ebcfa7 f0dbb7 f6e8c9 fdf5da
"""
_NAVIA = """
031327 051c36 052545 062f56 073865 0a4274 0e4d81 14578a 1a608f 206891 256e90
2a748e 2e798c 337d89 378186 3c8683 418a80 468f7d 4c9479 529a76 5aa172 62a86d
6cb06a 78b968 88c369 9bcc71 afd57d c1dd8e d1e39f dfe8b0 eaedc0 f4f1cd fcf4d9
"""
COLOUR_MAPS = {
    name: LinearSegmentedColormap.from_list(name, [f"#{colour}" for colour in colours.split()])
    for name, colours in (("lipari", _LIPARI), ("navia", _NAVIA))
}
"""Colour maps that matplotlib lacks, by name."""


def relaxation_norm(highest: float) -> FuncNorm:
    """Scale of relaxation times from 0 to `highest`: linear up to ``highest / e``, then logarithmic.

    Value and slope are continuous at ``highest / e``, where half of the colours are spent.

    Parameters
    ----------
    highest : float
        Value with the last colour, > 0.

    Returns
    -------
    FuncNorm
        Norm of matplotlib, 0 to 1; colour bars show it with uniform colours.
    """
    knee = highest / np.e

    def forward(values: Any) -> NDArray[Any]:
        scaled = np.asarray(values, dtype=np.float64) / knee
        return np.where(scaled > 1, 1 + np.log(np.maximum(scaled, 1)), scaled)

    def inverse(values: Any) -> NDArray[Any]:
        colours = np.asarray(values, dtype=np.float64)
        return knee * np.where(colours > 1, np.exp(np.maximum(colours, 1) - 1), colours)

    return FuncNorm((forward, inverse), vmin=0, vmax=highest)
