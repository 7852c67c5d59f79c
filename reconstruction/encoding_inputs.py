"""Checks of what a subspace encoding is made from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reconstruction.acquisition import LARGEST_FREQUENCY

AXES = {2: "ny, nx", 3: "nz, ny, nx"}
"""Names of the image axes by their number."""


def checked_matrix(matrix: tuple[int, ...]) -> tuple[int, ...]:
    """Matrix as plain integers; ValueError unless it is (ny, nx) or (nz, ny, nx)."""
    if len(matrix) not in AXES or any(n != int(n) or n < 1 for n in matrix):
        raise ValueError(f"matrix={matrix} must be positive integers (ny, nx) or (nz, ny, nx)")
    return tuple(int(n) for n in matrix)


def checked_trajectory(trajectory: ArrayLike, matrix: tuple[int, ...]) -> NDArray[np.float32]:
    """Trajectory as float32, (n_readouts, n_samples, 2 or 3); ValueError if it does not fit the matrix."""
    positions = np.ascontiguousarray(trajectory, dtype=np.float32)
    n_axes = len(matrix)
    if positions.ndim != 3 or positions.shape[-1] != n_axes or 0 in positions.shape:
        raise ValueError(
            f"trajectory has shape {positions.shape}; matrix ({AXES[n_axes]}) asks for (n_readouts, "
            f"n_samples, {n_axes}) with components kx, ky{', kz' if n_axes == 3 else ''}"
        )
    valid = (np.abs(positions) <= LARGEST_FREQUENCY).all(axis=-1)  # which NaN is not
    if not valid.all():
        readout, sample = np.argwhere(~valid)[0]
        raise ValueError(
            f"trajectory is {positions[readout, sample]} at readout {readout}, sample {sample}; it must be "
            "finite and lie within [-0.5, 0.5] cycles per pixel: check its units and the matrix"
        )
    return positions


def checked_sensitivities(
    sensitivities: ArrayLike, matrix: tuple[int, ...], n_coils: int | None = None
) -> NDArray[np.complex64]:
    """Sensitivities as complex64, (n_coils, *matrix); ValueError if they do not fit.

    n_coils : number of coils there must be; None: any
    """
    maps = np.ascontiguousarray(sensitivities, dtype=np.complex64)
    expected = (len(maps) if n_coils is None and maps.ndim else n_coils, *matrix)
    if maps.shape != expected or 0 in maps.shape:
        raise ValueError(
            f"sensitivities has shape {maps.shape}; it must be (n_coils, {AXES[len(matrix)]}) = "
            f"{('n_coils' if n_coils is None else n_coils, *matrix)}"
        )
    finite = np.isfinite(maps)
    if not finite.all():
        coil, *pixel = (int(i) for i in np.argwhere(~finite)[0])
        raise ValueError(
            f"sensitivities is {maps[coil, *pixel]} at coil {coil}, pixel {_place(pixel)}; it must be finite"
        )
    if not maps.any():
        raise ValueError("sensitivities is zero everywhere; estimate it from the data with espirit")
    return maps


def checked_off_resonance(
    off_resonance: ArrayLike, sample_times: ArrayLike | None, matrix: tuple[int, ...], n_samples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Map and sample times as float64; ValueError if they do not fit."""
    field = np.asarray(off_resonance, dtype=np.float64)
    if field.shape != matrix:
        raise ValueError(
            f"off_resonance has shape {field.shape}; it must be ({AXES[len(matrix)]}) = {matrix}"
        )
    if not np.isfinite(field).all():
        pixel = [int(i) for i in np.argwhere(~np.isfinite(field))[0]]
        raise ValueError(
            f"off_resonance is {field[*pixel]} at pixel {_place(pixel)}; it must be finite: set it to 0 "
            "where it is unknown"
        )
    if sample_times is None:
        raise ValueError("off_resonance needs sample_times, the times of the samples after the echo [s]")
    times = np.asarray(sample_times, dtype=np.float64)
    if times.shape != (n_samples,) or not np.isfinite(times).all():
        raise ValueError(
            f"sample_times has shape {times.shape}; it must be finite and have one time [s] for each of the "
            f"{n_samples} samples of a readout"
        )
    return field, times


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


def _place(pixel: list[int]) -> str:
    return ", ".join(f"{axis}={i}" for axis, i in zip("zyx"[-len(pixel) :], pixel, strict=True))
