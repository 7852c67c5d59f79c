"""What the commands say: steps and progress on stderr, results on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN_WIDTH = 120  # of tables that do not go to a terminal


def span_of(values: NDArray[Any]) -> str:
    """Smallest and largest value, or the one that all are."""
    first, last = f"{values.min():.5g}", f"{values.max():.5g}"
    return first if first == last else f"{first} to {last}"


class Console:
    """Messages of one command.

    On a terminal a step shows a progress bar that gives way to one line with its duration; elsewhere it is
    one plain line.

    Parameters
    ----------
    quiet : bool
        Say nothing at all. Errors are not messages and appear all the same.
    results : bool
        Write results; else only steps.
    """

    def __init__(self, quiet: bool = False, results: bool = True) -> None:
        self.quiet = quiet
        self.results = results and not quiet

    def steps_only(self) -> Console:
        """Console for a job that is a part of another one."""
        return Console(self.quiet, results=False)

    def info(self, text: str) -> None:
        """Write a line to stderr."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def notice(self, text: str) -> None:
        """Write a line to stderr about something that the user should know."""
        self.info(f"notice: {text}")

    def result(self, text: str) -> None:
        """Write a line to stdout."""
        if self.results:
            print(text, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        """Write a table to stdout; the first column is aligned left, the others right."""
        if not self.results:
            return
        from rich.box import SIMPLE_HEAD
        from rich.console import Console as RichConsole
        from rich.table import Table

        table = Table(
            title=title or None, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False
        )
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        width = None if sys.stdout.isatty() else _PLAIN_WIDTH
        RichConsole(file=sys.stdout, width=width, markup=False, highlight=False).print(table)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """Announce a step and yield the function that takes its progress (done, total)."""
        if self.quiet:
            yield _ignore
        elif not sys.stderr.isatty():
            self.info(f"{text} ...")
            yield _ignore
        else:
            start = time.perf_counter()
            with _progress_bar(text) as progress:
                yield progress
            self.info(f"{text}: {time.perf_counter() - start:.1f} s")


def _ignore(done: int, total: int) -> None:
    pass


@contextmanager
def _progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        Elapsed(),
    )
    console = RichConsole(file=sys.stderr, markup=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=None)  # pulses until the first report

        def report(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield report
