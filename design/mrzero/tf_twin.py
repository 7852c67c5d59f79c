"""The twin as a TensorFlow function of sequence and object, with exact gradients.

Import this file by name: `design.mrzero` itself does without TensorFlow.

What is given as a tensor or variable is differentiated; numbers and NumPy arrays are constants, which saves
time, above all for moments and durations. Works eagerly. TensorFlow hands back the gradient of a real
scalar L by a complex signal S as dL/d(Re S) + i dL/d(Im S), which is what `Twin.gradient` takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.sequence import ImagingSequence
from design.mrzero.twin import Twin

_WAYS = ("moments", "durations")


def signals(
    twin: Twin,
    sequence: ImagingSequence,
    *,
    flip_angle: tf.Tensor | ArrayLike | None = None,
    phase: tf.Tensor | ArrayLike | None = None,
    moments: tf.Tensor | ArrayLike | None = None,
    durations: tf.Tensor | ArrayLike | None = None,
    adc_phase: tf.Tensor | ArrayLike | None = None,
    proton_density: tf.Tensor | None = None,
    t1: tf.Tensor | None = None,
    t2: tf.Tensor | None = None,
    t2_prime: tf.Tensor | None = None,
    off_resonance: tf.Tensor | None = None,
    diffusion: tf.Tensor | None = None,
    b1: tf.Tensor | None = None,
    coil_sensitivities: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return the samples of `Twin.signal`, differentiable by sequence and object.

    Parameters
    ----------
    twin : Twin
        The twin.
    sequence : ImagingSequence
        Gives the structure (events, ADC) and whatever is not given below.
    flip_angle, phase, moments, durations, adc_phase : tensor or array_like, optional
        In place of those of `sequence`, in the same shapes and units. float32 suffices for angles and
        moments; durations in float32 are rounded by up to 6e-8 of their value.
    proton_density, t1, t2, t2_prime, off_resonance, diffusion, b1, coil_sensitivities : tensor, optional
        In place of those of the twin's voxels. A twin is made for each call.

    Returns
    -------
    tf.Tensor, shape (n_coils, n_samples), complex64
        The samples. Gradients have the dtype and shape of their tensor.

    Raises
    ------
    ValueError
        If `ImagingSequence`, `Voxels` or the twin refuse a value, if diffusion to be differentiated is 0, or
        within `tf.function`.
    """
    if not tf.executing_eagerly():
        raise ValueError(
            "signals cannot be called within tf.function: call it eagerly, it compiles by itself"
        )
    played = {
        "flip_angle": flip_angle,
        "phase": phase,
        "moments": moments,
        "durations": durations,
        "adc_phase": adc_phase,
    }
    maps = {
        "proton_density": proton_density,
        "t1": t1,
        "t2": t2,
        "t2_prime": t2_prime,
        "off_resonance": off_resonance,
        "diffusion": diffusion,
        "b1": b1,
        "coil_sensitivities": coil_sensitivities,
    }
    values = {name: value for name, value in (played | maps).items() if value is not None}
    tensors = {name: tf.convert_to_tensor(value) for name, value in values.items() if tf.is_tensor(value)}
    ways = any(name in tensors for name in _WAYS)
    if "diffusion" in tensors and not np.any(tensors["diffusion"].numpy()):
        raise ValueError(
            "diffusion is 0 everywhere, and its gradient is not computed there; begin at a small value, "
            "such as 1e-12 m^2/s"
        )

    @tf.custom_gradient
    def differentiable(*arguments: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        arrays = {name: value.numpy() for name, value in zip(tensors, arguments, strict=True)}
        now: dict[str, Any] = values | arrays
        changes = {name: now[name] for name in played if name in now}
        own = dataclasses.replace(sequence, **changes)
        objects = {name: now[name] for name in maps if name in now}
        used = twin
        if objects:
            voxels = dataclasses.replace(twin.voxels, **objects)
            used = Twin(voxels, tolerance=twin.tolerance, n_threads=twin.n_threads)
        signal, pull_back = used.signal_and_pull_back(own, ways=ways)

        def gradient(cotangent: tf.Tensor) -> list[tf.Tensor]:
            result = pull_back(cotangent.numpy())
            return [
                _like(value, getattr(result, name)) for name, value in zip(tensors, arguments, strict=True)
            ]

        return tf.convert_to_tensor(signal), gradient

    return differentiable(*tensors.values())


def _like(value: tf.Tensor, gradient: np.ndarray[Any, Any]) -> tf.Tensor:
    """Gradient in the shape and dtype of its value, summed if the value was one for all."""
    if value.shape.num_elements() == 1:
        gradient = gradient.sum()
    array = gradient if value.dtype.is_complex else gradient.real
    return tf.cast(tf.reshape(array, value.shape), value.dtype)
