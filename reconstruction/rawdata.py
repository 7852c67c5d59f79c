"""Raw-data files in and out."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from reconstruction.rawdata_checks import RawDataError
from reconstruction.rawdata_ismrmrd import read_ismrmrd
from reconstruction.rawdata_scan import TRAJECTORY_UNITS, RawData, TrajectorySource
from reconstruction.rawdata_twix import read_twix
from reconstruction.rawdata_twix_file import is_twix
from reconstruction.rawdata_writer import write_ismrmrd

__all__ = [
    "TRAJECTORY_UNITS",
    "RawData",
    "RawDataError",
    "read_ismrmrd",
    "read_raw_data",
    "read_twix",
    "write_ismrmrd",
]


def read_raw_data(
    path: str | os.PathLike[str],
    *,
    trajectory: TrajectorySource | None = None,
    trajectory_units: str = "cycles_per_pixel",
) -> RawData:
    """Headers of an ISMRMRD or a Siemens twix file, told apart by their content.

    Parameters
    ----------
    path : path-like
        The file.
    trajectory, trajectory_units
        See `read_ismrmrd` and `read_twix`.

    Returns
    -------
    RawData
        Headers; `RawData.acquisition` reads a slice.

    Raises
    ------
    ValueError
        See `read_ismrmrd` and `read_twix`.
    """
    file_path = Path(path)
    if not file_path.is_file() or h5py.is_hdf5(file_path):
        return read_ismrmrd(file_path, trajectory=trajectory, trajectory_units=trajectory_units)
    if is_twix(file_path):
        return read_twix(file_path, trajectory=trajectory, trajectory_units=trajectory_units)
    raise RawDataError(
        f"{file_path}: not an HDF5 file (ISMRMRD: .mrd, .h5) and not a Siemens twix file (.dat); raw data in "
        "one of these formats is needed"
    )
