"""The kernels compute what Keras computes."""

import numpy as np
import pytest

from surrogate import NetworkSize, Ranges
from surrogate.features import normalisation
from surrogate.network import build_network, network_variables
from surrogate.processor import Kernels, Packing

SIZES = [NetworkSize(), NetworkSize(2, 20), NetworkSize(1, 16)]
SCALE = np.array([1.0, 0.5, 2.0], np.float32)


def weights_of(size, seed=0):
    """Random weights, biases included."""
    rng = np.random.default_rng(seed)
    variables = network_variables(build_network(size, Ranges(), seed))
    return [
        variable.numpy() + 0.1 * rng.standard_normal(variable.shape).astype("f4") for variable in variables
    ]


def data(n_signals, n_pulses, seed=1):
    """Normalised inputs, time first, states before the first pulse, targets."""
    rng = np.random.default_rng(seed)
    pulses = rng.uniform(-1, 1, (n_pulses, n_signals, 5)).astype(np.float32)
    initial = rng.uniform(-1, 1, (n_signals, 3)).astype(np.float32)
    return pulses, initial, rng.standard_normal((n_pulses, n_signals, 3)).astype(np.float32)


def keras_loss_and_gradient(size, weights, pulses, initial, targets):
    tf = pytest.importorskip("tensorflow")
    network = build_network(size, Ranges())
    variables = network_variables(network)
    for variable, weight in zip(variables, weights, strict=True):
        variable.assign(weight)
    center, half_width = normalisation(Ranges())
    raw = (pulses * half_width + center).astype(np.float32).swapaxes(0, 1)
    with tf.GradientTape() as tape:
        outputs = network({"pulses": tf.constant(raw), "initial": tf.constant(initial)})
        errors = tf.abs(outputs - targets.swapaxes(0, 1))
        loss = tf.reduce_sum(tf.reduce_mean(errors, (0, 1)) * SCALE)
    gradient = tape.gradient(loss, [variable.value for variable in variables])
    return outputs.numpy().swapaxes(0, 1), float(loss), [g.numpy() for g in gradient]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_loss_and_gradient_agree_with_keras(size):
    weights, (pulses, initial, targets) = weights_of(size), data(7, 40)
    _, loss, gradient = keras_loss_and_gradient(size, weights, pulses, initial, targets)
    packing = Packing(size)
    kernels = Kernels(packing, 7, 40, 2)
    flat = packing.pack(weights)
    own_loss, own_gradient = kernels.gradient(flat, pulses, initial, targets, SCALE)
    assert own_loss == pytest.approx(loss, rel=1e-6)  # float32 sums
    # Both biases of z and of r have the derivative of their sum.
    expected = packing.pack(gradient)
    for i, (total, bias) in enumerate(
        zip(packing._parts(expected), packing._parts(own_gradient), strict=True)
    ):
        if i in packing._biases:
            total[:2] /= 2
        np.testing.assert_allclose(bias, total, atol=2e-6 * np.abs(total).max())  # float32, 40 steps


def test_gradient_leaves_padding_alone():
    packing = Packing(NetworkSize(2, 20))
    flat = packing.pack(weights_of(NetworkSize(2, 20)))
    gradient = Kernels(packing, 5, 9, 1).gradient(flat, *data(5, 9), SCALE)[1]
    used = packing.pack([np.ones_like(weight) for weight in weights_of(NetworkSize(2, 20))]) != 0
    assert np.count_nonzero(~used) > 0
    assert not flat[~used].any()
    assert not gradient[~used].any()
    assert gradient[used].all()


@pytest.mark.parametrize("n_threads", [2, 3, 16])
def test_threads_change_rounding_only(n_threads):
    packing = Packing(NetworkSize(2, 16))
    flat, values = packing.pack(weights_of(NetworkSize(2, 16))), data(7, 12)
    one, several = Kernels(packing, 7, 12, 1), Kernels(packing, 7, 12, n_threads)
    loss, gradient = one.gradient(flat, *values, SCALE)
    for _ in range(2):
        other_loss, other = several.gradient(flat, *values, SCALE)
        assert other_loss == pytest.approx(loss, rel=1e-6)
        np.testing.assert_allclose(other, gradient, atol=1e-6 * np.abs(gradient).max())
    np.testing.assert_array_equal(several.gradient(flat, *values, SCALE)[1], other)


def test_workspace_serves_smaller_batches():
    """A second, smaller batch gives what a workspace of its own gives."""
    packing = Packing(NetworkSize(2, 16))
    flat = packing.pack(weights_of(NetworkSize(2, 16)))
    large, small = Kernels(packing, 8, 20, 1), Kernels(packing, 3, 5, 1)
    large.gradient(flat, *data(8, 20), SCALE)
    np.testing.assert_array_equal(
        large.gradient(flat, *data(3, 5), SCALE)[1], small.gradient(flat, *data(3, 5), SCALE)[1]
    )


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_unpacked_weights_are_equivalent(size):
    weights, (pulses, initial, targets) = weights_of(size), data(4, 20)
    packing = Packing(size)
    flat = packing.pack(weights)
    again = packing.unpack(flat)
    assert [a.shape for a in again] == [w.shape for w in weights]
    np.testing.assert_array_equal(packing.pack(again), flat)
    before = keras_loss_and_gradient(size, weights, pulses, initial, targets)[0]
    after = keras_loss_and_gradient(size, again, pulses, initial, targets)[0]
    np.testing.assert_allclose(after, before, atol=1e-6)  # the sum of two biases, rounded
