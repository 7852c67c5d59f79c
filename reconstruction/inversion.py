"""Low-rank inversion: coefficient images from k-space by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.operators import SubspaceEncoding

N_ITERATIONS = 12
"""Default largest number of iterations."""
TOLERANCE = 5e-4
"""Default relative residual at which to stop."""


@dataclass(frozen=True, eq=False)
class Inversion:
    """Result of `low_rank_inversion`.

    Attributes
    ----------
    coefficients : ndarray, shape (rank, ny, nx), complex64
        Coefficient images x; the signal of pulse n is ``sum_j U[n, j] x[j]``, in units of the k-space.
    residuals : ndarray, shape (n_iterations + 1,), float64
        ``||E^H s - E^H E x|| / ||E^H s||`` before each iteration and after the last one that was done; the
        first is 1.
    converged : bool
        Whether the last residual is at most the tolerance asked for.
    """

    coefficients: NDArray[np.complex64]
    residuals: NDArray[np.float64]
    converged: bool


def low_rank_inversion(
    encoding: SubspaceEncoding,
    kspace: ArrayLike,
    *,
    n_iterations: int = N_ITERATIONS,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, int], None] | None = None,
) -> Inversion:
    """Coefficient images that minimise ``||E x - s||^2``, by preconditioned conjugate gradients.

    The iteration for ``E^H E x = E^H s`` starts from zero; `SubspaceEncoding.precondition` makes up for the
    uneven sampling density. Early iterations recover what is sampled well, late ones also amplify noise,
    which makes the number of iterations a regularisation parameter. The defaults suit fully sampled radial
    and spiral data: there, more iterations sharpen edges a little, and raise errors where the noise is strong
    (k-space magnitude below ten times the noise).

    The residual is updated by recursion, as usual in conjugate gradients; it agrees with the one computed
    from x up to the rounding of single precision. It need not fall at each iteration.

    Parameters
    ----------
    encoding : SubspaceEncoding
        Operator E.
    kspace : array_like, shape (n_coils, n_readouts, n_samples), complex64
        Samples s, prewhitened where the noise of the coils differs.
    n_iterations : int
        Largest number of iterations, > 0.
    tolerance : float
        Relative residual at which to stop, >= 0.
    progress : callable, optional
        Called as ``progress(done, total)`` after each iteration, last with ``done == total``.

    Returns
    -------
    Inversion
        Coefficient images, residuals and whether the tolerance was reached.

    Raises
    ------
    ValueError
        If the k-space has another shape, is not finite or gives a zero image, or an argument is out of range.

    References
    ----------
    Assländer et al. 2018, Magn Reson Med 79:83, doi 10.1002/mrm.26639 (low-rank inversion).
    Hestenes and Stiefel 1952, J Res Natl Bur Stand 49:409, doi 10.6028/jres.049.044 (conjugate gradients).
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations={n_iterations} must be at least 1")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance={tolerance} must lie in [0, 1): it is a residual relative to the data")
    if not np.isfinite(kspace).all():
        raise ValueError("kspace holds NaN or infinity; remove or replace these readouts")
    residual = encoding.adjoint(kspace)
    scale = _norm(residual)
    if scale == 0:
        raise ValueError("kspace is zero, or the sensitivities are zero where its image is not; check both")
    # Squares of raw-data amplitudes leave the range of float32.
    residual /= scale
    x = np.zeros_like(residual)
    direction = encoding.precondition(residual)
    product = _inner(residual, direction)
    residuals = [1.0]
    for i_iteration in range(n_iterations):
        image = encoding.normal(direction)
        step = np.float32(product / _inner(direction, image))
        x += step * direction
        residual -= step * image
        residuals.append(_norm(residual))
        done = residuals[-1] <= tolerance
        if progress is not None:
            progress(n_iterations if done else i_iteration + 1, n_iterations)
        if done:
            break
        preconditioned = encoding.precondition(residual)
        previous, product = product, _inner(residual, preconditioned)
        direction *= np.float32(product / previous)
        direction += preconditioned
    return Inversion(np.complex64(scale) * x, np.array(residuals), bool(residuals[-1] <= tolerance))


def _norm(x: NDArray[np.complex64]) -> float:
    return float(np.sqrt(_inner(x, x)))


def _inner(x: NDArray[np.complex64], y: NDArray[np.complex64]) -> float:
    """Real part of <x, y>, summed in double precision.

    Not by BLAS, whose sums depend on its number of threads.
    """
    parts = (np.ravel(array).view(np.float32).astype(np.float64) for array in (x, y))
    return float(np.einsum("i,i->", *parts))
