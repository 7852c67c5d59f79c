"""Limits of a design that several pulses share: steps of the flip angle, scan time, and RF power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, NonlinearConstraint

from design.errors import LimitError
from design.parametrization import Parametrization
from epgbloch import RFPulse, Sequence
from epgbloch._checks import positive_number
from epgbloch.constants import GAMMA_BAR

RealArray = NDArray[np.float64]

_ROUNDING = 1e-6
"""Relative excess that counts as rounding: optimisers hold limits to about this accuracy."""


def b1_energy(pulse: RFPulse) -> float:
    """Return the integral of B1+ squared over the pulse, for a flip angle of 1 rad [T^2 s / rad^2]."""
    step = pulse.duration / pulse.n_steps
    amplitude = np.abs(pulse.step_rotation) / (2 * np.pi * GAMMA_BAR * step)
    return float(np.sum(amplitude**2) * step)


@dataclass(frozen=True)
class Limits:
    """What a design must keep to as a whole; ranges of single values belong to its curves.

    Parameters
    ----------
    maximum_change : float, optional
        Largest step of the flip angle from pulse to pulse [rad].
    maximum_duration : float, optional
        Longest time from the inversion, or the first pulse, to the end of the last TR [s].
    maximum_b1_rms : float, optional
        Largest root mean square of B1+ [T], to which the specific absorption rate is proportional (squared).
        Averaged over `b1_window`, or over the whole train where that is shorter or the window is left out,
        as in trains that follow each other without pause. The inversion does not count.
    b1_window : float, optional
        Width of the sliding window [s].

    Raises
    ------
    ValueError
        If a limit is not positive, or there is a window without a limit.
    """

    maximum_change: float | None = None
    maximum_duration: float | None = None
    maximum_b1_rms: float | None = None
    b1_window: float | None = None

    def __post_init__(self) -> None:
        units = {
            "maximum_change": "radians",
            "maximum_duration": "seconds",
            "maximum_b1_rms": "tesla",
            "b1_window": "seconds",
        }
        for name, unit in units.items():
            if getattr(self, name) is not None:
                positive_number(name, getattr(self, name), unit)
        if self.b1_window is not None and self.maximum_b1_rms is None:
            raise ValueError("b1_window has no effect without maximum_b1_rms; give both or none")

    def b1_rms(self, sequence: Sequence) -> RealArray:
        """Return the root mean square of B1+ in the window that begins with each pulse [T].

        Shape (n_windows,): windows that end after the last TR are left out; at least one remains.

        Raises
        ------
        ValueError
            If the pulses are instantaneous.
        """
        windows, length = self._windows(sequence)
        return np.sqrt(windows @ (sequence.flip_angle**2) * (_energy(sequence) / length))

    def check(self, sequence: Sequence) -> None:
        """Raise a LimitError with the first limit that a sequence exceeds, where and by how much."""
        if self.maximum_change is not None and sequence.n_pulses > 1:
            steps = np.abs(np.diff(sequence.flip_angle))
            n = int(np.argmax(steps))
            if steps[n] > self.maximum_change * (1 + _ROUNDING):
                raise LimitError(
                    f"flip angle change: {np.rad2deg(steps[n]):.6g} degrees from pulse {n} to {n + 1} exceed "
                    f"the limit of {np.rad2deg(self.maximum_change):.6g} degrees; nearest feasible: "
                    f"maximum_change={np.rad2deg(steps[n]):.6g} degrees",
                    limit="flip angle change",
                    nearest=float(steps[n]),
                )
        if self.maximum_duration is not None:
            self._check_duration(sequence.duration)
        if self.maximum_b1_rms is not None:
            self._check_b1(sequence, "scale all flip angles by {factor:.4g}, or use a longer pulse or TR")

    def check_reachable(self, parametrization: Parametrization) -> None:
        """Raise a LimitError with the first limit that no sequence within the bounds keeps to."""
        lowest = {
            name: np.full(curve.basis.shape[0], curve.minimum)
            for name, curve in parametrization.curves.items()
        }
        sequence, n = parametrization.sequence, parametrization.sequence.n_pulses
        tr = lowest.get("tr", sequence.tr)
        start = lowest.get("inversion_time", np.array([sequence.inversion_time or 0.0]))
        if self.maximum_duration is not None:
            self._check_duration(float(tr.sum() + start[0]))
        if self.maximum_b1_rms is not None:
            longest = parametrization.curves["tr"].maximum if "tr" in parametrization.curves else sequence.tr
            flip_angle = lowest.get("flip_angle", sequence.flip_angle)
            gentlest = Sequence(flip_angle, np.broadcast_to(longest, n), sequence.te, pulse=sequence.pulse)
            self._check_b1(gentlest, "lower the smallest flip angle, by the factor {factor:.4g}")

    def constraints(self, parametrization: Parametrization) -> list[Any]:
        """Return the limits as constraints of scipy.optimize on the parameters u.

        Functions take u of shape (n_parameters,), or (n_parameters, n_candidates) as in a vectorised
        differential evolution. Limits that the bounds of u imply already are left out.
        """
        result: list[Any] = []
        if self.maximum_change is not None and "flip_angle" in parametrization.curves:
            result += self._change_constraint(parametrization, self.maximum_change)
        if self.maximum_duration is not None and {"tr", "inversion_time"} & set(parametrization.curves):
            result.append(_at_most_one(parametrization, self._duration_ratio))
        if self.maximum_b1_rms is not None:
            result.append(_at_most_one(parametrization, self._b1_ratio))
        return result

    def _check_duration(self, duration: float) -> None:
        assert self.maximum_duration is not None
        if duration > self.maximum_duration * (1 + _ROUNDING):
            raise LimitError(
                f"duration: {duration:.6g} s exceed the limit of {self.maximum_duration:.6g} s; nearest "
                f"feasible: maximum_duration={duration:.6g} s, or fewer pulses or a shorter TR",
                limit="duration",
                nearest=duration,
            )

    def _check_b1(self, sequence: Sequence, remedy: str) -> None:
        assert self.maximum_b1_rms is not None
        values = self.b1_rms(sequence)
        n = int(np.argmax(values))
        if values[n] > self.maximum_b1_rms * (1 + _ROUNDING):
            where = f" in the window from pulse {n}" if values.size > 1 else ""
            raise LimitError(
                f"B1+rms: {1e6 * values[n]:.6g} uT{where} exceed the limit of "
                f"{1e6 * self.maximum_b1_rms:.6g} uT; nearest feasible: maximum_b1_rms={1e6 * values[n]:.6g} "
                f"uT, or {remedy.format(factor=self.maximum_b1_rms / values[n])}",
                limit="B1+rms",
                nearest=float(values[n]),
            )

    def _change_constraint(self, parametrization: Parametrization, change: float) -> list[Any]:
        """Linear in u; the cut of a curve makes no step larger."""
        curve = parametrization.curves["flip_angle"]
        steps = np.diff(curve.basis, axis=0)
        middle = steps @ (curve.lower + curve.upper) / 2
        reach = np.abs(steps) @ (curve.upper - curve.lower) / 2
        if np.all(np.abs(middle) + reach <= change * (1 + _ROUNDING)):
            return []
        matrix = np.zeros((steps.shape[0], parametrization.n_parameters))
        first = 0
        for name, other in parametrization.curves.items():
            if name == "flip_angle":
                matrix[:, first : first + other.n_parameters] = steps * (curve.upper - curve.lower)
            first += other.n_parameters
        offset = steps @ curve.lower
        return [LinearConstraint(matrix / change, -1 - offset / change, 1 - offset / change)]

    def _windows(self, sequence: Sequence) -> tuple[NDArray[np.bool_], float]:
        """Which pulses lie in which window, (n_windows, n_pulses), and the length of the windows [s]."""
        start = np.concatenate(([0.0], np.cumsum(sequence.tr)))
        width = float(start[-1]) if self.b1_window is None else min(self.b1_window, float(start[-1]))
        begin = start[:-1][start[:-1] + width <= start[-1] * (1 + _ROUNDING)]
        inside = (start[:-1] >= begin[:, np.newaxis]) & (start[:-1] < begin[:, np.newaxis] + width)
        return inside, width

    def _duration_ratio(self, sequence: Sequence) -> tuple[RealArray, dict[str, RealArray]]:
        assert self.maximum_duration is not None
        slope = np.full((1, sequence.n_pulses), 1 / self.maximum_duration)
        by_value = {"tr": slope, "inversion_time": slope[:, :1]}
        return np.array([sequence.duration / self.maximum_duration]), by_value

    def _b1_ratio(self, sequence: Sequence) -> tuple[RealArray, dict[str, RealArray]]:
        """Square of B1+rms over that of the limit; by TR where the window is the whole train."""
        assert self.maximum_b1_rms is not None
        windows, length = self._windows(sequence)
        scale = _energy(sequence) / (length * self.maximum_b1_rms**2)
        ratio = scale * (windows @ sequence.flip_angle**2)
        by_tr = np.zeros((ratio.size, sequence.n_pulses))
        if windows.all():
            by_tr -= ratio[:, np.newaxis] / length
        return ratio, {"flip_angle": 2 * scale * windows * sequence.flip_angle, "tr": by_tr}


def _energy(sequence: Sequence) -> float:
    if sequence.pulse is None:
        raise ValueError(
            "maximum_b1_rms needs pulses of finite duration: instantaneous ones have no B1+; "
            "give the sequence a pulse, as RFPulse.gaussian(1e-3, 3e-3)"
        )
    return b1_energy(sequence.pulse)


def _at_most_one(
    parametrization: Parametrization,
    ratio: Callable[[Sequence], tuple[RealArray, dict[str, RealArray]]],
) -> NonlinearConstraint:
    """Constraint that ratios, functions of the sequence, be at most 1."""

    def values(u: RealArray) -> RealArray:
        if u.ndim == 2:
            return np.stack([values(candidate) for candidate in u.T], axis=-1)
        return ratio(parametrization.sequence_of(u))[0]

    def slopes(u: RealArray) -> RealArray:
        by_value = ratio(parametrization.sequence_of(u))[1]
        rows = next(iter(by_value.values())).shape[0]
        for name, curve in parametrization.curves.items():
            by_value.setdefault(name, np.zeros((rows, curve.basis.shape[0])))
        return parametrization.pull_back(u, by_value)

    return NonlinearConstraint(values, -np.inf, 1.0, jac=slopes)
