"""Where Cartesian samples belong, and the non-uniform FFT with its gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import finufft
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from design.mrzero.image_grid import ImageGrid

_ON_GRID = 1e-2
"""How far a Cartesian sample may lie from its place [steps of the grid]; its phase errs by up to 0.03 rad."""
_ERROR = 1e-6
"""Relative error of the NUFFT; single precision allows no less."""


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


def type_1(samples: tf.Tensor, x: tf.Tensor, y: tf.Tensor, grid: ImageGrid) -> tf.Tensor:
    """sum_n s_n exp(i (x_n i + y_n j)) at pixels (i, j) from the centre, with gradients by s, x and y."""
    # one thread: results do not depend on the order of sums
    options = {"eps": _ERROR, "nthreads": 1}

    @tf.custom_gradient
    def transform(samples: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        values, points = samples.numpy(), (y.numpy(), x.numpy())
        images = finufft.nufft2d1(*points, values, grid.shape, isign=1, **options)

        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            g = cotangent.numpy()
            row, column = (np.arange(n, dtype=np.float32) - n // 2 for n in grid.shape)
            stacked = np.stack([g, g * column, g * row[:, np.newaxis]])
            flat = np.ascontiguousarray(stacked.reshape(-1, *grid.shape))
            back = finufft.nufft2d2(*points, flat, isign=-1, **options).reshape(3, *values.shape)
            # d image = sum_n i (i dx_n + j dy_n) s_n exp(...), and dL = Re(conj(g) d image)
            slopes = np.real(1j * values * back[1:].conj()).sum(axis=1)
            return [tf.constant(back[0]), tf.constant(slopes[0]), tf.constant(slopes[1])]

        return tf.constant(images), gradient

    return transform(samples, x, y)
