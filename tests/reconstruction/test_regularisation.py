"""Regularisations: adjoints, and proximal operators against definitions and optimality."""

import itertools

import numpy as np
import pytest

from reconstruction.regularisation import JointTotalVariation, LocallyLowRank

SHAPES = [(3, 6, 5), (2, 4, 5, 3)]  # (rank, ny, nx) and (rank, nz, ny, nx)
PENALTIES = [JointTotalVariation(1.0), LocallyLowRank(1.0, block=2)]


def random(*shape, seed=0):
    return (np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]).astype(np.complex64)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_synthesise_is_the_adjoint_of_analyse(penalty, shape):
    x = random(*shape)
    analysed = penalty.analyse(x)
    z = random(*analysed.shape, seed=1)
    synthesised = penalty.synthesise(z)
    assert analysed.dtype == synthesised.dtype == np.complex64
    assert synthesised.shape == shape
    assert np.vdot(analysed, z) == pytest.approx(np.vdot(x, synthesised), rel=1e-5)  # single precision


@pytest.mark.parametrize("shape", SHAPES)
def test_analyse_takes_forward_differences(shape):
    x = random(*shape)
    differences = JointTotalVariation(1.0).analyse(x)
    assert differences.shape == (len(shape) - 1, *shape)
    for place in itertools.product(*(range(n) for n in shape)):
        for i_axis in range(len(shape) - 1):
            after = list(place)
            after[i_axis + 1] += 1
            inside = after[i_axis + 1] < shape[i_axis + 1]
            assert differences[(i_axis, *place)] == (x[tuple(after)] - x[place] if inside else 0)


def test_edges_that_images_share_cost_once():
    """Of R(K x): sqrt(2) for two images with an edge in one place, 2 in two places."""

    def cost(x):
        return np.linalg.norm(JointTotalVariation(1.0).analyse(x), axis=(0, 1)).sum()

    edge, other = np.zeros((2, 1, 8), np.complex64)
    edge[:, 3:], other[:, 5:] = 1, 1
    assert cost(np.stack([edge, edge])) == pytest.approx(np.sqrt(2), rel=1e-6)  # single precision
    assert cost(np.stack([edge, other])) == pytest.approx(2, rel=1e-6)


def vectors(z):
    """Vectors over axes and coefficients, one a pixel."""
    return [z[(..., *place)].ravel() for place in itertools.product(*(range(n) for n in z.shape[2:]))]


def blocks(z, penalty, i_call):
    """Matrices (pixels, coefficients) of the blocks of a call, found pixel by pixel."""
    members = {}
    irrational = (np.sqrt(5) - 1) / 2, np.sqrt(2) - 1, np.sqrt(3) - 1
    for place in itertools.product(*(range(n) for n in z.shape[1:])):
        block = []
        for i, n, number in zip(place, z.shape[1:], irrational, strict=False):
            offset = int(penalty.block * (i_call * number % 1))
            block.append((i + offset) % n // penalty.block)
        members.setdefault(tuple(block), []).append(z[(slice(None), *place)])
    return [np.array(rows) for rows in members.values()]


@pytest.mark.parametrize("shape", SHAPES)
def test_total_variation_shortens_vectors(shape):
    z = random(len(shape) - 1, *shape)
    z[..., 0] = 0
    threshold = float(np.median(np.linalg.norm(z, axis=(0, 1))))
    shrunk = JointTotalVariation(1.0).shrink(z, threshold)
    assert shrunk.dtype == np.complex64
    n_zero = 0
    for before, after in zip(vectors(z), vectors(shrunk), strict=True):
        length = np.linalg.norm(before)
        expected = before * (1 - threshold / length) if length > threshold else 0 * before
        n_zero += not expected.any()
        np.testing.assert_allclose(after, expected, atol=1e-6)  # single precision
    assert 0 < n_zero < np.prod(shape[1:])


@pytest.mark.parametrize(
    ("block", "shape"), [(2, (3, 6, 5)), (3, (2, 7, 4)), (8, (2, 5, 6)), (2, (2, 3, 4, 5))]
)
@pytest.mark.parametrize("i_call", [0, 1, 2, 5])
def test_locally_low_rank_lowers_singular_values_of_each_block(block, shape, i_call):
    """Blocks cut at the border, larger than the image, and wrapped around by an offset."""
    penalty, z = LocallyLowRank(1.0, block=block), random(*shape)
    before = blocks(z, penalty, i_call)
    threshold = float(np.median(np.linalg.svd(before[0], compute_uv=False)))
    after = blocks(penalty.shrink(z, threshold, i_call), penalty, i_call)
    for ours, matrix in zip(after, before, strict=True):
        left, values, right = np.linalg.svd(matrix.astype(np.complex128), full_matrices=False)
        expected = left * np.maximum(values - threshold, 0) @ right
        np.testing.assert_allclose(ours, expected, atol=1e-5)  # single precision


@pytest.mark.parametrize("i_call", [0, 3])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_shrink_minimises(penalty, i_call):
    """u is the minimum where g = (z - u) / threshold is a subgradient: <g, u> = R(u), dual norm at most 1."""
    is_variation = isinstance(penalty, JointTotalVariation)
    z = random(2, 2, 5, 4) if is_variation else random(2, 5, 4)
    threshold = 1.5
    u = penalty.shrink(z, threshold, i_call)
    gradient = (z - u) / np.float32(threshold)
    if is_variation:
        value = sum(np.linalg.norm(vector) for vector in vectors(u))
        largest = max(np.linalg.norm(vector) for vector in vectors(gradient))
    else:
        value = sum(np.linalg.svd(block, compute_uv=False).sum() for block in blocks(u, penalty, i_call))
        largest = max(np.linalg.norm(block, 2) for block in blocks(gradient, penalty, i_call))
    assert largest == pytest.approx(1, rel=1e-5)  # single precision; reached where u is not zero
    assert np.vdot(gradient, u) == pytest.approx(value, rel=1e-5)
    assert value > 1


def test_blocks_move_with_the_number_of_the_call_alone():
    z, penalty = random(2, 16, 16), LocallyLowRank(1.0)
    calls = [penalty.shrink(z, 2.0, i_call) for i_call in (0, 1, 2, 0)]
    for first, second in itertools.combinations(calls[:3], 2):
        assert np.abs(first - second).max() > 0.05
    np.testing.assert_array_equal(calls[3], calls[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: JointTotalVariation(0.0),
            r"weight=0\.0 must be positive and finite; leave the regularisation",
        ),
        (lambda: JointTotalVariation(np.nan), "weight=nan"),
        (lambda: LocallyLowRank(-1.0), r"weight=-1\.0"),
        (lambda: LocallyLowRank(1.0, block=1), "block=1 must be at least 2"),
        (lambda: LocallyLowRank(1.0, block=2.5), r"block=2\.5 must be an integer"),
    ],
)
def test_wrong_settings_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
