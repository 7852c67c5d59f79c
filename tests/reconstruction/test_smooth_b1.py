"""A smooth B1 against the one of each voxel, and layers of B1 against exhaustive matches."""

import numpy as np
import pytest

from dictionaries import Grid, generate, linear_axis, log_axis, match
from epgbloch import EPGBloch, Sequence, Tissue
from reconstruction.smooth_b1 import B1Layers, SmoothB1, smooth_b1

SHAPE = (24, 28)
WIDTH = (4.0, 4.0)


@pytest.fixture(scope="module")
def dictionary():
    n = np.arange(120)
    sequence = Sequence(
        flip_angle=np.deg2rad(10 + 50 * np.sin(np.pi * n / 60) ** 2), tr=0.014, te=0.004, inversion_time=0.02
    )
    grid = Grid(log_axis(0.3, 2.0, 30), log_axis(0.03, 0.3, 30), linear_axis(0.7, 1.3, 7))
    return generate(EPGBloch(), sequence, grid, rank=6)


@pytest.fixture(scope="module")
def phantom(dictionary):
    """Mask, B1, T2 and voxels of four tissues between the points of the grid, with noise of 5 %."""
    y, x = np.mgrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    mask = x**2 + y**2 < 0.9
    b1 = (1.02 + 0.2 * np.cos(2 * x + 0.5) - 0.15 * y**2)[mask]
    tissue = ((x > 0) + 2 * (y > 0.1))[mask]
    t1, t2 = np.array([0.83, 1.31, 0.47, 1.72])[tissue], np.array([0.061, 0.093, 0.14, 0.21])[tissue]
    voxels = EPGBloch().signal(dictionary.sequence, Tissue(t1, t2, b1)) @ dictionary.basis.conj()
    level = 0.05 * np.linalg.norm(voxels, axis=1, keepdims=True) / np.sqrt(2 * dictionary.rank)
    return mask, b1, t2, (voxels + level * random(*voxels.shape)).astype(np.complex64)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


def rms(values):
    return np.sqrt(np.mean(values**2))


def test_b1_is_far_better_than_voxel_by_voxel(dictionary, phantom):
    mask, b1, t2, voxels = phantom
    single, find = match(dictionary, voxels), SmoothB1(dictionary, mask, WIDTH)
    found = find(voxels)
    # Measured: B1 0.062 alone and 0.014 smooth (layers are 0.1 apart), T2 9.6 % and 8.3 %.
    assert rms(find.b1 - b1) < 0.02 < 0.05 < rms(single.b1 - b1)
    assert rms(np.log(found.t2 / t2)) < 0.95 * rms(np.log(single.t2 / t2))
    # Atoms are those of the layer next to it.
    assert np.abs(found.b1 - find.b1).max() <= 0.05 + 1e-12  # rounding
    np.testing.assert_array_equal(dictionary.tissue.b1[found.index], found.b1)


@pytest.mark.parametrize("with_dual", [False, True])
def test_match_is_the_exhaustive_one_of_the_layer(dictionary, phantom, with_dual):
    _, b1, _, voxels = phantom
    voxels, b1 = voxels[::8], b1[::8]
    dual = 0.3 * np.abs(voxels).mean() * random(*voxels.shape, seed=1) if with_dual else None
    layers = B1Layers(dictionary)
    found = layers.match(voxels, b1, dual)
    layer = np.argmin(np.abs(layers.values - b1[:, np.newaxis]), axis=1)
    assert len(set(layer)) > 3
    atoms = dictionary.coefficients.astype(np.float64)
    products = voxels.astype(np.complex128) @ atoms.T
    criterion = np.abs(products) ** 2
    if with_dual:
        criterion += 2 * np.real(products * (dual @ atoms.T).conj())
    criterion[dictionary.tissue.b1 != layers.values[layer, np.newaxis]] = -np.inf
    expected = criterion.argmax(axis=1)
    np.testing.assert_array_equal(found.index, expected)
    best = products[np.arange(len(voxels)), expected]
    np.testing.assert_allclose(found.pd, best / dictionary.norms[expected], rtol=1e-5)  # single precision
    np.testing.assert_allclose(found.correlation, np.abs(best) / np.linalg.norm(voxels, axis=1), rtol=1e-5)
    for name in ("t1", "t2", "b1", "off_resonance"):
        np.testing.assert_array_equal(getattr(found, name), getattr(dictionary.tissue, name)[expected])


