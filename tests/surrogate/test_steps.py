"""Steps lower the loss, by either method, and continue from their state."""

import keras
import numpy as np
import pytest

from surrogate import NetworkSize, Ranges, Weights
from surrogate.batches import batch_of
from surrogate.network import build_network, network_of, network_variables
from surrogate.steps import KerasSteps, KernelSteps

SIZE = NetworkSize(2, 12)
OPTIONS = {"output_weights": (1.0, 0.5, 2.0), "clip_norm": 0.05, "seed": 4}


@pytest.fixture(params=["kernels", "keras"])
def make(request):
    def steps(**changes):
        options = OPTIONS | changes
        if request.param == "keras":
            return KerasSteps(SIZE, Ranges(), **options, precision="float32")
        return KernelSteps(SIZE, Ranges(), **options, batch_size=8, n_pulses=20, n_threads=2)

    return steps


@pytest.fixture(scope="module")
def batch(dataset):
    return batch_of(dataset, slice(0, 8), 20)


def loss_of(outputs, batch):
    return float((np.abs(outputs - batch.targets) * np.array([1.0, 0.5, 2.0])).sum(axis=-1).mean())


def test_steps_lower_the_loss_they_return(make, batch):
    steps = make()
    losses = []
    for _ in range(30):
        expected = loss_of(steps.outputs(batch), batch)
        losses.append(steps.step(batch, 5e-3))
        assert losses[-1] == pytest.approx(expected, rel=1e-5)  # float32
    assert losses[-1] < 0.7 * losses[0]


def test_first_weights_are_those_of_the_seed(make):
    expected = [variable.numpy() for variable in network_variables(build_network(SIZE, Ranges(), 4))]
    for found, wanted in zip(make().weights(), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_weights_give_the_outputs(make, batch):
    steps = make()
    for _ in range(3):
        steps.step(batch, 5e-3)
    network = network_of(Weights(SIZE, Ranges(), tuple(steps.weights()), {}))
    outputs = network.predict_on_batch({"pulses": batch.pulses, "initial": batch.initial})
    np.testing.assert_allclose(steps.outputs(batch), outputs, atol=1e-5)  # float32


def test_restored_steps_continue_exactly(make, batch):
    steps = make()
    for _ in range(3):
        steps.step(batch, 5e-3)
    state = steps.state()
    losses = [steps.step(batch, 5e-3) for _ in range(3)]
    other = make(seed=9)
    other.restore(state)
    assert [other.step(batch, 5e-3) for _ in range(3)] == losses
    other.restore(state)  # which steps did not change
    assert other.step(batch, 5e-3) == losses[0]


def test_learning_rate_and_norm_bound_the_step(make, batch):
    """The first step of Adam moves every weight by the learning rate; 0 moves none."""
    steps = make()
    before = steps.weights()
    steps.step(batch, 0.0)
    for old, new in zip(before, steps.weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    steps = make()
    steps.step(batch, 1e-3)
    moves = np.concatenate([np.abs(n - o).ravel() for o, n in zip(before, steps.weights(), strict=True)])
    assert moves.max() == pytest.approx(1e-3, rel=1e-3)
    # Clipped below Adam's epsilon of 1e-7, gradients move less.
    steps = make(clip_norm=1e-8)
    steps.step(batch, 1e-3)
    moves = np.concatenate([np.abs(n - o).ravel() for o, n in zip(before, steps.weights(), strict=True)])
    assert 0 < moves.max() < 2e-4


def test_kernel_steps_use_the_adam_of_keras(batch):
    """On the flat vector, with gradients of the kernels."""
    steps = KernelSteps(SIZE, Ranges(), **OPTIONS, batch_size=8, n_pulses=20, n_threads=1)
    variable = keras.Variable(steps.state()[0])
    optimizer = keras.optimizers.Adam(global_clipnorm=OPTIONS["clip_norm"])
    optimizer.build([variable])
    for learning_rate in (1e-3, 5e-3, 2e-3):
        gradient = steps._kernels.gradient(
            variable.numpy(),
            steps._inputs(batch),
            batch.initial,
            batch.targets.swapaxes(0, 1),
            np.array(OPTIONS["output_weights"], np.float32),
        )[1]
        optimizer.learning_rate = learning_rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        steps.step(batch, learning_rate)
        np.testing.assert_allclose(steps.state()[0], variable.numpy(), atol=1e-6)  # float32


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_gradients_that_overflow_are_left_out(batch, monkeypatch, value):
    steps = KernelSteps(SIZE, Ranges(), **OPTIONS, batch_size=8, n_pulses=20, n_threads=1)
    steps.step(batch, 1e-3)
    state = steps.state()
    bad = np.where(np.arange(state[0].size) == 7, value, 1).astype(np.float32)
    with monkeypatch.context() as patch:
        patch.setattr(steps._kernels, "gradient", lambda *arguments: (0.5, bad))
        assert steps.step(batch, 1e-3) == 0.5
        for before, after in zip(state, steps.state(), strict=True):
            np.testing.assert_array_equal(before, after)
        large = np.full_like(bad, 1e30)  # whose norm overflows in float32
        patch.setattr(steps._kernels, "gradient", lambda *arguments: (0.5, large))
        steps.step(batch, 1e-3)
    assert np.all(np.isfinite(steps.state()[0]))
    assert not np.array_equal(steps.state()[0], state[0])


def test_mixed_precision_trains(batch):
    steps = KerasSteps(SIZE, Ranges(), **OPTIONS, precision="mixed_float16")
    losses = [steps.step(batch, 5e-3) for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0]
    assert all(weight.dtype == np.float32 for weight in steps.weights())


def test_steps_begin_with_given_weights(make, batch):
    start = tuple(make(seed=5).weights())
    steps = make(start=start)
    for found, expected in zip(steps.weights(), start, strict=True):
        np.testing.assert_array_equal(found, expected)
    steps.step(batch, 1e-3)
    assert any(np.any(found != expected) for found, expected in zip(steps.weights(), start, strict=True))
