"""Trains and imaging sequences as Pulseq files. pypulseq is imported only when a file is made or read."""

from design.pulseq.export import PulseqExport, export_pulseq
from design.pulseq.imaging_export import export_imaging_sequence
from design.pulseq.imaging_read import read_imaging_sequence
from design.pulseq.inversion import Inversion
from design.pulseq.read import PulseqScan, read_pulseq
from design.pulseq.readout import Readout
from design.pulseq.repetition import MinimumTimes, minimum_times
from design.pulseq.scanner import PRESETS, Scanner, preset
from design.pulseq.timing import Timing, plan_timing
from design.pulseq.train import build_train

__all__ = [
    "PRESETS",
    "Inversion",
    "MinimumTimes",
    "PulseqExport",
    "PulseqScan",
    "Readout",
    "Scanner",
    "Timing",
    "build_train",
    "export_imaging_sequence",
    "export_pulseq",
    "minimum_times",
    "plan_timing",
    "preset",
    "read_imaging_sequence",
    "read_pulseq",
]
