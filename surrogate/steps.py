"""Steps of training: by the kernels on the processor, or by Keras on an accelerator."""

from __future__ import annotations

import contextlib
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from surrogate.batches import Batch
from surrogate.features import normalisation
from surrogate.inference import Inference
from surrogate.network import build_network, network_variables
from surrogate.processor import Kernels, Packing
from surrogate.sampling import Ranges
from surrogate.size import NetworkSize
from surrogate.weights import Weights

Float32 = NDArray[np.float32]
_DECAY_1, _DECAY_2, _EPSILON = 0.9, 0.999, 1e-7
"""Constants of Adam, those of Keras."""


class Steps(Protocol):
    """A network that is being trained with Adam."""

    def step(self, batch: Batch, learning_rate: float) -> float:
        """Change the weights to lower the loss of a batch; return the loss before.

        The loss is the mean over signals and pulses of the weighted absolute errors of the outputs. The
        gradient is scaled down where its norm is above the largest allowed one. `KernelSteps` leaves the
        weights as they are where the gradient overflows.
        """
        ...

    def outputs(self, batch: Batch) -> Float32:
        """Return the outputs for a batch, shape (n_signals, n_pulses, 3)."""
        ...

    def weights(self) -> list[Float32]:
        """Return the weights in the order of `network.network_variables`."""
        ...

    def state(self) -> list[NDArray[Any]]:
        """Return everything that steps change."""
        ...

    def restore(self, state: list[NDArray[Any]]) -> None:
        """Go back to an earlier `state`."""
        ...


class KernelSteps:
    """Steps by the kernels, for GRU networks.

    Parameters
    ----------
    size : NetworkSize
        Size of the network.
    ranges : Ranges
        Ranges of its inputs.
    output_weights : tuple of float
        Weights of the three outputs in the loss.
    clip_norm : float
        Largest norm of the gradient.
    seed : int
        Seed of the first weights.
    start : tuple of ndarray or None
        Weights to begin with, in the order of `network.network_variables`; None: random ones.
    batch_size, n_pulses : int
        Largest number of signals and pulses in a step.
    n_threads : int
        Threads. Results depend on it by rounding.
    """

    def __init__(
        self,
        size: NetworkSize,
        ranges: Ranges,
        *,
        output_weights: tuple[float, ...],
        clip_norm: float,
        seed: int,
        start: tuple[Float32, ...] | None = None,
        batch_size: int,
        n_pulses: int,
        n_threads: int,
    ) -> None:
        network = build_network(size, ranges, seed)
        self._size, self._ranges, self._n_threads = size, ranges, n_threads
        self._packing = Packing(size)
        self._kernels = Kernels(self._packing, batch_size, n_pulses, n_threads)
        self._scale, self._clip_norm = np.asarray(output_weights, np.float32), clip_norm
        center, half_width = normalisation(ranges)
        self._center, self._factor = center.astype(np.float32), (1 / half_width).astype(np.float32)
        arrays = start or _values(network_variables(network))
        self._flat = self._packing.pack(arrays)
        self._mean, self._square = np.zeros((2, *self._flat.shape), np.float32)
        self._n_steps = 0

    def _inputs(self, batch: Batch) -> Float32:
        """Normalised, time first."""
        return (batch.pulses.swapaxes(0, 1) - self._center) * self._factor

    def step(self, batch: Batch, learning_rate: float) -> float:
        """See `Steps`."""
        loss, gradient = self._kernels.gradient(
            self._flat, self._inputs(batch), batch.initial, batch.targets.swapaxes(0, 1), self._scale
        )
        norm = float(np.linalg.norm(gradient.astype(np.float64)))
        if not np.isfinite(norm):  # an explosion over many pulses: one batch is not worth the training
            return loss
        gradient *= min(1.0, self._clip_norm / max(norm, 1e-30))
        # Adam (Kingma and Ba, arXiv 1412.6980, algorithm 1), as in Keras, on the flat vector
        self._n_steps += 1
        self._mean += (1 - _DECAY_1) * (gradient - self._mean)
        self._square += (1 - _DECAY_2) * (gradient**2 - self._square)
        corrected = learning_rate * np.sqrt(1 - _DECAY_2**self._n_steps) / (1 - _DECAY_1**self._n_steps)
        self._flat -= np.float32(corrected) * self._mean / (np.sqrt(self._square) + np.float32(_EPSILON))
        return loss

    def outputs(self, batch: Batch) -> Float32:
        """See `Steps`."""
        network = Inference(Weights(self._size, self._ranges, tuple(self.weights()), {}))
        return network.outputs_on(self._n_threads, batch.pulses, batch.initial)

    def weights(self) -> list[Float32]:
        """See `Steps`."""
        return self._packing.unpack(self._flat)

    def state(self) -> list[NDArray[Any]]:
        """See `Steps`."""
        return [self._flat.copy(), self._mean.copy(), self._square.copy(), np.array(self._n_steps)]

    def restore(self, state: list[NDArray[Any]]) -> None:
        """See `Steps`."""
        self._flat, self._mean, self._square = (array.copy() for array in state[:3])
        self._n_steps = int(state[3])


