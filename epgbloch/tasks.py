"""One piece of work of the engine: atoms that share a kernel and a number of states."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import inputs, operators
from epgbloch.intervals import Intervals
from epgbloch.kernels import (
    instantaneous,
    instantaneous_adjoint,
    real_adjoint,
    real_states,
    selective,
    selective_adjoint,
)
from epgbloch.kernels.layout import LANES
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

RealArray = NDArray[np.float64]
TableOf = Callable[[Tissue], operators.OperatorTable]
"""Gives the RF operators for some atoms."""


_local = threading.local()


def _scratch(size: int) -> NDArray[np.float32]:
    """Return memory of this thread: fresh pages of a megabyte cost as much as a short gradient."""
    memory: NDArray[np.float32] | None = getattr(_local, "memory", None)
    if memory is None or memory.size < size:
        memory = _local.memory = np.empty(size, np.float32)
    return memory


@dataclass(frozen=True, eq=False)
class SequenceGradient:
    """Derivatives of a real scalar by the parameters of a sequence.

    Attributes
    ----------
    flip_angle, phase : ndarray, shape (n_pulses,), float64
        By the flip angles and by the RF phases [1/rad].
    tr, te : ndarray, shape (n_pulses,), float64
        By TR and TE of each pulse [1/s]. For a common TR or TE, sum them.
    inversion_time : float
        By the inversion time [1/s]; 0 without inversion.
    """

    flip_angle: RealArray
    phase: RealArray
    tr: RealArray
    te: RealArray
    inversion_time: float

    def __add__(self, other: SequenceGradient) -> SequenceGradient:
        return SequenceGradient(
            self.flip_angle + other.flip_angle,
            self.phase + other.phase,
            self.tr + other.tr,
            self.te + other.te,
            self.inversion_time + other.inversion_time,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """Simulation of some atoms, and its adjoint.

    Attributes
    ----------
    sequence : Sequence
        The sequence.
    flip_angle : ndarray, shape (n_trains, n_pulses), float64
        Trains that take the place of that of the sequence [rad].
    intervals : Intervals
        Those of the sequence.
    wrt : tuple of str
        Tissue parameters of the derivatives.
    atoms : ndarray, shape (n_atoms,), int
        Their numbers among all atoms.
    i_train : ndarray, shape (n_atoms,), int
        Train of each.
    tissue : Tissue
        The atoms.
    n_states : int
        Configuration orders.
    real : bool
        Whether signals and derivatives are real.
    table_of : callable or None
        Gives the RF operators; None: instantaneous pulses.
    """

    sequence: Sequence
    flip_angle: RealArray
    intervals: Intervals
    wrt: tuple[str, ...]
    atoms: NDArray[np.intp]
    i_train: NDArray[np.intp]
    tissue: Tissue
    n_states: int
    real: bool
    table_of: TableOf | None

    def simulate(self, out: NDArray[np.complex64]) -> None:
        """Write signals and derivatives; out : (1 + len(wrt), all atoms, n_pulses)."""
        if self.table_of is None:
            _, arguments = self._instantaneous_inputs()
            kernel = real_states.simulate if self.real else instantaneous.simulate
            kernel(*arguments, self.n_states, self.atoms, out)
            return
        _, arguments = self._selective_inputs(self.table_of)
        selective.simulate(*arguments, self.n_states, self.real, self.atoms, out)

    def _instantaneous_inputs(self) -> tuple[Tissue, tuple[Any, ...]]:
        """Whole blocks of atoms, and the arguments of the kernel up to z_start."""
        index = inputs.padded(self.tissue.n_atoms)
        tissue, i_train = self.tissue[index], self.i_train[index]
        return tissue, inputs.instantaneous(
            self.sequence, self.intervals, self.wrt, self.flip_angle, i_train, tissue, real=self.real
        )

    def _selective_inputs(self, table_of: TableOf) -> tuple[operators.OperatorTable, tuple[Any, ...]]:
        """Operators, and the arguments of the kernel up to z_start."""
        table = table_of(self.tissue)
        return table, inputs.selective(
            self.sequence, self.intervals, self.wrt, self.flip_angle, self.i_train, self.tissue, table
        )

    def gradient(self, cotangent: NDArray[np.complex64]) -> SequenceGradient:
        """Pull cotangents of the signals and derivatives of these atoms back to the sequence."""
        if self.table_of is None:
            return self._gradient_instantaneous(cotangent)
        return self._gradient_selective(cotangent)

    def _gradient_instantaneous(self, cotangent: NDArray[np.complex64]) -> SequenceGradient:
        tissue, arguments = self._instantaneous_inputs()
        full = np.zeros((tissue.n_atoms, *cotangent.shape[1:]), np.complex64)
        full[: self.tissue.n_atoms] = cotangent
        echo_bar = inputs.factor_blocks(np.moveaxis(full, 0, -1), real=self.real)
        n_blocks, n_sets, n_pulses = echo_bar.shape[:3]
        angle_bar, rate_bar = np.zeros((2, n_blocks, n_pulses, LANES), np.float32)
        e1_bar = np.zeros((n_blocks, n_sets, n_pulses, LANES), np.float32)
        e2_bar, decay_bar = np.zeros((2, *echo_bar.shape), np.float32)
        start_bar = np.zeros((n_blocks, n_sets, LANES), np.float32)
        if self.real:
            step_bar = np.zeros((1, n_pulses))
            real_adjoint.adjoint(
                *arguments,
                self.n_states,
                self.tissue.n_atoms,
                _scratch(real_adjoint.scratch_size(n_sets, self.n_states, n_pulses)),
                echo_bar,
                angle_bar,
                rate_bar,
                e1_bar,
                e2_bar,
                decay_bar,
                start_bar,
            )
        else:
            turn_bar = np.zeros((n_blocks, n_pulses, 2, LANES), np.float32)
            instantaneous_adjoint.adjoint(
                *arguments,
                self.n_states,
                echo_bar,
                angle_bar,
                rate_bar,
                turn_bar,
                e1_bar,
                e2_bar,
                decay_bar,
                start_bar,
            )
            step_bar = self._step_bar(inputs.from_factor_blocks(turn_bar, real=False))
        n_atoms = self.tissue.n_atoms
        return self._collect(
            inputs.from_blocks(angle_bar)[:n_atoms],
            inputs.from_blocks(rate_bar)[:n_atoms],
            step_bar,
            inputs.from_blocks(e1_bar)[:n_atoms],
            inputs.from_factor_blocks(e2_bar, real=self.real)[:n_atoms],
            inputs.from_factor_blocks(decay_bar, real=self.real)[:n_atoms],
            inputs.from_blocks(start_bar)[:n_atoms],
        )

    def _gradient_selective(self, cotangent: NDArray[np.complex64]) -> SequenceGradient:
        assert self.table_of is not None
        table, arguments = self._selective_inputs(self.table_of)
        n_atoms, n_sets, n_pulses = cotangent.shape
        position_bar, rate_bar = np.zeros((2, n_atoms, n_pulses), np.float32)
        turn_bar = np.zeros((n_atoms, n_pulses), np.complex64)
        e1_bar = np.zeros((n_atoms, n_sets, n_pulses), np.float32)
        e2_bar, decay_bar = np.zeros((2, n_atoms, n_sets, n_pulses), np.complex64)
        start_bar = np.zeros((n_atoms, n_sets), np.float32)
        selective_adjoint.adjoint(
            *arguments,
            self.n_states,
            np.ascontiguousarray(cotangent),
            position_bar,
            rate_bar,
            turn_bar,
            e1_bar,
            e2_bar,
            decay_bar,
            start_bar,
        )
        # With half of the slice and real signals, the two halves cancel in the derivative by the phase.
        step_bar = np.zeros_like(rate_bar) if self.real else self._step_bar(turn_bar)
        return self._collect(
            position_bar / table.angle_step,
            rate_bar / table.angle_step,
            step_bar,
            e1_bar,
            e2_bar,
            decay_bar,
            start_bar,
        )

    def _step_bar(self, turn_bar: NDArray[Any]) -> NDArray[Any]:
        """Cotangents of the phase steps."""
        return (turn_bar * self.intervals.turn.conj()).imag

    def _collect(
        self,
        angle_bar: NDArray[Any],
        rate_bar: NDArray[Any],
        step_bar: NDArray[Any],
        e1_bar: NDArray[Any],
        e2_bar: NDArray[Any],
        decay_bar: NDArray[Any],
        start_bar: NDArray[Any],
    ) -> SequenceGradient:
        """Chain rule from the inputs of a kernel to the sequence, summed over atoms in double precision.

        angle_bar, rate_bar, step_bar : (n_atoms, n_pulses) of flip angle x B1, of its derivative by B1 and of
        the phase step to the next pulse; e1_bar, e2_bar, decay_bar : (n_atoms, n_sets, n_pulses);
        start_bar : (n_atoms, n_sets)
        """
        times, tissue = self.intervals, self.tissue

        def summed(bar: NDArray[Any], slope: NDArray[Any], index: NDArray[np.int64]) -> RealArray:
            if slope.shape[1] == 1:
                return np.einsum("asn,sa->n", bar.conj(), slope[:, 0]).real
            return np.einsum("asn,sna->n", bar.conj(), slope[:, index]).real

        tr = summed(e1_bar, times.recovery_slope(tissue, self.wrt), times.i_tr)
        tr = tr + summed(e2_bar, times.decay_slope(tissue, times.tr, self.wrt), times.i_tr)
        te = summed(decay_bar, times.decay_slope(tissue, times.te, self.wrt), times.i_te)
        flip_angle = np.einsum("an,a->n", angle_bar.astype(np.float64), tissue.b1)
        if "b1" in self.wrt:
            flip_angle = flip_angle + rate_bar.sum(axis=0, dtype=np.float64)
        step = step_bar.sum(axis=0, dtype=np.float64)
        phase = step.copy()
        phase[1:] -= step[:-1]
        inversion_time = float(np.einsum("as,sa->", start_bar, times.start_slope(tissue, self.wrt)))
        return SequenceGradient(flip_angle, phase, tr, te, inversion_time)
