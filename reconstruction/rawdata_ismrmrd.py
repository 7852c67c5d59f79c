"""ISMRMRD raw data in; `reconstruction.rawdata_writer` has the way out."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from reconstruction.rawdata_checks import RawDataError
from reconstruction.rawdata_scan import RawData, Readout, TrajectorySource, checked_raw_data

_BLOCK = 512  # readouts read at once: neither the file nor a slice is held a second time


def read_ismrmrd(
    path: str | os.PathLike[str],
    *,
    trajectory: TrajectorySource | None = None,
    trajectory_units: str = "cycles_per_pixel",
    dataset: str = "dataset",
) -> RawData:
    """Headers of an ISMRMRD (HDF5) file, from which slices are read as `Acquisition`.

    Noise readouts become the noise samples; navigators, phase correction, dummy scans, calibration that is
    not also imaging, and feedback are skipped; discarded samples (discard_pre, discard_post) are cut off.
    Matrix and field of view are those of reconSpace. Readout oversampling (encodedSpace larger than
    reconSpace) needs no step of its own: samples are kept as they are, and the trajectory carries their finer
    spacing.

    Where the header calls the trajectory Cartesian and the readouts hold none, their positions come from
    kspace_encode_step_1, center_sample, encodingLimits and the field of view of encodedSpace: any set of
    lines, once or several times, in any order, with partial readouts and discarded samples.

    The readouts of a slice are taken in the order of the file, which must be that of the acquisition: a
    counter (set, repetition, average) may fall only where another one rises (or the Cartesian line changes),
    and scan_counter never. Several contrasts (echoes) or phases are refused, and so are 3-D data
    (kspace_encode_step_2).

    Parameters
    ----------
    path : path-like
        The file.
    trajectory : array_like, shape (n_readouts, n_samples, 2), or callable, optional
        Used instead of the trajectory of the file, for every slice. A callable gets (n_readouts, n_samples,
        matrix), n_samples without discarded samples, and returns the array; its sample next to k = 0 must be
        center_sample of the file, where this is set.
    trajectory_units : str
        Units of the trajectory, of the file or given: one of `TRAJECTORY_UNITS`, where "pixel" and "fov" are
        those of reconSpace; without meaning for Cartesian lines. Sign: ``s(k) = sum_r image(r) exp(-2 pi i
        k.r)``.
    dataset : str
        HDF5 group of the measurement.

    Returns
    -------
    RawData
        Headers; `RawData.acquisition` reads a slice.

    Raises
    ------
    ValueError
        If `trajectory_units` is not one of `TRAJECTORY_UNITS`.
    RawDataError
        If the file is missing, not HDF5, truncated, not ISMRMRD, or not 2-D with equal readouts in the order
        of acquisition.

    References
    ----------
    Inati et al. 2017, Magn Reson Med 77:411, doi 10.1002/mrm.26089.
    """
    file_path = Path(path)
    with _open(file_path) as file:
        header, heads = _read_headers(file, file_path, dataset)
    return checked_raw_data(
        file_path,
        header=header,
        encodings=header.encoding,
        heads=heads,
        read=_Table(file_path, dataset),
        trajectory=trajectory,
        trajectory_units=trajectory_units,
    )


@dataclass(frozen=True)
class _Table:
    """Acquisition table of a file, opened to read rows."""

    path: Path
    dataset: str

    def __call__(self, rows: NDArray[np.int64]) -> Iterator[Readout]:
        if not rows.size:
            return
        runs = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        with _open(self.path) as file:
            table = file[self.dataset]["data"]
            for run in runs:
                records = itertools.chain.from_iterable(_blocks(self.path, table, run[0], run[-1] + 1))
                for row, record in zip(run, records, strict=True):
                    yield int(row), record["data"], record["traj"]


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise RawDataError(f"{path}: no such file")
    try:
        if not h5py.is_hdf5(path):
            raise RawDataError(f"{path}: not an HDF5 file; ISMRMRD raw data (.h5, .mrd) is needed")
        return h5py.File(path, "r")
    except OSError as error:
        reason = (
            "the file is truncated; copy it again"
            if "truncated" in str(error)
            else "the file cannot be opened"
        )
        raise RawDataError(f"{path}: {reason} ({error})") from error


def _blocks(path: Path, table: h5py.Dataset, start: int, stop: int) -> Iterator[NDArray[np.void]]:
    """Rows start to stop - 1 of the acquisition table, a few hundred at a time."""
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop) - 1
        try:
            # Whole rows even for the headers alone: HDF5 never frees the arrays that fields() leaves out.
            yield table[first : last + 1].ravel()
        except (OSError, RuntimeError) as error:
            raise RawDataError(
                f"{path}: cannot read rows {first} to {last} ({error}); copy the file"
            ) from error


def _read_headers(file: h5py.File, path: Path, dataset: str) -> tuple[Any, NDArray[np.void]]:
    if not isinstance(file.get(dataset), h5py.Group):
        raise RawDataError(
            f"{path}: no group /{dataset}; the file has {sorted(file)}: rename the one with the measurement "
            f"to {dataset}, or give its name to read_ismrmrd (dataset)"
        )
    group = file[dataset]
    for name, holds in (("xml", "header"), ("data", "readouts")):
        if not isinstance(group.get(name), h5py.Dataset) or not group[name].size:
            raise RawDataError(f"{path}: /{dataset}/{name} is missing or empty, so there is no {holds}")
    if not {"head", "traj", "data"} <= set(group["data"].dtype.names or ()):
        raise RawDataError(f"{path}: /{dataset}/data is not an ISMRMRD acquisition table")
    try:
        document = np.ravel(group["xml"][()])[0]
    except (OSError, RuntimeError) as error:
        raise RawDataError(f"{path}: cannot read /{dataset}/xml ({error}); copy the file") from error
    table = group["data"]
    heads = np.concatenate([block["head"].copy() for block in _blocks(path, table, 0, len(table))])
    try:
        with warnings.catch_warnings():
            # The parser warns of values that it cannot convert; those that are used are checked below.
            warnings.simplefilter("ignore")
            return xsd.CreateFromDocument(document), heads
    except Exception as error:  # the XML parsers below raise a dozen unrelated types
        reason = " ".join(str(error).split())
        raise RawDataError(f"{path}: /{dataset}/xml is not an ISMRMRD header: {reason}") from error