class KerasSteps:
    """Steps by Keras and its backend, for every network.

    Parameters
    ----------
    size, ranges, output_weights, clip_norm, seed, start
        As for `KernelSteps`.
    precision : {"float32", "mixed_float16"}
        What the recurrent layers compute with.
    """

    def __init__(
        self,
        size: NetworkSize,
        ranges: Ranges,
        *,
        output_weights: tuple[float, ...],
        clip_norm: float,
        seed: int,
        start: tuple[Float32, ...] | None = None,
        precision: str,
    ) -> None:
        self._network = build_network(size, ranges, seed, precision)
        if start is not None:
            for variable, value in zip(network_variables(self._network), start, strict=True):
                variable.assign(value)
        scale = np.asarray(output_weights, np.float32)

        def loss(targets: Any, outputs: Any) -> Any:
            errors = keras.ops.abs(outputs - targets)
            return keras.ops.sum(errors * keras.ops.convert_to_tensor(scale), axis=-1)

        optimizer = keras.optimizers.Adam(global_clipnorm=clip_norm)
        if precision == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        self._network.compile(optimizer=optimizer, loss=loss)
        self._network.optimizer.build(self._network.trainable_variables)

    def step(self, batch: Batch, learning_rate: float) -> float:
        """See `Steps`."""
        self._network.optimizer.learning_rate = learning_rate
        self._network.reset_metrics()
        inputs = {"pulses": batch.pulses, "initial": batch.initial}
        return float(self._network.train_on_batch(inputs, batch.targets))

    def outputs(self, batch: Batch) -> Float32:
        """See `Steps`."""
        return self._network.predict_on_batch({"pulses": batch.pulses, "initial": batch.initial})

    def weights(self) -> list[Float32]:
        """See `Steps`."""
        return _values(network_variables(self._network))

    def _variables(self) -> list[keras.Variable]:
        return [*self._network.trainable_variables, *self._network.optimizer.variables]

    def state(self) -> list[NDArray[Any]]:
        """See `Steps`."""
        return _values(self._variables())

    def restore(self, state: list[NDArray[Any]]) -> None:
        """See `Steps`."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)


def _values(variables: list[keras.Variable]) -> list[NDArray[Any]]:
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def accelerators() -> list[str]:
    """Return the GPUs and TPUs that the backend of Keras sees, as in "gpu:0"."""
    if keras.backend.backend() == "torch":  # for which Keras cannot list devices
        import torch

        return [f"gpu:{i}" for i in range(torch.cuda.device_count())]
    found = []
    for kind in ("gpu", "tpu"):
        with contextlib.suppress(RuntimeError):  # JAX does not know the kind
            found += keras.distribution.list_devices(kind)
    return found
