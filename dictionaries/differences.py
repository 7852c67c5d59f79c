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
        if (stored.spoiling == "balanced") == (given.spoiling == "balanced"):
            found += _vector("dephasing", "orders", stored.dephasing, given.dephasing)
    found += _scalar("inversion_time", "s", stored.inversion_time, given.inversion_time)
    if stored.inversion_time is not None and given.inversion_time is not None:
        found += _scalar("inversion_efficiency", "", stored.inversion_efficiency, given.inversion_efficiency)
    found += _scalar("spoiling", "", stored.spoiling, given.spoiling)
    if stored.spoiling == given.spoiling == "rf":
        found += _scalar(
            "rf_spoiling_increment", "rad", stored.rf_spoiling_increment, given.rf_spoiling_increment
        )
    found += _scalar("spoiler_moment", "rad/m", stored.spoiler_moment, given.spoiler_moment)
    return found + _pulses(stored.pulse, given.pulse)


def _vector(name: str, unit: str, stored: NDArray[Any], given: NDArray[Any]) -> list[str]:
    # below the steps of Sequence.fingerprint
    different = np.flatnonzero(np.abs(stored - given) > (1e-9 if unit == "rad" else 1e-12))
    if not different.size:
        return []
    i = different[0]
    return [
        f"{name} differs at {different.size} of {stored.size} pulses, first at pulse {i}: "
        f"{float(stored[i])} {unit} in the dictionary, {float(given[i])} {unit} given"
    ]


def _scalar(name: str, unit: str, stored: Any, given: Any) -> list[str]:
    if stored == given or (
        isinstance(stored, float) and given is not None and np.isclose(stored, given, 1e-9)
    ):
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
    if stored.n_steps != given.n_steps or not np.allclose(
        stored.step_rotation, given.step_rotation, rtol=0, atol=1e-12
    ):
        left, right = (f"{pulse.name} of {pulse.n_steps} steps" for pulse in (stored, given))
        found.append(f"pulse.waveform differs ({left} in the dictionary, {right} given)")
    return found
