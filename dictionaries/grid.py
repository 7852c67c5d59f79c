"""Grids of tissue parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import Tissue
from epgbloch._checks import real_vector, require


def log_axis(start: float, stop: float, n: int) -> NDArray[np.float64]:
    """Return `n` values from `start` to `stop`, both included, at equal ratios.

    Parameters
    ----------
    start, stop : float
        Ends of the axis, 0 < start < stop, in the unit of the axis.
    n : int
        Number of values, at least 2.

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    ValueError
        If the ends are not positive, finite and ascending, or `n` is less than 2.
    """
    _check_axis_arguments(start, stop, n)
    if start <= 0:
        raise ValueError(f"start={start} must be positive on a logarithmic axis; use linear_axis")
    return np.geomspace(start, stop, n)


def linear_axis(start: float, stop: float, n: int) -> NDArray[np.float64]:
    """Return `n` values from `start` to `stop`, both included, at equal steps.

    Parameters
    ----------
    start, stop : float
        Ends of the axis, start < stop, in the unit of the axis.
    n : int
        Number of values, at least 2.

    Returns
    -------
    ndarray, shape (n,), float64

    Raises
    ------
    ValueError
        If the ends are not finite and ascending, or `n` is less than 2.
    """
    _check_axis_arguments(start, stop, n)
    return np.linspace(start, stop, n)


def _check_axis_arguments(start: float, stop: float, n: int) -> None:
    if not (np.isfinite(start) and np.isfinite(stop) and start < stop):
        raise ValueError(f"start={start} must be less than stop={stop}, both finite; swap or correct them")
    if not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"n={n} must be an integer of at least 2; give a single value as a plain number")


@dataclass(frozen=True, eq=False)
class Grid:
    """All combinations of the values on four axes, without those in which T2 exceeds T1.

    Combinations are in C order: `t1` varies slowest, then `t2`, `b1`, and `off_resonance` fastest.
    Combinations with T2 > T1 are physically impossible and are left out.

    Parameters
    ----------
    t1, t2 : array_like, shape (n,), float64
        Relaxation times [s], > 0, ascending without repetition. A number is an axis of one value.
    b1 : array_like, shape (n,), float64
        Transmit field relative to nominal, > 0, ascending without repetition.
    off_resonance : array_like, shape (n,), float64
        Off-resonance frequency [Hz], ascending without repetition.

    Raises
    ------
    ValueError
        If an axis is not numeric, finite and ascending, a value other than of `off_resonance` is not
        positive, or no combination with T2 <= T1 is left.
    """

    t1: NDArray[np.float64]
    t2: NDArray[np.float64]
    b1: NDArray[np.float64]
    off_resonance: NDArray[np.float64]

    def __init__(
        self, t1: ArrayLike, t2: ArrayLike, b1: ArrayLike = 1.0, off_resonance: ArrayLike = 0.0
    ) -> None:
        values = {"t1": (t1, "s"), "t2": (t2, "s"), "b1": (b1, ""), "off_resonance": (off_resonance, "Hz")}
        for name, (value, unit) in values.items():
            axis = real_vector(name, value, unit).copy()
            if name != "off_resonance":
                require(name, axis, axis > 0, "positive", "leave it out of the axis")
            bad = np.flatnonzero(np.diff(axis) <= 0)
            if bad.size:
                i = bad[0]
                raise ValueError(
                    f"{name}[{i + 1}]={axis[i + 1]:.6g} must be greater than {name}[{i}]={axis[i]:.6g}; "
                    "sort the axis and remove repeated values"
                )
            axis.setflags(write=False)
            object.__setattr__(self, name, axis)
        if self.t2[0] > self.t1[-1]:
            raise ValueError(
                f"t2 starts at {self.t2[0]:.6g} s, above the largest t1={self.t1[-1]:.6g} s: no combination "
                "with T2 <= T1 is left; lower t2, raise t1, or check whether they are swapped"
            )

    @cached_property
    def tissue(self) -> Tissue:
        """Tissue of every combination, `n_atoms` atoms in the order of the grid."""
        return self[:]

    def __getitem__(self, index: slice | NDArray[np.intp]) -> Tissue:
        """Return the tissue of some combinations; the others need no memory."""
        numbers = np.arange(*index.indices(self.n_atoms)) if isinstance(index, slice) else np.asarray(index)
        numbers, i_off_resonance = np.divmod(numbers, self.off_resonance.size)
        numbers, i_b1 = np.divmod(numbers, self.b1.size)
        i_t1, i_t2 = self._pairs
        return Tissue(
            self.t1[i_t1[numbers]],
            self.t2[i_t2[numbers]],
            self.b1[i_b1],
            self.off_resonance[i_off_resonance],
        )

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.intp], ...]:
        """Numbers of T1 and T2 of the possible pairs."""
        return np.nonzero(self.t2 <= self.t1[:, np.newaxis])

    @property
    def n_atoms(self) -> int:
        """Number of combinations with T2 <= T1."""
        return self._pairs[0].size * self.b1.size * self.off_resonance.size

    def to_dict(self) -> dict[str, list[float]]:
        """Return the axes as lists; `Grid(**grid.to_dict())` is the same grid."""
        return {name: getattr(self, name).tolist() for name in ("t1", "t2", "b1", "off_resonance")}
