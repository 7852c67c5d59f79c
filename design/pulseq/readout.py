"""A readout: the k-space positions that each acquisition samples, and when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from epgbloch._checks import positive_number, require, require_count

_STRAIGHT = 1e-3
"""Largest deviation from a straight line of equal steps that counts as rounding, in pixels of k-space."""
_SAME_SAMPLE = 1e-2
"""Largest difference between the centre crossings of the readouts, in samples."""


@dataclass(frozen=True, eq=False)
class Readout:
    """The trajectory of every acquisition, in the conventions of the project, and its dwell time.

    Pulse i plays readout i modulo n_readouts. Straight lines in equal steps (spokes, Cartesian lines) become
    trapezoids, whatever else (spirals) sampled gradients.

    Parameters
    ----------
    trajectory : array_like, shape (n_readouts, n_samples, 2), float64
        Components (kx, ky) [cycles per pixel].
    matrix : tuple of int
        Image size (ny, nx).
    fov : float or tuple of float
        Field of view [m], of both directions or (y, x). Pixels are fov / matrix.
    dwell : float
        Time between samples [s].

    Raises
    ------
    ValueError
        If the trajectory has another shape, is not finite, misses the centre of k-space or crosses it at
        another sample in some readouts, or if another value is not positive.
    """

    trajectory: NDArray[np.float64]
    matrix: tuple[int, int]
    fov: tuple[float, float]
    dwell: float

    def __post_init__(self) -> None:
        trajectory = np.array(self.trajectory, dtype=np.float64)
        if (
            trajectory.ndim != 3
            or trajectory.shape[-1] != 2
            or 0 in trajectory.shape
            or trajectory.shape[1] < 2
        ):
            raise ValueError(
                "trajectory must have shape (n_readouts, n_samples, 2) with at least 2 samples; "
                f"got {trajectory.shape}"
            )
        if not np.isfinite(trajectory).all():
            raise ValueError("trajectory must be finite; it holds NaN or infinity")
        trajectory.setflags(write=False)
        object.__setattr__(self, "trajectory", trajectory)
        matrix = tuple(np.atleast_1d(self.matrix).tolist())
        if len(matrix) != 2:
            raise ValueError(f"matrix={self.matrix!r} must be (ny, nx)")
        for i_axis, count in enumerate(matrix):
            require_count(f"matrix[{i_axis}]", count)
        object.__setattr__(self, "matrix", matrix)
        fov = np.atleast_1d(np.asarray(self.fov, np.float64))
        if fov.size not in (1, 2):
            raise ValueError(f"fov={self.fov!r} must be one length or (y, x) [m]")
        require("fov", fov, np.isfinite(fov) & (fov > 0), "positive", "give it in metres")
        object.__setattr__(self, "fov", (float(fov[0]), float(fov[-1])))
        object.__setattr__(self, "dwell", positive_number("dwell", self.dwell, "seconds"))
        self._check_centre()

    def _check_centre(self) -> None:
        crossings = self._crossings()
        missed = np.flatnonzero(np.isnan(crossings))
        if missed.size:
            raise ValueError(
                f"readout {missed[0]} does not pass the centre of k-space, so that it has no echo time; "
                "give trajectories through (or, phase-encoded, past) k = 0"
            )
        other = np.flatnonzero(np.abs(crossings - crossings[0]) > _SAME_SAMPLE)
        if other.size:
            raise ValueError(
                f"readout {other[0]} passes the centre of k-space at sample {crossings[other[0]]:.6g}, "
                f"readout 0 at {crossings[0]:.6g}; all must have the same echo time"
            )

    def _crossings(self) -> NDArray[np.float64]:
        """Sample, whole or between two, at which each readout is nearest to k = 0; NaN where none is."""
        k = self.positions
        n_samples = k.shape[1]
        if self.is_straight:
            step = (k[:, -1] - k[:, 0]) / (n_samples - 1)
            crossing = -(k[:, 0] * step).sum(-1) / (step**2).sum(-1)
            return np.where((crossing >= -1) & (crossing <= n_samples), crossing, np.nan)
        distance = np.linalg.norm(k, axis=-1)
        nearest = distance.argmin(axis=1)
        return np.where(distance.min(axis=1) <= 1 / min(self.fov), nearest, np.nan)

    @property
    def n_readouts(self) -> int:
        """Number of readouts, after which pulses begin again with the first."""
        return self.trajectory.shape[0]

    @property
    def n_samples(self) -> int:
        """Number of samples of a readout."""
        return self.trajectory.shape[1]

    @cached_property
    def positions(self) -> NDArray[np.float64]:
        """Positions [1/m], shape (n_readouts, n_samples, 2)."""
        (ny, nx), (y, x) = self.matrix, self.fov
        return self.trajectory * np.array([nx / x, ny / y])

    @cached_property
    def step(self) -> float:
        """Distance between neighbouring points of the k-space of an image [1/m], the smaller of both axes."""
        return 1 / max(self.fov)

    @cached_property
    def is_straight(self) -> bool:
        """Whether every readout runs along a line with constant speed."""
        pixels = self.trajectory * np.array([self.matrix[1], self.matrix[0]])
        share = np.linspace(0, 1, self.n_samples)[:, None]
        line = pixels[:, :1] + share * (pixels[:, -1:] - pixels[:, :1])
        length = np.linalg.norm(pixels[:, -1] - pixels[:, 0], axis=-1)
        return bool(length.min() > 0 and np.abs(pixels - line).max() <= _STRAIGHT)

    @cached_property
    def echo_sample(self) -> float:
        """Sample at k = 0, counted from 0, whole or between two."""
        crossing = float(self._crossings()[0])
        whole = round(crossing)
        return float(whole) if abs(crossing - whole) <= _SAME_SAMPLE else crossing

    @cached_property
    def straight_gradients(self) -> NDArray[np.float64]:
        """Gradients (x, y) of straight readouts [Hz/m], shape (n_readouts, 2)."""
        k = self.positions
        return (k[:, -1] - k[:, 0]) / ((self.n_samples - 1) * self.dwell)
