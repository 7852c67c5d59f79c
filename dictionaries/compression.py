"""Signals into a temporal subspace: the same bits for an atom, whatever is compressed beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dictionaries.dictionary import ERROR_EDGES, RelativeError

BLOCK = 8192
"""Atoms whose errors are summed at once: the sum must not depend on how the atoms were computed. Files are
read, written and compressed in these blocks as well."""


class Compressed(NamedTuple):
    """Atoms in a subspace.

    Attributes
    ----------
    coefficients : ndarray, shape (n_atoms, rank), float32 or complex64
        Rows of unit norm; not finite where the norm is 0.
    norms : ndarray, shape (n_atoms,), float32
        Their norms.
    error : ndarray, shape (n_atoms,), float32
        ||s - U U^H s|| / ||s||.
    """

    coefficients: NDArray[Any]
    norms: NDArray[np.float32]
    error: NDArray[np.float32]


def compress(signals: NDArray[np.complex64], basis: NDArray[Any]) -> tuple[Compressed, NDArray[np.uint8]]:
    """Return signals in a subspace, and what is wrong with each.

    Parameters
    ----------
    signals : ndarray, shape (n_atoms, n_pulses), complex64
        One signal a row.
    basis : ndarray, shape (n_pulses, rank), float32 or complex64
        Orthonormal columns U.

    Returns
    -------
    compressed : Compressed
        U^H s of every signal s.
    fault : ndarray, shape (n_atoms,), uint8
        0: none; 1: not finite; 2: complex in a real subspace; 3: zero within the subspace.
    """
    n_atoms = signals.shape[0]
    real = not np.iscomplexobj(basis)
    vectors = _real_vectors(basis)
    coefficients = np.empty((n_atoms, vectors.shape[0]), np.float32)
    norms, error = np.empty(n_atoms, np.float32), np.empty(n_atoms, np.float32)
    fault = np.zeros(n_atoms, np.uint8)
    numbers = np.ascontiguousarray(signals).view(np.float32)
    _compress(numbers, vectors, 2 if real else 1, coefficients, norms, error, fault)
    return Compressed(coefficients.view(basis.dtype), norms, error), fault


def _real_vectors(basis: NDArray[Any]) -> NDArray[np.float32]:
    """Return vectors in rows whose products with Re, Im, Re, ... of a signal are Re, Im, Re, ... of U^H s."""
    if not np.iscomplexobj(basis):
        return np.ascontiguousarray(basis.T)
    pairs = np.stack([basis.T, 1j * basis.T], axis=1)
    return np.ascontiguousarray(pairs.reshape(-1, basis.shape[0])).view(np.float32)


# "reassoc" lets sums vectorise: one atom always meets the same order.
@njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _compress(
    signals: NDArray[np.float32],
    vectors: NDArray[np.float32],
    step: int,
    coefficients: NDArray[np.float32],
    norms: NDArray[np.float32],
    error: NDArray[np.float32],
    fault: NDArray[np.uint8],
) -> None:
    """Project each row on the vectors; what is left is its error.

    `step` 2: only numbers 0, 2, 4, ... of a row count and the others must be 0.
    """
    rank, n = vectors.shape
    row = np.empty(n, np.float32)
    for i in range(signals.shape[0]):
        energy = imaginary = 0.0
        for k in range(n):
            row[k] = signals[i, step * k]
            energy += np.float64(row[k]) * np.float64(row[k])
        if step == 2:
            for k in range(n):
                imaginary += np.float64(abs(signals[i, 2 * k + 1]))
        power = 0.0
        for j in range(rank):
            product = np.float32(0)
            for k in range(n):
                product += row[k] * vectors[j, k]
            coefficients[i, j] = product
            power += np.float64(product) * np.float64(product)
        for j in range(rank):
            product = coefficients[i, j]
            for k in range(n):
                row[k] -= product * vectors[j, k]
        # Not ||s||^2 - ||U^H s||^2, in which single-precision rounding hides errors below 3e-4.
        rest = 0.0
        for k in range(n):
            rest += np.float64(row[k]) * np.float64(row[k])
        norm = np.sqrt(power)
        for j in range(rank):
            coefficients[i, j] = coefficients[i, j] / norm
        norms[i] = norm
        error[i] = np.sqrt(rest / energy)
        if not np.isfinite(energy + imaginary):
            fault[i] = 1
        elif imaginary > 0:
            fault[i] = 2
        elif norms[i] == 0:
            fault[i] = 3


def blocks_of(n_atoms: int) -> Iterator[slice]:
    """Return the atoms of every block of `BLOCK` atoms; the last may be smaller."""
    for start in range(0, n_atoms, BLOCK):
        yield slice(start, min(start + BLOCK, n_atoms))


def error_statistics(blocks: Iterable[NDArray[np.float32]]) -> tuple[RelativeError, NDArray[np.int64]]:
    """Return largest and root-mean-square error, and the counts in the bins of `ERROR_EDGES`.

    Every block but the last must hold `BLOCK` errors.
    """
    largest, sums, n_atoms = 0.0, [], 0
    counts = np.zeros(ERROR_EDGES.size - 1, np.int64)
    for error in blocks:
        values = error.astype(np.float64)
        largest = max(largest, float(values.max()))
        sums.append(float(np.sum(values**2)))
        n_atoms += values.size
        counts += np.histogram(np.clip(values, ERROR_EDGES[0], ERROR_EDGES[-1]), ERROR_EDGES)[0]
    return RelativeError(max=largest, rms=math.sqrt(math.fsum(sums) / n_atoms)), counts
