"""Estimates from noisy signals against the Cramér-Rao bound."""

import numpy as np
import pytest

from design import Criterion, monte_carlo
from epgbloch import EPGBloch, Sequence, Tissue

N_PULSES = 60
SEQUENCE = Sequence(0.9 * np.sin(np.linspace(0.2, 6, N_PULSES)) ** 2, 9e-3, 4e-3, inversion_time=0.01)
TISSUE = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065], b1=[0.9, 1.1])
MODEL = EPGBloch()
N_TRIALS = 4000
SPREAD = np.sqrt(2 / N_TRIALS)
"""Standard deviation of a ratio of variances: 2.2 %."""


def test_estimates_are_as_precise_as_the_bound_where_noise_is_small():
    result = monte_carlo(MODEL, SEQUENCE, TISSUE, snr=2000.0, n_trials=N_TRIALS, seed=1)
    assert result.variance_ratio.shape == (2, 2)
    # asked: within 10 %; 4.5 standard deviations of the ratio. B1 differs between the tissues, and is known
    np.testing.assert_allclose(result.variance_ratio, 1.0, atol=4.5 * SPREAD)
    # the bias is the mean of n trials, and single precision
    assert np.all(np.abs(result.bias) < 4 * result.bound / np.sqrt(N_TRIALS) + 1e-4)
    criterion = Criterion(TISSUE, proton_density="complex")
    np.testing.assert_allclose(result.bound, criterion.bounds(MODEL, SEQUENCE) / 2000.0, rtol=1e-12)
    ratio = result.standard_deviation**2 / result.bound**2
    np.testing.assert_allclose(result.variance_ratio, ratio, rtol=1e-12)


def test_strong_noise_is_far_from_the_bound():
    result = monte_carlo(MODEL, SEQUENCE, TISSUE, snr=5.0, n_trials=400, seed=1)
    # the ends of the dictionary hold estimates that the bound lets go anywhere
    assert np.any(np.abs(result.variance_ratio - 1) > 0.5)


def test_estimating_b1_too_reaches_its_bound():
    tissue = Tissue(t1=[0.9], t2=[0.085], b1=[0.9])
    result = monte_carlo(
        MODEL, SEQUENCE, tissue, parameters=("t1", "t2", "b1"), snr=5000.0, n_trials=N_TRIALS, seed=2
    )
    np.testing.assert_allclose(result.variance_ratio, np.ones((1, 3)), atol=4.5 * SPREAD)
    known = monte_carlo(MODEL, SEQUENCE, tissue, snr=5000.0, n_trials=2, seed=2)
    assert np.all(result.bound[:, :2] > known.bound)


def test_known_off_resonance_costs_nothing():
    tissue = Tissue(t1=[0.9, 0.5], t2=[0.085, 0.065], off_resonance=[0.0, 7.0])
    result = monte_carlo(MODEL, SEQUENCE, tissue, snr=2000.0, n_trials=N_TRIALS, seed=3)
    np.testing.assert_allclose(result.variance_ratio, 1.0, atol=4.5 * SPREAD)


def test_equal_seeds_give_equal_estimates():
    tissue = TISSUE[:1]
    first, again, other = (
        monte_carlo(MODEL, SEQUENCE, tissue, snr=2000.0, n_trials=50, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.standard_deviation, again.standard_deviation)
    assert np.all(first.standard_deviation != other.standard_deviation)


def test_errors():
    for arguments, message in (
        ({"parameters": ("t1", "off_resonance")}, "'off_resonance' cannot be estimated here; use t1, t2, b1"),
        ({"parameters": ()}, "parameters is empty"),
        ({"parameters": ("ln_t1",)}, "'ln_t1' cannot be estimated here"),
        ({"snr": 0.0}, "snr=0 must be positive"),
        ({"seed": -1}, "seed=-1 must be an integer of at least 0"),
        ({"n_trials": 0}, "n_trials=0 must be an integer of at least"),
        ({"n_trials": 1}, "n_trials=1 must be an integer of at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            monte_carlo(MODEL, SEQUENCE, TISSUE, **arguments)
    with pytest.raises(ValueError, match=r"diffusion=1e-09 m\^2/s is not in the dictionary; use diffusion=0"):
        monte_carlo(MODEL, SEQUENCE, Tissue(1.0, 0.1, diffusion=1e-9))


@pytest.mark.parametrize("name", ["t1", "t2"])
def test_a_known_relaxation_time_is_not_searched(name):
    result = monte_carlo(MODEL, SEQUENCE, TISSUE, parameters=(name,), snr=200.0, n_trials=N_TRIALS, seed=4)
    np.testing.assert_allclose(result.variance_ratio, np.ones((2, 1)), atol=4.5 * SPREAD)
