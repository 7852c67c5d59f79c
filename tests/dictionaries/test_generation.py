import numpy as np
import pytest

from dictionaries import ERROR_EDGES, DictionaryError, Grid, generate, linear_axis, log_axis
from epgbloch import EPGBloch, Sequence

SINGLE = 1e-6  # a few roundings of single precision


def signals_of(model, sequence, grid):
    return model.signal(sequence, grid.tissue).astype(np.complex128)


def expected_errors(signals, basis):
    """Relative truncation errors in double precision."""
    basis = basis.astype(np.complex128)
    residual = signals - (signals @ basis.conj()) @ basis.T
    return np.linalg.norm(residual, axis=1) / np.linalg.norm(signals, axis=1)


@pytest.mark.parametrize(
    ("which", "rank", "dtype"), [("grid", 8, np.float32), ("complex_grid", 14, np.complex64)]
)
def test_atoms_are_the_compressed_signals(closed_form, sequence, which, rank, dtype, request):
    grid = request.getfixturevalue(which)
    dictionary = generate(closed_form(), sequence, grid, rank=rank)
    assert dictionary.basis.dtype == dictionary.coefficients.dtype == dtype
    assert dictionary.norms.dtype == np.float32
    assert (dictionary.n_atoms, dictionary.rank) == (grid.n_atoms, rank)
    signals = signals_of(closed_form(), sequence, grid)
    compressed = signals @ dictionary.basis.conj()  # U^H s in rows
    np.testing.assert_allclose(
        dictionary.norms[:, None] * dictionary.coefficients, compressed, atol=SINGLE * dictionary.norms.max()
    )
    np.testing.assert_allclose(dictionary.norms, np.linalg.norm(compressed, axis=1), rtol=SINGLE)
    # norm U c is the signal up to the truncation error.
    restored = dictionary.norms[:, None] * (dictionary.coefficients @ dictionary.basis.T)
    error = np.linalg.norm(restored - signals, axis=1) / np.linalg.norm(signals, axis=1)
    assert error.max() == pytest.approx(dictionary.truncation_error.max, rel=1e-3)
    assert error.max() < 0.01


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_basis_is_the_svd_of_the_normalised_signals(closed_form, sequence, which, request):
    grid = request.getfixturevalue(which)
    dictionary = generate(closed_form(), sequence, grid, rank=5)
    signals = signals_of(closed_form(), sequence, grid)
    signals /= np.linalg.norm(signals, axis=1, keepdims=True)
    vectors = np.linalg.svd(signals.T, full_matrices=False)[0][:, :5]
    # Up to a factor of modulus 1 for each column; single-precision signals, singular values to 1e-2.
    np.testing.assert_allclose(np.abs(vectors.conj().T @ dictionary.basis), np.eye(5), atol=1e-5)


@pytest.mark.parametrize("rank", [2, 6, 12])
@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_truncation_error_is_that_of_all_atoms(closed_form, sequence, which, rank, request):
    grid = request.getfixturevalue(which)
    dictionary = generate(closed_form(), sequence, grid, rank=rank, n_sample=20)
    errors = expected_errors(signals_of(closed_form(), sequence, grid), dictionary.basis)
    # Two residuals of single precision differ by about 2e-7 of the signal.
    assert dictionary.truncation_error.max == pytest.approx(errors.max(), rel=1e-3, abs=3e-7)
    assert dictionary.truncation_error.rms == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-3, abs=3e-7)


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_truncation_error_chooses_the_rank(closed_form, sequence, which, request):
    """The sample holds all atoms, so that what is left of it is what is left."""
    grid = request.getfixturevalue(which)
    rank = generate(closed_form(), sequence, grid, rank=7).rank
    left = generate(closed_form(), sequence, grid, rank=rank).truncation_error.rms
    for factor, expected in ((1.01, rank), (0.99, rank + 1)):
        dictionary = generate(closed_form(), sequence, grid, truncation_error=factor * left)
        assert dictionary.rank == expected
        assert dictionary.truncation_error.rms <= factor * left


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_errors_are_counted(closed_form, sequence, which, request):
    grid = request.getfixturevalue(which)
    dictionary = generate(closed_form(), sequence, grid, rank=4)
    errors = expected_errors(signals_of(closed_form(), sequence, grid), dictionary.basis)
    expected = np.histogram(errors, ERROR_EDGES)[0]
    assert dictionary.error_counts.sum() == grid.n_atoms
    # one atom at an edge may be rounded into the next bin
    assert np.abs(dictionary.error_counts - expected).sum() <= 2


