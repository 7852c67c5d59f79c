"""Flip-angle trains against appendix B of Liu et al., written out pulse by pulse."""

from math import floor, pi, sin

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from epgbloch.trains import (
    MAXIMUM,
    NOISE_SD,
    TRAINS,
    piece_constant5,
    piecewise_constant,
    sin_squared,
    spline,
    spline_noise11,
)

ROUNDING = 1e-13  # float64, angles below 10 rad
ANGLES = {5: [0.4, 1.9, 0.2, 1.1, 0.7], 11: np.random.default_rng(3).uniform(0, 2, 11)}
LENGTHS = (101, 336, 1003, 1120)


def clamped_spline(knots, values):
    """Cubic Hermite pieces whose inner slopes make the second derivative continuous, end slopes zero."""
    width, rise = np.diff(knots), np.diff(values)
    matrix, right = np.eye(len(knots)), np.zeros(len(knots))
    for i in range(1, len(knots) - 1):
        left, next_ = 1 / width[i - 1], 1 / width[i]
        matrix[i, i - 1 : i + 2] = left, 2 * (left + next_), next_
        right[i] = 3 * (rise[i - 1] * left**2 + rise[i] * next_**2)
    return CubicHermiteSpline(knots, values, np.linalg.solve(matrix, right))


@pytest.mark.parametrize("n_pulses", LENGTHS)
@pytest.mark.parametrize("m", ANGLES)
def test_spline_is_the_clamped_cubic_through_the_points_of_the_paper(m, n_pulses):
    knots = [floor(i / m * n_pulses + 1e-9) for i in range(m + 1)]
    train = spline(n_pulses, ANGLES[m])
    np.testing.assert_allclose(train[np.array(knots[1:]) - 1], ANGLES[m], rtol=0, atol=ROUNDING)
    curve = clamped_spline(np.array(knots), np.array([0, *ANGLES[m]]))
    # 1e-11: the tridiagonal system, solved another way
    np.testing.assert_allclose(train, curve(np.arange(1, n_pulses + 1)), rtol=0, atol=1e-11)


@pytest.mark.parametrize("m", ANGLES)
def test_spline_is_flat_at_both_ends(m):
    train = spline(1120, ANGLES[m])
    # flat: from an end, 2 steps of 1 rise 4 times as far as 1; the cubic term adds about 2 / (width of 101)
    assert train[1] / train[0] == pytest.approx(4, rel=0.05)
    assert (train[-3] - train[-1]) / (train[-2] - train[-1]) == pytest.approx(4, rel=0.05)


def test_spline_itself_is_not_cut():
    assert spline(336, [2, 2, 0, 0, 2]).min() < -0.01


