"""Training ends with the same weights, however often it is interrupted."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import surrogate.training
from surrogate import NetworkSize, Ranges, Weights, generate_dataset, read_dataset
from surrogate.checkpoint import CheckpointError
from surrogate.network import network_of
from surrogate.settings import Settings, Stage
from surrogate.steps import KernelSteps
from surrogate.training import TrainingError, train

SIZE = NetworkSize(1, 8)
SETTINGS = Settings(
    stages=(Stage(10, 4), Stage(101, 3)),
    training_signals=16,
    validation_signals=6,
    batch_size=5,
    warmup_steps=5,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, dataset):
    """Weights of an uninterrupted training, and its last report."""
    reports = []
    path = tmp_path_factory.mktemp("training") / "c.npz"
    weights = train(dataset, SIZE, SETTINGS, path, report=reports.append)
    return weights, reports


def assert_same(weights: Weights, expected: Weights):
    for a, b in zip(weights.arrays, expected.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("loss", "validation_loss", "signal_nrmse", "pulses"):
        assert weights.card["validation"][name] == expected.card["validation"][name]


def test_reports_count_pulses_and_validations(finished):
    _, reports = finished
    # 3 batches of 5 signals an epoch
    assert SETTINGS.total_pulses == 15 * (10 * 4 + 101 * 3)
    assert [r.done for r in reports[:3]] == [50, 100, 150]
    assert reports[-1].done == reports[-1].total == SETTINGS.total_pulses
    assert [r.is_saved for r in reports] == [False] * 21 + [True]
    # at the end of each stage; of each epoch of full length it takes 16 signals, not 15
    places = [(entry["stage"], entry["epoch"], entry["window"]) for entry in reports[-1].history]
    assert places == [(1, 4, 10), (2, 2, 101), (2, 3, 101)]


def test_card_tells_data_settings_and_errors(finished, dataset):
    weights, reports = finished
    best = min(reports[-1].history, key=lambda entry: entry["validation_loss"])
    assert weights.card["validation"] == best
    assert weights.card["data"]["sha256"] == dataset.sha256
    assert weights.card["data"]["recipe"]["seed"] == 5
    assert weights.card["training"]["batch_size"] == 5
    assert weights.card["training"]["method"] == "kernels"
    trained = weights.card["trained"]
    assert (trained["steps"], trained["threads"], trained["accelerators"]) == (21, 1, [])
    assert (trained["setbacks"], trained["ended"]) == (0, "complete")
    assert trained["processor"].endswith(f", {os.cpu_count()} cores")
    assert weights.size == SIZE


def test_validation_errors_are_those_of_the_weights(finished, dataset):
    """Keras, on the signals that follow the training signals."""
    weights, _ = finished
    network = network_of(weights)
    batch = surrogate.training.batch_of(dataset, slice(16, 22), 101)
    outputs = network.predict_on_batch({"pulses": batch.pulses, "initial": batch.initial})
    error = np.abs(outputs - batch.targets).mean(axis=(0, 1)).sum()
    # float32
    assert weights.card["validation"]["validation_loss"] == pytest.approx(error, rel=1e-4)
    nrmse = np.linalg.norm((outputs - batch.targets)[..., 0]) / np.linalg.norm(batch.targets[..., 0])
    assert weights.card["validation"]["signal_nrmse"] == pytest.approx(nrmse, rel=1e-4)


class StopError(Exception):
    pass


@pytest.mark.parametrize("steps", [1, 6, 14, 20])
def test_interrupted_training_continues_exactly(tmp_path, dataset, finished, steps):
    """With a checkpoint at every step, interrupted after some."""
    seen = []

    def interrupt(report):
        seen.append(report.done)
        if len(seen) == steps:
            raise StopError

    path = tmp_path / "c.npz"
    with pytest.raises(StopError):
        train(dataset, SIZE, SETTINGS, path, checkpoint_seconds=0.0, report=interrupt)
    weights = train(dataset, SIZE, SETTINGS, path, report=lambda report: seen.append(report.done))
    assert_same(weights, finished[0])
    assert len(seen) == 22  # no step twice
    assert os.listdir(tmp_path) == ["c.npz"]


def test_finished_training_returns_at_once(tmp_path, dataset, finished):
    path = tmp_path / "c.npz"
    train(dataset, SIZE, SETTINGS, path)
    reports = []
    assert_same(train(dataset, SIZE, SETTINGS, path, report=reports.append), finished[0])
    assert reports == []


CHILD = """
import sys
from pathlib import Path
from surrogate import NetworkSize, read_dataset
from surrogate.settings import Settings, Stage
from surrogate.steps import KernelSteps
from surrogate.training import train
settings = Settings(
    stages=(Stage(10, 4), Stage(101, 3)),
    training_signals=16,
    validation_signals=6,
    batch_size=5,
    warmup_steps=5,
)
train(
    read_dataset(sys.argv[1]),
    NetworkSize(1, 8),
    settings,
    Path(sys.argv[2]),
    checkpoint_seconds=0.0,
    report=lambda report: print(report.done, flush=True),
)
"""


def test_killed_training_continues_exactly(tmp_path, dataset_path, dataset, finished, monkeypatch):
    path = tmp_path / "c.npz"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, dataset_path, path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as child:
        for _ in range(8):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    n_steps, step = [], KernelSteps.step
    monkeypatch.setattr(KernelSteps, "step", lambda *arguments: n_steps.append(1) or step(*arguments))
    assert_same(train(dataset, SIZE, SETTINGS, path), finished[0])
    assert len(n_steps) <= 21 - 8  # of 21, those that were reported are not done again
    assert os.listdir(tmp_path) == ["c.npz"]  # nor is half a file left


def test_best_weights_are_kept_and_patience_ends(tmp_path, dataset):
    """A learning rate that is far too high from some step on: later validations are worse."""
    settings = replace(
        SETTINGS,
        stages=(Stage(101, 20),),
        training_signals=15,
        learning_rate=3.0,
        final_learning_rate=3.0,
        warmup_steps=60,
        patience=3,
    )
    reports = []
    weights = train(dataset, SIZE, settings, tmp_path / "c.npz", report=reports.append)
    losses = [entry["validation_loss"] for entry in reports[-1].history]
    assert weights.card["validation"]["validation_loss"] == min(losses) < losses[-1]
    assert len(losses) == int(np.argmin(losses)) + 1 + 3 < 20
    assert train(dataset, SIZE, settings, tmp_path / "c.npz").card["validation"] == weights.card["validation"]


def test_keras_method_trains_lstm(tmp_path, dataset):
    settings = replace(SETTINGS, stages=(Stage(20, 4),), learning_rate=1e-2)
    reports = []
    size = NetworkSize(1, 8, "lstm")
    weights = train(dataset, size, settings, tmp_path / "c.npz", report=reports.append)
    assert weights.card["training"]["method"] == "keras"
    assert reports[-1].done == reports[-1].total
    again = train(dataset, size, settings, tmp_path / "c.npz")
    for a, b in zip(weights.arrays, again.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (SIZE, {"training_signals": 19}, "exceed the 24 signals of the data set"),
        (SIZE, {"stages": (Stage(102, 1),)}, "windows of 102 pulses are longer than the signals, 101 pulses"),
        (SIZE, {"precision": "mixed_float16"}, "needs method='keras'"),
        (NetworkSize(1, 8, "lstm"), {"method": "kernels"}, "needs cell='gru'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, dataset, size, changes, message):
    with pytest.raises(TrainingError, match=message):
        train(dataset, size, replace(SETTINGS, **changes), tmp_path / "c.npz")


@pytest.mark.parametrize("name", ["flip_angle", "targets"])
def test_training_without_a_finite_validation_fails(tmp_path, dataset, name):
    """All signals are broken, or those of the validation alone."""
    first = 0 if name == "flip_angle" else 16
    values = getattr(dataset, name).copy()
    values[first:] = np.nan
    with pytest.raises(TrainingError, match=r"diverged \d times, and no validation .* choose a new folder"):
        train(replace(dataset, **{name: values}), SIZE, SETTINGS, tmp_path / "c.npz")


@pytest.fixture
def accidents(monkeypatch):
    """Function that makes some steps ruin the weights; it returns the list of learning rates of all steps."""

    def ruin(numbers, loss_too):
        step, calls = KernelSteps.step, []

        def step_with_accident(self, batch, learning_rate):
            calls.append(learning_rate)
            loss = step(self, batch, learning_rate)
            if len(calls) in numbers:
                self._flat *= 1e3
                self._mean += 1e3
                return np.nan if loss_too else loss
            return loss

        monkeypatch.setattr(KernelSteps, "step", step_with_accident)
        return calls

    return ruin


STEADY = replace(SETTINGS, training_signals=15, final_learning_rate=SETTINGS.learning_rate, warmup_steps=1)
"""Three steps an epoch, validated after the 12 of the first stage and after each epoch of full length."""


def test_divergence_before_the_first_validation_begins_again(tmp_path, dataset, accidents):
    calls = accidents([2], loss_too=True)
    slow = replace(STEADY, learning_rate=STEADY.learning_rate / 2, final_learning_rate=2.5e-3)
    reports = []
    train(dataset, SIZE, STEADY, tmp_path / "c.npz", report=reports.append)
    np.testing.assert_allclose(calls[2:], slow.learning_rate, rtol=1e-12)  # rounding
    assert [entry["setbacks"] for entry in reports[-1].history] == [1, 1, 1, 1]
    assert reports[-1].history[-1]["validation_loss"] < reports[-1].history[0]["validation_loss"] < 1


def test_divergence_restores_the_moments_of_adam(tmp_path, dataset, monkeypatch):
    """The whole state of the best validation, not the weights alone."""
    validated, restored = [], []
    state, restore = KernelSteps.state, KernelSteps.restore
    monkeypatch.setattr(KernelSteps, "state", lambda self: validated.append(state(self)) or validated[-1])
    monkeypatch.setattr(
        KernelSteps, "restore", lambda self, values: restored.append(values) or restore(self, values)
    )
    validate, n_checks = surrogate.training._validate, []

    def worse(*arguments):
        n_checks.append(1)
        loss = {1: 0.5, 2: 5.1}.get(len(n_checks), 0.6)
        return validate(*arguments) | {"validation_loss": loss}

    monkeypatch.setattr(surrogate.training, "_validate", worse)
    train(dataset, SIZE, STEADY, tmp_path / "c.npz")
    best = next(values for values in validated if values[3] == 12)  # steps of Adam at the first validation
    assert len(restored) == 2  # after the second validation, and at the end
    for values in restored:
        for found, expected in zip(values, best, strict=True):
            np.testing.assert_array_equal(found, expected)


def test_training_that_diverges_again_and_again_ends_with_its_best_weights(tmp_path, dataset, accidents):
    calls = accidents(range(14, 99), loss_too=True)
    settings = replace(STEADY, stages=(Stage(10, 4), Stage(101, 9)))
    reports = []
    weights = train(dataset, SIZE, settings, tmp_path / "c.npz", report=reports.append)
    assert len(calls) == 13 + 9 < 12 + 27
    assert (weights.card["trained"]["ended"], weights.card["trained"]["setbacks"]) == ("diverged", 9)
    assert weights.card["validation"] == reports[-1].history[0]
    assert reports[-1].history[1]["loss"] is None  # no batch since the last divergence
    assert reports[-1].is_saved
    assert weights.digest() == train(dataset, SIZE, settings, tmp_path / "c.npz").digest()
    assert len(calls) == 22


@pytest.mark.parametrize("validation_loss", [np.nan, np.inf])
def test_validation_that_is_not_finite_is_a_divergence(tmp_path, dataset, monkeypatch, validation_loss):
    validate, n_checks = surrogate.training._validate, []

    def broken(*arguments):
        n_checks.append(1)
        errors = validate(*arguments)
        return errors | {"validation_loss": validation_loss} if len(n_checks) in (1, 3) else errors

    monkeypatch.setattr(surrogate.training, "_validate", broken)
    reports = []
    weights = train(dataset, SIZE, STEADY, tmp_path / "c.npz", report=reports.append)
    history = reports[-1].history
    assert [entry["setbacks"] for entry in history] == [1, 1, 2, 2]
    assert weights.card["trained"]["ended"] == "complete"
    best = min(history[1]["validation_loss"], history[3]["validation_loss"])
    assert weights.card["validation"]["validation_loss"] == best


def test_divergence_is_no_lack_of_improvement(tmp_path, dataset, monkeypatch):
    """It begins the count of validations without improvement anew."""
    losses = iter([0.5, 0.6, 0.6, 6.0, 0.6, 0.6, 0.6, 0.6])
    validate = surrogate.training._validate
    monkeypatch.setattr(
        surrogate.training, "_validate", lambda *a: validate(*a) | {"validation_loss": next(losses)}
    )
    settings = replace(STEADY, stages=(Stage(101, 20),), patience=3)
    reports = []
    weights = train(dataset, SIZE, settings, tmp_path / "c.npz", report=reports.append)
    assert len(reports[-1].history) == 7
    assert weights.card["trained"]["ended"] == "patience"


@pytest.mark.parametrize("n_done", [15, 18, 20])
def test_training_continues_exactly_after_a_divergence(tmp_path, dataset, accidents, n_done):
    """Interrupted before it, by steps and by validations."""
    accidents([14, 17], loss_too=False)
    settings = replace(STEADY, patience=2)
    reports = []
    expected = train(dataset, SIZE, settings, tmp_path / "whole.npz", report=reports.append)
    assert [entry["setbacks"] for entry in reports[-1].history] == [0, 1, 2, 2]

    def interrupt(report):
        n_seen.append(1)
        if len(n_seen) == n_done:
            raise StopError

    n_seen, calls = [], accidents([14, 17], loss_too=False)
    with pytest.raises(StopError):
        train(dataset, SIZE, settings, tmp_path / "c.npz", checkpoint_seconds=0.0, report=interrupt)
    weights = train(dataset, SIZE, settings, tmp_path / "c.npz")
    assert_same(weights, expected)
    assert len(calls) == 21


@pytest.mark.parametrize("what", ["weights", "loss"])
def test_training_that_diverges_goes_back_and_slows_down(tmp_path, dataset, accidents, what):
    calls = accidents([17], loss_too=what == "loss")  # within the second epoch of full length
    reports = []
    weights = train(dataset, SIZE, STEADY, tmp_path / "c.npz", report=reports.append)
    history = reports[-1].history
    assert [entry["setbacks"] for entry in history] == [0, 0, 1, 1]
    n_fast = 17 if what == "loss" else 18
    np.testing.assert_allclose(calls[:n_fast], 5e-3, rtol=1e-12)  # rounding
    np.testing.assert_allclose(calls[n_fast:], 2.5e-3, rtol=1e-12)
    assert len(calls) == 21
    # three steps from the weights of the first epoch of full length, not from the broken ones
    assert history[-1]["validation_loss"] < 2 * history[1]["validation_loss"]
    assert weights.card["validation"]["validation_loss"] == min(e["validation_loss"] for e in history)


def test_inputs_that_do_not_vary_train(tmp_path, recipe):
    ranges = Ranges(t1=(1.0, 1.0), tr=(8e-3, 8e-3), te_over_tr=(0.5, 0.5))
    path = generate_dataset(tmp_path / "d.h5", replace(recipe, ranges=ranges))
    weights = train(read_dataset(path), SIZE, SETTINGS, tmp_path / "c.npz")
    assert weights.card["trained"]["steps"] == 21
    assert np.isfinite(weights.card["validation"]["signal_nrmse"])


def test_training_from_earlier_weights_begins_with_their_error(tmp_path, dataset, finished):
    start, _ = finished
    settings = replace(
        SETTINGS, stages=(Stage(101, 2),), training_signals=15, learning_rate=1e-9, final_learning_rate=1e-9
    )
    weights = train(dataset, SIZE, settings, tmp_path / "c.npz", start=start)
    # six steps of at most 1e-9
    for found, expected in zip(weights.arrays, start.arrays, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)  # rounding of float32
    assert weights.card["start"] == {
        name: start.card[name] for name in ("data", "training", "trained", "start")
    }
    with pytest.raises(CheckpointError, match="belongs to a training with start="):
        train(dataset, SIZE, settings, tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": NetworkSize(1, 9)}, "start: the weights are those of .*9"),
        ({"ranges": Ranges(tr=(4e-3, 20e-3))}, "0.004"),
    ],
)
def test_weights_to_begin_with_must_fit(tmp_path, dataset, finished, changes, message):
    start, _ = finished
    with pytest.raises(TrainingError, match=message):
        train(dataset, SIZE, SETTINGS, tmp_path / "c.npz", start=replace(start, **changes))


@pytest.mark.parametrize(
    ("size", "changes"),
    [(NetworkSize(1, 9), {}), (SIZE, {"batch_size": 4}), (SIZE, {"stages": (Stage(10, 4), Stage(101, 4))})],
)
def test_checkpoint_of_another_training_is_refused(tmp_path, dataset, size, changes):
    train(dataset, SIZE, SETTINGS, tmp_path / "c.npz")
    with pytest.raises(CheckpointError, match="belongs to a training with"):
        train(dataset, size, replace(SETTINGS, **changes), tmp_path / "c.npz")
