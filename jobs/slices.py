"""The slices of a scan: which ones, whether they hold signal, and the volume that they form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.protocol import Protocol
from reconstruction.acquisition import Acquisition
from reconstruction.nifti import load_nifti
from reconstruction.rawdata import RawData

_SPACING_TOLERANCE = 0.01  # [mm], a hundredth of the finest pixels; positions in the file are float32
_NOISE_DEVIATIONS = 5  # standard deviations by which the energy of a scan must exceed that of noise
# [mm] per voxel; affines of NIfTI are float32, and some programs keep only a quaternion.
_AFFINE_TOLERANCE = 1e-3


def check_readouts(scan: RawData, protocol: Protocol) -> int:
    """Return how often the train was played.

    Raises
    ------
    ValueError
        If the readouts of a slice are not one or more whole trains.
    """
    n_pulses = protocol.sequence.n_pulses
    if scan.n_readouts % n_pulses:
        problem = "fewer than" if scan.n_readouts < n_pulses else "not a multiple of"
        raise ValueError(
            f"{scan.path}: {scan.n_readouts} readouts a slice are {problem} the {n_pulses} pulses of "
            f"{protocol.path}; each repetition of the train must be complete: check that they belong together"
        )
    return scan.n_readouts // n_pulses


def slice_numbers(scan: RawData, protocol: Protocol) -> list[int]:
    """Return the slices to reconstruct, counted from 0.

    Raises
    ------
    ValueError
        If the scan does not hold one of them.
    """
    if protocol.slices is None:
        return list(range(scan.n_slices))
    if max(protocol.slices) >= scan.n_slices:
        raise ValueError(
            f"{protocol.path}: reconstruction.slices: slice {max(protocol.slices)} is not in {scan.path}, "
            f"which holds slices 0 to {scan.n_slices - 1}"
        )
    return sorted(protocol.slices)


@contextmanager
def located(scan: RawData, number: int) -> Iterator[None]:
    """Name the scan and the slice in errors of the block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{scan.path}, slice {number}: {error}") from error


def lack_of_signal(acquisition: Acquisition) -> str | None:
    """Say why there is nothing to reconstruct: k-space is zero, or has only the energy of its noise.

    Raises
    ------
    ValueError
        If the noise samples do not allow prewhitening.
    """
    if not acquisition.kspace.any():
        return "the k-space is zero everywhere; there is nothing to reconstruct"
    if acquisition.noise is None:
        return None
    whitened, _ = acquisition.without_dead_coils().prewhitened()
    kspace, noise = whitened.kspace, whitened.noise
    assert noise is not None
    # |noise|^2 is 1 on average, with a relative standard deviation of 1 per sample.
    chance = _NOISE_DEVIATIONS * np.sqrt(1 / kspace.size + 1 / noise.size)
    if np.vdot(kspace, kspace).real / kspace.size < 1 + chance:
        return (
            "the k-space holds no more energy than the noise readouts: it is noise only, or the noise "
            "readouts have another scale"
        )
    return None


def stack(affines: Sequence[NDArray[np.float64]]) -> tuple[list[int], NDArray[np.float64]]:
    """Return the order of the slices along their normal, and the affine of the volume that they form.

    Raises
    ------
    ValueError
        If the slices are not parallel and equally spaced.
    """
    affine = affines[0].copy()
    if len(affines) == 1:
        return [0], affine
    positions = np.array([a[:3, 3] for a in affines])
    normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    order = np.argsort(positions @ normal, kind="stable")
    steps = np.diff(positions[order], axis=0)
    parallel = all(np.allclose(a[:3, :3], affine[:3, :3], rtol=0, atol=1e-4) for a in affines)
    even = np.abs(steps - steps[0]).max() < _SPACING_TOLERANCE
    if not (parallel and even and np.linalg.norm(steps[0]) > _SPACING_TOLERANCE):
        places = ", ".join(f"{place:.2f}" for place in positions @ normal)
        raise ValueError(
            f"the slices do not form a volume: they must be parallel and equally spaced (positions along the "
            f"normal: {places} mm); choose slices that are in reconstruction.slices of the protocol"
        )
    affine[:3, 2], affine[:3, 3] = steps[0], positions[order[0]]
    return order.tolist(), affine


def read_mask(path: Path, shape: tuple[int, int, int]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Read a mask from a NIfTI image.

    Parameters
    ----------
    path : Path
        The image, axes (x, y, z), 0 and 1.
    shape : tuple of int
        Shape (nx, ny, n_slices) of the maps.

    Returns
    -------
    mask : ndarray, shape (n_slices, ny, nx), bool
        Slices in the order of the maps.
    affine : ndarray, shape (4, 4), float64
        That of the image.

    Raises
    ------
    ValueError
        If the image cannot be read, has another shape, is empty or holds other values.
    """
    values, affine = read_volume("--mask", path, shape)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"--mask {path}: must hold only 0 and 1; compare it with a threshold first")
    if not values.any():
        raise ValueError(f"--mask {path}: is empty; mark the voxels to match with 1")
    return values.astype(bool), affine


def read_volume(
    option: str, path: Path, shape: tuple[int, int, int]
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a NIfTI image that was drawn on maps.

    Parameters
    ----------
    option : str
        Option of the command line, for messages.
    path : Path
        The image, axes (x, y, z).
    shape : tuple of int
        Shape (nx, ny, n_slices) of the maps.

    Returns
    -------
    values : ndarray, shape (n_slices, ny, nx)
        Slices in the order of the maps.
    affine : ndarray, shape (4, 4), float64
        That of the image.

    Raises
    ------
    ValueError
        If the image cannot be read or has another shape.
    """
    values, image = load_nifti(path, f"{option} {path}:")
    if values.shape != shape:
        raise ValueError(
            f"{option} {path}: has shape {values.shape}; the maps have (nx, ny, n_slices) = {shape}: draw it "
            "on maps of this scan"
        )
    return values.T, np.asarray(image.affine)


def check_place(
    option: str, path: Path, image_affine: NDArray[np.float64], affine: NDArray[np.float64]
) -> None:
    """Raise a ValueError unless an image lies where the maps do."""
    if not np.allclose(image_affine, affine, rtol=0, atol=_AFFINE_TOLERANCE):
        theirs, ours = (np.round(matrix[:3], 3).tolist() for matrix in (image_affine, affine))
        raise ValueError(
            f"{option} {path}: lies or is oriented otherwise (affine {theirs}) than the maps ({ours}); "
            "resample it to them"
        )
