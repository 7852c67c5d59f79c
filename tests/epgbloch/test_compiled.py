"""Compiled code on disk follows its sources."""

from epgbloch._compiled import forget_outdated


def test_compiled_code_goes_when_any_source_changes(tmp_path):
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "b.py").write_text("2")
    forget_outdated(tmp_path)
    compiled = [tmp_path / "__pycache__" / name for name in ("a.f-1.py311.nbi", "a.f-1.py311.1.nbc")]
    for path in compiled:
        path.write_text("")
    forget_outdated(tmp_path)
    assert all(path.exists() for path in compiled)
    (tmp_path / "b.py").write_text("3")
    forget_outdated(tmp_path)
    assert not any(path.exists() for path in compiled)


def test_a_read_only_package_is_left_alone(tmp_path):
    (tmp_path / "__pycache__").write_text("not a folder")
    forget_outdated(tmp_path)
