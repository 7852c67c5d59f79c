"""From a phantom to maps by the command line."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import h5py
import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.protocol import load_protocol
from reconstruction.phantom_templates import TISSUES, analytic_head
from reconstruction.pipeline import reconstruct
from reconstruction.rawdata import read_ismrmrd, write_ismrmrd
from reconstruction.trajectory import golden_angle_radial

PROTOCOL = """
sequence:
  flip_angle_deg: {train: sin_squared, n_pulses: 60, angles_deg: [20, 60, 40]}
  tr_ms: 12
  te_ms: 4
  inversion_time_ms: 20
dictionary:
  t1_ms: {log: [200, 5000, 60]}
  t2_ms: {log: [20, 2500, 60]}
  rank: 4
reconstruction: {iterations: 3, coils: adaptive}
"""
MATRIX = 48
# Names in the order in which they are sorted.
MAPS = ["PDmap", "T1map", "T2map", "correlation"]


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def read(folder, name="T1map"):
    (subject,) = folder.glob("sub-*")
    (path,) = subject.glob(f"*/{subject.name}_{name}.nii.gz")
    return nib.load(path)


def same(first, second):
    """Whether maps agree but for the rounding of threads, which turns the match of a few voxels."""
    ours, theirs = (np.asarray(read(folder).dataobj) for folder in (first, second))
    return np.mean(ours != theirs) < 0.01


@pytest.fixture
def with_figures():
    """Let the test draw figures and report."""


@pytest.fixture(autouse=True)
def without_figures(request, monkeypatch):
    """Leave out figures and report, which take most of the time, unless a test asks for them."""
    if "with_figures" not in request.fixturenames:
        for name in ("plot_maps", "coil_montage"):
            monkeypatch.setattr(f"jobs.reconstruct.{name}", lambda path, *_, **__: path.touch())
        monkeypatch.setattr("jobs.reconstruct.write_report", lambda *_, **__: [])


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Folder of the phantom: four trains of 60 readouts."""
    folder = tmp_path_factory.mktemp("phantom")
    (folder / "protocol.yaml").write_text(PROTOCOL)
    arguments = ["--matrix", MATRIX, "--coils", 3, "--repetitions", 4, "--snr", 100]
    run("phantom", "--protocol", folder / "protocol.yaml", "--out", folder / "out", *arguments)
    return folder / "out"


@pytest.fixture(scope="module")
def maps(tmp_path_factory, phantom):
    """Maps of the phantom."""
    folder = tmp_path_factory.mktemp("maps") / "maps"
    run("reconstruct", phantom / "scan.mrd", "--protocol", phantom / "protocol.yaml", "--out", folder)
    return folder


def test_phantom_folder(phantom):
    scan = read_ismrmrd(phantom / "scan.mrd")
    assert (scan.n_coils, scan.n_readouts, scan.n_samples, scan.matrix) == (3, 240, 96, (MATRIX, MATRIX))
    np.testing.assert_array_equal(scan.acquisition(0).trajectory, golden_angle_radial(240, 96))
    assert (phantom / "protocol.yaml").read_text() == PROTOCOL
    truth = analytic_head((MATRIX, MATRIX), n_coils=3, b1_range=(1, 1)).truth()
    np.testing.assert_array_equal(read(phantom / "truth", "T2map").dataobj[:, :, 0].T, truth.t2)
    # NIfTI holds single precision.
    np.testing.assert_allclose(read(phantom / "truth").affine, scan.acquisition(0).affine, rtol=1e-6)


def test_maps_match_the_truth(tmp_path, phantom):
    arguments = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps", "--iterations", 12]
    run("reconstruct", phantom / "scan.mrd", *arguments)
    head = analytic_head((MATRIX, MATRIX), n_coils=3)
    t1, t2, pd = (
        np.asarray(read(tmp_path / "maps", name).dataobj)[:, :, 0].T for name in ("T1map", "T2map", "PDmap")
    )
    ratios = []
    for tissue in ("white matter", "deep gray matter"):  # the others fill hardly a pixel of 5 mm
        voxels = head.pure_mask() & (head.label == head.names.index(tissue) + 1)
        assert voxels.sum() > 20
        true_t1, true_t2, true_pd = TISSUES[tissue]
        # One step of the grid: 5.6 % in T1, 8.5 % in T2.
        assert np.median(t1[voxels]) == pytest.approx(true_t1, rel=0.056)
        assert np.median(t2[voxels]) == pytest.approx(true_t2, rel=0.085)
        ratios.append(np.median(pd[voxels]) / true_pd)
    assert ratios[0] == pytest.approx(ratios[1], rel=0.05)  # as PD follows T2; the scale is arbitrary


