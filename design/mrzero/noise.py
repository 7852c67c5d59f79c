"""Noise of the samples in the pixels of an image.

Import this file by name: it needs TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.image_grid import ImageGrid
from epgbloch._checks import positive_number, require_count, require_seed


def noise_deviation(
    noise: float,
    grid: ImageGrid,
    n_samples: int,
    *,
    density: tf.Tensor | ArrayLike | None = None,
    coil_sensitivities: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return the standard deviation of the pixels of `adjoint`, `fft` and `nufft`.

    White noise of all samples and coils, of standard deviation `noise` in real and imaginary part, becomes
    noise sqrt(sum_n w_n^2) in images of coils with the weights w_n, 1 / (ny nx) unless given, and that over
    sqrt(sum_c |C_c|^2) in combined ones.

    Parameters
    ----------
    noise : float
        Standard deviation of real and imaginary part of the samples, > 0.
    grid : ImageGrid
        The pixels.
    n_samples : int
        Number of samples.
    density, coil_sensitivities : tensor or array_like, optional
        As in `adjoint`.

    Returns
    -------
    tf.Tensor, shape () or, with sensitivities, (ny, nx), float32
        The deviation; infinite where no coil sees anything.

    Raises
    ------
    ValueError
        If `noise` or `n_samples` is not positive.
    """
    require_count("n_samples", n_samples)
    weights = (
        tf.fill((n_samples,), 1 / grid.n_pixels)
        if density is None
        else tf.cast(tf.convert_to_tensor(density), tf.float32)
    )
    deviation = positive_number("noise", noise, "units of the signal") * tf.norm(weights)
    if coil_sensitivities is None:
        return deviation
    coils = tf.cast(tf.convert_to_tensor(coil_sensitivities), tf.complex64)
    return deviation / tf.sqrt(tf.reduce_sum(tf.math.square(tf.abs(coils)), axis=0))


def replica_deviation(
    reconstruct: Callable[[tf.Tensor], tf.Tensor],
    shape: tuple[int, int],
    noise: float,
    *,
    n_replicas: int = 100,
    seed: int = 0,
) -> tf.Tensor:
    """Return the standard deviation of the pixels of any linear reconstruction, from images of noise.

    The relative error is 1 / (2 sqrt(n_replicas)) in single pixels, and far less on average.

    Parameters
    ----------
    reconstruct : callable
        Maps samples, shape (n_coils, n_samples), to an image; may depend on tensors that are differentiated.
    shape : tuple of int
        (n_coils, n_samples).
    noise : float
        Standard deviation of real and imaginary part of the samples, > 0.
    n_replicas : int
        Images of noise.
    seed : int
        Equal seeds give equal noise.

    Returns
    -------
    tf.Tensor, shape of an image, float32
        The deviation.

    Raises
    ------
    ValueError
        If an option is out of range.
    """
    require_count("n_replicas", n_replicas)
    require_seed(seed)
    positive_number("noise", noise, "units of the signal")
    power = 0.0
    for i in range(n_replicas):
        parts = tf.random.stateless_normal((2, *shape), seed=(seed, i), stddev=noise)
        image = reconstruct(tf.complex(parts[0], parts[1]))
        power += tf.math.square(tf.math.real(image)) + tf.math.square(tf.math.imag(image))
    return tf.sqrt(power / (2 * n_replicas))
