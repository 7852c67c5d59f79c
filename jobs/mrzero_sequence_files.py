"""Imaging sequences of ``epgbloch mrzero`` as files."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from design.mrzero import ImagingSequence
from design.mrzero.twin import Twin
from design.pulseq.imaging_export import export_imaging_sequence
from design.pulseq.imaging_read import read_imaging_sequence
from design.pulseq.scanner import preset
from jobs.mrzero_phantoms import FOV, SLICE_THICKNESS

COMMAND = "mrzero run"


def write_sequence(
    folder: Path, name: str, sequence: ImagingSequence, twin: Twin, images: dict[str, NDArray[Any]]
) -> tuple[bool, str]:
    """Write a sequence as NPZ, with images, and as Pulseq file for a Siemens scanner, which is read back.

    What a scanner cannot play is no error here: not every experiment asks for sequences that can be played.

    Returns
    -------
    tuple of bool and str
        Whether there is a Pulseq file, and a sentence about it.
    """
    arrays = {field.name: getattr(sequence, field.name) for field in fields(sequence)}
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays, **images)
    path = folder / f"{name}.seq"
    lengths, scanner = (FOV, FOV, SLICE_THICKNESS), preset("siemens")
    try:
        export_imaging_sequence(sequence, path, scanner, fov=lengths, slice_thickness=SLICE_THICKNESS)
        pulses = "selective pulses"
    except ValueError as error:  # a limit of the scanner among them
        try:
            export_imaging_sequence(sequence, path, scanner, fov=lengths, slice_thickness=None)
        except ValueError as other:
            return False, f"No Pulseq file: {other}"
        pulses = f"hard pulses (selective ones: {error})"
    wanted = twin.signal(sequence)
    try:
        played = twin.signal(read_imaging_sequence(path))
    except ValueError as error:  # too many states, say
        return False, f"{path.name}, with {pulses}, was not simulated again: {error}"
    difference = float(np.linalg.norm(played - wanted) / np.linalg.norm(wanted))
    return True, f"{path.name}, with {pulses}: read back, its signal is {100 * difference:.2g} % off"
