"""Tables of docs/pulseq.md that the code decides, and its example."""

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module("fill_pulseq")


@pytest.mark.parametrize("name", ["presets", "times"])
def test_tables_are_those_of_the_code(tables, name):
    page = (DOCS / "pulseq.md").read_text(encoding="utf-8")
    written = re.search(rf"<!-- table: {name} -->\n(.*?)\n<!-- end -->", page, re.DOTALL)[1]
    assert written == getattr(tables, f"{name}_table")()


def test_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "pulseq.md").read_text(encoding="utf-8")
    code = re.search(r"## Export\n\n```python\n(.*?)```", page, re.DOTALL)[1]
    exec(code, {"flip_angles": np.full(12, 0.5)})  # our own documentation
    assert "MinimumTimes(te=" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"train.seq", "train.txt"}
