"""Where in k-space a sequence samples, if its pulses do what they are for.

Import this file by name: it needs TensorFlow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.sequence import ImagingSequence


def nominal_trajectory(sequence: ImagingSequence, moments: tf.Tensor | ArrayLike | None = None) -> tf.Tensor:
    """Return k of every sample, of the echo that the uses of the pulses intend.

    k adds up the moments from the last "excitation", at which it is 0; every "refocusing" in between
    mirrors it (k -> -k), pulses for "inversion" and "preparation" leave it as it is. A spin at r then has the
    phase -2 pi k . r.

    Parameters
    ----------
    sequence : ImagingSequence
        The sequence.
    moments : tensor or array_like, shape (n_all_events, 3), optional
        In place of those of the sequence [cycles/m]; the trajectory is differentiable by them.

    Returns
    -------
    tf.Tensor, shape (n_samples, 3), float32
        k of the samples, in their order [cycles/m].

    Raises
    ------
    ValueError
        If `moments` has another shape.
    """
    values = tf.convert_to_tensor(sequence.moments if moments is None else moments)
    if values.shape != sequence.moments.shape:
        raise ValueError(f"moments has shape {tuple(values.shape)}; it must be {sequence.moments.shape}")
    repetition = np.repeat(np.arange(sequence.n_repetitions), sequence.n_events)
    # sign between the first pulse and each one; sums of moments are taken in the frame of the first
    sign = np.cumprod(np.where(sequence.use == "refocusing", -1.0, 1.0))
    excited = np.where(sequence.use == "excitation", np.arange(sequence.n_repetitions), 0)
    begin = sequence.first_event[np.maximum.accumulate(excited)]
    event = np.flatnonzero(sequence.adc)
    own = repetition[event]
    # in double precision: spoilers of a whole sequence add up to far more than any k
    total = tf.cumsum(tf.cast(values, tf.float64) * sign[repetition, np.newaxis], axis=0)
    total = tf.concat([tf.zeros((1, 3), tf.float64), total], axis=0)
    k = sign[own, np.newaxis] * (tf.gather(total, event + 1) - tf.gather(total, begin[own]))
    return tf.cast(k, tf.float32)
