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

#: Seconds between two lines where there is no terminal.
LINE_SECONDS = 10.0
#: The width of what is not a terminal.
_WIDE = 1000


class Counts:
    """A display of progress: a bar on a terminal, else a line every 10 seconds.

    Args:
        title: what is done.
        unit: what is counted; empty: it has no name.
        bar: where the bar is drawn; None for lines.
    """

    def __init__(self, title: str, unit: str = "", bar: Progress | None = None) -> None:
        self._title, self._unit, self._bar = title, unit, bar
        self._task = None if bar is None else bar.add_task(f"{title}, {unit}" if unit else title, total=None)
        self._last = -LINE_SECONDS

    def counts(self, done: int, total: int) -> None:
        """Show how much is done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif done == total or time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            line = f"{self._title}: {done} of {total} {self._unit}".rstrip()
            print(line, file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def counting(title: str, unit: str = "") -> Iterator[Counts]:
    """Open a display of a number on standard error; see `Counts`."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield Counts(title, unit)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # A long title is cut, so that the bar and the numbers fit 80 columns.
    name = TextColumn(
        "{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis", max_width=40)
    )
    columns = (name, BarColumn(16), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal) as bar:
        yield Counts(title, unit, bar)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Open a display of one number, and give a function of (done, total) that updates it."""
    with counting(title) as shown:
        yield shown.counts


def run_words(numbers: Mapping[str, Any]) -> str:
    """Return what a run's numbers say (`hlmat-status/1`), in a few words each; what is unknown is left out.

    >>> run_words({"per_second": 4.125, "miou": 0.7123, "miou_ci": [0.7, 0.72], "workers": 2, "dollars": 0.5,
    ...            "failures": {"episodes": 3}, "invalid": {"no_click": 2}, "replies": 100})
    'mIoU 71.2 [70.0, 72.0], 2.0 % invalid, 3 failed, $0.50, 4.1 episodes/s, 2 workers'
    """
    miou, replies = numbers.get("miou"), numbers.get("replies")
    failed, workers, damaged = numbers["failures"]["episodes"], numbers.get("workers"), numbers.get("damaged_lines")
    parts = (
        "" if miou is None else f"mIoU {percent(miou)}{_brackets(numbers.get('miou_ci'))}",
        f"{percent(sum(numbers['invalid'].values()) / replies)} % invalid" if replies else "",
        f"{failed} failed" if failed else "",
        f"{damaged} damaged lines" if damaged else "",
        "" if numbers.get("dollars") is None else money(numbers["dollars"]),
        _speed_words(numbers["per_second"]) if numbers.get("per_second") else "",
        f"{workers} worker{'s' if workers != 1 else ''}" if workers else "",
    )
    return ", ".join(part for part in parts if part)


def _brackets(ends: Sequence[float] | None) -> str:
    """Return an interval in brackets; nothing for one without a width, which is that of a single image."""
    return "" if ends is None or ends[0] == ends[1] else f" [{percent(ends[0])}, {percent(ends[1])}]"


def percent(share: float) -> str:
    """Return a share in per cent with one decimal, without a sign for the unit.

    >>> percent(0.6875)
    '68.8'
    """
    return f"{100 * share:.1f}"


def money(dollars: float) -> str:
    """Return US dollars in cents, and smaller amounts with two digits that count.

    >>> money(1.5), money(0.00123)
    ('$1.50', '$0.0012')
    """
    return f"${dollars:.2f}" if dollars >= 0.1 or not dollars else f"${dollars:.2g}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> duration(90061), duration(61), duration(5)
    ('1 d 1 h', '1 min 1 s', '5 s')
    """
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    rest, parts = round(seconds), list[str]()
    for name, length in units:
        if rest >= length or (name == "s" and not parts):
            parts.append(f"{rest // length} {name}")
            rest %= length
    return " ".join(parts[:2])


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
        grace: seconds that running episodes have to end in.
    """
    stopping.current().grace = grace
    try:
        yield
    except stopping.Stopped as stopped:
        error(f"stopped; {stopping.KEPT}.")
        sys.exit(stopped.exit_code)


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = (), cut: Sequence[int] = ()
) -> None:
    """Print a table to standard output.

    Args:
        headers: of the columns.
        rows: of texts.
        right: the numbers of the columns that are aligned to the right.
        cut: the numbers of the columns whose texts are cut, not folded, where the terminal is narrow.
    """
    console, shown = stdout(), _table(headers, rows, right)
    if not _fits(shown, console):
        for number in cut:  # they share what the other columns leave
            column = shown.columns[number]
            column.no_wrap, column.overflow, column.ratio, shown.expand = True, "ellipsis", 1, True
    console.print(shown)


def results(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of numbers, a row for each run; where rows are too wide for the terminal, runs are columns.

    Args:
        headers: of the runs' names, and of their numbers.
        rows: the name of each run and its numbers.
    """
    if _fits(_table(headers, rows, range(1, len(headers))), stdout()):
        columns(headers, rows)
    else:
        names, *lines = zip(headers, *rows, strict=True)
        columns(names, lines)


def columns(headers: Sequence[str], rows: Sequence[Sequence[str]], *, labels: int = 1) -> None:
    """Print a table of numbers; columns for which the terminal is too narrow stand in further tables below.

    Args:
        headers: of the columns.
        rows: labels and numbers.
        labels: the number of columns that hold labels; each table has them.
    """
    console, begin = stdout(), labels
    while begin < len(headers):
        for end in range(len(headers), begin, -1):
            chosen = [*range(labels), *range(begin, end)]
            cells = [[row[number] for number in chosen] for row in rows]
            shown = _table([headers[number] for number in chosen], cells, range(labels, len(chosen)))
            if end == begin + 1 or _fits(shown, console):
                break
        if begin > labels:
            console.print()
        console.print(shown)
        begin = end


def _fits(shown: Table, console: Console) -> bool:
    return console.measure(shown, options=console.options.update(max_width=_WIDE)).maximum <= console.width


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


def explain(text: str) -> None:
    """Print sentences to standard output, broken into lines that fit the terminal."""
    stdout().print(text, markup=False, highlight=False)


def note(text: str) -> None:
    """Print a remark to standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def error(text: str) -> None:
    """Print an error to standard error."""
    note(f"error: {text}")


def is_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return Console().is_terminal


def stdout() -> Console:
    """Return the console of standard output; what is no terminal has no width."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)
