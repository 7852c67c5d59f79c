"""Exact dictionary matching."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dictionaries.dictionary import Dictionary
from dictionaries.search import search
from dictionaries.tiles import neighbours
from epgbloch._checks import require_count
from epgbloch._cores import available_cores

_BLOCK = 256  # voxels that a thread takes at a time


@dataclass(frozen=True, eq=False)
class Match:
    """Best atom or atoms of each voxel.

    Shapes are those for one atom a voxel; with ``n_best > 1`` all are (n_voxels, n_best), best first.

    Attributes
    ----------
    index : ndarray, shape (n_voxels,), int64
        Number of the atom in the dictionary; -1 outside the mask.
    t1, t2 : ndarray, shape (n_voxels,), float64
        Relaxation times of the atom [s]; NaN outside the mask.
    b1 : ndarray, shape (n_voxels,), float64
        Its transmit field relative to nominal; NaN outside the mask.
    off_resonance : ndarray, shape (n_voxels,), float64
        Its off-resonance frequency [Hz]; NaN outside the mask.
    pd : ndarray, shape (n_voxels,), complex64
        Least-squares proton density <d, x> / norm of the atom; 0 outside the mask.
    correlation : ndarray, shape (n_voxels,), float32
        |<d, x>| / ||x||, 0 to 1 up to rounding; 0 outside the mask.
    """

    index: NDArray[np.int64]
    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    b1: NDArray[np.float64]
    off_resonance: NDArray[np.float64]
    pd: NDArray[np.complex64]
    correlation: NDArray[np.float32]


def match(
    dictionary: Dictionary,
    coefficients: ArrayLike,
    *,
    dual: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    n_best: int = 1,
    n_threads: int | None = None,
) -> Match:
    """Return the atom d of each voxel x that maximises |<d, x>| = |sum_r conj(d_r) x_r| over all atoms.

    With `dual`, y, it maximises ``|<d, x>|^2 + 2 Re(<d, x> conj(<d, y>))``, which minimises
    ``||(I - d d^H) x + y||`` over the atoms (not the same as matching x + y).

    The result is that of an exhaustive search in double precision, whatever the number of threads; of equal
    atoms the first wins. Similar atoms lie together in tiles (`Dictionary.tiles`). A bound in single
    precision refuses most tiles as a whole; double precision decides between the atoms of the others that
    rounding could confuse with the best. Voxels that resemble no atom refuse fewer tiles and take longer.

    The first call sorts the atoms into tiles, which the dictionary keeps; they take the memory of its atoms
    once more, and four times while they are made. Otherwise, memory is that of the arguments and of the
    result, and of 256 voxels and their atoms in each thread.

    Parameters
    ----------
    dictionary : Dictionary
        Unit-norm atoms and their tissue parameters.
    coefficients : array_like, shape (n_voxels, rank), complex or real
        Voxels in the subspace of the dictionary, U^H times their signal. Rounded to single precision.
    dual : array_like, shape (n_voxels, rank), complex or real, optional
        Scaled dual variables y of the voxels. Rounded to single precision.
    mask : array_like, shape (n_voxels,), bool, optional
        Voxels to match. The others, whatever they hold, get index -1, NaN as tissue parameters, and 0 as
        proton density and correlation.
    n_best : int
        Number of atoms for each voxel, at most that of the dictionary: the best, the second best, ...
    n_threads : int, optional
        Number of threads; None: one for each core. The result does not depend on it.

    Returns
    -------
    Match
        Tissue parameters, proton density and correlation, each of shape (n_voxels,), or (n_voxels, n_best)
        if `n_best` exceeds 1.

    Raises
    ------
    ValueError
        If a shape does not fit, a voxel in the mask is zero or not finite, its dual is not finite, or
        `n_best` or `n_threads` is out of range.

    References
    ----------
    Ma et al. 2013, Nature 495:187, doi 10.1038/nature11971 (fingerprint matching by the inner product).
    Assländer et al. 2018, Magn Reson Med 79:83, doi 10.1002/mrm.26639 (matching with the dual).
    """
    require_count("n_best", n_best)
    if n_best > dictionary.n_atoms:
        raise ValueError(
            f"n_best={n_best} exceeds the {dictionary.n_atoms} atoms of the dictionary; lower it"
        )
    if n_threads is not None:
        require_count("n_threads", n_threads)
    voxels = _checked_voxels(coefficients, dictionary.rank)
    chosen = _checked_mask(mask, len(voxels))
    _refuse("coefficients", "not finite", voxels, chosen & ~np.isfinite(voxels).all(axis=1))
    _refuse("coefficients", "zero", voxels, chosen & ~voxels.any(axis=1))
    duals = None if dual is None else _checked_dual(dual, voxels.shape)
    if duals is not None:
        _refuse("duals", "not finite", duals, chosen & ~np.isfinite(duals).all(axis=1))
    index = np.full((len(voxels), n_best), -1)
    products = np.zeros((len(voxels), n_best), dtype=np.complex128)
    lengths = np.ones(len(voxels))

    def match_block(block: NDArray[np.int64]) -> None:
        x = voxels[block].astype(np.complex128)
        y = None if duals is None else duals[block].astype(np.complex128)
        lengths[block] = np.linalg.norm(x, axis=1)
        index[block] = _best(dictionary, x, y, n_best)
        products[block] = np.einsum("vbr,vr->vb", dictionary.coefficients[index[block]].conj(), x)

    dictionary.tiles  # noqa: B018 made once, before the threads ask for them
    numbers = np.flatnonzero(chosen)
    # similar voxels look into the same tiles, which then wait in the cache
    turned = voxels[numbers] * np.exp(-1j * np.angle(voxels[numbers, :1]))
    numbers = numbers[neighbours(turned.view(np.float32))]
    with ThreadPoolExecutor(n_threads or available_cores()) as pool:
        list(pool.map(match_block, [numbers[i : i + _BLOCK] for i in range(0, len(numbers), _BLOCK)]))
    tissue = dictionary.grid[index.ravel()]
    shape = index.shape if n_best > 1 else (len(index),)

    def of_atoms(values: NDArray[Any]) -> NDArray[Any]:
        """Values of the atoms; NaN outside the mask."""
        return np.where(index < 0, np.nan, values.reshape(index.shape)).reshape(shape)

    return Match(
        index=index.reshape(shape),
        t1=of_atoms(tissue.t1),
        t2=of_atoms(tissue.t2),
        b1=of_atoms(tissue.b1),
        off_resonance=of_atoms(tissue.off_resonance),
        pd=(products / dictionary.norms[index]).reshape(shape).astype(np.complex64),
        correlation=(np.abs(products) / lengths[:, np.newaxis]).reshape(shape).astype(np.float32),
    )


def _checked_voxels(coefficients: ArrayLike, rank: int) -> NDArray[np.complex64]:
    array = np.asarray(coefficients)
    if array.ndim != 2 or array.shape[1] != rank or not len(array):
        raise ValueError(
            f"coefficients have shape {array.shape}; the dictionary asks for (n_voxels, {rank}) with at "
            "least one voxel"
        )
    return _single(array)


def _checked_dual(dual: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    array = np.asarray(dual)
    if array.shape != shape:
        raise ValueError(f"dual has shape {array.shape}; it must be that of the coefficients, {shape}")
    return _single(array)


def _single(array: NDArray[Any]) -> NDArray[np.complex64]:
    """Return the array in single precision, infinite where that cannot hold a value."""
    with np.errstate(over="ignore"):
        return array.astype(np.complex64, order="C")


def _checked_mask(mask: ArrayLike | None, n_voxels: int) -> NDArray[np.bool_]:
    chosen = np.ones(n_voxels, dtype=bool) if mask is None else np.asarray(mask)
    if chosen.shape != (n_voxels,) or chosen.dtype != bool:
        raise ValueError(
            f"mask is {chosen.dtype} of shape {chosen.shape}; it must be bool of shape ({n_voxels},); "
            "compare an image with a threshold"
        )
    return chosen


def _refuse(name: str, what: str, values: NDArray[np.complex64], bad: NDArray[np.bool_]) -> None:
    """Raise a ValueError that names the first bad voxel, if there is one."""
    if bad.any():
        i_voxel = np.flatnonzero(bad)[0]
        raise ValueError(
            f"{name} of voxel {i_voxel} are {what} (in single precision): {values[i_voxel]}; "
            "leave such voxels out with the mask"
        )


def _best(
    dictionary: Dictionary, x: NDArray[np.complex128], y: NDArray[np.complex128] | None, n_best: int
) -> NDArray[np.int64]:
    """Return the numbers of the best atoms of voxels x with duals y, shape (n_voxels, n_best).

    With w = x + 2 y the criterion is Re(<d, x> conj(<d, w>)). Scaling x and w to unit norm does not change
    the order of the atoms; then it is |<d, a>|^2 - |<d, b>|^2 with a = (x + w) / 2, b = (x - w) / 2.
    """
    unit = _unit(x)
    if y is None:
        parts = unit[:, np.newaxis]
    else:
        other = _unit(x + 2 * y)
        parts = np.stack([unit + other, unit - other], axis=1) / 2
    tiles = dictionary.tiles
    n = tiles.atoms.shape[1]
    return search(
        tiles.atoms,
        tiles.numbers,
        tiles.centres,
        tiles.spread,
        _pairs(parts, n, np.iscomplexobj(dictionary.coefficients)),
        np.sum(np.abs(parts) ** 2, axis=2).astype(np.float32),
        n_best,
    )


def _unit(vectors: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Return vectors in rows scaled to unit norm; 0 stays 0."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def _pairs(vectors: NDArray[np.complex128], n: int, complex_atoms: bool) -> NDArray[np.float64]:
    """Return real vectors, shape (..., 2, n), whose products with an atom are Re and Im of <d, vector>.

    For a complex atom these are the vector and -i times it, read as real numbers; n adds zeros.
    """
    if complex_atoms:
        pairs = np.stack([vectors, -1j * vectors], axis=-2).view(np.float64)
    else:
        pairs = np.stack([vectors.real, vectors.imag], axis=-2)
    return np.pad(pairs, ((0, 0), (0, 0), (0, 0), (0, n - pairs.shape[-1])))
