"""Cartesian readouts: from their headers to positions in k-space, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ismrmrd import constants as flags
from ismrmrd import xsd
from numpy.typing import NDArray

from reconstruction.acquisition import Acquisition
from reconstruction.rawdata_checks import LARGEST_COUNT, RawDataError, check_size, kept_samples

_LARGEST_FREQUENCY = 0.5 + 1e-4  # cycles per pixel; fields of view have few digits
_GRID_TOLERANCE = 1e-3  # of the spacing; the rounding of float32 positions is 3e-8 x 65535 at most
_REVERSED = np.uint64(1) << np.uint64(flags.ACQ_IS_REVERSE - 1)


def is_cartesian(encoding: Any, heads: NDArray[np.void]) -> bool:
    """Whether the header calls the encoding Cartesian and these readouts hold no trajectory."""
    return encoding.trajectory == xsd.trajectoryType.CARTESIAN and not heads["trajectory_dimensions"].any()


def cartesian_trajectory(
    path: Path, encoding: Any, heads: NDArray[np.void], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Positions of the samples of Cartesian readouts.

    Sample i of the readout of line l lies at ``kx = (i - center_sample) / FOVx``,
    ``ky = (l - center) / FOVy`` with the field of view of encodedSpace, which is larger than that of the
    image where the readout or the phase encoding is oversampled; l is kspace_encode_step_1, and center comes
    from encodingLimits (where they are missing, ``n // 2`` of the encoded matrix). Lines that were not
    measured and partial readouts need no more than that. Where center_sample is 0, it counts as not set: then
    the samples kept must be as many as the encoded matrix, with the centre at sample ``n // 2`` of them.

    Parameters
    ----------
    path : Path
        The file, for errors.
    encoding : ismrmrd.xsd.encodingType
        The encoding.
    heads : ndarray, shape (n_rows,)
        Acquisition headers.
    rows : ndarray, shape (n_readouts,), int64
        The readouts; all keep as many samples.

    Returns
    -------
    ndarray, shape (n_readouts, n_samples, 2), float32
        Components (kx, ky) [cycles per pixel of reconSpace], without discarded samples.

    Raises
    ------
    RawDataError
        If encodedSpace or the limits are not valid, a readout is reversed or its centre is not known, all are
        the same line, or a sample lies outside the k-space of the image.
    """
    check_size(path, encoding, "encodedSpace")
    chosen = heads[rows]
    refuse_reversed(path, heads, rows)
    lines = chosen["idx"]["kspace_encode_step_1"].astype(np.int64)
    if encoding.reconSpace.matrixSize.y > 1 and (lines == lines[0]).all():
        raise RawDataError(
            f"{path}: all {rows.size} readouts are line {lines[0]} (kspace_encode_step_1), so they are not "
            "Cartesian, as the header says; give a computed trajectory (in a protocol `trajectory: "
            "{golden_angle_radial: }`) or a file written with its trajectory"
        )
    encoded, image = encoding.encodedSpace, encoding.reconSpace
    positions = np.empty((rows.size, int(kept_samples(chosen[0])), 2))
    sample = np.arange(positions.shape[1]) - _kept_centres(path, encoding, chosen, rows)[:, np.newaxis]
    for axis, (steps, name) in enumerate(
        ((sample, "x"), ((lines - _central_line(path, encoding))[:, np.newaxis], "y"))
    ):
        pixel = getattr(image.fieldOfView_mm, name) / getattr(image.matrixSize, name)
        positions[..., axis] = steps * (pixel / getattr(encoded.fieldOfView_mm, name))
    outside = np.argwhere(np.abs(positions) > _LARGEST_FREQUENCY)
    if outside.size:
        i, i_sample, axis = outside[0]
        raise RawDataError(
            f"{path}: row {rows[i]} (line {lines[i]}) reaches {positions[i, i_sample, axis]:.4g} cycles per "
            f"pixel in {'xy'[axis]}, beyond the k-space of the image (0.5): the pixels of reconSpace are "
            "larger than the resolution of encodedSpace, or the header does not fit the readouts; correct "
            "matrixSize and fieldOfView_mm of both, or center in encodingLimits"
        )
    return positions.astype(np.float32)