def test_folder_is_a_bids_dataset_with_provenance(maps, phantom):
    names = sorted(path.relative_to(maps).as_posix() for path in maps.rglob("*") if path.is_file())
    anat = [f"sub-01/anat/sub-01_{name}.{ending}" for name in MAPS for ending in ("json", "nii.gz")]
    figures = ["figures/coils-00.png", "figures/slice-00.png"]
    top = [".bidsignore", "dataset_description.json", *figures, "provenance.json", "report.html"]
    assert names == [*top, *anat]
    content = json.loads((maps / "provenance.json").read_text())
    assert content["command"] == "epgbloch reconstruct"
    assert content["scan"] == "scan.mrd"
    assert content["protocol"] == PROTOCOL
    assert (content["n_iterations"], content["coil_method"], content["dictionary"]["rank"]) == (
        3,
        "adaptive",
        4,
    )
    assert content["dictionary"]["file"] is None
    assert content["dictionary"]["grid"] == load_protocol(phantom / "protocol.yaml").grid.to_dict()
    assert content["mask"] is None
    assert content["orientation_known"]
    assert content["files"] == [name for name in names if name != "provenance.json"]
    (record,) = content["slices"]
    assert record["n_voxels"] == np.count_nonzero(read(maps).dataobj)
    assert len(record["relative_residuals"]) == 4
    assert record["relative_residuals"][0] == 1
    assert not record["converged"]
    assert record["receive_field_degree"] in range(6)
    assert 0.9 < record["median_correlation"] <= 1
    assert content["scan_sha256"] == hashlib.sha256((phantom / "scan.mrd").read_bytes()).hexdigest()
    values = content["dictionary"]["relative_singular_values"]
    assert values[0] == 1
    assert 4 < len(values) <= 60
    sidecar = json.loads((maps / "sub-01/anat/sub-01_T1map.json").read_text())
    assert sidecar["Provenance"]["slices"] == content["slices"]


def test_summary_names_the_maps(tmp_path, phantom, monkeypatch, with_figures):
    monkeypatch.chdir(tmp_path)
    arguments = ["--protocol", phantom / "protocol.yaml", "--out", "maps", "--subject", "x7"]
    result = run("reconstruct", phantom / "scan.mrd", *arguments)
    for name in MAPS:
        assert f"wrote maps/sub-x7/anat/sub-x7_{name}.nii.gz\n" in result.stdout
    assert "wrote maps/report.html\n" in result.stdout
    for word in ("voxels", "iterations", "residual", "median correlation", "time"):
        assert word in result.stdout


def test_stored_dictionary_gives_the_same_maps(tmp_path, phantom, maps):
    protocol = phantom / "protocol.yaml"
    result = run("dictionary", "make", protocol, "--out", tmp_path / "dict.h5")
    assert f"wrote {tmp_path}/dict.h5" in result.stdout
    arguments = ["--protocol", protocol, "--dictionary", tmp_path / "dict.h5"]
    run("reconstruct", phantom / "scan.mrd", *arguments, "--out", tmp_path / "maps")
    assert same(tmp_path / "maps", maps)
    content = json.loads((tmp_path / "maps" / "provenance.json").read_text())
    assert content["dictionary"]["file"] == "dict.h5"


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (["--iterations", 2], "n_iterations", 2),
        (["--coils", "espirit"], "coil_method", "espirit"),
        (["--rank", 3], "dictionary", 3),
        (["--virtual-coils", 2], "virtual_coils", 2),
    ],
)
def test_options_replace_the_protocol(tmp_path, phantom, maps, options, key, value):
    arguments = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps", *options]
    run("reconstruct", phantom / "scan.mrd", *arguments)
    content = json.loads((tmp_path / "maps" / "provenance.json").read_text())
    assert (content[key]["rank"] if key == "dictionary" else content[key]) == value
    assert not same(tmp_path / "maps", maps)


def test_virtual_coils_and_their_energy_are_recorded(tmp_path, phantom, maps):
    (tmp_path / "protocol.yaml").write_text(
        PROTOCOL.replace("iterations: 3", "iterations: 3, coil_compression: 0.5")
    )
    options = ["--protocol", tmp_path / "protocol.yaml", "--out"]
    run("reconstruct", phantom / "scan.mrd", *options, tmp_path / "maps")
    (record,) = json.loads((tmp_path / "maps" / "provenance.json").read_text())["slices"]
    assert record["n_virtual_coils"] in (1, 2)
    assert 0.5 < record["kept_energy"] < 1
    (record,) = json.loads((maps / "provenance.json").read_text())["slices"]
    assert (record["n_virtual_coils"], record["kept_energy"]) == (None, None)
    result = CliRunner().invoke(
        app,
        [
            "reconstruct",
            str(phantom / "scan.mrd"),
            *map(str, options),
            str(tmp_path / "many"),
            "--virtual-coils",
            "4",
        ],
    )
    assert result.exit_code == 1
    assert result.stderr.startswith("error: virtual_coils=4 exceeds the 3 coils of the data")


