"""The commands ``epgbloch design ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import CONTEXT, Debug, Force, OutFolder, Quiet
from jobs.console import Console

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Design sequences, compare them, and exchange them as Pulseq files.",
)


@app.command()
def run(
    design: Annotated[Path, typer.Argument(metavar="DESIGN", help="Design file (YAML).")],
    out: OutFolder,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Design a sequence.

    Writes design.json, the sequence as protocol.yaml, figures and report.html. Interrupted or killed, it
    continues when called again with the same file.
    """
    from jobs.design_run import run_design

    run_design(design, out=out, force=force, console=Console(quiet))
