"""What the network reads."""

import numpy as np
import pytest

from epgbloch import EPGBloch, Sequence, Tissue
from surrogate import Ranges
from surrogate.features import FEATURES, initial_state, normalisation, pulse_features


def test_features_of_constant_and_varying_sequences():
    t1, t2 = np.array([1.0, 2.0]), np.array([0.1, 0.05])
    angle = np.array([0.1, 0.2, 0.3])
    values = pulse_features(t1, t2, 0.01, np.array([[4e-3] * 3, [5e-3] * 3]), angle)
    assert values.shape == (2, 3, len(FEATURES))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[1, 2], [np.log(2), np.log(0.05), 0.01, 5e-3, 0.3], rtol=1e-6)  # float32
    np.testing.assert_allclose(values[0, :, 4], angle, rtol=1e-6)


def test_initial_state_is_what_a_small_pulse_sees():
    """The first echo of a small angle is Mz sin(angle), with its derivative by ln T1."""
    sequence = Sequence(1e-3, 0.01, 1e-9, inversion_time=0.03, inversion_efficiency=0.95)
    tissue = Tissue([0.2, 1.0], 0.1)
    signal, (slope,) = EPGBloch().jacobian(sequence, tissue, ("ln_t1",))
    state = initial_state(tissue.t1, 0.03, 0.95)
    # the echo decays for 1e-9 s; float32
    np.testing.assert_allclose(signal[:, 0].real / np.sin(1e-3), state[:, 0], atol=1e-6)
    np.testing.assert_allclose(slope[:, 0].real / np.sin(1e-3), state[:, 1], atol=1e-6)
    assert not state[:, 2].any()


def test_initial_state_without_inversion():
    state = initial_state([1.0, 0.5], [np.nan, 0.0], [1.0, 1.0])
    np.testing.assert_array_equal(state, [[1, 0, 0], [-1, 0, 0]])
    assert state.dtype == np.float32


def test_inputs_that_do_not_vary_are_normalised_to_zero():
    ranges = Ranges(t1=(1.0, 1.0), t2=(0.1, 0.1), tr=(8e-3, 8e-3), te_over_tr=(0.5, 0.5))
    center, half_width = normalisation(ranges)
    np.testing.assert_array_equal(half_width[:4], 1)
    values = pulse_features([1.0], [0.1], 8e-3, 4e-3, np.zeros(3))
    np.testing.assert_allclose(((values - center) / half_width)[..., :4], 0, atol=1e-6)  # float32


def test_normalisation_maps_ranges_to_one():
    ranges = Ranges()
    center, half_width = normalisation(ranges)
    low = [np.log(ranges.t1[0]), np.log(ranges.t2[0]), 5e-3, 1.5e-3, 0.0]
    high = [np.log(ranges.t1[1]), np.log(ranges.t2[1]), 20e-3, 14e-3, np.deg2rad(120)]
    assert (np.array(low) - center) / half_width == pytest.approx([-1] * 5)
    assert (np.array(high) - center) / half_width == pytest.approx([1] * 5)
