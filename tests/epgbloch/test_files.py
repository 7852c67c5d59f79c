import errno
import io
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from epgbloch._files import Parts, check_space, new_hdf5, replacing

ARRAYS = {"numbers": np.arange(5.0), "text": np.array("abc")}


def test_replacing_keeps_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with replacing(path) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == ["file"]
    assert path.read_text() == "old"
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_temporary_files_of_killed_processes_go(tmp_path):
    pytest.importorskip("fcntl")  # POSIX
    path = tmp_path / "file [1]"
    script = """
import os, sys
from pathlib import Path
from epgbloch._files import replacing
with replacing(Path(sys.argv[1])) as partial:
    partial.write_text("half")
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), 9)
    print(flush=True)
    input()
"""
    command = [sys.executable, "-c", script, str(path)]
    for _ in range(2):
        assert subprocess.run([*command, "killed"]).returncode == -signal.SIGKILL
        assert len(os.listdir(tmp_path)) == 1
    with subprocess.Popen([*command, "alive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline()
        with replacing(path) as partial:
            partial.write_text("ours")
            assert len(os.listdir(tmp_path)) == 2
        assert path.read_text() == "ours"
        other.communicate(b"\n")
    assert path.read_text() == "half"
    assert os.listdir(tmp_path) == [path.name]


def write_large(path):
    """Many chunks, so that HDF5 writes its own structures between data."""
    numbers = np.random.default_rng(0).standard_normal((200, 1000))
    with new_hdf5(path) as file:
        data = file.create_dataset("data", numbers.shape, chunks=(1, 1000), compression="gzip")
        for i in range(len(numbers)):
            data[i] = numbers[i]
        file.attrs["last"] = np.arange(1000.0)
    return numbers


def test_hdf5_files_are_the_same_each_time(tmp_path):
    numbers = write_large(tmp_path / "a.h5")
    write_large(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_allclose(file["data"][...], numbers, rtol=1e-7)  # single precision


class Disk(io.FileIO):
    """A file on a disk that is full after some writes."""

    writes_left = 0

    def write(self, data):
        Disk.writes_left -= 1
        if Disk.writes_left < 0:
            super().write(memoryview(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def test_full_disk_at_any_write_is_an_error(tmp_path, monkeypatch):
    """HDF5 would crash the process."""

    def opened(path, mode, **options):
        return Disk(path, mode.replace("b", ""))

    monkeypatch.setattr("pathlib.Path.open", opened)
    Disk.writes_left = 10**9
    write_large(tmp_path / "whole.h5")
    n_writes = 10**9 - Disk.writes_left
    assert n_writes > 200
    for n in (*range(0, n_writes, 17), n_writes - 1):
        Disk.writes_left = n
        with pytest.raises(OSError, match="No space left"):
            write_large(tmp_path / "part.h5")
    Disk.writes_left = n_writes
    write_large(tmp_path / "part.h5")
    assert (tmp_path / "part.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_process_ends_well_after_a_full_disk(tmp_path):
    """HDF5 clears up after Python: what still refers to Python objects then crashes the process."""
    code = """
import errno, os, pathlib, sys
import numpy as np
from epgbloch._files import _DiskFile, new_hdf5

class Full:
    def __init__(self, file):
        self.file = file
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    def __getattr__(self, name):
        return getattr(self.file, name)

start = _DiskFile.__init__
def on_a_full_disk(self, path):
    start(self, path)
    self._file = Full(self._file)
_DiskFile.__init__ = on_a_full_disk
with new_hdf5(pathlib.Path(sys.argv[1])) as file:
    file["data"] = np.arange(1000)
"""
    result = subprocess.run([sys.executable, "-c", code, tmp_path / "x.h5"], capture_output=True, text=True)
    assert "OSError: [Errno 28]" in result.stderr
    assert result.returncode == 1


def test_user_block_comes_first(tmp_path):
    block = b"for others".ljust(512)
    with new_hdf5(tmp_path / "file.h5", libver="earliest", userblock=block) as file:
        file["data"] = [1, 2, 3]
    assert (tmp_path / "file.h5").read_bytes()[:512] == block
    with h5py.File(tmp_path / "file.h5") as file:
        assert file["data"][:].tolist() == [1, 2, 3]


@pytest.fixture
def make_parts(tmp_path):
    """Each closes those before, as if their process had been killed."""
    made = []

    def make(**identity):
        for parts in made:
            parts.close()
        made.append(Parts(tmp_path / "file", "thing", {"recipe": "a", "numbers": [1, 2]} | identity))
        return made[-1]

    yield make
    for parts in made:
        parts.close()


def test_parts_are_opened_once_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    first, second = (Parts(tmp_path / "file", "thing", {}) for _ in range(2))
    assert not first.open()
    for _ in range(2):
        with pytest.raises(BlockingIOError, match=r"another process makes .*file; wait until it is done"):
            second.open()
    with first.finishing() as path:
        path.write_text("first")
        with pytest.raises(BlockingIOError, match="another process"):
            second.open()
    with pytest.raises(FileExistsError):
        second.open()
    (tmp_path / "file").unlink()
    assert not second.open()
    with pytest.raises(BlockingIOError, match="another process"):
        first.open()
    second.close()
    assert not first.open()
    first.close()


def test_temporary_files_of_killed_processes_go_from_the_parts(make_parts):
    make_parts().open()
    parts = make_parts()
    (parts.folder / "elsewhere-7.partial").write_text("half")
    parts.open()
    assert not list(parts.folder.glob("*.partial"))


def test_file_is_complete_even_if_its_parts_stay(tmp_path, make_parts):
    parts = make_parts()
    parts.open()
    parts.write("one", ARRAYS)
    (parts.folder / "of another program").mkdir()
    with parts.finishing() as path:
        path.write_text("done")
    assert (tmp_path / "file").read_text() == "done"
    assert os.listdir(parts.folder) == ["of another program"]


def test_parts_are_kept_and_go_with_the_file(tmp_path, make_parts):
    parts = make_parts()
    assert not parts.open()
    parts.write("one", ARRAYS)
    again = make_parts()
    assert not again.open()
    assert again.read("two") is None
    read = again.read("one")
    assert read.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(read["numbers"], ARRAYS["numbers"])
    with again.finishing() as path:
        path.write_text("done")
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "done"


def test_damaged_parts_count_as_missing(make_parts):
    parts = make_parts()
    parts.open()
    parts.write("one", ARRAYS)
    path = parts.folder / "one.npz"
    content = path.read_bytes()
    place = content.index(np.float64(3).tobytes())
    for damaged in (b"", content[:-30], content[:place] + b"\1" + content[place + 1 :]):
        path.write_bytes(damaged)
        assert parts.read("one") is None
        with pytest.raises(OSError, match=r"one\.npz is gone or damaged; run again"):
            parts.required("one")


@pytest.mark.parametrize(
    ("identity", "message"),
    [
        ({"recipe": "b"}, r"another recipe or version \(recipe is a, not b\); remove the folder"),
        ({"numbers": [1, 3]}, r"\(numbers differs\)"),
        ({"more": 1, "recipe": 7}, r"\(more is None, not 1; recipe is a, not 7\)"),
    ],
)
def test_parts_of_something_else_are_refused(make_parts, identity, message):
    make_parts().open()
    with pytest.raises(ValueError, match=rf"file\.parts holds parts of a thing of {message}|{message}"):
        make_parts(**identity).open()


@pytest.mark.parametrize("label", ["", "3", "{}", None])
def test_parts_without_a_proper_label_are_refused(make_parts, label):
    parts = make_parts()
    parts.open()
    parts.write("one", ARRAYS)
    path = parts.folder / "label.json"
    path.unlink() if label is None else path.write_text(label)
    with pytest.raises(ValueError, match=r"of another recipe or version \(without label\)"):
        make_parts().open()


def test_files_of_others_are_kept(tmp_path, make_parts):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(FileExistsError, match="file exists; read it, or choose another name"):
        make_parts().open()
    (tmp_path / "file").rename(tmp_path / "other")  # the name is free when generation starts
    make_parts().open()
    (tmp_path / "other").rename(tmp_path / "file")
    with pytest.raises(FileExistsError, match="file exists"):
        make_parts().open()
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("removed", [(), ("one.npz",), ("one.npz", "label.json")])
def test_killed_while_parts_were_removed(tmp_path, make_parts, monkeypatch, removed):
    parts = make_parts()
    parts.open()
    parts.write("one", ARRAYS)
    monkeypatch.setattr(Parts, "remove", lambda self: None)
    with parts.finishing() as path:
        path.write_text("done")
    for name in removed:
        (parts.folder / name).unlink()
    monkeypatch.undo()
    assert make_parts().open()
    assert os.listdir(tmp_path) == ["file"]


def test_killed_just_before_the_file_appeared(make_parts):
    parts = make_parts()
    parts.open()
    (parts.folder / "complete").touch()
    assert not make_parts().open()
    parts.target.write_text("of another program")
    with pytest.raises(FileExistsError):
        make_parts().open()


def test_full_disk_keeps_finished_parts(make_parts, monkeypatch):
    parts = make_parts()
    parts.open()
    parts.write("one", ARRAYS)

    def fail(path, *arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.open", fail)
        with pytest.raises(OSError, match=r"cannot write .*file: No space left.*finished parts are kept"):
            parts.write("two", ARRAYS)
        with pytest.raises(OSError, match="No space left"), parts.finishing() as path:
            path.open("w")
    assert sorted(os.listdir(parts.folder)) == ["label.json", "lock", "one.npz"]
    assert parts.read("one") is not None


def test_space_is_checked(tmp_path):
    check_space(tmp_path, 1, "it", "remedy")
    with pytest.raises(OSError, match=r"it needs 1e\+09 GB and .* GB free; remedy"):
        check_space(tmp_path, 10**18, "it", "remedy")
