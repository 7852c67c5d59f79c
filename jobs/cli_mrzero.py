"""The commands ``epgbloch mrzero ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.cli_options import CONTEXT, Debug, Force, OutFolder, Quiet
from jobs.console import Console

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Learn whole imaging sequences against target images.",
)


@app.callback()
def _group() -> None:
    """Learn whole imaging sequences against target images."""


@app.command()
def run(
    experiment: Annotated[
        str,
        typer.Argument(
            metavar="EXPERIMENT", help="fig2, fig3, fig4, fig5, fig6, fig7, s1 or s2 of the paper."
        ),
    ],
    out: OutFolder,
    size: Annotated[
        str, typer.Option("--size", help="full (the published setting) or quick (small, a minute or two).")
    ] = "full",
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Steps of each optimisation. [default: of the size]")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the start, of samples and held-out objects.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run an experiment of the paper on MR-zero (doi 10.1002/mrm.28727).

    Writes report.html, figures, animations, the history (CSV) and the sequences (NPZ, and Pulseq where they
    can be played). Interrupted or killed, it continues when called again with the same arguments.
    """
    from jobs.mrzero_run import run_experiment

    run_experiment(
        experiment,
        out=out,
        size=size,
        iterations=iterations,
        seed=seed,
        force=force,
        console=Console(quiet),
    )
