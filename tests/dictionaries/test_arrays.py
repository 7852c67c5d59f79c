import numpy as np
import pytest

from dictionaries import (
    AtomList,
    DictionaryError,
    RelativeError,
    dictionary_from_arrays,
    dictionary_from_signals,
    generate,
    match,
)


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_signals_give_the_generated_dictionary(closed_form, sequence, which, request):
    grid = request.getfixturevalue(which)
    generated = generate(closed_form(), sequence, grid, rank=6)
    signals = closed_form().signal(sequence, grid.tissue)
    dictionary = dictionary_from_signals(grid, signals.astype(np.complex128), rank=6, sequence=sequence)
    for name in ("basis", "coefficients", "norms", "singular_values", "error_counts"):
        np.testing.assert_array_equal(getattr(dictionary, name), getattr(generated, name))
    assert dictionary.truncation_error == generated.truncation_error
    assert dictionary.model == {"model": "imported"}
    dictionary.check_sequence(sequence)


def test_real_signals_and_any_tissues(closed_form, sequence, grid):
    order = np.random.default_rng(0).permutation(grid.n_atoms)[:100]
    tissue = grid[order]
    signals = closed_form().signal(sequence, tissue).real
    dictionary = dictionary_from_signals(tissue, signals, rank=6, model={"made": "elsewhere"})
    assert isinstance(dictionary.grid, AtomList)
    assert (dictionary.basis.dtype, dictionary.sequence) == (np.float32, None)
    assert dictionary.model == {"made": "elsewhere"}
    found = match(dictionary, signals @ dictionary.basis * 3)
    np.testing.assert_array_equal(found.t1, tissue.t1)
    np.testing.assert_allclose(found.pd, 3, rtol=1e-5)  # single precision


def test_compressed_atoms_with_and_without_norms(dictionary):
    for norms, rows in (
        (dictionary.norms, dictionary.coefficients),
        (None, dictionary.coefficients * dictionary.norms[:, None]),
    ):
        result = dictionary_from_arrays(
            dictionary.grid, basis=dictionary.basis, coefficients=rows, norms=norms
        )
        # rounding of single precision
        np.testing.assert_allclose(result.coefficients, dictionary.coefficients, rtol=3e-7)
        np.testing.assert_allclose(result.norms, dictionary.norms, rtol=3e-7)
        assert result.truncation_error is None


def test_complex_coefficients_make_the_basis_complex(dictionary):
    result = dictionary_from_arrays(
        dictionary.tissue,
        basis=dictionary.basis.astype(np.float64),
        coefficients=dictionary.coefficients * 1j,
        truncation_error=RelativeError(0.2, 0.1),
    )
    assert result.basis.dtype == result.coefficients.dtype == np.complex64
    assert result.truncation_error == (0.2, 0.1)


def test_unknown_sequence_is_refused(dictionary, sequence):
    result = dictionary_from_arrays(
        dictionary.tissue, basis=dictionary.basis, coefficients=dictionary.coefficients
    )
    with pytest.raises(DictionaryError, match=r"not known\. If you know it, say so: dataclasses\.replace"):
        result.check_sequence(sequence)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s[:-1],
            r"signals are complex64 of shape \(341, 60\); give .* \(342, n_pulses",
        ),
        (lambda s: s[0], r"shape \(60,\)"),
        (lambda s: s.astype(str), r"signals are <U"),
        (lambda s: np.where(np.arange(len(s))[:, None] == 7, 0, s), r"atom 7 .* is zero"),
        (lambda s: np.where(np.arange(len(s))[:, None] == 7, np.nan, s), r"atom 7 .* is not finite"),
        (lambda s: s.astype(np.complex128) * 1e300, r"atom 0 .* is not finite"),
    ],
)
def test_signals_are_checked(closed_form, sequence, grid, change, message):
    signals = closed_form().signal(sequence, grid.tissue)
    with pytest.raises(DictionaryError, match=message):
        dictionary_from_signals(grid, change(signals), rank=6)


def test_rank_is_checked(closed_form, sequence, grid):
    with pytest.raises(ValueError, match=r"rank=61 must be an integer, 1 to 60 \(60 pulses, 342 atoms\)"):
        dictionary_from_signals(grid, closed_form().signal(sequence, grid.tissue), rank=61)


def test_zero_coefficients_are_refused(dictionary):
    rows = dictionary.coefficients.copy()
    rows[5] = 0
    with pytest.raises(DictionaryError, match="coefficients of atom 5 are all zero"):
        dictionary_from_arrays(dictionary.tissue, basis=dictionary.basis, coefficients=rows)


def test_basis_must_be_orthonormal(dictionary):
    with pytest.raises(DictionaryError, match="basis must have orthonormal columns"):
        dictionary_from_arrays(
            dictionary.tissue, basis=2 * dictionary.basis, coefficients=dictionary.coefficients
        )
