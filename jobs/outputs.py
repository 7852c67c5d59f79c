"""Output files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from epgbloch import __version__
from epgbloch._files import Parts

_PROVENANCE = "provenance.json"
# What file managers leave in every folder that they show.
_LITTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
_LIBRARIES = ("numpy", "scipy", "numba", "finufft", "sigpy", "h5py", "ismrmrd", "nibabel")


@dataclass(frozen=True)
class OutputFolder:
    """A folder being filled.

    Attributes
    ----------
    path : Path
        Where to write; takes its final name at the end.
    provenance : dict
        What made the folder; written into it as ``provenance.json``. Values must fit JSON.
    """

    path: Path
    provenance: dict[str, Any]


@contextmanager
def new_file(path: Path, *, force: bool, n_bytes: int = 0) -> Iterator[Path]:
    """Yield a temporary path on the disk of `path`; the file takes its name when the block ends well.

    Parameters
    ----------
    path : Path
        The file; missing parent folders are made.
    force : bool
        Replace an existing file.
    n_bytes : int
        Expected size, for which there must be space.

    Raises
    ------
    FileExistsError
        If the file exists and `force` is not set, or it is a folder.
    OSError
        If the folder cannot be written or the disk is full. Nothing is left behind.
    """
    path = path.resolve()
    _check_file(path, force)
    with _temporary_beside(path, n_bytes) as temporary:
        yield temporary / path.name
        os.replace(temporary / path.name, path)


def check_resumable(path: Path, *, force: bool) -> None:
    """Check the name of a file that is made piece by piece beside its folder ``<name>.parts``.

    Raises
    ------
    FileExistsError
        If the file exists without such a folder and `force` is not set, or it is a folder.
    OSError
        If a missing parent folder cannot be made.
    """
    if path.is_dir() or not path.with_name(f"{path.name}.parts").exists():
        _check_file(path, force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}; choose another place") from error


def _check_file(path: Path, force: bool) -> None:
    if path.is_dir():
        raise FileExistsError(f"{path} is a folder; give a file name")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists; give --force to replace it, or choose another name")


@contextmanager
def new_folder(path: Path, command: str, *, force: bool, n_bytes: int = 0) -> Iterator[OutputFolder]:
    """Yield an empty folder on the disk of `path`, which takes its name when the block ends well.

    ``provenance.json`` in it names the command, the versions and the files. With `force`, an earlier result
    of the same command is replaced as a whole; a folder that holds anything else is never touched, except
    for the files of file managers (``.DS_Store`` and the like), which do not count.

    Parameters
    ----------
    path : Path
        The folder; missing parent folders are made.
    command : str
        Name of the command.
    force : bool
        Replace an earlier result.
    n_bytes : int
        Expected size, for which there must be space.

    Raises
    ------
    FileExistsError
        If the folder holds files that may not be replaced, or is the current folder or one around it.
    OSError
        If the folder cannot be written or the disk is full. Nothing is left behind.
    """
    path = path.resolve()
    check_folder(path, command, force=force)
    with _temporary_beside(path, n_bytes) as temporary:
        output = OutputFolder(temporary / "new", {"command": f"epgbloch {command}", "versions": versions()})
        output.path.mkdir()
        yield output
        content = {**output.provenance, "files": sorted(_files(output.path))}
        text = json.dumps(content, indent=2, allow_nan=False)
        (output.path / _PROVENANCE).write_text(text + "\n", encoding="utf-8")
        if path.exists():
            path.rename(temporary / "old")
        try:
            output.path.rename(path)
        except OSError:
            if (temporary / "old").exists():
                (temporary / "old").rename(path)
            raise


@contextmanager
def resumable_folder(
    path: Path, command: str, identity: dict[str, Any], *, force: bool, n_bytes: int = 0
) -> Iterator[Parts]:
    """Yield the parts of a folder that takes long to make; they go when the block ends well.

    The block computes what the parts lack and makes the folder itself with `new_folder`. The parts lie beside
    it, in ``<name>.parts``; where a run is interrupted or fails they stay, and the next one finds them,
    unless there are none yet.

    Parameters
    ----------
    path, command, force, n_bytes
        As of `new_folder`.
    identity : dict
        What determines the parts to the last bit; must fit JSON.

    Raises
    ------
    FileExistsError
        If the folder holds files that may not be replaced, or is the current folder or one around it.
    ValueError
        If there are parts of something else.
    OSError
        If another process makes the folder, or it cannot be written.
    """
    path = path.resolve()
    check_folder(path, command, force=force)
    missing = _made_parents(path, n_bytes)
    parts = Parts(path, f"result of epgbloch {command}", identity)
    with closing(parts):
        try:
            parts.open(replace=True)
            yield parts
        except BlockingIOError:  # they are those of the other process
            raise
        except BaseException:
            if not any(parts.folder.glob("*.npz")):
                parts.remove()
                _remove_empty(missing)
            raise
        parts.remove()


def add_files(folder: Path, names: list[str]) -> None:
    """Add files to those that the provenance of a folder of `new_folder` names.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    path = folder / _PROVENANCE
    content = json.loads(path.read_text(encoding="utf-8"))
    content["files"] = sorted({*content["files"], *names})
    with new_file(path, force=True) as temporary:
        temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Versions of Python, this package and what it computes with."""
    libraries = {name: metadata.version(name) for name in _LIBRARIES}
    return {"epgbloch": __version__, "python": sys.version.split()[0], **libraries}


def _made_parents(path: Path, n_bytes: int) -> list[Path]:
    """Make the folders around `path`, check their space, and return those that were missing."""
    missing = [parent for parent in path.parents if not parent.exists()]
    with _unwritable(path, missing):
        path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(path.parent).free
        if n_bytes > free:
            raise OSError(errno.ENOSPC, f"{n_bytes / 1e6:.3g} MB needed, {free / 1e6:.3g} MB free")
    return missing


@contextmanager
def _unwritable(path: Path, missing: list[Path]) -> Iterator[None]:
    """Say of errors in the block that `path` cannot be written, and remove the folders made for it."""
    try:
        yield
    except OSError as error:
        _remove_empty(missing)
        raise OSError(f"cannot write {path}: {error.strerror}; choose another place") from error


@contextmanager
def _temporary_beside(path: Path, n_bytes: int) -> Iterator[Path]:
    missing = _made_parents(path, n_bytes)
    with _unwritable(path, missing):
        temporary = tempfile.TemporaryDirectory(
            prefix=f".{path.name}-", dir=path.parent, ignore_cleanup_errors=True
        )
    try:
        with temporary as name:
            yield Path(name)
    except BaseException as error:
        _remove_empty(missing)
        if isinstance(error, OSError) and _is_full(error):
            raise OSError(f"the disk of {path} is full; free space or choose another place") from error
        raise


def _is_full(error: OSError) -> bool:
    # The libraries that write files wrap the error and keep its text.
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() and path.name not in _LITTER
    }


def check_folder(folder: Path, command: str, *, force: bool) -> None:
    """Raise a FileExistsError unless `new_folder` would make this folder."""
    folder = folder.resolve()
    current = Path.cwd()
    if folder in (current, *current.parents):
        raise FileExistsError(
            f"{folder} is the current folder or one around it, and would be replaced as a whole; give the "
            "name of a new folder"
        )
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give the name of a folder")
    existing = _files(folder) if folder.is_dir() else set()
    if not existing:
        return
    try:
        content = json.loads((folder / _PROVENANCE).read_text(encoding="utf-8"))
        ours = {*content["files"], _PROVENANCE} if content["command"] == f"epgbloch {command}" else set()
    except (OSError, ValueError, KeyError, TypeError):
        ours = set()
    foreign = sorted(existing - ours)
    if foreign:
        raise FileExistsError(
            f"{folder} holds {foreign[0]}, which epgbloch {command} did not write; choose another folder"
        )
    if not force:
        raise FileExistsError(f"{folder} holds an earlier result; give --force to replace it")
