"""The report of a design: one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from design import Design, LimitError, MonteCarlo
from epgbloch import Sequence, __version__
from jobs.design_export import RoundTrip
from jobs.design_file import DesignFile
from jobs.design_record import (
    Evaluation,
    deviations,
    precision_text,
    quantities,
    sequence_facts,
    tissue_names,
)
from jobs.report_page import Page

_EFFICIENT = 0.1
"""Largest deviation of a variance from its bound for which the estimator counts as efficient, besides four
standard deviations of the ratio itself."""


def write_report(
    folder: Path,
    file: DesignFile,
    design: Design,
    evaluations: dict[str, Evaluation],
    trials: MonteCarlo | None,
    trip: RoundTrip | None,
    record: dict[str, Any],
) -> None:
    """Write ``report.html`` with the figures that lie in the folder."""
    before, after = evaluations["start"], evaluations["design"]
    page = Page(f"Design: {file.path.stem}", f"{file.method}, {design.n_signals} signals with derivatives")
    page.section("Result")
    page.tiles(
        [
            (f"{after.value:.4g}", "criterion"),
            (f"{before.value:.4g}", "criterion of the start"),
            (f"{after.duration:.4g} s", "duration"),
            (f"{record['cpu_s']:.3g} s", "CPU time of the search"),
        ]
    )
    page.checks(_checks(file, design, before, after, trials) + ([] if trip is None else trip.lines()))
    _image(page, folder, "trains", "Flip angles of the start and of the design, and what else varies.")
    page.section("Precision")
    page.text(precision_text(file.snr))
    page.table(*_bounds_table(file, before, after, trials))
    _image(page, folder, "bounds", "Bounds for every tissue; dots: standard deviations of matched signals.")
    _image(page, folder, "signals", "Signals of the first tissues, for a proton density of 1.")
    page.section("Search")
    _image(page, folder, "convergence", f"{design.message}.")
    page.section("Sequence")
    page.table(("", "start", "design"), _facts(file.sequence, design.sequence))
    if trip is not None:
        page.table(("Played by the Pulseq file", ""), sequence_facts(trip.export.sequence))
        page.listing("Report on the Pulseq file", trip.export.report)
    page.section("Settings")
    page.settings(
        [
            ("Model while searching", _settings(file.model.settings())),
            ("Model of the evaluation", _settings(file.engine.settings())),
            ("Parameters", f"{file.parametrization.n_parameters}"),
            ("Sequence fingerprint", record["fingerprint"]),
        ]
    )
    page.listing("Design file", file.text)
    html = page.html(f"epgbloch {__version__}")
    (folder / "report.html").write_text(html, encoding="utf-8")


def _image(page: Page, folder: Path, name: str, caption: str) -> None:
    page.image((folder / f"{name}.png").read_bytes(), caption, caption)


def _checks(
    file: DesignFile, design: Design, before: Evaluation, after: Evaluation, trials: MonteCarlo | None
) -> list[tuple[bool, str]]:
    checks = [(design.converged, f"Search: {design.message}")]
    try:
        file.limits.check(design.sequence)
        checks.append((True, "The sequence keeps to all limits"))
    except LimitError as error:
        checks.append((False, str(error)))
    checks.append(
        (after.value < before.value, f"Criterion {before.value:.4g} of the start, {after.value:.4g} now")
    )
    if file.model is not file.engine:
        difference = design.value / after.value - 1
        text = f"The surrogate puts the criterion {100 * difference:+.1f} % off the exact value"
        checks.append((abs(difference) < 0.05, text))
    if trials is not None:
        ratio = trials.variance_ratio
        allowed = _EFFICIENT + 4 * (2 / trials.n_trials) ** 0.5
        good = bool(abs(ratio - 1).max() <= allowed)
        text = f"Variances of matched signals are {ratio.min():.2f} to {ratio.max():.2f} times the bound"
        checks.append((good, text + ("" if good else ": at this SNR the bound is not reached")))
    return checks


def _bounds_table(
    file: DesignFile, before: Evaluation, after: Evaluation, trials: MonteCarlo | None
) -> tuple[list[str], list[list[str]]]:
    first, last = (deviations(file.criterion, e.bounds, file.snr) for e in (before, after))
    columns = ["T1/T2 [ms]"]
    for name, unit, _ in quantities(file.criterion):
        columns += [f"{name} start [{unit}]", f"{name} design [{unit}]"]
    if trials is not None:
        columns += [f"variance of {name.upper()} / bound" for name in trials.parameters]
    rows = []
    for i, tissue in enumerate(tissue_names(file.criterion)):
        row = [tissue]
        for a, b in zip(first[i], last[i], strict=True):
            row += [f"{a:.3g}", f"{b:.3g}"]
        if trials is not None:
            row += [f"{ratio:.2f}" for ratio in trials.variance_ratio[i]]
        rows.append(row)
    return columns, rows


def _facts(start: Sequence, design: Sequence) -> list[tuple[str, str, str]]:
    one, other = dict(sequence_facts(start)), dict(sequence_facts(design))
    return [(name, one[name], other[name]) for name in one]


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())