@pytest.mark.parametrize("n_pulses", LENGTHS)
def test_sin_squared_follows_the_paper(n_pulses):
    m, length = 5, floor(n_pulses / 5)
    train = sin_squared(n_pulses, ANGLES[5])
    for n in range(1, n_pulses + 1):
        angle = ANGLES[5][min((n - 1) // length, m - 1)]
        expected = angle * sin(pi * (n % length) / (n_pulses / m)) ** 2
        assert train[n - 1] == pytest.approx(expected, abs=ROUNDING)


def test_sin_squared_lobes_peak_in_their_middle_and_end_at_zero():
    lobes = sin_squared(1120, ANGLES[5]).reshape(5, 224)
    np.testing.assert_allclose(lobes[:, 111], ANGLES[5], rtol=0, atol=ROUNDING)  # pulse 112 of 224
    np.testing.assert_array_equal(lobes.argmax(axis=1), 111)
    np.testing.assert_allclose(lobes[:, -1], 0, atol=ROUNDING)


def test_piecewise_constant_changes_after_its_edges():
    train = piecewise_constant(10, [0.1, 0.2, 0.3], [2, 7])
    np.testing.assert_array_equal(train, [0.1] * 2 + [0.2] * 5 + [0.3] * 3)
    np.testing.assert_array_equal(piecewise_constant(3, 0.4, []), [0.4] * 3)


def segment_lengths(train):
    return np.diff(np.concatenate(([0], np.flatnonzero(np.diff(train)) + 1, [train.size])))


def test_random_segments_keep_the_distances_of_the_paper():
    rng = np.random.default_rng(5)
    lengths = np.array([segment_lengths(piece_constant5(130, rng)) for _ in range(4000)])
    assert lengths.shape == (4000, 5)
    # |k_i - k_j| >= 20 with k_0 = 1: the first segment, counted from pulse 1, has 21 pulses at least
    np.testing.assert_array_equal(lengths.min(axis=0), [21, 20, 20, 20, 20])
    # 29 spare pulses, shared evenly by symmetry; the SD of a share is 5.2, of the mean of 4000 0.08
    np.testing.assert_allclose(lengths.mean(axis=0) - [21, 20, 20, 20, 20], 29 / 5, rtol=0, atol=0.4)


def test_shortest_piece_constant_train_has_only_one_choice_of_edges():
    train = piece_constant5(101, np.random.default_rng(1))
    np.testing.assert_array_equal(segment_lengths(train), [21, 20, 20, 20, 20])


def test_noise_has_a_variance_of_10_square_degrees():
    n_pulses, maximum = 20000, 3.0
    angles = np.random.default_rng(8).uniform(0, maximum, 11)
    smooth = spline(n_pulses, angles)
    train = spline_noise11(n_pulses, np.random.default_rng(8), maximum)
    inside = (smooth > 6 * NOISE_SD) & (smooth < maximum - 6 * NOISE_SD)  # away from the cut
    noise = np.rad2deg(train - smooth)[inside]
    assert noise.size > 10000
    # relative SD of the variance of 10000 Gaussian numbers 0.014, SD of their mean 0.032 degrees
    assert noise.var() == pytest.approx(10, rel=0.06)
    assert noise.mean() == pytest.approx(0, abs=0.13)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 0.04  # SD 0.01


@pytest.mark.parametrize("name", TRAINS)
def test_random_trains_are_reproducible_and_stay_within_their_limits(name):
    first, again, other = (
        [TRAINS[name](336, rng) for _ in range(100)] for rng in map(np.random.default_rng, (1, 1, 2))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])
    assert np.shape(first) == (100, 336)
    assert np.min(first) >= 0
    assert np.max(first) <= MAXIMUM == pytest.approx(np.deg2rad(120))
    assert np.max(first) > 0.95 * MAXIMUM  # at least 500 uniform draws
    low = TRAINS[name](336, np.random.default_rng(1), 0.5)
    assert 0.25 < low.max() <= 0.5


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("spline5", lambda train: train[336 * np.arange(1, 6) // 5 - 1]),
        ("spline11", lambda train: train[336 * np.arange(1, 12) // 11 - 1]),
        ("sin_squared5", lambda train: train[:335].reshape(5, 67).max(axis=1)),
        ("piece_constant5", lambda train: train[np.cumsum(segment_lengths(train)) - 1]),
    ],
)
def test_random_angles_are_uniform(name, sample):
    rng = np.random.default_rng(4)
    angles = np.concatenate([sample(TRAINS[name](336, rng)) for _ in range(400)]) / MAXIMUM
    # Kolmogorov distance of n uniform numbers: above 1.95 / sqrt(n) once in 1000; the seed is fixed
    steps = np.arange(1, angles.size + 1) / angles.size
    assert np.abs(np.sort(angles) - steps).max() < 1.95 / np.sqrt(angles.size) + 1 / angles.size


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spline(4, ANGLES[5]), "n_pulses=4 is less than the 5 control points; use fewer"),
        (lambda: spline(9.5, ANGLES[5]), r"n_pulses=9\.5 must be an integer of at least 1"),
        (lambda: spline(10, []), "angles is empty"),
        (lambda: spline(10, [1, np.nan]), r"angles\[1\]=nan is not finite"),
        (lambda: sin_squared(9, ANGLES[5]), "n_pulses=9 is less than 2 for each of 5 lobes; use fewer"),
        (lambda: sin_squared(0, 1), "n_pulses=0 must be an integer"),
        (lambda: sin_squared(10, "high"), "angles='high' is not numeric; give real numbers in radians"),
        (lambda: piecewise_constant(10, [1, 2], [0]), r"edges=\[0\] must be 1 ascending .* 1 and 9"),
        (lambda: piecewise_constant(10, [1, 2], [10]), r"edges=\[10\] must be 1 ascending"),
        (lambda: piecewise_constant(10, [1, 2, 3], [4, 4]), r"edges=\[4, 4\] must be 2 ascending"),
        (lambda: piecewise_constant(10, [1, 2], []), r"edges=\[\] must be 1 ascending"),
        (lambda: piecewise_constant(10, [1, 2], [4.5]), r"edges=\[4\.5\] must be integers"),
        (lambda: piecewise_constant("10", 1, []), "n_pulses='10' must be an integer"),
        (lambda: piece_constant5(100, RNG), "n_pulses=100 must be at least 101 for 5 segments"),
        (lambda: piece_constant5(True, RNG), "n_pulses=True must be an integer"),
        *(
            (lambda train=train: train(200, RNG, -1.0), "maximum=-1 must be positive; give it in radians")
            for train in TRAINS.values()
        ),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
