import json
import os
import time
from dataclasses import replace

import h5py
import numpy as np
import pytest

import dictionaries.compression
import epgbloch
from dictionaries import AtomList, Dictionary, DictionaryError, Grid, read_dictionary, write_dictionary
from epgbloch import RFPulse, Sequence, Tissue


@pytest.fixture
def path(tmp_path, dictionary):
    return write_dictionary(tmp_path / "dictionary.h5", dictionary)


def assert_same(result, expected):
    for name in ("basis", "coefficients", "norms"):
        assert getattr(result, name).dtype == getattr(expected, name).dtype
        np.testing.assert_array_equal(getattr(result, name), getattr(expected, name))
    for name in ("t1", "t2", "b1", "off_resonance"):
        np.testing.assert_array_equal(getattr(result.grid, name), getattr(expected.grid, name))
        np.testing.assert_array_equal(getattr(result.tissue, name), getattr(expected.tissue, name))
    assert result.sequence.to_dict() == expected.sequence.to_dict()
    np.testing.assert_array_equal(result.singular_values, expected.singular_values)
    np.testing.assert_array_equal(result.error_counts, expected.error_counts)
    assert result.model == expected.model
    assert result.truncation_error == expected.truncation_error


@pytest.mark.parametrize("which", ["dictionary", "complex_dictionary"])
def test_round_trip_is_exact(tmp_path, which, request):
    dictionary = request.getfixturevalue(which)
    path = write_dictionary(str(tmp_path / "dictionary.h5"), dictionary)
    assert path == tmp_path / "dictionary.h5"
    assert_same(read_dictionary(path), dictionary)
    assert_same(read_dictionary(str(path), dictionary.sequence), dictionary)
    assert os.listdir(tmp_path) == ["dictionary.h5"]


def test_long_sequences_with_pulse_survive(tmp_path, dictionary):
    """3000 pulses and 500 complex RF samples are more text than an HDF5 attribute holds (64 kB)."""
    rng = np.random.default_rng(0)
    pulse = RFPulse.from_samples(rng.uniform(0.5, 1, 500) * np.exp(0.1j), 1e-3, 2e3, 5e-3, center=4e-4)
    sequence = Sequence(rng.uniform(0, 1, 3000), 0.01, 0.004, phase=rng.uniform(0, 6, 3000), pulse=pulse)
    basis = np.linalg.qr(rng.standard_normal((3000, dictionary.rank)))[0].astype(np.float32)
    long = replace(dictionary, sequence=sequence, basis=basis)
    assert_same(read_dictionary(write_dictionary(tmp_path / "long.h5", long), sequence), long)


def test_file_describes_itself(path, dictionary):
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"epgbloch dictionary"
        assert file.attrs["format_version"] == 2
        assert file.attrs["epgbloch_version"].decode() == epgbloch.__version__
        assert file.attrs["numpy_version"].decode() == np.__version__
        assert {"scipy_version", "numba_version"} <= set(file.attrs)
        assert file.attrs["sequence_fingerprint"].decode() == dictionary.sequence.fingerprint()
        assert file.attrs["truncation_error_max"] == dictionary.truncation_error.max
        assert file.attrs["truncation_error_rms"] == dictionary.truncation_error.rms
        assert json.loads(file["sequence"][0])["tr"] == dictionary.sequence.tr.tolist()
        assert json.loads(file["grid"][0]) == dictionary.grid.to_dict()
        assert json.loads(file["model"][0]) == dictionary.model
        units = {name: file[f"tissue/{name}"].attrs["units"] for name in file["tissue"]}
        assert units == {
            "t1": b"s",
            "t2": b"s",
            "b1": b"relative to nominal",
            "off_resonance": b"Hz",
            "diffusion": b"m^2/s",
        }
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert len(names) == 13
        assert all("units" in file[name].attrs for name in names)
        np.testing.assert_array_equal(file["tissue/t2"], dictionary.tissue.t2)


def test_existing_file_is_replaced(path, complex_dictionary):
    write_dictionary(path, complex_dictionary)
    assert_same(read_dictionary(path), complex_dictionary)
    assert os.listdir(path.parent) == ["dictionary.h5"]


