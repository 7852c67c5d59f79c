import json
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dictionaries import Grid, linear_axis, log_axis


def test_log_axis_has_equal_ratios_and_both_ends():
    axis = log_axis(0.1, 5.0, 7)
    assert axis.size == 7
    assert (axis[0], axis[-1]) == (0.1, 5.0)
    np.testing.assert_allclose(axis[1:] / axis[:-1], 50 ** (1 / 6), rtol=1e-12)  # double rounding


def test_linear_axis_has_equal_steps_and_both_ends():
    axis = linear_axis(-20.0, 30.0, 6)
    np.testing.assert_allclose(axis, [-20, -10, 0, 10, 20, 30], rtol=1e-12)  # double rounding


@pytest.mark.parametrize("function", [log_axis, linear_axis])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((2.0, 1.0, 5), "start=2.0 must be less than stop=1.0"),
        ((1.0, 1.0, 5), "start=1.0 must be less than stop=1.0"),
        ((1.0, np.nan, 5), "both finite"),
        ((1.0, np.inf, 5), "both finite"),
        ((1.0, 2.0, 1), "n=1 must be an integer of at least 2"),
        ((1.0, 2.0, 2.5), "n=2.5 must be an integer"),
    ],
)
def test_axes_refuse(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        function(*arguments)


@pytest.mark.parametrize("start", [0.0, -1.0])
def test_log_axis_refuses_ends_that_are_not_positive(start):
    with pytest.raises(ValueError, match="must be positive on a logarithmic axis"):
        log_axis(start, 1.0, 3)


def test_atoms_are_in_c_order_without_t2_above_t1():
    t1, t2, b1, off_resonance = [0.05, 0.1, 1.0], [0.04, 0.1, 0.3], [0.9, 1.1], [-5.0, 0.0, 5.0]
    expected = [(a, b, c, d) for a in t1 for b in t2 if b <= a for c in b1 for d in off_resonance]
    grid = Grid(t1, t2, b1, off_resonance)
    tissue = grid.tissue
    atoms = np.stack([tissue.t1, tissue.t2, tissue.b1, tissue.off_resonance], axis=1)
    np.testing.assert_array_equal(atoms, expected)
    assert grid.n_atoms == len(expected) == 36  # 6 of 9 pairs of t1 and t2; t2 = t1 = 0.1 s stays


def test_numbers_are_axes_of_one_value():
    grid = Grid(1.0, 0.1)
    assert grid.n_atoms == 1
    assert (grid.tissue.b1[0], grid.tissue.off_resonance[0]) == (1.0, 0.0)


def test_to_dict_survives_json_exactly():
    grid = Grid(log_axis(0.1, 5, 9), log_axis(0.01, 2, 8), linear_axis(0.7, 1.3, 4), [-1 / 3, 0.1])
    copy = Grid(**json.loads(json.dumps(grid.to_dict())))
    for name in ("t1", "t2", "b1", "off_resonance"):
        np.testing.assert_array_equal(getattr(copy, name), getattr(grid, name))
        np.testing.assert_array_equal(getattr(copy.tissue, name), getattr(grid.tissue, name))


def test_grid_does_not_change_after_construction():
    t1 = np.array([0.5, 1.0])
    grid = Grid(t1, 0.1)
    t1[0] = 9.0
    assert grid.t1[0] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        grid.t1[0] = 9.0
    with pytest.raises(FrozenInstanceError):
        grid.t1 = t1


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"t1": [1.0, 0.5]}, r"t1\[1\]=0.5 must be greater than t1\[0\]=1; sort"),
        ({"t2": [0.1, 0.1]}, r"t2\[1\]=0.1 must be greater than t2\[0\]=0.1; .*repeated"),
        ({"t1": [0.0, 1.0]}, r"t1\[0\]=0 must be positive"),
        ({"t2": -0.1}, r"t2\[0\]=-0.1 must be positive"),
        ({"b1": [0.0, 1.0]}, r"b1\[0\]=0 must be positive"),
        ({"b1": []}, "b1 is empty"),
        ({"off_resonance": [0.0, np.nan]}, r"off_resonance\[1\]=nan is not finite"),
        ({"off_resonance": [5.0, -5.0]}, r"off_resonance\[1\]=-5 must be greater"),
        ({"t1": "long"}, "t1='long' is not numeric"),
        ({"t1": [[1.0, 2.0]]}, "t1 has shape"),
        ({"t2": [1.5, 2.0]}, "t2 starts at 1.5 s, above the largest t1=1 s"),
    ],
)
def test_grid_refuses(axes, message):
    with pytest.raises(ValueError, match=message):
        Grid(**({"t1": [0.5, 1.0], "t2": [0.05, 0.1]} | axes))


def test_some_atoms_are_those_of_the_whole_grid():
    grid = Grid([0.1, 0.5, 1.0], [0.05, 0.2, 0.6], [0.9, 1.0], [-3.0, 0.0, 5.0])
    axes = np.meshgrid(grid.t1, grid.t2, grid.b1, grid.off_resonance, indexing="ij")
    possible = axes[1] <= axes[0]
    assert grid.n_atoms == possible.sum() == 36
    for index in (slice(None), slice(5, 17), slice(30, None), np.array([35, 0, 7])):
        chosen = grid[index]
        for name, axis in zip(("t1", "t2", "b1", "off_resonance"), axes, strict=True):
            np.testing.assert_array_equal(getattr(chosen, name), axis[possible][index])
    with pytest.raises(IndexError):
        grid[np.array([36])]
