"""The progress of runs: a table with a line for each on a terminal, else lines of text; both go to standard error."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from hlmat_bench.cli.console import LINE_SECONDS, duration, money, percent, run_words
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.scores.registry import STANDARD

if TYPE_CHECKING:
    from hlmat_bench.runs.run_folder import Run

#: The most lines of the table; older runs leave it.
_ROWS = 12
#: Seconds over which the speed is measured: an episode of a large model may take minutes.
_SPEED_SECONDS = 600
_PRELIMINARY = "mIoU: mean of the episodes so far, preliminary"
_UNKNOWN = "-"


class RunRow:
    """One run in a display of runs.

    Args:
        name: the run, in lines of text.
        table: the table that has a line for it, and the line's number; None where lines of text are written.
    """

    def __init__(self, name: str, table: tuple[RunTable, TaskID] | None = None) -> None:
        self._name, self._table = name, table
        self._began, self._last = time.monotonic(), -LINE_SECONDS
        self._numbers: Mapping[str, Any] = {}

    def counts(self, done: int, total: int) -> None:
        """Show how many episodes are done; the argument ``progress`` of a run."""
        if self._table is not None:
            table, row = self._table
            table.update(row, completed=done, total=total)
        elif done == total or time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            words = ", ".join(self._words(done, total))
            print(f"{self._name}: {words}", file=sys.stderr, flush=True)  # noqa: T201

    def beats(self, numbers: Mapping[str, Any]) -> None:
        """Show the numbers of the episodes so far; the argument ``on_beat`` of a run."""
        self._numbers = numbers
        if self._table is not None:
            table, row = self._table
            table.update(row, **_cells(numbers))
            table.under = f"{_PRELIMINARY}. {run_words({**numbers, 'miou': None, 'dollars': None, 'replies': 0})}"

    def ends(self, run: Run) -> None:
        """Show the scores of the finished run, where the last numbers may be of fewer episodes."""
        if self._table is not None:
            scores = run.scores()
            miou = STANDARD["miou"].read(scores, answer_rule(run.manifest["protocol"]))
            rated, clicks = scores["filtering"], scores["clicks"]
            invalid = {"unparsable": rated["unparsable"]} if rated else clicks["invalid"]
            replies = rated["n_masks"] if rated else clicks["total"]
            numbers = {"miou": miou and miou.value, "dollars": scores["cost"]["dollars"]}
            table, row = self._table
            table.update(row, **_cells({**numbers, "invalid": invalid, "replies": replies}))

    def _words(self, done: int, total: int) -> Iterator[str]:
        yield f"{done} of {total}"
        if 0 < done < total:
            yield duration(time.monotonic() - self._began)
        if (speed := self._numbers.get("per_second")) and done < total:
            yield f"about {duration((total - done) / speed)} left"
        if self._numbers and (words := run_words(self._numbers)):
            yield f"so far {words}"


def _cells(numbers: Mapping[str, Any]) -> dict[str, Any]:
    miou, replies, dollars = numbers.get("miou"), numbers.get("replies"), numbers.get("dollars")
    invalid = sum(numbers["invalid"].values())
    return {
        "miou": _UNKNOWN if miou is None else percent(miou),
        "invalid": f"{percent(invalid / replies)} %" if replies else _UNKNOWN,
        "cost": _UNKNOWN if dollars is None else money(dollars),
    }


class RunTable(Progress):
    """A table of runs that fits 80 columns: the bar and the numbers keep their width, long names are cut.

    Args:
        console: the terminal.
        first: the header of the runs' names.
        tasks: whether a column tells the tasks.

    Attributes:
        under: the line under the table.
    """

    under = ""

    def __init__(self, console: Console, first: str, *, tasks: bool) -> None:
        names = partial(Column, ratio=1, no_wrap=True, overflow="ellipsis")
        right = partial(Column, justify="right", no_wrap=True)
        columns: Sequence[ProgressColumn] = (
            TextColumn("{task.description}", markup=False, table_column=names(first)),
            *([TextColumn("{task.fields[of]}", markup=False, table_column=names("task"))] if tasks else []),
            BarColumn(8),
            MofNCompleteColumn(table_column=right("episodes")),
            TextColumn("{task.fields[miou]}", justify="right", table_column=right("mIoU", min_width=5)),
            TextColumn("{task.fields[invalid]}", justify="right", table_column=right("invalid", min_width=7)),
            TextColumn("{task.fields[cost]}", justify="right", table_column=right("cost", min_width=6)),
            TimeElapsedColumn(table_column=right("time")),
            TimeRemainingColumn(compact=True, table_column=right("left", min_width=5)),
        )
        super().__init__(*columns, console=console, expand=True, speed_estimate_period=_SPEED_SECONDS)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """Return the table with its headers."""
        table = super().make_tasks_table(tasks)
        table.show_header = True
        return table

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give the table and the line under it."""
        yield from super().get_renderables()
        yield Text(self.under, overflow="ellipsis", no_wrap=True, style="dim")


