"""Output files and folders: complete, or not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from jobs.outputs import add_files, check_folder, new_file, new_folder, resumable_folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_file_appears_at_the_end(tmp_path):
    path = tmp_path / "a" / "b" / "result.txt"
    with new_file(path, force=False) as temporary:
        assert temporary.name == path.name  # libraries read the format from the name
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a", "a/b", "a/b/result.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), new_file(path, force=True) as temporary:  # noqa: PT012
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.txt"]


def test_failure_removes_the_parents_that_it_made(tmp_path):
    with pytest.raises(RuntimeError), new_file(tmp_path / "a" / "b" / "c.txt", force=False):
        raise RuntimeError
    assert names(tmp_path) == []


def test_file_is_not_replaced_without_force(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with (
        pytest.raises(FileExistsError, match=r"result\.txt exists; give --force"),
        new_file(path, force=False),
    ):
        pass
    with new_file(path, force=True) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    with (
        pytest.raises(FileExistsError, match="is a folder; give a file name"),
        new_file(tmp_path, force=True),
    ):
        pass


def test_no_space(tmp_path):
    with (
        pytest.raises(
            OSError, match=r"cannot write .*a\.txt: .* MB needed, .* MB free; choose another place"
        ),
        new_file(tmp_path / "a.txt", force=False, n_bytes=10**18),
    ):
        pass
    assert names(tmp_path) == []


def fill(path, command, force=False, content="new", name="a.txt"):
    with new_folder(path, command, force=force) as output:
        (output.path / "deep").mkdir()
        (output.path / "deep" / name).write_text(content)
        output.provenance["seed"] = 3


def test_folder_appears_at_the_end_with_its_provenance(tmp_path):
    folder = tmp_path / "out"
    with new_folder(folder, "phantom", force=False) as output:
        (output.path / "a.txt").write_text("new")
        assert not folder.exists()
    content = json.loads((folder / "provenance.json").read_text())
    assert content["command"] == "epgbloch phantom"
    assert content["files"] == ["a.txt"]
    assert {"epgbloch", "python", "numpy"} <= set(content["versions"])
    assert names(tmp_path) == ["out", "out/a.txt", "out/provenance.json"]


def test_earlier_result_is_replaced_as_a_whole_with_force(tmp_path):
    folder = tmp_path / "out"
    fill(folder, "phantom", name="old.txt")
    with pytest.raises(FileExistsError, match="holds an earlier result; give --force"):
        fill(folder, "phantom")
    fill(folder, "phantom", force=True)
    assert names(folder) == ["deep", "deep/a.txt", "provenance.json"]
    assert json.loads((folder / "provenance.json").read_text())["seed"] == 3


def test_empty_folder_is_used(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out", "phantom")
    assert (tmp_path / "out" / "deep" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("damage", ["foreign file", "other command", "no provenance", "damaged provenance"])
def test_foreign_folder_is_refused(tmp_path, damage):
    folder = tmp_path / "out"
    fill(folder, "demo" if damage == "other command" else "phantom", content="old")
    if damage == "foreign file":
        (folder / "deep" / "thesis.txt").write_text("years of work")
    elif damage == "no provenance":
        (folder / "provenance.json").unlink()
    elif damage == "damaged provenance":
        (folder / "provenance.json").write_text("{")
    before = names(tmp_path)
    with pytest.raises(FileExistsError, match="which epgbloch phantom did not write; choose another folder"):
        fill(folder, "phantom", force=True)
    assert names(tmp_path) == before
    assert (folder / "deep" / "a.txt").read_text() == "old"


@pytest.mark.parametrize("litter", [".DS_Store", "Thumbs.db", "desktop.ini"])
def test_files_of_file_managers_do_not_count(tmp_path, litter):
    folder = tmp_path / "out"
    fill(folder, "phantom")
    (folder / "deep" / litter).write_text("icons")
    fill(folder, "phantom", force=True)
    assert names(folder) == ["deep", "deep/a.txt", "provenance.json"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / litter).write_text("icons")
    fill(tmp_path / "empty", "phantom")
    assert json.loads((tmp_path / "empty" / "provenance.json").read_text())["files"] == ["deep/a.txt"]


def test_current_folder_and_those_around_it_are_refused(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for path in (Path(), Path(".."), tmp_path):
        with pytest.raises(FileExistsError, match="is the current folder or one around it"):
            fill(path, "phantom", force=True)
    fill(tmp_path / "a" / "c", "phantom")
    assert (tmp_path / "a" / "b").is_dir()


def test_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("old")
    with pytest.raises(FileExistsError, match="out is a file; give the name of a folder"):
        fill(tmp_path / "out", "phantom", force=True)


def test_failure_to_rename_restores_the_old_folder(tmp_path, monkeypatch):
    folder = tmp_path / "out"
    fill(folder, "phantom", content="old")
    rename = Path.rename

    def fails_for_new(path, target):
        if path.name == "new":
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails_for_new)
    with pytest.raises(PermissionError):
        fill(folder, "phantom", force=True)
    assert (folder / "deep" / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["out", "out/deep", "out/deep/a.txt", "out/provenance.json"]


def test_links_are_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    fill(tmp_path / "out", "phantom")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "deep" / "a.txt").is_file()


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Path("out"), "phantom")
    assert (tmp_path / "out" / "deep" / "a.txt").is_file()


def fail_after_one_part(path):
    with resumable_folder(path, "work", {"a": 1}, force=False) as parts:
        parts.write("one", {"x": np.arange(3)})
        raise OSError("later")


def test_parts_of_a_folder_stay_until_it_is_complete(tmp_path):
    path = tmp_path / "new" / "out"
    with pytest.raises(KeyboardInterrupt), resumable_folder(path, "work", {"a": 1}, force=False):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []  # nothing was finished
    with pytest.raises(OSError, match="later"):
        fail_after_one_part(path)
    with (
        pytest.raises(ValueError, match="parts of a result of epgbloch work of another recipe"),
        resumable_folder(path, "work", {"a": 2}, force=False),
    ):
        pass
    with resumable_folder(path, "work", {"a": 1}, force=False) as parts:
        np.testing.assert_array_equal(parts.read("one")["x"], np.arange(3))
        with (
            pytest.raises(BlockingIOError, match="another process makes"),
            resumable_folder(path, "work", {"a": 1}, force=False),
        ):
            pass
        fill(path, "work")
    assert [item.name for item in path.parent.iterdir()] == ["out"]
    with (
        pytest.raises(FileExistsError, match="give --force"),
        resumable_folder(path, "work", {"a": 1}, force=False),
    ):
        pass


def test_added_files_are_known(tmp_path):
    folder = tmp_path / "out"
    fill(folder, "work")
    (folder / "more.txt").write_text("more")
    with pytest.raises(FileExistsError, match=r"holds more\.txt"):
        check_folder(folder, "work", force=True)
    add_files(folder, ["more.txt"])
    check_folder(folder, "work", force=True)
    assert json.loads((folder / "provenance.json").read_text())["files"] == ["deep/a.txt", "more.txt"]
