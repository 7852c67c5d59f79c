"""Dictionaries in HDF5 files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dictionaries.atom_list import FIELDS, AtomList
from dictionaries.compression import STATISTICS_BLOCK, error_statistics
from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.grid import Grid
from epgbloch import Sequence, Tissue, __version__
from epgbloch._files import library_versions, new_hdf5, replacing

FORMAT = "epgbloch dictionary"
"""Attribute `format` of the files."""
FORMAT_VERSION = 2
"""Attribute `format_version` of the files."""
_UNITS = {"t1": "s", "t2": "s", "b1": "relative to nominal", "off_resonance": "Hz", "diffusion": "m^2/s"}
_ROWS = STATISTICS_BLOCK
"""Atoms of an HDF5 chunk."""
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py and the parsers raise on damaged bytes."""


def write_dictionary(path: str | os.PathLike[str], dictionary: Dictionary) -> Path:
    """Write a dictionary to an HDF5 file (format version 2).

    Datasets, chunked, compressed and with checksums, each with the attribute `units`:

    - ``basis`` (n_pulses, rank), ``coefficients`` (n_atoms, rank), ``norms`` (n_atoms,);
    - ``tissue/t1``, ``t2``, ``b1``, ``off_resonance``, ``diffusion`` (n_atoms,);
    - ``singular_values`` (n_pulses,), ``error_counts`` (70,), where they are known;
    - ``sequence``, ``model``, ``grid`` (1,): JSON text in SI units, null if not known. The grid of an
      `AtomList` is null: the atoms are those of ``tissue``.

    Attributes of the file: format, format_version, epgbloch_version and those of numpy, scipy and numba,
    sequence_fingerprint, truncation_error_max and truncation_error_rms, where they are known. There is no
    time stamp: the same dictionary gives the same file.

    The file is written under a temporary name in the same folder and renamed when it is complete: after a
    failure an earlier file is still there, unchanged.

    Parameters
    ----------
    path : path-like
        The file; replaced if it exists.
    dictionary : Dictionary
        What is written.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        If the model settings do not fit JSON.
    OSError
        If the file cannot be written (no space, no permission, no such folder).
    """
    target = Path(path)
    try:
        with replacing(target) as partial:
            write_blocks(
                partial,
                dictionary.grid,
                dictionary.sequence,
                dictionary.model,
                dictionary.basis,
                dictionary.singular_values,
                (
                    {"coefficients": dictionary.coefficients[atoms], "norms": dictionary.norms[atoms]}
                    for atoms in _row_slices(dictionary.n_atoms)
                ),
                (dictionary.truncation_error, dictionary.error_counts),
            )
    except OSError as error:
        raise OSError(
            f"cannot write dictionary {target}: {error.strerror}; free space or choose another folder"
        ) from error
    return target


def write_blocks(
    path: Path,
    grid: Grid | AtomList,
    sequence: Sequence | None,
    model: dict[str, Any],
    basis: NDArray[Any],
    singular_values: NDArray[np.float64] | None,
    blocks: Iterable[dict[str, NDArray[Any]]],
    errors: tuple[RelativeError | None, NDArray[np.int64] | None] | None = None,
) -> None:
    """Write the file of a dictionary whose atoms arrive in blocks, in the memory of one block.

    Parameters
    ----------
    path : Path
        The file.
    grid, sequence, model, basis, singular_values
        As of `Dictionary`.
    blocks : iterable of dict
        Coefficients and norms of all atoms in order: of 8192 atoms each, but for the last block.
    errors : tuple, optional
        Truncation error and error counts as of `Dictionary`. If not given, blocks hold the errors of their
        atoms as ``error``.
    """
    texts = {
        "sequence": _json(None if sequence is None else sequence.to_dict()),
        "model": model_text(model),
        "grid": _json(grid.to_dict() if isinstance(grid, Grid) else None),
    }
    with new_hdf5(path) as file:
        attributes = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "epgbloch_version": __version__,
            **library_versions("numpy", "scipy", "numba"),
        }
        if sequence is not None:
            attributes["sequence_fingerprint"] = sequence.fingerprint()
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        for name, text in texts.items():
            # Not attributes, which end at 64 kB.
            _add(file, name, np.array([text.encode()]), "SI (s, rad, Hz, m)")
        _add(file, "basis", basis, "1")
        if singular_values is not None:
            _add(file, "singular_values", singular_values, "1 (of signals of unit norm)")
        written = _write_atoms(file, grid, basis, blocks)
        if errors is None:
            errors = error_statistics(block["error"] for block in written)
        for _ in written:
            pass
        error, counts = errors
        if counts is not None:
            _add(file, "error_counts", counts, "atoms in bins of ten a decade from 1e-7 to 1")
        if error is not None:
            file.attrs["truncation_error_max"] = error.max
            file.attrs["truncation_error_rms"] = error.rms


