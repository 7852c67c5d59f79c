"""Compiled exact search of the best atoms: plain contiguous arrays, no checks. Private to `dictionaries`."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dictionaries.tiles import TILE, UNROLL

_TILE = np.uint64(TILE)  # unsigned: signed places would be checked for counting from the end


@njit(cache=True, nogil=True)
def search(
    atoms: NDArray[np.float32],
    numbers: NDArray[np.int64],
    centres: NDArray[np.float32],
    spread: NDArray[np.float32],
    voxels: NDArray[np.float64],
    powers: NDArray[np.float32],
    margin: np.float32,
    n_best: int,
) -> NDArray[np.int64]:
    """Return the `n_best` atoms of greatest |d^H a|^2 - |d^H b|^2 for each voxel, the first of equal ones.

    A tile is refused if its bound says that no atom of it can be among the best. In other tiles, single
    precision finds the atoms within `margin` of the worst of the best so far; double precision decides.

    atoms, numbers, centres, spread : see `Tiles`
    voxels : (n_voxels, n_parts, 2, n) float64, for a and b the two vectors whose real products with an atom
        are Re and Im; n_parts = 1 without b
    powers : (n_voxels, n_parts) float32, ||a||^2 and ||b||^2, at most about 1
    """
    n_voxels, n_parts = voxels.shape[:2]
    single = voxels.astype(np.float32)
    flat_atoms, flat_centres = atoms.reshape(-1), centres.reshape(-1)
    work = np.empty(2 * TILE, np.float32)
    power = np.empty((n_parts, TILE), np.float32)
    bounds = np.empty(spread.shape[1], np.float32)
    index = np.empty((n_voxels, n_best), np.int64)
    values = np.empty(n_best)
    for i_voxel in range(n_voxels):
        best = index[i_voxel]
        best[:] = -1
        values[:] = -np.inf
        for i in range(centres.shape[0]):
            _power(flat_centres, i, single[i_voxel], work, power)
            _bound(power, powers[i_voxel], spread, margin, i * TILE, bounds)
        # the most promising tile first: then most others are refused
        first = np.argmax(bounds[: numbers.shape[0]])
        for i in range(-1, numbers.shape[0]):
            lowest = np.float32(values[-1]) - margin
            i_tile = first if i < 0 else i
            if bounds[i_tile] < lowest or i == first:
                continue
            _power(flat_atoms, i_tile, single[i_voxel], work, power)
            for j in range(TILE):
                criterion = power[0, j] if n_parts == 1 else power[0, j] - power[1, j]
                if criterion >= lowest and numbers[i_tile, j] >= 0:
                    value = _criterion(flat_atoms, i_tile, j, voxels[i_voxel])
                    _insert(numbers[i_tile, j], value, best, values)
                    lowest = np.float32(values[-1]) - margin
    return index


@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def _power(tiles, i_tile, voxel, work, power):
    """Write re^2 + im^2 of the products of a and b with all atoms of a tile to `power`."""
    n = voxel.shape[2]
    for i_part in range(voxel.shape[0]):
        x, y = voxel[i_part, 0], voxel[i_part, 1]
        work[:] = 0
        for k in range(0, n, UNROLL):
            xa, xb, xc, xd = x[k], x[k + 1], x[k + 2], x[k + 3]
            ya, yb, yc, yd = y[k], y[k + 1], y[k + 2], y[k + 3]
            start = np.uint64((i_tile * n + k) * TILE)
            for i in range(_TILE):
                at_a = start + i
                at_b = at_a + _TILE
                at_c = at_b + _TILE
                at_d = at_c + _TILE
                a, b, c, d = tiles[at_a], tiles[at_b], tiles[at_c], tiles[at_d]
                work[i] += a * xa + b * xb + c * xc + d * xd
                work[i + _TILE] += a * ya + b * yb + c * yc + d * yd
        for i in range(TILE):
            power[i_part, i] = work[i] * work[i] + work[TILE + i] * work[TILE + i]


@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def _bound(power, powers, spread, margin, start, bounds):
    """Write what |d^H a|^2 - |d^H b|^2 cannot exceed in TILE tiles to `bounds`, from `start` on.

    power : (n_parts, TILE) float32, |u^H a|^2 and |u^H b|^2 of their centres u
    """
    for i in range(TILE):
        beside = np.sqrt(max(powers[0] - power[0, i], np.float32(0)) + margin)
        greatest = spread[1, start + i] * np.sqrt(power[0, i]) + spread[2, start + i] * beside
        bounds[start + i] = greatest * greatest
    if powers.size == 2:
        for i in range(TILE):
            beside = np.sqrt(max(powers[1] - power[1, i], np.float32(0)) + margin)
            least = spread[0, start + i] * np.sqrt(power[1, i]) - spread[2, start + i] * beside
            least = max(least, np.float32(0))
            bounds[start + i] -= least * least


@njit(cache=True, nogil=True)
def _criterion(tiles, i_tile, i, voxel):
    """Return |d^H a|^2 - |d^H b|^2 of one atom in double precision."""
    n = voxel.shape[2]
    value = 0.0
    for i_part in range(voxel.shape[0]):
        re = im = 0.0
        for k in range(n):
            component = tiles[(i_tile * n + k) * TILE + i]
            re += component * voxel[i_part, 0, k]
            im += component * voxel[i_part, 1, k]
        power = re * re + im * im
        value = value - power if i_part else power
    return value


@njit(cache=True, nogil=True)
def _insert(number, value, best, values):
    """Take an atom into the list of the best, in the order of falling values, then rising numbers."""
    i = values.size
    while i > 0 and (value > values[i - 1] or (value == values[i - 1] and number < best[i - 1])):
        if i < values.size:
            values[i], best[i] = values[i - 1], best[i - 1]
        i -= 1
    if i < values.size:
        values[i], best[i] = value, number
