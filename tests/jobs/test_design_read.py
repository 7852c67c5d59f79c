"""`epgbloch design read`: what it tells, and what it writes can be used."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from design.pulseq.read import read_pulseq
from epgbloch import EPGBloch, Tissue
from jobs.cli import app
from jobs.design_read import scan_facts, trajectory_kind
from jobs.protocol import load_protocol

FLIP_ANGLE = np.deg2rad(np.linspace(10, 60, 16))
QUADRATIC = np.deg2rad(50) * np.cumsum(np.arange(16)) % (2 * np.pi)


@pytest.fixture
def fisp(write_train):
    return write_train("fisp to read", FLIP_ANGLE, readout="spokes", inversion="inversion", phase=QUADRATIC)


def read(*arguments):
    return CliRunner().invoke(app, ["design", "read", *map(str, arguments)])


def test_what_it_tells(fisp):
    result = read(fisp)
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    for fact in (
        "flip angle 10 to 60 degrees",
        "RF phase quadratic, increment 50 degrees",
        "TR 14 ms",
        "TE 5 ms",
        "inversion 20 ms before the first pulse",
        "RF pulse 1 ms, 1000 steps, 4000 Hz over 5 mm (18.79 mT/m)",
        "spoiling gradient, x 0 y 0 z 4 cycles over a voxel",
        "spokes along x and y, 16 readouts of 32 samples, 20 us each",
        "field of view 256 x 256 mm, matrix 32 x 32",
        "duration 0.24394 s",  # the inversion pulse starts 0.6 ms before its centre, and the train 0.6 ms
    ):
        assert fact in told, told


def test_the_folder_can_be_used(fisp, tmp_path):
    out = tmp_path / "read"
    result = read(fisp, "--out", out, "--t1-ms", "900,500", "--t2-ms", "85")
    assert result.exit_code == 0, result.output
    names = {"figure.png", "protocol.yaml", "provenance.json", "sequence.csv", "signal.csv", fisp.name}
    assert {path.name for path in out.iterdir()} == names
    scan = read_pulseq(fisp)
    protocol = load_protocol(out / "protocol.yaml")
    np.testing.assert_allclose(protocol.sequence.flip_angle, scan.sequence.flip_angle, rtol=1e-11)
    np.testing.assert_allclose(protocol.sequence.phase, scan.sequence.phase, atol=1e-11)
    expected = scan.cycles_per_pixel((32, 32))
    np.testing.assert_array_equal(protocol.trajectory(16, 32, (32, 32)), expected)
    with (out / "signal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    signal = np.array([complex(float(row["signal_real"]), float(row["signal_imag"])) for row in rows])
    model = EPGBloch().signal(scan.sequence, Tissue([0.9, 0.5], 0.085))
    np.testing.assert_allclose(signal.reshape(2, 16), model, rtol=0, atol=1e-7)  # 8 digits
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["facts"]["TE"] == "5 ms"
    again = read(fisp, "--out", out)
    assert again.exit_code == 1
    assert "--force" in again.output
    assert read(fisp, "--out", out, "--force").exit_code == 0
    assert not (out / "signal.csv").exists()


def test_a_train_with_pulses_that_are_not_read_has_no_trajectory(write_train, tmp_path):
    path = write_train("dummies to read", FLIP_ANGLE, n_dummies=4, spoiler=0.0, tr=14e-3)
    result = read(path, "--out", tmp_path / "read")
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "16, 4 without readout" in told
    assert "none (balanced)" in told
    protocol = load_protocol(tmp_path / "read" / "protocol.yaml")
    assert protocol.trajectory is None
    assert protocol.sequence.spoiling == "balanced"


def test_the_thickness_and_the_gap_are_options(write_train):
    path = write_train("thin", FLIP_ANGLE, definitions=False)
    assert "no definition SliceThickness" in read(path).output
    told = " ".join(read(path, "--slice-thickness-mm", 4).output.split())
    assert "over 4 mm (18.79 mT/m)" in told
    # without labels TRID there are no segments
    assert "TR 14 ms" in " ".join(read(path, "--segment-gap-us", 100).output.split())


def test_faults_end_in_one_line(write_train, tmp_path):
    wrong = write_train("wrong to read", FLIP_ANGLE, wrong="two echoes")
    for arguments, message in (
        ([wrong], "the ADC of block 5 is the second one"),
        ([tmp_path / "none.seq"], "No such file"),
        ([wrong, "--t1-ms", "900"], "give --out"),
        ([wrong, "--t1-ms", "a", "--out", tmp_path], "--t1-ms a: give numbers"),
    ):
        result = read(*arguments)
        assert result.exit_code == 1
        assert message in result.output
        assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "kind"),
    [({}, "lines"), ({"readout": "spokes"}, "spokes"), ({"readout": "spirals"}, "curves")],
)
def test_kinds_of_trajectories(write_train, options, kind):
    scan = read_pulseq(write_train(f"kind {kind}", FLIP_ANGLE, **options))
    assert trajectory_kind(scan.trajectory) == kind
    shifted = scan.trajectory + np.array([0.0, 30.0])  # spokes beside the centre
    assert trajectory_kind(shifted) == {"spokes": "straight readouts"}.get(kind, kind)


def test_phases_in_words(write_train):
    for phase, words in (
        (0.0, "constant"),
        (np.pi * (np.arange(16) % 2), "rises by 180 degrees a pulse"),
        (np.array([0.0, 1, 0, 2] * 4), "varies"),
    ):
        scan = read_pulseq(write_train(f"phase {words}", FLIP_ANGLE, phase=phase))
        assert scan_facts(scan)["RF phase"] == words
