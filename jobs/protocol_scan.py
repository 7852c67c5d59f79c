"""The section ``scan``: what is sampled, and on which scanner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from design import Parametrization
from design.pulseq import (
    PRESETS,
    Inversion,
    PulseqExport,
    Readout,
    Scanner,
    export_pulseq,
    plan_timing,
    preset,
)
from design.pulseq.inversion import KINDS
from epgbloch import Sequence
from jobs.protocol_trajectory import Trajectory, read_trajectory
from jobs.protocol_values import Section

_KEYS = ("matrix", "fov_mm", "samples", "readouts", "dwell_us", "spoiler_cycles", "inversion", "scanner")
_SCANNER = {
    "max_gradient_mt_m": ("max_gradient", 1e-3),
    "max_slew_t_m_s": ("max_slew", 1.0),
    "max_b1_ut": ("max_b1", 1e-6),
    "rf_dead_time_us": ("rf_dead_time", 1e-6),
    "rf_ringdown_time_us": ("rf_ringdown_time", 1e-6),
    "adc_dead_time_us": ("adc_dead_time", 1e-6),
    "rf_raster_us": ("rf_raster", 1e-6),
    "gradient_raster_us": ("gradient_raster", 1e-6),
    "adc_raster_us": ("adc_raster", 1e-6),
    "block_raster_us": ("block_raster", 1e-6),
    "segment_gap_us": ("segment_gap", 1e-6),
}


@dataclass(frozen=True, eq=False)
class Scan:
    """What is sampled, and on which scanner.

    Attributes
    ----------
    readout : Readout
        The readouts; pulse i plays readout i modulo their number.
    scanner : Scanner
        What can be played.
    options : dict
        ``spoiler_cycles`` and ``inversion``, arguments of `export_pulseq`.
    """

    readout: Readout
    scanner: Scanner
    options: dict[str, Any]

    def check(self, parametrization: Parametrization) -> None:
        """Raise a LimitError if the scanner cannot play every sequence within the bounds."""
        # late echoes leave less time for the rest of the TR
        for late in [(), ("te",)] if "te" in parametrization.curves else [()]:
            sequence = parametrization.at_bounds("flip_angle", *late)
            plan_timing(sequence, self.readout, self.scanner, **self.options)

    def export(self, path: Any, sequence: Sequence, name: str) -> PulseqExport:
        """Write a sequence as a Pulseq file."""
        word = "_".join(name.split()) or "epgbloch"
        return export_pulseq(path, sequence, self.readout, self.scanner, name=word, **self.options)

    def on(self, name: str) -> Scan:
        """Return the same on the scanner of a preset."""
        return replace(self, scanner=preset(name))


def read_scan(top: Section, n_pulses: int) -> Scan:
    """Scan of the sections ``scan`` and ``trajectory`` of a file.

    Raises
    ------
    ProtocolError
        If a section or a key is missing, or a value is out of range.
    """
    top.require("scan", "trajectory")
    section = top.section("scan", _KEYS)
    section.require("matrix", "fov_mm", "dwell_us")
    matrix = [round(value) for value in _pair(section, "matrix")]
    if matrix != _pair(section, "matrix"):
        raise section.error("matrix", "must hold whole numbers")
    fov = [1e-3 * value for value in _pair(section, "fov_mm")]
    n_readouts = section.count("readouts", n_pulses)
    trajectory: Trajectory = read_trajectory(top)
    n_samples = section.count("samples", trajectory.n_samples(max(matrix)))
    shape = (matrix[1], matrix[0])
    with section.located():
        readout = Readout(
            trajectory(n_readouts, n_samples, shape).astype(np.float64),
            matrix=shape,
            fov=(fov[1], fov[0]),
            dwell=1e-6 * section.number("dwell_us", 0.0, above=0),
        )
    options: dict[str, Any] = {}
    if section.has("spoiler_cycles"):
        options["spoiler_cycles"] = section.number("spoiler_cycles", 0.0, at_least=1)
    if section.has("inversion"):
        options["inversion"] = _inversion(section)
    return Scan(readout, _scanner(section), options)


def _pair(section: Section, key: str) -> list[float]:
    """One number for x and y, or both."""
    values = section.vector(key, above=0).tolist()
    if len(values) > 2:
        raise section.error(key, f"takes one number or [x, y]; got {len(values)} values")
    return [values[0], values[-1]]


def _inversion(scan: Section) -> Inversion:
    section = scan.section("inversion", ("kind", "duration_ms", "spoiler_cycles"))
    defaults = Inversion()
    with section.located():
        return Inversion(
            kind=section.text("kind", KINDS, defaults.kind),
            duration=1e-3 * section.number("duration_ms", 1e3 * defaults.duration, above=0),
            spoiler_cycles=section.number("spoiler_cycles", defaults.spoiler_cycles, above=0),
        )


def _scanner(scan: Section) -> Scanner:
    if isinstance(scan.values.get("scanner", ""), str):
        return PRESETS[scan.text("scanner", tuple(PRESETS), "siemens")]
    section = scan.section("scanner", ("preset", *_SCANNER))
    values = {
        field: unit * section.number(key, 0.0, at_least=0)
        for key, (field, unit) in _SCANNER.items()
        if section.has(key)
    }
    with section.located():
        return preset(section.text("preset", tuple(PRESETS), "siemens"), **values)
