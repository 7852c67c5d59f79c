"""Encoding operators between coefficient images in a temporal subspace and k-space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

import finufft
import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from epgbloch._cores import available_cores
from reconstruction.acquisition import Acquisition

_T = TypeVar("_T")

_NOISE_REGULARISATION = 0.05  # of the mean sampling density


class _CoilTransform:
    """F U of one coil with its plans and work array, for one thread at a time.

    Plans are single-threaded: parallel type-1 transforms would add up in random order.
    """

    def __init__(
        self,
        ky: NDArray[np.float32],
        kx: NDArray[np.float32],
        matrix: tuple[int, int],
        weights: NDArray[Any],
        tolerance: float,
    ) -> None:
        self._weights = weights
        n_readouts, rank = weights.shape
        self._to_samples, self._to_images = (
            finufft.Plan(kind, matrix, n_trans=rank, eps=tolerance, isign=sign, dtype="complex64", nthreads=1)
            for kind, sign in ((2, -1), (1, 1))
        )
        self._to_samples.setpts(ky, kx)
        self._to_images.setpts(ky, kx)
        self._images_shape = (rank, *matrix)
        self._samples = np.empty((rank, kx.size), dtype=np.complex64)
        # A real basis acts on real and imaginary parts, side by side in the last axis.
        self._parts = self._samples.reshape(rank, n_readouts, -1).view(
            np.complex64 if np.iscomplexobj(weights) else np.float32
        )

    def encode(self, images: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Samples (n_readouts, n_samples) of images (rank, ny, nx)."""
        self._to_samples.execute(images, out=self._samples)
        return np.einsum("jim,ij->im", self._parts, self._weights, order="C").view(np.complex64)

    def decode(self, samples: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Adjoint of `encode`."""
        np.multiply(
            self._weights.conj().T[:, :, np.newaxis], samples.view(self._parts.dtype), out=self._parts
        )
        return self._to_images.execute(self._samples).reshape(self._images_shape)


class SubspaceEncoding:
    """Encoding E = F U C of coefficient images into the k-space of an acquisition.

    With the sensitivities C, the basis U of the signal evolutions and the samples k of readout i::

        (E x)[c, i, m] = sum_j U[i mod n_pulses, j] sum_r C[c](r) x[j](r) exp(-2 pi i k[i, m].r)

    so that the signal of pulse n in a voxel is ``sum_j U[n, j] x[j]``. Several repetitions of the train may
    follow each other: readout i belongs to pulse ``i mod n_pulses``.

    The Fourier transforms are non-uniform FFTs over all samples, `rank` at a time, their plans made once.
    Coils are computed in parallel and added in order: the results do not depend on the number of threads.

    Parameters
    ----------
    acquisition : Acquisition
        Trajectory, matrix and numbers of coils and readouts; the samples themselves are not used.
    sensitivities : array_like, shape (n_coils, ny, nx), complex64
        Coil sensitivities, in the channels of the k-space that the operator is applied to.
    basis : array_like, shape (n_pulses, rank), float32 or complex64
        Temporal basis U.
    tolerance : float
        Relative accuracy of the non-uniform FFT, 1e-6 to 1e-1. `adjoint` is the adjoint of `forward` to
        rounding whatever the tolerance.
    n_threads : int or None
        Largest number of coils computed at the same time, each with its own work arrays (rank x n_readouts x
        n_samples complex numbers, and those of finufft); None: one for each core.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite, the sensitivities are zero everywhere, or the readouts
        are not one or more whole trains.

    References
    ----------
    Assländer et al. 2018, Magn Reson Med 79:83, doi 10.1002/mrm.26639.
    Barnett, Magland, af Klinteberg 2019, SIAM J Sci Comput 41:C479, doi 10.1137/18M120885X (FINUFFT).

    Examples
    --------
    >>> encoding = SubspaceEncoding(acquisition, sensitivities, dictionary.basis)  # doctest: +SKIP
    >>> x = encoding.adjoint(acquisition.kspace)  # doctest: +SKIP
    """

    def __init__(
        self,
        acquisition: Acquisition,
        sensitivities: ArrayLike,
        basis: ArrayLike,
        *,
        tolerance: float = 1e-5,
        n_threads: int | None = None,
    ) -> None:
        self._sensitivities = checked_sensitivities(sensitivities, acquisition)
        weights = readout_basis(basis, acquisition.n_readouts)
        self.kspace_shape = acquisition.kspace.shape
        """Shape (n_coils, n_readouts, n_samples) of k-space."""
        self.image_shape = (weights.shape[1], *acquisition.matrix)
        """Shape (rank, ny, nx) of coefficient images."""
        if not 1e-6 <= tolerance <= 1e-1:
            raise ValueError(
                f"tolerance={tolerance} must lie within 1e-6 (single precision) and 1e-1; 1e-5 is the default"
            )
        if n_threads is not None and n_threads < 1:
            raise ValueError(f"n_threads={n_threads} must be at least 1, or None for all cores")
        self._n_threads = min(n_threads or available_cores(), len(self._sensitivities))
        angle = 2 * np.pi * acquisition.trajectory
        # The array axes are (y, x), so the first coordinate that finufft asks for belongs to ky.
        ky, kx = (np.ascontiguousarray(angle[..., i].ravel()) for i in (1, 0))
        self._idle: SimpleQueue[_CoilTransform] = SimpleQueue()
        for _ in range(self._n_threads):
            self._idle.put(_CoilTransform(ky, kx, acquisition.matrix, weights, tolerance))
        density = _sampling_density(ky, kx, acquisition.matrix)
        self._inverse_density = (density.mean() / (density + density.mean())).astype(np.float32)
        # Share of each coefficient in the samples: 1 / n_pulses for an orthonormal basis.
        shares = np.linalg.norm(weights, axis=0) ** 2 / len(weights)
        variance = np.mean(density / (density + _NOISE_REGULARISATION * density.mean()) ** 2)
        self.noise_gain = float(np.sqrt(np.sum(1 / shares) * variance))
        """Root mean square over the pixels of ``(sum_j |x[j]|^2)^(1/2)`` that noise of unit variance leaves.

        An estimate for sensitivities of unit sum of squares, from the mean of ``1 / D`` over k-space with the
        sampling density D (`precondition`), regularised as about 12 iterations do: within a factor of 2 of
        what `low_rank_inversion` makes of pure noise of one coil, for radial and spiral trajectories.
        """

    def forward(self, x: ArrayLike) -> NDArray[np.complex64]:
        """k-space E x, shape (n_coils, n_readouts, n_samples), of coefficient images (rank, ny, nx).

        Raises
        ------
        ValueError
            If x has another shape.
        """
        images = self._checked("x", x, self.image_shape)
        kspace = np.empty(self.kspace_shape, dtype=np.complex64)

        def encode(transform: _CoilTransform, i_coil: int) -> None:
            kspace[i_coil] = transform.encode(self._sensitivities[i_coil] * images)

        for _ in self._each_coil(encode):
            pass
        return kspace

    def adjoint(self, s: ArrayLike) -> NDArray[np.complex64]:
        """Coefficient images E^H s, shape (rank, ny, nx), of k-space (n_coils, n_readouts, n_samples).

        Raises
        ------
        ValueError
            If s has another shape.
        """
        kspace = self._checked("s", s, self.kspace_shape)

        def decode(transform: _CoilTransform, i_coil: int) -> NDArray[np.complex64]:
            return self._sensitivities[i_coil].conj() * transform.decode(kspace[i_coil])

        return self._sum(self._each_coil(decode))

    def normal(self, x: ArrayLike) -> NDArray[np.complex64]:
        """E^H E x, shape (rank, ny, nx); never holds the k-space of all coils.

        Raises
        ------
        ValueError
            If x has another shape.
        """
        images = self._checked("x", x, self.image_shape)

        def encode_decode(transform: _CoilTransform, i_coil: int) -> NDArray[np.complex64]:
            sensitivity = self._sensitivities[i_coil]
            return sensitivity.conj() * transform.decode(transform.encode(sensitivity * images))

        return self._sum(self._each_coil(encode_decode))

    def precondition(self, x: ArrayLike) -> NDArray[np.complex64]:
        """Approximate inverse of E^H E, up to a factor, applied to images x; shape (rank, ny, nx).

        Each coefficient image is filtered with the inverse of the sampling density D of k-space, regularised
        by its mean: ``1 / (D / mean(D) + 1)``. D is the optimal circulant approximation of F^H F, which is a
        Toeplitz matrix; sensitivities and basis are left out. Without it, conjugate gradients need three
        times as many iterations on radial and spiral trajectories, whose centre is sampled most densely.

        Raises
        ------
        ValueError
            If x has another shape.

        References
        ----------
        Chan 1988, SIAM J Sci Stat Comput 9:766, doi 10.1137/0909051.
        """
        images = self._checked("x", x, self.image_shape)
        return scipy.fft.ifft2(self._inverse_density * scipy.fft.fft2(images))

    def _each_coil(self, function: Callable[[_CoilTransform, int], _T]) -> Iterator[_T]:
        """Results of ``function(transform, i_coil)`` in the order of the coils, computed in parallel."""

        def run(i_coil: int) -> _T:
            transform = self._idle.get()
            try:
                return function(transform, i_coil)
            finally:
                self._idle.put(transform)

        with ThreadPoolExecutor(self._n_threads) as pool:
            yield from pool.map(run, range(len(self._sensitivities)))

    def _sum(self, images: Iterator[NDArray[np.complex64]]) -> NDArray[np.complex64]:
        result = np.zeros(self.image_shape, dtype=np.complex64)
        for image in images:
            result += image
        return result

    def _checked(self, name: str, array: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.complex64]:
        result = np.ascontiguousarray(array, dtype=np.complex64)
        if result.shape != shape:
            raise ValueError(
                f"{name} has shape {result.shape}; this encoding takes coefficient images (rank, ny, nx) = "
                f"{self.image_shape} and k-space (n_coils, n_readouts, n_samples) = {self.kspace_shape}"
            )
        return result


def checked_sensitivities(sensitivities: ArrayLike, acquisition: Acquisition) -> NDArray[np.complex64]:
    """Sensitivities as complex64, (n_coils, ny, nx); ValueError if they do not fit the acquisition."""
    maps = np.ascontiguousarray(sensitivities, dtype=np.complex64)
    expected = (acquisition.n_coils, *acquisition.matrix)
    if maps.shape != expected:
        raise ValueError(
            f"sensitivities has shape {maps.shape}; the acquisition asks for (n_coils, ny, nx) = {expected}"
        )
    if not np.isfinite(maps).all():
        coil, y, x = np.argwhere(~np.isfinite(maps))[0]
        raise ValueError(
            f"sensitivities is {maps[coil, y, x]} at coil {coil}, pixel y={y}, x={x}; it must be finite"
        )
    if not maps.any():
        raise ValueError("sensitivities is zero everywhere; estimate it from the data with espirit")
    return maps


def _sampling_density(
    ky: NDArray[np.float32], kx: NDArray[np.float32], matrix: tuple[int, int]
) -> NDArray[np.float32]:
    """Eigenvalues (ny, nx) of the circulant matrix that is closest to F^H F in the Frobenius norm."""
    doubled = (2 * matrix[0], 2 * matrix[1])
    plan = finufft.Plan(1, doubled, eps=1e-5, isign=1, dtype="complex64", nthreads=1)
    plan.setpts(ky, kx)
    point_spread = plan.execute(np.ones(kx.size, dtype=np.complex64))
    triangles = (1 - np.abs(np.arange(-n, n)) / n for n in matrix)
    windowed = point_spread * np.outer(*triangles)
    periodic = windowed.reshape(2, matrix[0], 2, matrix[1]).sum(axis=(0, 2))
    # Nonnegative but for the rounding of the point spread function.
    return np.maximum(scipy.fft.fft2(periodic).real, 0).astype(np.float32)


def readout_basis(basis: ArrayLike, n_readouts: int) -> NDArray[Any]:
    """Row of the basis that belongs to each readout: row ``i mod n_pulses`` for readout i.

    Parameters
    ----------
    basis : array_like, shape (n_pulses, rank)
        Temporal basis.
    n_readouts : int
        Number of readouts, one or more whole trains of n_pulses.

    Returns
    -------
    ndarray, shape (n_readouts, rank), float32 or complex64

    Raises
    ------
    ValueError
        If the basis has another shape or is not finite, or a train is incomplete.
    """
    array = np.asarray(basis)
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"basis must have shape (n_pulses, rank); got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("basis holds NaN or infinity; generate the dictionary again")
    n_pulses = len(array)
    if n_readouts % n_pulses:
        problem = (
            "there are fewer readouts than pulses"
            if n_readouts < n_pulses
            else f"that is not a multiple, {n_readouts % n_pulses} would be left over"
        )
        raise ValueError(
            f"{n_readouts} readouts for {n_pulses} pulses: {problem}; each repetition of the train must be "
            "complete: check the protocol (number of pulses, dummy pulses) against the raw data"
        )
    dtype = np.complex64 if np.iscomplexobj(array) else np.float32
    return np.tile(array.astype(dtype), (n_readouts // n_pulses, 1))
