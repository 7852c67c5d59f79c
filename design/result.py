"""A finished design, and how a long search remembers its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import Sequence

Arrays = dict[str, NDArray[Any]]
Remember = Callable[[str, Callable[[], Arrays]], Arrays]
"""Called as remember(name, compute): the arrays under that name, from an earlier run or computed now."""
Progress = Callable[[int, int], None]
"""Called as progress(steps done, steps at most)."""


@dataclass(frozen=True, eq=False)
class Design:
    """What an optimiser found.

    Attributes
    ----------
    sequence : Sequence
        The best sequence.
    parameters : ndarray, shape (n_parameters,), float64
        Its parameters u, see `Parametrization`.
    value : float
        Its criterion, by the model that was optimised with.
    history : ndarray, shape (n_steps, 2), float64
        Signals evaluated up to each step, with their derivatives, and the best value so far; from the first
        one that is finite and keeps to the limits.
    converged : bool
        Whether the optimiser ended because it could not improve the value, and not at a limit of its steps.
    message : str
        Why the optimiser ended.
    """

    sequence: Sequence
    parameters: NDArray[np.float64]
    value: float
    history: NDArray[np.float64]
    converged: bool
    message: str

    @property
    def n_signals(self) -> int:
        """Signals evaluated in all, with their derivatives."""
        return int(self.history[-1, 0])


def forget(name: str, compute: Callable[[], Arrays]) -> Arrays:
    """Compute; the `Remember` of searches that keep nothing."""
    return compute()


def require_finite(value: float) -> None:
    """Raise a ValueError where no sequence determined the parameters."""
    if not np.isfinite(value):
        raise ValueError(
            "the criterion is infinite for every sequence tried: signals do not determine the parameters; "
            "use more pulses, wider bounds, or fewer parameters"
        )


def joined_histories(histories: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return one history of searches that followed each other, each of which counts its own signals."""
    rows: list[tuple[float, float]] = []
    before, best = 0.0, np.inf
    for history in histories:
        for signals, value in history:
            best = min(best, float(value))
            if np.isfinite(best):
                rows.append((before + float(signals), best))
        before += float(history[-1, 0])
    return np.array(rows)
