"""Optimisation: what it finds, that it resumes bit by bit, and how it stops."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from design.mrzero import ImageGrid
from design.mrzero.losses import image_error
from design.mrzero.networks import pixel_network
from design.mrzero.optimiser import DivergenceError, Phase, optimise
from design.mrzero.reconstruction import adjoint

TARGET = np.array([1.0, -2.0, 0.5], np.float32)


def distance(values):
    return tf.reduce_sum((values["x"] - TARGET) ** 2)


def adam(gradient, x, rates):
    """The steps of Kingma and Ba 2015, algorithm 1, with the default settings."""
    mean, square, path = 0.0, 0.0, []
    for t, rate in enumerate(rates, start=1):
        path.append(x)
        g = gradient(x)
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g**2
        x = x - rate * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-7)
    return np.array(path), x


def test_steps_are_those_of_adam_and_decay():
    rates = 0.3 * 0.1 ** (np.arange(40) / 39)
    path, _ = adam(lambda x: 2 * (x - TARGET), np.zeros(3), rates)
    found = optimise(distance, {"x": np.zeros(3)}, Phase({"x": 0.3}, 40), decay=0.1, record_every=1)
    # in single precision, 1 - 0.999^t errs by 1e-5 in the first steps
    np.testing.assert_allclose(found.recorded["x"], path, atol=5e-5)
    np.testing.assert_allclose(found.losses, ((path - TARGET) ** 2).sum(axis=1), rtol=1e-3, atol=1e-6)
    best = np.argmin(found.losses)
    assert found.loss == found.losses[best]
    np.testing.assert_array_equal(found.values["x"], found.recorded["x"][best])
    assert found.seconds.shape == (40,)


def test_variables_have_steps_of_their_own_and_rest_in_other_phases():
    def loss(values):
        return tf.reduce_sum((values["x"] - 1) ** 2) + 100 * tf.reduce_sum((values["y"] - 1) ** 2)

    phases = [Phase({"x": 0.1}, 3), Phase({"y": 1e-3}, 2), Phase({"x": 0.1, "y": 1e-3}, 2)]
    found = optimise(loss, {"x": [0.0], "y": [0.0]}, phases, decay=1.0, record_every=1)
    x, y = (np.diff(found.recorded[name][:, 0]) for name in "xy")
    np.testing.assert_allclose(x[:3], 0.1, rtol=0.05)  # Adam moves by about its step
    assert np.all(y[:3] == 0)
    assert np.all(x[3:5] == 0)
    np.testing.assert_allclose(y[3:], 1e-3, rtol=0.05)
    assert x[5] > 0


def test_restarts_reset_the_step_and_begin_beside_the_best():
    def run(**options):
        return optimise(
            distance,
            {"x": np.zeros(3)},
            Phase({"x": 0.5}, 30),
            n_restarts=2,
            record_every=1,
            **{"perturbation": {"x": 2.0}, "seed": 3, **options},
        )

    found = run()
    assert found.losses.size == 90
    for begin in (30, 60):
        moved = found.recorded["x"][begin] - found.recorded["x"][np.argmin(found.losses[:begin])]
        assert 0.5 < np.std(moved) < 4
        step = np.abs(found.recorded["x"][begin + 1] - found.recorded["x"][begin])
        np.testing.assert_allclose(step, 0.5, rtol=1e-3)  # the first step of Adam
    np.testing.assert_array_equal(run().losses, found.losses)
    assert not np.array_equal(run(seed=4).losses, found.losses)
    still = run(perturbation=None)
    np.testing.assert_array_equal(still.recorded["x"][30], still.recorded["x"][np.argmin(still.losses[:30])])


def test_bounds_hold_after_every_step_and_restart():
    found = optimise(
        distance,
        {"x": [0.0, -1.0, 0.0]},
        Phase({"x": 0.7}, 40),
        bounds={"x": ([-1.0, -1.5, -1.0], 0.8)},
        n_restarts=1,
        perturbation={"x": 5.0},
        record_every=1,
    )
    assert np.all(found.recorded["x"] >= np.float32([-1.0, -1.5, -1.0]))
    assert np.all(found.recorded["x"] <= np.float32(0.8))
    np.testing.assert_allclose(found.values["x"], [0.8, -1.5, 0.5], atol=1e-2)


def mean_of_batch(data):
    def loss(values, batch):
        return tf.reduce_mean((values["x"] - data[batch]) ** 2), {"first": tf.constant(batch[0])}

    return loss


def test_data_are_drawn_evenly_and_reproducibly():
    data = np.random.default_rng(0).normal(3, 1, 50).astype(np.float32)

    def run(n=100, n_data=50, batch_size=10, seed=0):
        return optimise(
            mean_of_batch(data),
            {"x": 0.0},
            Phase({"x": 0.2}, n),
            n_data=n_data,
            batch_size=batch_size,
            seed=seed,
        )

    found = run()
    # the mean of 10 of 50 has a standard deviation of 0.3, averaged over the last steps to about 0.1
    assert abs(found.values["x"] - data.mean()) < 0.2
    first = found.metrics["first"]
    assert np.unique(first).size > 35
    assert (first.min(), first.max()) == (0, 49)
    np.testing.assert_array_equal(run(3, seed=0).metrics["first"], first[:3])
    assert not np.array_equal(run(3, seed=1).metrics["first"], first[:3])
    assert run(20, n_data=10).metrics["first"].max() == 9
    whole = run(3, batch_size=50)
    assert whole.loss == whole.losses[-1]
    np.testing.assert_allclose(whole.losses[0], np.mean(data**2), rtol=1e-5)  # single precision


def network_problem():
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(64, 4)), tf.float32)
    network = pixel_network(4, 1, n_units=8, n_hidden=2)
    seen = []

    def loss(values, batch):
        if not seen or seen[-1] is not values["scale"]:
            seen.append(values["scale"])
        chosen = tf.gather(x, batch)
        found = network(chosen * values["scale"])[:, 0]
        return tf.reduce_mean((found - chosen[:, 0] * chosen[:, 1]) ** 2), {"scale": values["scale"][0]}

    phases = [Phase({"network": 1e-2}, 10), Phase({"scale": 1e-2}, 3)] * 3
    options = {"networks": {"network": network}, "n_data": 64, "batch_size": 16, "record_every": 4}
    return loss, {"scale": np.ones(4)}, phases, options, network, seen


def test_networks_and_variables_are_trained_in_turn():
    loss, initial, phases, options, network, seen = network_problem()
    start = network.get_weights()
    found = optimise(loss, initial, phases, **options)
    assert found.losses[-5:].mean() < found.losses[:5].mean()
    assert all(not np.array_equal(a, b) for a, b in zip(start, network.get_weights(), strict=True))
    # one array for each phase that does not train it, one tensor for each step that does
    assert [tf.is_tensor(value) for value in seen] == [False, True, True, True] * 3
    assert set(found.metrics) == {"scale"}
    assert found.recorded_iterations.tolist() == list(range(0, 39, 4))
    assert np.all(np.diff(found.recorded["scale"], axis=0)[:2] == 0)


class Killed(Exception):  # noqa: N818
    pass


def kill_at(index):
    def callback(iteration):
        if iteration.index == index:
            raise Killed

    return callback


@pytest.mark.parametrize("last", [0, 17])
def test_resumes_to_the_same_bits(tmp_path, last):
    loss, initial, phases, options, whole_network, _ = network_problem()
    whole = optimise(loss, initial, phases, **options)
    path = tmp_path / "state.npz"
    options |= {"checkpoint": path, "checkpoint_every": 5}
    loss, initial, phases, own, _, _ = network_problem()
    with pytest.raises(Killed):
        optimise(loss, initial, phases, **{**options, **own}, callback=kill_at(last))
    loss, initial, phases, own, resumed_network, _ = network_problem()
    seen = []
    again = optimise(loss, initial, phases, **{**options, **own}, callback=lambda i: seen.append(i.index))
    assert seen[0] == last // 5 * 5
    np.testing.assert_array_equal(again.losses, whole.losses)
    np.testing.assert_array_equal(again.values["scale"], whole.values["scale"])
    np.testing.assert_array_equal(again.recorded["scale"], whole.recorded["scale"])
    np.testing.assert_array_equal(again.metrics["scale"], whole.metrics["scale"])
    for a, b in zip(whole_network.get_weights(), resumed_network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_resumes_restarts_and_finished_runs(tmp_path):
    options = {"n_restarts": 2, "perturbation": {"x": 1.0}, "bounds": {"x": (-3.0, 3.0)}}
    arguments = (distance, {"x": np.zeros(3)}, Phase({"x": 0.5}, 10))
    whole = optimise(*arguments, **options)
    options |= {"checkpoint": tmp_path / "state.npz", "checkpoint_every": 10}
    for last in (9, 14, 27):
        with pytest.raises(Killed):
            optimise(*arguments, **options, callback=kill_at(last))
    for _ in range(2):
        again = optimise(*arguments, **options)
        np.testing.assert_array_equal(again.losses, whole.losses)
        np.testing.assert_array_equal(again.values["x"], whole.values["x"])
    assert optimise(*arguments, **options, callback=kill_at(29)).loss == whole.loss  # nothing is left to do
    assert [file.name for file in tmp_path.iterdir()] == ["state.npz"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "other seed"),
        ({"decay": 0.5}, "other decay"),
        ({"bounds": {"x": (-9, 9)}}, "other bounds"),
        ({"identity": {"phantom": "b"}}, "other identity"),
        ({"initial": {"x": np.ones(3)}}, "other start"),
        ({"phases": Phase({"x": 0.4}, 10)}, "other phases"),
    ],
)
def test_checkpoints_of_others_are_refused(tmp_path, change, message):
    arguments = {"initial": {"x": np.zeros(3)}, "phases": Phase({"x": 0.5}, 10)}
    arguments |= {"checkpoint": tmp_path / "state.npz", "identity": {"phantom": "a"}}
    optimise(distance, **arguments)
    with pytest.raises(ValueError, match=message):
        optimise(distance, **{**arguments, **change})


def test_damaged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "state.npz"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"not a checkpoint, or a damaged one .* remove it to start again"):
        optimise(distance, {"x": np.zeros(3)}, Phase({"x": 0.5}, 10), checkpoint=path)


def root(values):
    """Not a number as soon as x < 0."""
    return tf.sqrt(values["x"]) + tf.reduce_sum(values["y"] ** 2)


def test_a_loss_that_diverges_names_the_variable_and_keeps_the_checkpoint(tmp_path):
    path, initial = tmp_path / "state.npz", {"x": 1.0, "y": np.ones(2)}
    phase = Phase({"x": 0.1, "y": 0.1}, 50)
    options = {"decay": 1.0, "checkpoint": path, "checkpoint_every": 4}
    with pytest.raises(DivergenceError, match=r"iteration (\d+): the loss is nan, .* x; lower its") as caught:
        optimise(root, initial, phase, **options)
    error = caught.value
    assert (error.variables, error.iteration) == (("x",), 10)
    assert str(error).endswith("state.npz keeps the last good state")
    assert 0 < error.best["x"] < 0.2
    with np.load(path) as state:
        assert state["losses"].size == 8
        assert np.isfinite(state["losses"]).all()
    # continued from right before the bad iteration, whose last steps are not known
    for which in ("step of x;", "steps of x and y;"):
        with pytest.raises(DivergenceError, match=f"after the last {which}"):
            optimise(root, initial, phase, **{**options, "checkpoint_every": 2})
    bounded = optimise(root, initial, phase, **{**options, "checkpoint": None}, bounds={"x": (1e-6, 2.0)})
    assert np.isfinite(bounded.losses).all()


def test_divergence_of_both_or_at_the_start():
    def both(values):
        return tf.math.log(values["x"] + values["y"])

    with pytest.raises(DivergenceError, match="after the last step of x or y") as caught:
        optimise(both, {"x": 0.1, "y": 0.1}, Phase({"x": 0.15, "y": 0.15}, 9), decay=1.0)
    assert caught.value.variables == ("x", "y")
    with pytest.raises(DivergenceError, match="iteration 0: the loss is inf, at the start of a run"):
        optimise(lambda v: 1 / v["x"], {"x": 0.0}, Phase({"x": 0.1}, 3))


def test_a_loss_that_fails_after_a_step_names_the_variable():
    def loss(values):
        if values["x"] < 0:
            raise ValueError("x must be positive")
        return values["x"] + values["y"] ** 2

    with pytest.raises(DivergenceError, match=r"the loss fails \(x must be positive\), .* of x; .* bound it"):
        optimise(loss, {"x": 0.3, "y": 1.0}, Phase({"x": 0.2, "y": 0.2}, 9))
    with pytest.raises(ValueError, match=r"^x must be positive$"):
        optimise(loss, {"x": -0.3, "y": 1.0}, Phase({"x": 0.2}, 9))


def test_a_gradient_that_is_not_finite_names_its_element():
    def loss(values):
        return tf.reduce_sum(tf.sqrt(values["x"]))

    with pytest.raises(DivergenceError, match=r"gradient of the loss by x\[1\] is inf, at the start"):
        optimise(loss, {"x": [1.0, 0.0]}, Phase({"x": 0.1}, 3))

    @tf.custom_gradient
    def picky(x):
        def gradient(cotangent):
            raise ValueError("cotangent holds values that are not finite")

        return x, gradient

    with pytest.raises(DivergenceError, match=r"the gradient fails .cotangent holds"):
        optimise(lambda v: picky(v["x"]), {"x": 1.0}, Phase({"x": 0.1}, 3))


def test_gathered_rows_have_gradients():
    found = optimise(
        lambda v: tf.reduce_sum((tf.gather(v["x"], [0, 0, 2]) - 1.0) ** 2),
        {"x": np.zeros(3)},
        Phase({"x": 0.3}, 100),
    )
    np.testing.assert_allclose(found.values["x"], [1, 0, 1], atol=1e-2)


def test_callback_sees_every_iteration():
    seen = []
    phases = [Phase({"x": 0.3}, 3), Phase({"x": 0.1}, 2)]
    found = optimise(
        lambda v: (distance(v), {"first": v["x"][0]}),
        {"x": np.zeros(3)},
        phases,
        n_restarts=1,
        callback=seen.append,
    )
    assert [(i.index, i.restart, i.phase) for i in seen[3:7]] == [(3, 0, 1), (4, 0, 1), (5, 1, 0), (6, 1, 0)]
    assert {i.n_iterations for i in seen} == {10}
    np.testing.assert_array_equal([i.loss for i in seen], found.losses)
    np.testing.assert_array_equal([i.seconds for i in seen], found.seconds)
    assert all(i.metrics["first"] == i.values["x"][0] for i in seen)


BASE = {"loss": distance, "initial": {"x": np.zeros(3)}, "phases": Phase({"x": 0.1}, 3)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": []}, "phases is empty"),
        ({"phases": Phase({"z": 0.1}, 3)}, "learning_rate of 'z' is of no variable; there are x"),
        ({"decay": 0.0}, "decay=0.0 must be above 0"),
        ({"n_restarts": -1}, "n_restarts=-1"),
        ({"perturbation": {"z": 1.0}}, "perturbation of 'z' is of no variable"),
        ({"perturbation": {"x": -1.0}}, r"perturbation\['x'\]=-1 must be positive"),
        ({"n_data": 4, "batch_size": 5}, "batch_size=5 exceeds n_data=4"),
        ({"record_every": 0}, "record_every=0"),
        ({"seed": -1}, "seed=-1"),
        ({"checkpoint_every": 0}, "checkpoint_every=0"),
        ({"initial": {"x": [0, np.nan, 0]}}, r"initial\['x'\]\[1\] must be finite"),
        ({"bounds": {"z": (0, 1)}}, "bounds of 'z' are of no variable"),
        ({"bounds": {"x": (0.5, 1)}}, r"initial\['x'\]\[0\]=0 must lie within its bounds 0.5 to 1"),
        ({"bounds": {"x": (np.zeros(2), 1)}}, r"must be \(least, largest\)"),
        ({"networks": {"x": keras.Sequential()}}, "'x' is a network and a variable"),
        ({"loss": lambda v: v["x"]}, r"loss returned float32 of shape \(3,\)"),
        ({"loss": lambda v: tf.constant(1.0)}, "the loss does not depend on 'x'"),
    ],
)
def test_options_are_checked(change, message):
    with pytest.raises(ValueError, match=message):
        optimise(**{**BASE, **change})


@pytest.mark.parametrize(
    ("rates", "n", "message"),
    [
        ({}, 3, "learning_rate is empty"),
        ({"x": 0.0}, 3, r"learning_rate\['x'\]=0 must be positive"),
        ({"x": 0.1}, 0, "n_iterations=0"),
    ],
)
def test_phases_are_checked(rates, n, message):
    with pytest.raises(ValueError, match=message):
        Phase(rates, n)


def test_encoding_is_learnt_from_an_image():
    """A k that collapsed to a quarter of its extent finds its way back, through encoding and adjoint."""
    grid = ImageGrid((8, 8), (0.08, 0.08))
    image = np.zeros(grid.shape, np.complex64)
    image[2:6, 3:7] = 1 + 0.5j
    steps = (np.arange(8) - 4) / 0.08
    y, x = np.meshgrid(steps, steps, indexing="ij")
    full = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
    places = tf.constant(np.stack(np.meshgrid(grid.x, grid.y), axis=-1).reshape(-1, 2), tf.float32)

    def loss(values):
        cycles = tf.matmul(values["k"], places, transpose_b=True)
        matrix = tf.complex(tf.cos(2 * np.pi * cycles), -tf.sin(2 * np.pi * cycles))
        signal = tf.linalg.matvec(matrix, image.ravel())[tf.newaxis]
        return image_error(adjoint(signal, values["k"], grid)[0], image)

    start = loss({"k": 0.8 * full})
    found = optimise(loss, {"k": 0.8 * full}, Phase({"k": 0.5}, 60))
    assert start > 40
    assert found.loss < 0.1 * start
