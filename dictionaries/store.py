"""Dictionaries in HDF5 files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dictionaries.atom_list import FIELDS, AtomList
from dictionaries.compression import BLOCK, blocks_of, error_statistics
from dictionaries.dictionary import Dictionary, RelativeError
from dictionaries.grid import Grid
from epgbloch import Sequence, __version__
from epgbloch._files import library_versions, new_hdf5, replacing

FORMAT = "epgbloch dictionary"
"""Attribute `format` of the files."""
FORMAT_VERSION = 2
"""Attribute `format_version` of the files."""
_UNITS = {"t1": "s", "t2": "s", "b1": "relative to nominal", "off_resonance": "Hz", "diffusion": "m^2/s"}


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
    with replaced_dictionary(path) as partial:
        write_blocks(
            partial,
            dictionary.grid,
            dictionary.sequence,
            dictionary.model,
            dictionary.basis,
            dictionary.singular_values,
            (
                {"coefficients": dictionary.coefficients[atoms], "norms": dictionary.norms[atoms]}
                for atoms in blocks_of(dictionary.n_atoms)
            ),
            (dictionary.truncation_error, dictionary.error_counts),
        )
    return Path(path)


@contextlib.contextmanager
def replaced_dictionary(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path that takes its name when the block ends well; explain an OSError."""
    try:
        with replacing(Path(path)) as partial:
            yield partial
    except OSError as error:
        raise OSError(
            f"cannot write dictionary {path}: {error.strerror}; free space or choose another folder"
        ) from error


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


def _write_atoms(
    file: h5py.File, grid: Grid | AtomList, basis: NDArray[Any], blocks: Iterable[dict[str, NDArray[Any]]]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the blocks after they were written. Every HDF5 chunk is written once and as a whole."""
    n_atoms = grid.n_atoms
    # h5py makes groups with time stamps
    creation = h5py.h5p.create(h5py.h5p.GROUP_CREATE)
    creation.set_obj_track_times(False)
    h5py.h5g.create(file.id, b"tissue", gcpl=creation)
    rows = min(BLOCK, n_atoms)
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
    for atoms, block in zip(blocks_of(n_atoms), blocks, strict=True):
        file["coefficients"][atoms], file["norms"][atoms] = block["coefficients"], block["norms"]
        tissue = grid[atoms]
        for name in FIELDS:
            file[f"tissue/{name}"][atoms] = getattr(tissue, name)
        yield block


def _add(file: h5py.File, name: str, data: NDArray[Any], units: str) -> None:
    dataset = file.create_dataset(name, data=data, chunks=True, compression="gzip", shuffle=True)
    dataset.attrs["units"] = np.bytes_(units)
