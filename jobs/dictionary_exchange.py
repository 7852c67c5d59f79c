"""``epgbloch dictionary export`` and ``import``: arrays of other programs."""

from __future__ import annotations

from pathlib import Path

from dictionaries import (
    Dictionary,
    export_mat,
    export_npz,
    import_dictionary,
    read_dictionary,
    write_dictionary,
)
from jobs.console import Console
from jobs.dictionary_info import show_size
from jobs.outputs import new_file
from jobs.protocol import load_protocol

_FORMATS = {".mat": export_mat, ".npz": export_npz}


def run_export(path: Path, *, out: Path, force: bool, console: Console) -> None:
    """Write a dictionary file for MATLAB or NumPy.

    Raises
    ------
    ValueError
        If the name does not tell the format, or the file is not an intact dictionary.
    OSError
        If a file cannot be opened, exists and `force` is not set, or cannot be written.
    """
    if out.suffix not in _FORMATS:
        raise ValueError(f"--out {out}: the name must end in .mat or .npz")
    dictionary = read_dictionary(path)
    with new_file(out, force=force) as temporary:
        _FORMATS[out.suffix](temporary, dictionary)
    console.result(f"wrote {out}")


def run_import(
    path: Path, *, out: Path, protocol_path: Path | None, force: bool, console: Console
) -> Dictionary:
    """Make a dictionary file from arrays; see `dictionaries.import_dictionary`.

    Raises
    ------
    ValueError
        If the arrays or the protocol cannot be used, or do not fit together.
    OSError
        If a file cannot be opened, exists and `force` is not set, or cannot be written.
    """
    sequence = None if protocol_path is None else load_protocol(protocol_path).sequence
    dictionary = import_dictionary(path, sequence)
    with new_file(out, force=force) as temporary:
        write_dictionary(temporary, dictionary)
    show_size(dictionary, out, console)
    if dictionary.sequence is None:
        console.notice("its sequence is unknown: match works, reconstruct needs an import with --protocol")
    console.result(f"wrote {out}")
    return dictionary
