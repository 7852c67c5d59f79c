"""What the headers of a raw-data file must fulfil to be read as 2-D slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_COUNT = 65535
"""Counters and matrix sizes of ISMRMRD have 16 bits."""
_LARGEST_FOV = 1e5  # mm
_DWELL_TIMES = (1e-3, 1e6)  # microseconds


class RawDataError(ValueError):
    """A raw-data file that cannot be read as 2-D slices; one line that says why."""


def kept_samples(head: NDArray[np.void] | np.void) -> Any:
    """Number of samples left by discard_pre and discard_post; unsigned 16-bit fields must not wrap."""
    discarded = head["discard_pre"].astype(np.int64) + head["discard_post"].astype(np.int64)
    return head["number_of_samples"].astype(np.int64) - discarded


def kept(head: np.void) -> slice:
    """Samples of a readout that discard_pre and discard_post leave."""
    return slice(int(head["discard_pre"]), int(head["number_of_samples"]) - int(head["discard_post"]))


def check_size(path: Path, encoding: Any, name: str) -> None:
    """Raise unless a space of the encoding, reconSpace or encodedSpace, has a possible size."""
    space = getattr(encoding, name)
    size, fov = space.matrixSize, space.fieldOfView_mm
    counts, lengths = (size.x, size.y, size.z), (fov.x, fov.y, fov.z)
    if not (
        all(isinstance(count, int) and 1 <= count <= LARGEST_COUNT for count in counts)
        and all(isinstance(length, int | float) and 0 < length <= _LARGEST_FOV for length in lengths)
    ):
        raise RawDataError(
            f"{path}: {name} of the header has matrix ({size.x}, {size.y}, {size.z}) and field of view "
            f"({fov.x}, {fov.y}, {fov.z}) mm in (x, y, z); all must be positive numbers, at most "
            f"{LARGEST_COUNT} pixels and {_LARGEST_FOV:g} mm: correct the header"
        )


def check_space(path: Path, encoding: Any, *, n_slices: int) -> None:
    """Raise unless the image of the encoding is 2-D with a positive matrix and field of view."""
    check_size(path, encoding, "reconSpace")
    size = encoding.reconSpace.matrixSize
    if size.z not in (1, n_slices, _n_slices_of_limits(encoding)):
        raise RawDataError(
            f"{path}: reconSpace of the header has {size.z} pixels in z and the file {n_slices} slice(s): "
            "3-D data are not supported; for 2-D slices set matrixSize z to 1, or to the number of slices"
        )


def _n_slices_of_limits(encoding: Any) -> int | None:
    """Number of slices by the encoding limits of the header; None if they do not tell."""
    limits = encoding.encodingLimits and encoding.encodingLimits.slice
    if limits is None or not (isinstance(limits.minimum, int) and isinstance(limits.maximum, int)):
        return None
    return limits.maximum - limits.minimum + 1


def check_order(
    path: Path, number: int, heads: NDArray[np.void], rows: NDArray[np.int64], *, lines_count: bool
) -> None:
    """Raise unless the readouts of a slice have one contrast and phase, and the order of the acquisition.

    A counter may fall where another one rises and, with `lines_count`, where the phase encoding changes: then
    the train is played again for the next line.
    """
    counters = heads["idx"][rows]
    for name, several in (("contrast", "echoes or contrasts"), ("phase", "phases")):
        values = np.unique(counters[name])
        if values.size > 1:
            raise RawDataError(
                f"{path}: slice {number} holds {values.size} {several} (idx.{name}: {values[0]} to "
                f"{values[-1]}); a train has one readout for each pulse: write a file of one of them"
            )
    names = ("average", "repetition", "set")
    steps = np.diff([counters[name].astype(np.int64) for name in names], axis=1)
    scan_steps = np.diff(heads["scan_counter"][rows].astype(np.int64))
    fallen = (steps < 0).any(axis=0) & ~(steps > 0).any(axis=0)
    if lines_count:
        fallen &= np.diff(counters["kspace_encode_step_1"].astype(np.int64)) == 0
    wrong = np.flatnonzero(fallen | (scan_steps < 0))
    if wrong.size:
        first, second = (
            f"row {rows[i]} (scan_counter {heads['scan_counter'][rows[i]]}, "
            + ", ".join(f"{name} {counters[name][i]}" for name in names)
            + ")"
            for i in (wrong[0], wrong[0] + 1)
        )
        raise RawDataError(
            f"{path}: the readouts of slice {number} are not in the order of their acquisition: {first} "
            f"comes before {second}; sort them"
        )


def check_readouts(
    path: Path, heads: NDArray[np.void], imaging_rows: NDArray[np.int64], noise_rows: NDArray[np.int64]
) -> None:
    """Raise unless all readouts have as many samples and coils, and none is encoded in 3-D."""
    n_coils, n_samples = heads["active_channels"].astype(np.int64), kept_samples(heads)
    first = imaging_rows[0]
    if n_coils[first] == 0:
        raise RawDataError(f"{path}: the readout in row {first} has no receiver coils (active_channels=0)")
    for row in [row for row in (*imaging_rows, *noise_rows) if n_samples[row] < 1][:1]:
        raise RawDataError(
            f"{path}: the readout in row {row} keeps {n_samples[row]} samples; at least 1 needed"
        )
    dwell = heads["sample_time_us"]
    with np.errstate(invalid="ignore"):  # NaN
        possible = (dwell == 0) | ((dwell >= _DWELL_TIMES[0]) & (dwell <= _DWELL_TIMES[1]))
    for row in [row for row in (first, *noise_rows) if not possible[row]][:1]:
        raise RawDataError(
            f"{path}: sample_time_us of row {row} is {dwell[row]:g}; a dwell time must lie within "
            f"{_DWELL_TIMES[0]:g} and {_DWELL_TIMES[1]:g} microseconds, or be 0 where it is unknown"
        )
    for quantity, values, rows in (
        ("samples", n_samples, imaging_rows),
        ("coils", n_coils, np.concatenate([imaging_rows, noise_rows])),
    ):
        different = rows[values[rows] != values[first]]
        if different.size:
            row = different[0]
            raise RawDataError(
                f"{path}: the readout in row {row} has {values[row]} {quantity}, that in row {first} "
                f"{values[first]}; all must be alike: remove {different.size} readout(s)"
            )
    if heads["idx"]["kspace_encode_step_2"][imaging_rows].any():
        raise RawDataError(
            f"{path}: kspace_encode_step_2 is used (3-D encoding); only 2-D slices are supported"
        )
