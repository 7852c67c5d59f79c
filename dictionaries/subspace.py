"""Temporal subspace of a set of signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

_GOLDEN = (np.sqrt(5) - 1) / 2


def sample_indices(n_atoms: int, n_sample: int) -> NDArray[np.intp]:
    """Return about `n_sample` different atoms, evenly spread over 0 ... n_atoms - 1.

    One atom comes from each of `n_sample` equal bins. Its place in the bin follows the golden ratio: a fixed
    step would, on many grids, visit only some of the values of the fastest axes. With fewer than
    2 `n_sample` atoms all are taken.
    """
    if n_atoms < 2 * n_sample:
        return np.arange(n_atoms)
    bins = np.arange(n_sample)
    return ((bins + np.mod(bins * _GOLDEN, 1)) * (n_atoms / n_sample)).astype(np.intp)


def as_real(signals: NDArray[Any]) -> NDArray[Any]:
    """Return the real part, contiguous, if every imaginary part is exactly zero; else `signals`."""
    if np.iscomplexobj(signals) and not signals.imag.any():
        return np.ascontiguousarray(signals.real)
    return signals


def subspace(
    blocks: Iterable[NDArray[Any]], rank: int | None = None, truncation_error: float | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return leading left singular vectors of signals that arrive in blocks, and all singular values.

    With the signals as columns of S, they are the leading eigenvectors of the Gram matrix S S^H,
    which is accumulated in double precision. The singular values are thus exact to 1e-8 of the largest,
    about the rounding of single-precision signals; only (n_pulses, n_pulses) numbers are held.

    A randomised SVD would need fewer operations (about 1e9 instead of 2e10 for 5000 signals of 1120 pulses),
    but simulating the sample takes as long as either; it would hold the whole sample, its vectors would be
    approximate, and it would not know the singular values beyond `rank`, which say what is left out.

    Parameters
    ----------
    blocks : iterable of ndarray, shape (n, n_pulses)
        Signals in rows. Real blocks only give a real basis.
    rank : int, optional
        Number of vectors, at most n_pulses.
    truncation_error : float, optional
        Instead of `rank`: as many vectors as leave at most this part of the signals, as a root mean square.

    Returns
    -------
    basis : ndarray, shape (n_pulses, rank), float32 or complex64
        Orthonormal columns in the order of falling singular values.
    singular_values : ndarray, shape (n_pulses,), float64
        All singular values of S, falling, filled up with zeros.
    """
    gram: Any = 0.0
    for block in blocks:
        signals = block.astype(np.result_type(block, np.float64))
        gram = gram + signals.T @ signals.conj()
    values, vectors = eigh(gram)
    squares = np.maximum(values[::-1], 0)
    if rank is None:
        assert truncation_error is not None
        left = np.cumsum(squares[::-1])[::-1]  # by 0, 1, 2 ... vectors
        rank = max(int(np.sum(left > truncation_error**2 * squares.sum())), 1)
    single = np.complex64 if np.iscomplexobj(gram) else np.float32
    basis = np.ascontiguousarray(vectors[:, : -rank - 1 : -1], dtype=single)
    return basis, np.sqrt(squares)
