"""Low-rank inversion against dense least squares."""

import numpy as np
import pytest

from reconstruction.inversion import low_rank_inversion
from reconstruction.operators import SubspaceEncoding
from reconstruction.trajectory import golden_angle_radial

N_COILS, N_PULSES, RANK, MATRIX = 3, 10, 2, (6, 5)


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 2)) @ [1, 1j]


@pytest.fixture(scope="module")
def kspace():
    return random(N_COILS, 2 * N_PULSES, 12)


@pytest.fixture(scope="module")
def encoding(kspace):
    trajectory = golden_angle_radial(2 * N_PULSES, 12)
    basis = np.linalg.qr(random(N_PULSES, RANK, seed=1).real)[0]
    y, x = np.mgrid[-1:1:6j, -1:1:5j]
    sensitivities = np.exp(1j * np.array([0.5, 1, 2])[:, None, None] * x) * (
        1 + 0.5 * np.array([-1, 0, 1])[:, None, None] * y
    )
    return SubspaceEncoding(trajectory, MATRIX, sensitivities, basis, tolerance=1e-6)


def dense(encoding):
    """E as a matrix, column by column."""
    n = int(np.prod(encoding.image_shape))
    columns = [encoding.forward(unit.reshape(encoding.image_shape)).ravel() for unit in np.eye(n)]
    return np.array(columns, dtype=np.complex128).T


def relative_residual(encoding, kspace, x):
    right_side = encoding.adjoint(kspace)
    return np.linalg.norm(right_side - encoding.normal(x)) / np.linalg.norm(right_side)


def test_converges_to_the_least_squares_solution(encoding, kspace):
    """Noise-like k-space: far from consistent, so that the least-squares solution is meant."""
    matrix = dense(encoding)
    expected = np.linalg.lstsq(matrix, kspace.ravel(), rcond=None)[0]
    result = low_rank_inversion(encoding, kspace, n_iterations=100, tolerance=1e-6)
    assert result.converged
    assert result.coefficients.dtype == np.complex64
    assert result.coefficients.shape == (RANK, *MATRIX)
    # ||x - x*|| <= cond(E^H E) residual ||x*||; the factor 2 leaves room for single precision.
    bound = 2 * np.linalg.cond(matrix) ** 2 * 1e-6
    assert bound < 2e-3
    error = np.linalg.norm(result.coefficients.ravel() - expected)
    assert error < bound * np.linalg.norm(expected)


def test_residuals_are_those_of_each_iterate(encoding, kspace):
    history = low_rank_inversion(encoding, kspace, n_iterations=8, tolerance=0).residuals
    assert history.shape == (9,)
    assert history[0] == 1
    for n_iterations in (1, 2, 5, 8):
        result = low_rank_inversion(encoding, kspace, n_iterations=n_iterations, tolerance=0)
        np.testing.assert_array_equal(result.residuals, history[: n_iterations + 1])
        measured = relative_residual(encoding, kspace, result.coefficients)
        assert measured == pytest.approx(result.residuals[-1], rel=1e-3, abs=1e-6)  # single precision
    assert history[-1] < 0.3 * history[1]


def test_stops_at_the_tolerance_and_says_so(encoding, kspace):
    full = low_rank_inversion(encoding, kspace, n_iterations=8, tolerance=0)
    assert not full.converged
    calls = []
    tolerance = 1.001 * full.residuals[4]
    early = low_rank_inversion(
        encoding, kspace, n_iterations=8, tolerance=tolerance, progress=lambda *call: calls.append(call)
    )
    assert early.converged
    n_done = int(np.flatnonzero(full.residuals <= tolerance)[0])
    np.testing.assert_array_equal(early.residuals, full.residuals[: n_done + 1])
    assert calls == [(i, 8) for i in range(1, n_done)] + [(8, 8)]


def test_progress_counts_all_iterations(encoding, kspace):
    calls = []
    low_rank_inversion(
        encoding, kspace, n_iterations=3, tolerance=0, progress=lambda *call: calls.append(call)
    )
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("scale", [1e-25, 1e15])
def test_raw_data_amplitudes_only_scale_the_result(encoding, kspace, scale):
    """Squares of these leave the range of single precision."""
    reference = low_rank_inversion(encoding, kspace, n_iterations=4, tolerance=0)
    result = low_rank_inversion(encoding, scale * kspace, n_iterations=4, tolerance=0)
    np.testing.assert_allclose(result.residuals, reference.residuals, rtol=1e-4)  # single precision
    difference = np.abs(result.coefficients / np.float32(scale) - reference.coefficients)
    assert difference.max() < 1e-5 * np.abs(reference.coefficients).max()


def test_preconditioning_saves_iterations(monkeypatch):
    """Consistent data of a radial trajectory: dense in the centre, thin at the edge of k-space."""
    trajectory = golden_angle_radial(60, 64)
    encoding = SubspaceEncoding(trajectory, (32, 32), np.ones((1, 32, 32)), np.ones((60, 1)) / np.sqrt(60))
    image = np.zeros((1, 32, 32))
    image[0, 8:20, 10:25] = 1
    kspace = encoding.forward(image)

    def error(n_iterations):
        result = low_rank_inversion(encoding, kspace, n_iterations=n_iterations, tolerance=0)
        return np.linalg.norm(result.coefficients - image) / np.linalg.norm(image)

    preconditioned = error(4)
    monkeypatch.setattr(SubspaceEncoding, "precondition", lambda self, x: x.copy())
    assert preconditioned < error(10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kspace": np.zeros((N_COILS, 2 * N_PULSES, 12))}, "kspace is zero"),
        ({"kspace": np.full((N_COILS, 2 * N_PULSES, 12), np.nan)}, "kspace holds NaN"),
        ({"kspace": np.ones((N_COILS, N_PULSES, 12))}, "has shape"),
        ({"n_iterations": 0}, "n_iterations=0"),
        ({"tolerance": -1e-3}, r"tolerance=-0\.001"),
        ({"tolerance": 1.0}, r"tolerance=1\.0"),
    ],
)
def test_wrong_arguments_are_named(encoding, kspace, changes, message):
    with pytest.raises(ValueError, match=message):
        low_rank_inversion(encoding, **({"kspace": kspace} | changes))
