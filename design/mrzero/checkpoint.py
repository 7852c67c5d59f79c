"""The state of an optimisation in a file, from which it continues exactly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from epgbloch._files import read_archive, replacing

Arrays = dict[str, NDArray[Any]]

_FORMAT_VERSION = 1
_HEADER = "header"


def write_checkpoint(path: Path, arrays: Arrays, identity: dict[str, Any]) -> None:
    """Write arrays; the file is replaced at once, so that there is always a whole one.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    arrays : dict
        The state.
    identity : dict
        What the state belongs to; must fit JSON.

    Raises
    ------
    OSError
        If the file cannot be written; the earlier one is kept.
    """
    header = json.dumps({"format_version": _FORMAT_VERSION, "identity": identity})
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **{_HEADER: np.array(header), **arrays})
    except OSError as error:
        raise OSError(
            error.errno, f"cannot write {path}: {error.strerror}; free space or choose another folder"
        ) from error


def read_checkpoint(path: Path, identity: dict[str, Any]) -> Arrays | None:
    """Return the arrays in a file of `write_checkpoint`; None if there is no file.

    Raises
    ------
    ValueError
        If the file is damaged, of another format version, or belongs to something else.
    """
    try:
        with path.open("rb") as file:
            arrays = read_archive(file)
        header = json.loads(str(arrays.pop(_HEADER)))
        if header["format_version"] != _FORMAT_VERSION:
            raise ValueError("it is of another version of epgbloch")
        found = header["identity"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a checkpoint, or a damaged one ({error}); remove it to start again"
        ) from error
    for name, value in json.loads(json.dumps(identity)).items():
        if found.get(name) != value:
            raise ValueError(
                f"{path} belongs to an optimisation with other {name} ({found.get(name)}, not {value}); "
                "remove it to start again, or choose another file"
            )
    return arrays
