"""Siemens twix files: their measurements with protocols and readouts, as twixtools has them."""

from __future__ import annotations

import contextlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconstruction.rawdata_checks import RawDataError

_LARGEST_ENTRY = 64  # measurements in a file


def is_twix(path: Path) -> bool:
    """Whether the first bytes of a file are those of a twix file.

    VD and VE begin with a directory of at most 64 measurements, VB with the length of the only header.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(16 + 152 * _LARGEST_ENTRY)

        def has_header(offset: int) -> bool:
            if offset + 72 > size:
                return False
            file.seek(offset)
            head = file.read(72)
            length, n_buffers = struct.unpack("<II", head[:8])
            name = head[8:].split(b"\0")[0]
            return offset + length <= size and 1 <= n_buffers <= 32 and name.isalnum() and len(name) >= 4

        if len(start) < 16:
            return False
        first, n_measurements = struct.unpack("<II", start[:8])
        if first >= 10_000 or n_measurements > _LARGEST_ENTRY:
            return has_header(0)
        entries = (struct.unpack_from("<Q", start, 16 + 152 * i) for i in range(n_measurements))
        return (
            n_measurements > 0
            and len(start) >= 8 + 152 * n_measurements
            and all(has_header(offset) for (offset,) in entries)
        )


@dataclass(frozen=True)
class Measurement:
    """One measurement of a file: the text protocol as nested dicts, the readouts as `twixtools.mdb.Mdb`."""

    protocol: dict[str, Any]
    lines: list[Any]

    @property
    def dwell_time(self) -> float:
        """Dwell time of its readouts [microseconds]; 0 where the protocol does not tell."""
        try:
            return float(self.protocol["MeasYaps"]["sRXSPEC"]["alDwellTime"][0]) * 1e-3
        except (KeyError, IndexError, TypeError, ValueError):
            return 0.0


def read_measurements(path: Path) -> list[Measurement]:
    """Measurements of a twix file in their order; the last one is the scan.

    Raises
    ------
    RawDataError
        If twixtools is missing, or the file is truncated or damaged.
    """
    try:
        import twixtools
    except ImportError as error:
        raise RawDataError(
            f"{path}: reading Siemens twix files needs twixtools: pip install epgbloch[twix]"
        ) from error
    if not path.suffix:
        raise RawDataError(f"{path}: twixtools reads files with an ending only; rename it to {path.name}.dat")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it finds
            scans = twixtools.read_twix(
                os.fspath(path), parse_data=False, parse_pmu=False, parse_geometry=False, verbose=False
            )
    except Exception as error:  # it parses without checks: whatever a damaged header leads to
        raise RawDataError(f"{path}: its headers cannot be read as twix: {error!r}") from error
    return [Measurement(scan["hdr"], _read_lines(path, scan)) for scan in scans]


def _read_lines(path: Path, scan: dict[str, Any]) -> list[Any]:
    """Readouts of a measurement but for the end mark and physiological signals.

    `twixtools.read_twix` would do, but repeats readouts of truncated files and runs for ever on damaged ones.
    """
    import twixtools.mdb

    new_format = "raidfile_hdr" in scan
    entry = scan["raidfile_hdr"] if new_format else {"off_": 0, "len_": 0}
    size = path.stat().st_size
    position = int(entry["off_"]) + len(scan["hdr_str"])
    end = int(entry["off_"]) + int(entry["len_"]) if entry["len_"] else size
    truncated = RawDataError(f"{path}: the file is truncated; copy it again")
    if end > size:
        raise truncated
    lines = []
    with path.open("rb") as file:
        while position + 128 < end:  # the rest is padding
            file.seek(position)
            try:
                line = twixtools.mdb.Mdb(file, new_format)
            except ValueError as error:
                raise truncated from error
            length = int(line.dma_len)
            if line.is_flag_set("ACQEND"):
                break
            if length == 0 or (line.mdh.UsedChannels == 0 and not line.is_flag_set("SYNCDATA")):
                raise RawDataError(f"{path}: the readout at byte {position} is empty: the file is damaged")
            position += length
            if position > end:
                raise truncated
            if not line.is_flag_set("SYNCDATA"):
                lines.append(line)
    return lines
