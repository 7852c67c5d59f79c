"""Dictionaries in HDF5 files."""

from __future__ import annotations

import contextlib
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.grid import Grid
from epgbloch import Sequence, __version__

_FORMAT = "epgbloch dictionary"
_FORMAT_VERSION = 1
_UNITS = {"t1": "s", "t2": "s", "b1": "relative to nominal", "off_resonance": "Hz"}
_DAMAGE = (OSError, RuntimeError, ValueError, KeyError, TypeError)
"""What h5py and the parsers raise on damaged bytes."""


def write_dictionary(path: str | os.PathLike[str], dictionary: Dictionary) -> Path:
    """Write a dictionary to an HDF5 file.

    Datasets, compressed and with checksums, each with the attribute `units`:

    - ``basis`` (n_pulses, rank), ``coefficients`` (n_atoms, rank), ``norms`` (n_atoms,);
    - ``tissue/t1``, ``t2``, ``b1``, ``off_resonance`` (n_atoms,);
    - ``sequence``, ``model``, ``grid`` (1,): JSON text in SI units.

    Attributes of the file: format, format_version, epgbloch_version, numpy_version, created (UTC),
    sequence_fingerprint, truncation_error_max and truncation_error_rms.

    The file is assembled in memory, written under a temporary name in the same folder and renamed when it is
    complete: after a failure an earlier file is still there, unchanged.

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
    image = _image(dictionary)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(image)
        os.replace(partial, target)
    except OSError as error:
        raise OSError(
            f"cannot write dictionary {target}: {error.strerror}; free space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()
    return target


def _image(dictionary: Dictionary) -> memoryview:
    """Return the bytes of the file. HDF5 does not see the disk: it crashes when that is full."""
    try:
        model = json.dumps(dictionary.model, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"model settings do not fit JSON ({error}); let SignalModel.settings return numbers and strings"
        ) from error
    buffer = io.BytesIO()
    # From 1.10 on, HDF5 has checksums on its own structures, but not on strings of variable length. Damage
    # to what has none can crash or hang the reader.
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        attributes = {
            "format": _FORMAT,
            "format_version": _FORMAT_VERSION,
            "epgbloch_version": __version__,
            "numpy_version": np.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sequence_fingerprint": dictionary.sequence.fingerprint(),
            "truncation_error_max": dictionary.truncation_error.max,
            "truncation_error_rms": dictionary.truncation_error.rms,
        }
        for name, value in attributes.items():
            file.attrs[name] = np.bytes_(value) if isinstance(value, str) else value
        for name, text in (
            ("sequence", json.dumps(dictionary.sequence.to_dict(), allow_nan=False)),
            ("model", model),
            ("grid", json.dumps(dictionary.grid.to_dict(), allow_nan=False)),
        ):
            # Not attributes, which end at 64 kB.
            _add(file, name, np.array([text.encode()]), "SI (s, rad, Hz, m)")
        _add(file, "basis", dictionary.basis, "1")
        _add(file, "coefficients", dictionary.coefficients, "1 (rows of unit norm)")
        _add(file, "norms", dictionary.norms, "signal of proton density 1")
        for name, units in _UNITS.items():
            _add(file, f"tissue/{name}", getattr(dictionary.tissue, name), units)
    return buffer.getbuffer()


def _add(file: h5py.File, name: str, data: NDArray[Any], units: str) -> None:
    # gzip carries a checksum.
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
    image = Path(path).read_bytes()
    try:
        with h5py.File(io.BytesIO(image), "r") as file:
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
    if file.attrs.get("format") != _FORMAT.encode():
        raise DictionaryError("this HDF5 file is not an epgbloch dictionary; choose another file")
    version = file.attrs.get("format_version")
    if version != _FORMAT_VERSION:
        raise DictionaryError(
            f"format version {version}, but epgbloch {__version__} reads version {_FORMAT_VERSION}: "
            "generate the dictionary again"
        )


def _contents(file: h5py.File) -> Dictionary:
    try:
        sequence = Sequence.from_dict(json.loads(_dataset(file, "sequence")[0]))
        if sequence.fingerprint().encode() != file.attrs["sequence_fingerprint"]:
            raise ValueError("sequence_fingerprint is not the one of the stored sequence")
        grid = Grid(**json.loads(_dataset(file, "grid")[0]))
        for name in _UNITS:
            if not np.array_equal(_dataset(file, f"tissue/{name}"), getattr(grid.tissue, name)):
                raise ValueError(f"tissue/{name} does not belong to the stored grid")
        return Dictionary(
            grid=grid,
            sequence=sequence,
            basis=_dataset(file, "basis"),
            coefficients=_dataset(file, "coefficients"),
            norms=_dataset(file, "norms"),
            model=json.loads(_dataset(file, "model")[0]),
            truncation_error=RelativeError(
                max=float(file.attrs["truncation_error_max"]), rms=float(file.attrs["truncation_error_rms"])
            ),
        )
    except _DAMAGE as error:
        raise DictionaryError(f"{error}; the file is damaged: generate the dictionary again") from error


def _dataset(file: h5py.File, name: str) -> NDArray[Any]:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ValueError(f"dataset {name} is missing")
    return dataset[...]
