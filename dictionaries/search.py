"""Compiled exact search of the best atoms: plain contiguous arrays, no checks. Private to `dictionaries`."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dictionaries.tiles import TILE, UNROLL

_Singles: TypeAlias = NDArray[np.float32]
_Doubles: TypeAlias = NDArray[np.float64]
_Numbers: TypeAlias = NDArray[np.int64]

_TILE = np.uint64(TILE)  # signed places would be checked for counting from the end
_ROUNDING = 2.0**-24  # of single precision


@njit(cache=True, nogil=True)
def search(
    atoms: _Singles,
    numbers: _Numbers,
    centres: _Singles,
    spread: _Singles,
    voxels: _Doubles,
    powers: _Singles,
    n_best: int,
) -> _Numbers:
    """Return the `n_best` atoms of greatest |d^H a|^2 - |d^H b|^2 for each voxel, the first of equal ones.

    A tile is refused if its bound says that no atom of it can be among the best. In other tiles, single
    precision singles out the atoms that might be, up to a margin for its rounding; double precision decides.

    atoms, numbers, centres, spread : see `Tiles`
    voxels : (n_voxels, n_parts, 2, n) float64, for a and b the two vectors whose real products with an atom
        are Re and Im; n_parts = 1 without b; a and b have at most unit norm
    powers : (n_voxels, n_parts) float32, ||a||^2 and ||b||^2
    """
    n_voxels, n_parts, _, n = voxels.shape
    n_tiles, n_groups = numbers.shape[0], centres.shape[0]
    # u = 2^-24. A real product of n terms of vectors of unit norm, rounded to single precision, errs by
    # e = (n + 2) u at most, |d^H a| by sqrt(2) e and |d^H a|^2 by 3 (n + 3) u; so the criterion by
    # 6 (n + 3) u. In the bound, |u^H a| errs as |d^H a|, what is left beside u is taken too large by the
    # margin, and the sum is at most sqrt(2): its square errs by 2 sqrt(2) (sqrt(2) e + 6 u), that of b
    # likewise, which makes (8 n + 50) u. The margin exceeds both for the n of at least 4 that there are.
    margin = np.float32(16 * (n + 4) * _ROUNDING)
    single = voxels.astype(np.float32)
    flat_atoms, flat_centres = atoms.reshape(-1), centres.reshape(-1)
    work = np.empty(2 * TILE, np.float32)
    power = np.empty((n_parts, TILE), np.float32)
    bounds = np.empty((n_groups, TILE), np.float32)
    greatest = np.empty(n_groups, np.float32)
    index = np.empty((n_voxels, n_best), np.int64)
    values = np.empty(n_best)
    for i_voxel in range(n_voxels):
        best = index[i_voxel]
        best[:] = -1
        values[:] = -np.inf
        for i_group in range(n_groups):
            _power(flat_centres, i_group, single[i_voxel], work, power)
            greatest[i_group] = _bound(power, powers[i_voxel], spread[i_group], margin, bounds[i_group])
        # the most promising tile comes first, so that most others are refused
        top = np.argmax(greatest)
        first = min(top * TILE + np.argmax(bounds[top]), n_tiles - 1)
        _power(flat_atoms, first, single[i_voxel], work, power)
        _compare(flat_atoms, first, numbers[first], voxels[i_voxel], power, margin, best, values)
        for i_group in range(n_groups):
            if greatest[i_group] < np.float32(values[-1]) - margin:
                continue
            start = i_group * TILE
            for i_tile in range(start, min(start + TILE, n_tiles)):
                if bounds[i_group, i_tile - start] < np.float32(values[-1]) - margin or i_tile == first:
                    continue
                _power(flat_atoms, i_tile, single[i_voxel], work, power)
                _compare(flat_atoms, i_tile, numbers[i_tile], voxels[i_voxel], power, margin, best, values)
    return index


@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def _power(tiles: _Singles, i_tile: int, voxel: _Singles, work: _Singles, power: _Singles) -> None:
    """Write re^2 + im^2 of the products of a and b with all atoms of a tile to `power`, (n_parts, TILE)."""
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


# "nnan" and "nsz" let the maximum vectorise
@njit(cache=True, nogil=True, fastmath={"contract", "nnan", "nsz"})
def _bound(
    power: _Singles, powers: _Singles, spread: _Singles, margin: np.float32, bounds: _Singles
) -> np.float32:
    """Write what |d^H a|^2 - |d^H b|^2 cannot exceed in each tile of a group; return the greatest of these.

    power : (n_parts, TILE) float32, |u^H a|^2 and |u^H b|^2 of the centres u
    """
    zero, two = np.float32(0), np.float32(2)
    for i in range(TILE):
        # squares of largest |u^H d| |u^H a|, and of radius times the norm of a without u
        along = spread[1, i] * spread[1, i] * power[0, i]
        beside = spread[2, i] * spread[2, i] * (max(powers[0] - power[0, i], zero) + margin)
        bounds[i] = along + beside + two * np.sqrt(along * beside)
    if powers.size == 2:
        for i in range(TILE):
            along = spread[0, i] * spread[0, i] * power[1, i]
            beside = spread[2, i] * spread[2, i] * (max(powers[1] - power[1, i], zero) + margin)
            least = along + beside - two * np.sqrt(along * beside)
            bounds[i] -= least if along > beside else zero
    greatest = bounds[0]
    for i in range(TILE):
        greatest = max(greatest, bounds[i])
    return greatest


@njit(cache=True, nogil=True)
def _compare(
    tiles: _Singles,
    i_tile: int,
    numbers: _Numbers,
    voxel: _Doubles,
    power: _Singles,
    margin: np.float32,
    best: _Numbers,
    values: _Doubles,
) -> None:
    """Take those atoms of a tile into the list of the best that belong there."""
    lowest = np.float32(values[-1]) - margin
    for i in range(TILE):
        criterion = power[0, i] if power.shape[0] == 1 else power[0, i] - power[1, i]
        if criterion >= lowest and numbers[i] >= 0:
            _insert(numbers[i], _criterion(tiles, i_tile, i, voxel), best, values)
            lowest = np.float32(values[-1]) - margin


# No fastmath: equal atoms must give bit-equal values.
@njit(cache=True, nogil=True)
def _criterion(tiles: _Singles, i_tile: int, i: int, voxel: _Doubles) -> float:
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
def _insert(number: int, value: float, best: _Numbers, values: _Doubles) -> None:
    """Take an atom into the list of the best, in the order of falling values, then of rising numbers."""
    i = values.size
    while i > 0 and (value > values[i - 1] or (value == values[i - 1] and number < best[i - 1])):
        if i < values.size:
            values[i], best[i] = values[i - 1], best[i - 1]
        i -= 1
    if i < values.size:
        values[i], best[i] = value, number
