"""Non-uniform Fourier transforms of images, and the density of their samples."""

from __future__ import annotations

import math

import finufft
import numpy as np
import scipy.fft
from numpy.typing import NDArray


class FourierTransforms:
    """Non-uniform transforms F and F^H of one image with a work array, for one thread at a time.

    Plans are single-threaded: parallel type-1 transforms would add up in random order. Both have the same
    oversampling, which finufft would choose for each: they would not be adjoint to rounding.

    Parameters
    ----------
    angles : tuple of ndarray, shape (n_readouts * n_samples,), float32
        ``2 pi k`` [rad per pixel], one array for each axis of the images, in their order.
    matrix : tuple of int
        Shape of the images.
    n_readouts : int
        Number of readouts.
    tolerance : float
        Relative accuracy.
    """

    def __init__(
        self,
        angles: tuple[NDArray[np.float32], ...],
        matrix: tuple[int, ...],
        n_readouts: int,
        tolerance: float,
    ) -> None:
        self.samples = np.empty((n_readouts, angles[0].size // n_readouts), dtype=np.complex64)
        """Samples, the result of `to_samples` and the argument of `to_image`."""
        options = {
            "eps": tolerance,
            "dtype": "complex64",
            "nthreads": 1,
            "upsampfac": oversampling(tolerance),
        }
        self._forward, self._adjoint = (
            finufft.Plan(kind, matrix, isign=sign, **options) for kind, sign in ((2, -1), (1, 1))
        )
        self._forward.setpts(*angles)
        self._adjoint.setpts(*angles)

    def to_samples(self, image: NDArray[np.complex64]) -> None:
        """Write ``F image`` to `samples`."""
        self._forward.execute(image, out=self.samples.reshape(-1))

    def to_image(self) -> NDArray[np.complex64]:
        """Return ``F^H samples``."""
        return self._adjoint.execute(self.samples.reshape(-1))


def sampling_density(angles: tuple[NDArray[np.float32], ...], matrix: tuple[int, ...]) -> NDArray[np.float32]:
    """Eigenvalues, shape `matrix`, of the circulant matrix closest to F^H F in the Frobenius norm."""
    doubled = tuple(2 * n for n in matrix)
    plan = finufft.Plan(
        1, doubled, eps=1e-4, isign=1, dtype="complex64", nthreads=1, upsampfac=oversampling(1e-4)
    )
    plan.setpts(*angles)
    point_spread = plan.execute(np.ones(angles[0].size, dtype=np.complex64)).reshape(doubled)
    for axis, n in enumerate(matrix):
        triangle = (1 - np.abs(np.arange(-n, n, dtype=np.float32)) / n).reshape(
            -1, *(1,) * (len(matrix) - axis - 1)
        )
        point_spread *= triangle
    halves = point_spread.reshape([size for n in matrix for size in (2, n)])
    periodic = halves.sum(axis=tuple(range(0, 2 * len(matrix), 2)))
    # Nonnegative but for the rounding of the point spread function.
    return np.maximum(scipy.fft.fftn(periodic).real, 0)


def oversampling(tolerance: float) -> float:
    """Oversampling of the grid of a non-uniform transform; the smaller, faster one does not reach 1e-5."""
    return 1.25 if tolerance >= 1e-4 else 2.0


def transform_bytes(matrix: tuple[int, ...], factor: float, n_all_samples: int) -> int:
    """Size of the oversampled grids that a transform takes while it runs.

    finufft spreads 1e5 samples at a time on a grid of their own; few samples lie far apart.
    """
    share = 1 + min(1, 1e5 / n_all_samples)
    return int(8 * share * math.prod(math.ceil(factor * n) for n in matrix))
