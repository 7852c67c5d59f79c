"""Atoms in tiles of similar ones, with a bound on their products with any vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILE = 64
"""Atoms of a tile: similar enough to be refused together, enough of them to be worth a bound."""
UNROLL = 4
"""The number of components is a multiple of it."""

_N_SAMPLE = 32  # vectors that tell the ranges of a group


@dataclass(frozen=True, eq=False)
class Tiles:
    """Atoms in tiles, in the layout of `search`.

    A complex atom has the components Re, Im, Re, Im, ...

    With u the unit centre of a tile, every atom d of it is ``d = (u^H d) u + e``, e orthogonal to u. Thus for
    every vector x, with x' what is left of x without u,
    ``smallest |u^H x| - radius ||x'|| <= |d^H x| <= largest |u^H x| + radius ||x'||``.

    Attributes
    ----------
    atoms : ndarray, shape (n_tiles, n, TILE), float32
        Components of the atoms, with zeros up to a multiple of UNROLL. The last tile is filled up with copies
        of an atom.
    numbers : ndarray, shape (n_tiles, TILE), int64
        Numbers of the atoms in the dictionary; -1 for the copies.
    centres : ndarray, shape (n_groups, n, TILE), float32
        Centres u of the tiles in the same layout; those that fill up the last group are zero.
    spread : ndarray, shape (n_groups, 3, TILE), float32
        Smallest and largest |u^H d| and largest ||e|| of each tile.
    """

    atoms: NDArray[np.float32]
    numbers: NDArray[np.int64]
    centres: NDArray[np.float32]
    spread: NDArray[np.float32]


def arrange(atoms: NDArray[Any]) -> Tiles:
    """Return the atoms, shape (n_atoms, rank), float32 or complex64, of about unit norm, in tiles."""
    order = neighbours(atoms.view(np.float32))
    numbers = np.full((-(-order.size // TILE), TILE), -1)
    numbers.ravel()[: order.size] = order
    tiles = atoms[np.where(numbers < 0, order[-1], numbers)]
    centres = tiles.mean(axis=1, dtype=np.result_type(atoms, np.float64))
    # any unit vector may be the centre; opposite atoms have no mean
    has_mean = np.linalg.norm(centres, axis=1, keepdims=True) > 0.1
    centres = np.where(has_mean, centres, tiles[:, 0])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    centres = centres.astype(atoms.dtype)
    groups, spread = _grouped(centres), _grouped(_spread(tiles, centres).astype(np.float32))
    return Tiles(_transposed(tiles), numbers, _transposed(groups), spread.transpose(0, 2, 1).copy())


def _grouped(rows: NDArray[Any]) -> NDArray[Any]:
    """Return rows in groups of TILE, shape (n_groups, TILE, n); zeros fill up the last."""
    return np.pad(rows, ((0, -len(rows) % TILE), (0, 0))).reshape(-1, TILE, rows.shape[1])


def _spread(tiles: NDArray[Any], centres: NDArray[Any]) -> NDArray[np.float64]:
    """Return smallest and largest |u^H d| and largest ||e|| of tiles, shape (n_tiles, 3)."""
    # in double precision: ||e|| is a small difference
    double = np.result_type(tiles, np.float64)
    along = np.abs(np.einsum("tir,tr->ti", tiles, centres.conj(), dtype=double))
    along /= np.linalg.norm(centres.astype(double), axis=1, keepdims=True)
    parts = tiles.view(np.float32)
    beside = np.einsum("tir,tir->ti", parts, parts, dtype=np.float64) - along**2
    radius = np.sqrt(np.maximum(beside, 0).max(axis=1))
    return np.stack([along.min(axis=1), along.max(axis=1), radius], axis=1)


def neighbours(components: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the numbers of vectors, shape (n_vectors, n_components), in an order in which tiles are alike.

    Groups are halved at the median of the component of widest range until they fit a tile.
    """
    tiles = []
    groups = [np.arange(len(components))]
    while groups:
        group = groups.pop()
        if group.size <= TILE:
            tiles.append(group)
            continue
        sample = components[group[:: -(-group.size // _N_SAMPLE)]]
        axis = (sample.max(axis=0) - sample.min(axis=0)).argmax()
        half = -(-group.size // TILE) // 2 * TILE
        parts = np.argpartition(components[group, axis], half)
        groups += [group[parts[half:]], group[parts[:half]]]
    return np.concatenate(tiles)


def _transposed(tiles: NDArray[Any]) -> NDArray[np.float32]:
    """Return atoms, shape (n_tiles, TILE, rank), as real components, shape (n_tiles, n, TILE)."""
    components = tiles.view(np.float32)
    transposed = np.zeros((len(tiles), -(-components.shape[2] // UNROLL) * UNROLL, TILE), dtype=np.float32)
    transposed[:, : components.shape[2]] = components.transpose(0, 2, 1)
    return transposed
