"""Images from samples at any k, differentiable by the samples and by k.

Import this file by name: it needs TensorFlow. All functions work eagerly on samples s_n of shape
(n_coils, n_samples) and their k [cycles/m], of which x and y count, and follow one convention: an image m(r)
on an `ImageGrid` has the samples s_n = sum_r m(r) exp(-2 pi i k_n . r). With coil sensitivities C_c, images
r_c of the coils are combined to sum_c C_c^* r_c / sum_c |C_c|^2, 0 where no coil sees anything; without, they
come back one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.fourier import angles_of, cartesian_order, type_1, type_2
from design.mrzero.image_grid import ImageGrid
from design.mrzero.reconstruction_inputs import coils_of, combined, samples_of, weighted
from design.mrzero.sequence import ImagingSequence
from epgbloch._checks import positive_number, require_count

_POWER_ITERATIONS = 10


class Iterated(NamedTuple):
    """Result of `iterative_adjoint`.

    Attributes
    ----------
    image : tf.Tensor, shape (ny, nx) or (n_coils, ny, nx), complex64
        The last iterate.
    residuals : tf.Tensor, shape (n_iterations + 1,), float32
        ||A x - b|| / ||b|| of every iterate from x = 0 to the last; without gradient.
    """

    image: tf.Tensor
    residuals: tf.Tensor


def adjoint(
    signal: tf.Tensor | ArrayLike,
    k: tf.Tensor | ArrayLike,
    grid: ImageGrid,
    *,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
    density: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return the adjoint reconstruction r(r) = sum_n w_n s_n exp(2 pi i k_n . r).

    Matrices for y and x are multiplied: r = E_y^T diag(w s) E_x, of n_samples (ny + nx) elements.

    Parameters
    ----------
    signal : tensor or array_like, shape (n_coils, n_samples), complex64
        The samples.
    k : tensor or array_like, shape (n_samples, 2 or 3), float32
        Their k (x, y) [cycles/m]; z is ignored.
    grid : ImageGrid
        The pixels.
    coil_sensitivities : tensor or array_like, shape (n_coils, ny, nx), complex64, optional
        To combine coils with.
    density : tensor or array_like, shape (n_samples,), float32, optional
        Weights w: the area of k-space of each sample [(cycles/pixel)^2]. Left out: 1 / (ny nx) for all,
        with which fully sampled Cartesian data give the object back.

    Returns
    -------
    tf.Tensor, shape (ny, nx), or (n_coils, ny, nx) without sensitivities, complex64
        The image.

    Raises
    ------
    ValueError
        If shapes do not fit together.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727, section "Reconstruction".
    """
    samples, places = samples_of(signal, k)
    rows, columns = _phases(places, grid)
    return combined(_adjoint(weighted(samples, density, grid), rows, columns), coil_sensitivities)


def iterative_adjoint(
    signal: tf.Tensor | ArrayLike,
    k: tf.Tensor | ArrayLike,
    grid: ImageGrid,
    *,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
    n_iterations: int = 10,
    step: float | None = None,
) -> Iterated:
    """Return the image after a few steps of steepest descent on ||A x - b||^2 from x = 0.

    x <- x - step A^H (A x - b), where A encodes the image (by coil sensitivities too, if given) and b are the
    samples. For k that oversamples part of k-space, as radial spokes its centre.

    Parameters
    ----------
    signal, k, grid : tensor or array_like, ImageGrid
        As in `adjoint`.
    coil_sensitivities : tensor or array_like, shape (n_coils, ny, nx), complex64, optional
        Part of A, if given; left out: every coil has its own image.
    n_iterations : int
        Steps.
    step : float, optional
        Length of a step; more than 2 over the largest eigenvalue of A^H A diverges. Left out: 1 over that
        eigenvalue, from ten power iterations. It counts as constant in derivatives.

    Returns
    -------
    Iterated
        Image and residuals.

    Raises
    ------
    ValueError
        If shapes do not fit together, or an option is out of range.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727: supporting information, eq. 2, where
    the step is 2 alpha.
    """
    require_count("n_iterations", n_iterations)
    samples, places = samples_of(signal, k)
    angles = angles_of(places, grid)
    coils = None if coil_sensitivities is None else coils_of(coil_sensitivities, samples.shape[0], grid.shape)

    def encode(image: tf.Tensor, angles: tf.Tensor) -> tf.Tensor:
        return type_2(image if coils is None else coils * image, angles, grid)

    def decode(samples: tf.Tensor, angles: tf.Tensor) -> tf.Tensor:
        images = type_1(samples, angles, grid)
        return images if coils is None else tf.reduce_sum(tf.math.conj(coils) * images, axis=0)

    if step is None:
        fixed = tf.stop_gradient(angles)
        shape = grid.shape if coils is not None else (1, *grid.shape)
        factor = 1 / _largest_eigenvalue(lambda x: decode(encode(x, fixed), fixed), shape)
    else:
        factor = tf.constant(positive_number("step", step, ""), tf.float32)
    factor = tf.cast(factor, tf.complex64)
    image = tf.zeros(grid.shape if coils is not None else (samples.shape[0], *grid.shape), tf.complex64)
    difference = -samples
    differences = [difference]
    for _ in range(n_iterations):
        image -= factor * decode(difference, angles)
        difference = encode(image, angles) - samples
        differences.append(difference)
    norms = tf.sqrt(tf.reduce_sum(tf.math.square(tf.abs(tf.stop_gradient(differences))), axis=(1, 2)))
    return Iterated(image, tf.math.divide_no_nan(norms, norms[0]))


