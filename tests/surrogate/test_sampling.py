"""Draws follow the ranges of the paper and depend on nothing but their seed."""

import numpy as np
import pytest

from epgbloch import RFPulse
from epgbloch.trains import TRAINS
from surrogate import FAMILIES, Ranges, draw, seed_key

PULSE = RFPulse.gaussian(1e-3, 3e-3)
RANGES = Ranges()


@pytest.fixture(scope="module")
def draws():
    return [draw(7, index, 101, PULSE, RANGES) for index in range(1000)]


def test_draw_depends_only_on_seed_and_index():
    again = [draw(3, index, 150, PULSE, RANGES) for index in (5, 0, 5)]
    assert again[0].sequence.fingerprint() == again[2].sequence.fingerprint()
    assert again[0].tissue.t1 == again[2].tissue.t1
    assert again[0].sequence.fingerprint() != again[1].sequence.fingerprint()
    other_seed = draw(4, 5, 150, PULSE, RANGES)
    assert other_seed.sequence.fingerprint() != again[0].sequence.fingerprint()
    assert other_seed.tissue.t2 != again[0].tissue.t2


def test_draws_do_not_change_between_versions():
    """Test signals of shipped networks are drawn again from their seeds: these numbers must stay."""
    drawn = draw(1, 0, 1120, PULSE, RANGES)
    golden = [1.2794414520074526, 0.5362552397267369, 0.011501265645029814, 0.9176967904408874]
    values = [drawn.tissue.t1[0], drawn.tissue.t2[0], drawn.sequence.tr[7], drawn.sequence.flip_angle[500]]
    np.testing.assert_allclose(values, golden, rtol=1e-9)  # rounding of log and of the spline


def test_families_take_turns(draws):
    assert tuple(TRAINS) == FAMILIES
    assert [drawn.family for drawn in draws[:7]] == [0, 1, 2, 3, 4, 0, 1]
    # SinSquared5 ends with a lobe's zero, PieceConstant5 has five levels
    assert draws[2].sequence.flip_angle[99] == pytest.approx(0, abs=1e-12)
    assert len(np.unique(draws[4].sequence.flip_angle)) == 5


def test_values_stay_in_range(draws):
    for drawn in draws:
        tissue, sequence = drawn.tissue, drawn.sequence
        assert RANGES.t1[0] <= tissue.t1[0] <= RANGES.t1[1]
        assert RANGES.t2[0] <= tissue.t2[0] <= min(RANGES.t2[1], tissue.t1[0])
        assert np.all((sequence.tr >= RANGES.tr[0]) & (sequence.tr <= RANGES.tr[1]))
        fraction = sequence.te / sequence.tr
        assert np.all((fraction > 0.3 - 1e-12) & (fraction < 0.7 + 1e-12))
        assert np.all((sequence.flip_angle >= 0) & (sequence.flip_angle <= np.deg2rad(120)))
        if sequence.inversion_time is not None:
            assert 0.5e-3 <= sequence.inversion_time <= 50e-3
            assert 0.9 <= sequence.inversion_efficiency <= 1


def test_half_is_inverted_and_half_varies(draws):
    inverted = np.array([drawn.sequence.inversion_time is not None for drawn in draws])
    varying = np.array([np.ptp(drawn.sequence.tr) > 0 for drawn in draws])
    # four standard deviations of the mean of 1000 fair coins
    assert abs(inverted.mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)
    assert abs(varying.mean() - 0.5) < 4 * 0.5 / np.sqrt(1000)
    assert abs(np.mean(inverted == varying) - 0.5) < 4 * 0.5 / np.sqrt(1000)


def test_relaxation_times_are_uniform_in_their_logarithm(draws):
    """Mean of ln T2 over the triangle T2 <= T1 of the rectangle of logarithms."""
    grid1, grid2 = np.meshgrid(
        np.linspace(*np.log(RANGES.t1), 1001), np.linspace(*np.log(RANGES.t2), 1001), indexing="ij"
    )
    allowed = grid2 <= grid1
    values = np.log([[drawn.tissue.t1[0], drawn.tissue.t2[0]] for drawn in draws])
    expected = np.array([grid1[allowed].mean(), grid2[allowed].mean()])
    spread = np.array([grid1[allowed].std(), grid2[allowed].std()])
    # four standard deviations of the mean
    assert np.all(np.abs(values.mean(axis=0) - expected) < 4 * spread / np.sqrt(1000))


def test_ranges_are_used():
    ranges = Ranges((1.0, 1.1), (0.1, 0.2), (8e-3, 9e-3), (0.5, 0.6), (5e-3, 6e-3), (0.7, 0.8), 0.3)
    for index in range(20):
        drawn = draw(0, index, 101, None, ranges)
        assert 1.0 <= drawn.tissue.t1[0] <= 1.1
        assert 0.1 <= drawn.tissue.t2[0] <= 0.2
        assert np.all((drawn.sequence.tr >= 8e-3) & (drawn.sequence.tr <= 9e-3))
        assert np.all(np.abs(drawn.sequence.te / drawn.sequence.tr - 0.55) < 0.0501)
        assert drawn.sequence.flip_angle.max() <= 0.3
        if drawn.sequence.inversion_time is not None:
            assert 5e-3 <= drawn.sequence.inversion_time <= 6e-3
            assert 0.7 <= drawn.sequence.inversion_efficiency <= 0.8


def test_keys_tell_signals_apart():
    keys = {seed_key(seed, index).tobytes() for seed in range(4) for index in range(1000)}
    assert len(keys) == 4000
    np.testing.assert_array_equal(seed_key(2, 5), seed_key(2, 5))
    assert seed_key(2, 5).dtype == np.uint64


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"t1": (1.0,)}, r"t1=\(1.0,\) must be \(lowest, highest\)"),
        ({"t2": (0.2, 0.1)}, "t2=.* must be"),
        ({"tr": (0.0, 1.0)}, "tr=.* must be"),
        ({"t1": (0.1, 1.0), "t2": (0.2, 1.0)}, "leaves none below"),
        ({"t1": (1.0, 1.0), "t2": (1.0, 2.0)}, "at or above t1=1.0 s, the only one"),
        ({"te_over_tr": (0.5, 1.0)}, "te_over_tr"),
        ({"inversion_efficiency": (0.5, 1.1)}, "inversion_efficiency"),
        ({"largest_flip_angle": 0.0}, "largest_flip_angle=0 must be positive"),
        ({"largest_flip_angle": 6.3}, "largest_flip_angle=6.3 must be at most 2 pi"),
    ],
)
def test_impossible_ranges_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Ranges(**values)


def test_ranges_that_are_points():
    ranges = Ranges(t1=(0.3, 0.3), t2=(0.3, 0.3), tr=(0.01, 0.01), te_over_tr=(0.5, 0.5))
    for index in range(10):
        drawn = draw(0, index, 101, None, ranges)
        assert drawn.tissue.t1[0] == drawn.tissue.t2[0] == pytest.approx(0.3)
        np.testing.assert_allclose(drawn.sequence.tr, 0.01)


def test_ranges_as_plain_values():
    assert Ranges(**Ranges().to_dict()) == Ranges()
