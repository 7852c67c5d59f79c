"""Tissues drawn from ranges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from design.tissues import sample_tissues


def test_tissues_fill_their_ranges_evenly():
    tissue = sample_tissues(256, (0.5, 2.0), (0.02, 0.2), (0.8, 1.2))
    assert tissue.n_atoms == 256
    for values, low, high in (
        (np.log(tissue.t1), np.log(0.5), np.log(2.0)),
        (np.log(tissue.t2), np.log(0.02), np.log(0.2)),
        (tissue.b1, 0.8, 1.2),
    ):
        counts, _ = np.histogram(values, bins=16, range=(low, high))
        # Sobol points: 256 of them have exactly 16 in each 16th of an axis, up to rounding at the edges
        np.testing.assert_allclose(counts, 16, atol=1)
        assert counts.sum() == 256


def test_tissues_depend_on_the_seed_alone():
    first, again, other = (sample_tissues(10, (0.1, 3.0), (0.01, 2.0), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.t2, again.t2)
    assert np.all(first.t2 != other.t2)
    np.testing.assert_array_equal(first.b1, 1.0)


# ranges of T1 that overlap with T2 fully, almost nowhere, in one point; fixed values; reversed order
@pytest.mark.parametrize(
    ("t1", "t2"),
    [
        ((0.1, 2.0), (0.1, 2.0)),
        ((0.01, 0.1), (0.0999, 2.0)),
        ((0.05, 0.1), (0.1, 0.5)),
        ((0.1, 0.1), (0.1, 0.5)),
        ((0.1, 0.1), (0.02, 0.5)),
        ((0.1, 2.0), (0.5, 0.5)),
        ((1.0, 1.0), (0.1, 0.1)),
    ],
)
@pytest.mark.parametrize("n", [1, 5, 100])
def test_no_t2_exceeds_its_t1(t1, t2, n):
    tissue = sample_tissues(n, t1, t2)
    assert tissue.n_atoms == n
    assert np.all(tissue.t2 <= tissue.t1)
    for values, (low, high) in ((tissue.t1, t1), (tissue.t2, t2)):
        # powers round
        assert np.all((values >= low * (1 - 1e-12)) & (values <= high * (1 + 1e-12)))


@given(n=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_any_number_of_any_seed(n, seed):
    assert sample_tissues(n, (0.05, 1.0), (0.05, 1.0), seed=seed).n_atoms == n


def test_errors_name_the_range():
    for arguments, message in (
        ((0, (1.0, 2.0), (0.1, 0.2)), "n=0 must be an integer of at least 1"),
        ((1, (2.0, 1.0), (0.1, 0.2)), r"t1=\(2, 1\) descends; give the smaller value first"),
        ((1, (1.0, 2.0), (-0.1, 0.2)), "t2=-0.1 must be positive; give it in seconds"),
        ((1, (1.0, np.nan), (0.1, 0.2)), "t1=nan is not finite"),
        ((1, (1.0, np.inf), (0.1, 0.2)), "t1=inf is not finite"),
        ((1, (0.1, 0.2), (0.3, 0.4)), "t2 begins at 0.3 s, above the largest T1 of 0.2 s"),
        ((1, (1.0, 2.0), (0.1, 0.2), (0.0, 1.0)), "b1=0 must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_tissues(*arguments)
