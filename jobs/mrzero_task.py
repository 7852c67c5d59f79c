"""Optimisations of imaging sequences against target images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from design.mrzero import ImagingSequence, Voxels
from design.mrzero.image_grid import ImageGrid
from design.mrzero.losses import image_error, l2_error, mask_error, relative_sar
from design.mrzero.optimiser import Iteration, Optimised, Phase, optimise
from design.mrzero.reconstruction import adjoint, iterative_adjoint
from design.mrzero.tf_twin import signals
from design.mrzero.trajectory import nominal_trajectory
from design.mrzero.twin import Twin
from jobs.mrzero_phantoms import FOV, ObjectMaps

Arrays = dict[str, NDArray[Any]]
Variables = Mapping[str, Any]
Play = Callable[[Variables], dict[str, Any]]
"""Turns variables into the arguments of `signals` that they replace."""

_SAR = "relative_sar"
_ERROR = "image_error_percent"


@dataclass(frozen=True)
class Snapshot:
    """A sequence on the way, and its image of the shown object.

    Attributes
    ----------
    iteration : int
        How many steps were made before.
    flip_angle, phase : ndarray, shape (n_repetitions,)
        Pulses [rad].
    k : ndarray, shape (n_samples, 2)
        Samples (x, y) [cycles/m].
    image : ndarray, shape (ny, nx), complex64
        The image.
    image_error : float
        Against the target [%]; after the best scaling where only shape counts.
    relative_sar : float
        Over that of the target sequence.
    """

    iteration: int
    flip_angle: NDArray[np.float64]
    phase: NDArray[np.float64]
    k: NDArray[np.float64]
    image: NDArray[np.complex64]
    image_error: float
    relative_sar: float


@dataclass(frozen=True, eq=False)
class Task:
    """One optimisation.

    Attributes
    ----------
    name, title : str
        For files, and for people.
    matrix : int
        Pixels along both axes.
    target : ImagingSequence
        Its image is the target, and its pulses have a SAR of 1.
    structure : ImagingSequence
        Gives what the variables do not.
    initial : dict of str to ndarray
        First values of the variables.
    play : callable
        Variables to what `signals` gets.
    learning_rate : dict of str to float
        First step sizes.
    n_iterations : int
        Steps of a run.
    shown : ObjectMaps
        The object whose image is shown and judged.
    train : tuple of ObjectMaps
        What is trained with; the shown object if empty. Several make a data set.
    batch_size : int
        Objects of a step.
    sar_weight : float
        Weight of the relative SAR in the loss, beside the squared relative error of the image.
    edge_weight : float
        Weight of the squared differences between neighbouring pixels of image minus target, relative to the
        power of the target. It makes outer k-space count more.
    decay, n_restarts, perturbation
        As of `optimise`.
    radial : bool
        Reconstruct by ten steps of the iterative adjoint.
    mask : bool
        The target is the outline of the object, as bright as the target image on average.
    shape_only : bool
        Compare magnitudes after the best scaling, instead of complex images.
    """

    name: str
    title: str
    matrix: int
    target: ImagingSequence
    structure: ImagingSequence
    initial: Arrays
    play: Play
    learning_rate: dict[str, float]
    n_iterations: int
    shown: ObjectMaps
    train: tuple[ObjectMaps, ...] = ()
    batch_size: int = 1
    sar_weight: float = 0.0
    edge_weight: float = 0.0
    decay: float = 0.01
    n_restarts: int = 0
    perturbation: dict[str, float] = field(default_factory=dict)
    radial: bool = False
    mask: bool = False
    shape_only: bool = False

    @property
    def n_steps(self) -> int:
        """Iterations, restarts included."""
        return self.n_iterations * (1 + self.n_restarts)

    @property
    def grid(self) -> ImageGrid:
        """Pixels of the images."""
        return ImageGrid((self.matrix, self.matrix), (FOV, FOV))

    def images(self, twin: Twin, sequence: ImagingSequence, played: dict[str, Any]) -> tf.Tensor:
        """Simulate and reconstruct; an image for each coil, complex64."""
        signal = signals(twin, sequence, **played)
        k = nominal_trajectory(sequence, played.get("moments"))
        if self.radial:
            return iterative_adjoint(signal, k, self.grid).image
        return adjoint(signal, k, self.grid)

    @cached_property
    def twin(self) -> Twin:
        """Of the shown object."""
        return Twin(self.shown.voxels())

    @cached_property
    def target_image(self) -> NDArray[np.complex64]:
        """Of the shown object, shape (ny, nx)."""
        image = self.images(self.twin, self.target, {})[0].numpy()
        if self.mask:
            outline = self.shown.proton_density > 0
            return (outline * np.abs(image[outline]).mean()).astype(np.complex64)
        return image

    def sequence(self, variables: Variables) -> ImagingSequence:
        """Return the sequence that the variables make."""
        played: dict[str, Any] = {
            name: np.asarray(value, np.float64) for name, value in self.play(variables).items()
        }
        return replace(self.structure, **played)

    def snapshot(self, variables: Variables, iteration: int) -> Snapshot:
        """Return what the variables make of the shown object."""
        sequence = self.sequence(variables)
        image = self.images(self.twin, sequence, {})[0].numpy()
        if self.shape_only:
            image = best_scaled(image, self.target_image)
            error = scaled_error(image, self.target_image)
        else:
            error = float(image_error(image, self.target_image))
        return Snapshot(
            iteration,
            sequence.flip_angle,
            sequence.phase,
            nominal_trajectory(sequence).numpy()[:, :2],
            image,
            error,
            float(relative_sar(sequence.flip_angle, self.target.flip_angle)),
        )

    def optimise(self, **options: Any) -> Optimised:
        """Run the optimisation; `options` are those of `optimise` that concern files and progress."""
        data: dict[str, Any] = {}
        if self.train:
            data = {"n_data": len(self.train), "batch_size": self.batch_size}
        return optimise(
            self._loss_of_samples() if self.train else self._loss_of_shown,
            self.initial,
            Phase(self.learning_rate, self.n_iterations),
            decay=self.decay,
            n_restarts=self.n_restarts,
            perturbation=self.perturbation,
            **data,
            **options,
        )

    def _loss_of_shown(self, variables: Variables) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        played = self.play(variables)
        return self._judged(self.images(self.twin, self.structure, played)[0], self.target_image, played)

    def _loss_of_samples(self) -> Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]:
        targets: dict[int, NDArray[np.complex64]] = {}

        def loss(variables: Variables, indices: NDArray[np.int64]) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            missing = [int(i) for i in indices if int(i) not in targets]
            if missing:
                images = self.images(side_by_side([self.train[i] for i in missing]), self.target, {})
                targets.update(zip(missing, images.numpy(), strict=True))
            played = self.play(variables)
            twin = side_by_side([self.train[int(i)] for i in indices])
            images = self.images(twin, self.structure, played)
            return self._judged(images, np.stack([targets[int(i)] for i in indices]), played)

        return loss

    def _judged(
        self, image: tf.Tensor, target: NDArray[np.complex64], played: dict[str, Any]
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        sar = relative_sar(played["flip_angle"], self.target.flip_angle)
        compare = mask_error if self.shape_only else l2_error
        loss = compare(image, np.abs(target) if self.shape_only else target) + self.sar_weight * sar
        if self.edge_weight:
            loss += self.edge_weight * _edge_error(image, target)
        return loss, {_ERROR: image_error(image, target), _SAR: sar}


def best_scaled(image: NDArray[np.complex64], target: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Return the image times the number that brings its magnitude closest to that of the target."""
    size = np.abs(image)
    return image * ((size * np.abs(target)).sum() / max(float((size**2).sum()), 1e-30))


