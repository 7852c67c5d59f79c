"""The commands ``epgbloch design ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import CONTEXT, Debug, Force, OutFolder, Quiet, numbers
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


@app.command()
def compare(
    sequences: Annotated[
        list[Path],
        typer.Argument(metavar="SEQUENCES", help="Folders of finished designs, or protocols (YAML)."),
    ],
    out: OutFolder,
    criterion: Annotated[
        Path | None,
        typer.Option(
            "--criterion",
            metavar="FILE",
            help="Design file with tissues and criterion. [default: that of the first folder]",
        ),
    ] = None,
    snr: Annotated[
        float, typer.Option("--snr", help="Proton density over the standard deviation of the noise.")
    ] = 100.0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Compare sequences by the precision that they allow.

    Writes comparison.json, figures and report.html.
    """
    from jobs.design_compare import run_compare

    run_compare(sequences, criterion=criterion, snr=snr, out=out, force=force, console=Console(quiet))


@app.command()
def export(
    protocol: Annotated[
        Path,
        typer.Argument(
            metavar="SEQUENCE",
            help="Protocol (YAML) with the sections trajectory and scan, or a folder of a design with them.",
        ),
    ],
    out: OutFolder,
    scanner: Annotated[
        str | None,
        typer.Option("--scanner", metavar="NAME", help="siemens, ge or philips, instead of the protocol's."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write a sequence as a Pulseq file.

    The file is read back, and its signals are compared with those of the sequence. The folder also gets
    pypulseq's report and a protocol of what is played, for all other commands.
    """
    from jobs.design_export import run_export

    run_export(protocol, out=out, scanner=scanner, force=force, console=Console(quiet))


@app.command()
def read(
    pulseq: Annotated[Path, typer.Argument(metavar="PULSEQ", help="Pulseq file (.seq).")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Folder to write. [default: only tell]")
    ] = None,
    t1_ms: Annotated[
        list[str] | None,
        typer.Option("--t1-ms", metavar="MS", help="Simulate tissues with these T1: 800,1300."),
    ] = None,
    t2_ms: Annotated[
        list[str] | None, typer.Option("--t2-ms", metavar="MS", help="T2 of each T1, or one for all.")
    ] = None,
    slice_thickness_mm: Annotated[
        float | None,
        typer.Option("--slice-thickness-mm", help="Nominal slice thickness, instead of the file's."),
    ] = None,
    segment_gap_us: Annotated[
        float | None,
        typer.Option(
            "--segment-gap-us",
            help="Time that a GE scanner adds after each segment (label TRID), instead of the file's.",
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Tell what a Pulseq file plays, from its pulses, gradient moments and times.

    For trains of excitations with one readout each, spoiled or balanced, from any program. The folder gets
    the train (CSV), a protocol for all other commands, signals of tissues and a figure.
    """
    from jobs.design_read import read_design

    read_design(
        pulseq,
        out=out,
        t1_ms=numbers("--t1-ms", t1_ms or []),
        t2_ms=numbers("--t2-ms", t2_ms or []),
        slice_thickness_mm=slice_thickness_mm,
        segment_gap_us=segment_gap_us,
        force=force,
        console=Console(quiet),
    )
