"""Dictionaries to and from other programs: plain arrays, NumPy and MATLAB files."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from dictionaries.arrays import dictionary_from_arrays
from dictionaries.atom_list import FIELDS
from dictionaries.compression import BLOCK, blocks_of
from dictionaries.dictionary import Dictionary, DictionaryError, RelativeError
from dictionaries.grid import Grid
from dictionaries.reading import stored_atoms
from dictionaries.store import model_text, replaced_dictionary
from epgbloch import Sequence, Tissue
from epgbloch._files import new_hdf5

_DAMAGE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    MatReadError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers raise on damaged bytes."""
_VERSION_7_3 = b"MATLAB 7.3 MAT-file"
# 116 bytes of text, 8 of no subsystem data, version 2.0, and the order of bytes
_USER_BLOCK = (
    (_VERSION_7_3 + b", Platform: epgbloch, HDF5 schema 1.00 .").ljust(116) + bytes(8) + b"\x00\x02IM"
).ljust(512, b"\0")
_MATLAB_CLASSES = {"float32": "single", "complex64": "single", "float64": "double", "int64": "int64"}


def export_npz(path: str | os.PathLike[str], dictionary: Dictionary) -> Path:
    """Write a dictionary to a NumPy file (npz, compressed).

    Arrays as of `Dictionary`: ``basis``, ``coefficients``, ``norms``; ``t1``, ``t2``, ``b1``,
    ``off_resonance``, ``diffusion`` of every atom [s, s, 1, Hz, m^2/s]; where they are known,
    ``singular_values``, ``error_counts`` and ``truncation_error`` (maximum, root mean square). Texts in JSON:
    ``model``, ``sequence`` (`Sequence.to_dict`) and ``grid`` (axes); null where there is none.

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
        If the file cannot be written.
    """
    variables = _variables(dictionary)
    with replaced_dictionary(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **variables)
    return Path(path)


def export_mat(path: str | os.PathLike[str], dictionary: Dictionary) -> Path:
    """Write a dictionary to a MATLAB file (version 7.3), for ``load`` in MATLAB.

    The variables are those of `export_npz`: matrices of the same shape, vectors as columns, texts as rows of
    characters, which ``jsondecode`` reads.

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
        If the file cannot be written.
    """
    variables = _variables(dictionary)
    with (
        replaced_dictionary(path) as partial,
        new_hdf5(partial, libver="earliest", userblock=_USER_BLOCK) as file,
    ):
        for name, value in variables.items():
            if isinstance(value, str):
                _write_characters(file, name, value)
            else:
                _write_matrix(file, name, value)
    return Path(path)


def import_dictionary(path: str | os.PathLike[str], sequence: Sequence | None = None) -> Dictionary:
    """Read a dictionary from a file with the variables of `export_npz`: npz, or mat of any version.

    Other programs need to write only ``basis``, ``coefficients``, ``t1`` and ``t2``. What else is missing is
    taken to be as in `dictionary_from_arrays`: ``norms`` from the coefficients, B1 1, off-resonance 0, no
    known sequence. Files with other names or units: `read_arrays`, then `dictionary_from_arrays`.

    Parameters
    ----------
    path : path-like
        The file.
    sequence : Sequence, optional
        The sequence of the measurement: the dictionary must have been made for the same. If the file does not
        tell its sequence, you vouch that it is this one.

    Returns
    -------
    Dictionary
        Bit for bit the one that was exported.

    Raises
    ------
    DictionaryError
        If the file is damaged, lacks variables or they do not fit together, or was made for another sequence.
    OSError
        If the file cannot be opened.
    """
    variables = read_arrays(path)
    try:
        texts = {
            name: json.loads(_text(variables.pop(name, "null"))) for name in ("sequence", "model", "grid")
        }
        fields = {name: np.ravel(variables.pop(name)) for name in FIELDS if name in variables}
        for name in ("basis", "coefficients", "t1", "t2"):
            if name not in {*variables, *fields}:
                raise DictionaryError(f"variable {name} is missing; files with other names: read_arrays")
        stored = None if texts["sequence"] is None else Sequence.from_dict(texts["sequence"])
        tissue = Tissue(**fields)
        dictionary = dictionary_from_arrays(
            stored_atoms({name: getattr(tissue, name) for name in FIELDS}, texts["grid"]),
            basis=variables["basis"],
            coefficients=variables["coefficients"],
            norms=np.ravel(variables["norms"]) if "norms" in variables else None,
            sequence=sequence if stored is None else stored,
            model=texts["model"],
            truncation_error=_error(variables),
            singular_values=_vector(variables, "singular_values"),
            error_counts=_vector(variables, "error_counts"),
        )
        if sequence is not None:
            dictionary.check_sequence(sequence)
    except _DAMAGE as error:
        raise DictionaryError(f"{path}: {error}") from error
    return dictionary