def fft(
    signal: tf.Tensor | ArrayLike,
    k: tf.Tensor | ArrayLike,
    grid: ImageGrid,
    *,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return the inverse FFT of Cartesian samples in any order, differentiable by the samples.

    Every point of the grid of k-space, k = (j - n // 2) / fov along each axis, must be sampled once; the
    edges -n / 2 and n / 2 of an even n are the same point.

    Parameters
    ----------
    signal, k, grid, coil_sensitivities : tensor or array_like, ImageGrid
        As in `adjoint`.

    Returns
    -------
    tf.Tensor, shape (ny, nx), or (n_coils, ny, nx) without sensitivities, complex64
        The image: that of `adjoint`.

    Raises
    ------
    ValueError
        If shapes do not fit together, or samples are not Cartesian; the message names the first that is not.
    """
    samples, places = samples_of(signal, k)
    order = cartesian_order(places.numpy(), grid)
    ordered = tf.reshape(tf.gather(samples, order, axis=1), (-1, *grid.shape))
    axes = (1, 2)
    images = tf.signal.fftshift(tf.signal.ifft2d(tf.signal.ifftshift(ordered, axes)), axes)
    return combined(images, coil_sensitivities)


def nufft(
    signal: tf.Tensor | ArrayLike,
    k: tf.Tensor | ArrayLike,
    grid: ImageGrid,
    *,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
    density: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return what `adjoint` does, by a non-uniform FFT: for large images.

    For `density`, `reconstruction.density_compensation` computes weights; they count as constant.

    Parameters
    ----------
    signal, k, grid, coil_sensitivities, density : tensor or array_like, ImageGrid
        As in `adjoint`.

    Returns
    -------
    tf.Tensor, shape (ny, nx), or (n_coils, ny, nx) without sensitivities, complex64
        The image, to about 1e-6 of its norm.

    Raises
    ------
    ValueError
        If shapes do not fit together.
    """
    samples, places = samples_of(signal, k)
    images = type_1(weighted(samples, density, grid), angles_of(places, grid), grid)
    return combined(images, coil_sensitivities)


def channels(
    signal: tf.Tensor | ArrayLike,
    k: tf.Tensor | ArrayLike,
    grid: ImageGrid,
    sequence: ImagingSequence,
    *,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return the adjoint reconstruction of each repetition alone, as real channels for a network.

    The sum over repetitions is `adjoint`.

    Parameters
    ----------
    signal, k, grid, coil_sensitivities : tensor or array_like, ImageGrid
        As in `adjoint`; without sensitivities, of one coil.
    sequence : ImagingSequence
        Tells which repetition each sample belongs to; those without samples have no channels.

    Returns
    -------
    tf.Tensor, shape (ny, nx, 2 n_repetitions), float32
        First all real parts, then all imaginary parts.

    Raises
    ------
    ValueError
        If shapes do not fit together.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727, case III of figure 1.
    """
    samples, places = samples_of(signal, k)
    if sequence.n_samples != samples.shape[1]:
        raise ValueError(f"signal has {samples.shape[1]} samples; the sequence takes {sequence.n_samples}")
    if coil_sensitivities is None and samples.shape[0] != 1:
        raise ValueError(f"signal is of {samples.shape[0]} coils; give coil_sensitivities to combine them")
    counts = np.add.reduceat(sequence.adc.astype(int), sequence.first_event[:-1])
    counts = counts[counts > 0]
    # samples of each repetition in a row, filled up with zeros where others have more
    column = np.arange(counts.max())
    filled = column < counts[:, np.newaxis]
    index = np.where(filled, (np.cumsum(counts) - counts)[:, np.newaxis] + column, 0)
    rows, columns = (tf.gather(phases, index) for phases in _phases(places, grid))
    own = tf.gather(weighted(samples, None, grid), index, axis=1) * filled.astype(np.complex64)
    images = tf.matmul(rows, own[..., np.newaxis] * columns, transpose_a=True)
    images = tf.transpose(images, (1, 0, 2, 3))  # (n_repetitions, n_coils, ny, nx)
    images = images[:, 0] if coil_sensitivities is None else combined(images, coil_sensitivities)
    return tf.transpose(tf.concat([tf.math.real(images), tf.math.imag(images)], axis=0), (1, 2, 0))


def _phases(places: tf.Tensor, grid: ImageGrid) -> tuple[tf.Tensor, tf.Tensor]:
    """exp(2 pi i k y), shape (n_samples, ny), and exp(2 pi i k x), shape (n_samples, nx)."""
    angles = [
        places[:, axis, np.newaxis] * (2 * np.pi * position).astype(np.float32)
        for axis, position in ((1, grid.y), (0, grid.x))
    ]
    rows, columns = (tf.complex(tf.cos(angle), tf.sin(angle)) for angle in angles)
    return rows, columns


def _adjoint(samples: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """sum_n s_n exp(2 pi i k_n . r), shape (n_coils, ny, nx)."""
    return tf.matmul(rows, samples[..., np.newaxis] * columns, transpose_a=True)


def _largest_eigenvalue(normal: Callable[[tf.Tensor], tf.Tensor], shape: tuple[int, ...]) -> tf.Tensor:
    start = np.random.default_rng(0).normal(size=shape)
    vector = tf.constant(start / np.linalg.norm(start), tf.complex64)
    for _ in range(_POWER_ITERATIONS):
        vector = normal(vector)
        value = tf.norm(vector)  # real, of dtype complex64
        vector /= value
    return tf.math.real(value)
