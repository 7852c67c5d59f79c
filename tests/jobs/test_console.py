"""Messages: where they go, and silence."""

import io
import sys

import pytest

from jobs.console import Console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def speak(console):
    console.info("note")
    with console.step("Working") as progress:
        progress(1, 2)
        progress(2, 2)
    console.table(("name", "value"), [("a", "1")], title="Title")
    console.result("done")


def test_plain_messages(capsys):
    speak(Console())
    output = capsys.readouterr()
    assert output.err == "note\nWorking ...\n"
    for text in ("Title", "name", "value", "a", "1", "done"):
        assert text in output.out


def test_quiet_says_nothing(capsys):
    speak(Console(quiet=True))
    speak(Console(quiet=True).steps_only())
    assert capsys.readouterr() == ("", "")


def test_steps_only_leaves_out_results(capsys):
    speak(Console().steps_only())
    output = capsys.readouterr()
    assert output.err == "note\nWorking ...\n"
    assert output.out == ""


def test_progress_bar_on_a_terminal_gives_way_to_one_line(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Console().step("Working") as progress:
        progress(1, 2)
        progress(2, 2)
    text = terminal.getvalue()
    assert "100%" in text
    assert text.splitlines()[-1].endswith(" s")
    assert "Working: " in text.splitlines()[-1]


def test_step_passes_errors_on(monkeypatch):
    for stream in (Terminal(), io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(ValueError, match="bad"), Console().step("Working"):
            raise ValueError("bad")
