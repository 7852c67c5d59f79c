"""What an image and a sequence are judged by: differentiable scalars, to be weighted and added at will.

Import this file by name: it needs TensorFlow. Images are complex or real; take `tf.abs` first where phases do
not matter. `gradient_limits` has the penalty for gradients that a scanner cannot play.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from numpy.typing import ArrayLike


def image_error(image: tf.Tensor, target: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the relative error in percent, 100 ||r - t|| / ||t||.

    Its gradient is 0 where the image is the target.

    Parameters
    ----------
    image, target : tensor or array_like, of equal shape
        Image r and target t.

    Returns
    -------
    tf.Tensor, shape (), float32
        The error.

    Raises
    ------
    ValueError
        If shapes differ, or the target is 0 everywhere.
    """
    square = l2_error(image, target)
    apart = square > 0
    return tf.where(apart, 100 * tf.sqrt(tf.where(apart, square, 1.0)), 0.0)


def l2_error(image: tf.Tensor, target: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return sum |r - t|^2 / sum |t|^2, under the rules of `image_error`."""
    image, target = _pair(image, target)
    return tf.reduce_sum(_power(image - target)) / tf.reduce_sum(_power(target))


def l1_error(image: tf.Tensor, target: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return sum |r - t| / sum |t|, under the rules of `image_error`."""
    image, target = _pair(image, target)
    return tf.reduce_sum(tf.abs(image - target)) / tf.reduce_sum(tf.abs(target))


def mask_error(image: tf.Tensor, mask: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return how far the shape of an image is from a mask, min_a ||a |r| - m||^2 / ||m||^2.

    That is 1 - (sum |r| m)^2 / (sum |r|^2 sum m^2), 0 if |r| is the mask times any number. An image of zeros
    has the error 1 and no gradient: from there, start with `l2_error` and the mask as target.

    Parameters
    ----------
    image : tensor, shape (ny, nx)
        The image.
    mask : tensor or array_like, shape (ny, nx), bool or float32
        What shall be bright.

    Returns
    -------
    tf.Tensor, shape (), float32
        The error, 0 to 1.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is 0 everywhere.
    """
    size, mask = _pair(tf.abs(image), mask)
    common = tf.math.square(tf.reduce_sum(size * mask))
    return 1 - tf.math.divide_no_nan(common, tf.reduce_sum(_power(size)) * tf.reduce_sum(_power(mask)))


def ssim(image: tf.Tensor, target: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the structural similarity of magnitudes, 1 if equal; the target's maximum is the dynamic range.

    Parameters
    ----------
    image, target : tensor or array_like, shape (ny, nx), at least 11 x 11
        Image and target.

    Returns
    -------
    tf.Tensor, shape (), float32
        The mean similarity.

    Raises
    ------
    ValueError
        If shapes differ, or the target is 0 everywhere.

    References
    ----------
    Wang et al. 2004, IEEE Trans Image Process 13:600, doi 10.1109/TIP.2003.819861; by `tf.image.ssim`, a
    Gaussian window of 11 pixels.
    """
    image, target = (tf.abs(value)[..., tf.newaxis] for value in _pair(image, target))
    return tf.image.ssim(image, target, max_val=tf.reduce_max(target))


def relative_sar(flip_angle: tf.Tensor, target: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the SAR relative to that of target flip angles, sum a^2 / sum a_t^2, for pulses of one shape.

    Parameters
    ----------
    flip_angle : tensor, shape (n_repetitions,), float32
        Flip angles [rad].
    target : tensor or array_like, any shape
        Those that count as 1 [rad].

    Returns
    -------
    tf.Tensor, shape (), float32
        The ratio.

    Raises
    ------
    ValueError
        If the target is 0 everywhere.
    """
    return tf.reduce_sum(_power(_real(flip_angle))) / _positive_sum(_power(_real(target)), "target")


def scan_time(durations: tf.Tensor) -> tf.Tensor:
    """Return the sum of the durations of all events [s]."""
    return tf.reduce_sum(_real(durations))


def mean_signal(image: tf.Tensor, mask: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the mean magnitude in a mask, sum m |r| / sum m.

    Parameters
    ----------
    image : tensor, shape (ny, nx)
        The image.
    mask : tensor or array_like, shape (ny, nx), bool or float32
        The tissue, or its share of each pixel.

    Returns
    -------
    tf.Tensor, shape (), float32
        The mean.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is 0 everywhere.
    """
    size, mask = _pair(tf.abs(image), mask)
    return tf.reduce_sum(size * mask) / tf.reduce_sum(mask)


def contrast(image: tf.Tensor, mask: tf.Tensor | ArrayLike, other: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the contrast of two tissues, |S_1 - S_2| / (S_1 + S_2) of their `mean_signal`."""
    first, second = mean_signal(image, mask), mean_signal(image, other)
    return tf.math.divide_no_nan(tf.abs(first - second), first + second)


def nulling(image: tf.Tensor, mask: tf.Tensor | ArrayLike, reference: tf.Tensor | ArrayLike) -> tf.Tensor:
    """Return the power left of a tissue over that of another, mean |r|^2 in a mask over that in a reference.

    Powers, unlike magnitudes, are smooth where the signal passes through zero.

    Parameters
    ----------
    image : tensor, shape (ny, nx)
        The image.
    mask, reference : tensor or array_like, shape (ny, nx), bool or float32
        What shall vanish, and what shall not.

    Returns
    -------
    tf.Tensor, shape (), float32
        The ratio; 0 is perfect.

    Raises
    ------
    ValueError
        If shapes differ, or a mask is 0 everywhere.
    """
    powers = []
    for tissue in (mask, reference):
        power, weight = _pair(_power(tf.convert_to_tensor(image)), tissue)
        powers.append(tf.reduce_sum(power * weight) / tf.reduce_sum(weight))
    return powers[0] / powers[1]


def signal_to_noise(
    image: tf.Tensor, mask: tf.Tensor | ArrayLike, deviation: tf.Tensor | ArrayLike
) -> tf.Tensor:
    """Return the mean magnitude in a mask over the mean standard deviation there.

    Parameters
    ----------
    image : tensor, shape (ny, nx)
        The image.
    mask : tensor or array_like, shape (ny, nx), bool or float32
        The tissue.
    deviation : tensor or array_like, shape () or (ny, nx)
        Standard deviation of real and imaginary part of the pixels, from
        `noise.noise_deviation` or `noise.replica_deviation`.

    Returns
    -------
    tf.Tensor, shape (), float32
        The ratio.

    Raises
    ------
    ValueError
        If shapes differ, or the mask is 0 everywhere.
    """
    spread = tf.broadcast_to(_real(deviation), tf.shape(image))
    return mean_signal(image, mask) / mean_signal(spread, mask)


def _power(value: tf.Tensor) -> tf.Tensor:
    """|value|^2, with a gradient at 0."""
    if value.dtype.is_complex:
        return tf.math.square(tf.math.real(value)) + tf.math.square(tf.math.imag(value))
    return tf.math.square(value)


def _real(value: Any) -> tf.Tensor:
    return tf.cast(tf.convert_to_tensor(value), tf.float32)


def _complex(value: tf.Tensor) -> tf.Tensor:
    if value.dtype.is_complex:
        return tf.cast(value, tf.complex64)
    # the gradient of tf.cast would warn of the imaginary part that it drops
    real = _real(value)
    return tf.complex(real, tf.zeros_like(real))


def _positive_sum(value: tf.Tensor, name: str) -> tf.Tensor:
    total = tf.reduce_sum(value)
    if not total > 0:
        raise ValueError(f"{name} is 0 everywhere; nothing can be compared with it")
    return total


def _pair(image: Any, target: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Both in single precision and of one type, checked."""
    image, target = tf.convert_to_tensor(image), tf.convert_to_tensor(target)
    if image.shape != target.shape:
        raise ValueError(
            f"the image has shape {tuple(image.shape)}, its target or mask {tuple(target.shape)}; both must "
            "be equal"
        )
    if image.dtype.is_complex or target.dtype.is_complex:
        image, target = _complex(image), _complex(target)
    else:
        image, target = _real(image), _real(target)
    _positive_sum(tf.abs(target), "the target or mask")
    return image, target
