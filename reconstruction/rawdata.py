"""Raw-data files in and out."""

from __future__ import annotations

from reconstruction.rawdata_checks import RawDataError
from reconstruction.rawdata_ismrmrd import read_ismrmrd
from reconstruction.rawdata_scan import TRAJECTORY_UNITS, RawData
from reconstruction.rawdata_writer import write_ismrmrd

__all__ = ["TRAJECTORY_UNITS", "RawData", "RawDataError", "read_ismrmrd", "write_ismrmrd"]
