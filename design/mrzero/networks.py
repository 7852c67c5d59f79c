"""Small networks behind a reconstruction, as Keras models.

Import this file by name: it needs Keras.
"""

from __future__ import annotations

import keras

from epgbloch._checks import require_count, require_seed


def convolutional_network(
    n_channels_in: int,
    n_channels_out: int,
    *,
    n_features: int = 32,
    n_hidden: int = 3,
    kernel_size: int = 3,
    seed: int = 0,
) -> keras.Model:
    """Return a network of convolutions with ReLU between them, for images of any size.

    Parameters
    ----------
    n_channels_in, n_channels_out : int
        Channels of the input, as those of `reconstruction.channels`, and of the output.
    n_features : int
        Channels of each hidden layer.
    n_hidden : int
        Hidden layers.
    kernel_size : int
        Edge of the kernels [pixels].
    seed : int
        Of the first weights.

    Returns
    -------
    keras.Model
        Maps (n_images, ny, nx, n_channels_in) to (n_images, ny, nx, n_channels_out), float32; zeros continue
        the image beyond its edges.

    Raises
    ------
    ValueError
        If a count is below 1.
    """
    _check(n_channels_in=n_channels_in, n_channels_out=n_channels_out, n_features=n_features)
    _check(n_hidden=n_hidden, kernel_size=kernel_size)
    require_seed(seed)
    widths = [n_features] * n_hidden + [n_channels_out]
    layers = [
        keras.layers.Conv2D(
            width,
            kernel_size,
            padding="same",
            activation="relu" if i < n_hidden else None,
            kernel_initializer=_start(seed, i),
        )
        for i, width in enumerate(widths)
    ]
    return keras.Sequential([keras.Input((None, None, n_channels_in)), *layers])


def pixel_network(
    n_inputs: int, n_outputs: int, *, n_units: int = 64, n_hidden: int = 3, seed: int = 0
) -> keras.Model:
    """Return a multilayer perceptron with ReLU that sees each pixel alone.

    Parameters
    ----------
    n_inputs, n_outputs : int
        Values of a pixel that go in and come out.
    n_units : int
        Units of each hidden layer.
    n_hidden : int
        Hidden layers; three in the reference.
    seed : int
        Of the first weights.

    Returns
    -------
    keras.Model
        Maps (n_pixels, n_inputs) to (n_pixels, n_outputs), float32.

    Raises
    ------
    ValueError
        If a count is below 1.

    References
    ----------
    Loktyushin et al. 2021, Magn Reson Med 86:709, doi 10.1002/mrm.28727, supporting information, T1 mapping.
    """
    _check(n_inputs=n_inputs, n_outputs=n_outputs, n_units=n_units, n_hidden=n_hidden)
    require_seed(seed)
    widths = [n_units] * n_hidden + [n_outputs]
    layers = [
        keras.layers.Dense(
            width, activation="relu" if i < n_hidden else None, kernel_initializer=_start(seed, i)
        )
        for i, width in enumerate(widths)
    ]
    return keras.Sequential([keras.Input((n_inputs,)), *layers])


def _start(seed: int, layer: int) -> keras.initializers.Initializer:
    return keras.initializers.HeUniform(seed=1000 * seed + layer)


def _check(**counts: int) -> None:
    for name, count in counts.items():
        require_count(name, count)
