import json

import nibabel as nib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from reconstruction.maps import Maps, write_bids
from reconstruction.maps_figure import plot_maps

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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t1": np.zeros((NY, NX))}, "t1 is 0.0 at row 0, column 1"),
        ({"t2": np.full((NY, NX), np.nan)}, "t2 is nan at row 0, column 1"),
        ({"b1": np.ones((NX, NY))}, "b1 has shape"),
        ({"mask": np.ones((1, NY, NX))}, "one slice"),
    ],
)
def test_maps_refuse(changes, message):
    with pytest.raises(ValueError, match=message):
        make_maps(**changes)


def test_maps_take_any_value_outside_the_mask():
    t1 = np.where(make_maps().mask, 1.0, np.nan)
    assert make_maps(t1=t1).t1.dtype == np.float32


@pytest.mark.parametrize(("with_truth", "with_b1"), [(False, False), (True, True)])
def test_figure_is_written(tmp_path, with_truth, with_b1):
    maps = make_maps() if with_b1 else make_maps(b1=None)
    truth = make_maps(offset=0.02) if with_truth else None
    path = plot_maps(tmp_path / "maps.png", maps, affine=AFFINE, truth=truth, title="Test")
    image = imread(path)
    n_rows, n_columns = (3 if with_truth else 1), (4 if with_b1 else 3)
    assert image.shape[1] > 300 * n_columns
    assert image.shape[0] > 150 * n_rows
    assert image[..., :3].std() > 0.05
    assert contents(tmp_path) == ["maps.png"]


def test_figure_is_oriented_by_the_affine(tmp_path):
    """The same slice stored with reversed rows and columns gives the same picture."""
    maps = make_maps()
    names = ("t1", "t2", "pd", "mask", "b1")
    reversed_maps = Maps(**{name: getattr(maps, name)[::-1, ::-1] for name in names})
    reversed_affine = AFFINE @ np.array([[-1, 0, 0, NX - 1], [0, -1, 0, NY - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    straight = imread(plot_maps(tmp_path / "a.png", maps, affine=AFFINE))
    np.testing.assert_array_equal(
        straight, imread(plot_maps(tmp_path / "b.png", reversed_maps, affine=reversed_affine))
    )
    wrong = imread(plot_maps(tmp_path / "c.png", reversed_maps, affine=AFFINE))
    assert wrong.shape != straight.shape or not np.array_equal(straight, wrong)


def test_figure_without_orientation_has_no_letters(tmp_path, monkeypatch):
    texts = []
    text = Axes.text
    monkeypatch.setattr(
        Axes, "text", lambda ax, *args, **kw: (texts.append(args[2]), text(ax, *args, **kw))[1]
    )
    plot_maps(tmp_path / "maps.png", make_maps(), affine=AFFINE, orientation_known=False)
    assert texts == []
    plot_maps(tmp_path / "maps.png", make_maps(), affine=AFFINE)
    assert texts == ["R", "A"] * 4


def test_figure_of_a_constant_map(tmp_path):
    constant = make_maps(t1=np.ones((NY, NX)), b1=np.ones((NY, NX)))
    assert plot_maps(tmp_path / "maps.png", constant, affine=AFFINE, truth=constant).stat().st_size > 10000


def test_figure_refuses(tmp_path):
    with pytest.raises(ValueError, match="mask is empty"):
        plot_maps(tmp_path / "maps.png", make_maps(mask=np.zeros((NY, NX))), affine=AFFINE)
    ones = np.ones((2, 2))
    with pytest.raises(ValueError, match="one shape"):
        plot_maps(tmp_path / "a.png", make_maps(), affine=AFFINE, truth=Maps(ones, ones, ones, ones))
    with pytest.raises(OSError, match="cannot write figure"):
        plot_maps(tmp_path / "missing" / "maps.png", make_maps(), affine=AFFINE)
    assert contents(tmp_path) == []
