"""The file is the same whatever happens on the way."""

import hashlib
import os
import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dictionaries.file_generation
from dictionaries import (
    AtomList,
    DictionaryError,
    Grid,
    generate,
    generate_file,
    linear_axis,
    log_axis,
    read_dictionary,
    write_dictionary,
)
from epgbloch import EPGBloch, RFPulse

OPTIONS = {"rank": 5, "chunk_size": 100, "n_sample": 50}


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def expected(tmp_path_factory, closed_form, sequence, grid):
    folder = tmp_path_factory.mktemp("expected")
    return write_dictionary(folder / "d.h5", generate(closed_form(), sequence, grid, **OPTIONS))


@pytest.mark.parametrize("which", ["grid", "complex_grid"])
def test_file_is_that_of_the_dictionary_in_memory(tmp_path, closed_form, sequence, which, request):
    grid = request.getfixturevalue(which)
    dictionary = generate(closed_form(), sequence, grid, rank=6)
    whole = write_dictionary(tmp_path / "whole.h5", dictionary)
    for chunk_size in (7, 100, 5000):
        path = tmp_path / f"{chunk_size}.h5"
        assert generate_file(path, closed_form(), sequence, grid, rank=6, chunk_size=chunk_size) == path
        assert sha256(path) == sha256(whole)
    assert len(os.listdir(tmp_path)) == 4


def test_file_of_many_atoms(tmp_path, closed_form, sequence):
    """More than the 8192 of a block of the file, which chunks of another size do not fit."""
    grid = Grid(log_axis(0.2, 3, 60), log_axis(0.02, 0.4, 60), linear_axis(0.8, 1.2, 5))
    assert grid.n_atoms > 2 * 8192
    whole = write_dictionary(tmp_path / "whole.h5", generate(closed_form(), sequence, grid, rank=4))
    for chunk_size in (3000, 10_000):
        path = tmp_path / f"{chunk_size}.h5"
        generate_file(path, closed_form(), sequence, grid, rank=4, chunk_size=chunk_size)
        assert sha256(path) == sha256(whole)
    assert read_dictionary(path, sequence).error_counts.sum() == grid.n_atoms


@pytest.mark.parametrize("pulse", [None, RFPulse.gaussian(1e-3, 5e-3, n_steps=20)], ids=["hard", "selective"])
def test_threads_and_chunks_of_the_engine_do_not_matter(tmp_path, sequence, pulse):
    """B1 differs between chunks, and with it the table of RF operators that is needed."""
    sequence = replace(sequence, pulse=pulse)
    engine = EPGBloch(n_subslices=8)
    grid = Grid(log_axis(0.2, 3, 8), log_axis(0.02, 0.4, 8), linear_axis(0.7, 1.3, 3))
    order = np.argsort(grid.tissue.b1, kind="stable")
    grid = AtomList(grid[order])
    hashes = set()
    for n_threads, chunk_size in ((1, 1000), (3, 1000), (2, 41), (1, 17)):
        path = tmp_path / f"{n_threads}-{chunk_size}.h5"
        model = replace(engine, n_threads=n_threads)
        generate_file(path, model, sequence, grid, rank=5, chunk_size=chunk_size)
        hashes.add(sha256(path))
    assert len(hashes) == 1


def test_truncation_error_chooses_the_rank(tmp_path, closed_form, sequence, grid):
    path = generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, truncation_error=1e-3)
    dictionary = generate(closed_form(), sequence, grid, truncation_error=1e-3)
    assert read_dictionary(path).rank == dictionary.rank > 2
    assert sha256(path) == sha256(write_dictionary(tmp_path / "whole.h5", dictionary))


