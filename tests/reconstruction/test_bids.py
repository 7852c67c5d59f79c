import json

import nibabel as nib
import numpy as np
import pytest

from reconstruction.bids import read_bids, write_bids
from reconstruction.maps import Maps

NY, NX = 5, 8
AFFINE = np.array([[2.0, 0, 0, -8], [0, 3.0, 0, -9], [0, 0, 4.0, 20], [0, 0, 0, 1]])


def make_maps(offset: float = 0.0, **changes: object) -> Maps:
    ramp = np.arange(NY * NX, dtype=np.float32).reshape(NY, NX)  # no symmetry: every voxel differs
    mask = np.ones((NY, NX), dtype=bool)
    mask[0, 0] = mask[4, 2] = False
    arguments = {
        "t1": 0.5 + 0.01 * ramp + offset,
        "t2": 0.05 + 0.001 * ramp,
        "pd": (1 + ramp) * np.exp(0.7j),
        "b1": 0.8 + 0.01 * ramp,
        "mask": mask,
    }
    return Maps(**(arguments | changes))


def load(folder, suffix, directory="anat", subject="01"):
    return nib.load(folder / f"sub-{subject}" / directory / f"sub-{subject}_{suffix}.nii.gz")


def contents(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(folder, maps=None, **arguments):
    arguments = {"affine": AFFINE, "provenance": {"Sequence": "test", "Rank": 5}} | arguments
    return write_bids(folder, [make_maps()] if maps is None else maps, **arguments)


def test_nifti_values_units_and_axes(tmp_path):
    folder = write(tmp_path / "bids", [make_maps(), make_maps(offset=1.0)])
    maps, mask = make_maps(), make_maps().mask
    image = load(folder, "T1map")
    data = image.get_fdata(dtype=np.float32)
    assert data.shape == (NX, NY, 2)
    assert image.get_data_dtype() == np.float32
    assert data[6, 1, 0] == maps.t1[1, 6]  # (x, y, z) = (column, row, slice)
    np.testing.assert_array_equal(data[:, :, 0], np.where(mask, maps.t1, 0).T)
    np.testing.assert_array_equal(data[:, :, 1], np.where(mask, maps.t1 + 1, 0).T)
    np.testing.assert_allclose(load(folder, "T2map").get_fdata()[..., 0], np.where(mask, maps.t2, 0).T)
    pd = load(folder, "PDmap").get_fdata()[..., 0]
    np.testing.assert_allclose(pd, np.where(mask, np.abs(maps.pd), 0).T, rtol=1e-6)
    b1 = load(folder, "TB1map", "fmap").get_fdata()[..., 0]
    np.testing.assert_allclose(b1, np.where(mask, 100 * maps.b1, 0).T, rtol=1e-6)


def test_nifti_geometry(tmp_path):
    image = load(write(tmp_path / "bids"), "T1map")
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_allclose(image.header.get_zooms(), (2, 3, 4))
    assert image.header.get_xyzt_units()[0] == "mm"
    for matrix, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(matrix, AFFINE, atol=1e-5)
    # the voxel of row 1, column 6 lies at 2*6-8, 3*1-9, 20 mm
    np.testing.assert_allclose(image.affine @ [6, 1, 0, 1], [4, -6, 20, 1])


def test_unknown_orientation_leaves_the_voxel_size_alone(tmp_path):
    oblique = np.array([[0.0, 0, 4, 1], [2, 0, 0, 2], [0, 3, 0, 3], [0, 0, 0, 1]])
    folder = write(tmp_path / "bids", affine=oblique, orientation_known=False)
    image = load(folder, "T1map")
    assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 0
    np.testing.assert_allclose(image.header.get_zooms(), (2, 3, 4))
    assert image.header.get_xyzt_units()[0] == "mm"
    assert np.asarray(image.dataobj)[6, 1, 0] == make_maps().t1[1, 6]
    sidecar = folder / "sub-01" / "anat" / "sub-01_T1map.json"
    assert json.loads(sidecar.read_text())["Orientation"].startswith("unknown")
    write(folder)
    assert "Orientation" not in json.loads(sidecar.read_text())


def test_sidecars_and_description(tmp_path):
    folder = write(tmp_path / "bids", subject="P7")
    units = {"anat/sub-P7_T1map": "s", "anat/sub-P7_T2map": "s", "anat/sub-P7_PDmap": "arbitrary"}
    units["fmap/sub-P7_TB1map"] = "percent"
    for name, unit in units.items():
        sidecar = json.loads((folder / "sub-P7" / f"{name}.json").read_text())
        assert sidecar["Units"] == unit
        assert sidecar["Provenance"] == {"Sequence": "test", "Rank": 5}
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "epgbloch"
    assert {"Name", "BIDSVersion"} <= set(description)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 2 * len(units) + 1


def test_without_b1_there_is_no_tb1map(tmp_path):
    folder = write(tmp_path / "bids", [make_maps(b1=None)])
    assert not (folder / "sub-01" / "fmap").exists()


def test_earlier_result_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "bids")
    folder = write(tmp_path / "bids", [make_maps(offset=2.0, b1=None)])
    assert load(folder, "T1map").get_fdata()[1, 0, 0] == pytest.approx(2.51)
    assert not (folder / "sub-01" / "fmap").exists()
    assert contents(tmp_path) == sorted(["bids", *(f"bids/{name}" for name in contents(folder))])


