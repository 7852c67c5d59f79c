"""Which gradient moments a scanner can play in their time.

Import this file by name: it needs TensorFlow.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from design.mrzero.sequence import ImagingSequence
from design.pulseq.scanner import Scanner
from epgbloch.constants import GAMMA_BAR

_TIME = 1e-3
"""Areas are compared with that of the largest amplitude in this time [s]."""


def gradient_penalty(
    sequence: ImagingSequence,
    scanner: Scanner,
    *,
    moments: tf.Tensor | ArrayLike | None = None,
    durations: tf.Tensor | ArrayLike | None = None,
) -> tf.Tensor:
    """Return a penalty that is 0 if, and only if, the gradients keep to the limits of a scanner.

    The rule, for each axis, with amplitude limit G and slew limit S:

    - A sampled event plays the constant amplitude g = moment / (gamma duration), |g| <= G. Between two of
      them, g may change by S times the time between their centres.
    - An event that is not sampled lies between amplitudes a and b: those of the sampled events before and
      after it, or 0. Ramps lie inside it: |a - b| <= S T, and its area is at most that of
      min(G, a + S t, b + S (T - t)), at least the negative of that for -a and -b. Between zeros, this is a
      trapezoid with both ramps inside its duration T, of an area up to S T^2 / 4, or G (T - G / S).
    - At pulses amplitudes are 0: a sampled event beside a pulse plays 0. Pulses take no time here; where a
      scanner needs some, leave it in the durations of their neighbours as well.

    In the plane each axis gets 1 / sqrt(2) of the limits, so that both together keep to them. The penalty is
    the sum of squares of all excesses, of amplitudes relative to G, of areas relative to G times 1 ms.

    Parameters
    ----------
    sequence : ImagingSequence
        The sequence.
    scanner : Scanner
        Its `max_gradient` and `max_slew` count.
    moments : tensor or array_like, shape (n_all_events, 3), optional
        In place of those of the sequence [cycles/m].
    durations : tensor or array_like, shape (n_all_events,), optional
        In place of those of the sequence [s].

    Returns
    -------
    tf.Tensor, shape (), float32
        The penalty, differentiable by moments and durations.

    Raises
    ------
    ValueError
        If shapes do not fit, or a sampled event takes no time.
    """
    given = {"moments": moments, "durations": durations}
    values = []
    for name, value in given.items():
        own = getattr(sequence, name)
        tensor = tf.cast(tf.convert_to_tensor(own if value is None else value), tf.float32)
        if tensor.shape != own.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it must be {own.shape}")
        values.append(tensor)
    area, time = values[0] / GAMMA_BAR, values[1][:, tf.newaxis]
    instant = np.flatnonzero(sequence.adc & (values[1].numpy() <= 0))
    if instant.size:
        raise ValueError(
            f"durations[{instant[0]}]={values[1][instant[0]]:.6g} s of a sampled event must be positive, as "
            "its gradient amplitude is its moment over its duration; lengthen it"
        )
    share = np.array([np.sqrt(0.5), np.sqrt(0.5), 1.0])
    limit = tf.constant(scanner.max_gradient * share, tf.float32)
    slew = tf.constant(scanner.max_slew * share, tf.float32)
    sampled = sequence.adc[:, np.newaxis]
    amplitude = tf.where(sampled, area / tf.where(sampled, time, 1.0), 0.0)

    # between events: before the first one, ..., after the last one
    starts = sequence.first_event
    at_pulse = np.isin(np.arange(sequence.adc.size + 1), starts)[:, np.newaxis]
    edge, nothing = np.array([[False]]), tf.zeros((1, 3))
    earlier = tf.concat([nothing, amplitude], axis=0)
    later = tf.concat([amplitude, nothing], axis=0)
    both = np.vstack([edge, sampled]) & np.vstack([sampled, edge])
    zero = tf.zeros((1, 1))
    room = slew * (tf.concat([zero, time], axis=0) + tf.concat([time, zero], axis=0)) / 2
    step = tf.where(at_pulse, tf.abs(earlier) + tf.abs(later), tf.nn.relu(tf.abs(later - earlier) - room))
    step = tf.where(both | at_pulse, step, 0.0) / limit

    before = tf.where(at_pulse, 0.0, earlier)[:-1]
    after = tf.where(at_pulse, 0.0, later)[1:]
    high = _largest_area(before, after, time, limit, slew)
    low = -_largest_area(-before, -after, time, limit, slew)
    ramp = tf.nn.relu(tf.abs(after - before) - slew * time) / limit
    excess = (tf.nn.relu(area - high) + tf.nn.relu(low - area)) / (limit * _TIME)
    inside = tf.math.square(ramp) + tf.math.square(excess)
    too_strong = tf.math.square(tf.nn.relu(tf.abs(amplitude) / limit - 1))
    return tf.reduce_sum(tf.where(sampled, too_strong, inside)) + tf.reduce_sum(tf.math.square(step))


def _largest_area(
    before: tf.Tensor, after: tf.Tensor, time: tf.Tensor, limit: tf.Tensor, slew: tf.Tensor
) -> tf.Tensor:
    """Area of min(G, a + S t, b + S (T - t)); where that cannot be, its peak is the larger of a and b."""
    peak = tf.minimum(limit, (slew * time + before + after) / 2)
    peak = tf.maximum(peak, tf.maximum(before, after))
    ramps = (tf.math.square(peak - before) + tf.math.square(peak - after)) / (2 * slew)
    return peak * time - ramps