def model_text(model: dict[str, Any]) -> str:
    """Return the settings of a model as JSON text; raise a ValueError if they do not fit it."""
    try:
        return _json(model)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"model settings do not fit JSON ({error}); let SignalModel.settings return numbers and strings"
        ) from error


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _row_slices(n_atoms: int) -> Iterator[slice]:
    for start in range(0, n_atoms, _ROWS):
        yield slice(start, min(start + _ROWS, n_atoms))


def _write_atoms(
    file: h5py.File, grid: Grid | AtomList, basis: NDArray[Any], blocks: Iterable[dict[str, NDArray[Any]]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the blocks after they were written. Every HDF5 chunk is written once and as a whole."""
    n_atoms = grid.n_atoms
    # h5py makes groups with time stamps
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    h5py.h5g.create(file.id, b"tissue", gcpl=creation)
    rows = min(_ROWS, n_atoms)
    datasets = {
        "coefficients": ((n_atoms, basis.shape[1]), basis.dtype, "1 (rows of unit norm)"),
        "norms": ((n_atoms,), np.float32, "signal of proton density 1"),
        **{f"tissue/{name}": ((n_atoms,), np.float64, units) for name, units in _UNITS.items()},
    }
    for name, (shape, dtype, units) in datasets.items():
        # gzip carries a checksum.
        dataset = file.create_dataset(
            name,
            shape,
            dtype,
            chunks=(rows, *shape[1:]),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        dataset.attrs["units"] = np.bytes_(units)
    for atoms, block in zip(_row_slices(n_atoms), blocks, strict=True):
        file["coefficients"][atoms], file["norms"][atoms] = block["coefficients"], block["norms"]
        tissue = grid[atoms]
        for name in FIELDS:
            file[f"tissue/{name}"][atoms] = getattr(tissue, name)
        yield block


def _add(file: h5py.File, name: str, data: NDArray[Any], units: str) -> None:
    dataset = file.create_dataset(name, data=data, chunks=True, compression="gzip", shuffle=True)
    dataset.attrs["units"] = np.bytes_(units)


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
        error = None
        if "truncation_error_max" in file.attrs or "error_counts" in file:
            error = RelativeError(
                max=float(file.attrs["truncation_error_max"]), rms=float(file.attrs["truncation_error_rms"])
            )
        return Dictionary(
            grid=_grid(file, grid_text),
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


def _grid(file: h5py.File, axes: dict[str, list[float]] | None) -> Grid | AtomList:
    """Return the grid, which the tissues must belong to, or their list."""
    if axes is None:
        return AtomList(Tissue(*(_dataset(file, f"tissue/{name}") for name in FIELDS)))
    grid = Grid(**axes)
    for name in FIELDS:
        dataset = _dataset(file, f"tissue/{name}", load=False)
        if dataset.shape != (grid.n_atoms,):
            raise ValueError(f"tissue/{name} does not belong to the stored grid")
    for atoms in _row_slices(grid.n_atoms):
        tissue = grid[atoms]
        for name in FIELDS:
            if not np.array_equal(file[f"tissue/{name}"][atoms], getattr(tissue, name)):
                raise ValueError(f"tissue/{name} does not belong to the stored grid")
    return grid


def _dataset(file: h5py.File, name: str, *, load: bool = True) -> Any:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"dataset {name} is missing")
    return dataset[...] if load else dataset
