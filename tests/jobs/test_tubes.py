"""Maps from independent raw data: neither its phantom nor its signals come from this project.

The data are not part of the project. Their folder is ``EPGBLOCH_TUBES``, or ``shared/data`` beside it.
"""

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_erosion
from typer.testing import CliRunner

import jobs.cli
from jobs.cli import app
from reconstruction.bids import read_bids

DEFAULT_FOLDER = Path(jobs.cli.__file__).parents[2] / "shared" / "data"
FOLDER = Path(os.environ.get("EPGBLOCH_TUBES", DEFAULT_FOLDER))
SCAN, SEQUENCE, LABELS, TRUTH = (
    FOLDER / f"tubes_fisp_radial{ending}"
    for ending in (".mrd", "_sequence.csv", "_labels.npy", "_truth.json")
)

pytestmark = pytest.mark.skipif(
    not SCAN.is_file(), reason=f"{SCAN.name} is not in {FOLDER}; set EPGBLOCH_TUBES to its folder"
)

PROTOCOL = """
sequence:
  flip_angle_deg: {{csv: {csv}}}
  phase_deg: {{csv: {csv}}}
  tr_ms: {{csv: {csv}}}
  te_ms: {{csv: {csv}}}
  inversion_time_ms: 20
dictionary:
  t1_ms: {{log: [200, 3000, 100]}}
  t2_ms: {{log: [20, 500, 100]}}
  rank: 5
"""


def reconstructed(tmp_path_factory, *options):
    """T1 [s], T2 [s] and PD of the command line, axes (x, y)."""
    folder = tmp_path_factory.mktemp("tubes")
    (folder / "protocol.yaml").write_text(PROTOCOL.format(csv=SEQUENCE))
    arguments = ["reconstruct", str(SCAN), "--protocol", str(folder / "protocol.yaml"), "--out"]
    result = CliRunner().invoke(app, [*arguments, str(folder / "maps"), *options])
    assert result.exit_code == 0, result.output
    anat = folder / "maps" / "sub-01" / "anat"
    images = {name: nib.load(anat / f"sub-01_{name}.nii.gz") for name in ("T1map", "T2map", "PDmap")}
    return {name: np.asarray(image.dataobj)[:, :, 0] for name, image in images.items()}


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Maps by low-rank inversion."""
    return reconstructed(tmp_path_factory)


@pytest.fixture(scope="module")
def compartments():
    """Truth of each compartment and its voxels, one pixel away from the edge."""
    labels = np.load(LABELS)  # axis 0 is x, as in the NIfTI images
    truth = json.loads(TRUTH.read_text())["compartments"]
    assert len(truth) == 11
    return [(item, binary_erosion(labels == item["label"])) for item in truth]


def test_compartments_hold_voxels_of_the_maps(maps, compartments):
    for item, voxels in compartments:
        assert voxels.sum() > 20, item
        assert (maps["T1map"][voxels] > 0).all(), item  # within the mask


@pytest.mark.parametrize(("name", "key", "tolerance"), [("T1map", "t1_ms", 0.03), ("T2map", "t2_ms", 0.05)])
def test_relaxation_times(maps, compartments, name, key, tolerance):
    # Asked of the project: medians within 3 % (T1) and 5 % (T2); half a grid step is 1.4 % and 1.6 %.
    errors = [1e3 * np.median(maps[name][voxels]) / item[key] - 1 for item, voxels in compartments]
    np.testing.assert_allclose(errors, 0, atol=tolerance)


def test_proton_density_ratios(maps, compartments):
    # Asked of the project: within 5 %. The receive field, which varies by 13 %, is left with 1.6 %.
    ratios = np.array([np.median(maps["PDmap"][voxels]) / item["pd"] for item, voxels in compartments])
    np.testing.assert_allclose(ratios / np.median(ratios), 1, atol=0.05)


def test_lr_admm_is_right_and_less_noisy(tmp_path_factory, maps, compartments):
    held = reconstructed(tmp_path_factory, "--method", "lr-admm")
    # Asked of the project: medians within 2 % (T1) and 4 % (T2), and no larger standard deviations.
    for name, key, tolerance in (("T1map", "t1_ms", 0.02), ("T2map", "t2_ms", 0.04)):
        for item, voxels in compartments:
            assert 1e3 * np.median(held[name][voxels]) == pytest.approx(item[key], rel=tolerance), (
                name,
                item,
            )
            assert held[name][voxels].std() <= maps[name][voxels].std(), (name, item)


@pytest.mark.slow
def test_refined_maps_and_their_standard_errors(tmp_path, compartments):
    (tmp_path / "protocol.yaml").write_text(PROTOCOL.format(csv=SEQUENCE))
    options = ["--protocol", tmp_path / "protocol.yaml", "--refine", "--out", tmp_path / "maps"]
    result = CliRunner().invoke(app, ["reconstruct", str(SCAN), *map(str, options)])
    assert result.exit_code == 0, result.output
    (maps,) = read_bids(tmp_path / "maps").maps
    for item, voxels in compartments:
        # Measured: medians within 0.5 % (T1) and 1.4 % (T2), below the step of the grid of 2.8 % and 3.3 %;
        # standard deviation within a compartment 0.95 to 2.05 times its median standard error.
        for name, tolerance in (("t1", 0.01), ("t2", 0.025)):
            values = getattr(maps, name).T[voxels].astype(np.float64)
            errors = getattr(maps, f"{name}_std").T[voxels]
            assert 1e3 * np.median(values) == pytest.approx(item[f"{name}_ms"], rel=tolerance)
            assert 0.7 < values.std() / np.nanmedian(errors) < 2.5, (item, name)
