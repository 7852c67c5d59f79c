"""``epgbloch design compare``: several sequences by one criterion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from design import Criterion
from epgbloch import EPGBloch, Sequence, __version__
from epgbloch._checks import positive_number
from jobs.console import Console
from jobs.design_criterion import criterion_of
from jobs.design_figures import draw_bounds, draw_signals, draw_trains
from jobs.design_file import design_sections
from jobs.design_record import (
    Evaluation,
    deviations,
    is_record,
    precision_text,
    quantities,
    read_record,
    tissue_names,
)
from jobs.outputs import new_folder
from jobs.protocol import load_protocol, read_model
from jobs.report_page import Page

COMMAND = "design compare"


def run_compare(
    paths: list[Path], *, criterion: Path | None, snr: float, out: Path, force: bool, console: Console
) -> dict[str, Any]:
    """Evaluate sequences by the criterion of a design file, and draw them side by side.

    Parameters
    ----------
    paths : list of Path
        Folders of finished designs, or protocols.
    criterion : Path or None
        Design file whose tissues, criterion and engine count; None: that of the first folder.
    snr : float
        Proton density over the standard deviation of the noise.
    out : Path
        Folder for ``comparison.json``, figures and ``report.html``.
    force : bool
        Replace an earlier comparison.

    Returns
    -------
    dict
        Contents of ``comparison.json``.

    Raises
    ------
    ValueError
        If there are less than two sequences, a file cannot be used, or there is no criterion.
    OSError
        If the folder cannot be written.
    """
    if len(paths) < 2:
        raise ValueError("give two or more designs or protocols to compare")
    positive_number("--snr", snr, "")
    sequences = _named(paths)
    wanted, engine = _judge(paths[0], criterion)
    with console.step(f"Evaluating {len(sequences)} sequences"):
        evaluations = {name: Evaluation.of(wanted, engine, s) for name, s in sequences.items()}
    record = {
        "snr": snr,
        "tissues": tissue_names(wanted),
        "parameters": list(wanted.parameters),
        "engine": engine.settings(),
        "sequences": {
            name: {"fingerprint": sequences[name].fingerprint(), **evaluation.to_dict()}
            for name, evaluation in evaluations.items()
        },
    }
    columns, rows = _table(wanted, evaluations, sequences, snr)
    with new_folder(out, COMMAND, force=force) as output:
        output.provenance["compared"] = [str(path) for path in paths]
        text = json.dumps(record, indent=1, allow_nan=False)
        (output.path / "comparison.json").write_text(text + "\n", "utf-8")
        draw_trains(output.path / "trains.png", sequences)
        draw_signals(output.path / "signals.png", sequences, engine, wanted)
        draw_bounds(output.path / "bounds.png", evaluations, wanted, snr)
        page = Page("Comparison of sequences", ", ".join(sequences))
        page.section("Precision")
        page.text(precision_text(snr))
        page.table(columns, rows)
        for name, caption in (("bounds", "Bounds"), ("trains", "Trains"), ("signals", "Signals")):
            page.image((output.path / f"{name}.png").read_bytes(), caption, caption)
        (output.path / "report.html").write_text(page.html(f"epgbloch {__version__}"), "utf-8")
    console.table(columns, rows, title=f"Standard deviations at the Cramér-Rao bound, SNR {snr:g}")
    console.result(f"wrote {out}: comparison.json, report.html and three figures")
    return record


def _named(paths: list[Path]) -> dict[str, Sequence]:
    """Sequences by the shortest names that tell them apart."""
    sequences = [_sequence(path) for path in paths]
    names = [path.resolve().stem for path in paths]
    if len(set(names)) < len(names):
        names = ["/".join(path.resolve().with_suffix("").parts[-2:]) for path in paths]
    if len(set(names)) < len(names):
        names = [f"{i + 1}: {name}" for i, name in enumerate(names)]
    return dict(zip(names, sequences, strict=True))


def _sequence(path: Path) -> Sequence:
    return read_record(path)[0] if is_record(path) else load_protocol(path).sequence


def _judge(first: Path, given: Path | None) -> tuple[Criterion, EPGBloch]:
    """Criterion and engine of a design file, or of the first design."""
    if given is None and not is_record(first):
        raise ValueError(f"{first}: a protocol has no criterion; name a design file with --criterion")
    text = read_record(first)[1]["design_file"] if given is None else None
    top = design_sections(given or first, text)
    top.require("tissues")
    return criterion_of(top), read_model(top)[1]


def _table(
    criterion: Criterion, evaluations: dict[str, Evaluation], sequences: dict[str, Sequence], snr: float
) -> tuple[list[str], list[list[str]]]:
    columns = ["sequence", "criterion", "pulses", "time [s]", "B1+rms [uT]"]
    for tissue in tissue_names(criterion):
        columns += [f"{name} {tissue} [{unit}]" for name, unit, _ in quantities(criterion)]
    rows = []
    for name, evaluation in evaluations.items():
        b1 = "-" if evaluation.b1_rms is None else f"{1e6 * evaluation.b1_rms:.3g}"
        cells = deviations(criterion, evaluation.bounds, snr).ravel()
        rows.append(
            [
                name,
                f"{evaluation.value:.4g}",
                f"{sequences[name].n_pulses}",
                f"{evaluation.duration:.4g}",
                b1,
                *(f"{value:.3g}" for value in cells),
            ]
        )
    return columns, rows
