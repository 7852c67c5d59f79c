"""Errors of outputs against the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Errors:
    """Errors over many signals.

    Attributes
    ----------
    mean_absolute : ndarray, shape (3,), float64
        Mean absolute error of the signal and its derivatives by ln T1 and ln T2.
    signal : float
        NRMSE of the signals: the norm of the error over the norm of the truth, over all signals and pulses.
    derivative : float
        The same for both derivatives together.
    """

    mean_absolute: NDArray[np.float64]
    signal: float
    derivative: float


class ErrorSums:
    """Sums from which `Errors` follow, collected batch by batch."""

    def __init__(self) -> None:
        self._absolute, self._squared, self._energy = np.zeros((3, 3))
        self._count = 0

    def add(self, outputs: NDArray[np.float32], targets: NDArray[np.float32]) -> None:
        """Count some signals in; both arrays have shape (..., 3)."""
        errors = (outputs - targets).reshape(-1, 3)
        truth = targets.reshape(-1, 3)
        self._absolute += np.abs(errors).sum(axis=0, dtype=np.float64)
        self._squared += np.square(errors).sum(axis=0, dtype=np.float64)
        self._energy += np.square(truth).sum(axis=0, dtype=np.float64)
        self._count += len(errors)

    def errors(self) -> Errors:
        """Return the errors over everything so far."""
        return Errors(
            self._absolute / self._count,
            float(np.sqrt(self._squared[0] / self._energy[0])),
            float(np.sqrt(self._squared[1:].sum() / self._energy[1:].sum())),
        )