class Interrupted:
    """A model that is interrupted when it is asked for atoms the n-th time."""

    def __init__(self, model, n, error):
        self.model, self.n, self.error = model, n, error

    def signal(self, sequence, tissue):
        self.n -= 1
        if self.n < 0:
            raise self.error
        return self.model.signal(sequence, tissue)

    def settings(self):
        return self.model.settings()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_interrupted_generation_continues(tmp_path, closed_form, sequence, grid, expected, n):
    path = tmp_path / "d.h5"
    interrupted = Interrupted(closed_form(), n, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        generate_file(path, interrupted, sequence, grid, **OPTIONS)
    assert not path.exists()
    model, seen = closed_form(), []
    generate_file(path, model, sequence, grid, progress=lambda *report: seen.append(report), **OPTIONS)
    # one sample of 50 atoms, then 342 atoms in chunks of 100
    assert model.calls == [50, 100, 100, 100, 42][n:]
    assert seen[-1] == (392, 392)
    assert seen == sorted(seen)
    assert sha256(path) == sha256(expected)
    assert os.listdir(tmp_path) == ["d.h5"]


def interrupt(path, model, sequence, grid, **options):
    """Leave the parts of all atoms but the last."""
    with pytest.raises(KeyboardInterrupt):
        generate_file(path, Interrupted(model, 4, KeyboardInterrupt()), sequence, grid, **OPTIONS | options)
    return path.with_name("d.h5.parts")


@pytest.mark.parametrize("name", ["000000000100.npz", "subspace.npz"])
def test_damaged_parts_are_made_again(tmp_path, closed_form, sequence, grid, expected, name):
    parts = interrupt(tmp_path / "d.h5", closed_form(), sequence, grid)
    content = bytearray((parts / name).read_bytes())
    content[len(content) // 2] ^= 1
    (parts / name).write_bytes(content)
    generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, **OPTIONS)
    assert sha256(tmp_path / "d.h5") == sha256(expected)


def test_subspace_without_singular_values_is_made_again(tmp_path, closed_form, sequence, grid, expected):
    """Damage in the directory of an archive may hide entries."""
    path = interrupt(tmp_path / "d.h5", closed_form(), sequence, grid) / "subspace.npz"
    with np.load(path) as stored:
        basis = stored["basis"].copy()
    np.savez(path, basis=basis)
    generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, **OPTIONS)
    assert sha256(tmp_path / "d.h5") == sha256(expected)


def test_parts_of_another_subspace_are_made_again(tmp_path, closed_form, sequence, grid, expected):
    """BLAS on another number of threads may have rounded the subspace differently."""
    parts = interrupt(tmp_path / "d.h5", closed_form(), sequence, grid)
    with np.load(parts / "000000000000.npz") as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    arrays["basis"][0] ^= 1
    arrays["norms"] *= 2
    np.savez(parts / "000000000000.npz", **arrays)
    generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, **OPTIONS)
    assert sha256(tmp_path / "d.h5") == sha256(expected)


@pytest.mark.parametrize(
    ("what", "change", "message"),
    [
        ("options", {"rank": 4}, "rank is 5, not 4"),
        ("options", {"chunk_size": 99}, "chunk_size is 100, not 99"),
        ("sequence", {"tr": 0.03}, "sequence differs"),
        ("grid", Grid([1.0, 2.0], 0.1, [0.9, 1.0, 1.1]), "grid differs"),
        ("version", "9.9", r"epgbloch_version is 9\.9, not"),
    ],
)
def test_parts_of_another_dictionary_are_refused(
    tmp_path, closed_form, sequence, grid, monkeypatch, what, change, message
):
    path, options = tmp_path / "d.h5", OPTIONS
    with monkeypatch.context() as patch:
        if what == "version":
            patch.setattr(dictionaries.file_generation, "__version__", change)
        parts = interrupt(path, closed_form(), sequence, grid)
    before = sorted(os.listdir(parts))
    if what == "options":
        options = OPTIONS | change
    elif what == "sequence":
        sequence = replace(sequence, **change)
    elif what == "grid":
        grid = change
    with pytest.raises(DictionaryError, match=rf"d\.h5\.parts holds parts of .*{message}.*remove the folder"):
        generate_file(path, closed_form(), sequence, grid, **options)
    assert sorted(os.listdir(parts)) == before


def test_the_same_file_is_made_once_at_a_time(tmp_path, closed_form, sequence, grid, expected):
    pytest.importorskip("fcntl")
    path, refused = tmp_path / "d.h5", []

    def again(*report):
        with pytest.raises(BlockingIOError, match="another process makes"):
            generate_file(path, closed_form(), sequence, grid, **OPTIONS)
        refused.append(report)

    generate_file(path, closed_form(), sequence, grid, progress=again, **OPTIONS)
    assert len(refused) == 5
    assert sha256(path) == sha256(expected)


