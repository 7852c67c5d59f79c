"""Exact dictionary matching."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries.dictionary import Dictionary
from dictionaries.search import TILE, UNROLL, search

_ROUNDING = 2.0**-24  # of single precision


@dataclass(frozen=True, eq=False)
class Match:
    """Best atom of each voxel.

    Attributes
    ----------
    index : ndarray, shape (n_voxels,), int64
        Number of the atom in the dictionary.
    t1, t2 : ndarray, shape (n_voxels,), float64
        Relaxation times of the atom [s].
    b1 : ndarray, shape (n_voxels,), float64
        Its transmit field relative to nominal.
    off_resonance : ndarray, shape (n_voxels,), float64
        Its off-resonance frequency [Hz].
    pd : ndarray, shape (n_voxels,), complex64
        Least-squares proton density <d, x> / norm of the atom.
    correlation : ndarray, shape (n_voxels,), float32
        |<d, x>| / ||x||, 0 to 1 up to rounding.
    """

    index: NDArray[np.int64]
    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    b1: NDArray[np.float64]
    off_resonance: NDArray[np.float64]
    pd: NDArray[np.complex64]
    correlation: NDArray[np.float32]


def match(dictionary: Dictionary, coefficients: ArrayLike, *, block: int = 256) -> Match:
    """Return the atom d of each voxel x that maximises |<d, x>| = |sum_r conj(d_r) x_r| over all atoms.

    The search is exhaustive, on all cores. Products in single precision single out the atoms that rounding
    could confuse with the best; double precision decides between these. The result is therefore the one of
    double precision throughout, whatever `block` and the number of cores. Of equal atoms the first wins.

    Parameters
    ----------
    dictionary : Dictionary
        Unit-norm atoms and their tissue parameters.
    coefficients : array_like, shape (n_voxels, rank), complex or real
        Voxels in the subspace of the dictionary, U^H times their signal. Rounded to single precision.
    block : int
        Number of voxels that one core takes at a time.

    Returns
    -------
    Match
        Tissue parameters, proton density and correlation, each of shape (n_voxels,).

    Raises
    ------
    ValueError
        If the shape does not fit the dictionary, a voxel is zero or not finite, or `block` is not positive.

    References
    ----------
    Ma et al. 2013, Nature 495:187, doi 10.1038/nature11971 (fingerprint matching by the inner product).
    """
    if not isinstance(block, int | np.integer) or block < 1:
        raise ValueError(f"block={block} must be a positive integer; 256 is the default")
    voxels = _checked_voxels(coefficients, dictionary.rank)
    lengths = np.linalg.norm(voxels, axis=1)
    units = voxels / lengths[:, np.newaxis]
    tiles, pairs = _tiles(dictionary.coefficients), _pairs(units, dictionary.coefficients)
    # A product of n real terms of unit vectors is rounded by at most about (n + 1) u, its power |.|^2 thus by
    # 4 (n + 2) u; two powers are compared.
    margin = np.float32(8 * (pairs.shape[2] + 2) * _ROUNDING)
    blocks = [pairs[i : i + block] for i in range(0, len(pairs), block)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        index = np.concatenate(list(pool.map(lambda part: search(tiles, part, margin), blocks)))
    products = _products(dictionary.coefficients[index], units)
    tissue = dictionary.tissue[index]
    return Match(
        index=index,
        t1=tissue.t1,
        t2=tissue.t2,
        b1=tissue.b1,
        off_resonance=tissue.off_resonance,
        pd=(products * lengths / dictionary.norms[index]).astype(np.complex64),
        correlation=np.abs(products).astype(np.float32),
    )


def _checked_voxels(coefficients: ArrayLike, rank: int) -> NDArray[np.complex128]:
    """Return single-precision voxels, stored in double precision."""
    array = np.asarray(coefficients)
    if array.ndim != 2 or array.shape[1] != rank or not len(array):
        raise ValueError(
            f"coefficients have shape {array.shape}; the dictionary asks for (n_voxels, {rank}) with at "
            "least one voxel"
        )
    with np.errstate(over="ignore"):
        voxels = array.astype(np.complex64).astype(np.complex128)
    for bad, what in ((~np.isfinite(voxels).all(axis=1), "not finite"), (~voxels.any(axis=1), "zero")):
        if bad.any():
            i_voxel = np.flatnonzero(bad)[0]
            raise ValueError(
                f"coefficients of voxel {i_voxel} are {what} (in single precision): {array[i_voxel]}; "
                "mask such voxels before matching"
            )
    return voxels


def _tiles(atoms: NDArray[Any]) -> NDArray[np.float32]:
    """Return atoms as real vectors, transposed in tiles and filled up with zeros, as `search` takes them.

    A complex atom is read as 2 rank real numbers (Re, Im, Re, Im, ...).
    """
    components = atoms.view(np.float32)
    n_atoms, n = components.shape
    padded = np.zeros((-(-n_atoms // TILE) * TILE, -(-n // UNROLL) * UNROLL), dtype=np.float32)
    padded[:n_atoms, :n] = components
    return np.ascontiguousarray(padded.reshape(-1, TILE, padded.shape[1]).transpose(0, 2, 1))


def _pairs(voxels: NDArray[np.complex128], atoms: NDArray[Any]) -> NDArray[np.float64]:
    """Return real vectors, shape (n_voxels, 2, n), whose products with an atom are Re and Im of <d, x>.

    For a complex atom these are x and -i x, read as real numbers.
    """
    if np.iscomplexobj(atoms):
        pairs = np.stack([voxels, -1j * voxels], axis=1).view(np.float64)
    else:
        pairs = np.stack([voxels.real, voxels.imag], axis=1)
    return np.pad(pairs, ((0, 0), (0, 0), (0, -pairs.shape[2] % UNROLL)))


def _products(atoms: NDArray[Any], voxels: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return <d, x> of pairs of atoms and voxels in rows."""
    return (atoms.conj() * voxels).sum(axis=1)
