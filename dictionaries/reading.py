"""Reading dictionaries from HDF5 files, with checks of everything that they hold."""

from __future__ import annotations

import json
import os
from typing import Any

import h5py
import numpy as np

from dictionaries.atom_list import FIELDS, AtomList
from dictionaries.compression import blocks_of
from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.grid import Grid
from dictionaries.store import FORMAT, FORMAT_VERSION
from epgbloch import Sequence, Tissue, __version__

_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py and the parsers raise on damaged bytes."""


def read_dictionary(path: str | os.PathLike[str], sequence: Sequence | None = None) -> Dictionary:
    """Read a dictionary from a file of `write_dictionary` and check it.

    Parameters
    ----------
    path : path-like
        The file.
    sequence : Sequence, optional
        The sequence of the measurement: the dictionary must have been made for the same.

    Returns
    -------
    Dictionary
        Bit for bit the one that was written.

    Raises
    ------
    DictionaryError
        If the file is not an intact dictionary of this format version, or was made for another sequence.
    OSError
        If the file cannot be opened (FileNotFoundError and others).
    """
    with open(path, "rb", buffering=0) as stream:  # an error of the file system as it is
        try:
            with h5py.File(stream, "r") as file:
                _check_format(file)
                dictionary = _contents(file)
            if sequence is not None:
                dictionary.check_sequence(sequence)
        except DictionaryError as error:
            raise DictionaryError(f"{path}: {error}") from error
        except _DAMAGE as error:
            raise DictionaryError(
                f"{path} is not an HDF5 file, or a truncated or damaged one ({error}); "
                "choose another file or generate the dictionary again"
            ) from error
    return dictionary


def _check_format(file: h5py.File) -> None:
    if file.attrs.get("format") != FORMAT.encode():
        raise DictionaryError("this HDF5 file is not an epgbloch dictionary; choose another file")
    version = file.attrs.get("format_version")
    if version != FORMAT_VERSION:
        raise DictionaryError(
            f"format version {version}, but epgbloch {__version__} reads version {FORMAT_VERSION}: "
            "generate the dictionary again"
        )


def _contents(file: h5py.File) -> Dictionary:
    try:
        sequence_text, grid_text = (json.loads(_dataset(file, name)[0]) for name in ("sequence", "grid"))
        sequence = None if sequence_text is None else Sequence.from_dict(sequence_text)
        if sequence is not None and sequence.fingerprint().encode() != file.attrs["sequence_fingerprint"]:
            raise ValueError("sequence_fingerprint is not the one of the stored sequence")
        tissue = {name: _dataset(file, f"tissue/{name}", load=False) for name in FIELDS}
        error = None
        if "truncation_error_max" in file.attrs or "error_counts" in file:
            error = RelativeError(
                max=float(file.attrs["truncation_error_max"]), rms=float(file.attrs["truncation_error_rms"])
            )
        return Dictionary(
            grid=stored_atoms(tissue, grid_text),
            sequence=sequence,
            basis=_dataset(file, "basis"),
            coefficients=_dataset(file, "coefficients"),
            norms=_dataset(file, "norms"),
            model=json.loads(_dataset(file, "model")[0]),
            truncation_error=error,
            singular_values=_dataset(file, "singular_values") if "singular_values" in file else None,
            error_counts=_dataset(file, "error_counts") if "error_counts" in file else None,
        )
    except _DAMAGE as error:
        raise DictionaryError(f"{error}; the file is damaged: generate the dictionary again") from error


def stored_atoms(tissue: dict[str, Any], axes: dict[str, list[float]] | None) -> Grid | AtomList:
    """Return the grid, which the arrays or datasets of FIELDS must belong to, or their list.

    Raises
    ------
    ValueError
        If they do not.
    """
    if axes is None:
        return AtomList(Tissue(**{name: values[...] for name, values in tissue.items()}))
    grid = Grid(**axes)
    for name, values in tissue.items():
        if values.shape != (grid.n_atoms,):
            raise ValueError(f"{name} does not belong to the stored grid")
    for atoms in blocks_of(grid.n_atoms):
        expected = grid[atoms]
        for name, values in tissue.items():
            if not np.array_equal(values[atoms], getattr(expected, name)):
                raise ValueError(f"{name} does not belong to the stored grid")
    return grid


def _dataset(file: h5py.File, name: str, *, load: bool = True) -> Any:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"dataset {name} is missing")
    return dataset[...] if load else dataset
