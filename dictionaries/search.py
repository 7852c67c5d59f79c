"""Compiled exhaustive search: plain contiguous arrays, no checks. Private to `dictionaries`."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

TILE = 512
"""Atoms that are compared at once: with rank 12 their numbers fit the first-level cache."""
UNROLL = 4
"""The number of components must be a multiple of it."""


# Not "reassoc": equal atoms must give bit-equal products. "nnan" lets the maximum vectorise.
@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def search(tiles: NDArray[np.float32], voxels: NDArray[np.float64], margin: np.float32) -> NDArray[np.int64]:
    """Return the atom of greatest re^2 + im^2 for each voxel, the first of equal ones.

    Single precision finds the atoms within `margin` of the greatest value so far; double precision decides
    between them.

    tiles : (n_tiles, n, TILE) float32, components of the atoms, atoms of 0 at the end of the last tile
    voxels : (n_voxels, 2, n) float64, vectors whose real products with an atom are re and im
    """
    n_voxels, _, n = voxels.shape
    single = voxels.astype(np.float32)
    re, im = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    top = np.full(n_voxels, np.float32(-1))
    best = np.full(n_voxels, -1.0)
    index = np.zeros(n_voxels, np.int64)
    for i_tile in range(tiles.shape[0]):
        tile = tiles[i_tile]
        for i_voxel in range(n_voxels):
            x, y = single[i_voxel, 0], single[i_voxel, 1]
            re[:] = 0
            im[:] = 0
            for k in range(0, n, UNROLL):
                a, b, c, d = tile[k], tile[k + 1], tile[k + 2], tile[k + 3]
                xa, xb, xc, xd = x[k], x[k + 1], x[k + 2], x[k + 3]
                ya, yb, yc, yd = y[k], y[k + 1], y[k + 2], y[k + 3]
                for i in range(TILE):
                    re[i] += a[i] * xa + b[i] * xb + c[i] * xc + d[i] * xd
                    im[i] += a[i] * ya + b[i] * yb + c[i] * yc + d[i] * yd
            greatest = np.float32(0)
            for i in range(TILE):
                re[i] = re[i] * re[i] + im[i] * im[i]
                greatest = max(greatest, re[i])
            if greatest < top[i_voxel] - margin:
                continue
            top[i_voxel] = max(top[i_voxel], greatest)
            lowest = top[i_voxel] - margin
            for i in range(TILE):
                if re[i] >= lowest:
                    power = _power(tile, i, voxels[i_voxel])
                    if power > best[i_voxel]:
                        best[i_voxel] = power
                        index[i_voxel] = i_tile * TILE + i
    return index


@njit(cache=True, nogil=True)
def _power(tile: NDArray[np.float32], i: int, voxel: NDArray[np.float64]) -> float:
    """Return re^2 + im^2 of one atom in double precision."""
    re = im = 0.0
    for k in range(tile.shape[0]):
        re += tile[k, i] * voxel[0, k]
        im += tile[k, i] * voxel[1, k]
    return re * re + im * im
