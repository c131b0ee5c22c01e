"""How far a suite is, on standard error: two bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress

from hlmat_bench.cli import console
from hlmat_bench.runs.suites.export import lines, reasons
from hlmat_bench.runs.suites.play import Watcher
from hlmat_bench.runs.suites.results import TableResult


@contextmanager
def watcher(title: str) -> Iterator[Watcher]:
    """Shows runs done of all and samples done of all."""
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield Lines(title)
        return
    with console.bars(terminal) as bars:
        yield Bars(bars, title)


class Bars:
    """Two bars on a terminal, and the name of the run under way."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._runs, self._samples = (bars.add_task(f"{title}, {what}", total=None) for what in ("runs", "samples"))

    def begins(self, name: str) -> None:
        """See `Watcher.begins`."""
        self._bars.update(self._samples, description=f"samples, at {name}", refresh=True)

    def counts(self, runs: tuple[int, int], samples: tuple[int, int]) -> None:
        """See `Watcher.counts`."""
        for bar, (done, total) in ((self._runs, runs), (self._samples, samples)):
            self._bars.update(bar, completed=done, total=total)


class Lines:
    """A line when a run begins, and now and then."""

    def __init__(self, title: str) -> None:
        self._title, self._said, self._last = title, "", time.monotonic()

    def begins(self, name: str) -> None:
        """See `Watcher.begins`."""
        self._say(f"{self._title}: {self._said}, now {name}")

    def counts(self, runs: tuple[int, int], samples: tuple[int, int]) -> None:
        """See `Watcher.counts`."""
        self._said = f"{runs[0]} of {runs[1]} runs, {samples[0]} of {samples[1]} samples"
        if runs[0] == runs[1] or time.monotonic() - self._last >= console.PLAIN_SECONDS:
            self._say(f"{self._title}: {self._said}")

    def _say(self, text: str) -> None:
        self._last = time.monotonic()
        print(text, file=sys.stderr, flush=True)  # noqa: T201


def show(table: TableResult) -> None:
    """Print a table to standard output."""
    names = [column.name for column in table.table.columns]
    console.say(f"\n{table.table.title}")
    rows = [(line.row, line.what, *line.cells) for line in lines(table)]
    console.table(("", "", *names), rows, right=range(2, 2 + len(names)))
    console.say("\n".join([*table.caption, *reasons(table)]))