def test_existing_files_are_kept(tmp_path, closed_form, sequence, grid):
    path = tmp_path / "d.h5"
    path.write_bytes(b"precious")
    with pytest.raises(FileExistsError, match=r"d\.h5 exists"):
        generate_file(path, closed_form(), sequence, grid)
    assert path.read_bytes() == b"precious"


def test_space_is_checked_before_work(tmp_path, closed_form, sequence, grid, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: shutil._ntuple_diskusage(10**6, 10**6, 9000))
    model = closed_form()
    with pytest.raises(OSError, match=r"the dictionary needs 1\.78e-05 GB and .* 9e-06 GB free"):
        generate_file(tmp_path / "d.h5", model, sequence, grid, **OPTIONS)
    # 342 atoms of 5 coefficients, norm, error in the parts, and without error in the file
    assert 342 * 4 * (7 + 6) == 17784
    assert model.calls == [50]


@pytest.mark.parametrize("limit", [3000, 6000])
def test_full_disk_keeps_the_parts(tmp_path, closed_form, sequence, grid, expected, limit):
    """The limit on the size of files fails in a part (4 kB) or in the file (10 kB), as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match=r"cannot write .*d\.h5: File too large; .*parts are kept"):
            generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, **OPTIONS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "d.h5.parts").glob("*partial*"))
    model = closed_form()
    generate_file(tmp_path / "d.h5", model, sequence, grid, **OPTIONS)
    assert sum(model.calls) < 392
    assert sha256(tmp_path / "d.h5") == sha256(expected)


@pytest.mark.parametrize("options", [{"rank": 0}, {"chunk_size": 0}, {"rank": 2, "truncation_error": 0.1}])
def test_arguments_are_checked_before_anything_is_written(tmp_path, closed_form, sequence, grid, options):
    with pytest.raises(ValueError, match=r"rank|chunk_size"):
        generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, **options)
    assert os.listdir(tmp_path) == []


SETUP = """
import sys
import numpy as np
from dictionaries import Grid, generate, generate_file, linear_axis, log_axis
from epgbloch import EPGBloch, Sequence
n = np.arange(200)
sequence = Sequence(np.deg2rad(20 + 30 * np.sin(0.03 * n) ** 2), 0.01, 0.005, inversion_time=0.01)
grid = Grid(log_axis(0.2, 3, 25), log_axis(0.02, 0.4, 25), linear_axis(0.8, 1.2, 5))
arguments = EPGBloch(n_threads=1), sequence, grid
options = {"rank": 8, "chunk_size": 50, "n_sample": 200}
"""
CHILD = (
    SETUP
    + """
generate_file(sys.argv[1], *arguments, **options, progress=lambda done, total: print(done, flush=True))
"""
)


def kill_and_continue(folder, n_kills, seed):
    """SHA-256 of a file whose generation was killed n times, after random delays."""
    delays, path = random.Random(seed), folder / "d.h5"

    def start():
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )

    n_done = 0
    while n_done < n_kills:
        with start() as child:
            if child.stdout.readline():  # else it was done, or failed
                time.sleep(delays.uniform(0, 0.4))
            child.kill()
            stderr = child.stderr.read()
            assert not stderr
        n_done += 1
        if path.exists() and not path.with_name("d.h5.parts").exists():
            path.rename(folder / f"finished-{n_done}.h5")
    if not path.exists() or path.with_name("d.h5.parts").exists():
        with start() as child:
            _, stderr = child.communicate()
            assert child.returncode == 0, stderr
    assert not [name for name in os.listdir(folder) if not name.endswith(".h5")]
    return {sha256(path) for path in folder.iterdir()}


@pytest.mark.parametrize("n_kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_generation_continues(tmp_path, n_kills):
    (tmp_path / "killed").mkdir()
    names = {}
    exec(SETUP, names)
    whole = write_dictionary(tmp_path / "d.h5", generate(*names["arguments"], **names["options"]))
    assert kill_and_continue(tmp_path / "killed", n_kills, 1) == {sha256(whole)}
