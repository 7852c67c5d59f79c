"""Where Cartesian samples belong, and non-uniform FFTs, differentiable by values and angles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import finufft
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from design.mrzero.image_grid import ImageGrid

Array = NDArray[Any]

_ON_GRID = 1e-2
"""How far a Cartesian sample may lie from its place [steps of the grid]; its phase errs by up to 0.03 rad."""
_OPTIONS: dict[str, Any] = {"eps": 1e-6, "nthreads": 1}
"""Single precision allows no smaller error; with one thread, results are the same to the last bit."""


def cartesian_order(places: NDArray[np.float32], grid: ImageGrid) -> NDArray[np.intp]:
    """Which sample lies at each point of k-space, row by row."""
    steps = places[:, ::-1].astype(np.float64) * grid.fov  # y, x
    nearest = np.rint(steps)
    shape = np.array(grid.shape)
    wrong = np.any((np.abs(steps - nearest) > _ON_GRID) | (np.abs(nearest) > shape // 2), axis=1)
    if wrong.any():
        n = int(np.argmax(wrong))
        raise ValueError(
            f"k of sample {n} is ({places[n, 0]:.6g}, {places[n, 1]:.6g}) cycles/m, "
            f"({steps[n, 1]:.4g}, {steps[n, 0]:.4g}) steps of the Cartesian grid of {grid.shape} pixels; "
            "whole steps within the grid are needed: use adjoint or nufft"
        )
    row, column = ((nearest + shape // 2) % shape).astype(int).T
    point = row * grid.shape[1] + column
    _, first, index = np.unique(point, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[index] != np.arange(point.size))
    if again.size:
        n = int(again[0])
        raise ValueError(
            f"sample {n} lies where sample {first[index[n]]} does, at k of ({places[n, 0]:.6g}, "
            f"{places[n, 1]:.6g}) cycles/m; use adjoint or nufft"
        )
    if point.size < grid.n_pixels:
        missing = int(np.setdiff1d(np.arange(grid.n_pixels), point)[0])
        j, i = np.unravel_index(missing, grid.shape) - shape // 2
        raise ValueError(
            f"{grid.n_pixels - point.size} of {grid.n_pixels} points of the Cartesian grid are not sampled, "
            f"the first at ({i}, {j}) steps from the centre; use adjoint or nufft"
        )
    return np.argsort(point)


def angles_of(places: tf.Tensor, grid: ImageGrid) -> tf.Tensor:
    """Return the angles per pixel of k, shape (n_samples, 2): x, y in -pi to pi."""
    pixel = np.array([grid.fov[1] / grid.shape[1], grid.fov[0] / grid.shape[0]])
    cycles = tf.cast(places, tf.float64) * pixel
    return tf.cast(2 * np.pi * (cycles - tf.round(cycles)), tf.float32)


def type_1(samples: tf.Tensor, angles: tf.Tensor, grid: ImageGrid) -> tf.Tensor:
    """Return sum_n s_n exp(i (x_n column + y_n row)) for pixels counted from the centre."""

    @tf.custom_gradient
    def transform(samples: tf.Tensor, angles: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        values, points = samples.numpy(), angles.numpy()

        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            g = cotangent.numpy()
            by_samples, *moments = _to_samples(np.stack([g, *_times_pixel(g)]), points)
            # d image = sum_n i (column dx_n + row dy_n) s_n exp(...), and dL = Re(conj(g) d image)
            slopes = [np.real(1j * values * m.conj()).sum(axis=0) for m in moments]
            return [tf.constant(by_samples), tf.constant(np.stack(slopes, axis=1))]

        return tf.constant(_to_pixels(values, points, grid)), gradient

    return transform(samples, angles)


def type_2(images: tf.Tensor, angles: tf.Tensor, grid: ImageGrid) -> tf.Tensor:
    """Return the sum over pixels of image exp(-i (x_n column + y_n row)), the adjoint of `type_1`."""

    @tf.custom_gradient
    def transform(images: tf.Tensor, angles: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        values, points = images.numpy(), angles.numpy()

        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            g = cotangent.numpy()
            moments = _to_samples(np.stack(_times_pixel(values)), points)
            slopes = [np.real(-1j * g.conj() * m).sum(axis=0) for m in moments]
            return [tf.constant(_to_pixels(g, points, grid)), tf.constant(np.stack(slopes, axis=1))]

        return tf.constant(_to_samples(values, points)), gradient

    return transform(images, angles)


def _to_pixels(samples: Array, angles: Array, grid: ImageGrid) -> Array:
    x, y = (np.ascontiguousarray(angle) for angle in angles.T)
    images: Array = finufft.nufft2d1(y, x, samples, grid.shape, isign=1, **_OPTIONS)
    return images


def _to_samples(images: Array, angles: Array) -> Array:
    """Transform images, shape (..., ny, nx)."""
    x, y = (np.ascontiguousarray(angle) for angle in angles.T)
    flat = np.ascontiguousarray(images.reshape(-1, *images.shape[-2:]))
    samples: Array = finufft.nufft2d2(y, x, flat, isign=-1, **_OPTIONS)
    return samples.reshape(*images.shape[:-2], -1)


def _times_pixel(images: Array) -> tuple[Array, Array]:
    """Images times column and row, from the centre."""
    row, column = (np.arange(n, dtype=np.float32) - n // 2 for n in images.shape[-2:])
    return images * column, images * row[:, np.newaxis]
