"""What a design may change: curves over the pulses of a sequence, linear in a few parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import lsq_linear

from epgbloch import Sequence, trains
from epgbloch._checks import real_number, require_count

RealArray = NDArray[np.float64]

FIELDS = ("flip_angle", "phase", "tr", "te", "inversion_time")
"""What of a sequence can be designed."""
_FEW = 20
"""Parameters of a curve that need no coarser one: random starts find good minima."""
_ROUNDING = 1e-9
"""Parameters this far beyond their bounds, relative to their distance, are moved there without a new fit."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Values over the pulses: ``basis @ parameters``, cut at `minimum` and `maximum`.

    Parameters
    ----------
    basis : ndarray, shape (n_pulses, n_parameters), float64
        Value of every pulse for each parameter.
    lower, upper : ndarray, shape (n_parameters,), float64
        Bounds of the parameters.
    minimum, maximum : float
        Where the values are cut, because splines swing beyond their points.
    steps : bool
        Whether the parameters are the first value and the steps from pulse to pulse.
    """

    basis: RealArray
    lower: RealArray
    upper: RealArray
    minimum: float
    maximum: float
    steps: bool = False

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return self.lower.size

    def raw(self, parameters: RealArray) -> RealArray:
        """Return the values before they are cut, shape (..., n_pulses)."""
        return parameters @ self.basis.T

    def values(self, parameters: RealArray) -> RealArray:
        """Return the values for (..., n_parameters) parameters, shape (..., n_pulses)."""
        return np.clip(self.raw(parameters), self.minimum, self.maximum)

    def pull_back(self, parameters: RealArray, by_value: RealArray) -> RealArray:
        """Turn derivatives by the values (..., n_pulses) into those by the parameters."""
        raw = self.raw(parameters)
        inside = (raw >= self.minimum) & (raw <= self.maximum)
        return (by_value * inside) @ self.basis

    def fitted(self, values: RealArray) -> RealArray:
        """Return the parameters whose curve is closest to (n_pulses,) values, 0 and 1 being the bounds."""
        own = np.linalg.lstsq(self.basis, values, rcond=None)[0]
        width = self.upper - self.lower
        if np.any(np.maximum(self.lower - own, own - self.upper) > _ROUNDING * width):
            own = lsq_linear(self.basis, values, (self.lower, self.upper), method="bvls").x
        return np.clip((own - self.lower) / width, 0, 1)

    def coarser(self) -> Curve:
        """Return a spline with a third of the parameters and the same limits; the curve itself if few.

        Steps become those of three pulses in a row, so that the coarser curve keeps to the largest one too.
        """
        if self.n_parameters <= _FEW:
            return self
        if self.steps:
            first = np.concatenate(([0], np.arange(1, self.n_parameters, 3)))
            basis = np.add.reduceat(self.basis, first, axis=1)
            return replace(self, basis=basis, lower=self.lower[first], upper=self.upper[first])
        return spline(self.basis.shape[0], -(-self.n_parameters // 3), self.minimum, self.maximum)


def published_spline(n_pulses: int, maximum: float, n_points: int = 11) -> Curve:
    """Return the flip angles of Spline11, or Spline5, of Liu et al. (NMR Biomed 2021, e4527, appendix B).

    Cubic spline through (0, 0) and points at multiples of n_pulses / n_points, with zero slope at both ends;
    cut at 0 and `maximum` [rad].
    """
    require_count("n_points", n_points)
    columns = [trains.spline(n_pulses, point) for point in np.eye(n_points)]
    return _bounded(np.stack(columns, axis=1), 0.0, maximum)


def spline(n_pulses: int, n_knots: int, minimum: float, maximum: float) -> Curve:
    """Return the cubic spline through `n_knots` points, evenly spaced from the first pulse to the last.

    The spline has no boundary conditions (not-a-knot); it is cut at `minimum` and `maximum`, the bounds of
    its points. One knot is a constant, two are a straight line.
    """
    require_count("n_pulses", n_pulses)
    require_count("n_knots", n_knots)
    if n_knots > n_pulses:
        raise ValueError(f"n_knots={n_knots} exceeds n_pulses={n_pulses}; use fewer knots")
    if n_knots == 1:
        return _bounded(np.ones((n_pulses, 1)), minimum, maximum)
    knots = np.linspace(0, n_pulses - 1, n_knots)
    return _bounded(CubicSpline(knots, np.eye(n_knots))(np.arange(n_pulses)), minimum, maximum)


def free(n_pulses: int, minimum: float, maximum: float, maximum_change: float | None = None) -> Curve:
    """Return one value for each pulse.

    With `maximum_change`, the parameters are the first value and the steps from pulse to pulse, so that no
    step can exceed it.
    """
    require_count("n_pulses", n_pulses)
    if maximum_change is None:
        return _bounded(np.eye(n_pulses), minimum, maximum)
    change = real_number("maximum_change", maximum_change, "")
    if change <= 0:
        raise ValueError(
            f"maximum_change={change:.6g} must be positive; use spline(n_pulses, 1, ...) instead"
        )
    curve = _bounded(np.tril(np.ones((n_pulses, n_pulses))), minimum, maximum)
    curve.lower[1:], curve.upper[1:] = -change, change
    return replace(curve, steps=True)


def constant(n_pulses: int, minimum: float, maximum: float) -> Curve:
    """Return one value for all pulses."""
    return spline(n_pulses, 1, minimum, maximum)


def _bounded(basis: RealArray, minimum: float, maximum: float) -> Curve:
    low, high = real_number("minimum", minimum, ""), real_number("maximum", maximum, "")
    if not low < high:
        raise ValueError(f"minimum={low:.6g} must be below maximum={high:.6g}; leave out what does not vary")
    n = basis.shape[1]
    return Curve(np.ascontiguousarray(basis), np.full(n, low), np.full(n, high), low, high)


@dataclass(frozen=True, eq=False)
class Parametrization:
    """A sequence some of whose values are curves.

    All parameters together are the vector u, in units of their bounds: 0 is the lower one, 1 the upper one.

    Parameters
    ----------
    sequence : Sequence
        What does not vary.
    curves : dict of str to Curve
        What varies: "flip_angle", "phase" [rad], "tr", "te" [s] with a value for each pulse,
        "inversion_time" [s] with one.

    Raises
    ------
    ValueError
        If a name is none of these, a curve does not have a value for each pulse, there is nothing to vary, or
        the sequence cannot be played out with some values within the bounds.
    """

    sequence: Sequence
    curves: dict[str, Curve]

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError(f"curves is empty; give at least one of {', '.join(FIELDS)}")
        for name, curve in self.curves.items():
            if name not in FIELDS:
                raise ValueError(f"curves: {name!r} must be one of {', '.join(FIELDS)}")
            n = 1 if name == "inversion_time" else self.sequence.n_pulses
            if curve.basis.shape[0] != n:
                raise ValueError(f"curves: {name} has {curve.basis.shape[0]} values; it must have {n}")
        if "inversion_time" in self.curves and self.sequence.inversion_time is None:
            raise ValueError("curves: inversion_time varies, but the sequence has no inversion; give it one")
        self.at_bounds("te")
        self.at_bounds(*(name for name in FIELDS if name != "te"))

    def at_bounds(self, *largest: str) -> Sequence:
        """Return the sequence with the largest values of these curves and the smallest ones of the others."""
        values: dict[str, Any] = {}
        for name, curve in self.curves.items():
            bound = curve.maximum if name in largest else curve.minimum
            values[name] = bound if name == "inversion_time" else np.full(self.sequence.n_pulses, bound)
        try:
            return replace(self.sequence, **values)
        except ValueError as error:
            raise ValueError(f"within its bounds the sequence cannot be played out: {error}") from error

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(curve.n_parameters for curve in self.curves.values())

    @property
    def flip_angle_only(self) -> bool:
        """Whether nothing but flip angles varies."""
        return set(self.curves) == {"flip_angle"}

    @property
    def slices(self) -> dict[str, slice]:
        """Where in u the parameters of each curve lie."""
        ends = np.cumsum([curve.n_parameters for curve in self.curves.values()])
        return {
            name: slice(int(end) - curve.n_parameters, int(end))
            for (name, curve), end in zip(self.curves.items(), ends, strict=True)
        }

    def parts(self, u: RealArray) -> Iterator[tuple[str, Curve, RealArray]]:
        """Yield the name, the curve and the parameters in its units, (..., n_parameters), of each part."""
        for name, part in self.slices.items():
            curve = self.curves[name]
            yield name, curve, curve.lower + u[..., part] * (curve.upper - curve.lower)

    def values(self, u: RealArray) -> dict[str, RealArray]:
        """Return the values over the pulses of everything that varies, (..., n_pulses) each."""
        return {name: curve.values(own) for name, curve, own in self.parts(u)}

    def sequence_of(self, u: ArrayLike) -> Sequence:
        """Return the sequence for the parameters u, shape (n_parameters,)."""
        values: dict[str, Any] = self.values(np.asarray(u, np.float64))
        if "inversion_time" in values:
            values["inversion_time"] = float(values["inversion_time"][0])
        return replace(self.sequence, **values)

    def pull_back(self, u: RealArray, by_value: dict[str, RealArray]) -> RealArray:
        """Turn derivatives by the values of the sequence (..., n_pulses) into those by u."""
        parts = [
            curve.pull_back(own, by_value[name]) * (curve.upper - curve.lower)
            for name, curve, own in self.parts(u)
        ]
        return np.concatenate(parts, axis=-1)

    def coarser(self) -> Parametrization:
        """Return a parametrization with fewer parameters where there are many, see `Curve.coarser`."""
        return replace(self, curves={name: curve.coarser() for name, curve in self.curves.items()})

    def parameters_of(self, sequence: Sequence) -> RealArray:
        """Return parameters u within the bounds, whose sequence comes close to the one given.

        The least-squares fit of the curves within the bounds.
        """
        parts = [curve.fitted(np.atleast_1d(getattr(sequence, name))) for name, curve in self.curves.items()]
        return np.concatenate(parts)
