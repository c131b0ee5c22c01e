"""What the command line shows: progress, tables and errors. Progress and errors go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from hlmat_bench.runs import stopping

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between two lines where there is no terminal.
_LINE_SECONDS = 10.0


class Counts:
    """A display of progress: one bar for each number on a terminal, else a line every 10 seconds.

    Args:
        title: what is under way.
        units: the names of the numbers, e.g. ``("runs", "samples")``; empty for one number without a name.
        bars: where bars are drawn; None for lines.
    """

    def __init__(self, title: str, units: Sequence[str], bars: Progress | None) -> None:
        self._title, self._units, self._bars = title, units or ("",), bars
        names = [f"{title}, {unit}" for unit in units] or [title]
        self._tasks = [bars.add_task(name, total=None) for name in names] if bars else []
        self._line = ""
        # One number is told at once; several numbers when the first part begins.
        self._last = time.monotonic() if units else -_LINE_SECONDS

    def begins(self, part: str) -> None:
        """Show the name of the part that the last of the numbers counts."""
        if self._bars:
            self._bars.update(self._tasks[-1], description=f"{self._units[-1]}, at {part}", refresh=True)
        else:
            self._print(f"{self._line}, now {part}")

    def counts(self, *numbers: tuple[int, int]) -> None:
        """Show (done, total) of each number."""
        if self._bars:
            for task, (done, total) in zip(self._tasks, numbers, strict=True):
                self._bars.update(task, completed=done, total=total)
            return
        counted = zip(numbers, self._units, strict=True)
        self._line = ", ".join(f"{done} of {total} {unit}".rstrip() for (done, total), unit in counted)
        done, total = numbers[0]
        if done == total or time.monotonic() - self._last >= _LINE_SECONDS:
            self._print(self._line)

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(f"{self._title}: {line}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def counting(title: str, *units: str) -> Iterator[Counts]:
    """Open a display of numbers on standard error; see `Counts`."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield Counts(title, units, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal) as bars:
        yield Counts(title, units, bars)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Open a display of one number, and give a function of (done, total) that updates it."""
    with counting(title) as shown:
        yield lambda done, total: shown.counts((done, total))


@contextmanager
def resumable(grace: float = stopping.GRACE_SECONDS) -> Iterator[None]:
    """End the program at SIGINT or SIGTERM, and say that the same command continues the work inside.

    Args:
        grace: seconds that episodes under way have to end in.
    """
    stopping.current().grace = grace
    try:
        yield
    except stopping.Stopped as stopped:
        error(f"stopped; {stopping.KEPT}.")
        sys.exit(stopped.exit_code)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table to standard output; the columns of the given numbers are aligned to the right."""
    from rich.markup import escape

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        shown.add_column(header, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(escape, row))
    _stdout().print(shown)


def say(text: str) -> None:
    """Print a line to standard output, as it is."""
    _stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a remark to standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def error(text: str) -> None:
    """Print an error to standard error."""
    note(f"error: {text}")


def with_interval(value: float, interval: Sequence[float], digits: int) -> str:
    """Return a value with its interval, e.g. ``0.712 [0.684, 0.741]``."""
    low, high = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _stdout() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=1000)
