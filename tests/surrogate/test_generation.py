"""Generation gives the same file whatever happens on the way."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import surrogate.generation
from epgbloch import EPGBloch
from surrogate import DatasetError, generate_dataset, read_dataset


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(surrogate.generation, "_PART", 5)


def assert_same(path, dataset):
    other = read_dataset(path)
    assert other.sha256 == dataset.sha256
    np.testing.assert_array_equal(other.targets, dataset.targets)


def test_threads_and_parts_do_not_matter(tmp_path, recipe, dataset):
    seen = []
    path = generate_dataset(
        tmp_path / "data.h5", recipe, n_threads=3, progress=lambda done, total: seen.append((done, total))
    )
    assert_same(path, dataset)
    assert seen == [(5, 24), (10, 24), (15, 24), (20, 24), (24, 24)]
    assert os.listdir(tmp_path) == ["data.h5"]


def test_interrupted_generation_continues(tmp_path, recipe, dataset, monkeypatch):
    simulate, simulated = surrogate.generation._simulate, []

    def failing(recipe, model, index):
        if index == 13 and not simulated:
            raise KeyboardInterrupt
        return simulate(recipe, model, index)

    def counting(recipe, model, index):
        simulated.append(index)
        return simulate(recipe, model, index)

    path = tmp_path / "data.h5"
    monkeypatch.setattr(surrogate.generation, "_simulate", failing)
    with pytest.raises(KeyboardInterrupt):
        generate_dataset(path, recipe)
    assert not path.exists()
    damaged = tmp_path / "data.h5.parts" / "000000005.npz"
    damaged.write_bytes(damaged.read_bytes()[:-40])
    monkeypatch.setattr(surrogate.generation, "_simulate", counting)
    generate_dataset(path, recipe)
    assert sorted(simulated) == [*range(5, 24)]  # not the part that was finished and is intact
    assert_same(path, dataset)


CHILD = """
import sys
import surrogate.generation
from epgbloch import EPGBloch
from surrogate import Recipe, generate_dataset
surrogate.generation._PART = 5
recipe = Recipe(n_signals=24, n_pulses=101, seed=5, model=EPGBloch(n_states=8, n_subslices=8))
generate_dataset(sys.argv[1], recipe, progress=lambda done, total: print(done, flush=True))
"""


def test_killed_generation_continues(tmp_path, recipe, dataset):
    path = tmp_path / "data.h5"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, path], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout.readline() == "5\n"
        child.send_signal(signal.SIGKILL)
    assert (tmp_path / "data.h5.parts" / "000000000.npz").exists() or path.exists()
    if not path.exists():
        generate_dataset(path, recipe)
    assert_same(path, dataset)


def test_parts_of_another_recipe_are_refused(tmp_path, recipe, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(surrogate.generation, "_simulate", fail)
    path = tmp_path / "data.h5"
    with pytest.raises(KeyboardInterrupt):
        generate_dataset(path, recipe)
    with pytest.raises(DatasetError, match=r"data\.h5\.parts holds parts of a data set of another recipe"):
        generate_dataset(path, replace(recipe, model=EPGBloch(n_states=9, n_subslices=8)))


def test_existing_files_are_kept(tmp_path, recipe):
    path = tmp_path / "data.h5"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"data\.h5 exists"):
        generate_dataset(path, recipe)
    assert path.read_bytes() == b"precious"


def test_full_disk_is_found_before_work(tmp_path, recipe):
    with pytest.raises(OSError, match="GB free; choose another folder or fewer signals"):
        generate_dataset(tmp_path / "data.h5", replace(recipe, n_signals=10**12))
    assert os.listdir(tmp_path) == []


def test_thread_counts_are_checked(tmp_path, recipe):
    with pytest.raises(ValueError, match="n_threads=0"):
        generate_dataset(tmp_path / "data.h5", recipe, n_threads=0)