class RunsDisplay:
    """The progress of runs that are played one after the other.

    Args:
        table: the table on a terminal; None where lines of text are written.
    """

    def __init__(self, table: RunTable | None) -> None:
        self._table, self._rows = table, deque[TaskID]()

    def begins(self, name: str, task: str = "") -> RunRow:
        """Add a run: the name of its model, or another, and its task."""
        if self._table is None:
            return RunRow(f"{name} on {task}" if task else name)
        if len(self._rows) == _ROWS:
            self._table.remove_task(self._rows.popleft())
        unknown: dict[str, Any] = dict.fromkeys(("miou", "invalid", "cost"), _UNKNOWN)
        row = self._table.add_task(name, total=None, of=task, **unknown)
        self._rows.append(row)
        return RunRow(name, (self._table, row))


class SuiteDisplay:
    """The progress of a suite, a `hlmat_bench.runs.suites.play.Watcher`: its runs, and how many are finished.

    Args:
        title: the suite.
        table: the table on a terminal; None where lines of text are written.
    """

    def __init__(self, title: str, table: RunTable | None) -> None:
        self._title, self._table, self._runs = title, table, RunsDisplay(table)
        self._row: RunRow | None = None
        self._line, self._last = "", time.monotonic()

    def begins(self, name: str) -> None:
        """Show that a run begins."""
        if self._table is None:
            self._print(f"{self._line}, now {name}")
        else:
            self._row = self._runs.begins(name)

    def plays(self, done: int, total: int) -> None:
        """Show how far the run is."""
        if self._row is not None:
            self._row.counts(done, total)

    def beats(self, numbers: Mapping[str, Any]) -> None:
        """Show the numbers of the run so far."""
        if self._row is not None:
            self._row.beats(numbers)

    def ends(self, run: Run) -> None:
        """Show the scores of the run."""
        if self._row is not None:
            self._row.ends(run)

    def counts(self, runs: tuple[int, int], samples: tuple[int, int]) -> None:
        """Show (finished, all) runs and samples."""
        self._line = f"{runs[0]} of {runs[1]} runs, {samples[0]} of {samples[1]} samples"
        if self._table is not None:
            self._table.under = f"{self._line}. {_PRELIMINARY}"
        elif runs[0] == runs[1] or time.monotonic() - self._last >= LINE_SECONDS:
            self._print(self._line)

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(f"{self._title}: {line}", file=sys.stderr, flush=True)  # noqa: T201


@contextmanager
def runs(first: str = "model", *, tasks: bool = False) -> Iterator[RunsDisplay]:
    """Open a display of runs.

    Args:
        first: the header of their names.
        tasks: whether they are of several tasks.
    """
    with _table(first, tasks=tasks) as table:
        yield RunsDisplay(table)


@contextmanager
def suite(title: str) -> Iterator[SuiteDisplay]:
    """Open a display of a suite."""
    with _table("run") as table:
        yield SuiteDisplay(title, table)


@contextmanager
def _table(first: str, *, tasks: bool = False) -> Iterator[RunTable | None]:
    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield None
        return
    with RunTable(terminal, first, tasks=tasks) as table:
        yield table
