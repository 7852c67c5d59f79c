"""In words, what differs between two sequences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import RFPulse, Sequence


def sequence_differences(stored: Sequence, given: Sequence) -> list[str]:
    """Return one phrase for each field that affects the signal and differs: first place, both values."""
    found = []
    if stored.n_pulses != given.n_pulses:
        found.append(f"n_pulses is {stored.n_pulses} in the dictionary, {given.n_pulses} given")
    else:
        for name, unit in (("flip_angle", "rad"), ("tr", "s"), ("te", "s"), ("phase", "rad")):
            found += _vector(name, unit, getattr(stored, name), getattr(given, name))
    found += _scalar("inversion_time", "s", stored.inversion_time, given.inversion_time)
    if stored.inversion_time is not None and given.inversion_time is not None:
        found += _scalar("inversion_efficiency", "", stored.inversion_efficiency, given.inversion_efficiency)
    found += _scalar("spoiling", "", stored.spoiling, given.spoiling)
    if stored.spoiling == given.spoiling == "rf":
        found += _scalar(
            "rf_spoiling_increment", "rad", stored.rf_spoiling_increment, given.rf_spoiling_increment
        )
    return found + _pulses(stored.pulse, given.pulse)


def _vector(name: str, unit: str, stored: NDArray[Any], given: NDArray[Any]) -> list[str]:
    different = np.flatnonzero(stored != given)
    if not different.size:
        return []
    i = different[0]
    return [
        f"{name} differs at {different.size} of {stored.size} pulses, first at pulse {i}: "
        f"{float(stored[i])} {unit} in the dictionary, {float(given[i])} {unit} given"
    ]


def _scalar(name: str, unit: str, stored: Any, given: Any) -> list[str]:
    if stored == given:
        return []
    left, right = ("None" if value is None else f"{value} {unit}".rstrip() for value in (stored, given))
    return [f"{name} is {left} in the dictionary, {right} given"]


def _pulses(stored: RFPulse | None, given: RFPulse | None) -> list[str]:
    if stored is None or given is None:
        left, right = ("instantaneous" if pulse is None else f"{pulse.name}" for pulse in (stored, given))
        return [] if stored is given else [f"pulse is {left} in the dictionary, {right} given"]
    found = []
    for name, unit in (("duration", "s"), ("bandwidth", "Hz"), ("slice_thickness", "m"), ("center", "s")):
        found += _scalar(f"pulse.{name}", unit, getattr(stored, name), getattr(given, name))
    if not np.array_equal(stored.waveform, given.waveform):
        left, right = (f"{pulse.name} of {pulse.n_steps} steps" for pulse in (stored, given))
        found.append(f"pulse.waveform differs ({left} in the dictionary, {right} given)")
    return found