def scaled_error(image: NDArray[np.complex64], target: NDArray[np.complex64]) -> float:
    """Error of the magnitude image in percent after the best scaling, which leaves shape and contrast."""
    size = np.abs(target)
    return float(100 * np.linalg.norm(np.abs(best_scaled(image, target)) - size) / np.linalg.norm(size))


def _edge_error(image: tf.Tensor, target: NDArray[np.complex64]) -> tf.Tensor:
    """Squared differences along both axes of image - target, over the squares of the target."""
    apart = image - target
    steps = apart[..., 1:, :] - apart[..., :-1, :], apart[..., 1:] - apart[..., :-1]
    power = sum(tf.reduce_sum(tf.math.square(tf.abs(step))) for step in steps)
    return power / tf.reduce_sum(tf.math.square(tf.abs(target)))


def side_by_side(objects: list[ObjectMaps]) -> Twin:
    """Return a twin in which every object has a coil of its own, so that one simulation serves all."""
    voxels = [one.voxels() for one in objects]
    owner = np.repeat(np.arange(len(voxels)), [one.n_voxels for one in voxels])
    maps = {
        name: np.concatenate([getattr(one, name) for one in voxels])
        for name in ("position", "proton_density", "t1", "t2", "off_resonance", "b1")
    }
    coils = (owner == np.arange(len(voxels))[:, np.newaxis]).astype(np.complex128)
    return Twin(Voxels(size=voxels[0].size, coil_sensitivities=coils, **maps))


def pulses_only(n_fixed: int, fixed: float) -> Play:
    """Variables "flip_angle" of all pulses after the first `n_fixed`, which have the angle `fixed` [rad]."""

    def play(variables: Variables) -> dict[str, Any]:
        first = tf.fill((n_fixed,), tf.constant(fixed, tf.float32))
        return {"flip_angle": tf.concat([first, variables["flip_angle"]], axis=0)}

    return play


def whole_encoding(matrix: int, spoiler: float) -> Play:
    """Pulses and the lines of k-space.

    Variables are "flip_angle" and "phase" (n_lines,) [rad], "centre" (n_lines, 2), the centres of the lines,
    "extent" (2,), the way along x and y that all readouts share, and "extent_change" (n_lines, 2), what
    each adds to that; all in units of 1 / FOV. The last event of a repetition brings k back to 0 and plays
    the spoiler.
    """
    step = np.zeros((matrix + 2, 1), np.float32)
    step[1:-1] = 1 / matrix

    def play(variables: Variables) -> dict[str, Any]:
        extent = variables["extent"] + variables["extent_change"]
        first = variables["centre"] - extent / 2
        last = -(first + extent)
        ends = np.zeros((matrix + 2, 2), np.float32)
        ends[0, 0] = ends[-1, 1] = 1
        plane = (
            step * extent[:, tf.newaxis]
            + ends[:, :1] * first[:, tf.newaxis]
            + ends[:, 1:] * last[:, tf.newaxis]
        ) / FOV
        spoilers = np.zeros((matrix, matrix + 2, 1), np.float32)
        spoilers[:, -1] = spoiler
        moments = tf.reshape(tf.concat([plane, spoilers], axis=2), (-1, 3))
        return {"flip_angle": variables["flip_angle"], "phase": variables["phase"], "moments": moments}

    return play


def iterations_seen(step: Callable[[int, int], None]) -> Callable[[Iteration], None]:
    """Return a callback of `optimise` for a progress bar."""
    return lambda iteration: step(iteration.index + 1, iteration.n_iterations)
