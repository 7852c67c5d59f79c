"""Errors of many signals against the engine, kept signal by signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ARRAYS = ("absolute", "squared", "energy", "lowest", "highest")


@dataclass(frozen=True, eq=False)
class SignalErrors:
    """Sums over the pulses of every signal, from which the errors of any selection of signals follow.

    Columns are the signal and its derivatives by ln T1 and ln T2.

    Attributes
    ----------
    absolute : ndarray, shape (n_signals, 3), float64
        Sums of absolute errors.
    squared : ndarray, shape (n_signals, 3), float64
        Sums of squared errors.
    energy : ndarray, shape (n_signals, 3), float64
        Sums of squares of the truth.
    lowest, highest : ndarray, shape (n_signals, 3), float64
        Least and largest value of the truth.
    n_pulses : int
        Pulses of every signal.
    """

    absolute: NDArray[np.float64]
    squared: NDArray[np.float64]
    energy: NDArray[np.float64]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    n_pulses: int

    @classmethod
    def of(cls, outputs: NDArray[Any], truth: NDArray[Any]) -> SignalErrors:
        """Return the errors of outputs; both arrays have shape (n_signals, n_pulses, 3)."""
        exact = truth.astype(np.float64)
        errors = outputs - exact
        return cls(
            np.abs(errors).sum(axis=1),
            np.square(errors).sum(axis=1),
            np.square(exact).sum(axis=1),
            exact.min(axis=1),
            exact.max(axis=1),
            truth.shape[1],
        )

    @classmethod
    def joined(cls, parts: list[SignalErrors]) -> SignalErrors:
        """Return the errors of the signals of all parts, which have equal numbers of pulses."""
        arrays: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS
        }
        return replace(parts[0], **arrays)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> SignalErrors:
        """Return the errors of some of the signals."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ARRAYS})

    @property
    def n_signals(self) -> int:
        """Number of signals."""
        return len(self.squared)

    def mean_absolute(self) -> NDArray[np.float64]:
        """Return the mean absolute errors over all signals and pulses, shape (3,)."""
        return self.absolute.mean(axis=0) / self.n_pulses

    def nrmse(self) -> tuple[float, float]:
        """Return the NRMSE of the signals and of both derivatives together.

        The root of the summed squared errors over that of the summed squared truth, over all signals and
        pulses: the root mean square error, normalised by the root mean square of what is to be found.
        """
        signal, derivative = (
            np.sqrt(self.squared[:, columns].sum() / self.energy[:, columns].sum())
            for columns in (slice(1), slice(1, 3))
        )
        return float(signal), float(derivative)

    def each_nrmse(self) -> NDArray[np.float64]:
        """Return the same for every signal alone, shape (n_signals, 2)."""
        return np.stack(
            [
                np.sqrt(self.squared[:, columns].sum(axis=1) / self.energy[:, columns].sum(axis=1))
                for columns in (slice(1), slice(1, 3))
            ],
            axis=1,
        )

    def range_nrmse(self) -> tuple[float, float]:
        """Return the root mean square errors over largest minus least value of all signals."""
        signal, derivative = (
            np.sqrt(self.squared[:, columns].mean() / self.n_pulses)
            / (self.highest[:, columns].max() - self.lowest[:, columns].min())
            for columns in (slice(1), slice(1, 3))
        )
        return float(signal), float(derivative)

    def summary(self) -> dict[str, Any]:
        """Return all of these as plain numbers, each a pair (signal, derivatives)."""
        each = self.each_nrmse()
        return {
            "signals": self.n_signals,
            "nrmse": list(self.nrmse()),
            "mean_of_signals": each.mean(axis=0).tolist(),
            "median_of_signals": np.median(each, axis=0).tolist(),
            "quantile_95": np.quantile(each, 0.95, axis=0).tolist(),
            "over_range": list(self.range_nrmse()),
        }
