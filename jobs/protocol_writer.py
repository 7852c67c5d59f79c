"""Sequences as the section ``sequence`` of a protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from epgbloch import RFPulse, Sequence


def sequence_section(sequence: Sequence) -> dict[str, Any]:
    """Return the section ``sequence`` that says the same as a sequence.

    Raises
    ------
    ValueError
        If the sequence has a spoiler moment, which protocols do not describe.
    """
    if sequence.spoiler_moment is not None:
        raise ValueError("a protocol cannot describe spoiler_moment; leave it out")
    section: dict[str, Any] = {
        "flip_angle_deg": _rounded(np.rad2deg(sequence.flip_angle)),
        "tr_ms": _one_or_all(1e3 * sequence.tr),
        "te_ms": _one_or_all(1e3 * sequence.te),
    }
    if sequence.phase.any():
        section["phase_deg"] = _one_or_all(np.rad2deg(sequence.phase))
    if sequence.inversion_time is not None:
        section["inversion_time_ms"] = _rounded(np.array([1e3 * sequence.inversion_time]))[0]
        section["inversion_efficiency"] = sequence.inversion_efficiency
    section["spoiling"] = sequence.spoiling
    if sequence.spoiling == "rf":
        section["rf_spoiling_increment_deg"] = float(np.rad2deg(sequence.rf_spoiling_increment))
    if np.any(sequence.dephasing != (sequence.spoiling != "balanced")):
        section["dephasing"] = sequence.dephasing.tolist()
    if sequence.pulse is not None:
        section["pulse"] = _pulse(sequence.pulse)
    return section


def protocol_text(content: dict[str, Any]) -> str:
    """Return the YAML text of a protocol."""
    return yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=110)


def _pulse(pulse: RFPulse) -> dict[str, Any]:
    section: dict[str, Any] = {"shape": "samples", "duration_ms": 1e3 * pulse.duration}
    if pulse.slice_thickness is not None:
        section["slice_thickness_mm"] = 1e3 * pulse.slice_thickness
    section["bandwidth_hz"] = pulse.bandwidth
    section["center_ms"] = 1e3 * float(pulse.center)  # type: ignore[arg-type]  # set in __post_init__
    section["samples"] = pulse.waveform.real.tolist()
    if np.iscomplexobj(pulse.waveform):
        section["samples_imaginary"] = pulse.waveform.imag.tolist()
    return section


def _one_or_all(values: NDArray[np.float64]) -> float | list[float]:
    numbers = _rounded(values)
    return numbers[0] if len(set(numbers)) == 1 else numbers


def _rounded(values: NDArray[np.float64]) -> list[float]:
    """Numbers without the rounding of unit conversion; the fingerprint of a sequence is coarser."""
    return [float(f"{value:.13g}") for value in values]
