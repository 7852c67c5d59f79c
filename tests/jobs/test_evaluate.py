"""The job writes all numbers and figures, says what is wrong, and leaves no half file."""

import importlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

import jobs.evaluate
from epgbloch import EPGBloch
from jobs.console import Console
from jobs.evaluate import run_evaluate
from surrogate import NetworkSize, Recipe, Weights, generate_dataset, write_weights
from surrogate.network import build_network, network_variables
from surrogate.probes import Probes

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = {"examples.png", "lengths.png", "map.png", "outside.png"}
RECIPE = Recipe(24, 101, 5, model=EPGBloch(n_states=6, n_subslices=8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder with weights and the data set that they name."""
    path = tmp_path_factory.mktemp("evaluate")
    generate_dataset(path / "data.h5", RECIPE)
    size = NetworkSize(1, 4)
    arrays = tuple(v.numpy() for v in network_variables(build_network(size, RECIPE.ranges, 3)))
    before = {"stages": [{"pulses": 150, "epochs": 2}], "learning_rate": 7e-3}
    card = {
        "data": {"recipe": json.loads(json.dumps(RECIPE.to_dict())), "sha256": ""},
        "training": {
            "training_signals": 10,
            "validation_signals": 3,
            "batch_size": 5,
            "stages": [{"pulses": 101, "epochs": 1}],
            "learning_rate": 1e-3,
        },
        "trained": {"seconds": 120.0, "pulses": 1e6, "steps": 100, "processor": "none"},
    }
    card["start"] = {
        "data": card["data"],
        "training": card["training"] | before,
        "trained": {"seconds": 180.0, "pulses": 2e6, "steps": 300, "processor": "none"},
        "start": None,
    }
    write_weights(path / "weights.npz", Weights(size, RECIPE.ranges, arrays, card))
    return path


@pytest.fixture
def quick(monkeypatch):
    """Leave out the longest trains and most factors."""
    monkeypatch.setattr("surrogate.probes.LENGTHS", (150,))
    monkeypatch.setattr("surrogate.probes.FACTORS", (1.0, 1.5))


def run(folder, out, data="data.h5", quiet=True):
    return run_evaluate(
        folder / "weights.npz",
        data=folder / data if data else None,
        out=out,
        threads=1,
        signals=5,
        console=Console(quiet),
    )


def test_numbers_tables_and_figures(folder, tmp_path, quick, capsys):
    result = run(folder, tmp_path / "out", quiet=False)
    output = capsys.readouterr()
    assert set(os.listdir(tmp_path / "out")) == FIGURES | {"evaluation.json"}
    for name in FIGURES:
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert record.keys() == result.keys()
    assert record["test"]["signals"] == record["all"]["signals"] == 11
    assert record["test"]["left_out"] == 13
    np.testing.assert_allclose(record["all"]["nrmse"], result["all"]["nrmse"], rtol=1e-4)  # five digits
    assert sum(entry["signals"] for entry in record["families"].values()) == 11
    assert np.sum(record["map"]["counts"]) == 11
    entry = result["families"]["piece_constant5"]
    line = next(line for line in output.out.splitlines() if "PieceConstant5" in line)
    assert f"{100 * entry['nrmse'][0]:.3f} %" in line
    assert "5.155 %" in line
    assert "NRMSE: root of the summed squared errors" in output.out
    for text in ("varying times", "150 pulses", "two families", "T2 above", "180 °", "TE above", "0.7 TR"):
        assert text in output.out
    assert "Evaluating 11 signals x 101 pulses" in output.err


def test_record_fills_the_page_of_the_surrogate(folder, tmp_path, quick, monkeypatch):
    run(folder, tmp_path)
    record = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    monkeypatch.syspath_prepend(DOCS)
    scripts = importlib.import_module("figure_scripts.surrogate_tables")
    content = scripts.tables(scripts.joined({"mine": record, "other": record}))
    text = (DOCS / "surrogate.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"<!-- table: (\w+) -->", text)) == sorted(content)
    own = record["families"]["spline_noise11"]["nrmse"]
    line = f"| SplineNoise11 | {100 * own[0]:.3f} % | 1.285 % | no | {100 * own[1]:.3f} % | 2.037 % | no |"
    assert line in content["table1"].splitlines()
    assert [row.split(" | ")[0] for row in content["networks"].splitlines()[2:]] == ["| mine", "| other"]
    assert (
        "| training 1 | 2 x 150 pulses: 2e+06 pulses in 300 steps of 5, learning rate 0.007 |"
        in (content["training"])
    )
    assert "| training 2 | 1 x 101 pulses: 1e+06 pulses" in content["training"]
    assert "| in all | 3e+06 pulses, 5 min (none) |" in content["training"]
    assert content["networks"].splitlines()[2].split(" | ")[3] == "5 min"
    beyond = record["outside"]["t2_above"][1]["nrmse"]
    cells = content["outside"].splitlines()[4].split(" | ")
    assert cells[0] == "| T2 above 2000 ms"
    assert cells[2] == f"{100 * beyond[0]:.3g} % / {100 * beyond[1]:.3g} %"


def test_data_are_simulated_once(folder, tmp_path, quick, monkeypatch):
    monkeypatch.setattr(jobs.evaluate, "TEST_SIGNALS", 10)
    first = run(folder, tmp_path, data=None)
    assert (first["test"]["signals"], first["test"]["left_out"]) == (10, 0)  # another seed: all are new
    stamp = (tmp_path / "test-data.h5").stat().st_mtime_ns
    again = run(folder, tmp_path, data=None)
    assert (tmp_path / "test-data.h5").stat().st_mtime_ns == stamp
    assert again["all"] == first["all"]


def test_interrupted_evaluation_leaves_no_result(folder, tmp_path, quick, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Probes, "examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []


def test_missing_data(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.h5"):
        run(folder, tmp_path / "out", data="none.h5")
    assert not (tmp_path / "out").exists()


def test_data_that_do_not_fit_are_named(folder, tmp_path):
    other = Recipe(24, 101, 6, model=EPGBloch(n_states=7, n_subslices=8))
    generate_dataset(folder / "other.h5", other)
    with pytest.raises(ValueError, match=r"weights\.npz, .*other\.h5: the weights were trained on .* model="):
        run(folder, tmp_path / "out", data="other.h5")
    assert not (tmp_path / "out").exists()


def test_weights_that_are_none(folder, tmp_path):
    with pytest.raises(ValueError, match="is not a file of weights"):
        run_evaluate(
            folder / "data.h5", data=None, out=tmp_path, threads=1, signals=5, console=Console(quiet=True)
        )
