import json
import os
from dataclasses import replace

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.io.matlab import matfile_version

from dictionaries import (
    AtomList,
    DictionaryError,
    Grid,
    dictionary_from_signals,
    export_mat,
    export_npz,
    import_dictionary,
    match,
    read_arrays,
)
from epgbloch import Sequence, Tissue

EXPORTS = {"d.npz": export_npz, "d.mat": export_mat}


@pytest.fixture
def listed(dictionary):
    """Tissues that lie on no grid, of an unknown sequence, with a single vector as basis."""
    tissue = Tissue([1.0, 0.5, 0.7], [0.1, 0.2, 0.05], 1.0, [0, 3, -2], [0, 1e-9, 3e-9])
    return replace(
        dictionary,
        grid=AtomList(tissue),
        sequence=None,
        basis=dictionary.basis[:, :1],
        coefficients=np.ones((3, 1), np.float32),
        norms=dictionary.norms[:3],
        truncation_error=None,
        singular_values=None,
        error_counts=None,
    )


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary", "listed"])
def test_round_trip_is_exact(tmp_path, name, which, request):
    expected = request.getfixturevalue(which)
    path = EXPORTS[name](str(tmp_path / name), expected)
    assert path == tmp_path / name
    result = import_dictionary(str(path))
    assert type(result.grid) is type(expected.grid)
    for name in ("t1", "t2", "b1", "off_resonance", "diffusion"):
        np.testing.assert_array_equal(getattr(result.tissue, name), getattr(expected.tissue, name))
    for name in ("basis", "coefficients", "norms", "singular_values", "error_counts"):
        value = getattr(expected, name)
        assert (getattr(result, name) is None) == (value is None)
        if value is not None:
            np.testing.assert_array_equal(getattr(result, name), value)
            assert getattr(result, name).dtype == value.dtype
    assert result.model == expected.model
    assert result.truncation_error == expected.truncation_error
    if expected.sequence is None:
        assert result.sequence is None
    else:
        assert result.sequence.to_dict() == expected.sequence.to_dict()
    assert len(os.listdir(tmp_path)) == 1


def test_layout_for_matlab(tmp_path, complex_dictionary):
    """As MATLAB writes it: header of 128 bytes, transposed matrices, complex numbers as pairs."""
    path = export_mat(tmp_path / "d.mat", complex_dictionary)
    header = path.read_bytes()[:512]
    assert header.startswith(b"MATLAB 7.3 MAT-file, Platform: ")
    assert header[:116].isascii()
    assert header[124:128] == b"\x00\x02IM"
    assert matfile_version(path) == (2, 0)
    with h5py.File(path) as file:
        assert file.userblock_size == 512
        coefficients = file["coefficients"]
        assert coefficients.shape == (7, 225)
        assert coefficients.dtype == np.dtype([("real", "<f4"), ("imag", "<f4")])
        np.testing.assert_array_equal(coefficients["real"], complex_dictionary.coefficients.real.T)
        np.testing.assert_array_equal(coefficients["imag"], complex_dictionary.coefficients.imag.T)
        np.testing.assert_array_equal(file["t1"], complex_dictionary.tissue.t1[np.newaxis])
        classes = {name: item.attrs["MATLAB_class"] for name, item in file.items()}
        assert classes == {
            **dict.fromkeys(("basis", "coefficients", "norms"), b"single"),
            **dict.fromkeys(("t1", "t2", "b1", "off_resonance", "diffusion"), b"double"),
            **dict.fromkeys(("singular_values", "truncation_error"), b"double"),
            **dict.fromkeys(("model", "sequence", "grid"), b"char"),
            "error_counts": b"int64",
        }
        assert file["model"].dtype == np.uint16
        assert file["model"].shape[1] == 1
        assert file["model"].attrs["MATLAB_int_decode"] == 2
        assert json.loads("".join(map(chr, file["model"][:, 0]))) == complex_dictionary.model
        # strings of fixed length, not of variable length
        assert file["t1"].attrs.get_id("MATLAB_class").dtype == np.dtype("S6")


def test_matrices_of_many_atoms(tmp_path, listed):
    n_atoms = 20_001  # more than two chunks
    large = replace(
        listed,
        grid=AtomList(Tissue(np.linspace(1, 2, n_atoms), 0.1)),
        coefficients=np.where(np.arange(n_atoms) % 3, 1, -1).astype(np.float32)[:, None],
        norms=np.linspace(1, 2, n_atoms, dtype=np.float32),
    )
    result = import_dictionary(export_mat(tmp_path / "d.mat", large))
    np.testing.assert_array_equal(result.coefficients, large.coefficients)
    np.testing.assert_array_equal(result.norms, large.norms)


