"""`epgbloch simulate`: the files hold the signals of the engine."""

import csv

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from epgbloch import EPGBloch, Sequence, Tissue
from jobs.cli import app

PROTOCOL = "sequence: {flip_angle_deg: [20, 40, 60, 30], phase_deg: [0, 90, 0, 0], tr_ms: 10, te_ms: 4}\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "protocol.yaml").write_text(PROTOCOL)
    return tmp_path


@pytest.fixture
def expected():
    sequence = Sequence(np.deg2rad([20, 40, 60, 30]), tr=0.010, te=0.004, phase=np.deg2rad([0, 90, 0, 0]))
    tissue = Tissue(t1=[0.8, 1.3], t2=[0.08, 0.11], b1=0.9, off_resonance=[0, 20])
    return EPGBloch().signal(sequence, tissue)


ARGUMENTS = [
    "--t1-ms",
    "800,1300",
    "--t2-ms",
    "80",
    "--t2-ms",
    "110",
    "--b1",
    "0.9",
    "--off-resonance-hz",
    "0,20",
]


def simulate(*arguments):
    result = CliRunner().invoke(app, ["simulate", "protocol.yaml", *ARGUMENTS, *arguments])
    assert result.exit_code == 0, result.output
    return result


def test_csv(place, expected):
    result = simulate("--out", "signal.csv")
    assert result.stdout == "wrote signal.csv\n"
    with open("signal.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    values = {name: np.array([float(row[name]) for row in rows]).reshape(2, 4) for name in rows[0]}
    signal = values["signal_real"] + 1j * values["signal_imag"]
    assert expected.imag.any()
    np.testing.assert_allclose(signal, expected, rtol=1e-7)  # eight digits
    np.testing.assert_array_equal(values["pulse"], [[0, 1, 2, 3]] * 2)
    np.testing.assert_array_equal(values["t1_ms"][:, 0], [800, 1300])
    np.testing.assert_array_equal(values["t2_ms"][:, 0], [80, 110])
    np.testing.assert_array_equal(values["b1"][:, 0], [0.9, 0.9])
    np.testing.assert_array_equal(values["off_resonance_hz"][:, 0], [0, 20])


def test_hdf5_and_figure(place, expected):
    result = simulate("--out", "signal.h5", "--figure", "signal.png")
    assert result.stdout == "wrote signal.h5\nwrote signal.png\n"
    with h5py.File("signal.h5") as file:
        np.testing.assert_array_equal(file["signal"][...], expected)
        np.testing.assert_allclose(file["t2_ms"], [80, 110], rtol=1e-15)  # ms to s and back
        assert file.attrs["protocol"] == PROTOCOL
    assert (place / "signal.png").read_bytes().startswith(b"\x89PNG")


def test_failed_figure_leaves_no_signal(place, monkeypatch):
    def fails(*_arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("jobs.simulate._draw", fails)
    arguments = ["simulate", "protocol.yaml", *ARGUMENTS, "--out", "signal.h5", "--figure", "signal.png"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert [path.name for path in place.iterdir()] == ["protocol.yaml"]
