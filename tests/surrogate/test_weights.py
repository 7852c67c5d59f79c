"""Files of weights round-trip, and damaged ones are refused with one clear error."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from surrogate import NetworkSize, Ranges, Weights, WeightsError, read_weights, write_weights
from surrogate.weights import weight_shapes


@pytest.fixture
def weights():
    size = NetworkSize(2, 4)
    rng = np.random.default_rng(0)
    arrays = tuple(rng.standard_normal(shape).astype(np.float32) for shape in weight_shapes(size))
    return Weights(size, Ranges(tr=(6e-3, 9e-3)), arrays, {"trained": {"seconds": 3.5}, "list": [1, "a"]})


def test_round_trip_is_exact(tmp_path, weights):
    assert write_weights(tmp_path / "w.npz", weights) == tmp_path / "w.npz"
    again = read_weights(tmp_path / "w.npz")
    assert (again.size, again.ranges, again.card) == (weights.size, weights.ranges, weights.card)
    for a, b in zip(again.arrays, weights.arrays, strict=True):
        np.testing.assert_array_equal(a, b)
    assert os.listdir(tmp_path) == ["w.npz"]


def test_failed_write_keeps_the_old_file(tmp_path, weights):
    write_weights(tmp_path / "w.npz", weights)
    with pytest.raises(ValueError, match="JSON"):
        write_weights(tmp_path / "w.npz", replace(weights, card={"loss": float("nan")}))
    assert read_weights(tmp_path / "w.npz").card == weights.card
    assert os.listdir(tmp_path) == ["w.npz"]


def test_damage_is_found(tmp_path, weights):
    path = write_weights(tmp_path / "w.npz", weights)
    image = path.read_bytes()
    for damaged in (image[:-30], image[:100], b"", b"no archive"):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=r"w\.npz is not a file of weights, or a truncated"):
            read_weights(path)
    middle = bytearray(image)
    middle[len(image) // 2] ^= 1
    path.write_bytes(middle)
    with pytest.raises(WeightsError, match="damaged"):
        read_weights(path)
    with pytest.raises(FileNotFoundError):
        read_weights(tmp_path / "none.npz")


def test_every_changed_byte_is_harmless_or_found(tmp_path):
    """In the directory of the archive each byte, in the rest every 29th."""
    size = NetworkSize(1, 1)
    arrays = tuple(np.ones(shape, np.float32) for shape in weight_shapes(size))
    path = write_weights(tmp_path / "w.npz", Weights(size, Ranges(), arrays, {"a": 1}))
    image = path.read_bytes()
    directory = image.index(b"PK\x01\x02")
    n_found = 0
    for i in [*range(0, directory, 29), *range(directory, len(image))]:
        damaged = bytearray(image)
        damaged[i] ^= 0xFF
        path.write_bytes(damaged)
        try:
            again = read_weights(path)
        except WeightsError:
            n_found += 1
        else:  # a byte without meaning, a date say
            assert (again.size, again.ranges, again.card) == (size, Ranges(), {"a": 1})
            assert all(map(np.array_equal, again.arrays, arrays))
    assert n_found > 300


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"card": None}, "damaged"),
        ({"size": {"layers": 2, "units": 5, "cell": "gru"}}, r"shape \(3, 4\) .* of shape \(3, 5\)"),
        ({"size": {"layers": 1, "units": 4, "cell": "gru"}}, "which NetworkSize"),
        ({"size": {"layers": 3, "units": 4, "cell": "gru"}}, "damaged"),
        ({"format": "other"}, "holds other, version 1"),
        ({"format_version": 2}, "version 2; epgbloch .* version 1"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, weights, change, message):
    path = write_weights(tmp_path / "w.npz", weights)
    with np.load(path) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays.pop("header"))) | change
    np.savez(path, header=json.dumps(header), **arrays)
    with pytest.raises(WeightsError, match=message):
        read_weights(path)


def test_weights_that_are_not_finite_are_refused(tmp_path, weights):
    weights.arrays[3][0] = np.nan
    with pytest.raises(WeightsError, match="not finite"):
        read_weights(write_weights(tmp_path / "w.npz", weights))