@pytest.mark.parametrize("name", EXPORTS)
def test_files_are_the_same_each_time(tmp_path, dictionary, name):
    first, second = (EXPORTS[name](tmp_path / f"{i}{name}", dictionary).read_bytes() for i in (1, 2))
    assert first == second


def test_older_matlab_files_with_names_of_their_own(tmp_path, closed_form, sequence, grid):
    signals = closed_form().signal(sequence, grid.tissue)
    savemat(
        tmp_path / "d.mat",
        {"dict": signals, "T1_ms": 1e3 * grid.tissue.t1, "T2_ms": 1e3 * grid.tissue.t2, "note": "text"},
    )
    arrays = read_arrays(tmp_path / "d.mat")
    assert arrays["note"] == "text"
    tissue = Tissue(arrays["T1_ms"].ravel() / 1e3, arrays["T2_ms"].ravel() / 1e3)
    dictionary = dictionary_from_signals(tissue, arrays["dict"], rank=6, sequence=sequence)
    found = match(dictionary, signals[::17] @ dictionary.basis)
    np.testing.assert_allclose(found.t1, grid.tissue.t1[::17], rtol=1e-12)  # milliseconds and back


def test_few_variables_are_enough(tmp_path, dictionary, sequence):
    rows = dictionary.coefficients * dictionary.norms[:, None]
    np.savez(
        tmp_path / "d.npz",
        basis=dictionary.basis,
        coefficients=rows,
        t1=dictionary.tissue.t1,
        t2=dictionary.tissue.t2,
    )
    result = import_dictionary(tmp_path / "d.npz")
    assert result.sequence is None
    assert result.model == {"model": "imported"}
    np.testing.assert_array_equal(result.tissue.b1, 1)
    np.testing.assert_allclose(result.norms, dictionary.norms, rtol=3e-7)  # rounding of single precision
    import_dictionary(tmp_path / "d.npz", sequence).check_sequence(sequence)  # vouched for


@pytest.mark.parametrize("name", EXPORTS)
def test_another_sequence_is_refused(tmp_path, dictionary, name):
    path = EXPORTS[name](tmp_path / name, dictionary)
    values = dictionary.sequence.to_dict()
    values["flip_angle"][7] += 0.1
    with pytest.raises(DictionaryError, match=rf"{name}: .*another sequence: flip_angle differs at 1 of 60"):
        import_dictionary(path, Sequence.from_dict(values))


@pytest.mark.parametrize("missing", ["basis", "coefficients", "t1", "t2"])
def test_missing_variables_are_named(tmp_path, dictionary, missing):
    path = export_npz(tmp_path / "d.npz", dictionary)
    variables = read_arrays(path)
    del variables[missing]
    np.savez(path, **variables)
    with pytest.raises(DictionaryError, match=rf"d\.npz: variable {missing} is missing"):
        import_dictionary(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t1": np.full(342, 5.0)}, "t1 does not belong to the stored grid"),
        ({"t2": np.full(3, 0.1)}, "t2 has 3 values"),
        ({"grid": "null", "norms": np.ones(3)}, r"norms has shape \(3,\)"),
        ({"sequence": "{"}, "d.npz: Expecting"),
        ({"model": np.ones(3)}, r"a text holds an array of shape \(3,\)"),
        ({"coefficients": np.ones((342, 6))}, "rows of unit norm"),
    ],
)
def test_variables_that_do_not_fit_are_refused(tmp_path, dictionary, change, message):
    path = export_npz(tmp_path / "d.npz", dictionary)
    np.savez(path, **(read_arrays(path) | change))
    with pytest.raises(DictionaryError, match=message):
        import_dictionary(path)


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("fraction", [0, 0.1, 0.5, 0.95])
def test_truncated_files_are_refused(tmp_path, dictionary, name, fraction):
    path = EXPORTS[name](tmp_path / name, dictionary)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DictionaryError, match=rf"{name} is neither an npz nor a mat file, or a truncated"):
        read_arrays(path)


def test_other_files(tmp_path):
    (tmp_path / "d.txt").write_text("T1,T2\n1,2\n" * 100)
    with pytest.raises(DictionaryError, match=r"d\.txt is neither an npz nor a mat file"):
        read_arrays(tmp_path / "d.txt")
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / "missing.mat")


@pytest.mark.parametrize("name", EXPORTS)
def test_full_disk_leaves_the_old_file(tmp_path, dictionary, name):
    resource = pytest.importorskip("resource")
    path = tmp_path / name
    path.write_bytes(b"precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=rf"cannot write dictionary .*{name}: File too large; free space"):
            EXPORTS[name](path, dictionary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"precious"
    assert os.listdir(tmp_path) == [name]


def test_grids_stay_grids(tmp_path, dictionary):
    result = import_dictionary(export_npz(tmp_path / "d.npz", dictionary))
    assert isinstance(result.grid, Grid)
    assert result.grid.to_dict() == dictionary.grid.to_dict()
