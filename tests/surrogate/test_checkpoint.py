"""Checkpoints hold everything, or are refused."""

import json
import os

import numpy as np
import pytest

from surrogate.checkpoint import CheckpointError, State, read_checkpoint, write_checkpoint

IDENTITY = {"data": "abc", "size": {"layers": 2}, "stages": ({"pulses": 3},)}


@pytest.fixture
def state():
    """No value is the default."""
    arrays = [np.arange(3, dtype=np.float32), np.array(5), np.ones((2, 2))]
    state = State(arrays, best=[np.zeros(2)], setbacks=3, stage=1, epoch=2, waited=4, seconds=1.5)
    state.ended, state.history = "patience", [{"loss": None}]
    state.count(100, 0.25)
    for name, value in vars(State([], [])).items():
        assert getattr(state, name) != value or name in ("steps", "best")
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


def test_former_format_is_refused(tmp_path, state):
    """It had no number, and kept less of the best state."""
    path = tmp_path / "c.npz"
    write_checkpoint(path, state, IDENTITY)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays.pop("header")))
    del header["format_version"]
    np.savez(path, header=json.dumps(header), **arrays)
    with pytest.raises(CheckpointError, match=r"another version of epgbloch.*; remove it or choose another"):
        read_checkpoint(path, IDENTITY)


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
    directory = image.index(b"PK\x01\x02")
    encrypted, compressed = bytearray(image), bytearray(image)
    encrypted[directory + 8] |= 1  # which zipfile reports as RuntimeError
    compressed[directory + 10] = 99  # NotImplementedError
    for damaged in (image[:-20], b"", b"text", encrypted, compressed):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="not a checkpoint, or a damaged one"):
            read_checkpoint(path, IDENTITY)
