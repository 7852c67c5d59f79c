"""Pulseq files in protocols: the train and the trajectory of what was played."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.pulseq.read import PulseqScan, read_pulseq
from epgbloch import Sequence
from jobs.protocol_values import Section
from jobs.protocol_writer import sequence_section


@dataclass(frozen=True, eq=False)
class PulseqTrajectory:
    """Trajectory of a Pulseq file.

    Attributes
    ----------
    path : Path
        The file.
    scan : PulseqScan
        What it plays.
    """

    path: Path
    scan: PulseqScan

    def __call__(self, n_readouts: int, n_samples: int, matrix: tuple[int, int]) -> NDArray[np.float32]:
        """Trajectory, shape (n_readouts, n_samples, 2) [cycles per pixel]; the train may be repeated.

        Raises
        ------
        ValueError
            If the file plays other numbers of readouts or samples.
        """
        played = self.scan.cycles_per_pixel(matrix)
        if n_samples != played.shape[1]:
            raise ValueError(
                f"the readouts of {self.path} have {played.shape[1]} samples, those of the raw data "
                f"{n_samples}; check that they belong together"
            )
        if n_readouts % len(played):
            raise ValueError(
                f"{self.path} plays {len(played)} readouts, and {n_readouts} is not a multiple of it; check "
                "that raw data and file belong together"
            )
        return np.tile(played, (n_readouts // len(played), 1, 1))

    def n_samples(self, n_pixels: int) -> int:
        """Samples of a readout: those of the file."""
        return self.scan.trajectory.shape[1]


def pulseq_trajectory(section: Section, key: str) -> PulseqTrajectory:
    """Trajectory of the Pulseq file named by a key.

    Raises
    ------
    ProtocolError
        If the file cannot be read, is not the one that it was, has no field of view, or has pulses without
        readout.
    """
    path, scan = _read(section, key)
    if scan.fov is None:
        raise section.error(key, f"{path} has no definition FOV; write it with its field of view in metres")
    if scan.n_dummies:
        raise section.error(
            key,
            f"{path} has {scan.n_dummies} pulses without readout; images need one readout for each pulse",
        )
    return PulseqTrajectory(path, scan)


def sequence_of_pulseq(section: Section, key: str) -> dict[str, Any]:
    """Section ``sequence`` in numbers for the Pulseq file named by a key.

    Raises
    ------
    ProtocolError
        If the file cannot be read, is not the one that it was, or its receiver does not follow the RF phase.
    """
    path, scan = _read(section, key)
    shift = np.angle(np.exp(1j * (scan.receiver_phase - scan.receiver_phase[0])))
    if np.ptp(shift) > 1e-2:
        i_readout = int(np.argmax(np.abs(shift)))
        raise section.error(
            key,
            f"in {path} the receiver does not follow the phase of the RF pulses (readout {i_readout} is off "
            f"by {np.rad2deg(shift[i_readout]):.4g} degrees); set the phase of each ADC to that of its pulse",
        )
    return scan_section(scan)


def scan_section(scan: PulseqScan) -> dict[str, Any]:
    """Section ``sequence`` of a scan, without its spoiler moment, on which only diffusion depends."""
    return sequence_section(Sequence.from_dict({**scan.sequence.to_dict(), "spoiler_moment": None}))


def _read(section: Section, key: str) -> tuple[Path, PulseqScan]:
    """File named by a key, relative to the protocol; its full path and its SHA-256 replace the name there."""
    value = section.values[key]
    expected = None
    if isinstance(value, dict):
        reference = section.section(key, ("file", "sha256"))
        reference.require("file")
        value, expected = reference.values["file"], reference.values.get("sha256")
    if not isinstance(value, str):
        raise section.error(key, f"must be the name of a Pulseq file; got {value!r}")
    path = (section.file.parent / value).resolve()
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise section.error(key, f"cannot read {path}: {error.strerror}") from error
    if expected not in (None, digest):
        raise section.error(key, f"{path} has changed: its SHA-256 is {digest}, not {expected}")
    section.values[key] = {"file": str(path), "sha256": digest}
    with section.located(key):
        return path, _scan(path, digest)


@functools.lru_cache(maxsize=2)
def _scan(path: Path, digest: str) -> PulseqScan:
    """The scan of a file; read once for the train and the trajectory."""
    return read_pulseq(path)
