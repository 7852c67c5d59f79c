"""The job makes the data, trains, continues and writes weights and a figure."""

import os

import numpy as np
import pytest

from jobs.console import Console
from jobs.train import run_train
from surrogate import NetworkSize, read_weights
from surrogate.steps import KernelSteps

TRAINING = """
data: {file: data.h5, signals: 20, pulses: 101, engine: {n_states: 6, n_subslices: 8}}
network: {layers: 1, units: 6}
training:
  stages: [{pulses: 30, epochs: 3}, {pulses: 101, epochs: 2}]
  training_signals: 14
  validation_signals: 4
  batch_size: 7
"""


@pytest.fixture
def training(tmp_path):
    path = tmp_path / "training.yaml"
    path.write_text(TRAINING)
    return path


def run(path, out, quiet=True):
    return run_train(path, out=out, threads=1, console=Console(quiet))


def test_training_from_nothing_to_weights(tmp_path, training, capsys):
    card = run(training, tmp_path / "out", quiet=False)
    output = capsys.readouterr()
    assert "Simulating 20 signals x 101 pulses" in output.err
    assert "100.0 %  stage 2, epoch 2, 101 pulses: loss" in output.err
    assert f"{100 * card['validation']['signal_nrmse']:.3g} %" in output.out
    assert sorted(os.listdir(tmp_path / "out")) == ["checkpoint.npz", "loss.png", "weights.npz"]
    assert sorted(os.listdir(tmp_path)) == ["data.h5", "out", "training.yaml"]
    assert (tmp_path / "out" / "loss.png").read_bytes().startswith(b"\x89PNG")
    weights = read_weights(tmp_path / "out" / "weights.npz")
    assert weights.size == NetworkSize(1, 6)
    assert weights.card == card
    assert card["training"]["stages"] == [{"pulses": 30, "epochs": 3}, {"pulses": 101, "epochs": 2}]


def test_second_run_uses_the_data_and_the_checkpoint(tmp_path, training):
    run(training, tmp_path / "out")
    data = (tmp_path / "data.h5").stat().st_mtime_ns
    first = read_weights(tmp_path / "out" / "weights.npz")
    (tmp_path / "out" / "weights.npz").unlink()
    run(training, tmp_path / "out")
    again = read_weights(tmp_path / "out" / "weights.npz")
    assert (tmp_path / "data.h5").stat().st_mtime_ns == data
    assert again.card["trained"]["seconds"] == first.card["trained"]["seconds"]
    for a, b in zip(again.arrays, first.arrays, strict=True):
        np.testing.assert_array_equal(a, b)


def test_card_tells_the_trainings_before(tmp_path, training):
    first = run(training, tmp_path / "first")
    training.write_text(TRAINING.replace("units: 6", "units: 6, start: first/weights.npz"))
    card = run(training, tmp_path / "second")
    assert card["start"] == {name: first[name] for name in ("data", "training", "trained", "start")}
    assert read_weights(tmp_path / "second" / "weights.npz").card == card


def test_training_that_keeps_diverging_says_so(tmp_path, training, monkeypatch, capsys):
    step, n_steps = KernelSteps.step, []

    def broken(*arguments):
        n_steps.append(1)
        return step(*arguments) if len(n_steps) < 8 else np.nan  # after the first validation

    monkeypatch.setattr(KernelSteps, "step", broken)
    training.write_text(TRAINING.replace("epochs: 2", "epochs: 9"))
    run(training, tmp_path / "out", quiet=False)
    output = capsys.readouterr().err
    assert "notice: the training diverged 9 times and ended with its best weights" in output
    assert "loss none; validation" in output
    assert (tmp_path / "out" / "weights.npz").exists()


def test_mistakes_are_found_before_data_are_made(tmp_path, training):
    training.write_text(TRAINING.replace("validation_signals: 4", "validation_signals: 7"))
    with pytest.raises(ValueError, match="exceed the 20 signals of the data set"):
        run(training, tmp_path / "out")
    assert os.listdir(tmp_path) == ["training.yaml"]


def test_data_of_another_recipe_are_refused(tmp_path, training):
    run(training, tmp_path / "out")
    training.write_text(TRAINING.replace("signals: 20", "signals: 21"))
    with pytest.raises(ValueError, match=r"data\.h5: it was made with n_signals=20, not 21"):
        run(training, tmp_path / "other")


def test_folder_of_another_training_is_refused(tmp_path, training):
    run(training, tmp_path / "out")
    training.write_text(TRAINING.replace("units: 6", "units: 7"))
    with pytest.raises(ValueError, match=r"checkpoint\.npz belongs to a training with size="):
        run(training, tmp_path / "out")
