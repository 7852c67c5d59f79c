"""epgbloch mrzero run: objects, parametrisation, and what the command writes, at tiny sizes."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from design.mrzero.sequences import SPOILER, gradient_echo
from jobs import mrzero_mapping_run, mrzero_run
from jobs.cli import app
from jobs.mrzero_experiments import EXPERIMENTS, Size
from jobs.mrzero_phantoms import FOV, brain, resolution_phantom, sparse_sample, wide_sample
from jobs.mrzero_t1 import MappingSize
from jobs.mrzero_task import whole_encoding

TINY = Size(8, 6)


def run(*arguments):
    return CliRunner().invoke(app, ["mrzero", "run", *map(str, arguments)])


@pytest.mark.parametrize("make", [brain, resolution_phantom])
@pytest.mark.parametrize("matrix", [16, 31])
def test_objects(make, matrix):
    maps = make(matrix)
    inside = maps.proton_density > 0
    assert 0.1 < inside.mean() < 0.8
    assert maps.proton_density.max() <= 1 + 1e-6
    assert np.all(maps.t2[inside] <= maps.t1[inside])
    assert np.abs(maps.off_resonance).max() == pytest.approx(30)
    assert maps.voxels().n_voxels == inside.sum()


def test_pure_voxels_have_the_times_of_their_tissue():
    maps = brain(64)
    for name, t1 in (("white matter", 0.832), ("CSF", 4.31)):
        pure = maps.fractions[name] > 1 - 1e-6
        assert pure.any()
        np.testing.assert_allclose(maps.t1[pure], t1, rtol=1e-5)  # fractions are float32


def test_held_out_brains_differ_and_repeat():
    one, other = brain(16, 1), brain(16, 2)
    assert not np.array_equal(one.t1, other.t1)
    np.testing.assert_array_equal(one.t1, brain(16, 1).t1)


@pytest.mark.parametrize(("make", "edge"), [(sparse_sample, 3), (wide_sample, 5)])
def test_samples_are_squares_of_one_object(make, edge):
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(8):
        maps = make(16, rng, edge=edge)
        rows, columns = np.nonzero(maps.proton_density)
        assert rows.size == edge**2
        assert np.ptp(rows) == np.ptp(columns) == edge - 1
        inside = maps.proton_density > 0
        assert np.all(maps.t2[inside] <= maps.t1[inside])
        places.add((rows.min(), columns.min()))
    assert len(places) > 4
    with pytest.raises(ValueError, match="edge=20"):
        make(16, rng, edge=20)


def test_variables_can_make_the_target():
    n = 6
    target = gradient_echo(n, FOV, flip_angle=0.1, tr=20e-3, te=3e-3)
    lines = np.arange(n) - n // 2
    # samples end their events, so that the centre of the way lies half a step before the mean of the samples
    centre = np.stack([np.full(n, lines.mean() - 0.5), lines], axis=1)
    values = {
        "flip_angle": target.flip_angle,
        "phase": target.phase,
        "centre": centre,
        "extent": np.array([n, 0.0]),
        "extent_change": np.zeros((n, 2)),
    }
    played = whole_encoding(n, SPOILER)({name: np.float32(value) for name, value in values.items()})
    np.testing.assert_allclose(played["moments"], target.moments, rtol=1e-5, atol=1e-4)  # float32


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_experiments_have_tasks(name):
    experiment = EXPERIMENTS[name]
    assert {"full", "quick"} == set(experiment.sizes)
    names = {task.name for task in experiment.tasks(TINY, 0)}
    assert set(experiment.goals) <= names


def test_flip_angles_alone_save_sar():
    task = EXPERIMENTS["fig3"].tasks(Size(8, 12), 0)[1]
    found = task.optimise()
    first, last = task.snapshot(task.initial, 0), task.snapshot(found.values, 12)
    assert first.image_error < 0.1  # float32
    assert last.relative_sar < 0.97
    assert 0 < last.image_error < 20


def test_what_it_writes(tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setitem(EXPERIMENTS["fig6"].sizes, "quick", TINY)

    def broken(*arguments):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(mrzero_run, "write_report", broken)
        result = run("fig6", "--size", "quick", "--out", out)
    assert result.exit_code == 1
    assert (tmp_path / "out.parts" / "sparse.npz").exists()
    assert not out.exists()

    result = run("fig6", "--size", "quick", "--out", out)
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()} - {"sparse.mp4", "sparse.seq"}
    expected = {"history.csv", "provenance.json", "report.html", "sparse.gif", "sparse.npz", "sparse.png"}
    assert names == expected
    with (out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == TINY.n_iterations
    assert float(rows[0]["loss"]) > float(rows[-1]["loss"]) > 0
    with np.load(out / "sparse.npz") as arrays:
        assert arrays["image"].shape == (8, 8)
        assert arrays["flip_angle"].shape == (8,)
    assert json.loads((out / "provenance.json").read_text())["matrix"] == 8
    assert "V100" in (out / "report.html").read_text()

    again = run("fig6", "--size", "quick", "--out", out)
    assert again.exit_code == 1
    assert "--force" in again.output


def test_mapping_of_t1(tmp_path, monkeypatch):
    size = MappingSize(8, 3, 20, 1, 2, 10, 4)
    monkeypatch.setitem(mrzero_mapping_run.SIZES, "quick", size)
    result = run("fig7", "--size", "quick", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "T1 of held-out brains" in result.output
    with np.load(tmp_path / "out" / "mapping.npz") as arrays:
        assert arrays["t1_found"].shape == (8, 8)
        inversions = arrays["durations"][np.cumsum(arrays["n_events"])[arrays["use"] == "inversion"] - 1]
    assert inversions.max() > 0
    with (tmp_path / "out" / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fig9"], "fig9"),
        (["fig2", "--size", "huge"], "huge"),
        (["fig2", "--iterations", "0"], "--iterations 0"),
        (["fig7", "--size", "huge"], "huge"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "out").exists()
