"""What an optimisation tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from design.mrzero.checkpoint import Arrays


@dataclass(frozen=True, eq=False)
class Iteration:
    """What a callback sees of an iteration.

    Attributes
    ----------
    index, n_iterations : int
        Place among all iterations, restarts included, and their number.
    restart, phase : int
        Restarts before it, and place of its phase.
    loss : float
        The loss.
    metrics : dict of str to float
        What the loss reported beside it.
    values : dict of str to ndarray
        The variables that the loss is of.
    seconds : float
        Time of the iteration [s], step included.
    """

    index: int
    n_iterations: int
    restart: int
    phase: int
    loss: float
    metrics: dict[str, float]
    values: Arrays
    seconds: float


@dataclass(frozen=True, eq=False)
class Optimised:
    """What `optimise` found.

    Attributes
    ----------
    values : dict of str to ndarray, float32
        The variables of the least loss or, with data, after the last step.
    loss : float
        Their loss; with data, that of the last batch, before the last step.
    losses : ndarray, shape (n_iterations,), float64
        Loss of every iteration, restarts included.
    metrics : dict of str to ndarray, shape (n_iterations,), float64
        Likewise; NaN where a loss did not report them.
    seconds : ndarray, shape (n_iterations,), float64
        Time of every iteration [s].
    recorded_iterations : ndarray, shape (n_recorded,), int64
        Which iterations were recorded.
    recorded : dict of str to ndarray, shape (n_recorded, ...), float32
        The variables before their steps.
    """

    values: Arrays
    loss: float
    losses: NDArray[np.float64]
    metrics: dict[str, NDArray[np.float64]]
    seconds: NDArray[np.float64]
    recorded_iterations: NDArray[np.int64]
    recorded: Arrays


class DivergenceError(ValueError):
    """A loss or gradient that is not finite; the message says where, by which variable, and the remedy.

    Parameters
    ----------
    message : str
        The whole message.
    variables : tuple of str
        The variables at fault, as far as can be told.
    iteration : int
        Where it happened.
    best : dict of str to ndarray
        The variables of the least loss before; empty at the first iteration, and with data.
    """

    def __init__(self, message: str, *, variables: tuple[str, ...], iteration: int, best: Arrays) -> None:
        super().__init__(message)
        self.variables, self.iteration, self.best = variables, iteration, best
