"""Inference gives what Keras gives, signal by signal."""

import numpy as np
import pytest

from surrogate import NetworkSize
from surrogate.features import normalisation
from surrogate.inference import Inference


def inputs(ranges, n_signals, n_pulses, seed=1):
    """Random inputs in the ranges, and states before the first pulse."""
    rng = np.random.default_rng(seed)
    center, half_width = normalisation(ranges)
    pulses = center + half_width * rng.uniform(-1, 1, (n_signals, n_pulses, 5))
    return pulses.astype(np.float32), rng.uniform(-1, 1, (n_signals, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "n_pulses"),
    [
        (NetworkSize(), 1120),
        (NetworkSize(2, 20), 50),
        (NetworkSize(1, 5), 50),
        (NetworkSize(4, 16), 50),
        (NetworkSize(1, 33), 50),
    ],
)
def test_outputs_agree_with_keras(random_weights, size, n_pulses):
    pytest.importorskip("tensorflow")
    from surrogate.network import network_of

    weights = random_weights(size)
    pulses, initial = inputs(weights.ranges, 7, n_pulses)
    expected = network_of(weights).predict_on_batch({"pulses": pulses, "initial": initial})
    outputs = Inference(weights).outputs(pulses, initial)
    assert outputs.dtype == np.float32
    # float32, tanh to 4e-7, errors of earlier pulses pass on
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("size", [NetworkSize(2, 12), NetworkSize(1, 32)], ids=str)
def test_signals_do_not_depend_on_their_neighbours(random_weights, size):
    weights = random_weights(size)
    inference = Inference(weights)
    pulses, initial = inputs(weights.ranges, 53, 40)
    whole = inference.outputs(pulses, initial)
    for start, stop in [(0, 1), (52, 53), (3, 5), (7, 20), (1, 49)]:
        part = inference.outputs(pulses[start:stop], initial[start:stop])
        np.testing.assert_array_equal(part, whole[start:stop])


@pytest.mark.parametrize("n_threads", [1, 2, 60])
def test_threads_do_not_change_a_bit(random_weights, n_threads):
    weights = random_weights()
    inference = Inference(weights)
    pulses, initial = inputs(weights.ranges, 53, 40)
    np.testing.assert_array_equal(
        inference.outputs_on(n_threads, pulses, initial), inference.outputs(pulses, initial)
    )


def test_other_cells_are_refused(random_weights):
    weights = random_weights(NetworkSize(1, 4, "lstm"))
    with pytest.raises(ValueError, match="weights: the network has cell='lstm', but only 'gru' has kernels"):
        Inference(weights)