def test_singular_values_are_those_of_the_sample(closed_form, sequence, grid):
    dictionary = generate(closed_form(), sequence, grid, rank=4)
    signals = signals_of(closed_form(), sequence, grid)
    signals /= np.linalg.norm(signals, axis=1, keepdims=True)
    values = np.linalg.svd(signals, compute_uv=False)
    # single-precision norms of the signals, and 1e-8 of the largest of the Gram matrix
    np.testing.assert_allclose(dictionary.singular_values, values, rtol=1e-6, atol=1e-6)


def test_errors_far_below_the_single_precision_of_energies_are_resolved(closed_form, sequence, grid):
    """||s||^2 - ||U^H s||^2 could not tell an error below 3e-4 from 0."""
    dictionary = generate(closed_form(), sequence, grid, rank=12)
    errors = expected_errors(signals_of(closed_form(), sequence, grid), dictionary.basis)
    assert 1e-6 < errors.max() < 1e-4
    assert dictionary.truncation_error.max == pytest.approx(errors.max(), rel=0.05)


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_result_does_not_depend_on_chunk_size(closed_form, sequence, which, request):
    grid = request.getfixturevalue(which)
    whole = generate(closed_form(), sequence, grid, rank=6)
    for chunk_size in (1, 37):
        chunked = generate(closed_form(), sequence, grid, rank=6, chunk_size=chunk_size)
        for name in ("basis", "coefficients", "norms", "singular_values", "error_counts"):
            np.testing.assert_array_equal(getattr(chunked, name), getattr(whole, name))
        assert chunked.truncation_error == whole.truncation_error


def test_result_is_the_same_each_time(closed_form, sequence, grid):
    first, second = (generate(closed_form(), sequence, grid, rank=6, n_sample=50) for _ in range(2))
    for name in ("basis", "coefficients", "norms"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    assert first.truncation_error == second.truncation_error


def test_signals_are_asked_for_in_chunks(closed_form, sequence):
    """Never more atoms at once than a chunk: the full matrix of signals does not exist."""
    grid = Grid(log_axis(0.5, 3, 40), log_axis(0.02, 0.4, 40))
    model = closed_form()
    generate(model, sequence, grid, rank=4, chunk_size=300, n_sample=700)
    assert grid.n_atoms == 1600
    assert model.calls == [512, 188, 300, 300, 300, 300, 300, 100]


def test_sample_size_changes_the_subspace(closed_form, sequence, grid):
    bases = [generate(closed_form(), sequence, grid, rank=4, n_sample=n).basis for n in (4, 5000)]
    assert not np.allclose(*bases, atol=1e-3)


def test_progress_counts_all_simulated_atoms(closed_form, sequence, grid):
    reports = []
    generate(
        closed_form(),
        sequence,
        grid,
        rank=4,
        chunk_size=100,
        n_sample=50,
        progress=lambda *r: reports.append(r),
    )
    total = 50 + grid.n_atoms
    assert reports[0] == (50, total)
    assert reports[1] == (150, total)
    assert reports[-1] == (total, total)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)


def test_settings_sequence_and_grid_are_kept(closed_form, sequence, grid):
    dictionary = generate(closed_form(), sequence, grid, rank=4)
    assert dictionary.model == {"model": "ClosedForm", "scale": 1.0}
    assert dictionary.sequence is sequence
    assert dictionary.grid is grid


