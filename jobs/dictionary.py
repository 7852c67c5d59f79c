"""``epgbloch dictionary make``: the dictionary of a protocol in an HDF5 file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dictionaries import Dictionary, Grid, generate, generate_file, read_dictionary
from dictionaries.estimate import Estimate, estimate
from epgbloch.model import identity
from jobs.console import Console
from jobs.dictionary_info import show_size
from jobs.options import at_least
from jobs.outputs import check_resumable
from jobs.protocol import Protocol, load_protocol


def run_dictionary(
    protocol_path: Path,
    *,
    out: Path,
    rank: int | None,
    truncation_error: float | None = None,
    scheduler: str | None = None,
    force: bool,
    console: Console,
) -> Dictionary:
    """Make the dictionary of a protocol in a file; a killed run continues where it was.

    Raises
    ------
    ValueError
        If the protocol is not valid or has no grid, or the rank is out of range.
        Also if `scheduler` is given and Dask is not installed.
    OSError
        If the file exists and `force` is not set, or cannot be written.
    """
    protocol = _protocol(protocol_path, rank, truncation_error)
    grid, sequence = protocol.required_grid(), protocol.sequence
    target = out.resolve()
    check_resumable(target, force=force)
    with console.step(f"Dictionary of {grid.n_atoms} atoms x {sequence.n_pulses} pulses") as progress:
        try:
            generate_file(
                target,
                protocol.model,
                sequence,
                grid,
                rank=protocol.rank if truncation_error is None else None,
                truncation_error=truncation_error,
                scheduler=scheduler,
                replace=force,
                progress=progress,
            )
        except ImportError as error:
            raise ValueError(str(error)) from error
    dictionary = read_dictionary(target)  # checks it
    show_size(dictionary, out, console)
    console.result(f"wrote {out}")
    return dictionary


def run_estimate(protocol_path: Path, *, rank: int | None, console: Console) -> Estimate:
    """Tell what the dictionary of a protocol will take, from a short measurement; nothing is written.

    Raises
    ------
    ValueError
        If the protocol is not valid or has no grid, or the rank is out of range.
    """
    protocol = _protocol(protocol_path, rank, None)
    grid, sequence = protocol.required_grid(), protocol.sequence
    with console.step("Measuring"):
        result = estimate(protocol.model, sequence, grid, rank=protocol.rank)
    console.table(
        ("atoms", "pulses", "rank", "time on this machine", "file", "disk while it is made", "memory"),
        [
            (
                f"{result.n_atoms}",
                f"{sequence.n_pulses}",
                f"{protocol.rank}",
                _duration(result.seconds),
                *(
                    f"{n_bytes / 1e6:.4g} MB"
                    for n_bytes in (result.file_bytes, result.disk_bytes, result.memory_bytes)
                ),
            )
        ],
    )
    return result


def _protocol(path: Path, rank: int | None, truncation_error: float | None) -> Protocol:
    at_least(1, rank=rank)
    if rank is not None and truncation_error is not None:
        raise ValueError("--rank and --truncation-error exclude each other; leave one out")
    protocol = load_protocol(path).changed(rank=rank)
    if truncation_error is None:
        check_rank(protocol)
    return protocol


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} s"


def make_dictionary(protocol: Protocol, console: Console) -> Dictionary:
    """Dictionary of a protocol."""
    grid, sequence = protocol.required_grid(), protocol.sequence
    with console.step(f"Dictionary of {grid.n_atoms} atoms x {sequence.n_pulses} pulses") as progress:
        return generate(protocol.model, sequence, grid, rank=protocol.rank, progress=progress)


def check_rank(protocol: Protocol) -> None:
    """Raise a ValueError unless the protocol has a grid and the rank is possible with it."""
    n_pulses, n_atoms = protocol.sequence.n_pulses, protocol.required_grid().n_atoms
    if protocol.rank > min(n_pulses, n_atoms):
        raise ValueError(
            f"{protocol.path}: rank={protocol.rank} must be at most {min(n_pulses, n_atoms)}: there are "
            f"{n_pulses} pulses and {n_atoms} atoms"
        )


def stored_dictionary(path: Path, protocol: Protocol, rank: int | None) -> Dictionary:
    """Dictionary of a file, which must be the one that the protocol describes.

    What the protocol leaves out is not compared: without section ``dictionary`` it says nothing about grid
    and rank, without section ``engine`` or ``surrogate`` nothing about the model. The sequence must always
    be the same.

    Parameters
    ----------
    path : Path
        File of `write_dictionary`.
    protocol : Protocol
        The protocol, with options of the command line.
    rank : int or None
        Rank of the command line.

    Raises
    ------
    ValueError
        If the file is not an intact dictionary, or something differs; the message says what.
    OSError
        If the file cannot be opened.
    """
    dictionary = read_dictionary(path, sequence=protocol.sequence)
    if rank not in (None, dictionary.rank):
        raise ValueError(f"--rank {rank}: {path} has rank {dictionary.rank}; leave the option out")
    model = "engine" if protocol.model is protocol.engine else "surrogate"
    differences: dict[str, list[str]] = {"dictionary": [], model: []}
    if protocol.grid is not None:
        asked = protocol.grid.to_dict()
        if not isinstance(dictionary.grid, Grid):
            differences["dictionary"].append(
                f"it lists {dictionary.n_atoms} atoms that need not lie on a grid"
            )
        else:
            for name, axis in dictionary.grid.to_dict().items():
                # Equal but for the rounding of logarithmic axes on another machine.
                if len(axis) != len(asked[name]) or not np.allclose(axis, asked[name], rtol=1e-9, atol=0):
                    differences["dictionary"].append(f"{name} is {_range(axis)}, not {_range(asked[name])}")
        if dictionary.rank != protocol.rank:
            differences["dictionary"].append(f"rank is {dictionary.rank}, not {protocol.rank}")
    if protocol.model_given:
        settings, stored = identity(protocol.model.settings()), identity(dictionary.model)
        for name in sorted({*stored, *settings}):
            if stored.get(name) != settings.get(name):
                differences[model].append(f"{name} is {stored.get(name)}, not {settings.get(name)}")
    sections = [name for name, found in differences.items() if found]
    if sections:
        listed = "; ".join(difference for name in sections for difference in differences[name])
        raise ValueError(
            f"{path} is not the dictionary of {protocol.path}: {listed}. Generate it again, or remove the "
            f"section {' and the section '.join(sections)} from the protocol to use the file as it is"
        )
    return dictionary


def _range(axis: list[float]) -> str:
    """Description of an axis in SI units."""
    return f"{axis[0]:.6g}" if len(axis) == 1 else f"{len(axis)} values from {axis[0]:.6g} to {axis[-1]:.6g}"
