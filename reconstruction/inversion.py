"""Low-rank inversion: coefficient images from k-space by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.conjugate_gradients import conjugate_gradients, norm
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
    misfit : float
        ``||s - E x|| / ||s||``: the part of the data that the images leave unexplained.
    """

    coefficients: NDArray[np.complex64]
    residuals: NDArray[np.float64]
    converged: bool
    misfit: float


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
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations={n_iterations} must be at least 1")
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance={tolerance} must lie in [0, 1): it is a residual relative to the data")
    if not np.isfinite(kspace).all():
        raise ValueError("kspace holds NaN or infinity; remove or replace these readouts")
    image = encoding.adjoint(kspace)
    scale = norm(image)
    if scale == 0:
        raise ValueError("kspace is zero, or the sensitivities are zero where its image is not; check both")
    # Squares of raw-data amplitudes leave the range of float32.
    image /= scale
    x, _, residuals = conjugate_gradients(
        encoding.normal,
        image,
        encoding.precondition,
        n_iterations=n_iterations,
        tolerance=tolerance,
        progress=progress,
    )
    x *= np.complex64(scale)
    data = np.asarray(kspace, dtype=np.complex64)
    misfit = norm(data - encoding.forward(x)) / norm(data)
    return Inversion(x, np.array(residuals), bool(residuals[-1] <= tolerance), misfit)
