"""The normal operator of a subspace encoding as Toeplitz matrices."""

from __future__ import annotations

import itertools
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from typing import Any

import finufft
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from reconstruction.fourier import transform_bytes
from reconstruction.toeplitz_product import BLOCK, multiply

KERNEL_TOLERANCE = 1e-6
"""Relative accuracy asked of the non-uniform FFT that makes the kernel; a looser one would hardly be faster.

Positions in single precision leave 1e-5 (112 x 112) to 3e-5 (224 x 224).
"""
WORK_BYTES = 2**24
"""The spectra of as many coils as fit this size are held at the same time, those of one coil at least."""
BUILD_BYTES = 2**30
"""What the threads that make a kernel may take, if the kernel is smaller."""
_OVERSAMPLING = 2.0  # of the grid of that transform; the tolerance needs it


class ToeplitzNormal:
    """Product with ``N = sum_ij U[:, i]^H F^H W F U[:, j]``, W the weights of the samples.

    For images x of one coil, sample m at k_m in readout t(m)::

        (N x)[i](r) = sum_j sum_r' Q[i, j](r - r') x[j](r')
        Q[i, j](n) = sum_m conj(U[t(m), i]) U[t(m), j] w_m exp(2 pi i k_m.n)

    The convolution with Q over ``-N < n < N`` is a product of Fourier transforms of length 2 N: at each
    frequency with the rank x rank matrix ``Lambda = FFT_2N(Q)``. Lambda is Hermitian; for a real basis it is
    real, as ``Q(-n) = conj(Q(n))``, and half as large. At its even frequencies, the transform of length 2 N
    of an image padded with zeros is that of length N of the image; at its odd ones, it is that of the image
    times ``exp(-pi i n / N)``. So nothing is padded: in d dimensions, the kernel has ``2^d`` parts, one for
    each choice of even and odd, and each takes transforms of the size of the image.

    Parameters
    ----------
    angles : tuple of ndarray, shape (n_readouts * n_samples,), float32
        ``2 pi k`` [rad per pixel], one array for each axis of the images, in their order.
    matrix : tuple of int
        Shape of the images.
    basis : ndarray, shape (n_readouts, rank), float32 or complex64
        Row of U for each readout.
    weights : ndarray, shape (n_samples,), float32
        Weights w of the samples of a readout, the same for all readouts.
    n_threads : int
        Number of threads; the result does not depend on it.

    References
    ----------
    Wajer and Pruessmann 2001, Proc ISMRM 9:767 (Toeplitz operator of non-Cartesian sampling).
    Fessler et al. 2005, IEEE Trans Signal Process 53:3393, doi 10.1109/TSP.2005.853152.
    Tamir et al. 2017, Magn Reson Med 77:180, doi 10.1002/mrm.26102 (in a temporal subspace).
    """

    def __init__(
        self,
        angles: tuple[NDArray[np.float32], ...],
        matrix: tuple[int, ...],
        basis: NDArray[Any],
        weights: NDArray[np.float32],
        n_threads: int,
    ) -> None:
        self._matrix = matrix
        self._n_threads = n_threads
        self._parts = list(itertools.product((0, 1), repeat=len(matrix)))
        self._planes, strengths, targets = _layout(basis)
        sizes = matrix, basis.shape[1], np.iscomplexobj(basis)
        self._kernel = np.zeros(_kernel_shape(*sizes), dtype=np.float32)
        n_pixels = math.prod(matrix)
        doubled = tuple(2 * n for n in matrix)
        scale = np.float32(1 / len(self._parts))  # of the inverse transform, 1 / (2 N) instead of 1 / N
        own = threading.local()

        def fill(strength: NDArray[np.complex64], planes: NDArray[np.int64]) -> None:
            if not hasattr(own, "plan"):
                own.plan = finufft.Plan(
                    1,
                    doubled,
                    eps=KERNEL_TOLERANCE,
                    isign=1,
                    dtype="complex64",
                    nthreads=1,
                    modeord=1,
                    upsampfac=_OVERSAMPLING,
                )
                own.plan.setpts(*angles)
            samples = (strength[:, np.newaxis] * weights).ravel()
            spectrum = scipy.fft.fftn(own.plan.execute(samples).reshape(doubled), overwrite_x=True)
            for part, kernel in zip(self._parts, self._kernel, strict=True):
                values = np.zeros(len(kernel) * BLOCK, dtype=np.complex64)
                values[:n_pixels] = scale * spectrum[tuple(slice(odd, None, 2) for odd in part)].ravel()
                blocks = values.reshape(-1, BLOCK)
                kernel[:, planes[0]] = blocks.real
                if planes[1] >= 0:
                    kernel[:, planes[1]] = blocks.imag

        with ThreadPoolExecutor(min(n_threads, n_builders(*sizes, angles[0].size))) as pool:
            list(pool.map(fill, strengths, targets))

    @property
    def nbytes(self) -> int:
        """Size of the kernel."""
        return self._kernel.nbytes

    def add_product(
        self, result: NDArray[np.complex64], images: NDArray[np.complex64], coils: NDArray[np.complex64]
    ) -> None:
        """Add ``sum_c conj(C[c]) N (C[c] x)`` to the result, coil by coil.

        Parameters
        ----------
        result, images : ndarray, shape (rank, *matrix), complex64
            What is added to, and x.
        coils : ndarray, shape (n_coils, *matrix), complex64
            Sensitivities C.
        """
        n_held = coils_held(self._matrix, len(images), len(coils))
        work = np.empty((len(images), n_held, *self._matrix), dtype=np.complex64)
        with ThreadPoolExecutor(self._n_threads) as pool:
            for first in range(0, len(coils), n_held):
                held = coils[first : first + n_held]
                spectra = work.reshape(-1)[: len(images) * held.size].reshape(len(images), *held.shape)
                for part, kernel in zip(self._parts, self._kernel, strict=True):
                    self._add_part(pool, part, kernel, spectra, result, images, held)

    def _add_part(
        self,
        pool: ThreadPoolExecutor,
        part: tuple[int, ...],
        kernel: NDArray[np.float32],
        spectra: NDArray[np.complex64],
        result: NDArray[np.complex64],
        images: NDArray[np.complex64],
        coils: NDArray[np.complex64],
    ) -> None:
        """Add the product at the frequencies of one part of the kernel."""
        axes = tuple(range(1, coils.ndim))
        modulated = coils * _modulation(part, self._matrix)
        conjugate = modulated.conj()
        rows = spectra.view(np.float32).reshape(*spectra.shape[:2], -1)
        edges = np.linspace(0, len(kernel), self._n_threads + 1).astype(int)

        def transform(j: int) -> None:
            np.multiply(modulated, images[j], out=spectra[j])
            transformed = scipy.fft.fftn(spectra[j], axes=axes, overwrite_x=True)
            if not np.may_share_memory(transformed, spectra):
                spectra[j] = transformed

        def multiply_blocks(first: int, last: int) -> None:
            multiply(kernel, self._planes, rows, first, last)

        def transform_back(i: int) -> None:
            transformed = scipy.fft.ifftn(spectra[i], axes=axes, overwrite_x=True)
            transformed *= conjugate
            for image in transformed:
                result[i] += image

        for task, arguments in (
            (transform, [range(len(images))]),
            (multiply_blocks, [edges[:-1], edges[1:]]),
            (transform_back, [range(len(images))]),
        ):
            list(pool.map(task, *arguments))


