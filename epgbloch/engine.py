"""The exact EPG-Bloch engine: plans the work, runs the compiled kernels on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch import operators
from epgbloch.kernels import complex_states, real_states
from epgbloch.kernels.layout import LANES
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

ATOMS_PER_TASK = 128
"""Atoms that one thread simulates in one go, a multiple of LANES."""
Progress = Callable[[int, int], None]
"""Called as progress(atoms done, atoms in all)."""


@dataclass(frozen=True)
class EPGBloch:
    """Extended-phase-graph simulation with discretised RF pulses and slice profile, in float32.

    Per sub-slice and configuration state the RF pulse acts as a product of small Bloch steps, then follow
    relaxation, the echo F+(0), relaxation and dephasing by one order a TR (Liu et al., NMR Biomed 2021,
    e4527, equations 1-4). Steps of a pulse are composed beforehand, see `operators`.

    Parameters
    ----------
    n_states : int or None
        Configuration orders 0 ... n_states - 1 that are kept. None: chosen for every atom such that
        coherences beyond have lost all but `tolerance` of their amplitude to T2 on the way out and back.
    tolerance : float
        Amplitude, relative to M0, below which coherences are left out.
    n_subslices : int
        Sub-slices of a slice-selective pulse.
    slice_extent : float
        Simulated extent over the slice thickness.
    n_threads : int or None
        Threads; None: all cores that the process may use. The result does not depend on it.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    n_states: int | None = None
    tolerance: float = 1e-4
    n_subslices: int = 32
    slice_extent: float = 3.0
    n_threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("n_states", "n_subslices", "n_threads"):
            value = getattr(self, name)
            if value is None and name != "n_subslices":
                continue
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"{name}={value!r} must be an integer of at least 1")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} must lie between 0 and 1; 1e-4 is the default")
        if not (np.isfinite(self.slice_extent) and self.slice_extent > 0):
            raise ValueError(f"slice_extent={self.slice_extent} must be positive; 3 is the default")

    def settings(self) -> dict[str, Any]:
        """Return what identifies the model in a stored dictionary; threads do not."""
        return {
            "model": "EPGBloch",
            "n_states": self.n_states,
            "tolerance": self.tolerance,
            "n_subslices": self.n_subslices,
            "slice_extent": self.slice_extent,
        }

    def signal(
        self, sequence: Sequence, tissue: Tissue, *, progress: Progress | None = None
    ) -> NDArray[np.complex64]:
        """Simulate the echoes of every atom for a proton density of 1.

        Parameters
        ----------
        sequence : Sequence
            The pulse train.
        tissue : Tissue
            The atoms. For pulses of finite duration, every distinct off-resonance costs a new table of
            RF operators (0.2 s).
        progress : callable, optional
            Called as progress(atoms done, atoms in all) from the calling thread.

        Returns
        -------
        ndarray, shape (n_atoms, n_pulses), complex64
            F+(0) at TE, demodulated with the RF phase of its pulse: +sin(flip angle) after excitation of
            equilibrium magnetisation. Exactly real for phases 0 and pi (waveform included) on resonance.
        """
        signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex64)
        tasks = self._tasks(sequence, tissue)
        n_done = 0

        def finish(atoms: NDArray[np.intp], result: NDArray[np.complex64]) -> None:
            nonlocal n_done
            signal[atoms] = result[: atoms.size]
            n_done += atoms.size
            if progress is not None:
                progress(n_done, tissue.n_atoms)

        n_threads = min(self.n_threads or _available_cores(), len(tasks))
        if n_threads == 1:
            for atoms, run in tasks:
                finish(atoms, run())
            return signal
        with ThreadPoolExecutor(n_threads) as pool:
            futures = {pool.submit(run): atoms for atoms, run in tasks}
            try:
                for future in as_completed(futures):
                    finish(futures.pop(future), future.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return signal

    def _tasks(
        self, sequence: Sequence, tissue: Tissue
    ) -> list[tuple[NDArray[np.intp], Callable[[], NDArray[np.complex64]]]]:
        """Split the atoms into tasks of equal kernel and number of states."""
        timing = _Timing.of(sequence)
        n_states = self._states_per_atom(sequence, tissue)
        keys = [n_states]
        if sequence.pulse is None:
            keys.append((tissue.off_resonance != 0).astype(int))
        else:
            keys.append(np.unique(tissue.off_resonance, return_inverse=True)[1])
            keys.append(operators.in_table(sequence.pulse, tissue.t1, tissue.t2).astype(int))
        classes = np.unique(np.stack(keys), axis=1, return_inverse=True)[1].ravel()
        order = np.argsort(classes, kind="stable")
        tasks: list[tuple[NDArray[np.intp], Callable[[], NDArray[np.complex64]]]] = []
        for members in np.split(order, np.flatnonzero(np.diff(classes[order])) + 1):
            kernel = self._kernel(sequence, timing, tissue[members[:1]], float(tissue.b1.max()))
            for start in range(0, members.size, ATOMS_PER_TASK):
                atoms = members[start : start + ATOMS_PER_TASK]
                tasks.append((atoms, partial(kernel, tissue[atoms], int(n_states[atoms[0]]))))
        return tasks

    def _states_per_atom(self, sequence: Sequence, tissue: Tissue) -> NDArray[np.intp]:
        if sequence.spoiling == "balanced":
            return np.ones(tissue.n_atoms, np.intp)
        # no order beyond the middle of the train can return to 0 before its end
        highest = sequence.n_pulses // 2 + 1
        if self.n_states is not None:
            return np.full(tissue.n_atoms, min(self.n_states, highest), np.intp)
        shortest_way = np.cumsum(np.sort(sequence.tr))
        n_states = 1 + np.searchsorted(shortest_way, -0.5 * np.log(self.tolerance) * tissue.t2)
        # few distinct numbers, so that atoms can be simulated side by side; at most 1/8 too many states
        step = 2 ** np.maximum(np.floor(np.log2(n_states)).astype(int) - 3, 0)
        return np.minimum(-(-n_states // step) * step, highest)

    def _kernel(
        self, sequence: Sequence, timing: _Timing, example: Tissue, largest_b1: float
    ) -> Callable[[Tissue, int], NDArray[np.complex64]]:
        """Return the function (tissue, n_states) -> signal for atoms of the class of `example`."""
        on_resonance = bool(example.off_resonance[0] == 0)
        if sequence.pulse is None:
            return partial(_simulate_instantaneous, sequence, timing, timing.real and on_resonance)
        off_resonance = float(example.off_resonance[0])
        symmetric = timing.real and on_resonance and not np.iscomplexobj(sequence.pulse.waveform)
        n_angles = operators.angle_count(sequence.pulse, float(sequence.flip_angle.max()) * largest_b1)
        sampling = operators.sample_slice(
            sequence.pulse, self.n_subslices, self.slice_extent, symmetric=symmetric
        )
        if operators.in_table(sequence.pulse, example.t1, example.t2)[0]:
            table = operators.tabulated_operators(
                sequence.pulse, off_resonance, n_angles, self.n_subslices, self.slice_extent, symmetric
            )
            return partial(_simulate_tabulated, sequence, timing, sampling, symmetric, table)
        return partial(
            _simulate_fast_relaxing, sequence, timing, sampling, symmetric, off_resonance, n_angles
        )


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _Timing:
    """Free intervals and phase steps of a sequence, with every distinct duration once.

    tr, te : distinct durations from pulse end to next pulse start, and to the echo [s]
    i_tr, i_te : (n_pulses,) their index at each pulse
    turn : (n_pulses,) complex64 phase of the pulse minus that of the next one; real : whether all are +-1
    """

    tr: NDArray[np.float64]
    i_tr: NDArray[np.int64]
    te: NDArray[np.float64]
    i_te: NDArray[np.int64]
    turn: NDArray[np.complex64]
    real: bool
    inversion: float
    inversion_time: float

    @classmethod
    def of(cls, sequence: Sequence) -> _Timing:
        before, after = sequence.pulse_margins
        tr, i_tr = np.unique(sequence.tr - before - after, return_inverse=True)
        te, i_te = np.unique(sequence.te - after, return_inverse=True)
        phase = sequence.rf_phase
        turn = np.exp(1j * np.append(phase[:-1] - phase[1:], 0.0))
        # 1e-9 rad: far above the rounding of multiples of pi, far below float32
        real = bool(np.all(np.abs(turn.imag) < 1e-9))
        inverted = sequence.inversion_time is not None
        return cls(
            tr,
            i_tr.astype(np.int64),
            te,
            i_te.astype(np.int64),
            turn.astype(np.complex64),
            real,
            2 * sequence.inversion_efficiency if inverted else 0.0,
            (sequence.inversion_time or 0.0) - before if inverted else 0.0,
        )

    def start(self, tissue: Tissue) -> NDArray[np.float32]:
        """Mz right before the first pulse, shape (n_atoms,)."""
        return (1 - self.inversion * np.exp(-self.inversion_time / tissue.t1)).astype(np.float32)

    def decay(self, tissue: Tissue, times: NDArray[np.float64]) -> NDArray[np.complex64]:
        """T2 decay and precession over `times`, shape (n_times, n_atoms)."""
        return np.exp(np.multiply.outer(times, -1 / tissue.t2 + 2j * np.pi * tissue.off_resonance)).astype(
            np.complex64
        )

    def recovery(self, tissue: Tissue) -> NDArray[np.float32]:
        """T1 decay between pulses, shape (n_tr, n_atoms)."""
        return np.exp(np.multiply.outer(self.tr, -1 / tissue.t1)).astype(np.float32)


def _simulate_instantaneous(
    sequence: Sequence, timing: _Timing, real: bool, tissue: Tissue, n_states: int
) -> NDArray[np.complex64]:
    padded = tissue[np.minimum(np.arange(-(-tissue.n_atoms // LANES) * LANES), tissue.n_atoms - 1)]
    b1, i_b1 = np.unique(padded.b1, return_inverse=True)
    angle = np.multiply.outer(sequence.flip_angle, b1)
    turn: NDArray[Any] = timing.turn
    e2: NDArray[Any] = timing.decay(padded, timing.tr)
    e2_echo: NDArray[Any] = timing.decay(padded, timing.te)
    simulate = complex_states.simulate_instantaneous
    if real:
        turn, e2, e2_echo = turn.real.copy(), e2.real, e2_echo.real
        simulate = real_states.simulate

    def blocks(values: NDArray[Any]) -> NDArray[Any]:
        """(n, n_atoms) -> (n_blocks, n, LANES)."""
        return np.ascontiguousarray(values.reshape(len(values), -1, LANES).swapaxes(0, 1))

    signal = np.empty((padded.n_atoms // LANES, sequence.n_pulses, LANES), e2.dtype)
    simulate(
        blocks(np.cos(angle).astype(np.float32)[:, i_b1]),
        blocks(np.sin(angle).astype(np.float32)[:, i_b1]),
        turn,
        sequence.spoiling != "balanced",
        blocks(timing.recovery(padded)),
        blocks(e2),
        blocks(e2_echo),
        timing.i_tr,
        timing.i_te,
        timing.start(padded).reshape(-1, LANES),
        n_states,
        signal,
    )
    return signal.swapaxes(1, 2).reshape(padded.n_atoms, sequence.n_pulses)


def _simulate_selective(
    sequence: Sequence,
    timing: _Timing,
    sampling: operators.SliceSampling,
    symmetric: bool,
    table: NDArray[np.float32],
    weights: NDArray[np.float32],
    tissue: Tissue,
    n_states: int,
) -> NDArray[np.complex64]:
    assert sequence.pulse is not None
    signal = np.empty((tissue.n_atoms, sequence.n_pulses), np.complex64)
    complex_states.simulate_selective(
        np.multiply.outer(tissue.b1, sequence.flip_angle) / operators.angle_step(sequence.pulse),
        table,
        weights,
        sampling.weight,
        timing.turn,
        sequence.spoiling != "balanced",
        np.ascontiguousarray(timing.recovery(tissue).T),
        np.ascontiguousarray(timing.decay(tissue, timing.tr).T),
        np.ascontiguousarray(timing.decay(tissue, timing.te).T),
        timing.i_tr,
        timing.i_te,
        timing.start(tissue),
        n_states,
        signal,
    )
    if symmetric:
        signal.imag = 0
    return signal


def _simulate_tabulated(
    sequence: Sequence,
    timing: _Timing,
    sampling: operators.SliceSampling,
    symmetric: bool,
    table: NDArray[np.float32],
    tissue: Tissue,
    n_states: int,
) -> NDArray[np.complex64]:
    assert sequence.pulse is not None
    weights = operators.relaxation_weights(sequence.pulse, tissue.t1, tissue.t2)
    return _simulate_selective(sequence, timing, sampling, symmetric, table, weights, tissue, n_states)


def _simulate_fast_relaxing(
    sequence: Sequence,
    timing: _Timing,
    sampling: operators.SliceSampling,
    symmetric: bool,
    off_resonance: float,
    n_angles: int,
    tissue: Tissue,
    n_states: int,
) -> NDArray[np.complex64]:
    """Atoms that relax too fast for the table: operators composed for each of them."""
    pulse = sequence.pulse
    assert pulse is not None
    signals = []
    for i_atom in range(tissue.n_atoms):
        atom = tissue[i_atom : i_atom + 1]
        rates = pulse.duration / atom.t1, pulse.duration / atom.t2
        table = operators.pulse_operators(pulse, off_resonance, n_angles, sampling, *rates)
        weights = np.ones((1, 1), np.float32)
        signals.append(
            _simulate_selective(sequence, timing, sampling, symmetric, table, weights, atom, n_states)
        )
    return np.concatenate(signals)
