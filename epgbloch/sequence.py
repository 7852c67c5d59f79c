"""Transient-state pulse sequences: one RF pulse, one echo and at most one spoiler a TR."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch._checks import (
    broadcast,
    positive_number,
    real_number,
    real_rows,
    real_vector,
    require,
    rounded_bytes,
)
from epgbloch.pulse import RFPulse

SPOILINGS = ("gradient", "rf", "balanced")
_ROUNDING = 1e-12
"""Room [s] for the rounding of decimal times; tr=2.5e-3, te=2e-3 and a pulse of 1e-3 s fit exactly."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """A train of `n_pulses` RF pulses, checked once at construction.

    TR runs from pulse centre to pulse centre, TE from pulse centre to echo. The inversion is ideal up to
    its efficiency and takes place at time 0; the centre of the first excitation lies `inversion_time`
    later. The receiver follows the phase of its RF pulse.

    Parameters
    ----------
    flip_angle : array_like, shape (n_pulses,), float64
        Flip angles [rad], 0 to 2 pi. Their number is the number of pulses.
    tr, te : array_like, shape () or (n_pulses,), float64
        Repetition and echo time [s] of each pulse.
    phase : array_like, shape () or (n_pulses,), float64
        RF phase [rad]: on-resonance excitation of +z leaves the magnetisation at this angle from +x.
    inversion_time : float or None
        Time from the inversion to the centre of the first pulse [s]; None: no inversion.
    inversion_efficiency : float
        Mz after the inversion is (1 - 2 inversion_efficiency) Mz before; 1 inverts perfectly.
    pulse : RFPulse or None
        RF pulse with its slice gradient; None: instantaneous rotation without slice profile.
    spoiling : {"gradient", "rf", "balanced"}
        "gradient": one dephasing order at the end of each TR; "rf": the same, and a quadratic phase
        n (n + 1) / 2 x `rf_spoiling_increment`, n = 0, 1, ..., is added to `phase`; "balanced": no
        dephasing.
    rf_spoiling_increment : float
        Phase increment of RF spoiling [rad].
    dephasing : array_like, shape () or (n_pulses,), int, or None
        Orders of dephasing at the end of each TR, 0 or 1, for trains that spoil only in part; None: 1, or 0
        with "balanced".
    spoiler_moment : float or None
        Dephasing by one order [rad/m], gamma x gradient x time; 2 pi over 3 mm is 2094 rad/m. Only
        diffusion depends on it.

    Raises
    ------
    ValueError
        If values are not finite numbers, out of range, of different lengths, or the timing cannot be
        played out.
    """

    flip_angle: NDArray[np.float64]
    tr: NDArray[np.float64]
    te: NDArray[np.float64]
    phase: NDArray[np.float64]
    inversion_time: float | None
    inversion_efficiency: float
    pulse: RFPulse | None
    spoiling: str
    rf_spoiling_increment: float
    dephasing: NDArray[np.int64]
    spoiler_moment: float | None

    def __init__(
        self,
        flip_angle: ArrayLike,
        tr: ArrayLike,
        te: ArrayLike,
        phase: ArrayLike = 0.0,
        inversion_time: float | None = None,
        inversion_efficiency: float = 1.0,
        pulse: RFPulse | None = None,
        spoiling: str = "gradient",
        rf_spoiling_increment: float = np.deg2rad(117.0),
        dephasing: ArrayLike | None = None,
        spoiler_moment: float | None = None,
    ) -> None:
        flip_angles = real_vector("flip_angle", flip_angle, "radians")
        vectors = broadcast(
            flip_angles.size,
            "flip angle",
            flip_angle=flip_angles,
            tr=real_vector("tr", tr, "seconds"),
            te=real_vector("te", te, "seconds"),
            phase=real_vector("phase", phase, "radians"),
        )
        for name, vector in zip(("flip_angle", "tr", "te", "phase"), vectors, strict=True):
            object.__setattr__(self, name, vector)
        if spoiler_moment is not None:
            spoiler_moment = positive_number("spoiler_moment", spoiler_moment, "rad/m")
        if inversion_time is not None:
            inversion_time = real_number("inversion_time", inversion_time, "seconds")
        for name, value in (
            ("inversion_time", inversion_time),
            ("inversion_efficiency", real_number("inversion_efficiency", inversion_efficiency, "")),
            ("pulse", pulse),
            ("spoiling", spoiling),
            ("rf_spoiling_increment", real_number("rf_spoiling_increment", rf_spoiling_increment, "radians")),
            ("spoiler_moment", spoiler_moment),
        ):
            object.__setattr__(self, name, value)
        self._check_values()
        object.__setattr__(self, "dephasing", self._checked_dephasing(dephasing))
        self._check_timing()

    def _check_values(self) -> None:
        _check_flip_angles(self.flip_angle)
        for name in ("tr", "te"):
            vector = getattr(self, name)
            require(name, vector, vector > 0, "positive", "check its unit: it is in seconds")
        if self.spoiling not in SPOILINGS:
            raise ValueError(f"spoiling={self.spoiling!r} must be one of {', '.join(SPOILINGS)}")
        if not 0 <= self.inversion_efficiency <= 1:
            raise ValueError(
                f"inversion_efficiency={self.inversion_efficiency} must lie in 0 to 1; 1 inverts perfectly"
            )
        if self.inversion_time is not None and self.inversion_time < 0:
            raise ValueError(
                f"inversion_time={self.inversion_time} must be at least 0 s; use None for no inversion"
            )
        if self.pulse is not None and not isinstance(self.pulse, RFPulse):
            raise ValueError(f"pulse={self.pulse!r} must be an RFPulse or None; try RFPulse.gaussian(...)")

    def _checked_dephasing(self, dephasing: ArrayLike | None) -> NDArray[np.int64]:
        if dephasing is None:
            dephasing = 0 if self.spoiling == "balanced" else 1
        if isinstance(dephasing, bool) or getattr(dephasing, "dtype", None) == np.bool_:
            dephasing = np.asarray(dephasing, np.int64)
        vector = real_vector("dephasing", dephasing, "orders")
        (orders,) = broadcast(self.n_pulses, "flip angle", dephasing=vector)
        require("dephasing", orders, (orders == 0) | (orders == 1), "0 or 1", "use one spoiler a TR or none")
        if self.spoiling == "balanced" and orders.any():
            raise ValueError(
                f'dephasing[{np.flatnonzero(orders)[0]}]=1 contradicts spoiling="balanced"; use '
                'spoiling="gradient" with dephasing=0 where the train is balanced'
            )
        result = orders.astype(np.int64)
        result.setflags(write=False)
        return result

    def _check_timing(self) -> None:
        bad = np.flatnonzero(self.te >= self.tr)
        if bad.size:
            i_pulse = bad[0]
            raise ValueError(
                f"te={self.te[i_pulse]:.6g} s must be shorter than tr={self.tr[i_pulse]:.6g} s "
                f"at pulse {i_pulse}; shorten te or lengthen tr"
            )
        before, after = self.pulse_margins
        bad = np.flatnonzero(self.te < after - _ROUNDING)
        if bad.size:
            i_pulse = bad[0]
            raise ValueError(
                f"te={self.te[i_pulse]:.6g} s ends within the RF pulse at pulse {i_pulse}; "
                f"it must be at least {after:.6g} s after the pulse centre: lengthen te or shorten the pulse"
            )
        bad = np.flatnonzero(self.tr - self.te < before - _ROUNDING)
        if bad.size:
            i_pulse = bad[0]
            raise ValueError(
                f"tr - te={self.tr[i_pulse] - self.te[i_pulse]:.6g} s at pulse {i_pulse} leaves no room for "
                f"the next RF pulse; it must be at least {before:.6g} s: lengthen tr or shorten the pulse"
            )
        if self.inversion_time is not None and self.inversion_time < before - _ROUNDING:
            raise ValueError(
                f"inversion_time={self.inversion_time:.6g} s lies within the first RF pulse; "
                f"it must be at least {before:.6g} s: lengthen inversion_time or shorten the pulse"
            )

    @property
    def n_pulses(self) -> int:
        """Number of RF pulses."""
        return self.flip_angle.size

    @property
    def pulse_margins(self) -> tuple[float, float]:
        """RF time before and after the pulse centre [s]."""
        if self.pulse is None:
            return 0.0, 0.0
        center = float(self.pulse.center)  # type: ignore[arg-type]  # set in __post_init__
        return center, self.pulse.duration - center

    @property
    def rf_phase(self) -> NDArray[np.float64]:
        """Phase of every RF pulse [rad], RF spoiling included, shape (n_pulses,)."""
        if self.spoiling != "rf":
            return self.phase
        index = np.arange(self.n_pulses)
        quadratic = index * (index + 1) / 2 * self.rf_spoiling_increment
        return self.phase + np.mod(quadratic, 2 * np.pi)

    @property
    def duration(self) -> float:
        """Time from the inversion, or from the first pulse centre, to the end of the last TR [s]."""
        return float(self.tr.sum() + (self.inversion_time or 0.0))

    def fingerprint(self) -> str:
        """Return a hexadecimal SHA-256 of everything that affects the signal.

        Angles count in steps of 1e-9 rad and times in steps of 1e-12 s, so that the rounding of computed
        trains, which may differ between machines, does not matter. Dictionaries carry it.
        """
        digest = hashlib.sha256(b"epgbloch sequence 1")
        for angles in (self.flip_angle, self.rf_phase):
            digest.update(rounded_bytes(angles, 1e-9))
        for times in (self.tr, self.te):
            digest.update(rounded_bytes(times, 1e-12))
        if self.inversion_time is not None:
            digest.update(b"inverted" + rounded_bytes(self.inversion_time, 1e-12))
            digest.update(rounded_bytes(self.inversion_efficiency, 1e-9))
        digest.update(b"balanced" if self.spoiling == "balanced" else b"dephased")
        if np.unique(self.dephasing).size > 1 or (self.spoiling != "balanced" and not self.dephasing.any()):
            digest.update(b"dephasing" + self.dephasing.astype(np.uint8).tobytes())
        if self.spoiler_moment is not None:
            digest.update(b"spoiler moment" + rounded_bytes(self.spoiler_moment, 1e-6))
        digest.update(b"" if self.pulse is None else self.pulse.fingerprint().encode())
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the sequence as plain numbers, lists and strings in SI units (for JSON)."""
        pulse = None
        if self.pulse is not None:
            pulse = {
                "waveform_real": self.pulse.waveform.real.tolist(),
                "waveform_imag": self.pulse.waveform.imag.tolist()
                if np.iscomplexobj(self.pulse.waveform)
                else None,
                "duration": self.pulse.duration,
                "bandwidth": self.pulse.bandwidth,
                "slice_thickness": self.pulse.slice_thickness,
                "center": self.pulse.center,
                "name": self.pulse.name,
            }
        return {
            "flip_angle": self.flip_angle.tolist(),
            "tr": self.tr.tolist(),
            "te": self.te.tolist(),
            "phase": self.phase.tolist(),
            "inversion_time": self.inversion_time,
            "inversion_efficiency": self.inversion_efficiency,
            "pulse": pulse,
            "spoiling": self.spoiling,
            "rf_spoiling_increment": self.rf_spoiling_increment,
            "dephasing": self.dephasing.tolist(),
            "spoiler_moment": self.spoiler_moment,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Sequence:
        """Rebuild a sequence from the result of `to_dict`."""
        values = dict(values)
        pulse = values.pop("pulse")
        if pulse is not None:
            pulse = dict(pulse)
            waveform = np.asarray(pulse.pop("waveform_real"))
            imaginary = pulse.pop("waveform_imag")
            if imaginary is not None:
                waveform = waveform + 1j * np.asarray(imaginary)
            pulse = RFPulse(waveform=waveform, **pulse)
        return cls(pulse=pulse, **values)


def flip_angle_trains(flip_angle: ArrayLike, n_pulses: int) -> NDArray[np.float64]:
    """Return many flip-angle trains, shape (n_trains, n_pulses) [rad], checked as that of a `Sequence`.

    Raises
    ------
    ValueError
        If the shape is another one, or a value is not a finite number in 0 to 2 pi.
    """
    trains = real_rows("flip_angle", flip_angle, "radians", "n_trains", n_pulses)
    _check_flip_angles(trains)
    return trains


def _check_flip_angles(angles: NDArray[np.float64]) -> None:
    require("flip_angle", angles, angles >= 0, "at least 0", "use phase=pi to reverse")
    require("flip_angle", angles, angles <= 2 * np.pi, "at most 2 pi rad", "is it in degrees?")