def test_missing_parents_and_empty_folders_are_accepted(tmp_path):
    (tmp_path / "empty").mkdir()
    assert load(write(tmp_path / "empty"), "T1map").shape == (NX, NY, 1)
    assert load(write(tmp_path / "new" / "deep"), "T1map").shape == (NX, NY, 1)


@pytest.mark.parametrize("foreign", ["notes.txt", "sub-02/anat/sub-02_T1map.nii.gz"])
def test_folder_with_other_files_is_refused(tmp_path, foreign):
    folder = write(tmp_path / "bids")
    (folder / foreign).parent.mkdir(parents=True, exist_ok=True)
    (folder / foreign).write_text("mine")
    before = contents(folder)
    with pytest.raises(FileExistsError, match=r"bids holds"):
        write(folder, [make_maps(offset=1.0)])
    assert contents(tmp_path / "bids") == before
    assert load(folder, "T1map").get_fdata()[1, 0, 0] == pytest.approx(0.51)


@pytest.mark.parametrize("description", ['{"GeneratedBy": [{"Name": "other"}]}', "{}", "[1]", "not JSON"])
def test_results_of_other_programs_are_refused(tmp_path, description):
    (tmp_path / "dataset_description.json").write_text(description)
    with pytest.raises(FileExistsError, match="did not write"):
        write(tmp_path)


def test_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "bids").write_text("a file")
    with pytest.raises(FileExistsError, match="is a file"):
        write(tmp_path / "bids")


def test_folder_below_a_file_raises_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match=r"cannot write maps to folder .*file/bids"):
        write(tmp_path / "file" / "bids")
    assert contents(tmp_path) == ["file"]


@pytest.mark.parametrize("n_saved", [0, 2])
@pytest.mark.parametrize("earlier", [False, True])
def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, n_saved, earlier):
    if earlier:
        write(tmp_path / "bids")
    before = contents(tmp_path)
    save, saved = nib.save, []

    def failing_save(image, path):
        if len(saved) == n_saved:
            raise OSError(28, "No space left on device")
        saved.append(path)
        save(image, path)

    monkeypatch.setattr(nib, "save", failing_save)
    with pytest.raises(OSError, match=r"cannot write maps to folder .*bids: .*No space left"):
        write(tmp_path / "bids", [make_maps(offset=1.0)])
    assert contents(tmp_path) == before
    if earlier:
        assert load(tmp_path / "bids", "T1map").get_fdata()[1, 0, 0] == pytest.approx(0.51)


def test_failed_rename_restores_the_earlier_result(tmp_path, monkeypatch):
    folder = write(tmp_path / "bids")
    before = contents(tmp_path)
    rename = type(folder).rename

    def failing_rename(path, target):
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(type(folder), "rename", failing_rename)
    with pytest.raises(OSError, match="cannot write maps"):
        write(folder)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maps": []}, "maps is empty"),
        ({"maps": [make_maps(), make_maps(b1=None)]}, "1 of 2 slices"),
        ({"affine": np.eye(3)}, "affine must be"),
        ({"affine": np.diag([1.0, 1, 0, 1])}, "affine must be"),
        ({"subject": "../up"}, "subject='../up'"),
        ({"subject": ""}, "subject=''"),
        ({"provenance": {"value": np.nan}}, "provenance does not fit JSON"),
        ({"provenance": {"value": object()}}, "provenance does not fit JSON"),
    ],
)
def test_write_refuses(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "bids", **arguments)
    assert contents(tmp_path) == []


