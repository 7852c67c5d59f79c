"""The engine as a TensorFlow function of tissue and sequence, with exact gradients.

Import this file by name: epgbloch itself does without TensorFlow.

What is given as a tensor or variable (or as a list of them) is differentiated. Numbers and NumPy arrays are
constants, which saves the time of their derivatives. The functions work eagerly and within `tf.function`, not
with XLA (`jit_compile=True`). Bad values raise ValueError eagerly; within `tf.function`, TensorFlow raises
InvalidArgumentError with the same text.

TensorFlow hands back the gradient of a real scalar L by a complex signal S as dL/d(Re S) + i dL/d(Im S). That
is what `EPGBloch.gradient` takes: nothing is conjugated on the way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike, NDArray

from epgbloch._checks import broadcast, real_vector
from epgbloch.engine import EPGBloch
from epgbloch.sequence import Sequence
from epgbloch.tissue import Tissue

Array = NDArray[Any]


def signals(
    model: EPGBloch,
    sequence: Sequence,
    *,
    t1: tf.Tensor | ArrayLike,
    t2: tf.Tensor | ArrayLike,
    b1: tf.Tensor | ArrayLike = 1.0,
    off_resonance: tf.Tensor | ArrayLike = 0.0,
    diffusion: ArrayLike = 0.0,
    flip_angle: tf.Tensor | ArrayLike | None = None,
    phase: tf.Tensor | ArrayLike | None = None,
    tr: tf.Tensor | ArrayLike | None = None,
    te: tf.Tensor | ArrayLike | None = None,
    inversion_time: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return the signals of `EPGBloch.signal`, differentiable by tissue and sequence.

    The gradient by tissue takes one call of `EPGBloch.jacobian`, for those parameters that are tensors, that
    by the sequence one of `EPGBloch.gradient`.

    Parameters
    ----------
    model : EPGBloch
        The engine.
    sequence : Sequence
        The pulse train; whatever is not given below comes from it.
    t1, t2, b1, off_resonance : tensor or array_like, shape () or (n_atoms,)
        Tissue parameters [s, s, 1, Hz], as in `Tissue`. A tensor of shape () gets the sum of the gradients.
    diffusion : array_like, shape () or (n_atoms,)
        As in `Tissue` [m^2/s]; constant. Signals of diffusing tissue have no gradient by the sequence.
    flip_angle, phase, tr, te : tensor or array_like, shape () or (n_pulses,), optional
        In place of those of `sequence` [rad, rad, s, s], under the same rules. Give float64 where times
        leave no more room than the RF pulse needs: float32 rounds them by up to 6e-8 of their value.
    inversion_time : tensor or float, optional
        In place of that of `sequence` [s].

    Returns
    -------
    tf.Tensor, shape (n_atoms, n_pulses), complex64
        The signals. Gradients have the dtype and shape of their tensor.

    Raises
    ------
    ValueError
        If `Tissue` or `Sequence` refuse a value, or a cotangent is not finite.
    NotImplementedError
        If a gradient is differentiated once more.
    """
    tissue = {"t1": t1, "t2": t2, "b1": b1, "off_resonance": off_resonance, "diffusion": diffusion}
    played = {"flip_angle": flip_angle, "phase": phase, "tr": tr, "te": te, "inversion_time": inversion_time}
    (result,) = _simulate(model, sequence, tissue, played, None)
    return result


