"""The commands ``epgbloch dictionary ...``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.cli_options import CONTEXT, Debug, Force, OutFile, OutFolder, Protocol, Quiet, Rank
from jobs.console import Console

app = typer.Typer(
    context_settings=CONTEXT,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make, look at, match and convert dictionaries.",
)
DictionaryFile = Annotated[Path, typer.Argument(metavar="DICTIONARY", help="Dictionary file (.h5).")]

Network = Annotated[
    str | None,
    typer.Option("--network", metavar="FILE", help="Weights of the network that made the dictionary."),
]


@app.command()
def make(
    protocol: Protocol,
    out: OutFile,
    rank: Rank = None,
    truncation_error: Annotated[
        float | None,
        typer.Option("--truncation-error", help="Instead of a rank: part of the signals that may be lost."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Dask scheduler, tcp://host:8786."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell atoms, size and time, from a short measurement.")
    ] = False,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make the dictionary of a protocol (HDF5).

    Interrupted or killed, it continues when called again with the same protocol. Finished parts are kept
    beside the file in the folder FILE.parts until it is complete.
    """
    from jobs.dictionary import run_dictionary, run_estimate

    if dry_run and (truncation_error is not None or scheduler is not None):
        option = "--scheduler" if truncation_error is None else "--truncation-error"
        raise ValueError(f"--dry-run measures a rank on this machine; leave {option} out")
    if dry_run:
        run_estimate(protocol, rank=rank, console=Console(quiet))
        return
    run_dictionary(
        protocol,
        out=out,
        rank=rank,
        truncation_error=truncation_error,
        scheduler=scheduler,
        force=force,
        console=Console(quiet),
    )


@app.command()
def info(dictionary: DictionaryFile, quiet: Quiet = False, debug: Debug = False) -> None:
    """Tell what a dictionary file holds."""
    from jobs.dictionary_info import run_dictionary_info

    run_dictionary_info(dictionary, console=Console(quiet))


@app.command()
def match(
    dictionary: DictionaryFile,
    signals: Annotated[
        Path, typer.Argument(metavar="SIGNALS", help="Signals in rows: .npy, .npz, .mat, .h5 or .csv.")
    ],
    out: OutFile,
    refine: Annotated[
        bool, typer.Option("--refine", help="Go below the step of the grid, with standard errors.")
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option("--noise", help="SD of the real part of the noise. [default: from the residuals]"),
    ] = None,
    network: Network = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Find T1, T2, B1 and PD of signals (CSV).

    Signals are rows of one value a pulse, or of coefficients in the basis of the dictionary. Files that hold
    several arrays have them in the variable `signal`.
    """
    from jobs.dictionary_match import run_dictionary_match

    run_dictionary_match(
        dictionary,
        signals,
        out=out,
        refined=refine,
        noise=noise,
        network=network,
        force=force,
        console=Console(quiet),
    )


@app.command()
def report(
    dictionary: DictionaryFile,
    out: OutFolder,
    network: Network = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of tissues and noise.")] = 0,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw singular values, atoms, and errors of matching against SNR."""
    from jobs.dictionary_report import run_dictionary_report
    from jobs.options import at_least

    at_least(0, seed=seed)
    run_dictionary_report(
        dictionary, out=out, network=network, seed=seed, force=force, console=Console(quiet)
    )


@app.command()
def export(
    dictionary: DictionaryFile, out: OutFile, force: Force = False, quiet: Quiet = False, debug: Debug = False
) -> None:
    """Write a dictionary for MATLAB (.mat, version 7.3) or NumPy (.npz)."""
    from jobs.dictionary_exchange import run_export

    run_export(dictionary, out=out, force=force, console=Console(quiet))


@app.command(name="import")
def import_(
    arrays: Annotated[
        Path,
        typer.Argument(metavar="ARRAYS", help="Arrays of another program: .npz, or .mat of any version."),
    ],
    out: OutFile,
    protocol: Annotated[
        Path | None,
        typer.Option("--protocol", metavar="FILE", help="Protocol of the sequence that it was made for."),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a dictionary file (HDF5) from arrays.

    Variables: basis (pulses x rank), coefficients (atoms x rank), t1 and t2 in seconds, and, if they are
    there, norms, b1 and off_resonance. `reconstruct` needs to know the sequence: give its protocol.
    """
    from jobs.dictionary_exchange import run_import

    run_import(arrays, out=out, protocol_path=protocol, force=force, console=Console(quiet))
