"""epgbloch design compare and export, on designs and protocols."""

import json

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from design import Criterion
from epgbloch import EPGBloch, Tissue
from jobs.cli import app
from jobs.protocol import load_protocol

PROTOCOL = {
    "sequence": {
        "flip_angle_deg": {"train": "sin_squared", "n_pulses": 30, "angles_deg": [40, 70]},
        "tr_ms": 9,
        "te_ms": 4,
        "inversion_time_ms": 15,
        "pulse": {"shape": "gaussian", "duration_ms": 1, "slice_thickness_mm": 3, "n_steps": 50},
    },
    "trajectory": {"cartesian": {"lines": "sequential"}},
    "scan": {"matrix": [32, 30], "fov_mm": 200, "dwell_us": 12, "spoiler_cycles": 6},
}
CRITERION = {"tissues": {"t1_ms": 900, "t2_ms": 85}, "criterion": {"parameters": ["t1", "ln_t2"]}}


def invoke(*arguments):
    return CliRunner().invoke(app, ["design", *map(str, arguments)])


@pytest.fixture
def files(tmp_path):
    def write(name, content):
        (tmp_path / name).write_text(yaml.safe_dump(content))
        return tmp_path / name

    other = {"sequence": {**PROTOCOL["sequence"], "flip_angle_deg": 10, "n_pulses": 30}}
    return write("one.yaml", PROTOCOL), write("two.yaml", other), write("criterion.yaml", CRITERION)


def test_values_are_those_of_the_criterion(files, tmp_path):
    one, two, criterion = files
    result = invoke("compare", one, two, "--criterion", criterion, "--snr", 50, "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "c" / "comparison.json").read_text())
    wanted = Criterion(Tissue(t1=0.9, t2=0.085), ("t1", "ln_t2"))
    for path in (one, two):
        sequence = load_protocol(path).sequence
        values = record["sequences"][path.stem]
        assert values["value"] == wanted.of(EPGBloch(), sequence)
        bounds = wanted.bounds(EPGBloch(), sequence)
        np.testing.assert_array_equal(values["bounds"], bounds)
        for cell in (f"{1e3 * bounds[0, 0] / 50:.3g}", f"{100 * bounds[0, 1] / 50:.3g}"):  # ms and per cent
            assert cell in result.output
    page = (tmp_path / "c" / "report.html").read_text()
    assert page.count("data:image/png") == 3


def test_comparisons_that_make_no_sense(files, tmp_path):
    one, two, _ = files
    for arguments, message in (
        ((one,), "two or more"),
        ((one, two), "has no criterion"),
        ((one, two, "--snr", "inf"), "--snr=inf is not finite"),
        ((one, tmp_path), "design.json: No such file"),
    ):
        result = invoke("compare", *arguments, "--out", tmp_path / "c")
        assert result.exit_code == 1
        assert message in result.stderr
        assert not (tmp_path / "c").exists()


def test_export_is_read_back(files, tmp_path):
    one, two, _ = files
    result = invoke("export", one, "--scanner", "philips", "--out", tmp_path / "e")
    assert result.exit_code == 0, result.output
    assert "Read back: signals within" in result.output
    assert {p.name for p in (tmp_path / "e").iterdir()} == {
        "e.seq",
        "e.txt",
        "protocol.yaml",
        "provenance.json",
    }
    played, wanted = load_protocol(tmp_path / "e" / "protocol.yaml"), load_protocol(one)
    np.testing.assert_allclose(played.sequence.flip_angle, wanted.sequence.flip_angle, atol=1e-4)
    # matrix and field of view keep their axes: 30 lines along y of 64 samples along x
    trajectory = played.trajectory(30, 64, (30, 32))
    np.testing.assert_allclose(trajectory, wanted.trajectory(30, 64, (30, 32)), atol=1e-3)
    result = invoke("export", two, "--out", tmp_path / "f")
    assert result.exit_code == 1
    assert "scan: missing" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": [32, 30.5]}, "scan.matrix: must hold whole numbers"),
        ({"matrix": [1, 2, 3]}, "scan.matrix: takes one number or [x, y]"),
        ({"scanner": "simens"}, "scan.scanner: must be one of siemens, ge, philips"),
        ({"scanner": {"preset": "ge", "max_gradient": 3}}, "did you mean max_gradient_mt_m?"),
        ({"inversion": {"kind": "sinc"}}, "scan.inversion.kind: must be one of adiabatic, block"),
        ({"spoiler_cycles": 0.5}, "scan.spoiler_cycles: must be finite and at least 1"),
        ({"dwell_us": 0.13}, "dwell"),
        ({"scanner": {"max_b1_ut": 0.5}}, "B1 peak"),
    ],
)
def test_scans_that_cannot_be(files, tmp_path, change, message):
    path = files[0]
    path.write_text(yaml.safe_dump({**PROTOCOL, "scan": {**PROTOCOL["scan"], **change}}))
    result = invoke("export", path, "--out", tmp_path / "e")
    assert result.exit_code == 1
    assert message in result.stderr
    assert not (tmp_path / "e").exists()


def test_a_design_of_tissues_in_a_csv_file_can_be_compared(files, tmp_path):
    (tmp_path / "tissues.csv").write_text("t1_ms,t2_ms\n900,85\n500,65\n")
    tissues = {"t1_ms": {"csv": "tissues.csv"}, "t2_ms": {"csv": "tissues.csv"}}
    vary = {"flip_angle_deg": {"knots": 3, "range": [5, 80]}}
    sequence = yaml.safe_load(files[1].read_text())["sequence"]
    content = {
        "sequence": sequence,
        "tissues": tissues,
        "vary": vary,
        "optimiser": {"starts": 1, "iterations": 2},
    }
    (tmp_path / "design.yaml").write_text(yaml.safe_dump(content))
    result = invoke("run", tmp_path / "design.yaml", "--out", tmp_path / "out" / "d")
    assert result.exit_code == 0, result.output
    result = invoke("compare", tmp_path / "out" / "d", files[1], "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "c" / "comparison.json").read_text())["tissues"] == ["900/85", "500/65"]