def test_interrupted_write_leaves_the_old_file(path, complex_dictionary, monkeypatch):
    before = path.read_bytes()

    def interrupted(*arguments):
        assert len(os.listdir(path.parent)) == 2
        raise KeyboardInterrupt

    monkeypatch.setattr(dictionaries.store, "_write_atoms", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_dictionary(path, complex_dictionary)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["dictionary.h5"]


def test_files_are_the_same_each_time(path, dictionary):
    """Also a second later: there are no time stamps."""
    time.sleep(1.1)
    again = write_dictionary(path.with_name("again.h5"), dictionary)
    assert again.read_bytes() == path.read_bytes()


def test_many_atoms_in_several_chunks(tmp_path, dictionary):
    """More atoms than an HDF5 chunk holds, and a last chunk that is not full."""
    n_atoms = 2 * dictionaries.compression.BLOCK + 5
    tissue = Tissue(np.linspace(1, 2, n_atoms), np.linspace(0.1, 0.2, n_atoms))
    repeated = np.arange(n_atoms) % dictionary.n_atoms
    large = replace(
        dictionary,
        grid=AtomList(tissue),
        coefficients=dictionary.coefficients[repeated],
        norms=dictionary.norms[repeated] + np.arange(n_atoms, dtype=np.float32),
    )
    assert_same(read_dictionary(write_dictionary(tmp_path / "large.h5", large)), large)


def test_atom_lists_and_unknown_fields(tmp_path, dictionary):
    tissue = Tissue([1.0, 0.5, 0.7], [0.1, 0.2, 0.05], [1.0, 0.9, 1.1], [0, 3, -2], [0, 1e-9, 3e-9])
    small = Dictionary(
        AtomList(tissue), None, dictionary.basis, dictionary.coefficients[:3], dictionary.norms[:3], {}, None
    )
    path = write_dictionary(tmp_path / "small.h5", small)
    result = read_dictionary(path)
    assert isinstance(result.grid, AtomList)
    assert (result.sequence, result.truncation_error, result.error_counts) == (None, None, None)
    assert result.singular_values is None
    for name in ("t1", "t2", "b1", "off_resonance", "diffusion"):
        np.testing.assert_array_equal(getattr(result.tissue, name), getattr(tissue, name))
    with pytest.raises(DictionaryError, match=r"small\.h5: the sequence .* is not known\. If you know it"):
        read_dictionary(path, dictionary.sequence)


def test_failed_rename_leaves_the_old_file(path, complex_dictionary, monkeypatch):
    before = path.read_bytes()

    def refuse(source, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(
        OSError, match=r"cannot write dictionary .*dictionary.h5: Permission denied; .*folder"
    ):
        write_dictionary(path, complex_dictionary)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["dictionary.h5"]


def test_full_disk(tmp_path, dictionary):
    """The limit on the size of a file fails in the middle of the write, as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write dictionary .*full.h5: File too large; free space"):
            write_dictionary(tmp_path / "full.h5", dictionary)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_missing_folder_and_folder_as_file(tmp_path, dictionary):
    with pytest.raises(OSError, match=r"cannot write dictionary .*missing.*No such file or directory"):
        write_dictionary(tmp_path / "missing" / "dictionary.h5", dictionary)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write dictionary .*Not a directory"):
        write_dictionary(tmp_path / "file" / "dictionary.h5", dictionary)
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=r"cannot write dictionary .*Is a directory"):
        write_dictionary(tmp_path / "folder", dictionary)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("setting", [np.nan, np.float32(1), object()])
def test_model_settings_must_fit_json(tmp_path, dictionary, setting):
    with pytest.raises(ValueError, match=r"model settings do not fit JSON"):
        write_dictionary(tmp_path / "dictionary.h5", replace(dictionary, model={"setting": setting}))
    assert os.listdir(tmp_path) == []


def test_another_sequence_is_refused(path, dictionary):
    values = dictionary.sequence.to_dict()
    values["flip_angle"][7] += 0.1
    message = r"dictionary.h5: .*another sequence: flip_angle differs at 1 of 60 pulses, first at pulse 7"
    with pytest.raises(DictionaryError, match=message):
        read_dictionary(path, Sequence.from_dict(values))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.h5"):
        read_dictionary(tmp_path / "missing.h5")


@pytest.mark.parametrize("content", [b"", b"T1,T2\n0.5,0.1\n", bytes(5000)])
def test_files_that_are_not_hdf5_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(DictionaryError, match=r"dictionary.h5 is not an HDF5 file, or a truncated"):
        read_dictionary(path)


def test_other_hdf5_files_are_refused(path):
    with h5py.File(path, "w") as file:
        file["basis"] = np.eye(3)
    with pytest.raises(DictionaryError, match=r"dictionary.h5: .*not an epgbloch dictionary; choose another"):
        read_dictionary(path)


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_refused(path, fraction):
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(DictionaryError, match=r"dictionary.h5.* (truncated|damaged)"):
        read_dictionary(path)


def test_changed_bits_are_noticed(path, dictionary):
    """Each is refused, or hits a gap in the file and changes nothing."""
    content = path.read_bytes()
    positions = range(0, len(content), 487)
    n_refused = 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        try:
            assert_same(read_dictionary(path), dictionary)
        except DictionaryError:
            n_refused += 1
    assert n_refused > 0.9 * len(positions)


def set_attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


def set_dataset(name, function):
    def change(file):
        data = file[name][...]
        del file[name]
        file[name] = function(data)

    return change


def set_json(name, **values):
    def change(file):
        text = json.dumps(json.loads(file[name][0]) | values)
        del file[name]
        file[name] = np.array([text.encode()])

    return change


def set_element(index, value):
    def function(data):
        data[index] = value
        return data

    return function


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_attribute("format_version", 1), r"format version 1, but epgbloch \S+ reads version 2: generate"),
        (set_attribute("sequence_fingerprint", np.bytes_("0" * 64)), "sequence_fingerprint is not the one"),
        (set_json("sequence", tr=[0.03] * 60), "sequence_fingerprint is not the one of the stored sequence"),
        (set_json("sequence", tr=[0.001] * 60), r"te=0\.005 s must be shorter than tr"),
        (set_json("sequence", tr="long"), "tr='long' is not numeric"),
        (set_json("sequence", extra=1), "extra"),
        (set_dataset("sequence", lambda _: np.array([b"{"])), "Expecting property name"),
        (set_json("grid", t1=[0.5, 1.0]), "t1 does not belong to the stored grid"),
        (set_json("grid", t1=[1.0, 0.5]), "sort the axis"),
        (set_dataset("tissue/t2", set_element(5, 0.01)), "t2 does not belong to the stored grid"),
        (set_dataset("model", lambda _: np.array([b"[1"])), "Expecting"),
        (set_dataset("basis", lambda basis: basis[:50]), r"basis has shape \(50, 6\)"),
        (set_dataset("basis", lambda basis: 2 * basis), "orthonormal"),
        (set_dataset("coefficients", lambda rows: rows[1:]), r"coefficients has shape \(341, 6\)"),
        (set_dataset("coefficients", lambda rows: rows.astype("f8")), "coefficients is float64"),
        (set_dataset("coefficients", set_element((1, 2), np.nan)), "coefficients holds values that are not"),
        (set_dataset("norms", set_element(3, -1.0)), "norms must be positive"),
        (set_attribute("truncation_error_max", np.inf), "truncation_error holds values that are not finite"),
        (set_attribute("truncation_error_rms", np.bytes_("low")), "low"),
    ],
)
def test_contents_that_do_not_fit_are_refused(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DictionaryError, match=f"dictionary.h5: .*{message}") as caught:
        read_dictionary(path)
    assert str(caught.value).endswith("generate the dictionary again")


@pytest.mark.parametrize("name", ["basis", "coefficients", "norms", "sequence", "model", "grid", "tissue/t1"])
def test_missing_datasets_are_refused(path, name):
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(DictionaryError, match=rf"dataset {name} is missing; .*generate the dictionary again"):
        read_dictionary(path)


@pytest.mark.parametrize("name", ["format_version", "sequence_fingerprint", "truncation_error_max"])
def test_missing_attributes_are_refused(path, name):
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
    with pytest.raises(DictionaryError, match=r"dictionary.h5: .*generate the dictionary again"):
        read_dictionary(path)


def test_group_instead_of_dataset_is_refused(path):
    with h5py.File(path, "r+") as file:
        del file["norms"]
        file.create_group("norms")
    with pytest.raises(DictionaryError, match=r"dataset norms is missing"):
        read_dictionary(path)


@pytest.fixture
def single(dictionary):
    """A dictionary of one atom."""
    return replace(
        dictionary,
        grid=Grid(1.0, 0.1),
        coefficients=dictionary.coefficients[:1],
        norms=dictionary.norms[:1],
    )


def test_grid_of_one_atom(tmp_path, single):
    assert_same(read_dictionary(write_dictionary(tmp_path / "one.h5", single)), single)


def test_changed_bit_of_a_norm(tmp_path, single):
    """A valid norm, but another one."""
    path = write_dictionary(tmp_path / "one.h5", single)
    with h5py.File(path) as file:
        offset = file["norms"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)
    with pytest.raises(DictionaryError, match="the file is damaged"):
        read_dictionary(path)
