"""Figure 7 of the paper on MR-zero: a sequence and a network for T1 maps, learned together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from design.mrzero import ImagingSequence
from design.mrzero.image_grid import ImageGrid
from design.mrzero.networks import pixel_network
from design.mrzero.optimiser import Optimised, Phase, optimise
from design.mrzero.reconstruction import adjoint
from design.mrzero.sequences import inversion_prepared
from design.mrzero.tf_twin import signals
from design.mrzero.trajectory import nominal_trajectory
from design.mrzero.twin import Twin
from jobs.mrzero_phantoms import FOV, ObjectMaps, brain, wide_sample
from jobs.mrzero_task import iterations_seen, side_by_side

_FLIP_ANGLE = float(np.deg2rad(5))
_TE = 8e-3
_TR = 15e-3
_SHORT_T2 = 2e-3
"""T2 in the twin [s]: nothing transverse is left at the next pulse, as ideal spoiling has it."""
_NOISE = 0.01
"""Standard deviation of the noise of pixels, over the signal of the first pulse and a proton density of 1."""
_REPLICAS = 4
_N_SAMPLES = 10
_LONGEST = 8.0  # of any time [s]
_NETWORK = "network"
_TIMES = ("inversion_time", "recovery_time")


@dataclass(frozen=True)
class MappingSize:
    """How large the experiment is.

    Attributes
    ----------
    matrix, n_blocks : int
        Pixels along an axis, images.
    n_first, n_rounds, n_sequence, n_network : int
        Steps of the network alone at first; rounds, and steps of sequence and network in each.
    edge : int
        Voxels along the edge of the squares that are trained with.
    """

    matrix: int
    n_blocks: int
    n_first: int
    n_rounds: int
    n_sequence: int
    n_network: int
    edge: int


SIZES = {"full": MappingSize(32, 10, 5000, 10, 50, 1000, 12), "quick": MappingSize(16, 6, 300, 2, 10, 150, 8)}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """T1 of a brain that was not trained with.

    Attributes
    ----------
    truth, found : ndarray, shape (ny, nx)
        T1 [s]; 0 outside.
    mean, median : float
        Magnitudes of relative errors within the brain [%].
    """

    truth: NDArray[np.float64]
    found: NDArray[np.float64]
    mean: float
    median: float


@dataclass(frozen=True, eq=False)
class MappingOutcome:
    """What was learned.

    Attributes
    ----------
    first, joint : Optimised
        Of the network alone, and of both.
    sequence : ImagingSequence
        The result.
    before, after : list of HeldOut
        After `first`, and at the end.
    """

    first: Optimised
    joint: Optimised
    sequence: ImagingSequence
    before: list[HeldOut]
    after: list[HeldOut]


class Mapping:
    """The experiment.

    Ten squares of voxels of wide ranges are imaged after inversions; a network of pixels turns the magnitudes
    of a pixel in all images, divided by their norm, into its T1. Inversion and recovery times begin at 0.
    Spoiling is ideal: with T2 up to seconds, the echoes of 330 pulses would be far too many states. The twin
    gets a T2 well below TR, and proton densities with the decay until TE that the true T2 brings.

    Parameters
    ----------
    size : MappingSize
        Its size.
    seed : int
        Of samples, noise, network and held-out brains.
    """

    def __init__(self, size: MappingSize, seed: int) -> None:
        self.size, self.seed = size, seed
        rng = np.random.default_rng(seed)
        self.samples = [wide_sample(size.matrix, rng, edge=size.edge) for _ in range(_N_SAMPLES)]
        none = np.zeros(size.n_blocks)
        self.structure = inversion_prepared(
            size.matrix,
            FOV,
            flip_angle=_FLIP_ANGLE,
            tr=_TR,
            te=_TE,
            inversion_times=none,
            recovery_times=none,
            dwell=10e-6,
        )
        first = self.structure.first_event
        inversions = np.flatnonzero(self.structure.use == "inversion")
        ends = np.append(inversions[1:], self.structure.n_repetitions)
        self._events = {"inversion_time": first[inversions], "recovery_time": first[ends] - 1}
        self.network = pixel_network(size.n_blocks, 1, seed=seed)
        inside = np.stack([sample.proton_density > 0.1 for sample in self.samples])
        self._inside = np.flatnonzero(inside)
        t1 = np.stack([sample.t1 for sample in self.samples]).ravel()[self._inside]
        self._t1 = tf.constant(np.tile(t1, _REPLICAS), tf.float32)
        noise = _NOISE * np.sin(_FLIP_ANGLE) * rng.normal(size=(2, t1.size * _REPLICAS, size.n_blocks))
        self._noise = tf.complex(*tf.constant(noise, tf.float32))
        self._kept: tuple[Any, tf.Tensor] = (None, tf.zeros(()))

    @cached_property
    def twin(self) -> Twin:
        """Of all samples; each has a coil of its own."""
        return side_by_side([_ideally_spoiled(sample) for sample in self.samples])

    def play(self, variables: dict[str, Any]) -> tf.Tensor:
        """Durations of all events [s]."""
        durations = tf.constant(self.structure.durations, tf.float32)
        for name in _TIMES:
            index = self._events[name][:, np.newaxis]
            durations = tf.tensor_scatter_nd_update(durations, index, tf.convert_to_tensor(variables[name]))
        return durations

    def images(self, twin: Twin, durations: Any) -> tf.Tensor:
        """Images of each coil, shape (n_coils, n_blocks, ny, nx), complex64."""
        n, n_blocks = self.size.matrix, self.size.n_blocks
        signal = signals(twin, self.structure, durations=durations)
        k = nominal_trajectory(self.structure)
        grid = ImageGrid((n, n), (FOV, FOV))
        blocks = tf.split(signal, n_blocks, axis=1)
        places = tf.split(k, n_blocks, axis=0)
        found = [adjoint(one, k, grid) for one, k in zip(blocks, places, strict=True)]
        return tf.stack(found, axis=1)

    def _inputs(self, durations: tf.Tensor) -> tf.Tensor:
        """What the network sees of the samples, kept while the sequence stays the same."""
        images = tf.transpose(self.images(self.twin, durations), (0, 2, 3, 1))
        pixels = tf.gather(tf.reshape(images, (-1, self.size.n_blocks)), self._inside)
        return _normalised(tf.tile(pixels, (_REPLICAS, 1)) + self._noise)

    def loss(self, variables: dict[str, Any]) -> tf.Tensor:
        """Mean squared relative error of T1."""
        times = tuple(variables[name] for name in _TIMES)
        if not (self._kept[0] is not None and all(a is b for a, b in zip(self._kept[0], times, strict=True))):
            self._kept = times, self._inputs(self.play(variables))
        found = self.network(self._kept[1])[:, 0]
        return tf.reduce_mean(tf.math.square(found / self._t1 - 1))

    def run(self, folder: Path, console: Any) -> MappingOutcome:
        """Learn; checkpoints go into `folder`."""
        size = self.size
        zero = {name: np.zeros(size.n_blocks) for name in _TIMES}
        networks: dict[str, keras.Model] = {_NETWORK: self.network}
        limits = {name: (0.0, _LONGEST) for name in _TIMES}
        identity = {"size": repr(size), "seed": self.seed}
        common: dict[str, Any] = {"networks": networks, "bounds": limits, "seed": self.seed}
        rates = {name: 0.2 for name in _TIMES}
        with console.step("The network, for the first sequence") as progress:
            first = optimise(
                self.loss,
                zero,
                Phase({_NETWORK: 1e-3}, size.n_first),
                decay=0.1,
                checkpoint=folder / "first.npz",
                checkpoint_every=500,
                identity=identity,
                callback=iterations_seen(progress),
                **common,
            )
        before = [self.held_out(zero, seed) for seed in self._held_out_seeds]
        rounds = [Phase(rates, size.n_sequence), Phase({_NETWORK: 1e-3}, size.n_network)]
        with console.step("Sequence and network in turn") as progress:
            joint = optimise(
                self.loss,
                zero,
                rounds * size.n_rounds,
                decay=0.1,
                record_every=max(1, size.n_network // 4),
                checkpoint=folder / "joint.npz",
                checkpoint_every=500,
                identity=identity,
                callback=iterations_seen(progress),
                **common,
            )
        after = [self.held_out(joint.values, seed) for seed in self._held_out_seeds]
        return MappingOutcome(first, joint, self.sequence(joint.values), before, after)

    @property
    def _held_out_seeds(self) -> list[int]:
        return [3 * self.seed + i for i in (1, 2, 3)]

    def sequence(self, variables: dict[str, Any]) -> ImagingSequence:
        """Return the sequence that the variables make."""
        durations = self.structure.durations.copy()
        for name in _TIMES:
            durations[self._events[name]] = variables[name]
        return replace(self.structure, durations=durations)

    def held_out(self, variables: dict[str, Any], seed: int) -> HeldOut:
        """Map the T1 of a brain, with noise."""
        maps: ObjectMaps = brain(self.size.matrix, seed)
        twin = side_by_side([_ideally_spoiled(maps)])
        durations = self.sequence(variables).durations
        images = self.images(twin, durations)[0].numpy()
        rng = np.random.default_rng(seed)
        deviation = _NOISE * np.sin(_FLIP_ANGLE)
        images = images + deviation * (rng.normal(size=images.shape) + 1j * rng.normal(size=images.shape))
        pixels = tf.constant(images.reshape(len(images), -1).T, tf.complex64)
        found = self.network(_normalised(pixels)).numpy().reshape(maps.t1.shape)
        inside = maps.proton_density > 0.5
        error = 100 * np.abs(found[inside] / maps.t1[inside] - 1)
        truth = np.where(inside, maps.t1, 0)
        return HeldOut(truth, np.where(inside, found, 0), float(error.mean()), float(np.median(error)))


def _ideally_spoiled(maps: ObjectMaps) -> ObjectMaps:
    density = maps.proton_density * np.exp(_TE / _SHORT_T2 - _TE / maps.t2)
    return replace(maps, proton_density=density, t2=np.full_like(maps.t2, _SHORT_T2))


def _normalised(pixels: tf.Tensor) -> tf.Tensor:
    size = tf.abs(pixels)
    return size / tf.norm(size, axis=1, keepdims=True)
