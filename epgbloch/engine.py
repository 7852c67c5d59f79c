"""The exact EPG-Bloch engine: plans the work, runs the compiled kernels on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import operators
from epgbloch._checks import require_count
from epgbloch._cores import available_cores
from epgbloch.intervals import Intervals
from epgbloch.kernels.layout import LANES
from epgbloch.sequence import Sequence
from epgbloch.tasks import SequenceGradient, Task
from epgbloch.tissue import Tissue

ATOMS_PER_TASK = 512
"""Atoms that one thread simulates in one go at most, a multiple of LANES."""
PARAMETERS = ("t1", "t2", "b1", "off_resonance")
"""Tissue parameters that signals are differentiated by; with the prefix "ln_" by their logarithm."""
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
            require_count(name, value)
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
        return self._run(sequence, tissue, (), progress)[0]

    def stream(
        self,
        sequence: Sequence,
        tissue: Tissue,
        callback: Callable[[slice, NDArray[np.complex64]], None],
        *,
        chunk_size: int = 8192,
        progress: Progress | None = None,
    ) -> None:
        """Simulate chunk by chunk, so that signals of any number of atoms need the memory of one chunk.

        Parameters
        ----------
        sequence : Sequence
            The pulse train.
        tissue : Tissue
            The atoms.
        callback : callable
            Called as callback(atoms, signal) from the calling thread, in the order of the atoms: which ones,
            and their signals as from `signal`, to the last bit. It may keep the array.
        chunk_size : int
            Atoms of a chunk. 8192 atoms of 1000 pulses take 65 MB.
        progress : callable, optional
            Called as progress(atoms done, atoms in all) from the calling thread.

        Raises
        ------
        ValueError
            If `chunk_size` is not an integer of at least 1.
        """
        require_count("chunk_size", chunk_size)
        for first in range(0, tissue.n_atoms, chunk_size):
            atoms = slice(first, min(first + chunk_size, tissue.n_atoms))
            callback(atoms, self.signal(sequence, tissue[atoms]))
            if progress is not None:
                progress(atoms.stop, tissue.n_atoms)

    def jacobian(
        self,
        sequence: Sequence,
        tissue: Tissue,
        wrt: tuple[str, ...] = ("t1", "t2"),
        *,
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Simulate the echoes and their derivatives by tissue parameters, by forward sensitivities.

        Parameters
        ----------
        sequence : Sequence
            The pulse train.
        tissue : Tissue
            The atoms.
        wrt : tuple of str
            Parameters: "t1", "t2" [1/s], "b1", "off_resonance" [1/Hz], or "ln_t1", "ln_t2", "ln_b1".
        progress : callable, optional
            Called as progress(atoms done, atoms in all) from the calling thread.

        Returns
        -------
        signal : ndarray, shape (n_atoms, n_pulses), complex64
            As from `signal`.
        derivatives : ndarray, shape (n_wrt, n_atoms, n_pulses), complex64
            Derivatives of the signal.

        Raises
        ------
        ValueError
            If a name in `wrt` is unknown or given twice.
        """
        names = _parameters(wrt)
        parameters = tuple(dict.fromkeys(names))
        result = self._run(sequence, tissue, parameters, progress)
        derivatives = result[1:]
        if len(parameters) < len(names):  # by T1 and by ln T1, say
            derivatives = derivatives[[parameters.index(name) for name in names]]
        for derivative, name, parameter in zip(derivatives, wrt, names, strict=True):
            if name.startswith("ln_"):
                derivative *= getattr(tissue, parameter).astype(np.float32)[:, np.newaxis]
        return result[0], derivatives

    def gradient(
        self,
        sequence: Sequence,
        tissue: Tissue,
        signal_cotangent: ArrayLike,
        derivative_cotangents: ArrayLike | None = None,
        wrt: tuple[str, ...] = ("t1", "t2"),
    ) -> SequenceGradient:
        """Return the derivatives of a real scalar L by the parameters of the sequence, by the adjoint.

        L may be any function of the signals S and, with `derivative_cotangents`, of their derivatives by
        tissue parameters, as in a Cramer-Rao bound. The cost is a few simulations, whatever the number of
        pulses; memory grows with n_pulses x n_states / 16 and with n_atoms x n_pulses.

        Parameters
        ----------
        sequence : Sequence
            The pulse train.
        tissue : Tissue
            The atoms.
        signal_cotangent : array_like, shape (n_atoms, n_pulses), real or complex
            dL/d(Re S) + i dL/d(Im S).
        derivative_cotangents : array_like, shape (n_wrt, n_atoms, n_pulses), optional
            The same for the derivatives that `jacobian` returns.
        wrt : tuple of str
            Their parameters, as in `jacobian`.

        Returns
        -------
        SequenceGradient
            dL by flip angles, phases, TR, TE and inversion time.

        Raises
        ------
        ValueError
            If a shape does not fit, a value is not finite, a name in `wrt` is unknown or given twice, or the
            tissue diffuses.
        """
        if tissue.diffusion.any():
            raise ValueError(
                f"gradient: diffusion={tissue.diffusion.max():.3g} m^2/s is not differentiated; "
                "use diffusion=0"
            )
        names = _parameters(wrt) if derivative_cotangents is not None else []
        sets = tuple(dict.fromkeys(names))
        shape = (tissue.n_atoms, sequence.n_pulses)
        cotangent = np.zeros((tissue.n_atoms, 1 + len(sets), sequence.n_pulses), np.complex64)
        cotangent[:, 0] = _cotangent("signal_cotangent", signal_cotangent, shape)
        if derivative_cotangents is not None:
            own = _cotangent("derivative_cotangents", derivative_cotangents, (len(wrt), *shape))
            for values, name, parameter in zip(own, wrt, names, strict=True):
                scale = getattr(tissue, parameter)[:, np.newaxis] if name.startswith("ln_") else 1.0
                cotangent[:, 1 + sets.index(parameter)] += scale * values
        tasks = self._tasks(sequence, tissue, sets, real_loss=not cotangent.imag.any(), summed=True)
        parts: dict[int, SequenceGradient] = {}

        def pull_back(task: Task) -> None:
            parts[int(task.atoms[0])] = task.gradient(cotangent[task.atoms])

        self._run_tasks(pull_back, tasks, tissue.n_atoms, None)
        # in a fixed order, whatever thread came first
        gradients = [parts[key] for key in sorted(parts)]
        return sum(gradients[1:], start=gradients[0])

    def _run(
        self, sequence: Sequence, tissue: Tissue, wrt: tuple[str, ...], progress: Progress | None
    ) -> NDArray[np.complex64]:
        """Signals and derivatives, shape (1 + len(wrt), n_atoms, n_pulses)."""
        result = np.empty((1 + len(wrt), tissue.n_atoms, sequence.n_pulses), np.complex64)

        def simulate(task: Task) -> None:
            task.simulate(result)

        self._run_tasks(simulate, self._tasks(sequence, tissue, wrt), tissue.n_atoms, progress)
        return result

    def _run_tasks(
        self, work: Callable[[Task], None], tasks: list[Task], n_atoms: int, progress: Progress | None
    ) -> None:
        """Do the work on all threads; report from this one."""
        n_done = 0

        def report(task: Task) -> None:
            nonlocal n_done
            n_done += task.atoms.size
            if progress is not None:
                progress(n_done, n_atoms)

        n_threads = min(self.n_threads or available_cores(), len(tasks))
        if n_threads == 1:
            for task in tasks:
                work(task)
                report(task)
            return
        with ThreadPoolExecutor(n_threads) as pool:
            futures = {pool.submit(work, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    future.result()
                    report(futures[future])
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _tasks(
        self,
        sequence: Sequence,
        tissue: Tissue,
        wrt: tuple[str, ...],
        *,
        real_loss: bool = True,
        summed: bool = False,
    ) -> list[Task]:
        """Split the atoms into tasks of equal kernel and number of states.

        Without `real_loss`, imaginary parts count even where they are zero. `summed`: only the sum over atoms
        matters, so that a few may share the largest number of states.
        """
        if sequence.spoiler_moment is None and sequence.dephasing.any() and tissue.diffusion.any():
            raise ValueError(
                f"diffusion={tissue.diffusion.max():.3g} m^2/s needs the spoiler_moment of the "
                "sequence [rad/m]; give Sequence(..., spoiler_moment=...)"
            )
        intervals = Intervals.of(sequence)
        n_states = self._states_per_atom(sequence, tissue)
        if summed and sequence.pulse is None and tissue.n_atoms <= LANES:
            n_states[:] = n_states.max()  # one task, of the longest T2
        if sequence.pulse is None:
            keys = [tissue.off_resonance != 0, tissue.diffusion > 0, n_states]
        else:
            keys = [
                operators.in_table(sequence.pulse, tissue),
                tissue.off_resonance,
                tissue.diffusion > 0,
                n_states,
            ]
        # neighbours of equal B1 share the interpolation of the operators
        order = np.lexsort((tissue.b1, *keys))
        steps = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
        largest_b1 = float(tissue.b1.max())
        # some tasks for every thread; sums over tasks must not depend on the number of threads
        share = tissue.n_atoms // (8 if sequence.pulse is None else 32) // LANES * LANES
        n_atoms_most = min(max(share, LANES), ATOMS_PER_TASK)
        tasks: list[Task] = []
        for members in np.split(order, np.flatnonzero(steps) + 1):
            example = tissue[members[:1]]
            real = (
                real_loss
                and intervals.real
                and bool(example.off_resonance[0] == 0)
                and "off_resonance" not in wrt
                and (sequence.pulse is None or not np.iscomplexobj(sequence.pulse.waveform))
            )
            n_atoms, table_of = n_atoms_most, None
            if sequence.pulse is not None:
                table_of = self._tables(sequence, wrt, real, example, largest_b1)
                if not operators.in_table(sequence.pulse, example)[0]:
                    n_atoms = 1
            for first in range(0, members.size, n_atoms):
                atoms = members[first : first + n_atoms]
                n = int(n_states[atoms[0]])
                tasks.append(Task(sequence, intervals, wrt, atoms, tissue[atoms], n, real, table_of))
        return tasks

    def _tables(
        self, sequence: Sequence, wrt: tuple[str, ...], real: bool, example: Tissue, largest_b1: float
    ) -> Callable[[Tissue], operators.OperatorTable]:
        """Return the function that gives the operators for atoms like `example`."""
        pulse = sequence.pulse
        assert pulse is not None
        n_angles = operators.angle_count(pulse, float(sequence.flip_angle.max()) * largest_b1)
        frequencies = operators.frequencies(pulse, float(example.off_resonance[0]), wrt)
        if operators.in_table(pulse, example)[0]:
            table = operators.shared_table(
                pulse, frequencies, n_angles, self.n_subslices, self.slice_extent, real
            )
            return lambda atom: table
        sampling = operators.sample_slice(pulse, self.n_subslices, self.slice_extent, symmetric=real)
        return partial(operators.own_table, pulse, frequencies, n_angles, sampling)

    def _states_per_atom(self, sequence: Sequence, tissue: Tissue) -> NDArray[np.intp]:
        # no order beyond the middle of the spoilers can return to 0 before the end
        highest = int(sequence.dephasing.sum()) // 2 + 1
        if self.n_states is not None:
            return np.full(tissue.n_atoms, min(self.n_states, highest), np.intp)
        shortest_way = np.cumsum(np.sort(sequence.tr[sequence.dephasing > 0]))
        n_states = 1 + np.searchsorted(shortest_way, -0.5 * np.log(self.tolerance) * tissue.t2)
        # few distinct numbers, so that atoms can be simulated side by side; at most 1/8 too many states
        step = 2 ** np.maximum(np.floor(np.log2(n_states)).astype(int) - 3, 0)
        return np.minimum(-(-n_states // step) * step, highest)


def _cotangent(name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.complex64]:
    array = np.asarray(value, dtype=np.complex64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}; it must have that of its signals, {shape}")
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds values that are not finite; check the scalar that was differentiated")
    return array


def _parameters(wrt: tuple[str, ...]) -> list[str]:
    """Names without the prefix of the logarithm, checked."""
    names = [name.removeprefix("ln_") for name in wrt]
    for name, parameter in zip(wrt, names, strict=True):
        if parameter not in PARAMETERS or name == "ln_off_resonance":
            raise ValueError(f"wrt: {name!r} must be one of {', '.join(PARAMETERS)}, or ln_t1, ln_t2, ln_b1")
    if len(set(wrt)) < len(wrt):
        raise ValueError(f"wrt={wrt} names a parameter twice; name each once")
    return names