def test_write_refuses_slices_of_different_shape(tmp_path):
    small = Maps(t1=np.ones((2, 2)), t2=np.ones((2, 2)), pd=np.ones((2, 2)), mask=np.ones((2, 2)))
    with pytest.raises(ValueError, match="different shapes"):
        write(tmp_path / "bids", [make_maps(b1=None), small])


STD = np.linspace(0.001, 0.002, NY * NX).reshape(NY, NX)


def test_standard_errors_and_correlation(tmp_path):
    unknown = STD.copy()
    unknown[2, 3] = np.nan
    folder = write(tmp_path / "bids", [make_maps(t1_std=STD, b1_std=unknown, correlation=1 - STD)])
    mask = make_maps().mask
    t1 = load(folder, "desc-standarderror_T1map").get_fdata()[..., 0].T
    np.testing.assert_allclose(t1, np.where(mask, STD, np.nan), rtol=1e-6)  # single precision
    b1 = load(folder, "desc-standarderror_TB1map", "fmap").get_fdata()[..., 0].T
    np.testing.assert_allclose(b1, np.where(mask, 100 * unknown, np.nan), rtol=1e-6)
    assert np.isnan(b1[2, 3])
    correlation = load(folder, "correlation").get_fdata()[..., 0].T
    np.testing.assert_allclose(correlation, np.where(mask, 1 - STD, 0), rtol=1e-6)
    assert (folder / ".bidsignore").read_text() == "*_correlation.*\n"
    assert not (folder / "sub-01" / "anat" / "sub-01_desc-standarderror_T2map.nii.gz").exists()
    write(folder)  # which knows them as its own
    assert not (folder / ".bidsignore").exists()


@pytest.mark.parametrize("name", ["correlation", "t2_std"])
def test_written_for_all_slices_or_none(tmp_path, name):
    with pytest.raises(ValueError, match=f"maps hold {name} for 1 of 2 slices"):
        write(tmp_path / "bids", [make_maps(), make_maps(**{name: STD})])


@pytest.mark.parametrize("known", [True, False])
def test_reading_gives_what_was_written(tmp_path, known):
    slices = [make_maps(t1_std=STD, correlation=STD), make_maps(1.0, t1_std=2 * STD, correlation=STD)]
    folder = write(tmp_path / "bids", slices, subject="7", orientation_known=known)
    result = read_bids(folder)
    assert (result.subject, result.orientation_known) == ("7", known)
    if known:
        np.testing.assert_array_equal(result.affine, AFFINE)
    assert len(result.maps) == 2
    for ours, theirs in zip(slices, result.maps, strict=True):
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        for name in ("t1", "t2", "b1", "correlation", "t1_std"):
            values = getattr(theirs, name)[ours.mask]
            np.testing.assert_allclose(values, getattr(ours, name)[ours.mask], rtol=1e-6)
        np.testing.assert_allclose(theirs.pd[ours.mask], np.abs(ours.pd)[ours.mask], rtol=1e-6)
        assert theirs.t2_std is None


def test_reading_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"holds no sub-\*/anat"):
        read_bids(tmp_path)
    folder = write(tmp_path / "bids")
    t2 = folder / "sub-01" / "anat" / "sub-01_T2map.nii.gz"
    content = t2.read_bytes()
    t2.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"T2map\.nii\.gz cannot be read as NIfTI image"):
        read_bids(folder)
    t2.unlink()
    with pytest.raises(ValueError, match="lacks sub-01/anat/sub-01_T2map"):
        read_bids(folder)
    write(tmp_path / "other", subject="02")
    (tmp_path / "other" / "sub-02").rename(folder / "sub-02")
    with pytest.raises(ValueError, match="maps of 2 subjects"):
        read_bids(folder)