def signals_and_derivatives(
    model: EPGBloch,
    sequence: Sequence,
    tissue: Tissue,
    wrt: tuple[str, ...] = ("t1", "t2"),
    *,
    flip_angle: tf.Tensor | ArrayLike | None = None,
    phase: tf.Tensor | ArrayLike | None = None,
    tr: tf.Tensor | ArrayLike | None = None,
    te: tf.Tensor | ArrayLike | None = None,
    inversion_time: tf.Tensor | ArrayLike | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return signals and tissue derivatives of `EPGBloch.jacobian`, differentiable by the sequence.

    For losses such as a Cramér-Rao bound. The tissue is constant here: its gradient would need second
    derivatives of the signal by tissue parameters, which the engine does not have.

    Parameters
    ----------
    model : EPGBloch
        The engine.
    sequence : Sequence
        The pulse train; whatever is not given below comes from it.
    tissue : Tissue
        The atoms.
    wrt : tuple of str
        Parameters of the derivatives, as in `EPGBloch.jacobian`.
    flip_angle, phase, tr, te, inversion_time : tensor or array_like, optional
        As in `signals`.

    Returns
    -------
    signals : tf.Tensor, shape (n_atoms, n_pulses), complex64
        The signals.
    derivatives : tf.Tensor, shape (n_wrt, n_atoms, n_pulses), complex64
        Their derivatives by the parameters in `wrt`.

    Raises
    ------
    ValueError
        If `Sequence` refuses a value, a name in `wrt` is unknown or given twice, or a cotangent is not
        finite.
    NotImplementedError
        If a gradient is differentiated once more.
    """
    atoms = {name: getattr(tissue, name) for name in ("t1", "t2", "b1", "off_resonance", "diffusion")}
    played = {"flip_angle": flip_angle, "phase": phase, "tr": tr, "te": te, "inversion_time": inversion_time}
    signal, derivatives = _simulate(model, sequence, atoms, played, wrt)
    return signal, derivatives


def _simulate(
    model: EPGBloch,
    template: Sequence,
    tissue: dict[str, Any],
    played: dict[str, Any],
    wrt: tuple[str, ...] | None,
) -> list[tf.Tensor]:
    """Signals and, unless `wrt` is None, derivatives, with gradients by all tensors among the values."""
    values = tissue | {name: value for name, value in played.items() if value is not None}
    tensors = {
        name: tf.convert_to_tensor(value, dtype_hint=tf.float64)
        for name, value in values.items()
        if any(tf.is_tensor(item) for item in tf.nest.flatten(value))
    }
    # arrays that change between a call and its gradient, or between calls of a tf.function, do not matter
    constants = {name: copy.copy(value) for name, value in values.items() if name not in tensors}

    def problem(arrays: Iterable[Array]) -> tuple[Sequence, Tissue]:
        now = constants | dict(zip(tensors, arrays, strict=True))
        if "flip_angle" in now:
            flip_angle = real_vector("flip_angle", now["flip_angle"], "radians")
            (now["flip_angle"],) = broadcast(template.n_pulses, "pulse", flip_angle=flip_angle)
        sequence = replace(template, **{name: now[name] for name in played if name in now})
        return sequence, Tissue(**{name: now[name] for name in tissue})

    def forward(*arrays: Array) -> tuple[Array, ...]:
        if wrt is None:
            return (model.signal(*problem(arrays)),)
        return model.jacobian(*problem(arrays), wrt)

    def backward(*arrays: Array) -> list[Array]:
        inputs = dict(zip(tensors, arrays, strict=False))
        signal_cotangent, *derivative_cotangents = arrays[len(inputs) :]
        sequence, atoms = problem(inputs.values())
        gradients: dict[str, Array] = {}
        if by_tissue := tuple(name for name in inputs if name in tissue):
            _, jacobian = model.jacobian(sequence, atoms, by_tissue)
            product = np.einsum("ap,wap->wa", signal_cotangent.conj(), jacobian, dtype=np.complex128)
            gradients |= zip(by_tissue, product.real, strict=True)
        if by_sequence := [name for name in inputs if name in played]:
            own = derivative_cotangents[0] if derivative_cotangents else None
            result = model.gradient(sequence, atoms, signal_cotangent, own, wrt or ())
            gradients |= {name: np.asarray(getattr(result, name)) for name in by_sequence}
        return [_like(value, gradients[name]) for name, value in inputs.items()]

    @tf.custom_gradient
    def differentiable(*arguments: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        outputs = _call(forward, arguments, [tf.complex64] * (1 if wrt is None else 2))
        return outputs, lambda *cotangents: gradient(*arguments, *cotangents)

    @tf.custom_gradient
    def gradient(*arguments: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., Any]]:
        # without this, the second derivatives of TensorFlow would silently lack a term
        dtypes = [argument.dtype for argument in arguments]
        results = _call(backward, arguments, dtypes[: len(tensors)])
        return results, lambda *cotangents: _call(_refuse, cotangents, dtypes)

    outputs = differentiable(*tensors.values())
    shape = (_n_atoms([tensors.get(name, value) for name, value in tissue.items()]), template.n_pulses)
    for output, full in zip(outputs, (shape, (len(wrt or ()), *shape)), strict=False):
        output.set_shape(full)
    return outputs


def _call(
    function: Callable[..., Iterable[Array]], arguments: Iterable[tf.Tensor], dtypes: list[tf.DType]
) -> list[tf.Tensor]:
    """Call a NumPy function with tensors; eagerly its errors pass as they are."""
    if tf.executing_eagerly():
        return [tf.convert_to_tensor(array) for array in function(*(value.numpy() for value in arguments))]
    return tf.numpy_function(function, arguments, dtypes, stateful=False)


def _like(value: Array, gradient: Array) -> Array:
    """Gradient in the shape and dtype of its value, summed if the value was one for all."""
    if value.size == 1:
        gradient = gradient.sum()
    return gradient.reshape(value.shape).astype(value.dtype)


def _refuse(*_: Array) -> list[Array]:
    raise NotImplementedError(
        "the signals can be differentiated once by TensorFlow; for losses of derivatives by tissue "
        "parameters use signals_and_derivatives"
    )


def _n_atoms(values: list[Any]) -> int | None:
    """Number of atoms as far as it is known before the values are."""
    sizes = [value.shape.num_elements() if tf.is_tensor(value) else np.size(value) for value in values]
    known = max((size for size in sizes if size is not None), default=1)
    return None if known == 1 and None in sizes else known
