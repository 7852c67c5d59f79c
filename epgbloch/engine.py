"""The exact EPG-Bloch engine: plans the work, runs the compiled kernels on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch._checks import cotangent_of, require_count
from epgbloch._cores import available_cores
from epgbloch.planning import plan
from epgbloch.sequence import Sequence, flip_angle_trains
from epgbloch.tasks import SequenceGradient, Task
from epgbloch.tissue import Tissue

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
        return self._run(sequence, sequence.flip_angle[np.newaxis], tissue, (), progress)[0]

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
        return self._jacobian(sequence, sequence.flip_angle[np.newaxis], tissue, wrt, progress)

    def jacobian_of_trains(
        self, sequence: Sequence, flip_angle: ArrayLike, tissue: Tissue, wrt: tuple[str, ...] = ("t1", "t2")
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Simulate echoes and derivatives of many flip-angle trains at once, as for a population of designs.

        Trains are simulated side by side: for few atoms and instantaneous pulses this is many times faster
        than one call of `jacobian` a train. The results are the same to the last bit.

        Parameters
        ----------
        sequence : Sequence
            What the trains have in common: everything but its flip angles, which do not matter.
        flip_angle : array_like, shape (n_trains, n_pulses), float64
            Flip angles of every train [rad], 0 to 2 pi.
        tissue : Tissue
            The atoms.
        wrt : tuple of str
            Parameters, as for `jacobian`.

        Returns
        -------
        signal : ndarray, shape (n_trains, n_atoms, n_pulses), complex64
            As from `signal`.
        derivatives : ndarray, shape (n_wrt, n_trains, n_atoms, n_pulses), complex64
            Derivatives of the signal.

        Raises
        ------
        ValueError
            If `flip_angle` has another number of pulses than the sequence or a value that `Sequence` refuses,
            or a name in `wrt` is unknown or given twice.
        """
        trains = flip_angle_trains(flip_angle, sequence.n_pulses)
        pairs = tissue[np.tile(np.arange(tissue.n_atoms), len(trains))]
        signal, derivatives = self._jacobian(sequence, trains, pairs, wrt, None)
        shape = (len(trains), tissue.n_atoms, sequence.n_pulses)
        return signal.reshape(shape), derivatives.reshape(len(wrt), *shape)

    def _jacobian(
        self,
        sequence: Sequence,
        flip_angle: NDArray[np.float64],
        tissue: Tissue,
        wrt: tuple[str, ...],
        progress: Progress | None,
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Signals and derivatives; flip angles and atoms as for `planning.plan`."""
        names = _parameters(wrt)
        parameters = tuple(dict.fromkeys(names))
        result = self._run(sequence, flip_angle, tissue, parameters, progress)
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
        cotangent[:, 0] = cotangent_of("signal_cotangent", signal_cotangent, shape)
        if derivative_cotangents is not None:
            own = cotangent_of("derivative_cotangents", derivative_cotangents, (len(wrt), *shape))
            for values, name, parameter in zip(own, wrt, names, strict=True):
                scale = getattr(tissue, parameter)[:, np.newaxis] if name.startswith("ln_") else 1.0
                cotangent[:, 1 + sets.index(parameter)] += scale * values
        trains, real_loss = sequence.flip_angle[np.newaxis], not cotangent.imag.any()
        tasks = plan(self, sequence, trains, tissue, sets, real_loss=real_loss, summed=True)
        parts: dict[int, SequenceGradient] = {}

        def pull_back(task: Task) -> None:
            parts[int(task.atoms[0])] = task.gradient(cotangent[task.atoms])

        self._run_tasks(pull_back, tasks, tissue.n_atoms, None)
        # in a fixed order, whatever thread came first
        gradients = [parts[key] for key in sorted(parts)]
        return sum(gradients[1:], start=gradients[0])

    def _run(
        self,
        sequence: Sequence,
        flip_angle: NDArray[np.float64],
        tissue: Tissue,
        wrt: tuple[str, ...],
        progress: Progress | None,
    ) -> NDArray[np.complex64]:
        """Signals and derivatives, shape (1 + len(wrt), n_atoms, n_pulses)."""
        result = np.empty((1 + len(wrt), tissue.n_atoms, sequence.n_pulses), np.complex64)

        def simulate(task: Task) -> None:
            task.simulate(result)

        self._run_tasks(simulate, plan(self, sequence, flip_angle, tissue, wrt), tissue.n_atoms, progress)
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


def _parameters(wrt: tuple[str, ...]) -> list[str]:
    """Names without the prefix of the logarithm, checked."""
    names = [name.removeprefix("ln_") for name in wrt]
    for name, parameter in zip(wrt, names, strict=True):
        if parameter not in PARAMETERS or name == "ln_off_resonance":
            raise ValueError(f"wrt: {name!r} must be one of {', '.join(PARAMETERS)}, or ln_t1, ln_t2, ln_b1")
    if len(set(wrt)) < len(wrt):
        raise ValueError(f"wrt={wrt} names a parameter twice; name each once")
    return names