def test_epgbloch_dictionary_reproduces_signals():
    sequence = Sequence(np.deg2rad(np.linspace(10, 60, 80)), tr=8e-3, te=3e-3, inversion_time=10e-3)
    grid = Grid(log_axis(0.3, 2, 6), log_axis(0.03, 0.2, 6), linear_axis(0.9, 1.1, 2))
    model = EPGBloch(n_states=20, n_threads=1)
    dictionary = generate(model, sequence, grid, rank=10, chunk_size=30)
    signals = model.signal(sequence, grid.tissue)
    restored = dictionary.norms[:, None] * (dictionary.coefficients @ dictionary.basis.T)
    error = np.linalg.norm(restored - signals, axis=1) / np.linalg.norm(signals, axis=1)
    assert dictionary.basis.dtype == np.float32
    assert error.max() < 5e-3  # rank 10 of 80
    assert error.max() == pytest.approx(dictionary.truncation_error.max, rel=1e-2)  # single precision


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rank": 0}, "rank=0 must be an integer, 1 to 60"),
        ({"rank": 61}, r"rank=61 must be an integer, 1 to 60 \(60 pulses, 3\d\d atoms\)"),
        ({"rank": 2.5}, "rank=2.5 must be an integer"),
        ({"truncation_error": 1e-8}, "truncation_error=1e-08 must lie between 1e-06 and 1"),
        ({"truncation_error": 1.0}, "truncation_error=1.0 must lie between"),
        ({"truncation_error": 0.1, "rank": 3}, "rank=3 and truncation_error=0.1 are both given"),
        ({"chunk_size": 0}, "chunk_size=0 must be an integer, at least 1"),
        ({"rank": 6, "n_sample": 5}, "n_sample=5 must be an integer, at least 6"),
    ],
)
def test_generate_refuses_arguments(closed_form, sequence, grid, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(closed_form(), sequence, grid, **arguments)


def test_rank_is_at_most_the_number_of_atoms(closed_form, sequence):
    with pytest.raises(ValueError, match=r"rank=4 must be an integer, 1 to 3 \(60 pulses, 3 atoms\)"):
        generate(closed_form(), sequence, Grid([0.5, 1.0, 2.0], 0.1), rank=4)


@pytest.mark.parametrize("n_sample", [5000, 6])
def test_zero_signals_are_refused(closed_form, sequence, grid, n_sample):
    """Both if the atom is in the sample (the first with T1 = 3 s, after 11 of 12 T1) and if it is not."""
    first = int(np.flatnonzero(grid.tissue.t1 == 3.0)[0])
    message = rf"the signal of atom {first} \(T1 3 s, T2 0.02 s, B1 0.8, off-resonance 0 Hz\) is zero"
    with pytest.raises(DictionaryError, match=message):
        generate(closed_form(scale=0.0), sequence, grid, rank=6, n_sample=n_sample)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_signals_that_are_not_finite_are_refused(closed_form, sequence, grid, value):
    first = int(np.flatnonzero(grid.tissue.t1 == 3.0)[0])
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(DictionaryError, match=f"atom {first} .* is not finite"),
    ):
        generate(closed_form(scale=value), sequence, grid, rank=6)


def test_complex_signal_outside_a_real_sample_is_refused(closed_form, sequence, grid):
    """Only the 30 atoms of the longest T1 are complex; the sample of 6 has none of them."""
    first = int(np.flatnonzero(grid.tissue.t1 == 3.0)[0])
    message = f"atom {first} .* is complex although all sampled signals are real; raise n_sample"
    with pytest.raises(DictionaryError, match=message):
        generate(closed_form(scale=np.exp(0.1j)), sequence, grid, rank=6, n_sample=6)
    assert generate(closed_form(scale=np.exp(0.1j)), sequence, grid, rank=6).basis.dtype == np.complex64


def test_signals_of_wrong_shape_are_refused(closed_form, sequence, grid):
    model = closed_form()
    model.signal = lambda sequence, tissue: np.ones((tissue.n_atoms, 5), dtype=np.complex64)
    with pytest.raises(DictionaryError, match=r"signals of shape \(3\d\d, 5\) for 3\d\d atoms and 60 pulses"):
        generate(model, sequence, grid)
