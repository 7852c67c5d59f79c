"""Links of the documentation, and the measured numbers that it quotes."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from epgbloch import EPGBloch, Sequence, Tissue

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]


def headings(page):
    """Anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


def broken_links(page):
    """Links of a page to files or headings that do not exist."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):  # https, mailto
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in headings(file)):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    assert broken_links(page) == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A, b\n[x](no.md) [y](#a-b) [z](#c) [u](page.md#a-b) ![v](no.png) [w](https://a.b/c)\n")
    assert broken_links(page) == ["no.md", "#c", "no.png"]


def test_paths_in_running_text_exist():
    for page in PAGES:
        for path in re.findall(r"\b(?:docs|benchmarks|examples)/[\w./]*\w", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{page.name} names {path}"


def test_every_figure_is_shown_and_light():
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for figure in sorted((DOCS / "figures").iterdir()):
        assert f"figures/{figure.name}" in shown, f"{figure.name} is left over"
        assert figure.stat().st_size < 300e3


@pytest.fixture
def scripts(monkeypatch):
    """Import the scripts behind the figures by name."""
    monkeypatch.syspath_prepend(DOCS)
    return lambda name: importlib.import_module(f"figure_scripts.{name}")


@pytest.fixture
def record():
    return json.loads((DOCS / "physics.json").read_text(encoding="utf-8"))


def test_tables_hold_the_measured_numbers(scripts, record):
    text = (DOCS / "physics.md").read_text(encoding="utf-8")
    tables = scripts("tables")
    content = tables.tables(record)
    assert sorted(re.findall(r"<!-- table: (\w+) -->", text)) == sorted(content)
    assert tables.insert(text, content) == text
    record["states"]["error"][4][0] *= 2  # a row that the table shows
    assert tables.insert(text, tables.tables(record)) != text


def test_page_of_the_surrogate_holds_the_measured_numbers(scripts):
    path = DOCS / "surrogate.json"
    text = (DOCS / "surrogate.md").read_text(encoding="utf-8")
    content = scripts("surrogate_tables").tables(json.loads(path.read_text(encoding="utf-8")))
    assert sorted(re.findall(r"<!-- table: (\w+) -->", text)) == sorted(content)
    assert scripts("tables").insert(text, content) == text


def test_page_of_the_dictionaries_holds_the_measured_numbers(scripts):
    record = json.loads((DOCS / "refinement.json").read_text(encoding="utf-8"))
    text = (DOCS / "dictionaries.md").read_text(encoding="utf-8")
    content = scripts("refinement").tables(record)
    assert scripts("tables").insert(text, content) == text
    for name in content:
        assert f"<!-- table: {name} -->" in text
    i_snr = record["snr"].index(3)
    assert f"{record['left'][i_snr]:g} of the {record['voxels']} fits" in text
    for name, label in (("t1", "T1"), ("t2", "T2")):
        shift, deviation = record["b1_ignored"][name]
        assert re.search(rf"{label} by\s+{shift:g} %", text)
        assert f"{label} {deviation:g} %" in text


def test_recorded_errors_of_the_refinement_are_those_of_the_code(scripts, monkeypatch):
    record = json.loads((DOCS / "refinement.json").read_text(encoding="utf-8"))
    refinement = scripts("refinement")
    monkeypatch.setattr(refinement, "SNR", (30,))
    measured = refinement.errors()
    assert measured.keys() == record.keys()
    i_snr = record["snr"].index(30)
    for name in ("coarse", "fine", "refined", "predicted", "steps"):
        # three digits are recorded; single precision may tip the choice between two atoms
        np.testing.assert_allclose(measured[name][0], record[name][i_snr], rtol=0.02, err_msg=name)
    for name, values in measured["b1_ignored"].items():
        np.testing.assert_allclose(values, record["b1_ignored"][name], rtol=0.02)


@pytest.mark.parametrize("call", ["generate_file(", "refine("])
def test_examples_of_the_dictionaries_run(tmp_path, monkeypatch, capsys, call):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "dictionaries.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if call in code)
    exec(compile(example, "dictionaries.md", "exec"), {})
    printed = capsys.readouterr().out
    assert f"```\n{printed}```" in text


def test_example_of_the_designs_runs(capsys):
    text = (DOCS / "design.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(example, "design.md", "exec"), {})
    before, after = (float(number) for number in capsys.readouterr().out.split(" -> "))
    assert after < 0.7 * before


@pytest.mark.slow
def test_examples_of_mrzero_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "mrzero.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile("\n".join(examples), "mrzero.md", "exec"), {})
    before, after = (float(number) for number in capsys.readouterr().out.removeprefix("SAR").split(" -> "))
    assert after < 0.9 * before
    assert (tmp_path / "tse.seq").exists()


def test_recorded_errors_are_those_of_the_code(scripts, record):
    for name, measure in (
        ("states", scripts("train_errors").states),
        ("operators", scripts("pulse_errors").interpolation),
    ):
        measured = measure()
        assert measured.keys() == record[name].keys()
        for key, values in measured.items():
            # three digits are recorded; errors below 1e-9 are rounding in part, and differ between machines
            np.testing.assert_allclose(record[name][key], values, rtol=0.02, atol=1e-9, err_msg=key)


def test_drawn_profiles_sum_to_the_signal_of_the_engine(scripts):
    profile, pulse = scripts("slice_profile"), scripts("cases").gaussian()
    position = 3 * ((np.arange(32) + 0.5) / 32 - 0.5)
    for flip_angle in (0.2, 2.0):
        drawn = profile.bloch_profile(pulse, flip_angle, position).sum() * 3 / 32
        signal = EPGBloch().signal(Sequence([flip_angle], tr=1e-2, te=1e-3, pulse=pulse), Tissue(1e6, 1e6))
        np.testing.assert_allclose(drawn, signal[0, 0], rtol=1e-6)  # float32; 1e-9 decays to the echo
    small = profile.bloch_profile(pulse, 1e-3, position) / 1e-3
    # the next order is the square of the angle
    np.testing.assert_allclose(small, profile.small_tip_profile(pulse, position), rtol=0, atol=1e-6)
