"""Cartesian raw data, and such without noise, from a phantom to maps by the command line."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from jobs.cli import app
from jobs.protocol import load_protocol
from reconstruction.phantom_templates import TISSUES, analytic_head
from reconstruction.rawdata import read_ismrmrd

MATRIX = 48
NO_NOISE = "no noise readouts in the raw data"
LINES = np.random.default_rng(0).integers(0, MATRIX, 180)  # a third of the readouts below
PROTOCOL = {
    "sequence": {
        "flip_angle_deg": {"train": "sin_squared", "n_pulses": 60, "angles_deg": [20, 60, 40]},
        "tr_ms": 12,
        "te_ms": 4,
        "inversion_time_ms": 20,
    },
    "dictionary": {"t1_ms": {"log": [200, 5000, 60]}, "t2_ms": {"log": [20, 2500, 60]}, "rank": 4},
    "reconstruction": {"coils": "adaptive"},
}


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def maps(folder, *names):
    images = (next(folder.glob(f"sub-*/*/*_{name}.nii.gz")) for name in names)
    return [np.asarray(nib.load(image).dataobj)[:, :, 0].T for image in images]


def test_phantom_of_random_lines_gives_the_true_maps(tmp_path):
    (tmp_path / "lines.csv").write_text("\n".join(["lines", *map(str, LINES)]))
    trajectory = {"cartesian": {"lines": {"csv": "lines.csv"}}}
    (tmp_path / "lines.yaml").write_text(yaml.safe_dump({**PROTOCOL, "trajectory": trajectory}))
    phantom = tmp_path / "phantom"
    arguments = ["--matrix", MATRIX, "--coils", 4, "--repetitions", 9, "--snr", 100, "--out", phantom]
    run("phantom", "--protocol", tmp_path / "lines.yaml", *arguments)
    with h5py.File(phantom / "scan.mrd") as file:
        heads = file["dataset/data"]["head"][1:]
    np.testing.assert_array_equal(heads["idx"]["kspace_encode_step_1"], np.tile(LINES, 3))
    assert not heads["trajectory_dimensions"].any()

    # Lines of the protocol beside the file, which holds the numbers, are those of the file.
    computed = load_protocol(phantom / "protocol.yaml").trajectory
    ours = read_ismrmrd(phantom / "scan.mrd", trajectory=computed).acquisition(0).trajectory
    theirs = read_ismrmrd(phantom / "scan.mrd").acquisition(0).trajectory
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7)  # float32

    (tmp_path / "file.yaml").write_text(yaml.safe_dump(PROTOCOL))
    options = ["--protocol", tmp_path / "file.yaml", "--out", tmp_path / "maps"]
    assert NO_NOISE not in run("reconstruct", phantom / "scan.mrd", *options).stderr
    head = analytic_head((MATRIX, MATRIX), n_coils=4)
    t1, t2 = maps(tmp_path / "maps", "T1map", "T2map")
    voxels = head.pure_mask() & (head.label == head.names.index("white matter") + 1)
    assert voxels.sum() > 20
    true_t1, true_t2, _ = TISSUES["white matter"]
    assert np.median(t1[voxels]) == pytest.approx(true_t1, rel=0.056)  # one step of the grid
    assert np.median(t2[voxels]) == pytest.approx(true_t2, rel=0.17)  # two
    # Neither shifted nor flipped: a pixel moves the borders of the tissues.
    truth, pure = head.truth().t1, head.pure_mask()

    def error(image):
        return np.mean(np.abs(image[pure] / truth[pure] - 1))

    for wrong in (np.roll(t1, 1, 0), np.roll(t1, 1, 1), t1[::-1], t1[:, ::-1]):
        assert error(wrong) > 1.5 * error(t1)  # measured: 1.8 at least


def test_missing_noise_is_noticed(tmp_path):
    (tmp_path / "protocol.yaml").write_text(yaml.safe_dump(PROTOCOL))
    protocol = ["--protocol", tmp_path / "protocol.yaml", "--out"]
    run("phantom", *protocol, tmp_path / "phantom", "--matrix", 32, "--coils", 3, "--repetitions", 2)
    scan = tmp_path / "phantom" / "scan.mrd"
    with h5py.File(scan, "r+") as file:
        table = file["dataset/data"][1:]  # row 0 is the noise
        del file["dataset/data"]
        file["dataset"].create_dataset("data", data=table, maxshape=(None,), chunks=(64,))
    result = run("reconstruct", scan, *protocol, tmp_path / "maps")
    assert [line for line in result.stderr.splitlines() if NO_NOISE in line] == [
        f"notice: {NO_NOISE}: the coils are not prewhitened"
    ]
    (t1,) = maps(tmp_path / "maps", "T1map")
    assert t1.any()
