import os
import time

import numpy as np
import pytest

from dictionaries import AtomList, Grid, estimate, generate_file, log_axis
from epgbloch import EPGBloch


def test_sizes_are_those_of_the_files(tmp_path, closed_form, sequence, monkeypatch):
    grid = Grid(log_axis(0.2, 3, 100), log_axis(0.02, 0.4, 100))
    expected = estimate(closed_form(), sequence, grid, rank=12)
    sizes = []
    monkeypatch.setattr("epgbloch._files.Parts.remove", lambda parts: None)
    path = generate_file(tmp_path / "d.h5", closed_form(), sequence, grid, rank=12)
    sizes = [entry.stat().st_size for entry in os.scandir(tmp_path / "d.h5.parts")]
    assert expected.n_atoms == grid.n_atoms > 8192
    # compression saves something, headers add little
    assert 0.7 * expected.file_bytes < path.stat().st_size < 1.02 * expected.file_bytes
    assert path.stat().st_size + sum(sizes) == pytest.approx(expected.disk_bytes, rel=0.15)


def test_sizes_grow_with_rank_and_lists_and_complex_signals(closed_form, sequence, grid, complex_grid):
    model = closed_form()
    small = estimate(model, sequence, grid, rank=6)
    assert small.file_bytes == 342 * 4 * 7 + 60 * 6 * 4
    assert small.disk_bytes == small.file_bytes + 342 * 4 * 8
    assert estimate(model, sequence, grid, rank=7).file_bytes == 342 * 4 * 8 + 60 * 7 * 4
    listed = estimate(model, sequence, AtomList(grid.tissue), rank=6)
    assert listed.file_bytes == small.file_bytes + 342 * 40
    assert estimate(model, sequence, complex_grid, rank=6).file_bytes == 225 * 4 * 13 + 60 * 6 * 8


def test_memory_is_that_of_a_chunk(closed_form, sequence):
    grid = Grid(log_axis(0.2, 3, 200), log_axis(0.02, 0.4, 200))
    small, large = (
        estimate(closed_form(), sequence, grid, rank=2, chunk_size=n).memory_bytes for n in (1000, 21_000)
    )
    assert large - small == 20_000 * (8 * 60 + 2 * (2 * 4 + 8))


class Slow:
    """One millisecond an atom of long T2, nothing for others."""

    def __init__(self, model):
        self.model = model

    def signal(self, sequence, tissue):
        time.sleep(1e-3 * np.count_nonzero(tissue.t2 > 0.1))
        return self.model.signal(sequence, tissue)

    def settings(self):
        return {}


def test_time_is_that_of_atoms_all_over_the_grid(closed_form, sequence):
    grid = Grid(log_axis(0.5, 3, 100), log_axis(0.02, 0.4, 100))
    result = estimate(Slow(closed_form()), sequence, grid, rank=2, n_probe=200)
    slow = 1e-3 * np.mean(grid.tissue.t2 > 0.1)
    assert result.seconds > 0.9 * slow * (grid.n_atoms + 5000)  # sleep may take longer, not shorter


def test_engine_is_measured(sequence, grid):
    assert estimate(EPGBloch(), sequence, grid).seconds > 0


@pytest.mark.parametrize(("argument", "value"), [("rank", 0), ("chunk_size", 0), ("n_probe", 0)])
def test_arguments_are_checked(closed_form, sequence, grid, argument, value):
    with pytest.raises(ValueError, match=rf"{argument}=0 must be an integer"):
        estimate(closed_form(), sequence, grid, **{argument: value})
