"""Smooth transmit and receive fields for numerical phantoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def birdcage_sensitivities(
    n_coils: int, matrix: tuple[int, int], *, relative_radius: float = 1.5
) -> NDArray[np.complex64]:
    """Smooth complex sensitivities of loops around the image, with unit root sum of squares.

    Each loop consists of two long antiparallel wires on a circle, parallel to the z axis, and neighbouring
    loops touch. With z = x + iy in units of half the field of view, the law of Biot and Savart gives
    ``Bx - i By ~ 1 / (z - z1) - 1 / (z - z2)`` for wires at z1 and z2. Dividing by the root sum of squares
    over the coils makes the magnitude of a coil-combined image the proton density itself.

    Parameters
    ----------
    n_coils : int
        Number of loops, >= 1.
    matrix : tuple of int
        Image size (ny, nx).
    relative_radius : float
        Radius of the circle relative to half the field of view, > sqrt(2) so that it encloses the corners.

    Returns
    -------
    ndarray, shape (n_coils, ny, nx), complex64
        Sensitivities; the root sum of squares over the coils is 1 in every pixel.

    Raises
    ------
    ValueError
        If `n_coils` is not positive or `relative_radius` is too small.
    """
    if n_coils < 1:
        raise ValueError(f"n_coils={n_coils} must be >= 1")
    if not relative_radius > np.sqrt(2):
        raise ValueError(f"relative_radius={relative_radius} must exceed sqrt(2): wires outside the corners")
    y, x = image_coordinates(matrix, (2.0, 2.0))
    position = x + 1j * y
    angle = 2 * np.pi * np.arange(n_coils)[:, None, None] / n_coils
    half_width = np.pi / max(n_coils, 4)
    wires = [relative_radius * np.exp(1j * (angle + side)) for side in (half_width, -half_width)]
    field = 1 / (position - wires[0]) - 1 / (position - wires[1])
    return (field / np.linalg.norm(field, axis=0)).astype(np.complex64)


def b1_map(matrix: tuple[int, int], low: float = 0.8, high: float = 1.2) -> NDArray[np.float32]:
    """Smooth transmit field, bright near the centre as in a head at 3 T.

    A Gaussian on a pedestal, slightly off centre and wider along y, so that it has no symmetry a mistake
    in the axes could hide behind.

    Parameters
    ----------
    matrix : tuple of int
        Image size (ny, nx).
    low, high : float
        Range of the field relative to nominal, 0 < low <= high; the Gaussian comes close to both.

    Returns
    -------
    ndarray, shape (ny, nx), float32
        Transmit field relative to nominal.

    Raises
    ------
    ValueError
        If the range is not positive or reversed.
    """
    if not 0 < low <= high < np.inf:
        raise ValueError(f"low={low} and high={high} must satisfy 0 < low <= high (1 = nominal)")
    y, x = image_coordinates(matrix, (2.0, 2.0))
    squared = ((x - 0.06) / 0.45) ** 2 + ((y + 0.04) / 0.55) ** 2
    return (low + (high - low) * np.exp(-squared)).astype(np.float32)


def image_coordinates(
    matrix: tuple[int, int], fov: tuple[float, float], supersampling: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates (y, x) of the pixel centres in the unit of `fov`; pixel (ny // 2, nx // 2) lies at 0.

    With `supersampling` s, the centres of the s x s parts of each pixel. Shapes (ny s, 1) and (1, nx s).
    """
    axes = [
        ((np.arange(n * supersampling) + 0.5) / supersampling - 0.5 - n // 2) * length / n
        for n, length in zip(matrix, fov, strict=True)
    ]
    return axes[0][:, None], axes[1][None, :]
