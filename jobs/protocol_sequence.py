"""The section ``sequence`` of a protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import RFPulse, Sequence, trains
from epgbloch.sequence import SPOILINGS
from jobs.protocol_pulseq import sequence_of_pulseq
from jobs.protocol_values import Section

_KEYS = (
    "flip_angle_deg",
    "phase_deg",
    "tr_ms",
    "te_ms",
    "n_pulses",
    "inversion_time_ms",
    "inversion_efficiency",
    "spoiling",
    "rf_spoiling_increment_deg",
    "dephasing",
    "pulse",
    "pulseq",
)
_TRAIN_KEYS = {
    **dict.fromkeys(trains.TRAINS, ("train", "n_pulses", "seed", "maximum_deg")),
    "spline": ("train", "n_pulses", "angles_deg"),
    "sin_squared": ("train", "n_pulses", "angles_deg"),
    "piecewise_constant": ("train", "n_pulses", "angles_deg", "edges"),
}
_PULSE_KEYS = {
    "gaussian": ("shape", "duration_ms", "slice_thickness_mm", "time_bandwidth_product", "n_steps"),
    "sinc": ("shape", "duration_ms", "slice_thickness_mm", "time_bandwidth_product", "n_steps"),
    "rectangular": ("shape", "duration_ms", "slice_thickness_mm", "n_steps"),
    "samples": (
        "shape",
        "duration_ms",
        "slice_thickness_mm",
        "samples",
        "samples_imaginary",
        "bandwidth_hz",
        "center_ms",
    ),
}


def read_sequence(protocol: Section) -> Sequence:
    """Sequence of a protocol, in seconds and radians.

    Raises
    ------
    ProtocolError
        If a key is missing, unknown or out of range, or the timing cannot be played out.
    """
    section = protocol.section("sequence", _KEYS)
    if section.has("pulseq"):
        section.only(("pulseq",), "pulseq")
        # The numbers replace the reference, so that the protocol no longer depends on the file.
        numbers = sequence_of_pulseq(section, "pulseq")
        section.values.clear()
        section.values.update(numbers)
    section.require("flip_angle_deg", "tr_ms", "te_ms")
    inverted = section.has("inversion_time_ms")
    if section.has("inversion_efficiency") and not inverted:
        raise section.error("inversion_efficiency", "has no effect without inversion_time_ms; remove it")
    spoiling = section.text("spoiling", SPOILINGS, "gradient")
    if section.has("rf_spoiling_increment_deg") and spoiling != "rf":
        raise section.error("rf_spoiling_increment_deg", "has no effect without spoiling: rf; remove it")
    with section.located():
        return Sequence(
            flip_angle=_flip_angle(section),
            tr=1e-3 * section.vector("tr_ms", above=0),
            te=1e-3 * section.vector("te_ms", above=0),
            phase=np.deg2rad(section.vector("phase_deg", 0.0)),
            inversion_time=1e-3 * section.number("inversion_time_ms", 0.0, at_least=0) if inverted else None,
            inversion_efficiency=section.number("inversion_efficiency", 1.0, at_least=0, at_most=1),
            pulse=read_pulse(section) if section.has("pulse") else None,
            spoiling=spoiling,
            dephasing=section.vector("dephasing") if section.has("dephasing") else None,
            rf_spoiling_increment=float(np.deg2rad(section.number("rf_spoiling_increment_deg", 117.0))),
        )


def _flip_angle(section: Section) -> NDArray[np.float64]:
    """Flip angles [rad] from a number with n_pulses, a list, a CSV column or a train."""
    key = "flip_angle_deg"
    value = section.values[key]
    single = not isinstance(value, (list, dict))
    if single and not section.has("n_pulses"):
        raise section.error("n_pulses", f"missing; one number as {key} needs the number of pulses")
    if not single and section.has("n_pulses"):
        raise section.error("n_pulses", f"only goes with one number as {key}; remove it here")
    if isinstance(value, dict) and "csv" not in value:
        if "train" not in value:
            raise section.error(key, "give a number, a list, {csv: ..., column: ...} or {train: ...}")
        return _train(section)
    angles = np.deg2rad(section.vector(key, at_least=0, at_most=360))
    return np.repeat(angles, section.count("n_pulses", 1)) if single else angles


def _train(sequence: Section) -> NDArray[np.float64]:
    """Flip angles [rad] of a train family of `epgbloch.trains`."""
    section = sequence.section("flip_angle_deg", _every_key(_TRAIN_KEYS))
    name = section.text("train", tuple(_TRAIN_KEYS), "")
    section.only(_TRAIN_KEYS[name], f"train: {name}")
    section.require(*(key for key in _TRAIN_KEYS[name] if key != "maximum_deg"))
    n_pulses = section.count("n_pulses", 1)
    with section.located():
        if name in trains.TRAINS:
            rng = np.random.default_rng(section.count("seed", 0, at_least=0, at_most=None))
            default = float(np.rad2deg(trains.MAXIMUM))
            maximum = section.number("maximum_deg", default, above=0, at_most=360)
            return trains.TRAINS[name](n_pulses, rng, np.deg2rad(maximum))
        angles = np.deg2rad(section.vector("angles_deg", at_least=0, at_most=360))
        if name == "piecewise_constant":
            return trains.piecewise_constant(n_pulses, angles, section.counts("edges", at_least=1))
        if name == "sin_squared":
            return trains.sin_squared(n_pulses, angles)
        # Cut at 0, as the random families are.
        return np.maximum(trains.spline(n_pulses, angles), 0.0)


def read_pulse(parent: Section) -> RFPulse:
    """RF pulse of the section ``pulse`` of `parent`."""
    section = parent.section("pulse", _every_key(_PULSE_KEYS))
    section.require("shape", "duration_ms")
    shape = section.text("shape", tuple(_PULSE_KEYS), "")
    section.only(_PULSE_KEYS[shape], f"shape: {shape}")
    duration = 1e-3 * section.number("duration_ms", 1.0, above=0)
    thickness = None
    if section.has("slice_thickness_mm"):
        thickness = 1e-3 * section.number("slice_thickness_mm", 1.0, above=0)
    n_steps = section.count("n_steps", 200)
    with section.located():
        if shape == "rectangular":
            return RFPulse.rectangular(duration, thickness, n_steps=n_steps)
        if shape == "samples":
            section.require("samples", "bandwidth_hz")
            center = 1e-3 * section.number("center_ms", 1.0, at_least=0) if section.has("center_ms") else None
            bandwidth = section.number("bandwidth_hz", 1.0, above=0)
            samples: NDArray[Any] = section.vector("samples")
            if section.has("samples_imaginary"):
                imaginary = section.vector("samples_imaginary")
                if imaginary.size != samples.size:
                    raise section.error(
                        "samples_imaginary", f"has {imaginary.size} values, samples {samples.size}"
                    )
                samples = samples + 1j * imaginary
            return RFPulse.from_samples(samples, duration, bandwidth, thickness, center=center)
        make, default = (RFPulse.gaussian, 3.0) if shape == "gaussian" else (RFPulse.sinc, 4.0)
        product = section.number("time_bandwidth_product", default, above=0)
        return make(duration, thickness, time_bandwidth_product=product, n_steps=n_steps)


def _every_key(keys: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for group in keys.values() for key in group))
