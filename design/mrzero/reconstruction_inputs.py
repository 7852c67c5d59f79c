"""Samples, their k, weights and coils, as every reconstruction takes them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from design.mrzero.image_grid import ImageGrid


def samples_of(signal: Any, k: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples, complex64, and x and y of their k, float32, or a ValueError."""
    samples = tf.cast(tf.convert_to_tensor(signal), tf.complex64)
    places = tf.cast(tf.convert_to_tensor(k), tf.float32)
    if samples.shape.rank != 2 or 0 in samples.shape:
        raise ValueError(f"signal has shape {tuple(samples.shape)}; it must be (n_coils, n_samples)")
    if places.shape.rank != 2 or places.shape[0] != samples.shape[1] or places.shape[1] not in (2, 3):
        raise ValueError(
            f"k has shape {tuple(places.shape)}; it must be ({samples.shape[1]}, 2 or 3), one row a sample"
        )
    return samples, places[:, :2]


def weighted(samples: tf.Tensor, density: Any, grid: ImageGrid) -> tf.Tensor:
    """Samples times the area of k-space of each; that of a Cartesian sample unless given."""
    if density is None:
        return samples / grid.n_pixels
    weights = tf.cast(tf.convert_to_tensor(density), tf.float32)
    if weights.shape != samples.shape[1:]:
        raise ValueError(f"density has shape {tuple(weights.shape)}; it must be ({samples.shape[1]},)")
    return samples * _complex(weights)


def coils_of(coil_sensitivities: Any, n_coils: int, grid_shape: tuple[int, ...]) -> tf.Tensor:
    """Sensitivities, complex64, or a ValueError."""
    coils = tf.cast(tf.convert_to_tensor(coil_sensitivities), tf.complex64)
    if coils.shape != (n_coils, *grid_shape):
        raise ValueError(
            f"coil_sensitivities has shape {tuple(coils.shape)}; signal and grid ask for "
            f"{(n_coils, *grid_shape)}"
        )
    return coils


def combined(images: tf.Tensor, coil_sensitivities: Any) -> tf.Tensor:
    """Images (..., n_coils, ny, nx), combined if sensitivities are given."""
    if coil_sensitivities is None:
        return images
    n_coils, *shape = images.shape[-3:]
    coils = coils_of(coil_sensitivities, n_coils, tuple(shape))
    energy = tf.reduce_sum(tf.math.square(tf.abs(coils)), axis=0)
    total = tf.reduce_sum(tf.math.conj(coils) * images, axis=-3)
    return total * _complex(tf.math.reciprocal_no_nan(energy))


def _complex(real: tf.Tensor) -> tf.Tensor:
    """Numbers as complex ones; the gradient of tf.cast would warn of the imaginary part that it drops."""
    return tf.complex(real, tf.zeros_like(real))
