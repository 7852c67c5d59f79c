"""How well the readouts agree near the centre of k-space, where all of them meet."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.coil_compression import compress_coils
from reconstruction.encoding_inputs import readout_basis

_WIDTH = 8  # diameter of the centre in Nyquist intervals of the larger side
_LEAST_WIDTH = 4
_MARGIN = 4  # points of the grid beyond the diameter: the period of its spectrum leaves room for a transition
_RANK = 5  # of the basis; its other vectors are below other errors near the centre
_COILS = 8  # virtual ones
_SAMPLES = 24  # of a readout
_REDUNDANCY = 3  # samples for each unknown
_REGULARISATION = 1e-4  # of the mean eigenvalue; residuals are the same from 1e-3 to 1e-6


class KspaceCentre:
    """The samples near k = 0 of all readouts, and the images of few pixels that explain them.

    Every coil has an image of its own for each vector of the temporal basis, so neither sensitivities nor
    equal contrast are needed::

        s[c, t, m] = sum_j U[t, j] sum_r image[c, j](r) exp(-2 pi i k[t, m].r)    for |k| < width / (2 N)

    The images are the regularised least-squares solution. What they leave unexplained is noise, as long as
    the trajectory is the one that was played: with wrong positions, readouts contradict each other.

    Parameters
    ----------
    acquisition : Acquisition
        Live coils.
    basis : array_like, shape (n_pulses, rank)
        Temporal basis.

    Attributes
    ----------
    samples : ndarray, shape (n_coils, n_readouts, n_central), complex64
        Samples of at most 8 virtual coils and 24 columns over the largest; 0 where they lie outside.
    basis : ndarray, shape (n_readouts, rank), complex64
        Row of the basis of each readout.
    radius : float
        Of the centre [cycles per pixel].
    n_grid : int
        Pixels of a side of the images.
    places : ndarray, shape (2, n_places), float64
        x and y of the pixels of the images [pixels of the acquisition].

    Raises
    ------
    ValueError
        If the k-space is zero, or its centre holds too few samples for the basis.
    """

    def __init__(self, acquisition: Acquisition, basis: ArrayLike) -> None:
        coils = compress_coils(acquisition, min(_COILS, acquisition.n_coils)).acquisition
        self.basis = np.asarray(readout_basis(basis, coils.n_readouts)[:, :_RANK], dtype=np.complex64)
        sides = np.array(coils.matrix[::-1], dtype=np.float64)
        radius = np.linalg.norm(coils.trajectory.astype(np.float64), axis=-1) * sides.max()
        for width in range(_WIDTH, _LEAST_WIDTH - 1, -1):
            inside = radius <= width / 2
            self.n_grid = width + _MARGIN
            if inside.sum() >= _REDUNDANCY * self.basis.shape[1] * np.pi / 4 * width**2:
                break
        else:
            raise ValueError(
                f"the centre of k-space holds only {inside.sum()} samples for {self.basis.shape[1]} images "
                f"of {_LEAST_WIDTH} x {_LEAST_WIDTH} pixels; it takes more readouts to compare them"
            )
        self.radius = float(width / 2 / sides.max())
        columns = np.flatnonzero(inside.any(axis=0))
        columns = columns[:: -(-columns.size // _SAMPLES)]
        self._inside = inside[:, columns]
        self._columns = columns
        samples = coils.kspace[:, :, columns] * self._inside
        self.samples = samples / np.abs(samples).max()
        self._noise = 0.0
        if coils.noise is not None:
            variance = np.mean(np.abs(coils.noise) ** 2, dtype=np.float64)
            energy = np.linalg.norm(samples.ravel().astype(np.complex128)) ** 2
            self._noise = float(variance * coils.n_coils * self._inside.sum() / energy)
        points = (np.arange(self.n_grid) - (self.n_grid - 1) / 2) / self.n_grid
        self._axes = points * sides[0], points * sides[1]  # x, y in pixels
        y, x = np.meshgrid(self._axes[1], self._axes[0], indexing="ij")
        self.places = np.stack([x.ravel(), y.ravel()])

    def positions(self, trajectory: NDArray[np.float32]) -> NDArray[np.float64]:
        """Those of the samples in the centre, shape (n_readouts, n_central, 2)."""
        return trajectory[:, self._columns].astype(np.float64)

    def beyond_noise(self, residual: float) -> float:
        """The part of a residual that noise does not explain; all of it without noise samples."""
        return float(np.sqrt(max(residual**2 - self._noise, 0)))

    def fit(self, positions: NDArray[np.float64]) -> CentreFit:
        """Images that explain the samples best if these lie at the positions [cycles per pixel]."""
        return CentreFit(self, positions)

    def waves(self, positions: NDArray[np.float64]) -> NDArray[np.complex64]:
        """``exp(-2 pi i k.r)``, shape (n_readouts, n_central, n_places); 0 for samples outside the centre."""
        along_x, along_y = self._waves_along(positions, self._axes)
        waves: NDArray[np.complex64] = along_y[..., :, None] * along_x[..., None, :]
        return waves.reshape(*positions.shape[:2], -1)

    def lag_waves(self, positions: NDArray[np.float64]) -> NDArray[np.complex64]:
        """``sum_m exp(2 pi i k.d)`` for all distances d of two places, y first, of each readout."""
        lags = np.arange(1 - self.n_grid, self.n_grid)
        along_x, along_y = self._waves_along(
            positions, tuple(-lags * (axis[1] - axis[0]) for axis in self._axes)
        )
        sums: NDArray[np.complex64] = along_y.transpose(0, 2, 1) @ along_x
        return sums

    def _waves_along(
        self, positions: NDArray[np.float64], axes: tuple[NDArray[np.float64], ...]
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        along_x, along_y = (
            np.exp((-2j * np.pi * positions[..., i, None] * axes[i]).astype(np.complex64)) for i in range(2)
        )
        along_y *= self._inside[..., None]
        return along_x, along_y


class CentreFit:
    """Least-squares fit of a `KspaceCentre` at given positions.

    Attributes
    ----------
    images : ndarray, shape (n_coils, rank, n_places), complex64
        The images.
    unexplained : ndarray, shape (n_coils, n_readouts, n_central), complex64
        Samples minus what the images explain.
    residual : float
        Norm of the unexplained over the norm of the samples.
    """

    def __init__(self, centre: KspaceCentre, positions: NDArray[np.float64]) -> None:
        self._centre = centre
        self._waves = centre.waves(positions)
        self._factor = self._normal_factor(positions)
        self.images = self._solved(centre.samples)
        self.unexplained = centre.samples - self.forward(self.images)
        self.residual = float(
            np.linalg.norm(self.unexplained.ravel()) / np.linalg.norm(centre.samples.ravel())
        )

    def _normal_factor(self, positions: NDArray[np.float64]) -> tuple[NDArray[np.complex128], bool]:
        basis = self._centre.basis
        n_readouts, rank = basis.shape
        # Entries depend on the distance of two places only.
        lags = self._centre.lag_waves(positions).reshape(n_readouts, -1)
        pairs = (basis.conj()[:, :, None] * basis[:, None, :]).reshape(n_readouts, -1)
        n = self._centre.n_grid
        sums = (pairs.T @ lags).reshape(rank, rank, 2 * n - 1, 2 * n - 1)
        lag = np.arange(n)[:, None] - np.arange(n) + n - 1
        blocks = sums[:, :, lag[:, None, :, None], lag[None, :, None, :]]  # (i, j, y, x, y', x')
        matrix = blocks.transpose(0, 2, 3, 1, 4, 5).reshape(rank * n * n, rank * n * n)
        matrix = matrix.astype(np.complex128)
        matrix[np.diag_indices(len(matrix))] += _REGULARISATION * np.trace(matrix).real / len(matrix)
        factor: tuple[NDArray[np.complex128], bool] = scipy.linalg.cho_factor(matrix, overwrite_a=True)
        return factor

    def _solved(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        adjoint = samples.transpose(1, 0, 2) @ self._waves.conj()  # (n_readouts, n_coils, n_places)
        weighted = np.tensordot(self._centre.basis.conj().T, adjoint, axes=1)  # (rank, n_coils, n_places)
        rank, n_coils, n_places = weighted.shape
        right = weighted.transpose(0, 2, 1).reshape(rank * n_places, n_coils)
        images = scipy.linalg.cho_solve(self._factor, right.astype(np.complex128))
        return np.ascontiguousarray(images.T.reshape(n_coils, rank, n_places), dtype=np.complex64)

    def forward(
        self, images: NDArray[np.complex64], waves: NDArray[np.complex64] | None = None
    ) -> NDArray[np.complex64]:
        """Samples of images, at the positions of the fit or those of other `waves`."""
        waves = self._waves if waves is None else waves
        evolution = np.tensordot(self._centre.basis, images, axes=(1, 1))  # (n_readouts, n_coils, n_places)
        samples: NDArray[np.complex64] = evolution @ waves.transpose(0, 2, 1)
        return samples.transpose(1, 0, 2)

    def without_explained(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """The part of samples that no images explain."""
        return samples - self.forward(self._solved(samples))
