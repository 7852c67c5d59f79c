"""Encoding operators between coefficient images in a temporal subspace and k-space."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Lock

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from epgbloch._cores import available_cores
from reconstruction.encoding_inputs import (
    AXES,
    checked_matrix,
    checked_off_resonance,
    checked_sensitivities,
    checked_trajectory,
    readout_basis,
)
from reconstruction.fourier import FourierTransforms, sampling_density
from reconstruction.memory import memory_estimate, require_memory
from reconstruction.off_resonance import on_resonance, time_segments
from reconstruction.toeplitz import ToeplitzNormal

_NOISE_REGULARISATION = 0.05  # of the mean sampling density


class SubspaceEncoding:
    """Encoding E = F U C of coefficient images into k-space.

    With the sensitivities C, the basis U of the signal evolutions, the samples k of readout i, and the
    off-resonance f [Hz], where there is a map, at the times t of the samples::

        (E x)[c, i, m] = sum_j U[i mod n_pulses, j]
                         sum_r C[c](r) x[j](r) exp(2 pi i f(r) t[m]) exp(-2 pi i k[i, m].r)

    so that the signal of pulse n in a voxel is ``sum_j U[n, j] x[j]``. Several repetitions of the train may
    follow each other: readout i belongs to pulse ``i mod n_pulses``. Pixels lie at
    ``-(n // 2) <= r < n - n // 2`` on each axis. A stack of stars or spirals is a trajectory with three
    components, like any other in three dimensions.

    `forward` and `adjoint` are non-uniform FFTs, image by image, their plans made once. `normal` is a product
    of FFTs of the size of the images with a kernel that its first call makes (`ToeplitzNormal`): it never
    sees the samples again. Results do not depend on the number of threads.

    Parameters
    ----------
    trajectory : array_like, shape (n_readouts, n_samples, 2 or 3), float32
        Components (kx, ky) or (kx, ky, kz) [cycles per pixel], within [-0.5, 0.5].
    matrix : tuple of int
        Image size (ny, nx) or (nz, ny, nx).
    sensitivities : array_like, shape (n_coils, *matrix), complex64
        Coil sensitivities, in the channels of the k-space that the operator is applied to.
    basis : array_like, shape (n_pulses, rank), float32 or complex64
        Temporal basis U. A real one makes `normal` faster and halves its memory.
    off_resonance : array_like, shape matrix, float64, optional
        Off-resonance f [Hz] during the readouts; positive turns ``Mx + i My`` counter-clockwise, as in the
        signal models. What precession before the echo does to the signal is not in E: coefficient images hold
        it.
    sample_times : array_like, shape (n_samples,), float64, optional
        Time t of each sample after the echo [s], negative before it; needed with `off_resonance`.
    tolerance : float
        Relative accuracy of the non-uniform FFT, 1e-6 to 1e-1, and with `off_resonance` the largest
        difference of a phase factor (`time_segments`). `adjoint` is the adjoint of `forward` to rounding
        whatever the tolerance.
    n_threads : int or None
        Number of threads, each with work arrays of its own; None: one for each core.

    Raises
    ------
    ValueError
        If shapes do not fit, a value is not finite or out of range, the sensitivities are zero everywhere, or
        the readouts are not one or more whole trains.
    MemoryError
        If plans and work arrays need more memory than the machine has available (`memory_estimate`); from
        the first call of `normal`, if its kernel does.

    References
    ----------
    Assländer et al. 2018, Magn Reson Med 79:83, doi 10.1002/mrm.26639.
    Barnett, Magland, af Klinteberg 2019, SIAM J Sci Comput 41:C479, doi 10.1137/18M120885X (FINUFFT).

    Examples
    --------
    >>> encoding = SubspaceEncoding(
    ...     acquisition.trajectory, acquisition.matrix, sensitivities, dictionary.basis
    ... )  # doctest: +SKIP
    >>> x = encoding.adjoint(acquisition.kspace)  # doctest: +SKIP
    """

    def __init__(
        self,
        trajectory: ArrayLike,
        matrix: tuple[int, ...],
        sensitivities: ArrayLike,
        basis: ArrayLike,
        *,
        off_resonance: ArrayLike | None = None,
        sample_times: ArrayLike | None = None,
        tolerance: float = 1e-4,
        n_threads: int | None = None,
    ) -> None:
        self._matrix = checked_matrix(matrix)
        positions = checked_trajectory(trajectory, self._matrix)
        self._coils = checked_sensitivities(sensitivities, self._matrix)
        n_readouts, n_samples, n_axes = positions.shape
        self._basis = readout_basis(basis, n_readouts)
        self.kspace_shape = (len(self._coils), n_readouts, n_samples)
        """Shape (n_coils, n_readouts, n_samples) of k-space."""
        self.image_shape = (self._basis.shape[1], *self._matrix)
        """Shape (rank, *matrix) of coefficient images."""
        if not 1e-6 <= tolerance <= 1e-1:
            raise ValueError(
                f"tolerance={tolerance} must lie within 1e-6 (single precision) and 1e-1; 1e-4 is the default"
            )
        if n_threads is not None and n_threads < 1:
            raise ValueError(f"n_threads={n_threads} must be at least 1, or None for all cores")
        self._n_threads = n_threads or available_cores()
        self._segments = self._difference_segments = on_resonance(self._matrix, n_samples)
        if off_resonance is not None:
            self._segments, self._difference_segments = time_segments(
                *checked_off_resonance(off_resonance, sample_times, self._matrix, n_samples),
                seen=np.any(self._coils, axis=0),
                accuracy=tolerance,
            )
        elif sample_times is not None:
            raise ValueError("sample_times has a meaning only with off_resonance; give both or none")
        self._memory = memory_estimate(
            n_readouts,
            n_samples,
            self._matrix,
            len(self._coils),
            self._basis.shape[1],
            complex_basis=np.iscomplexobj(self._basis),
            n_segments=len(self._difference_segments),
            tolerance=tolerance,
            n_threads=self._n_threads,
        )
        require_memory(
            self._memory.encoding + self._memory.transforming,
            "the encoding",
            "use fewer threads, fewer coils (compress them) or a smaller matrix",
        )
        # The axes of images are (z, y, x), trajectories are (x, y, z).
        self._angles = tuple(
            np.ascontiguousarray(2 * np.pi * positions[..., i].ravel()) for i in reversed(range(n_axes))
        )
        self._idle: SimpleQueue[FourierTransforms] = SimpleQueue()
        for _ in range(min(self._n_threads, max(len(self._coils), len(self._basis.T)))):
            self._idle.put(FourierTransforms(self._angles, self._matrix, n_readouts, tolerance))
        self._normal: list[ToeplitzNormal] = []
        self._making = Lock()
        density = sampling_density(self._angles, self._matrix)
        self._inverse_density = (density.mean() / (density + density.mean())).astype(np.float32)
        # Share of each coefficient in the samples: 1 / n_pulses for an orthonormal basis.
        shares = np.linalg.norm(self._basis, axis=0) ** 2 / n_readouts
        gain = np.sum(np.abs(self._coils) ** 2, axis=0)
        self.mean_eigenvalue = float(shares.mean() * n_readouts * n_samples * gain[gain > 0].mean())
        """Mean eigenvalue of E^H E over images that are zero where all sensitivities are."""
        variance = np.mean(density / (density + _NOISE_REGULARISATION * density.mean()) ** 2)
        self.noise_gain = float(np.sqrt(np.sum(1 / shares) * variance))
        """Root mean square over the pixels of ``(sum_j |x[j]|^2)^(1/2)`` that noise of unit variance leaves.

        An estimate for sensitivities of unit sum of squares, from the mean of ``1 / D`` over k-space with the
        sampling density D (`precondition`), regularised as about 12 iterations do: within a factor of 2 of
        what `low_rank_inversion` makes of pure noise of one coil, for radial and spiral trajectories.
        """

    def forward(self, x: ArrayLike) -> NDArray[np.complex64]:
        """k-space E x, shape (n_coils, n_readouts, n_samples), of coefficient images (rank, *matrix).

        Raises
        ------
        ValueError
            If x has another shape.
        """
        images = self._checked("x", x, self.image_shape)
        kspace = np.zeros(self.kspace_shape, dtype=np.complex64)

        def encode(transforms: FourierTransforms, i_coil: int) -> None:
            for phase, weights in self._segments:
                seen = self._coils[i_coil] * phase
                for image, row in zip(images, self._basis.T, strict=True):
                    transforms.to_samples(seen * image)
                    transforms.samples *= row[:, np.newaxis] * weights
                    kspace[i_coil] += transforms.samples

        self._each(encode, len(kspace))
        return kspace

    def adjoint(self, s: ArrayLike) -> NDArray[np.complex64]:
        """Coefficient images E^H s, shape (rank, *matrix), of k-space (n_coils, n_readouts, n_samples).

        Raises
        ------
        ValueError
            If s has another shape.
        """
        kspace = self._checked("s", s, self.kspace_shape)
        images = np.zeros(self.image_shape, dtype=np.complex64)

        def decode(transforms: FourierTransforms, j: int) -> None:
            for phase, weights in self._segments:
                factor = (self._basis[:, j, np.newaxis] * weights).conj()
                for coil, samples in zip(self._coils, kspace, strict=True):
                    np.multiply(samples, factor, out=transforms.samples)
                    images[j] += (coil * phase).conj() * transforms.to_image()

        self._each(decode, len(images))
        return images

    def normal(self, x: ArrayLike) -> NDArray[np.complex64]:
        """E^H E x, shape (rank, *matrix), more accurate than `adjoint` of `forward`.

        Symmetric to rounding. With off-resonance, the phase factors of its kernel are as accurate as those
        of `forward`.

        Raises
        ------
        ValueError
            If x has another shape.
        """
        images = self._checked("x", x, self.image_shape)
        with self._making:
            if not self._normal:
                require_memory(
                    self._memory.kernel + max(self._memory.building, self._memory.multiplying),
                    f"the kernel of the normal operator ({self._memory.kernel / 1e9:.3g} GB) with its making",
                    "use a lower rank, a real basis, a smaller matrix, or slices one by one",
                )
                self._normal = [
                    ToeplitzNormal(self._angles, self._matrix, self._basis, weights, self._n_threads)
                    for weights in self._difference_segments.weights
                ]
        result = np.zeros_like(images)
        for normal, phase in zip(self._normal, self._difference_segments.phases, strict=True):
            normal.add_product(result, images, self._coils * phase)
        return result

    def precondition(self, x: ArrayLike) -> NDArray[np.complex64]:
        """Approximate inverse of E^H E, up to a factor, applied to images x; shape (rank, *matrix).

        Each coefficient image is filtered with the inverse of the sampling density D of k-space, regularised
        by its mean: ``1 / (D / mean(D) + 1)``. D is the optimal circulant approximation of F^H F, which is a
        Toeplitz matrix; sensitivities, basis and off-resonance are left out. Without it, conjugate gradients
        need three times as many iterations on radial and spiral trajectories, whose centre is sampled most
        densely.

        Raises
        ------
        ValueError
            If x has another shape.

        References
        ----------
        Chan 1988, SIAM J Sci Stat Comput 9:766, doi 10.1137/0909051.
        """
        images = self._checked("x", x, self.image_shape)
        result = np.empty_like(images)

        def filter_image(j: int) -> None:
            result[j] = scipy.fft.ifftn(self._inverse_density * scipy.fft.fftn(images[j]), overwrite_x=True)

        with ThreadPoolExecutor(self._n_threads) as pool:
            list(pool.map(filter_image, range(len(images))))
        return result

    def _each(self, function: Callable[[FourierTransforms, int], None], n: int) -> None:
        """Call ``function(transforms, i)`` for i below n in parallel."""

        def run(i: int) -> None:
            transforms = self._idle.get()
            try:
                function(transforms, i)
            finally:
                self._idle.put(transforms)

        with ThreadPoolExecutor(self._n_threads) as pool:
            list(pool.map(run, range(n)))

    def _checked(self, name: str, array: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.complex64]:
        result = np.ascontiguousarray(array, dtype=np.complex64)
        if result.shape != shape:
            raise ValueError(
                f"{name} has shape {result.shape}; this encoding takes coefficient images (rank, "
                f"{AXES[len(self._matrix)]}) = {self.image_shape} and k-space (n_coils, n_readouts, "
                f"n_samples) = {self.kspace_shape}"
            )
        return result
