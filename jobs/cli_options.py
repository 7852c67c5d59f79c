"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CONTEXT = {"help_option_names": ["-h", "--help"]}
"""Settings of every group of commands."""
DEBUG = "epgbloch.debug"
"""Where the context keeps the option --debug."""


def _remember_debug(ctx: typer.Context, value: bool) -> bool:
    ctx.meta[DEBUG] = value
    return value


Protocol = Annotated[Path, typer.Argument(metavar="PROTOCOL", help="Protocol file (YAML).")]
ProtocolOption = Annotated[Path, typer.Option("--protocol", metavar="FILE", help="Protocol file (YAML).")]
OutFile = Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")]
OutFolder = Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Folder to write.")]
Rank = Annotated[
    int | None, typer.Option("--rank", help="Length of the temporal basis, instead of the protocol's.")
]
Threads = Annotated[int | None, typer.Option("--threads", help="Threads of the processor. [default: all]")]
Roi = Annotated[
    Path | None,
    typer.Option(
        "--roi",
        metavar="FILE",
        help="Label image of regions (NIfTI with the geometry of the maps; names in a .tsv beside it).",
    ),
]
Truth = Annotated[
    Path | None, typer.Option("--truth", metavar="FOLDER", help="True maps (BIDS), to report the errors.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", envvar="EPGBLOCH_DEBUG", callback=_remember_debug, help="Show the traceback of an error."
    ),
]


def numbers(option: str, texts: list[str]) -> list[float]:
    """Numbers of an option that is repeated or holds comma-separated values."""
    items = [item for text in texts for item in text.split(",")]
    try:
        return [float(item) for item in items]
    except ValueError:
        raise ValueError(f"{option} {','.join(texts)}: give numbers separated by commas") from None
