"""`epgbloch dictionary match`: files of signals become rows of tissue parameters."""

import csv

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from dictionaries import generate, read_dictionary, write_dictionary
from epgbloch import EPGBloch, Tissue
from jobs.cli import app
from jobs.protocol import load_protocol

PROTOCOL = """
sequence:
  flip_angle_deg: {train: sin_squared, n_pulses: 200, angles_deg: [20, 60, 40]}
  tr_ms: 10
  te_ms: 4
  inversion_time_ms: 20
dictionary:
  t1_ms: {log: [300, 3000, 30]}
  t2_ms: {log: [30, 300, 30]}
  rank: 8
"""
T1, T2 = np.array([0.81, 1.33]), np.array([0.081, 0.117])


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of a protocol, its dictionary, and signals of two tissues off the grid in every format."""
    folder = tmp_path_factory.mktemp("match")
    path = folder / "protocol.yaml"
    path.write_text(PROTOCOL)
    protocol = load_protocol(path)
    write_dictionary(
        folder / "dict.h5", generate(EPGBloch(), protocol.sequence, protocol.grid, rank=protocol.rank)
    )
    signals = 2j * EPGBloch().signal(protocol.sequence, Tissue(T1, T2))
    np.save(folder / "signals.npy", signals)
    np.save(folder / "coefficients.npy", signals @ read_dictionary(folder / "dict.h5").basis)
    with h5py.File(folder / "signals.h5", "w") as file:
        file["signal"] = signals
    np.savez(folder / "signals.npz", signal=signals)
    np.savez(folder / "other.npz", x=signals)
    savemat(folder / "signals.mat", {"signal": signals})
    options = ["--t1-ms", "810,1330", "--t2-ms", "81,117", "--quiet"]
    assert run("simulate", path, *options, "--out", folder / "simulated.csv").exit_code == 0
    assert run("simulate", path, *options, "--out", folder / "simulated.h5").exit_code == 0
    return folder


def matched(folder, name, out, *options):
    result = run("dictionary", "match", folder / "dict.h5", folder / name, "--out", out, *options)
    assert result.exit_code == 0, result.output
    with out.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}, result


@pytest.mark.parametrize(
    ("name", "pd"),
    [
        ("signals.npy", 2j),
        ("coefficients.npy", 2j),
        ("signals.npz", 2j),
        ("signals.h5", 2j),
        ("signals.mat", 2j),
        ("simulated.csv", 1),
        ("simulated.h5", 1),
    ],
)
def test_every_format_gives_the_nearest_atoms(folder, tmp_path, name, pd):
    found, result = matched(folder, name, tmp_path / "out.csv")
    assert f"wrote {tmp_path / 'out.csv'}" in result.stdout
    # steps of the grid are 8.3 %; the best atom is within one step
    np.testing.assert_allclose(found["t1_ms"], 1e3 * T1, rtol=0.084)
    np.testing.assert_allclose(found["t2_ms"], 1e3 * T2, rtol=0.084)
    np.testing.assert_allclose(found["pd_real"] + 1j * found["pd_imag"], pd, rtol=0.05)  # of the nearest atom
    assert np.all(found["correlation"] > 0.999)
    assert np.all(found["b1"] == 1)


def test_refined_is_below_the_step_with_standard_errors(folder, tmp_path):
    found, _ = matched(folder, "signals.npy", tmp_path / "out.csv", "--refine", "--noise", "0.01")
    np.testing.assert_allclose(found["t1_ms"], 1e3 * T1, rtol=1e-3)
    np.testing.assert_allclose(found["t2_ms"], 1e3 * T2, rtol=1e-3)
    assert np.all(found["converged"] == 1)
    more, _ = matched(folder, "signals.npy", tmp_path / "more.csv", "--refine", "--noise", "0.02")
    for name in ("t1_std_ms", "t2_std_ms"):
        assert np.all(found[name] > 0)
        np.testing.assert_allclose(more[name], 2 * found[name], rtol=1e-4)  # seven digits are written


@pytest.mark.parametrize("options", [[], ["--refine"]], ids=["matched", "refined"])
def test_rows_without_signal_are_rows_of_nan(folder, tmp_path, options):
    rows = np.load(folder / "coefficients.npy")
    np.save(folder / "holes.npy", np.stack([rows[0], 0 * rows[0], rows[1], np.nan * rows[0]]))
    found, result = matched(folder, "holes.npy", tmp_path / "out.csv", *options)
    assert "2 of 4 signals are zero or not finite" in result.stderr
    assert "did not converge" not in result.stderr
    whole, _ = matched(folder, "coefficients.npy", tmp_path / "whole.csv", *options)
    for name in ("t1_ms", "t2_ms", "correlation"):
        np.testing.assert_array_equal(found[name][[0, 2]], whole[name])
    assert np.isnan(found["t1_ms"][[1, 3]]).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("signals.npy", ["--noise", "0.1"], "--noise is for --refine only"),
        ("signals.npy", ["--network", "x.npz"], "--network is for --refine only"),
        ("signals.npy", ["--refine", "--noise", "0"], "noise_std"),
        ("signals.npy", ["--out", "out.txt"], "--out out.txt: the name must end in .csv"),
        ("protocol.yaml", [], "protocol.yaml: signals come from files that end in .npy, .npz"),
        ("none.npy", [], "none.npy: No such file"),
        ("none.h5", [], "none.h5: No such file"),
        ("dict.h5", [], "dict.h5 is not an HDF5 file with an array called signal"),
        ("other.npz", [], "other.npz has no variable signal; it has x"),
        ("bad.npy", [], "bad.npy is not an array of NumPy"),
        ("short.npy", [], "short.npy holds signals of 7 values; the dictionary has 200 pulses and rank 8"),
        ("flat.npy", [], "flat.npy holds an array of shape (200,)"),
        ("text.npy", [], "text.npy holds an array of shape (1, 1) (<U1)"),
        ("columns.csv", [], "columns.csv has no column 'pulse'"),
        ("order.csv", [], "order.csv: the pulses of every signal must be 0, 1, 2"),
        ("letter.csv", [], "letter.csv, line 3: could not convert string to float: 'x'"),
        ("signals.npy", ["--refine", "--network", "small"], "no network made this dictionary; leave it out"),
    ],
)
def test_mistakes_are_named(folder, tmp_path, name, options, message):
    np.save(folder / "short.npy", np.ones((3, 7)))
    np.save(folder / "flat.npy", np.ones(200))
    np.save(folder / "text.npy", np.array([["a"]]))
    (folder / "bad.npy").write_text("nothing")
    (folder / "columns.csv").write_text("a,b\n1,2\n")
    (folder / "order.csv").write_text("pulse,signal_real,signal_imag\n1,0,0\n0,0,0\n")
    (folder / "letter.csv").write_text("pulse,signal_real,signal_imag\n0,1,0\n1,x,0\n")
    out = tmp_path / "out.csv"
    result = run("dictionary", "match", folder / "dict.h5", folder / name, "--out", out, "--quiet", *options)
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not out.exists()


def test_refinement_needs_a_known_model(folder, tmp_path):
    from dataclasses import replace

    write_dictionary(folder / "foreign.h5", replace(read_dictionary(folder / "dict.h5"), model={}))
    arguments = ["dictionary", "match", folder / "foreign.h5", folder / "signals.npy", "--out"]
    assert run(*arguments, tmp_path / "a.csv").exit_code == 0
    result = run(*arguments, tmp_path / "b.csv", "--refine")
    assert "does not say what model made it" in result.stderr
