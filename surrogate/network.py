"""The recurrent network: three gated recurrent units in a row, or another size."""

from __future__ import annotations

import itertools
from typing import Any

import keras

from surrogate.features import FEATURES, INITIAL, OUTPUTS, normalisation
from surrogate.sampling import Ranges
from surrogate.size import NetworkSize
from surrogate.weights import Weights


def build_network(
    size: NetworkSize, ranges: Ranges, seed: int = 0, precision: str = "float32"
) -> keras.Model:
    """Return an untrained network.

    Inputs are normalised to -1 ... 1 over `ranges`. One linear map makes the state of every layer before the
    first pulse (the same for all layers) from `features.initial_state`; one linear map makes the outputs from
    the last layer (Liu et al., NMR Biomed 2021, e4527, section 2.2). A GRU applies its reset gate after the
    recurrent product, as cuDNN does: with two bias vectors a gate, which the published number of parameters
    includes.

    Parameters
    ----------
    size : NetworkSize
        Layers, units and cell.
    ranges : Ranges
        Ranges of the training data; saved with the network as its normalisation.
    seed : int
        Seed of the first weights.
    precision : {"float32", "mixed_float16"}
        Policy of Keras for the recurrent layers: what they compute with.

    Returns
    -------
    keras.Model
        Maps {"pulses": (n_signals, n_pulses, 5), "initial": (n_signals, 3)}, both from `features`, to outputs
        (n_signals, n_pulses, 3) in the order of `features.OUTPUTS`.
    """
    center, half_width = normalisation(ranges)
    pulses = keras.Input((None, len(FEATURES)), name="pulses")
    initial = keras.Input((len(INITIAL),), name="initial")
    seeds = itertools.count(1000 * seed)

    def linear(width: int, name: str, **options: Any) -> keras.layers.Dense:
        start = keras.initializers.GlorotUniform(seed=next(seeds))
        return keras.layers.Dense(width, kernel_initializer=start, name=name, **options)

    names = ("initial",) if size.cell == "gru" else ("initial", "initial_cell")
    states = [linear(size.units, f"{name}_state", dtype=precision)(initial) for name in names]
    values = keras.layers.Normalization(
        mean=center.tolist(), variance=(half_width**2).tolist(), dtype="float32", name="normalisation"
    )(pulses)
    layer = {"gru": keras.layers.GRU, "lstm": keras.layers.LSTM}[size.cell]
    for i_layer in range(size.layers):
        values = layer(
            size.units,
            return_sequences=True,
            kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
            recurrent_initializer=keras.initializers.Orthogonal(seed=next(seeds)),
            dtype=precision,
            name=f"layer_{i_layer + 1}",
        )(values, initial_state=states)
    outputs = linear(len(OUTPUTS), "output", dtype="float32")(values)
    return keras.Model({"pulses": pulses, "initial": initial}, outputs, name="surrogate")


def network_of(weights: Weights) -> keras.Model:
    """Return the network of trained weights."""
    network = build_network(weights.size, weights.ranges)
    for variable, array in zip(network_variables(network), weights.arrays, strict=True):
        variable.assign(array)
    return network


def network_variables(network: keras.Model) -> list[keras.Variable]:
    """Return the trainable variables of a network of `build_network` from the first layer to the last.

    First those that make the states before the first pulse, then those of every recurrent layer, then those
    of the outputs.
    """
    names = ["initial_state", "initial_cell_state", "output"]
    recurrent = [layer.name for layer in network.layers if layer.name.startswith("layer_")]
    names[2:2] = sorted(recurrent, key=lambda name: int(name.removeprefix("layer_")))
    layers = {layer.name: layer for layer in network.layers}
    return [variable for name in names if name in layers for variable in layers[name].trainable_variables]
