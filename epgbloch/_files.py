"""Files that appear complete or not at all, and the parts of large ones while they are made."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import json
import lzma
import os
import platform
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

try:
    import fcntl
except ImportError:  # no POSIX
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import h5py

_LABEL = "label.json"
_COMPLETE = "complete"
_LOCK = "lock"
_DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""What zipfile and numpy raise on damaged npz files."""


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`, which takes its name when the block ends well.

    Processes have paths of their own; those of killed ones on this machine are removed first.
    """
    start = f".{target.name}.{platform.node()}-"
    for path in target.parent.glob(f"{glob.escape(start)}*.partial"):
        if _is_dead(path.name[len(start) :].removesuffix(".partial")):
            path.unlink(missing_ok=True)
    with _renamed(target.with_name(f"{start}{os.getpid()}.partial"), target) as temporary:
        yield temporary


@contextlib.contextmanager
def _renamed(temporary: Path, target: Path) -> Iterator[Path]:
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _is_dead(pid: str) -> bool:
    """Whether no process of this machine has this number, as far as can be told."""
    if os.name != "posix" or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)  # signals nothing
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        pass
    return False


def read_archive(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Return the arrays of an open npz file.

    Raises
    ------
    ValueError
        If the file is none, or damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            # Each is read whole first, which checks its checksum.
            return {
                name.removesuffix(".npy"): np.lib.format.read_array(
                    io.BytesIO(archive.read(name)), allow_pickle=False
                )
                for name in archive.namelist()
            }
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error


@contextlib.contextmanager
def new_hdf5(path: Path, *, libver: str = "v110", userblock: bytes = b"") -> Iterator[h5py.File]:
    """Yield a new HDF5 file without time stamps; it is on the disk when the block ends.

    HDF5 crashes when it cannot write, on a full disk say, and even later on, when it closes the file. So it
    writes through `_DiskFile`, to which no write seems to fail, and the error is raised when HDF5 is done.

    From `libver` v110 on, HDF5 has checksums on its own structures.

    Raises
    ------
    OSError
        If the file cannot be written, as from the file system.
    """
    disk = _DiskFile(path)
    try:
        with _created(path, disk, libver, len(userblock)) as file:
            yield file
        disk.seek(0)
        disk.write(userblock)
        disk.sync()
    finally:
        disk.close()


def _created(path: Path, disk: _DiskFile, libver: str, userblock_size: int) -> h5py.File:
    """Return a new HDF5 file on `disk`.

    Not in the caller: its frame may live on in the traceback of an error, and HDF5 crashes when the process
    ends with a property list that refers to a Python object.
    """
    import h5py

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fclose_degree(h5py.h5f.CLOSE_STRONG)
    version = {"earliest": h5py.h5f.LIBVER_EARLIEST, "v110": h5py.h5f.LIBVER_V110}[libver]
    access.set_libver_bounds(version, h5py.h5f.LIBVER_V110)
    access.set_fileobj_driver(h5py.h5fd.fileobj_driver, disk)
    creation = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    creation.set_obj_track_times(False)
    creation.set_userblock(userblock_size)
    handle = h5py.h5f.create(os.fsencode(path.name), h5py.h5f.ACC_TRUNC, fapl=access, fcpl=creation)
    return h5py.File(handle)


class _DiskFile(io.RawIOBase):
    """A file that notes the first failed write, and leaves out what comes after it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        rest = view
        while rest and self._error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._error = error
        return len(view)

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        n_read = self._file.readinto(view) or 0
        view[n_read:] = bytes(len(view) - n_read)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None, /) -> int:
        if self._error is None:
            try:
                return self._file.truncate(size)
            except OSError as error:
                self._error = error
        return self._file.tell()

    def sync(self) -> None:
        """Raise the error of a write that failed; wait until everything is on the disk."""
        if self._error is not None:
            error, self._error = self._error, None  # no cycle through its traceback
            raise error
        os.fsync(self._file.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):  # sync has told
            self._file.close()
        super().close()


class Parts:
    """Folder ``<name>.parts`` beside a file that is being made, with its finished parts.

    A label in it says what they belong to. Parts appear complete or not at all, and carry checksums. From
    `open` to `close`, no other process can open them, on file systems that have locks.

    Parameters
    ----------
    target : Path
        The file.
    what : str
        What the file is, for messages.
    identity : dict
        What determines the parts to the last bit; must fit JSON.
    error : type
        Exception that is raised if the folder belongs to something else.
    """

    def __init__(
        self, target: Path, what: str, identity: dict[str, Any], error: type[ValueError] = ValueError
    ) -> None:
        self.target = target
        self.folder = target.with_name(f"{target.name}.parts")
        self._what = what
        self._identity = json.loads(json.dumps(identity))
        self._error = error
        self._lock: BinaryIO | None = None

    def open(self, *, replace: bool = False) -> bool:
        """Make the folder, or check that it belongs to this file; return whether the file is complete.

        Parameters
        ----------
        replace : bool
            Whether an earlier file of this name may be replaced when the new one is complete.

        Raises
        ------
        FileExistsError
            If there is a file that may not be replaced, other than one that was completed but whose parts
            remained.
        ValueError
            If the folder holds parts of something else; of the type given as `error`.
        BlockingIOError
            If another process makes the file.
        OSError
            If the folder cannot be written.
        """
        if self.target.exists() and not self.folder.exists() and not replace:
            raise FileExistsError(f"{self.target} exists; read it, or choose another name")
        with self._explained():
            self.folder.mkdir(exist_ok=True)
            self._acquire()
        label = self.folder / _LABEL
        stored = None
        if label.exists() or any(self.folder.glob("*.npz")):
            stored = _read_label(label)
            self._check(stored)
        complete = self.folder / _COMPLETE
        if self.target.exists():
            if complete.exists() and complete.read_text(encoding="utf-8") == _stamp(self.target):
                self.remove()  # the process was killed in the middle of that
                return True
            if not replace:
                raise FileExistsError(f"{self.target} exists; read it, or choose another name")
        for path in (complete, *self.folder.glob("*.partial")):  # those of killed processes
            path.unlink(missing_ok=True)
        if stored is None:
            with self._appearing(label) as path, path.open("w", encoding="utf-8") as file:
                file.write(json.dumps(self._identity, sort_keys=True))
                file.flush()
                os.fsync(file.fileno())  # without label, all parts would be refused
        return False

    def _acquire(self) -> None:
        if fcntl is None:
            return
        path = self.folder / _LOCK
        self._lock = path.open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            is_ours = False
        except OSError:  # a file system without locks
            return
        else:  # the process that had the lock may have removed the file
            is_ours = path.exists() and os.path.samestat(path.stat(), os.fstat(self._lock.fileno()))
        if not is_ours:
            self.close()
            raise BlockingIOError(
                f"another process makes {self.target}; wait until it is done, or choose another name"
            )

    def close(self) -> None:
        """Let other processes open the folder."""
        if self._lock is not None:
            self._lock.close()

    def _check(self, stored: dict[str, Any]) -> None:
        if stored == self._identity:
            return
        differences = "; ".join(
            _difference(key, stored.get(key), self._identity.get(key))
            for key in sorted({*self._identity, *stored})
            if stored.get(key) != self._identity.get(key)
        )
        raise self._error(
            f"{self.folder} holds parts of a {self._what} of another recipe or version "
            f"({differences if stored else 'without label'}); "
            "remove the folder, or choose another name"
        )

    def write(self, name: str, arrays: dict[str, NDArray[Any]]) -> None:
        """Write a part.

        Raises
        ------
        OSError
            If it cannot be written; the parts before are kept.
        """
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        with self._appearing(self._path(name)) as path, path.open("wb", buffering=0) as file:
            rest = buffer.getbuffer()
            while rest:
                rest = rest[file.write(rest) :]

    def read(self, name: str) -> dict[str, NDArray[Any]] | None:
        """Return the arrays of a part; None if it is missing or damaged."""
        try:
            with self._path(name).open("rb") as file:
                return read_archive(file)
        except (OSError, ValueError):
            return None

    def required(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of a part; raise an OSError if it is missing or damaged."""
        arrays = self.read(name)
        if arrays is None:
            raise OSError(f"{self._path(name)} is gone or damaged; run again")
        return arrays

    @contextlib.contextmanager
    def finishing(self) -> Iterator[Path]:
        """Yield a path that becomes the file when the block ends well; then the parts go.

        Raises
        ------
        OSError
            If the file cannot be written; the parts are kept.
        """
        with self._appearing(self.target) as path:
            yield path
            (self.folder / _COMPLETE).write_text(_stamp(path), encoding="utf-8")
        self.remove()

    def remove(self) -> None:
        """Remove the folder, last what tells that the file is complete. What cannot be removed stays."""
        last = [self.folder / _LABEL, self.folder / _COMPLETE]
        with contextlib.suppress(OSError):
            for path in [*(path for path in self.folder.iterdir() if path not in last), *last]:
                with contextlib.suppress(OSError):
                    path.unlink()
            self.close()  # network file systems keep open files
            self.folder.rmdir()

    @contextlib.contextmanager
    def _appearing(self, target: Path) -> Iterator[Path]:
        """Yield a path in the folder that becomes `target` when the block ends well."""
        temporary = self.folder / f"{platform.node()}-{os.getpid()}.partial"
        with self._explained(), _renamed(temporary, target):
            yield temporary

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npz"

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(
                error.errno,
                f"cannot write {self.target}: {error.strerror}; free space or choose another folder. "
                "Run again to continue: finished parts are kept",
            ) from error


def _read_label(path: Path) -> dict[str, Any]:
    """Content of a label; empty if it is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _stamp(path: Path) -> str:
    """What a file keeps when it is renamed, and another one has not."""
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _difference(key: str, stored: Any, given: Any) -> str:
    plain = isinstance(stored, str | int | float | None) and isinstance(given, str | int | float | None)
    short = plain and max(len(str(stored)), len(str(given))) < 40
    return f"{key} is {stored}, not {given}" if short else f"{key} differs"


def check_space(folder: Path, n_bytes: int, what: str, remedy: str) -> None:
    """Raise an OSError unless the disk of a folder has `n_bytes` free for `what`."""
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"{what} needs {n_bytes / 1e9:.3g} GB and {folder} has {free / 1e9:.3g} GB free; {remedy}",
        )


def library_versions(*names: str) -> dict[str, str]:
    """Return the versions of installed libraries by ``<name>_version``."""
    return {f"{name}_version": metadata.version(name) for name in names}