def test_receive_field_correction_can_be_left_out(tmp_path, phantom, monkeypatch):
    # The phantom is too small for a field of its own.
    monkeypatch.setattr(
        "reconstruction.pipeline.estimate_receive_field", lambda maps: (np.full(maps.mask.shape, 4.0), 1)
    )
    for correct in ("true", "false"):
        text = PROTOCOL.replace("iterations: 3", f"iterations: 3, correct_receive_field: {correct}")
        (tmp_path / f"{correct}.yaml").write_text(text)
        options = ["--protocol", tmp_path / f"{correct}.yaml", "--out", tmp_path / correct]
        run("reconstruct", phantom / "scan.mrd", *options)
    corrected, plain = (np.asarray(read(tmp_path / name, "PDmap").dataobj) for name in ("true", "false"))
    assert np.median(plain[plain > 0] / corrected[plain > 0]) == pytest.approx(4, rel=1e-3)  # threads


def test_b1_axis_gives_a_b1_map(tmp_path):
    text = PROTOCOL.replace("rank: 4", "b1: {linear: [0.9, 1.1, 3]}\n  rank: 4").replace("60]}", "12]}")
    (tmp_path / "protocol.yaml").write_text(text)
    options = ["--protocol", tmp_path / "protocol.yaml"]
    run("phantom", *options, "--out", tmp_path / "phantom", "--matrix", 16, "--coils", 2)
    truth = np.asarray(read(tmp_path / "phantom" / "truth", "TB1map").dataobj)
    assert 90 <= truth[truth > 0].min() < 95  # percent, over the range of the dictionary
    assert 105 < truth.max() <= 110
    run("reconstruct", tmp_path / "phantom" / "scan.mrd", *options, "--out", tmp_path / "maps")
    assert set(np.unique(read(tmp_path / "maps", "TB1map").dataobj).round()) == {0, 90, 100, 110}


def test_lr_admm_is_recorded(tmp_path, phantom, maps):
    settings = "admm: {mu: 0.3, iterations: 2, inner_iterations: 3, tolerance: 0}"
    (tmp_path / "protocol.yaml").write_text(PROTOCOL.replace("iterations: 3", f"iterations: 3, {settings}"))
    options = ["--protocol", tmp_path / "protocol.yaml", "--method", "lr-admm", "--out", tmp_path / "maps"]
    run("reconstruct", phantom / "scan.mrd", *options)
    content, without = (
        json.loads((folder / "provenance.json").read_text()) for folder in (tmp_path / "maps", maps)
    )
    assert (content["method"], without["method"]) == ("lr-admm", "low-rank")
    record = content["slices"][0]["admm"]
    assert not record.pop("converged")
    assert record.keys() == {"data_misfit", "primal_residual", "dual_residual", "changed"}
    assert all(len(values) == 2 for values in record.values())
    assert record["data_misfit"][-1] < content["slices"][0]["misfit"]
    assert "admm" not in without["slices"][0]
    correlation = [np.asarray(read(folder, "correlation").dataobj) for folder in (tmp_path / "maps", maps)]
    held, free = (np.median(values[values > 0]) for values in correlation)
    assert 1 - held < 0.5 * (1 - free)  # the images are held to atoms


def test_smooth_b1(tmp_path):
    text = PROTOCOL.replace("rank: 4", "b1: {linear: [0.9, 1.1, 3]}\n  rank: 4").replace("60]}", "12]}")
    (tmp_path / "protocol.yaml").write_text(text.replace("iterations: 3", "iterations: 3, smooth_b1_mm: 40"))
    options = ["--protocol", tmp_path / "protocol.yaml"]
    run("phantom", *options, "--out", tmp_path / "phantom", "--matrix", 16, "--coils", 2)
    run("reconstruct", tmp_path / "phantom" / "scan.mrd", *options, "--out", tmp_path / "maps")
    b1 = np.asarray(read(tmp_path / "maps", "TB1map").dataobj)
    assert len(np.unique(b1[b1 > 0])) > 20  # between the values of the dictionary
    assert json.loads((tmp_path / "maps" / "provenance.json").read_text())["b1_width"] == 0.04


