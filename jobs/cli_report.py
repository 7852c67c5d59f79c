"""The command ``epgbloch report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import Debug, Force, Quiet, Roi, Truth
from jobs.console import Console


def report(
    maps: Annotated[Path, typer.Argument(metavar="MAPS", help="Folder of epgbloch reconstruct.")],
    roi: Roi = None,
    truth: Truth = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="HTML file. [default: report.html in MAPS, replaced]"),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make the report of reconstructed maps again.

    One HTML file that needs nothing else: maps, errors, statistics of regions, convergence, fit, dictionary,
    coils, settings. Statistics and errors also go into tables beside it (TSV).
    """
    from jobs.report import run_report

    run_report(maps, roi_path=roi, truth_path=truth, out=out, force=force, console=Console(quiet))
