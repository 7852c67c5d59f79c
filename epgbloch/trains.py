"""The five families of flip-angle trains of Liu et al. (NMR Biomed 2021, e4527), appendix B.

Pulses are counted n = 1 ... n_pulses, as in the paper. Angles are in radians. Every random train is
limited to 0 ... `maximum`. The paper states this limit, 120 degrees, but not how its trains are brought
within it; here spline overshoot and noise are cut.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from epgbloch._checks import positive_number, real_vector, require_count

MAXIMUM = np.deg2rad(120.0)
"""Largest flip angle of the published trains [rad]."""
NOISE_SD = np.deg2rad(np.sqrt(10.0))
"""Standard deviation of SplineNoise11: the variance is 10 square degrees [rad]."""
MINIMUM_SEGMENT = 20
"""Shortest segment of PieceConstant5 in pulses."""


def spline(n_pulses: int, angles: ArrayLike) -> NDArray[np.float64]:
    """Return the cubic spline through (0, 0) and (floor(i n_pulses / m), angles[i-1]), i = 1 ... m.

    The slope is zero at both ends. The curve may overshoot its points; nothing is cut here.

    Parameters
    ----------
    n_pulses : int
        Length of the train, at least the number of angles.
    angles : array_like, shape (m,), float64
        Control points [rad].

    Returns
    -------
    ndarray, shape (n_pulses,), float64
        Flip angles [rad].

    Raises
    ------
    ValueError
        If `angles` are not finite numbers or outnumber the pulses.
    """
    require_count("n_pulses", n_pulses)
    points = real_vector("angles", angles, "radians")
    if n_pulses < points.size:
        raise ValueError(
            f"n_pulses={n_pulses} is less than the {points.size} control points; use fewer points"
        )
    knots = np.concatenate(([0], np.arange(1, points.size + 1) * n_pulses // points.size))
    curve = CubicSpline(knots, np.concatenate(([0.0], points)), bc_type="clamped")
    return curve(np.arange(1, n_pulses + 1))


def sin_squared(n_pulses: int, angles: ArrayLike) -> NDArray[np.float64]:
    """Return m lobes angles[i] sin^2, each floor(n_pulses / m) pulses long, shape (n_pulses,) [rad].

    Where m does not divide `n_pulses`, the remaining pulses begin another lobe with the last angle.

    Raises
    ------
    ValueError
        If `angles` are not finite numbers, or a lobe would have less than 2 pulses (one pulse is zero).
    """
    require_count("n_pulses", n_pulses)
    peaks = real_vector("angles", angles, "radians")
    if n_pulses < 2 * peaks.size:
        raise ValueError(
            f"n_pulses={n_pulses} is less than 2 for each of {peaks.size} lobes; use fewer lobes"
        )
    length = n_pulses // peaks.size
    n = np.arange(1, n_pulses + 1)
    lobe = np.minimum((n - 1) // length, peaks.size - 1)
    return peaks[lobe] * np.sin(np.pi * np.mod(n, length) / (n_pulses / peaks.size)) ** 2


def piecewise_constant(n_pulses: int, angles: ArrayLike, edges: ArrayLike) -> NDArray[np.float64]:
    """Return constant segments: angles[i] for n in (edges[i-1], edges[i]], shape (n_pulses,) [rad].

    `edges` are the m - 1 inner edges, ascending; the first segment starts at pulse 1, the last ends at
    `n_pulses`. (The paper opens its first segment after pulse 1 and leaves that pulse without an angle.)

    Raises
    ------
    ValueError
        If `angles` are not finite numbers, or `edges` not m - 1 ascending integers from 1 to n_pulses - 1.
    """
    require_count("n_pulses", n_pulses)
    levels = real_vector("angles", angles, "radians")
    inner = np.asarray(edges)
    if inner.size and inner.dtype.kind not in "iu":
        raise ValueError(f"edges={edges!r} must be integers: the last pulse of each segment but the last")
    if inner.shape != (levels.size - 1,) or np.any(np.diff(np.concatenate(([0], inner, [n_pulses]))) <= 0):
        raise ValueError(
            f"edges={inner.tolist()} must be {levels.size - 1} ascending pulse numbers "
            f"between 1 and {n_pulses - 1}"
        )
    return levels[np.searchsorted(inner, np.arange(1, n_pulses + 1))]


def _draw(n_angles: int, rng: np.random.Generator, maximum: float) -> NDArray[np.float64]:
    return rng.uniform(0, positive_number("maximum", maximum, "radians"), n_angles)


def _limited(train: NDArray[np.float64], maximum: float) -> NDArray[np.float64]:
    return np.clip(train, 0.0, maximum)


def spline5(n_pulses: int, rng: np.random.Generator, maximum: float = MAXIMUM) -> NDArray[np.float64]:
    """Return a random Spline5 train: 5 control points, uniform in 0 to `maximum`."""
    return _limited(spline(n_pulses, _draw(5, rng, maximum)), maximum)


def spline11(n_pulses: int, rng: np.random.Generator, maximum: float = MAXIMUM) -> NDArray[np.float64]:
    """Return a random Spline11 train: 11 control points, uniform in 0 to `maximum`."""
    return _limited(spline(n_pulses, _draw(11, rng, maximum)), maximum)


def sin_squared5(n_pulses: int, rng: np.random.Generator, maximum: float = MAXIMUM) -> NDArray[np.float64]:
    """Return a random SinSquared5 train: 5 lobes with peaks uniform in 0 to `maximum`."""
    return sin_squared(n_pulses, _draw(5, rng, maximum))


def spline_noise11(n_pulses: int, rng: np.random.Generator, maximum: float = MAXIMUM) -> NDArray[np.float64]:
    """Return a random SplineNoise11 train: Spline11 plus Gaussian noise of variance 10 square degrees."""
    train = spline(n_pulses, _draw(11, rng, maximum)) + rng.normal(0, NOISE_SD, n_pulses)
    return _limited(train, maximum)


def piece_constant5(n_pulses: int, rng: np.random.Generator, maximum: float = MAXIMUM) -> NDArray[np.float64]:
    """Return a random PieceConstant5 train: 5 levels; segments of at least 20 pulses.

    The edges are uniform over all allowed sets: the obligatory gaps are taken out, the rest is drawn.
    """
    require_count("n_pulses", n_pulses)
    slack = n_pulses - 1 - 5 * MINIMUM_SEGMENT
    if slack < 0:
        raise ValueError(f"n_pulses={n_pulses} must be at least {5 * MINIMUM_SEGMENT + 1} for 5 segments")
    gaps = np.sort(rng.choice(slack + 4, 4, replace=False)) - np.arange(4)
    edges = 1 + MINIMUM_SEGMENT * np.arange(1, 5) + gaps
    return piecewise_constant(n_pulses, _draw(5, rng, maximum), edges)


TRAINS: dict[str, Callable[..., NDArray[np.float64]]] = {
    "spline5": spline5,
    "spline11": spline11,
    "sin_squared5": sin_squared5,
    "spline_noise11": spline_noise11,
    "piece_constant5": piece_constant5,
}
"""Random families by name: function(n_pulses, rng, maximum)."""
