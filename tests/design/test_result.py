"""Histories of searches."""

import numpy as np

from design import Design
from design.result import forget, joined_histories
from epgbloch import Sequence


def test_histories_follow_each_other_with_the_best_value_so_far():
    first = np.array([[2, np.inf], [4, 9.0], [6, 7.0], [8, 8.0]])
    second = np.array([[3, 7.5], [5, 6.0]])
    expected = [[4, 9.0], [6, 7.0], [8, 7.0], [11, 7.0], [13, 6.0]]
    joined = joined_histories([first, second])
    np.testing.assert_array_equal(joined, expected)
    design = Design(Sequence(0.5, 0.01, 0.004), np.zeros(1), 6.0, joined, True, "")
    assert design.n_signals == 13


def test_forgetting_is_computing():
    result = {"u": np.zeros(2)}
    assert forget("name", lambda: result) is result
