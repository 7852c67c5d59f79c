"""Preconditioned conjugate gradients on stacks of images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.complex64]


def conjugate_gradients(
    operator: Callable[[Images], Images],
    right_side: Images,
    precondition: Callable[[Images], Images],
    *,
    start: Images | None = None,
    n_iterations: int,
    tolerance: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Images, Images, list[float]]:
    """Solve ``operator(x) = right_side`` approximately.

    The residual is updated by recursion; it agrees with the one computed from x up to the rounding of single
    precision. Its norm need not fall at each iteration.

    Parameters
    ----------
    operator, precondition : callable
        Hermitian positive semidefinite operator, and an approximation of its inverse.
    right_side : ndarray, complex64
        Must have a norm that float32 can square.
    start : ndarray, complex64, optional
        First x; default zero.
    n_iterations : int
        Largest number of iterations, > 0.
    tolerance : float
        Norm of the residual, relative to that of the right side, at which to stop.
    progress : callable, optional
        Called as ``progress(done, total)`` after each iteration, last with ``done == total``.

    Returns
    -------
    x, residual : ndarray, complex64
        Solution and ``right_side - operator(x)``.
    norms : list of float
        Norms of the residual relative to the right side, before the first iteration and after each.

    References
    ----------
    Hestenes and Stiefel 1952, J Res Natl Bur Stand 49:409, doi 10.6028/jres.049.044.
    """
    x = np.zeros_like(right_side) if start is None else start.copy()
    residual = right_side.copy() if start is None else right_side - operator(start)
    scale = norm(right_side)
    norms = [norm(residual) / scale if scale else 0.0]
    direction = precondition(residual)
    product = inner(residual, direction)
    for i_iteration in range(n_iterations):
        done = norms[-1] <= tolerance or product <= 0
        if not done:
            image = operator(direction)
            step = np.float32(product / inner(direction, image))
            x += step * direction
            residual -= step * image
            norms.append(norm(residual) / scale)
            done = norms[-1] <= tolerance
        if progress is not None:
            progress(n_iterations if done else i_iteration + 1, n_iterations)
        if done or i_iteration + 1 == n_iterations:
            break
        preconditioned = precondition(residual)
        previous, product = product, inner(residual, preconditioned)
        direction *= np.float32(product / previous)
        direction += preconditioned
    return x, residual, norms


def norm(x: Images) -> float:
    """Euclidean norm, summed in double precision."""
    return float(np.sqrt(inner(x, x)))


def inner(x: Images, y: Images) -> float:
    """Real part of <x, y>, summed in double precision.

    Not by BLAS, whose sums depend on its number of threads.
    """
    parts = (np.ravel(array).view(np.float32).astype(np.float64) for array in (x, y))
    return float(np.einsum("i,i->", *parts))
