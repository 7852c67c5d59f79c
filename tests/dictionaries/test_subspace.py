import numpy as np
import pytest

from dictionaries.subspace import as_real, sample_indices, subspace

N_SIGNALS, N_PULSES, RANK = 90, 40, 5


def make_signals(dtype):
    """Rows with singular values 1, 1/3, 1/9, ... and random singular vectors."""
    rng = np.random.default_rng(3)

    def orthonormal(n):
        matrix = rng.standard_normal((n, N_PULSES)).astype(dtype)
        if np.iscomplexobj(matrix):
            matrix = matrix + 1j * rng.standard_normal((n, N_PULSES))
        return np.linalg.qr(matrix)[0]

    values = 3.0 ** -np.arange(N_PULSES)
    return (orthonormal(N_SIGNALS) * values) @ orthonormal(N_PULSES).conj().T


@pytest.mark.parametrize(("dtype", "single"), [(np.float64, np.float32), (np.complex128, np.complex64)])
def test_subspace_is_that_of_the_svd(dtype, single):
    signals = make_signals(dtype)
    basis, values = subspace(np.array_split(signals, 4), RANK)
    vectors = np.linalg.svd(signals.T, full_matrices=False)[0][:, :RANK]
    # the square root of the rounding of a double, 1e-8 of the largest
    np.testing.assert_allclose(values, 3.0 ** -np.arange(N_PULSES), atol=3e-8)
    assert basis.dtype == single
    assert basis.shape == (N_PULSES, RANK)
    # Column by column up to a factor of modulus 1: order as well as span. 1e-6: single-precision output.
    np.testing.assert_allclose(np.abs(vectors.conj().T @ basis), np.eye(RANK), atol=1e-6)
    # Reproduces signals, s = U U^H s for columns s, to the sixth singular value.
    error = np.linalg.norm(signals.T - basis @ (basis.conj().T @ signals.T), 2)
    assert error == pytest.approx(3.0**-RANK, rel=1e-3)


def test_small_singular_values_are_resolved():
    """Vector 12 of singular value 3^-11 = 6e-6 of the largest, well below the square root of 1e-8."""
    signals = make_signals(np.float64)
    basis, _ = subspace([signals], 12)
    vectors = np.linalg.svd(signals.T, full_matrices=False)[0][:, :12]
    np.testing.assert_allclose(np.abs(vectors.T @ basis), np.eye(12), atol=1e-5)  # 1e-16 / 9^-11 = 3e-6


@pytest.mark.parametrize("rank", [1, 2, 5, 9])
def test_truncation_error_chooses_the_rank(rank):
    signals = make_signals(np.float64)
    values = 3.0 ** -np.arange(N_PULSES)
    left = np.sqrt(np.sum(values[rank:] ** 2) / np.sum(values**2))
    assert subspace([signals], truncation_error=1.01 * left)[0].shape[1] == rank
    assert subspace([signals], truncation_error=0.99 * left)[0].shape[1] == rank + 1


def test_one_complex_block_makes_the_basis_complex():
    signals = make_signals(np.float64)
    turned = signals * np.exp(1j)
    basis, _ = subspace([signals[:50], turned[50:]], RANK)
    assert basis.dtype == np.complex64
    expected, _ = subspace([signals], RANK)  # a factor for each signal does not change the subspace
    np.testing.assert_allclose(np.abs(expected.T @ basis), np.eye(RANK), atol=1e-6)  # single precision


def test_as_real():
    signals = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.complex64)
    real = as_real(signals)
    assert real.dtype == np.float32
    assert real.flags.c_contiguous
    np.testing.assert_array_equal(real, [[1, 2], [3, 4]])
    signals[1, 0] += 1e-30j
    assert as_real(signals) is signals


@pytest.mark.parametrize(("n_atoms", "n_sample"), [(12000, 1000), (2001, 1000), (60000, 1000)])
def test_sample_is_even_over_the_grid_and_its_fastest_axes(n_atoms, n_sample):
    indices = sample_indices(n_atoms, n_sample)
    assert indices.size == n_sample
    assert np.unique(indices).size == n_sample
    step = n_atoms / n_sample
    assert np.diff(indices, prepend=0, append=n_atoms).max() < 2 * step + 1  # one in each bin
    # A fixed step of 12 or 60 atoms would meet only one of 12 values of the fastest axis.
    visits = np.bincount(indices % 12, minlength=12)
    np.testing.assert_allclose(visits, n_sample / 12, rtol=0.2)  # measured: 0.06


@pytest.mark.parametrize(("n_atoms", "n_sample"), [(1, 5000), (1999, 1000)])
def test_small_grids_are_sampled_completely(n_atoms, n_sample):
    np.testing.assert_array_equal(sample_indices(n_atoms, n_sample), np.arange(n_atoms))
