"""The trained network as a signal model, in place of the engine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epgbloch import Sequence, SequenceGradient, Tissue
from epgbloch._checks import cotangent_of, require_count
from epgbloch._cores import available_cores
from epgbloch.sequence import flip_angle_trains
from surrogate.features import OUTPUTS, network_inputs, sequence_gradient
from surrogate.inference import GRADIENT_BLOCK, Inference, blocks
from surrogate.limits import check_known, check_ranges
from surrogate.weights import Weights, WeightsError, read_weights

PARAMETERS = ("t1", "t2", "ln_t1", "ln_t2")
"""Tissue parameters that the network gives derivatives by."""
_FOLDER = Path(__file__).parent / "trained"
_OUTPUT = {"t1": 1, "t2": 2}
"""Place of the derivatives by ln T1 and ln T2 in `features.OUTPUTS`."""
Progress = Callable[[int, int], None]
"""Called as progress(atoms done, atoms in all)."""


def shipped_networks() -> tuple[str, ...]:
    """Return the names of the trained networks that come with the package."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.npz")))


class GRUSurrogate:
    """Signals and derivatives from a trained network of gated recurrent units, an approximation.

    The network reads ln T1, ln T2, TR, TE and the flip angle times B1 at every pulse (Liu et al., NMR Biomed
    2021, e4527, section 2.2). It knows one RF pulse, one spoiler in every TR and a constant RF phase, and
    neither off-resonance nor diffusion; anything else is refused. Its card states its errors.

    Parameters
    ----------
    weights : str, path-like or Weights
        Name of a shipped network (see `shipped_networks`), a file of `write_weights` (a path, or a string
        that ends in ".npz"), or the weights themselves. "published" has the size of the published network.
    n_threads : int or None
        Threads; None: all cores that the process may use. The result does not depend on it.
    extrapolate : bool
        Whether parameters may leave the ranges that the network was trained on; the error there is unknown.

    Attributes
    ----------
    weights : Weights
        The network, with its ranges and its card.

    Raises
    ------
    ValueError
        If there is no network of that name, its cells are not GRU cells, or `n_threads` is not a count.
    WeightsError
        If the weights are damaged, or their card does not say what RF pulse they know.
    OSError
        If the file cannot be opened.

    Examples
    --------
    >>> model = GRUSurrogate()
    >>> sequence = Sequence(angles, 10e-3, 5e-3, inversion_time=20e-3, pulse=RFPulse.gaussian(1e-3, 3e-3))
    >>> signal = model.signal(sequence, Tissue(t1=[0.8, 1.2], t2=0.08))
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] | Weights = "published",
        *,
        n_threads: int | None = None,
        extrapolate: bool = False,
    ) -> None:
        if n_threads is not None:
            require_count("n_threads", n_threads)
        self._name, self.weights = find_weights(weights)
        self._inference = Inference(self.weights)
        self._n_threads, self._extrapolate = n_threads, extrapolate
        try:
            pulse = self.weights.card["data"]["recipe"]["pulse"]
            self._pulse = {key: pulse[key] for key in ("name", "duration", "center", "fingerprint")}
        except (KeyError, TypeError) as error:
            raise WeightsError(
                f"weights: the card of network {self._name} does not describe an RF pulse (data, recipe, "
                "pulse); use weights that epgbloch trained"
            ) from error

    def settings(self) -> dict[str, Any]:
        """Return what identifies the model in a stored dictionary; threads do not.

        ``network`` is the name that it was given by, for information; ``sha256`` tells networks apart.
        """
        description = json.dumps([self.weights.digest(), self._pulse], sort_keys=True)
        digest = hashlib.sha256(description.encode()).hexdigest()
        return {"model": "GRUSurrogate", "network": self._name, "sha256": digest}

    def signal(
        self, sequence: Sequence, tissue: Tissue, *, progress: Progress | None = None
    ) -> NDArray[np.complex64]:
        """Return the echoes of every atom for a proton density of 1.

        Parameters
        ----------
        sequence : Sequence
            The pulse train, of any length; the error of trains longer than the network saw grows.
        tissue : Tissue
            The atoms.
        progress : callable, optional
            Called as progress(atoms done, atoms in all) from the calling thread.

        Returns
        -------
        ndarray, shape (n_atoms, n_pulses), complex64
            As from `EPGBloch.signal`, with imaginary parts of exactly 0.

        Raises
        ------
        OutOfRangeError
            If a parameter lies outside the ranges of the network and `extrapolate` is false.
        ValueError
            If the sequence or the tissue has something that the network does not read.
        """
        return self._run(sequence, None, tissue, (), progress)[0]

    def jacobian(
        self,
        sequence: Sequence,
        tissue: Tissue,
        wrt: tuple[str, ...] = ("t1", "t2"),
        *,
        progress: Progress | None = None,
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Return the echoes and their derivatives by tissue parameters, all outputs of the network.

        Parameters
        ----------
        sequence, tissue, progress
            As for `signal`.
        wrt : tuple of str
            Parameters: "t1", "t2" [1/s], or "ln_t1", "ln_t2".

        Returns
        -------
        signal : ndarray, shape (n_atoms, n_pulses), complex64
            As from `signal`.
        derivatives : ndarray, shape (n_wrt, n_atoms, n_pulses), complex64
            Derivatives of the signal, with imaginary parts of exactly 0.

        Raises
        ------
        OutOfRangeError
            If a parameter lies outside the ranges of the network and `extrapolate` is false.
        ValueError
            If a name in `wrt` is unknown or given twice, or the sequence or the tissue has something that the
            network does not read.
        """
        _check_names(wrt)
        result = self._run(sequence, None, tissue, wrt, progress)
        return result[0], result[1:]

    def jacobian_of_trains(
        self, sequence: Sequence, flip_angle: ArrayLike, tissue: Tissue, wrt: tuple[str, ...] = ("t1", "t2")
    ) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Return echoes and derivatives of many flip-angle trains at once, as for a population of designs.

        For few atoms this is several times faster than one call of `jacobian` a train, with the same bits.

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
            Derivatives of the signal, with imaginary parts of exactly 0.

        Raises
        ------
        OutOfRangeError
            If a parameter lies outside the ranges of the network and `extrapolate` is false.
        ValueError
            If `flip_angle` has another number of pulses than the sequence or a value that `Sequence` refuses,
            a name in `wrt` is unknown or given twice, or the sequence or the tissue has something that the
            network does not read.
        """
        _check_names(wrt)
        trains = flip_angle_trains(flip_angle, sequence.n_pulses)
        pairs = tissue[np.tile(np.arange(tissue.n_atoms), len(trains))]
        result = self._run(sequence, trains, pairs, wrt, None)
        result = result.reshape(len(result), len(trains), tissue.n_atoms, sequence.n_pulses)
        return result[0], result[1:]

    def gradient(
        self,
        sequence: Sequence,
        tissue: Tissue,
        signal_cotangent: ArrayLike,
        derivative_cotangents: ArrayLike | None = None,
        wrt: tuple[str, ...] = ("t1", "t2"),
    ) -> SequenceGradient:
        """Return the derivatives of a real scalar L by the parameters of the sequence, by backpropagation.

        L may be any function of the signals and, with `derivative_cotangents`, of their derivatives by tissue
        parameters, all of them outputs of the network. The cost is that of a few evaluations.

        Parameters
        ----------
        sequence : Sequence
            The pulse train.
        tissue : Tissue
            The atoms.
        signal_cotangent : array_like, shape (n_atoms, n_pulses), real or complex
            dL/d(Re S) + i dL/d(Im S); the imaginary part has no effect: S is real.
        derivative_cotangents : array_like, shape (n_wrt, n_atoms, n_pulses), optional
            The same for the derivatives that `jacobian` returns.
        wrt : tuple of str
            Their parameters, as in `jacobian`.

        Returns
        -------
        SequenceGradient
            dL by flip angles, TR, TE and inversion time; that by phases is 0.

        Raises
        ------
        OutOfRangeError
            If a parameter lies outside the ranges of the network and `extrapolate` is false.
        ValueError
            If a shape does not fit, a value is not finite, a name in `wrt` is unknown or given twice, or the
            sequence or the tissue has something that the network does not read.
        """
        self._check(sequence, tissue)
        shape = (tissue.n_atoms, sequence.n_pulses)
        bars = np.zeros((*shape, len(OUTPUTS)), np.float32)
        bars[..., 0] = cotangent_of("signal_cotangent", signal_cotangent, shape).real
        if derivative_cotangents is not None:
            _check_names(wrt)
            own = cotangent_of("derivative_cotangents", derivative_cotangents, (len(wrt), *shape))
            for values, name in zip(own.real, wrt, strict=True):
                parameter = name.removeprefix("ln_")
                scale = 1 / getattr(tissue, parameter)[:, np.newaxis] if name == parameter else 1.0
                bars[..., _OUTPUT[parameter]] += scale * values
        pulses, initial = network_inputs(sequence, tissue)
        pulses_bar, initial_bar = np.empty_like(pulses), np.empty_like(initial)

        def work(rows: slice) -> None:
            pulses_bar[rows], initial_bar[rows] = self._inference.pull_back(
                pulses[rows], initial[rows], bars[rows]
            )

        n_threads = self._n_threads or available_cores()
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(work, blocks(tissue.n_atoms, n_threads, GRADIENT_BLOCK)))
        return sequence_gradient(sequence, tissue, pulses_bar, initial_bar)

    def _check(
        self, sequence: Sequence, tissue: Tissue, flip_angle: NDArray[np.float64] | None = None
    ) -> None:
        """Refuse what the network does not know."""
        check_known(sequence, tissue, self._pulse)
        if not self._extrapolate:
            check_ranges(sequence, tissue, self.weights.ranges, flip_angle)

    def _run(
        self,
        sequence: Sequence,
        flip_angle: NDArray[np.float64] | None,
        tissue: Tissue,
        wrt: tuple[str, ...],
        progress: Progress | None,
    ) -> NDArray[np.complex64]:
        """Signals and derivatives, shape (1 + len(wrt), n_atoms, n_pulses).

        With flip angles (n_trains, n_pulses), `tissue` has the same atoms for every train, one train after
        the other.
        """
        self._check(sequence, tissue, flip_angle)
        trains = sequence.flip_angle[np.newaxis] if flip_angle is None else flip_angle
        i_train = np.arange(tissue.n_atoms) // (tissue.n_atoms // len(trains))
        result = np.zeros((1 + len(wrt), tissue.n_atoms, sequence.n_pulses), np.complex64)

        def work(rows: slice) -> int:
            atoms = tissue[rows]
            outputs = self._inference.outputs(*network_inputs(sequence, atoms, trains[i_train[rows]]))
            result.real[0, rows] = outputs[..., 0]
            for derivative, name in zip(result.real[1:, rows], wrt, strict=True):
                parameter = name.removeprefix("ln_")
                derivative[:] = outputs[..., _OUTPUT[parameter]]
                if name == parameter:
                    derivative /= getattr(atoms, parameter)[:, np.newaxis]
            return rows.stop

        n_threads = self._n_threads or available_cores()
        with ThreadPoolExecutor(n_threads) as pool:
            for n_done in pool.map(work, blocks(tissue.n_atoms, n_threads)):
                if progress is not None:
                    progress(n_done, tissue.n_atoms)
        return result


def _check_names(wrt: tuple[str, ...]) -> None:
    for name in wrt:
        if name not in PARAMETERS:
            raise ValueError(
                f"wrt: {name!r} must be one of {', '.join(PARAMETERS)}, the derivatives that the network "
                "learned; EPGBloch has more"
            )
    if len(set(wrt)) < len(wrt):
        raise ValueError(f"wrt={wrt} names a parameter twice; name each once")


def find_weights(weights: str | os.PathLike[str] | Weights) -> tuple[str, Weights]:
    """Return the name of a network and its weights; see `GRUSurrogate`."""
    if isinstance(weights, Weights):
        return "unnamed", weights
    if not isinstance(weights, str) or weights.endswith(".npz"):
        return Path(weights).stem, read_weights(weights)
    names = shipped_networks()
    if weights not in names:
        raise ValueError(
            f"weights={weights!r} is none of the shipped networks ({', '.join(names) or 'there are none'}); "
            "give one of these names or a file of weights, *.npz"
        )
    return weights, read_weights(_FOLDER / f"{weights}.npz")
