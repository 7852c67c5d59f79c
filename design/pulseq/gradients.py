"""Gradient shapes of least duration on a raster. Amplitudes in Hz/m, areas in 1/m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_banded

_ROUNDING = 1e-9
"""Relative room for rounding errors, in raster steps."""


def steps_up(time: float, raster: float) -> int:
    """Number of raster steps that hold `time`."""
    return int(np.ceil(time / raster - 1e-6))


def round_up(time: float, raster: float) -> float:
    """Return the least multiple of `raster` that is not below `time`, as a decimal number of picoseconds."""
    return round(steps_up(time, raster) * raster, 12)


@dataclass(frozen=True)
class Trapezoid:
    """A symmetric trapezoid: ramps of `rise` and a flat top of `flat` seconds, scaled to any area."""

    rise: float
    flat: float

    @property
    def duration(self) -> float:
        """Length of the trapezoid [s]."""
        return 2 * self.rise + self.flat

    def amplitude(self, area: ArrayLike) -> NDArray[np.float64]:
        """Amplitude [Hz/m] that gives the area [1/m]."""
        return np.asarray(area, np.float64) / (self.rise + self.flat)

    def lasting(self, duration: float) -> Trapezoid:
        """Return the trapezoid with a longer flat top, `duration` in all."""
        return Trapezoid(self.rise, max(self.flat, round(duration - 2 * self.rise, 12)))


def shortest_trapezoid(area: float, max_amplitude: float, max_slew: float, raster: float) -> Trapezoid:
    """Return a trapezoid of `area` [1/m] (or triangle) within the limits, of about the least duration."""
    area = abs(area)
    n_rise = max(1, int(np.ceil(np.sqrt(area / max_slew) / raster - _ROUNDING)))
    if area <= max_amplitude * n_rise * raster:
        return Trapezoid(round(n_rise * raster, 12), 0.0)
    n_rise = ramp_steps(max_amplitude, max_slew, raster)
    n_flat = int(np.ceil(area / max_amplitude / raster - n_rise - _ROUNDING))
    return Trapezoid(round(n_rise * raster, 12), round(n_flat * raster, 12))


def gentlest_trapezoid(
    area: float, n_steps: int, max_amplitude: float, max_slew: float, raster: float
) -> tuple[Trapezoid, float]:
    """Return the trapezoid of `area` [1/m] in `n_steps` raster steps that stays farthest below the limits.

    Also returned is the largest part of a limit that it takes: above 1, it cannot be played.
    """
    if n_steps < 2:
        return Trapezoid(raster, 0.0), np.inf
    rise = raster * np.arange(1, n_steps // 2 + 1)
    amplitude = abs(area) / (n_steps * raster - rise)
    part = np.maximum(amplitude / max_amplitude, amplitude / rise / max_slew)
    i = int(np.argmin(part))
    return Trapezoid(round(rise[i], 12), round(n_steps * raster - 2 * rise[i], 12)), float(part[i])


def least_steps(area: float, max_amplitude: float, max_slew: float, raster: float) -> int:
    """Least number of raster steps that hold a trapezoid of `area` [1/m]."""
    n_steps = round(shortest_trapezoid(area, max_amplitude, max_slew, raster).duration / raster)
    while gentlest_trapezoid(area, n_steps - 1, max_amplitude, max_slew, raster)[1] <= 1 + _ROUNDING:
        n_steps -= 1
    return n_steps


def ramp_steps(amplitude: float, max_slew: float, raster: float) -> int:
    """Number of raster steps of a ramp to `amplitude`, at least 1."""
    return max(1, int(np.ceil(abs(amplitude) / max_slew / raster - _ROUNDING)))


@dataclass(frozen=True)
class Waveforms:
    """Gradients through given positions, sampled in the middle of raster steps, zero at both ends.

    Between samples, and from the zeros at the ends to the first and last one, gradients are linear: this is
    how Pulseq defines sampled gradients.

    Parameters
    ----------
    samples : ndarray, shape (n_readouts, n_steps, n_axes), float64
        Amplitudes [Hz/m].
    before, area : ndarray, shape (n_readouts, n_axes), float64
        Area [1/m] from the start to the first position, and of the whole.
    slew : float
        Largest slew rate, of all axes together [Hz/m/s].
    deviation : float
        Largest distance between played and requested positions [1/m].
    """

    samples: NDArray[np.float64]
    before: NDArray[np.float64]
    area: NDArray[np.float64]
    slew: float
    deviation: float


def end_gradients(positions: NDArray[np.float64], dwell: float) -> NDArray[np.float64]:
    """Gradients [Hz/m] at the first and the last position, shape (2, n_readouts, n_axes)."""
    spline = CubicSpline(dwell * np.arange(positions.shape[1]), positions, axis=1)
    return np.stack([spline(spline.x[i], 1) for i in (0, -1)])


def waveforms_through(
    positions: NDArray[np.float64],
    dwell: float,
    start: float,
    *,
    n_steps: int,
    n_ramps: tuple[int, int],
    raster: float,
) -> Waveforms:
    """Return the gradients through `positions`, which lie `dwell` apart in time, the first one at `start`.

    A cubic spline through the positions gives the wanted gradient; before and after, it stays constant but
    for ramps of `n_ramps` raster steps at the start and at the end of all `n_steps`. The samples give the
    areas of all raster steps exactly: those are (g[i-1] + 6 g[i] + g[i+1]) / 8 of a step, a tridiagonal
    system.

    Parameters
    ----------
    positions : ndarray, shape (n_readouts, n_samples, n_axes), float64
        Positions [1/m].
    dwell, start, raster : float
        Times [s].
    n_steps : int
        Duration of the waveform in raster steps.
    n_ramps : tuple of int
        Raster steps of the ramps up and down.
    """
    n_readouts, n_samples, n_axes = positions.shape
    k = positions.swapaxes(0, 1).reshape(n_samples, -1)
    times = start + dwell * np.arange(n_samples)
    spline = CubicSpline(times, k, axis=0)
    first, last = spline(times[0], 1), spline(times[-1], 1)
    up, down, end = n_ramps[0] * raster, n_ramps[1] * raster, n_steps * raster

    t = (np.arange(n_steps + 1) * raster)[:, None]
    lead = first * np.where(t < up, t**2 / (2 * up), t - up / 2)
    inside = first * (start - up / 2) + spline(np.clip(t[:, 0], times[0], times[-1])) - k[0]
    tail = last * (t - times[-1] - np.maximum(t - (end - down), 0) ** 2 / (2 * down))
    areas = np.where(t < times[0], lead, np.where(t > times[-1], inside + tail, inside))

    bands = np.empty((3, n_steps))
    bands[0], bands[1], bands[2] = 1 / 8, 6 / 8, 1 / 8
    bands[1, [0, -1]] = 5 / 8  # half a step to the zero at the end
    samples = solve_banded((1, 1), bands, np.diff(areas, axis=0) / raster)

    knots = np.concatenate([[0.0], (np.arange(n_steps) + 0.5) * raster, [end]])
    values = np.concatenate([np.zeros((1, k.shape[1])), samples, np.zeros((1, k.shape[1]))])
    played = _area(knots, values, np.append(times, end))
    return Waveforms(
        samples.reshape(n_steps, n_readouts, n_axes).swapaxes(0, 1),
        played[0].reshape(n_readouts, n_axes),
        played[-1].reshape(n_readouts, n_axes),
        _largest(np.diff(values, axis=0) / np.diff(knots)[:, None], n_axes),
        _largest(played[:-1] - played[0] - (k - k[0]), n_axes),
    )


def _largest(columns: NDArray[np.float64], n_axes: int) -> float:
    """Largest length of the vectors in neighbouring columns."""
    return float(np.linalg.norm(columns.reshape(len(columns), -1, n_axes), axis=-1).max())


def _area(
    knots: NDArray[np.float64], values: NDArray[np.float64], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Integral of piecewise linear curves from their first knot to `times`, shape (n_times, n_curves)."""
    widths = np.diff(knots)[:, None]
    sums = np.concatenate(
        [np.zeros((1, values.shape[1])), np.cumsum((values[1:] + values[:-1]) / 2 * widths, 0)]
    )
    index = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(knots) - 2)
    past = (times - knots[index])[:, None]
    slopes = np.diff(values, axis=0) / widths
    return sums[index] + values[index] * past + slopes[index] * past**2 / 2
