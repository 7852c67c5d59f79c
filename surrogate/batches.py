"""Batches of a data set as the network reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from surrogate.dataset import Dataset
from surrogate.features import initial_state, pulse_features

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Inputs and targets of some signals.

    Attributes
    ----------
    pulses : ndarray, shape (n_signals, n_pulses, 5), float32
        See `features.pulse_features`.
    initial : ndarray, shape (n_signals, 3), float32
        See `features.initial_state`.
    targets : ndarray, shape (n_signals, n_pulses, 3), float32
        In the order of `features.OUTPUTS`.
    """

    pulses: Float32
    initial: Float32
    targets: Float32


def batch_of(dataset: Dataset, rows: slice | NDArray[np.intp], n_pulses: int) -> Batch:
    """Return the first `n_pulses` pulses of some signals."""
    pulses = pulse_features(
        dataset.t1[rows],
        dataset.t2[rows],
        dataset.tr[rows, :n_pulses],
        dataset.te[rows, :n_pulses],
        dataset.flip_angle[rows, :n_pulses],
    )
    delay = dataset.inversion_time[rows] - dataset.recipe["pulse"]["center"]
    initial = initial_state(dataset.t1[rows], delay, dataset.inversion_efficiency[rows])
    return Batch(pulses, initial, dataset.targets[rows, :, :n_pulses].swapaxes(1, 2))


def shuffled(
    dataset: Dataset, size: int, n_pulses: int, seed: tuple[int, ...], first: int
) -> Iterator[Batch]:
    """Yield the batches of one epoch from number `first` on, in an order that only the seed determines.

    Signals that do not fill a batch are left out; which ones differs between seeds.
    """
    order = np.random.default_rng(seed).permutation(dataset.n_signals)
    for start in range(first * size, dataset.n_signals - size + 1, size):
        yield batch_of(dataset, np.sort(order[start : start + size]), n_pulses)