@pytest.mark.parametrize("stored", [False, True])
def test_smooth_b1_of_a_dictionary_with_one_is_refused(tmp_path, phantom, stored):
    text = PROTOCOL.replace("iterations: 3", "iterations: 3, smooth_b1_mm: 16")
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps"]
    if stored:
        run("dictionary", "make", phantom / "protocol.yaml", "--out", tmp_path / "dict.h5")
        options += ["--dictionary", tmp_path / "dict.h5"]
        head, tail = text.split("dictionary:")
        text = head + "reconstruction:" + tail.split("reconstruction:")[1]
    (tmp_path / "protocol.yaml").write_text(text)
    result = CliRunner().invoke(app, ["reconstruct", str(phantom / "scan.mrd"), *map(str, options)])
    assert result.exit_code == 1
    line = result.stderr.splitlines()[-1]
    assert line.startswith(
        f"error: {tmp_path}/protocol.yaml: reconstruction.smooth_b1_mm: the dictionary has only B1 = 1;"
    )
    assert "trajectory" not in result.stderr  # nothing was reconstructed, so nothing is to be checked there


def test_trajectory_of_the_protocol_replaces_a_missing_one(tmp_path, phantom, maps):
    shutil.copy(phantom / "scan.mrd", tmp_path / "scan.mrd")
    with h5py.File(tmp_path / "scan.mrd", "r+") as file:
        table = file["dataset/data"][...]
        table["head"]["trajectory_dimensions"] = 0
        file["dataset/data"][...] = table
    (tmp_path / "protocol.yaml").write_text(f"{PROTOCOL}trajectory: {{golden_angle_radial: }}\n")
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps"]
    run("reconstruct", tmp_path / "scan.mrd", *options)
    assert same(tmp_path / "maps", maps)


@pytest.mark.parametrize("matrix", [16, 64])
def test_phantom_takes_the_trajectory_of_the_protocol(tmp_path, matrix):
    (tmp_path / "protocol.yaml").write_text(f"{PROTOCOL}trajectory: {{spiral: }}\n")
    options = ["--out", tmp_path / "out", "--matrix", matrix, "--coils", 2]
    run("phantom", "--protocol", tmp_path / "protocol.yaml", *options)
    trajectory = read_ismrmrd(tmp_path / "out" / "scan.mrd").acquisition(0).trajectory
    assert not trajectory[:, 0].any()  # spirals start in the centre, spokes do not


def test_trajectory_units(tmp_path, phantom, maps):
    shutil.copy(phantom / "scan.mrd", tmp_path / "scan.mrd")
    with h5py.File(tmp_path / "scan.mrd", "r+") as file:
        table = file["dataset/data"][...]
        for record in table:
            record["traj"] *= np.float32(MATRIX)
        file["dataset/data"][...] = table
    (tmp_path / "protocol.yaml").write_text(f"{PROTOCOL}trajectory_units: cycles_per_fov\n")
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps"]
    run("reconstruct", tmp_path / "scan.mrd", *options)
    assert same(tmp_path / "maps", maps)


