"""`epgbloch dictionary report` and `info`: what they measure and say about a dictionary."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from dictionaries import AtomList, Dictionary, Grid, generate, log_axis, write_dictionary
from epgbloch import EPGBloch, Sequence, Tissue
from epgbloch.trains import sin_squared
from jobs import dictionary_report
from jobs.cli import app
from jobs.models import stored_model
from surrogate import GRUSurrogate, write_weights

SEQUENCE = Sequence(sin_squared(200, np.deg2rad([20, 60, 40])), 10e-3, 4e-3, inversion_time=20e-3)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    grid = Grid(log_axis(0.3, 3, 30), log_axis(0.03, 0.3, 30), b1=[0.9, 1.0, 1.1])
    write_dictionary(folder / "dict.h5", generate(EPGBloch(), SEQUENCE, grid, rank=6))
    return folder


def test_report_measures_the_error_of_matching(folder, monkeypatch):
    monkeypatch.setattr(dictionary_report, "N_TRIALS", 400)
    result = run("dictionary", "report", folder / "dict.h5", "--out", folder / "report")
    assert result.exit_code == 0, result.output
    written = {path.name for path in (folder / "report").iterdir()}
    figures = {"singular_values.png", "atoms.png", "matching.png"}
    assert written == {*figures, "report.json", "provenance.json"}
    for name in figures:
        assert (folder / "report" / name).read_bytes().startswith(b"\x89PNG")
    record = json.loads((folder / "report" / "report.json").read_text())
    assert record["signals"] == "random tissues"
    errors = record["relative_errors"]
    # without noise, half of a step of 8.3 % at most for most; with noise of a fifth of the signal, far more
    assert 0.01 < errors["160"]["t1"]["median"] < 0.04
    for name in ("t1", "t2"):
        assert errors["5"][name]["median"] > errors["20"][name]["median"] > 0
        assert errors["5"][name]["q90"] > errors["5"][name]["median"]
    assert f"{100 * errors['5']['t2']['median']:.2g} %" in result.stdout
    again = run("dictionary", "report", folder / "dict.h5", "--out", folder / "report", "--force")
    assert json.loads((folder / "report" / "report.json").read_text()) == record
    assert again.exit_code == 0


@pytest.mark.parametrize("model", [{}, EPGBloch().settings()], ids=["no model", "no sequence"])
def test_atoms_take_the_place_of_tissues_that_cannot_be_simulated(folder, monkeypatch, model):
    monkeypatch.setattr(dictionary_report, "N_TRIALS", 200)
    rng = np.random.default_rng(3)
    atoms = AtomList(Tissue(rng.uniform(1, 2, 50), rng.uniform(0.1, 0.2, 50)))
    made = generate(EPGBloch(), SEQUENCE, atoms, rank=5)
    foreign = Dictionary(atoms, None, made.basis, made.coefficients, made.norms, model, None)
    write_dictionary(folder / "foreign.h5", foreign)
    result = run("dictionary", "report", folder / "foreign.h5", "--out", folder / "atoms", "--force")
    assert result.exit_code == 0, result.output
    record = json.loads((folder / "atoms" / "report.json").read_text())
    assert record["signals"] == "atoms"
    assert record["truncation_error"] is None
    assert record["relative_errors"]["160"]["t1"]["median"] == 0  # the very atom


def test_info_tells_grid_sequence_model_and_size(folder):
    result = run("dictionary", "info", folder / "dict.h5")
    assert result.exit_code == 0, result.output
    for text in ("2700", "rank", "6", "atoms on a grid", "300", "3000", "0.9", "1.1"):
        assert text in result.stdout
    assert "sequence: 200 pulses of 0" in result.stdout
    assert f"degrees, spoiling gradient, sha256 {SEQUENCE.fingerprint()}" in result.stdout
    assert "inversion: 20 ms before the first pulse" in result.stdout
    assert "model: model EPGBloch, n_states None, tolerance 0.0001" in result.stdout


def test_model_comes_back_from_its_settings(tmp_path):
    grid = Grid([0.8, 1.0], 0.1)
    for model in (EPGBloch(n_states=7), EPGBloch(tolerance=1e-3)):
        dictionary = generate(model, SEQUENCE, grid, rank=2)
        assert stored_model(dictionary).settings() == model.settings()

    def made_by(surrogate):
        made = generate(EPGBloch(n_states=7), SEQUENCE, grid, rank=2)
        return Dictionary(
            grid, SEQUENCE, made.basis, made.coefficients, made.norms, surrogate.settings(), None
        )

    assert stored_model(made_by(GRUSurrogate("small"))).settings() == GRUSurrogate("small").settings()
    file = write_weights(tmp_path / "mine.npz", GRUSurrogate("small").weights)
    mine = made_by(GRUSurrogate(str(file)))
    with pytest.raises(ValueError, match=r"the dictionary was made by network 'mine': .*none of the shipped"):
        stored_model(mine)
    assert stored_model(mine, str(file)).settings() == GRUSurrogate(str(file)).settings()
    with pytest.raises(ValueError, match="network 'published' is not the one that made the dictionary"):
        stored_model(mine, "published")
    with pytest.raises(ValueError, match=r"made by network 'mine': .*gone\.npz"):
        stored_model(mine, str(tmp_path / "gone.npz"))
    with pytest.raises(ValueError, match="no network made this dictionary"):
        stored_model(dictionary, "small")
    foreign = replace(dictionary, model=dictionary.model | {"n_wheels": 4})
    with pytest.raises(ValueError, match=r"settings of the engine .*n_wheels.*make it again"):
        stored_model(foreign)