def kernel_bytes(matrix: tuple[int, ...], rank: int, is_complex: bool) -> int:
    """Size of the kernel: a Hermitian or real symmetric matrix for each of ``2^d n_pixels`` frequencies."""
    return 4 * math.prod(_kernel_shape(matrix, rank, is_complex))


def builder_bytes(matrix: tuple[int, ...], n_all_samples: int) -> int:
    """What each thread takes while the kernel is made: grids, spectrum with copies, samples with places."""
    doubled = tuple(2 * n for n in matrix)
    own = 8 * math.prod(doubled) + 20 * math.prod(matrix) + 24 * n_all_samples
    return own + transform_bytes(doubled, _OVERSAMPLING, n_all_samples)


def n_builders(matrix: tuple[int, ...], rank: int, is_complex: bool, n_all_samples: int) -> int:
    """Largest number of threads that make the kernel: what they take is at most about as large."""
    allowed = max(BUILD_BYTES, kernel_bytes(matrix, rank, is_complex))
    return max(1, allowed // builder_bytes(matrix, n_all_samples))


def coils_held(matrix: tuple[int, ...], rank: int, n_coils: int) -> int:
    """Number of coils whose spectra are held at the same time."""
    return min(n_coils, max(1, WORK_BYTES // (8 * rank * math.prod(matrix))))


def _kernel_shape(matrix: tuple[int, ...], rank: int, is_complex: bool) -> tuple[int, int, int, int]:
    """(n_parts, n_blocks, n_planes, BLOCK)."""
    n_planes = rank**2 if is_complex else rank * (rank + 1) // 2
    return 2 ** len(matrix), -(-math.prod(matrix) // BLOCK), n_planes, BLOCK


def _modulation(part: tuple[int, ...], matrix: tuple[int, ...]) -> NDArray[np.complex64]:
    """``exp(-pi i n / N)`` along the axes with odd frequencies, 1 along the others; shape `matrix`."""
    waves = (np.exp(-1j * np.pi * odd * np.arange(n) / n) for odd, n in zip(part, matrix, strict=True))
    return reduce(np.multiply.outer, waves).astype(np.complex64)


def _layout(basis: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.complex64], NDArray[np.int64]]:
    """Where the kernel comes from and where it lies.

    Two elements of Lambda that are real come from one transform: of the strengths of the one plus i times
    those of the other.

    Returns
    -------
    planes : ndarray, shape (2, rank, rank), int64
        Planes of the real and imaginary parts of the elements of Lambda.
    strengths : ndarray, shape (n_transforms, n_readouts), complex64
        Strengths of the readouts.
    targets : ndarray, shape (n_transforms, 2), int64
        Planes that take the real and the imaginary part of the spectrum of these; -1: none.
    """
    rank, is_complex = basis.shape[1], np.iscomplexobj(basis)
    i, j = np.triu_indices(rank)
    products = (basis[:, i].conj() * basis[:, j]).T
    planes = np.zeros((2, rank, rank), dtype=np.int64)
    planes[0, i, j] = planes[0, j, i] = np.arange(i.size)
    real = np.flatnonzero((i == j) | (not is_complex))
    first, second = real[::2], real[1::2]
    strengths = products[first].astype(np.complex64)
    strengths[: second.size] += 1j * products[second].real
    targets = np.full((first.size, 2), -1)
    targets[:, 0], targets[: second.size, 1] = first, second
    if is_complex:
        above = np.flatnonzero(i != j)
        imaginary = i.size + np.arange(above.size)
        planes[1, i[above], j[above]] = planes[1, j[above], i[above]] = imaginary
        strengths = np.concatenate([strengths, products[above]])
        targets = np.concatenate([targets, np.stack([above, imaginary], axis=1)])
    return planes, strengths, targets
