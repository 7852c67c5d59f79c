"""Outputs of a trained network on the processor, several times faster than by a framework."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from surrogate.features import OUTPUTS, normalisation
from surrogate.kernels.gru import predict
from surrogate.kernels.gru_gradient import pull_back
from surrogate.kernels.inputs import time_first
from surrogate.kernels.products import WIDTH
from surrogate.processor import Packing
from surrogate.weights import Weights

Float32 = NDArray[np.float32]

BLOCK = 48
"""Signals at a time that suit the processor: their states stay in its cache; a multiple of 6 rows."""
GRADIENT_BLOCK = 12
"""The same for gradients, which keep the states and gates of all pulses: 2 kB a signal and pulse."""


class Inference:
    """A trained network, ready to be evaluated from any number of threads at once.

    Parameters
    ----------
    weights : Weights
        The network.

    Raises
    ------
    ValueError
        If its cells are not GRU cells.
    """

    def __init__(self, weights: Weights) -> None:
        if weights.size.cell != "gru":
            raise ValueError(
                f"weights: the network has cell={weights.size.cell!r}, but only 'gru' has kernels; "
                "evaluate it with surrogate.network.network_of"
            )
        center, half_width = normalisation(weights.ranges)
        self._center, self._factor = center.astype(np.float32), (1 / half_width).astype(np.float32)
        self._packing = Packing(weights.size)
        self._flat = self._packing.pack(weights.arrays)

    def outputs(self, pulses: Float32, initial: Float32) -> Float32:
        """Return what the network makes of some signals, computed on the calling thread.

        The outputs of a signal do not depend on the others. Memory: 100 bytes a signal and pulse.

        Parameters
        ----------
        pulses : ndarray, shape (n_signals, n_pulses, 5), float32
            See `features.pulse_features`.
        initial : ndarray, shape (n_signals, 3), float32
            See `features.initial_state`.

        Returns
        -------
        ndarray, shape (n_signals, n_pulses, 3), float32
            In the order of `features.OUTPUTS`.
        """
        n_signals, n_pulses, _ = pulses.shape
        inputs = time_first(pulses, self._center, self._factor)
        padded = np.empty((n_pulses, n_signals, self._packing.n_outputs), np.float32)
        predict(self._flat, inputs, initial, self._packing.size.layers, self._packing.width, padded)
        return padded[..., : len(OUTPUTS)].swapaxes(0, 1)

    def pull_back(self, pulses: Float32, initial: Float32, bars: Float32) -> tuple[Float32, Float32]:
        """Return the derivatives of a scalar by the inputs, computed on the calling thread.

        Parameters
        ----------
        pulses, initial
            As for `outputs`.
        bars : ndarray, shape (n_signals, n_pulses, 3), float32
            Derivatives of the scalar by the outputs.

        Returns
        -------
        ndarray, shape (n_signals, n_pulses, 5), float32
            Derivatives by `pulses`.
        ndarray, shape (n_signals, 3), float32
            Derivatives by `initial`.
        """
        (n_signals, n_pulses, n_features), size = pulses.shape, self._packing.size
        inputs = time_first(pulses, self._center, self._factor)
        own_bars = np.zeros((n_pulses, n_signals, self._packing.n_outputs), np.float32)
        own_bars[..., : len(OUTPUTS)] = bars.swapaxes(0, 1)
        hidden = np.empty((size.layers, n_pulses + 1, n_signals, self._packing.width), np.float32)
        gates = np.empty((size.layers, n_pulses, 4, n_signals, self._packing.width), np.float32)
        inputs_bar = np.empty((n_pulses, n_signals, WIDTH), np.float32)
        initial_bar = np.empty_like(initial)
        pull_back(self._flat, inputs, initial, own_bars, hidden, gates, inputs_bar, initial_bar)
        return inputs_bar[..., :n_features].swapaxes(0, 1) * self._factor, initial_bar

    def outputs_on(self, n_threads: int, pulses: Float32, initial: Float32) -> Float32:
        """Return the same from several threads."""
        with ThreadPoolExecutor(n_threads) as pool:
            parts = pool.map(
                lambda rows: self.outputs(pulses[rows], initial[rows]), blocks(len(pulses), n_threads)
            )
            return np.concatenate(list(parts))


def blocks(n_signals: int, n_threads: int, largest: int = BLOCK) -> list[slice]:
    """Return signals at a time, at most `largest`, and no more than fall to a thread."""
    size = min(largest, -(-n_signals // n_threads))
    return [slice(start, min(start + size, n_signals)) for start in range(0, n_signals, size)]
