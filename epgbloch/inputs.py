"""Arguments of the kernels for a sequence and some atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import operators
from epgbloch.intervals import Intervals
from epgbloch.kernels.layout import LANES
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue


def padded(tissue: Tissue) -> Tissue:
    """Repeat the last atom until the number is a multiple of LANES."""
    return tissue[np.minimum(np.arange(-(-tissue.n_atoms // LANES) * LANES), tissue.n_atoms - 1)]


def in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """(..., n_atoms) -> (n_blocks, ..., LANES)."""
    split = values.reshape(*values.shape[:-1], -1, LANES)
    return np.ascontiguousarray(np.moveaxis(split, -2, 0))


def by_atom(values: NDArray[Any]) -> NDArray[Any]:
    """(..., n_atoms) -> (n_atoms, ...)."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


def rates(values: NDArray[np.float64], wrt: tuple[str, ...]) -> NDArray[np.float32]:
    """Derivatives of flip angle x B1 (in any unit), shape (n_sets, n_pulses), from those by B1."""
    rows = [np.zeros_like(values), *(values if name == "b1" else np.zeros_like(values) for name in wrt)]
    return np.stack(rows).astype(np.float32)


def instantaneous(
    sequence: Sequence, intervals: Intervals, wrt: tuple[str, ...], tissue: Tissue, *, real: bool
) -> tuple[Any, ...]:
    """Arguments of `real_states.simulate` or `instantaneous.simulate` up to z_start."""
    b1, i_b1 = np.unique(tissue.b1, return_inverse=True)
    angle = np.multiply.outer(sequence.flip_angle, b1)
    turn: NDArray[Any] = intervals.turn
    e2: NDArray[Any] = intervals.decay(tissue, intervals.tr, wrt)
    e2_echo: NDArray[Any] = intervals.decay(tissue, intervals.te, wrt)
    if real:
        turn, e2, e2_echo = turn.real.copy(), e2.real, e2_echo.real
    return (
        in_blocks(np.cos(angle).astype(np.float32)[:, i_b1]),
        in_blocks(np.sin(angle).astype(np.float32)[:, i_b1]),
        rates(sequence.flip_angle, wrt),
        turn,
        sequence.spoiling != "balanced",
        in_blocks(intervals.recovery(tissue, wrt)),
        in_blocks(e2),
        in_blocks(e2_echo),
        intervals.i_tr,
        intervals.i_te,
        in_blocks(intervals.start(tissue, wrt)),
    )


def selective(
    sequence: Sequence,
    intervals: Intervals,
    wrt: tuple[str, ...],
    tissue: Tissue,
    table: operators.OperatorTable,
) -> tuple[Any, ...]:
    """Arguments of `selective.simulate` up to z_start."""
    flip_angle = sequence.flip_angle / table.angle_step
    return (
        np.multiply.outer(tissue.b1, flip_angle),
        rates(flip_angle, wrt),
        table.operators,
        table.weights(tissue, wrt),
        table.sampling.weight,
        intervals.turn,
        sequence.spoiling != "balanced",
        by_atom(intervals.recovery(tissue, wrt)),
        by_atom(intervals.decay(tissue, intervals.tr, wrt)),
        by_atom(intervals.decay(tissue, intervals.te, wrt)),
        intervals.i_tr,
        intervals.i_te,
        by_atom(intervals.start(tissue, wrt)),
    )
