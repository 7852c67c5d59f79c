"""``epgbloch dictionary``: the dictionary of a protocol into an HDF5 file."""

from __future__ import annotations

from pathlib import Path

from dictionaries import Dictionary, generate, write_dictionary
from jobs.console import Console
from jobs.outputs import new_file
from jobs.protocol import Protocol, load_protocol


def run_dictionary(
    protocol_path: Path, *, out: Path, rank: int | None, force: bool, console: Console
) -> Dictionary:
    """Make the dictionary of a protocol and write it.

    Raises
    ------
    ValueError
        If the protocol is not valid or has no grid.
    OSError
        If the file exists and `force` is not set, or cannot be written.
    """
    protocol = load_protocol(protocol_path).changed(rank=rank)
    n_bytes = 4 * protocol.required_grid().n_atoms * protocol.rank
    with new_file(out, force=force, n_bytes=n_bytes) as path:
        dictionary = make_dictionary(protocol, console)
        write_dictionary(path, dictionary)
    error = dictionary.truncation_error
    console.table(
        ("atoms", "pulses", "rank", "truncation error rms", "max", "size"),
        [
            (
                f"{dictionary.n_atoms}",
                f"{dictionary.sequence.n_pulses}",
                f"{dictionary.rank}",
                f"{100 * error.rms:.2g} %",
                f"{100 * error.max:.2g} %",
                f"{out.stat().st_size / 1e6:.1f} MB",
            )
        ],
    )
    console.result(f"wrote {out}")
    return dictionary


def make_dictionary(protocol: Protocol, console: Console) -> Dictionary:
    """Dictionary of a protocol."""
    grid, sequence = protocol.required_grid(), protocol.sequence
    with console.step(f"Dictionary of {grid.n_atoms} atoms x {sequence.n_pulses} pulses") as progress:
        return generate(protocol.model, sequence, grid, rank=protocol.rank, progress=progress)
