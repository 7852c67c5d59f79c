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


def padded(n_atoms: int) -> NDArray[np.intp]:
    """Numbers of the atoms, the last one repeated until there is a multiple of LANES."""
    return np.minimum(np.arange(-(-n_atoms // LANES) * LANES), n_atoms - 1)


def in_blocks(values: NDArray[Any]) -> NDArray[Any]:
    """(..., n_atoms) -> (n_blocks, ..., LANES) float32."""
    n_blocks = values.shape[-1] // LANES
    blocks = values.reshape(values[..., 0].size, n_blocks, LANES).swapaxes(0, 1)
    return np.ascontiguousarray(blocks, np.float32).reshape(n_blocks, *values.shape[:-1], LANES)


def from_blocks(blocks: NDArray[Any]) -> NDArray[Any]:
    """(n_blocks, ..., LANES) -> (n_atoms, ...)."""
    by_lane = blocks.reshape(blocks.shape[0], -1, LANES).swapaxes(1, 2)
    return by_lane.reshape(-1, *blocks.shape[1:-1])


def factor_blocks(values: NDArray[Any], *, real: bool) -> NDArray[np.float32]:
    """Complex (..., n_atoms) -> (n_blocks, ..., LANES) or, unless real, (n_blocks, ..., 2, LANES)."""
    parts = values.real if real else np.stack([values.real, values.imag], axis=-2)
    return in_blocks(parts)


def from_factor_blocks(blocks: NDArray[np.float32], *, real: bool) -> NDArray[Any]:
    """Do the reverse: (n_atoms, ...), complex unless real."""
    if real:
        return from_blocks(blocks)
    return from_blocks(blocks[..., 0, :]) + 1j * from_blocks(blocks[..., 1, :])


def by_atom(values: NDArray[Any], dtype: type) -> NDArray[Any]:
    """(..., n_atoms) -> (n_atoms, ...)."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 0), dtype)


def b1_set(wrt: tuple[str, ...]) -> int:
    """Return the set of the derivative by B1, or -1."""
    return 1 + wrt.index("b1") if "b1" in wrt else -1


def _rows(
    flip_angle: NDArray[np.float64], i_train: NDArray[np.intp], b1: NDArray[np.float64], wrt: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.float32]]:
    """Flip angles x B1, (n_rows, n_pulses), which row each atom has, and their derivatives by B1.

    Neighbours of equal train and B1 share a row. There are no derivatives where nobody needs them.
    """
    first = np.ones(b1.size, bool)
    first[1:] = (i_train[1:] != i_train[:-1]) | (b1[1:] != b1[:-1])
    trains = flip_angle[i_train[first]]
    rate = trains if "b1" in wrt else trains[:0]
    return b1[first, np.newaxis] * trains, np.cumsum(first) - 1, rate.astype(np.float32)


def instantaneous(
    sequence: Sequence,
    intervals: Intervals,
    wrt: tuple[str, ...],
    flip_angle: NDArray[np.float64],
    i_train: NDArray[np.intp],
    tissue: Tissue,
    *,
    real: bool,
) -> tuple[Any, ...]:
    """Arguments of `real_states.simulate` or `instantaneous.simulate` up to z_start.

    The trains (n_trains, n_pulses) take the place of that of the sequence; i_train : (n_atoms,) which.
    """
    angle, i_row, rate = _rows(flip_angle, i_train, tissue.b1, wrt)
    return (
        np.cos(angle).astype(np.float32),
        np.sin(angle).astype(np.float32),
        i_row.reshape(-1, LANES),
        rate,
        b1_set(wrt),
        intervals.turn.real.copy() if real else intervals.turn,
        sequence.dephasing,
        in_blocks(intervals.recovery(tissue, wrt)),
        factor_blocks(intervals.decay(tissue, intervals.tr, wrt), real=real),
        factor_blocks(intervals.decay(tissue, intervals.te, wrt), real=real),
        intervals.i_tr,
        intervals.i_te,
        in_blocks(intervals.diffusion(tissue, sequence.spoiler_moment)),
        intervals.i_kind,
        in_blocks(intervals.start(tissue, wrt)),
    )


def selective(
    sequence: Sequence,
    intervals: Intervals,
    wrt: tuple[str, ...],
    flip_angle: NDArray[np.float64],
    i_train: NDArray[np.intp],
    tissue: Tissue,
    table: operators.OperatorTable,
) -> tuple[Any, ...]:
    """Arguments of `selective.simulate` up to z_start; trains as in `instantaneous`."""
    position, i_row, rate = _rows(flip_angle / table.angle_step, i_train, tissue.b1, wrt)
    return (
        position,
        i_row,
        rate,
        b1_set(wrt),
        table.operators,
        table.weights(tissue, wrt),
        table.sampling.weight,
        intervals.turn,
        sequence.dephasing,
        by_atom(intervals.recovery(tissue, wrt), np.float32),
        by_atom(intervals.decay(tissue, intervals.tr, wrt), np.complex64),
        by_atom(intervals.decay(tissue, intervals.te, wrt), np.complex64),
        intervals.i_tr,
        intervals.i_te,
        by_atom(intervals.diffusion(tissue, sequence.spoiler_moment), np.float32),
        intervals.i_kind,
        by_atom(intervals.start(tissue, wrt), np.float32),
    )
