"""Checkpoints hold everything, or are refused."""

import os

import numpy as np
import pytest

from surrogate.checkpoint import CheckpointError, State, read_checkpoint, write_checkpoint

IDENTITY = {"data": "abc", "size": {"layers": 2}, "stages": ({"pulses": 3},)}


@pytest.fixture
def state():
    arrays = [np.arange(3, dtype=np.float32), np.array(5), np.ones((2, 2))]
    state = State(arrays, best=[np.zeros(2)], stage=1, epoch=2, seconds=1.5, history=[{"loss": 0.1}])
    state.count(100, 0.25)
    return state


def test_round_trip(tmp_path, state):
    path = tmp_path / "c.npz"
    write_checkpoint(path, state, IDENTITY)
    again = read_checkpoint(path, IDENTITY)
    lists = ("steps", "best")
    assert {k: v for k, v in vars(again).items() if k not in lists} == {
        k: v for k, v in vars(state).items() if k not in lists
    }
    assert (again.batch, again.n_steps, again.pulses, again.loss_sum) == (1, 1, 100, 0.25)
    for name in lists:
        for a, b in zip(getattr(again, name), getattr(state, name), strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
    assert os.listdir(tmp_path) == ["c.npz"]


def test_missing_file_is_no_state(tmp_path):
    assert read_checkpoint(tmp_path / "c.npz", IDENTITY) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [({"data": "abd"}, "data=abc, not abd"), ({"size": {"layers": 3}}, r"size=\{'layers': 2\}")],
)
def test_checkpoint_of_something_else_is_refused(tmp_path, state, change, message):
    write_checkpoint(tmp_path / "c.npz", state, IDENTITY)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "c.npz", IDENTITY | change)


def test_damage_is_found(tmp_path, state):
    path = tmp_path / "c.npz"
    write_checkpoint(path, state, IDENTITY)
    image = path.read_bytes()
    for damaged in (image[:-20], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a checkpoint, or a damaged one"):
            read_checkpoint(path, IDENTITY)
