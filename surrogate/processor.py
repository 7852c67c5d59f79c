"""Loss and gradient of a GRU network on the processor, several times faster than by a framework."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from surrogate.features import FEATURES, INITIAL, OUTPUTS
from surrogate.kernels.gru_gradient import loss_and_gradient
from surrogate.kernels.products import WIDTH
from surrogate.size import NetworkSize

Float32 = NDArray[np.float32]


class Packing:
    """Translation between the weights of a Keras network and the flat vector of the kernels.

    The vector is that of `kernels.gru`: widths are padded with zeros to multiples of 16, and the two biases
    of a gate are added where only their sum matters.

    Parameters
    ----------
    size : NetworkSize
        Size of the network, with GRU cells.
    """

    def __init__(self, size: NetworkSize) -> None:
        self.size = size
        self.width, self.n_outputs = (-(-n // WIDTH) * WIDTH for n in (size.units, len(OUTPUTS)))
        u, width = size.units, self.width
        self._shapes: list[tuple[int, ...]] = [(len(INITIAL), width), (width,)]
        self._used: list[tuple[int, ...]] = [(len(INITIAL), u), (u,)]
        for i_layer in range(size.layers):
            n = len(FEATURES)
            self._shapes += [(width if i_layer else n, 3, width), (width, 3, width), (4, width)]
            self._used += [(u if i_layer else n, 3, u), (u, 3, u), (4, u)]
        self._shapes += [(width, self.n_outputs), (self.n_outputs,)]
        self._used += [(u, len(OUTPUTS)), (len(OUTPUTS),)]
        self._ends = np.cumsum([np.prod(shape) for shape in self._shapes])
        self._biases = range(4, 2 + 3 * size.layers, 3)

    def _parts(self, flat: Float32) -> list[Float32]:
        """Views of what is not padding."""
        parts = np.split(flat, self._ends[:-1])
        return [
            part.reshape(shape)[tuple(slice(n) for n in used)]
            for part, shape, used in zip(parts, self._shapes, self._used, strict=True)
        ]

    def pack(self, weights: Sequence[NDArray[Any]]) -> Float32:
        """Return the flat vector of weights in the order of `network.network_variables`."""
        flat = np.zeros(int(self._ends[-1]), np.float32)
        for i, (part, weight) in enumerate(zip(self._parts(flat), weights, strict=True)):
            if i in self._biases:
                inner, outer = np.reshape(weight, (2, 3, -1))
                part[:2], part[2], part[3] = inner[:2] + outer[:2], inner[2], outer[2]
            else:
                part[:] = np.reshape(weight, part.shape)
        return flat

    def unpack(self, flat: Float32) -> list[Float32]:
        """Return weights in the order of `network.network_variables` whose flat vector this is."""
        weights = []
        for i, part in enumerate(self._parts(flat)):
            if i in self._biases:
                outer = np.stack([np.zeros_like(part[0]), np.zeros_like(part[1]), part[3]])
                part = np.stack([part[:3], outer])
            weights.append(part.reshape(len(part), -1).copy() if part.ndim == 3 else part.copy())
        return weights


class Kernels:
    """Loss and gradient of batches up to one size, computed on several threads.

    Parameters
    ----------
    packing : Packing
        Of the network.
    batch_size : int
        Largest number of signals.
    n_pulses : int
        Largest number of pulses of a gradient. Memory: 20 bytes a signal, pulse, layer and unit.
    n_threads : int
        Threads. The results depend on their number by rounding only.
    """

    def __init__(self, packing: Packing, batch_size: int, n_pulses: int, n_threads: int) -> None:
        self.packing = packing
        self._n_threads = n_threads
        self._pool = ThreadPoolExecutor(n_threads)
        n_signals = -(-batch_size // n_threads)
        self._work = [_Workspace(packing, n_signals, n_pulses) for _ in range(n_threads)]

    def gradient(
        self, flat: Float32, pulses: Float32, initial: Float32, targets: Float32, scale: Float32
    ) -> tuple[float, Float32]:
        """Return the mean over signals and pulses of sum_j scale_j |output_j - target_j|, and its gradient.

        Parameters
        ----------
        flat : ndarray, shape (n_weights,), float32
            Weights as from `Packing.pack`.
        pulses : ndarray, shape (n_pulses, n_signals, 5), float32
            Normalised inputs, time first.
        initial : ndarray, shape (n_signals, 3), float32
            State before the first pulse.
        targets : ndarray, shape (n_pulses, n_signals, 3), float32
            What the outputs should be.
        scale : ndarray, shape (3,), float32
            Weights of the outputs in the loss.

        Returns
        -------
        loss : float
            The loss.
        gradient : ndarray, shape (n_weights,), float32
            Its derivatives by the weights; zero for padding.
        """
        n_pulses, n_signals, _ = pulses.shape
        own_scale = (scale / (n_pulses * n_signals)).astype(np.float32)

        def work(workspace: _Workspace, rows: slice) -> float:
            own, own_targets = (np.ascontiguousarray(a[:, rows]) for a in (pulses, targets))
            return workspace.gradient(flat, own, initial[rows], own_targets, own_scale)

        rows = self._rows(n_signals)
        losses = list(self._pool.map(work, self._work[: len(rows)], rows))
        return float(np.sum(losses)), np.sum([w.bar for w in self._work[: len(rows)]], axis=0)

    def _rows(self, n_signals: int) -> list[slice]:
        """Signals of each thread."""
        edges = np.linspace(0, n_signals, min(self._n_threads, n_signals) + 1).round().astype(int)
        return [slice(*pair) for pair in pairwise(edges.tolist())]


class _Workspace:
    """What one thread writes to."""

    def __init__(self, packing: Packing, n_signals: int, n_pulses: int) -> None:
        self._layers, self._width, self._n_outputs = packing.size.layers, packing.width, packing.n_outputs
        n_states = packing.size.layers * n_signals * packing.width
        self._states = np.empty(n_states * (n_pulses + 1), np.float32)
        self._gates = np.empty(n_states * n_pulses * 4, np.float32)
        self.bar = np.empty(0, np.float32)

    def gradient(
        self, flat: Float32, pulses: Float32, initial: Float32, targets: Float32, scale: Float32
    ) -> float:
        """Return the loss, leave its gradient in `bar`."""
        n_pulses, m, _ = pulses.shape
        n_states = self._layers * m * self._width
        states = self._states[: n_states * (n_pulses + 1)].reshape(self._layers, n_pulses + 1, m, -1)
        gates = self._gates[: n_states * n_pulses * 4].reshape(self._layers, n_pulses, 4, m, -1)
        bars = np.zeros((n_pulses, m, self._n_outputs), np.float32)
        self.bar = np.empty_like(flat)
        return loss_and_gradient(flat, pulses, initial, targets, scale, states, gates, bars, self.bar)