def test_repetitions_are_announced(tmp_path, phantom):
    options = ["--protocol", phantom / "protocol.yaml", "--out"]
    result = run("reconstruct", phantom / "scan.mrd", *options, tmp_path / "maps")
    assert "notice: 4 repetitions of the train: assumed to start from equilibrium\n" in result.stderr
    assert "doubtful" not in result.stderr
    quiet = run("reconstruct", phantom / "scan.mrd", *options, tmp_path / "quiet", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_wrong_trajectory_is_an_error_with_advice(tmp_path, phantom):
    trajectory = "trajectory: {golden_angle_radial: {angle_increment_deg: 3}}"
    (tmp_path / "protocol.yaml").write_text(PROTOCOL + trajectory)
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps"]
    result = CliRunner().invoke(app, ["reconstruct", str(phantom / "scan.mrd"), *map(str, options)])
    assert result.exit_code == 1
    advice = "if there should be an image, check trajectory, trajectory_units and sequence\n"
    assert result.stderr.endswith(advice)
    assert "left empty" not in result.stderr  # not said twice


def test_wrong_sequence_is_noticed(tmp_path, phantom, maps):
    (tmp_path / "protocol.yaml").write_text(PROTOCOL.replace("[20, 60, 40]", "[40, 5, 60, 5, 40, 10]"))
    mask = write_mask(tmp_path / "mask.nii", read(maps))
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps", "--mask", mask]
    result = run("reconstruct", phantom / "scan.mrd", *options)
    (line,) = [line for line in result.stderr.splitlines() if "doubtful" in line]
    assert line.startswith("notice: doubtful result (the readouts leave ")
    assert " % of the centre of k-space unexplained in slice 0; median correlation 0." in line
    assert line.endswith(" in slice 0): check trajectory, trajectory_units and sequence")


def test_mask_that_covers_the_image_is_noticed(tmp_path, phantom, monkeypatch):
    monkeypatch.setattr("jobs.report_checks.DOUBTFUL_MASK", 0.1)
    options = ["--protocol", phantom / "protocol.yaml", "--out"]
    result = run("reconstruct", phantom / "scan.mrd", *options, tmp_path / "maps")
    assert "doubtful result (the mask covers" in result.stderr
    mask = write_mask(tmp_path / "mask.nii", read(tmp_path / "maps"))
    result = run("reconstruct", phantom / "scan.mrd", *options, tmp_path / "masked", "--mask", mask)
    assert "doubtful" not in result.stderr  # whose mask it is, knows


def write_mask(path, maps, change=lambda mask: None):
    """Mask of maps, changed in place."""
    mask = (np.asarray(maps.dataobj) > 0).astype(np.uint8)
    change(mask)
    nib.save(nib.Nifti1Image(mask, maps.affine), path)
    return path


def test_mask_replaces_the_estimated_one(tmp_path, phantom, maps):
    def keep_upper_part(mask):
        mask[:, : MATRIX // 2 + 3] = 0

    mask = write_mask(tmp_path / "mask.nii.gz", read(maps), keep_upper_part)
    options = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps", "--mask", mask]
    run("reconstruct", phantom / "scan.mrd", *options)
    inside = np.asarray(nib.load(mask).dataobj) > 0
    np.testing.assert_array_equal(np.asarray(read(tmp_path / "maps").dataobj) > 0, inside)
    assert json.loads((tmp_path / "maps" / "provenance.json").read_text())["mask"] == "mask.nii.gz"


def test_mask_elsewhere_is_refused(tmp_path, phantom, maps):
    image = read(maps)
    affine = image.affine.copy()
    affine[0, 3] += 5
    moved = nib.Nifti1Image(np.asarray(image.dataobj), affine)
    mask = write_mask(tmp_path / "mask.nii", moved)
    options = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps", "--mask", mask]
    result = CliRunner().invoke(app, ["reconstruct", str(phantom / "scan.mrd"), *map(str, options)])
    assert result.exit_code == 1
    assert "mask.nii: lies or is oriented otherwise" in result.stderr


def test_dead_coil_is_noticed(tmp_path, phantom, maps):
    acquisition = read_ismrmrd(phantom / "scan.mrd").acquisition(0)
    kspace, noise = (
        np.concatenate([samples, np.zeros_like(samples[:1])])
        for samples in (acquisition.kspace, acquisition.noise)
    )
    write_ismrmrd(tmp_path / "scan.mrd", [replace(acquisition, kspace=kspace, noise=noise)])
    options = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps"]
    result = run("reconstruct", tmp_path / "scan.mrd", *options)
    assert "notice: slice 0: 1 coil(s) without signal or noise left out\n" in result.stderr
    (record,) = json.loads((tmp_path / "maps" / "provenance.json").read_text())["slices"]
    assert record["n_dead_coils"] == 1
    assert same(tmp_path / "maps", maps)


def test_unknown_orientation_is_noticed(tmp_path, phantom):
    shutil.copy(phantom / "scan.mrd", tmp_path / "scan.mrd")
    with h5py.File(tmp_path / "scan.mrd", "r+") as file:
        table = file["dataset/data"][...]
        for name in ("read_dir", "phase_dir", "slice_dir"):
            table["head"][name] = 0
        file["dataset/data"][...] = table
    options = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps"]
    result = run("reconstruct", tmp_path / "scan.mrd", *options)
    assert "notice: orientation unknown: " in result.stderr
    assert not json.loads((tmp_path / "maps" / "provenance.json").read_text())["orientation_known"]
    assert int(read(tmp_path / "maps").header["sform_code"]) == 0


@pytest.fixture
def slices(tmp_path):
    """Three small slices with falling position along z, each with another T1 map."""
    text = PROTOCOL.replace("60]}", "12]}")
    (tmp_path / "protocol.yaml").write_text(text)
    options = [
        "--protocol",
        tmp_path / "protocol.yaml",
        "--out",
        tmp_path / "one",
        "--matrix",
        16,
        "--coils",
        2,
    ]
    run("phantom", *options)
    one = read_ismrmrd(tmp_path / "one" / "scan.mrd").acquisition(0)
    acquisitions = []
    for number, height in enumerate((20.0, 12.0, 4.0)):
        affine = one.affine.copy()
        affine[2, 3] = height
        kspace = one.kspace * (1 + number)  # the proton density tells the slices
        acquisitions.append(replace(one, kspace=kspace, slice_index=number, affine=affine))
    return acquisitions


def reconstruct_slices(folder, acquisitions, reconstruction=""):
    write_ismrmrd(folder / "scan.mrd", acquisitions)
    text = (folder / "protocol.yaml").read_text()
    (folder / "protocol.yaml").write_text(text.replace("iterations: 3", f"iterations: 3{reconstruction}"))
    options = ["--protocol", folder / "protocol.yaml", "--out", folder / "maps"]
    return CliRunner().invoke(app, ["reconstruct", *map(str, [folder / "scan.mrd", *options])])


def test_slices_are_stacked_along_their_normal(tmp_path, slices):
    result = reconstruct_slices(tmp_path, slices)
    assert result.exit_code == 0, result.output
    image = read(tmp_path / "maps", "PDmap")
    assert image.shape == (16, 16, 3)
    expected = slices[0].affine.copy()
    expected[:3, 2], expected[2, 3] = [0, 0, 8], 4  # gaps of 3 mm between slices of 5 mm
    np.testing.assert_allclose(image.affine, expected, atol=1e-4)  # float32 positions
    densities = [np.median(plane[plane > 0]) for plane in np.moveaxis(np.asarray(image.dataobj), 2, 0)]
    np.testing.assert_allclose(np.array(densities) / densities[2], [3, 2, 1], rtol=1e-2)  # noise in the mask
    for number in range(3):
        assert (tmp_path / "maps" / "figures" / f"slice-{number:02d}.png").is_file()
    records = json.loads((tmp_path / "maps" / "provenance.json").read_text())["slices"]
    assert [record["slice"] for record in records] == [2, 1, 0]


def test_chosen_slices(tmp_path, slices):
    result = reconstruct_slices(tmp_path, slices, ", slices: [1]")
    assert result.exit_code == 0, result.output
    image = read(tmp_path / "maps", "PDmap")
    assert image.shape == (16, 16, 1)
    np.testing.assert_allclose(image.affine, slices[1].affine, atol=1e-4)


@pytest.mark.parametrize("shift", [5.0, -8.0])  # an uneven gap; two slices in one place
def test_uneven_slices_are_refused(tmp_path, slices, shift):
    affine = slices[0].affine.copy()
    affine[2, 3] += shift
    result = reconstruct_slices(tmp_path, [replace(slices[0], affine=affine), *slices[1:]])
    assert result.exit_code == 1
    assert "the slices do not form a volume" in result.stderr
    assert not (tmp_path / "maps").exists()


def without_signal(acquisition):
    return replace(acquisition, kspace=np.zeros_like(acquisition.kspace))


def noise_only(acquisition):
    rng = np.random.default_rng(0)
    return replace(acquisition, kspace=rng.choice(acquisition.noise[0], acquisition.kspace.shape))


@pytest.mark.parametrize(
    ("empty", "reason"),
    [(without_signal, "the k-space is zero everywhere"), (noise_only, "the k-space holds no more energy")],
)
def test_slice_without_signal_is_left_empty(tmp_path, slices, empty, reason):
    slices[1] = empty(slices[1])
    result = reconstruct_slices(tmp_path, slices)
    assert result.exit_code == 0, result.output
    assert f"notice: slice 1 is left empty: {reason}" in result.stderr
    for name in MAPS:
        volume = np.asarray(read(tmp_path / "maps", name).dataobj)
        assert [bool(plane.any()) for plane in np.moveaxis(volume, 2, 0)] == [True, False, True]
    records = json.loads((tmp_path / "maps" / "provenance.json").read_text())["slices"]
    assert [record["n_voxels"] > 0 for record in records] == [True, False, True]
    assert reason in records[1]["left_empty"]
    figures = sorted(path.name for path in (tmp_path / "maps" / "figures").iterdir())
    assert figures == ["coils-00.png", "coils-02.png", "slice-00.png", "slice-02.png"]


def test_slice_that_fails_late_does_not_cost_the_others(tmp_path, slices, monkeypatch):
    def fails_for_one(acquisition, *arguments, **options):
        if acquisition.slice_index == 0:
            raise ValueError("no region of the image stands out")
        return reconstruct(acquisition, *arguments, **options)

    monkeypatch.setattr("jobs.slice_job.reconstruct", fails_for_one)
    result = reconstruct_slices(tmp_path, slices)
    assert result.exit_code == 0, result.output
    assert "notice: slice 0 is left empty: no region of the image stands out\n" in result.stderr
    volume = np.asarray(read(tmp_path / "maps").dataobj)
    assert [bool(plane.any()) for plane in np.moveaxis(volume, 2, 0)] == [True, True, False]


def test_all_slices_empty(tmp_path, slices, monkeypatch):
    def fails(*_arguments, **_options):
        raise ValueError("no region of the image stands out")

    monkeypatch.setattr("jobs.slice_job.reconstruct", fails)
    result = reconstruct_slices(tmp_path, slices)
    assert result.exit_code == 1
    assert "error: " in result.stderr
    assert "slice 2: no region of the image stands out; if there should" in result.stderr
    assert not (tmp_path / "maps").exists()


def test_refined_maps_have_standard_errors(tmp_path, slices):
    slices[1] = without_signal(slices[1])
    write_ismrmrd(tmp_path / "scan.mrd", slices)
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps", "--refine"]
    run("reconstruct", tmp_path / "scan.mrd", *options)
    t1, error = (
        np.asarray(read(tmp_path / "maps", name).dataobj) for name in ("T1map", "desc-standarderror_T1map")
    )
    grid = load_protocol(tmp_path / "protocol.yaml").grid.t1
    inside = t1 > 0
    assert np.isclose(t1[inside][:, np.newaxis], grid, rtol=1e-4).any(axis=1).mean() < 0.2
    assert (error[np.isfinite(error)] > 0).all()
    assert np.isfinite(error[inside]).mean() > 0.5  # the grid is coarse and small: many end at a bound
    assert np.isnan(error[~inside]).all()
    content = json.loads((tmp_path / "maps" / "provenance.json").read_text())
    assert content["refined_with"]["model"] == "EPGBloch"
    assert content["slices"][0]["refinement"].keys() == {"n_not_converged", "n_at_bound"}


def test_regions_and_truth(tmp_path, phantom, maps, with_figures):
    regions = np.zeros((MATRIX, MATRIX, 1), np.int16)
    regions[20:24, 20:24] = 5
    nib.save(nib.Nifti1Image(regions, read(maps).affine), tmp_path / "roi.nii.gz")
    options = ["--roi", tmp_path / "roi.nii.gz", "--truth", phantom / "truth", "--out", tmp_path / "maps"]
    result = run("reconstruct", phantom / "scan.mrd", "--protocol", phantom / "protocol.yaml", *options)
    for name in ("report.html", "report_regions.tsv", "report_errors.tsv"):
        assert f"wrote {tmp_path}/maps/{name}\n" in result.stdout
    rows = (tmp_path / "maps" / "report_regions.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["index", "5"]
    content = json.loads((tmp_path / "maps" / "provenance.json").read_text())
    assert (content["roi"], content["truth"]) == ("roi.nii.gz", "truth")
    again = run("report", tmp_path / "maps", "--roi", tmp_path / "roi.nii.gz")
    assert "wrote " in again.stdout
    assert (tmp_path / "maps" / "report_regions.tsv").read_text().splitlines() == rows


@pytest.mark.parametrize("option", ["--roi", "--truth"])
def test_regions_and_truth_are_checked_before_the_work(tmp_path, phantom, monkeypatch, option):
    begun = interrupted_after(1, monkeypatch)
    options = ["--protocol", phantom / "protocol.yaml", "--out", tmp_path / "maps", option, tmp_path / "x"]
    result = CliRunner().invoke(app, ["reconstruct", str(phantom / "scan.mrd"), *map(str, options)])
    assert result.exit_code == 1
    assert "/x" in result.stderr
    assert begun == []


def test_mask_has_the_slices_of_the_maps(tmp_path, slices):
    assert reconstruct_slices(tmp_path, slices).exit_code == 0

    def only_second(mask):
        mask[..., [0, 2]] = 0
        mask[:8, :, 1] = 0

    mask = write_mask(tmp_path / "mask.nii", read(tmp_path / "maps"), only_second)
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "masked", "--mask", mask]
    result = run("reconstruct", tmp_path / "scan.mrd", *options)
    for number in (0, 2):
        assert f"slice {number} is left empty: the mask is empty there\n" in result.stderr
    volume = np.asarray(read(tmp_path / "masked").dataobj)
    np.testing.assert_array_equal(volume > 0, np.asarray(nib.load(mask).dataobj) > 0)


def interrupted_after(n_slices, monkeypatch):
    """Let the reconstruction be interrupted in slice n_slices + 1; return the slices that it began."""
    begun = []

    def counted(acquisition, *arguments, **options):
        begun.append(acquisition.slice_index)
        if len(begun) > n_slices:
            raise KeyboardInterrupt
        return reconstruct(acquisition, *arguments, **options)

    monkeypatch.setattr("jobs.slice_job.reconstruct", counted)
    return begun


def image_bytes(folder):
    return {path.name: path.read_bytes() for path in folder.glob("sub-*/*/*.nii.gz")}


def test_interrupted_run_continues(tmp_path, slices, monkeypatch):
    assert reconstruct_slices(tmp_path, slices).exit_code == 0
    undisturbed = image_bytes(tmp_path / "maps")
    assert len(undisturbed) == len(MAPS)
    shutil.rmtree(tmp_path / "maps")

    interrupted_after(1, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    assert not (tmp_path / "maps").exists()
    assert [path.name for path in (tmp_path / "maps.parts").glob("*.npz")] == ["slice-0002.npz"]

    begun = interrupted_after(3, monkeypatch)
    result = reconstruct_slices(tmp_path, slices)
    assert result.exit_code == 0, result.output
    assert "notice: 1 of 3 slices are found in " in result.stderr
    assert begun == [1, 0]
    assert image_bytes(tmp_path / "maps") == undisturbed
    assert not (tmp_path / "maps.parts").exists()
    records = json.loads((tmp_path / "maps" / "provenance.json").read_text())["slices"]
    assert [len(record["relative_residuals"]) for record in records] == [4, 4, 4]


def test_interrupted_lr_admm_continues(tmp_path, slices, monkeypatch):
    """Blocks of the regularisation lie as if the slices before had been reconstructed."""
    admm = "admm: {iterations: 3, inner_iterations: 3, locally_low_rank: 0.1, block: 5}"
    assert reconstruct_slices(tmp_path, slices, f", method: lr-admm, {admm}").exit_code == 0
    undisturbed = image_bytes(tmp_path / "maps")
    shutil.rmtree(tmp_path / "maps")
    interrupted_after(2, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    begun = interrupted_after(3, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 0
    assert begun == [0]
    assert image_bytes(tmp_path / "maps") == undisturbed


def test_slices_of_another_method_are_refused(tmp_path, slices, monkeypatch):
    interrupted_after(1, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps", "--method", "lr-admm"]
    result = CliRunner().invoke(app, ["reconstruct", *map(str, [tmp_path / "scan.mrd", *options])])
    assert result.exit_code == 1
    assert "of another recipe or version (method is low-rank, not lr-admm)" in result.stderr
    assert (tmp_path / "maps.parts" / "slice-0002.npz").exists()


def test_damaged_slice_is_made_again(tmp_path, slices, monkeypatch):
    interrupted_after(2, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    part = tmp_path / "maps.parts" / "slice-0001.npz"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    begun = interrupted_after(3, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 0
    assert begun == [1, 0]


@pytest.mark.parametrize("change", ["options", "scan"])
def test_slices_of_other_settings_are_refused(tmp_path, slices, monkeypatch, change):
    interrupted_after(1, monkeypatch)
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    if change == "options":
        result = reconstruct_slices(tmp_path, slices, ", correct_receive_field: false")
        difference = "options differs; protocol differs"
    else:
        result = reconstruct_slices(tmp_path, [replace(slices[0], kspace=2 * slices[0].kspace), *slices[1:]])
        difference = "scan differs"
    assert result.exit_code == 1
    expected = f"holds parts of a result of epgbloch reconstruct of another recipe or version ({difference})"
    assert expected in result.stderr
    assert (tmp_path / "maps.parts" / "slice-0002.npz").exists()


KILLED = """
import os, signal, sys
import jobs.slice_job
from jobs.cli import main

original, calls = jobs.slice_job.reconstruct, []

def kills(*arguments, **options):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

jobs.slice_job.reconstruct = kills
main()
"""


@pytest.mark.slow
def test_killed_run_continues(tmp_path, slices, monkeypatch):
    assert reconstruct_slices(tmp_path, slices).exit_code == 0
    undisturbed = image_bytes(tmp_path / "maps")
    shutil.rmtree(tmp_path / "maps")
    options = ["--protocol", tmp_path / "protocol.yaml", "--out", tmp_path / "maps"]
    arguments = ["reconstruct", tmp_path / "scan.mrd", *options]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "maps").exists()
    begun = interrupted_after(3, monkeypatch)
    run(*arguments)
    assert begun == [1, 0]
    assert image_bytes(tmp_path / "maps") == undisturbed
    assert {path.name for path in tmp_path.iterdir()} == {"maps", "one", "protocol.yaml", "scan.mrd"}


def test_run_without_finished_slices_leaves_nothing(tmp_path, slices, monkeypatch):
    interrupted_after(0, monkeypatch)
    before = {*tmp_path.iterdir(), tmp_path / "scan.mrd"}
    assert reconstruct_slices(tmp_path, slices).exit_code == 130
    assert {*tmp_path.iterdir()} == before