def refuse_reversed(path: Path, heads: NDArray[np.void], rows: NDArray[np.int64]) -> None:
    """Raise a RawDataError if a readout was played backwards: computed positions do not know that."""
    reversed_rows = rows[(heads["flags"][rows] & _REVERSED) != 0]
    if reversed_rows.size:
        raise RawDataError(
            f"{path}: the readout in row {reversed_rows[0]} was played backwards (ACQ_IS_REVERSE, "
            f"{reversed_rows.size} readouts), which a computed trajectory does not know; turn such readouts "
            "round and remove the flag"
        )


def _kept_centres(
    path: Path, encoding: Any, heads: NDArray[np.void], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Index of the k-space centre among the samples kept, for each readout."""
    n_kept = int(kept_samples(heads[0]))
    stated = heads["center_sample"].astype(np.int64)
    n_encoded = encoding.encodedSpace.matrixSize.x
    unknown = rows[stated == 0]
    if unknown.size and n_kept != n_encoded:
        raise RawDataError(
            f"{path}: center_sample of row {unknown[0]} is not set, and the readout keeps {n_kept} of "
            f"{n_encoded} encoded samples (encodedSpace), so that its centre is not known; set it"
        )
    centre = np.where(stated == 0, n_kept // 2, stated - heads["discard_pre"])
    wrong = np.flatnonzero((centre < 0) | (centre >= n_kept))
    if wrong.size:
        i = wrong[0]
        raise RawDataError(
            f"{path}: center_sample of row {rows[i]} is {stated[i]}, which is none of the {n_kept} samples "
            f"kept after discard_pre={heads['discard_pre'][i]}; correct these fields"
        )
    return centre


def _central_line(path: Path, encoding: Any) -> int:
    """Line of k-space that goes through its centre."""
    limits = encoding.encodingLimits and encoding.encodingLimits.kspace_encoding_step_1
    centre = encoding.encodedSpace.matrixSize.y // 2 if limits is None else limits.center
    if not (isinstance(centre, int) and 0 <= centre <= LARGEST_COUNT):
        raise RawDataError(
            f"{path}: encodingLimits of the header give {centre} as center of kspace_encoding_step_1; it "
            "must be the number of the central line: correct the header"
        )
    return centre


def cartesian_grid(acquisition: Acquisition) -> tuple[int, int, NDArray[np.int64]]:
    """Encoded matrix in x, sample of the k-space centre, and line of each readout, shape (n_readouts,).

    The inverse of `cartesian_trajectory` for lines ``ky = (l - ny // 2) / ny``, l = 0 ... ny - 1, of samples
    ``kx = (i - centre) / n_encoded``.

    Raises
    ------
    ValueError
        If the trajectory is none of these.
    """
    kx, ky = np.moveaxis(acquisition.trajectory.astype(np.float64), -1, 0)
    ny, name = acquisition.matrix[0], f"the trajectory of slice {acquisition.slice_index}"
    spacing = (kx[0, -1] - kx[0, 0]) / max(kx.shape[1] - 1, 1)
    n_encoded = round(1 / spacing) if spacing > 1 / (LARGEST_COUNT + 1) else 0
    centre = int(np.abs(kx[0]).argmin())
    expected = (np.arange(kx.shape[1]) - centre) / max(n_encoded, 1)
    if not n_encoded or np.abs(kx - expected).max() * n_encoded > _GRID_TOLERANCE:
        raise ValueError(
            f"{name} is not Cartesian: kx of every readout must be (i - centre) / n for sample i and a whole "
            "number n, rising through 0; write it without cartesian=True"
        )
    position = ky * ny + ny // 2
    lines = np.rint(position[:, 0]).astype(np.int64)
    off_grid = (np.abs(position - lines[:, np.newaxis]) > _GRID_TOLERANCE).any(axis=1)
    wrong = np.flatnonzero(off_grid | (lines < 0) | (lines >= ny))
    if wrong.size:
        raise ValueError(
            f"{name} is not Cartesian: readout {wrong[0]} is not one of the lines ky = (l - {ny // 2}) / "
            f"{ny}, l = 0 ... {ny - 1}, from end to end; write it without cartesian=True"
        )
    return n_encoded, centre, lines
