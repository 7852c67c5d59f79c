"""Coil sensitivities in all formats, and what is wrong with a file."""

import h5py
import nibabel as nib
import numpy as np
import pytest

from reconstruction.sensitivity_files import read_sensitivities

N_SLICES, N_COILS, MATRIX = 2, 3, (4, 5)
ASKED = {"n_slices": N_SLICES, "n_coils": N_COILS, "matrix": MATRIX}


@pytest.fixture
def maps():
    """Sensitivities (n_slices, n_coils, ny, nx)."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((N_SLICES, N_COILS, *MATRIX, 2)) @ [1, 1j]).astype(np.complex64)


def write_bart(path, array, sizes):
    """Pair of files as BART writes them: text header, complex64 with the first axis fastest."""
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{' '.join(map(str, sizes))} \n# Command\nones \n")
    path.with_suffix(".cfl").write_bytes(array.astype("<c8").tobytes(order="F"))


def write(path, maps):
    in_order = np.moveaxis(maps.T, -1, -2)  # (x, y, slice, coil)
    if path.suffix == ".npy":
        np.save(path, maps)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["group/name"] = maps
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            parts = np.empty(maps.shape, dtype=[("real", "f4"), ("imag", "f4")])
            parts["real"], parts["imag"] = maps.real, maps.imag
            file["sensitivities"], file["other"] = parts, [1.0]
    elif path.suffix == ".cfl":
        write_bart(path, in_order, [5, 4, 2, 3, *[1] * 12])
    elif path.suffix == ".hdr":
        sizes = [5, 4, 1, 3, *[1] * 9, 2, 1, 1]  # slices in dimension 13
        write_bart(path, maps.transpose(3, 2, 1, 0), sizes)
    else:
        nib.save(nib.Nifti1Image(in_order, np.diag([2, 3, 4, 1])), path)


@pytest.mark.parametrize("ending", ["npy", "h5", "hdf5", "cfl", "hdr", "nii", "nii.gz"])
def test_formats_give_the_same(tmp_path, maps, ending):
    write(tmp_path / f"maps.{ending}", maps)
    result, affine = read_sensitivities(tmp_path / f"maps.{ending}", **ASKED)
    assert result.dtype == np.complex64
    np.testing.assert_array_equal(result, maps)
    if ending.startswith("nii"):
        np.testing.assert_array_equal(affine, np.diag([2, 3, 4, 1]))
    else:
        assert affine is None


def test_one_slice_needs_no_axis(tmp_path, maps):
    np.save(tmp_path / "maps.npy", maps[0])
    result, _ = read_sensitivities(tmp_path / "maps.npy", **{**ASKED, "n_slices": 1})
    np.testing.assert_array_equal(result, maps[:1])


def changed(maps, place, value):
    maps[place] = value
    return maps


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("maps.npy", lambda m: m.swapaxes(2, 3), r"has shape \(2, 3, 5, 4\).*axes are in another order"),
        (
            "maps.nii",
            lambda m: m[:, :2],
            r"has shape \(5, 4, 2, 2\); .* \(5, 4, 2, 3\): it belongs to another",
        ),
        ("maps.npy", lambda m: m[0], r"has shape \(3, 4, 5\); the scan asks for \(n_slices,"),
        ("maps.npy", lambda m: m.real, "holds float32 numbers; coil sensitivities are complex"),
        ("maps.nii", lambda m: np.abs(m), "holds float32 numbers"),
        ("maps.npy", lambda m: changed(m, (1, 2, 3, 0), np.nan), "at slice 1, coil 2, y=3, x=0; it must be"),
        (
            "maps.npy",
            lambda m: changed(m.astype(complex), (0, 1, 0, 2), 1e60),
            "at slice 0, coil 1, y=0, x=2",
        ),
        ("maps.nii", lambda m: changed(m, 1, 0), "is zero everywhere in slice 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, maps, name, make, message):
    write(tmp_path / name, make(maps))
    with pytest.raises(ValueError, match=message) as caught:
        read_sensitivities(tmp_path / name, **ASKED)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            [5, 4, 2, 2],
            r"maps\.cfl: holds 120 complex numbers; its header maps\.hdr asks for \[5, 4, 2, 2, 1",
        ),
        ([5, 4, 1, 3, 2], r"holds 2 sets of maps \(dimension 4\); keep the first one"),
        ([5, 4, 1, 3, 1, 2], "has dimensions .*; coil sensitivities have x, y, z or slices"),
        ([5, 1, 4, 3, *[1] * 9, 2], "has dimensions .*; coil sensitivities have x, y, z or slices"),
        (["five"], r"maps\.hdr: is not a header of BART"),
        ([0, 4, 2, 3], "the file is damaged"),
    ],
)
def test_headers_of_bart_are_checked(tmp_path, maps, sizes, message):
    write_bart(tmp_path / "maps.cfl", maps, sizes)
    with pytest.raises(ValueError, match=message):
        read_sensitivities(tmp_path / "maps.cfl", **ASKED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("maps.mat", "the ending tells the format of coil sensitivities; it must be one of .nii"),
        ("maps.nii.gz", "cannot be read as NIfTI image"),
        ("maps.npy", "cannot be read as NumPy array"),
        ("maps.h5", "cannot be read as HDF5 file"),
        ("maps.hdr", "maps.hdr: is not a header of BART"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"nothing")
    (tmp_path / "maps.cfl").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=message):
        read_sensitivities(tmp_path / name, **ASKED)
    with pytest.raises(ValueError, match=f"none.{name.split('.', 1)[1]}"):
        read_sensitivities(tmp_path / name.replace("maps", "none"), **ASKED)


def test_hdf5_files_with_several_data_sets_must_name_it(tmp_path, maps):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["coils"], file["other"] = maps, maps
    with pytest.raises(ValueError, match=r"has no data set sensitivities \(but coils, other\)"):
        read_sensitivities(tmp_path / "maps.h5", **ASKED)