def read_arrays(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the variables of a NumPy (npz) or MATLAB file (mat, any version).

    Those of MATLAB files have the shape that they have in MATLAB, two dimensions at least; characters come as
    str. Cells, structures and objects are left out.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    dict
        Arrays and texts by name.

    Raises
    ------
    DictionaryError
        If the file is neither, or damaged.
    OSError
        If the file cannot be opened.
    """
    with open(path, "rb") as stream:
        start = stream.read(len(_VERSION_7_3))
        stream.seek(0)
        try:
            if start.startswith(b"PK"):
                stored = np.load(stream)
                arrays = {name: stored[name] for name in stored.files}
                return {
                    name: str(value) if value.dtype.kind == "U" else value for name, value in arrays.items()
                }
            if start == _VERSION_7_3:
                with h5py.File(stream, "r") as file:
                    items = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
                    read = {name: _read_variable(item) for name, item in items.items()}
                return {name: value for name, value in read.items() if value is not None}
            return {
                name: str(value[0]) if value.dtype.kind == "U" and value.size else value
                for name, value in loadmat(stream).items()
                if isinstance(value, np.ndarray) and value.dtype.kind in "fciubU"
            }
        except _DAMAGE as error:
            raise DictionaryError(
                f"{path} is neither an npz nor a mat file, or a truncated or damaged one ({error})"
            ) from error


def _variables(dictionary: Dictionary) -> dict[str, Any]:
    sequence, grid, error = dictionary.sequence, dictionary.grid, dictionary.truncation_error
    arrays = {name: getattr(dictionary, name) for name in ("basis", "coefficients", "norms")}
    arrays |= {name: getattr(dictionary.tissue, name) for name in FIELDS}
    for name in ("singular_values", "error_counts"):
        if getattr(dictionary, name) is not None:
            arrays[name] = getattr(dictionary, name)
    if error is not None:
        arrays["truncation_error"] = np.array(error)
    return arrays | {
        "model": model_text(dictionary.model),
        "sequence": json.dumps(None if sequence is None else sequence.to_dict()),
        "grid": json.dumps(grid.to_dict() if isinstance(grid, Grid) else None),
    }


def _write_matrix(file: h5py.File, name: str, value: NDArray[Any]) -> None:
    """MATLAB counts the first index fastest: its matrices are stored as their transposes."""
    matrix = value.reshape(len(value), -1).T
    dtype: Any = matrix.dtype
    if np.iscomplexobj(matrix):
        dtype = np.dtype([("real", np.float32), ("imag", np.float32)])
    n_rows, n_columns = matrix.shape
    dataset = file.create_dataset(
        name, matrix.shape, dtype, chunks=(n_rows, min(BLOCK, n_columns)), compression="gzip", shuffle=True
    )
    for columns in blocks_of(n_columns):
        dataset[:, columns] = np.ascontiguousarray(matrix[:, columns]).view(dtype)
    dataset.attrs["MATLAB_class"] = np.bytes_(_MATLAB_CLASSES[value.dtype.name])


def _write_characters(file: h5py.File, name: str, text: str) -> None:
    codes = np.frombuffer(text.encode("utf-16-le"), "<u2")
    dataset = file.create_dataset(name, data=codes[:, np.newaxis], compression="gzip")
    dataset.attrs["MATLAB_class"] = np.bytes_("char")
    dataset.attrs["MATLAB_int_decode"] = np.int32(2)


def _read_variable(dataset: h5py.Dataset) -> Any:
    """Array or text; None for anything else."""
    kind = dataset.attrs.get("MATLAB_class", b"").decode()
    if "MATLAB_empty" in dataset.attrs or kind in ("cell", "struct", "function_handle"):
        return None
    if kind == "char":
        return dataset[...].T.astype("<u2").tobytes().decode("utf-16-le")
    if dataset.dtype.names == ("real", "imag"):
        stored = dataset[...]
        return np.ascontiguousarray((stored["real"] + 1j * stored["imag"]).T)
    return np.ascontiguousarray(dataset[...].T) if dataset.dtype.kind in "fiub" else None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DictionaryError(f"a text holds an array of shape {np.shape(value)}")
    return value


def _vector(variables: dict[str, Any], name: str) -> Any:
    return np.ravel(variables[name]) if name in variables else None


def _error(variables: dict[str, Any]) -> RelativeError | None:
    error = _vector(variables, "truncation_error")
    return None if error is None else RelativeError(*map(float, error))
