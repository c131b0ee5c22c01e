"""What the command line shows: progress, tables and errors. Progress and errors go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from hlmat_bench.runs import stopping

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.text import Text

#: Seconds between two lines where there is no terminal.
_LINE_SECONDS = 10.0


class Counts:
    """A display of progress: one bar for each number on a terminal, else a line every 10 seconds.

    Args:
        title: what is under way.
        units: the names of the numbers, e.g. ``("runs", "samples")``; empty for one number without a name.
        bars: where bars are drawn; None for lines.
        under: the line under the bars.
    """

    def __init__(
        self, title: str, units: Sequence[str], bars: Progress | None = None, under: Text | None = None
    ) -> None:
        self._title, self._units, self._bars = title, units or ("",), bars
        names = [f"{title}, {unit}" for unit in units] or [title]
        self._tasks = [bars.add_task(name, total=None) for name in names] if bars else []
        self._line, self._words, self._under = "", "", under
        # One number is told at once; several numbers when the first part begins.
        self._last = time.monotonic() if units else -_LINE_SECONDS

    def begins(self, part: str) -> None:
        """Show the name of the part that the last of the numbers counts."""
        if self._bars:
            self._bars.update(self._tasks[-1], description=f"{self._units[-1]}, at {part}", refresh=True)
        else:
            self._print(f"{self._line}, now {part}")

    def says(self, words: str) -> None:
        """Show words about the work behind its numbers: on a terminal in a line of their own."""
        self._words = words
        if self._under is not None:
            self._under.plain = words

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
            self._print(", ".join(part for part in (self._line, self._words) if part))

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(f"{self._title}: {line}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def counting(title: str, *units: str) -> Iterator[Counts]:
    """Open a display of numbers on standard error; see `Counts`."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield Counts(title, units)
        return
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars, under = Progress(*columns, console=terminal), Text(overflow="ellipsis", no_wrap=True)
    with Live(Group(bars, under), console=terminal):
        yield Counts(title, units, bars, under)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Open a display of one number, and give a function of (done, total) that updates it."""
    with counting(title) as shown:
        yield lambda done, total: shown.counts((done, total))


@contextmanager
def run_progress(title: str) -> Iterator[tuple[Callable[[int, int], None], Callable[[Mapping[str, Any]], None]]]:
    """Open a display of a run, and give what updates it: the arguments ``progress`` and ``on_beat`` of a run."""
    with counting(title) as shown:
        yield lambda done, total: shown.counts((done, total)), lambda numbers: shown.says(run_words(numbers))


def run_words(numbers: Mapping[str, Any]) -> str:
    """Return what a run's numbers say (`hlmat-status/1`), in a few words each; what is unknown is left out.

    >>> run_words({"per_second": 4.125, "miou": 0.7123, "miou_ci": [0.7, 0.72], "workers": 2, "dollars": 0.5,
    ...            "failures": {"episodes": 3}})
    '4.1 episodes/s, mIoU 0.712 [0.700, 0.720], 3 failed, $0.5, 2 workers'
    """
    miou, ends, dollars = numbers.get("miou"), numbers.get("miou_ci"), numbers.get("dollars")
    failed, workers, damaged = numbers["failures"]["episodes"], numbers.get("workers"), numbers.get("damaged_lines")
    parts = (
        _speed_words(numbers["per_second"]) if numbers.get("per_second") else "",
        "" if miou is None else f"mIoU {with_interval(miou, ends, 3) if ends else f'{miou:.3f}'}",
        f"{failed} failed" if failed else "",
        f"{damaged} damaged lines" if damaged else "",
        "" if dollars is None else f"${dollars:.4g}",
        f"{workers} worker{'s' if workers != 1 else ''}" if workers else "",
    )
    return ", ".join(part for part in parts if part)


def _speed_words(per_second: float) -> str:
    """Return a speed in a unit that gives a number of at least 1: episodes per second, minute or hour."""
    for unit, seconds in (("s", 1), ("min", 60), ("h", 3600)):
        if per_second * seconds >= 1 or unit == "h":
            return f"{per_second * seconds:.1f} episodes/{unit}"
    raise AssertionError


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
    stdout().print(_table(headers, rows, right))


def results(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of numbers, a row for each run; where rows are too wide for the terminal, runs are columns.

    Args:
        headers: of the runs' names, and of their numbers.
        rows: the name of each run and its numbers.
    """
    console = stdout()

    def fits(shown: Table) -> bool:
        return console.measure(shown, options=console.options.update(max_width=1000)).maximum <= console.width

    shown = _table(headers, rows, range(1, len(headers)))
    if fits(shown):
        console.print(shown)
        return
    rest = list(rows)
    while rest:
        turned = [_turned(headers, rest[:count]) for count in range(len(rest), 0, -1)]
        count, shown = next(((len(rest) - n, each) for n, each in enumerate(turned) if fits(each)), (1, turned[-1]))
        console.print(shown)
        rest = rest[count:]
        if rest:
            console.print()


def _turned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    names, *lines = zip(headers, *rows, strict=True)
    return _table(names, lines, range(1, len(names)))


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> Table:
    from rich.markup import escape

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        shown.add_column(escape(header), justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(escape, row))
    return shown


def say(text: str) -> None:
    """Print a line to standard output, as it is."""
    stdout().print(text, markup=False, highlight=False, soft_wrap=True)


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


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return Console().is_terminal


def stdout() -> Console:
    """Return the console of standard output; what is no terminal has no width."""
    console = Console()
    return console if console.is_terminal else Console(width=1000)