def test_misfit_is_the_distance_from_the_nearest_atom(dictionary, phantom):
    voxels = phantom[3][::20]
    layers = B1Layers(dictionary)
    for value, misfit in zip(layers.values, layers.misfit(voxels), strict=True):
        atoms = dictionary.coefficients[dictionary.tissue.b1 == value].astype(np.float64)
        energy = np.linalg.norm(voxels, axis=1) ** 2
        expected = energy - (np.abs(voxels @ atoms.T) ** 2).max(axis=1)
        np.testing.assert_allclose(misfit, np.maximum(expected, 1e-6 * energy), atol=3e-7 * energy.max())


class Quadratic:
    """In place of layers: the logarithm of the misfit is (value - centre)^2 with the centre of each voxel."""

    def __init__(self, values, centre):
        self.values, self._centre = np.array(values), centre

    def misfit(self, voxels):
        return np.exp((self.values[:, np.newaxis] - self._centre) ** 2)


def test_b1_is_the_gaussian_mean_within_the_mask():
    """The sum of parabolas is one about the mean of their centres; values need no equal steps."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = (x - 12) ** 2 + (y - 10) ** 2 < 90
    centre = (0.9 + 0.01 * x + 0.002 * (y - 10) ** 2)[mask]
    width = (3.0, 5.0)
    found = smooth_b1(Quadratic([0.5, 0.8, 0.9, 1.2, 1.6], centre), np.ones((mask.sum(), 1)), mask, width)
    places = np.argwhere(mask)
    scaled = (places[:, np.newaxis] - places) / np.array(width)
    weights = 2.0 ** (-4 * np.sum(scaled**2, axis=2))  # one half at half of the full width
    expected = weights @ centre / weights.sum(axis=1)
    # The Gaussian of scipy ends at 4 standard deviations, and its sum is one on the grid.
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


@pytest.mark.parametrize(
    ("values", "centre", "expected"),
    [
        ([0.8, 1.0, 1.2], 0.5, 0.8),  # beyond the ends
        ([0.8, 1.0, 1.2], 1.4, 1.2),
        ([0.8, 1.0, 1.2], 1.07, 1.07),
        ([0.8, 1.2], 1.07, 1.2),  # no parabola through two
    ],
)
def test_b1_stays_within_the_values(values, centre, expected):
    mask = np.ones((3, 4), dtype=bool)
    found = smooth_b1(Quadratic(values, np.full(12, centre)), np.ones((12, 1)), mask, (2.0, 2.0))
    np.testing.assert_allclose(found, expected, rtol=1e-9)  # rounding


def test_width_changes_the_result(dictionary, phantom):
    mask, b1, _, voxels = phantom
    find = [SmoothB1(dictionary, mask, (width, width)) for width in (1.0, 4.0, 20.0)]
    for each in find:
        each(voxels)
    narrow, middle, wide = (rms(each.b1 - b1) for each in find)
    assert middle < 0.7 * min(narrow, wide)  # noise remains; the field is flattened


def test_b1_is_found_at_the_first_call_and_every_fifth_after_it(dictionary, phantom):
    mask, _, _, voxels = phantom
    find = SmoothB1(dictionary, mask, WIDTH)
    other = voxels[::-1].copy()
    seen = []
    for i_call in range(11):
        find(voxels if i_call == 0 else other, dual=None if i_call == 0 else 0 * other)
        seen.append(find.b1)
    changes = [i for i in range(1, 11) if not np.array_equal(seen[i], seen[i - 1])]
    assert changes == [5]
    assert seen[10] is not seen[9]


@pytest.mark.parametrize("make", [B1Layers, lambda d: SmoothB1(d, np.ones((2, 2), dtype=bool), WIDTH)])
def test_one_b1_is_refused(dictionary, make):
    one = generate(EPGBloch(), dictionary.sequence, Grid([0.5, 1.0], [0.1], [0.9]), rank=2)
    with pytest.raises(ValueError, match=r"the dictionary has only B1 = 0\.9; a smooth B1 needs several"):
        make(one)
