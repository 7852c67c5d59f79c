"""Limits of a design that several pulses share: steps of the flip angle, scan time, and RF power."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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

_ROUNDING = 1e-5
"""Relative excess that counts as rounding: optimisers hold limits to this accuracy, and errors tell values
with six digits."""
_SAME_TIME = 1e-9
"""Relative room for the rounding of times: a pulse that begins as a window ends is not in it."""

_HALVINGS = 30
"""Of the way from a point that keeps to a limit to one that does not."""


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
        """Return the root mean square of B1+ in windows that begin with the pulses [T].

        No other place of the window has more: each pulse counts in whole, at its centre. Shape (n_windows,):
        the whole train is one window, and windows end with the first that reaches the last pulse.

        Raises
        ------
        ValueError
            If the pulses are instantaneous.
        """
        windows, length, _ = self._windows(sequence, every=False)
        return np.sqrt(windows @ (sequence.flip_angle**2) * (_energy(sequence) / length))

    def check(self, sequence: Sequence) -> None:
        """Raise a LimitError with the first limit that a sequence exceeds, where and by how much."""
        if self.maximum_change is not None:
            self._check_change(sequence)
        if self.maximum_duration is not None:
            self._check_duration(sequence.duration)
        if self.maximum_b1_rms is not None:
            self._check_b1(sequence, "scale all flip angles by {factor:.6g}, or use a longer pulse or TR")

    def kept_by(self, sequence: Sequence) -> bool:
        """Whether `check` raises no error."""
        try:
            self.check(sequence)
        except LimitError:
            return False
        return True

    def moved_inside(self, parametrization: Parametrization, u: RealArray) -> RealArray:
        """Return u moved towards gentler sequences, just far enough to keep to the limits.

        Flip angles move to their smallest value, and TR and inversion time to theirs where the duration is
        limited. If even those exceed a limit, u is returned as it is.
        """
        if self.kept_by(parametrization.sequence_of(u)):
            return u
        names = {"flip_angle"} if self.maximum_change or self.maximum_b1_rms else set()
        if self.maximum_duration:
            names |= {"tr", "inversion_time"}
        gentle = u.copy()
        for name, curve, _ in parametrization.parts(u):
            if name in names:
                gentle[parametrization.slices[name]] = curve.fitted(
                    np.full(curve.basis.shape[0], curve.minimum)
                )
        if not self.kept_by(parametrization.sequence_of(gentle)):
            return u
        kept, beyond = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = 0.5 * (kept + beyond)
            if self.kept_by(parametrization.sequence_of(gentle + middle * (u - gentle))):
                kept = middle
            else:
                beyond = middle
        return gentle + kept * (u - gentle)

    def check_reachable(self, parametrization: Parametrization) -> None:
        """Raise a LimitError with the first limit that no sequence within the bounds keeps to."""
        if self.maximum_change is not None and "flip_angle" not in parametrization.curves:
            self._check_change(parametrization.sequence)
        if self.maximum_duration is not None:
            self._check_duration(parametrization.at_bounds().duration)
        if self.maximum_b1_rms is not None:
            gentlest = parametrization.at_bounds("tr")
            self._check_b1(gentlest, "lower the smallest flip angle, by the factor {factor:.6g}")

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
            # the number of constraints must not change with TR
            ratio = partial(self._b1_ratio, "tr" in parametrization.curves)
            result.append(_at_most_one(parametrization, ratio))
        return result

    def _check_change(self, sequence: Sequence) -> None:
        assert self.maximum_change is not None
        steps = np.abs(np.diff(sequence.flip_angle, append=sequence.flip_angle[-1]))
        n = int(np.argmax(steps))
        if steps[n] > self.maximum_change * (1 + _ROUNDING):
            raise LimitError(
                f"flip angle change: {np.rad2deg(steps[n]):.6g} degrees from pulse {n} to {n + 1} exceed "
                f"the limit of {np.rad2deg(self.maximum_change):.6g} degrees; nearest feasible: "
                f"maximum_change={np.rad2deg(steps[n]):.6g} degrees",
                limit="flip angle change",
                nearest=float(steps[n]),
            )

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
        matrix[:, parametrization.slices["flip_angle"]] = steps * (curve.upper - curve.lower)
        offset = steps @ curve.lower
        return [LinearConstraint(matrix / change, -1 - offset / change, 1 - offset / change)]

    def _windows(self, sequence: Sequence, every: bool) -> tuple[NDArray[np.bool_], float, bool]:
        """Return which pulses lie in which window, (n_windows, n_pulses), its length [s], if the train's.

        With `every`, as many windows for any TR.
        """
        ends = np.cumsum(sequence.tr)
        start, total = ends - sequence.tr, float(ends[-1])
        whole = self.b1_window is None or self.b1_window >= total
        width = total if self.b1_window is None else min(self.b1_window, total)
        begin = start[:1] if self.b1_window is None else start
        after = start - begin[:, np.newaxis]
        inside = (after >= 0) & (after < width * (1 - _SAME_TIME))
        if not every:  # later windows hold a part of the first that reaches the last pulse
            inside = inside[: np.argmax(inside[:, -1]) + 1]
        return inside, width, whole

    def _duration_ratio(self, sequence: Sequence) -> tuple[RealArray, dict[str, RealArray]]:
        assert self.maximum_duration is not None
        slope = np.full((1, sequence.n_pulses), 1 / self.maximum_duration)
        by_value = {"tr": slope, "inversion_time": slope[:, :1]}
        return np.array([sequence.duration / self.maximum_duration]), by_value

    def _b1_ratio(self, every: bool, sequence: Sequence) -> tuple[RealArray, dict[str, RealArray]]:
        """Square of B1+rms over that of the limit; by TR where the window is the whole train."""
        assert self.maximum_b1_rms is not None
        windows, length, whole = self._windows(sequence, every)
        scale = _energy(sequence) / (length * self.maximum_b1_rms**2)
        ratio = scale * (windows @ sequence.flip_angle**2)
        by_tr = np.zeros((ratio.size, sequence.n_pulses))
        if whole:
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
