"""Pulseq files of trains."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from design.pulseq.inversion import Inversion
from design.pulseq.readout import Readout
from design.pulseq.repetition import MinimumTimes
from design.pulseq.scanner import Scanner
from design.pulseq.timing import Timing, plan_timing
from design.pulseq.train import build_train
from design.pulseq.writing import checked_target, complete, write_file
from epgbloch import Sequence
from epgbloch._files import replacing


@dataclass(frozen=True, eq=False)
class PulseqExport:
    """What has been written.

    Parameters
    ----------
    path, report_path : Path
        The Pulseq file and the report beside it.
    sequence : Sequence
        What the file plays: times and pulse on the rasters of the scanner.
    spoiler_cycles : float
        Turns of the magnetisation by one order of dephasing over the slice thickness.
    minimum_times : MinimumTimes
        Shortest times on this scanner.
    report : str
        pypulseq's report of the timing, the gradients and the trajectory.
    """

    path: Path
    report_path: Path
    sequence: Sequence
    spoiler_cycles: float
    minimum_times: MinimumTimes
    report: str


def export_pulseq(
    path: str | os.PathLike[str],
    sequence: Sequence,
    readout: Readout,
    scanner: Scanner,
    *,
    spoiler_cycles: float | None = None,
    inversion: Inversion | None = None,
    name: str = "epgbloch",
    definitions: dict[str, str | float] | None = None,
) -> PulseqExport:
    """Write a train as a Pulseq 1.5 file, and pypulseq's report beside it (``<name of the file>.txt``).

    Phases of RF and ADC are those of the sequence. Its phase is that of the magnetisation after the pulse, a
    quarter turn from that of B1: pulses and ADC of the file are turned alike, which nothing can tell.

    Parameters
    ----------
    path : str or PathLike
        The file, ending in .seq. An existing one is replaced.
    sequence : Sequence
        What to play, with a slice-selective pulse.
    readout : Readout
        What to sample; pulse i plays readout i modulo n_readouts.
    scanner : Scanner
        What can be played.
    spoiler_cycles : float or None
        Turns of the magnetisation by one order of dephasing over the slice thickness; None: from the
        `spoiler_moment` of the sequence, or 4, or none where it never dephases.
    inversion : Inversion or None
        Pulse and spoiler of the inversion of a sequence that has one; None: the default ones.
    name : str
        Name of the sequence in the file, without spaces.
    definitions : dict, optional
        More definitions for the file, as words without spaces or as numbers.

    Returns
    -------
    PulseqExport
        What is played, after rounding to the rasters, and the report.

    Raises
    ------
    LimitError
        If a limit of the scanner is broken; see `plan_timing`.
    ValueError
        If the pulse is not slice-selective, or a name is not fit for the file.
    OSError
        If the files cannot be written.
    """
    timing = plan_timing(sequence, readout, scanner, spoiler_cycles=spoiler_cycles, inversion=inversion)
    entries = {**_definitions(timing), "Name": name, **(definitions or {})}
    target = checked_target(path, entries)
    train = build_train(timing)
    complete(train, entries)
    report = train.test_report()
    write_file(train, target)
    report_path = target.with_suffix(".txt")
    with replacing(report_path) as temporary:
        temporary.write_text(report, encoding="utf-8")
    repetition = timing.repetition
    return PulseqExport(
        target, report_path, timing.sequence, repetition.spoiler_cycles, repetition.minimum_times, report
    )


def _definitions(timing: Timing) -> dict[str, Any]:
    """What the file says about itself, in SI units."""
    sequence, repetition = timing.sequence, timing.repetition
    readout, pulse = repetition.acquisition.readout, repetition.excitation.pulse
    thickness = float(pulse.slice_thickness)  # type: ignore[arg-type]  # slice-selective
    entries: dict[str, Any] = {
        "FOV": [readout.fov[1], readout.fov[0], thickness],
        "Matrix": [readout.matrix[1], readout.matrix[0]],
        "SliceThickness": thickness,
        "Bandwidth": pulse.bandwidth,
        "TE": _one_or_range(sequence.te),
        "TR": _one_or_range(sequence.tr),
        "Spoiling": sequence.spoiling,
        "SpoilerCycles": repetition.spoiler_cycles,
        "SequenceFingerprint": sequence.fingerprint(),
    }
    if sequence.inversion_time is not None:
        entries["InversionTime"] = sequence.inversion_time
        entries["InversionEfficiency"] = sequence.inversion_efficiency
        entries["InversionPulse"] = repetition.inversion.inversion.kind
    if repetition.scanner.segment_gap:
        entries["SegmentGap"] = repetition.scanner.segment_gap
    return entries


def _one_or_range(times: np.ndarray) -> float | list[float]:
    """One time if all are equal, else the shortest and the longest."""
    low, high = float(times.min()), float(times.max())
    return low if low == high else [low, high]
