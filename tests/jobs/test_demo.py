"""`epgbloch demo`: its table of errors, and the whole run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from jobs.demo import tissue_errors
from reconstruction.phantom_templates import analytic_head

ARGUMENTS = ["demo", "--out", "demo"]


def test_errors_of_the_truth_are_zero_whatever_the_scale_of_pd():
    phantom = analytic_head((64, 64), n_coils=1)
    truth = phantom.truth()
    errors = tissue_errors(phantom, replace(truth, pd=3j * truth.pd))
    assert {error.tissue for error in errors} == set(phantom.names)
    for error in errors:
        # Single precision; a tissue that fills 95 % of a voxel has 5 % less PD.
        assert error.percent == pytest.approx(0, abs=5 if error.quantity == "PD" else 1e-4)


def test_errors_are_those_of_the_median_in_pure_voxels():
    phantom = analytic_head((64, 64), n_coils=1)
    truth = phantom.truth()
    white = phantom.label == 1
    t1 = np.where(white, 1.1 * truth.t1, truth.t1)
    t1[~phantom.pure_mask()] *= 7
    t2 = truth.t2.copy()
    t2[tuple(np.argwhere(white & phantom.pure_mask())[0])] = 0.001  # one outlier
    errors = {
        (error.tissue, error.quantity): error
        for error in tissue_errors(phantom, replace(truth, t1=t1, t2=t2))
    }
    result = errors["white matter", "T1"]
    assert (result.truth, result.median) == (pytest.approx(832), pytest.approx(1.1 * 832))
    assert result.percent == pytest.approx(10, abs=1e-3)  # single precision
    assert errors["white matter", "T2"].percent == pytest.approx(0, abs=1e-3)
    assert errors["fat", "T1"].percent == pytest.approx(0, abs=1e-3)


def test_foreign_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(app, [*ARGUMENTS, "--quiet"])
    assert result.exit_code == 1
    assert "demo holds thesis.txt" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


@pytest.mark.slow
def test_demo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ARGUMENTS)
    assert result.exit_code == 0, result.output
    for text in ("white matter", "Open demo/figure.png", "Next: epgbloch reconstruct demo/phantom/scan.mrd"):
        assert text in result.stdout
    for name in ("figure.png", "dictionary.h5", "phantom/scan.mrd", "maps/sub-01/anat/sub-01_T1map.nii.gz"):
        assert (tmp_path / "demo" / name).is_file()
    errors = json.loads((tmp_path / "demo" / "provenance.json").read_text())["errors"]
    assert len(errors) == 18
    for error in errors:
        # Half a step of the grid is 0.9 % in T1 and 1.3 % in T2; the ribbon of gray matter and the fluid
        # are 2 pixels wide, so that the missing corners of k-space reach them.
        assert abs(error["error_percent"]) < 6, error
