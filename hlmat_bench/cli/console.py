"""What the command line shows: progress, tables and errors. Progress and errors go to standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from rich.progress import Progress

    from hlmat_bench.protocol.plugins import Plugin

#: Where there is no terminal, a line is printed so often.
PLAIN_SECONDS = 10.0


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that moves a bar on a terminal, and prints a line now and then elsewhere."""
    console = Console(stderr=True)
    if console.is_terminal:
        with _bar(console, title) as update:
            yield update
    else:
        yield _plain(title)


@contextmanager
def _bar(console: Console, title: str) -> Iterator[Callable[[int, int], None]]:
    with bars(console) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def bars(console: Console) -> Progress:
    """Bars on a terminal, each with a description, how much of how much is done, and the time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console)


def _plain(title: str) -> Callable[[int, int], None]:
    last = -PLAIN_SECONDS

    def update(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= PLAIN_SECONDS:
            last = time.monotonic()
            print(f"{title}: {done} of {total}", file=sys.stderr, flush=True)  # noqa: T201

    return update


@contextmanager
def resumable() -> Iterator[None]:
    """Around work that the same command goes on with: an interrupt from the keyboard ends the program, and says so."""
    try:
        yield
    except KeyboardInterrupt:
        error("stopped; what was finished is kept, and the same command goes on from there.")
        sys.exit(130)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table to standard output; the columns of the given numbers are aligned to the right."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for number, header in enumerate(headers):
        shown.add_column(header, justify="right" if number in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(_escaped(cell) for cell in row))
    _stdout().print(shown)


def say(text: str) -> None:
    """Print a line to standard output, as it is."""
    _stdout().print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a remark to standard error."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)


def error(text: str) -> None:
    """Print an error to standard error."""
    Console(stderr=True).print(f"error: {text}", markup=False, highlight=False, soft_wrap=True)


SEGMENTER_HEADERS = (
    "segmenter",
    "from",
    "box",
    "negative clicks",
    "previous logits",
    "start mask",
    "input size",
    "licence",
    "weights",
    "can run here",
)


def segmenter_row(plugin: Plugin) -> list[str]:
    """A row of the list of segmenters; what its file does not say is left empty."""
    facts, here = plugin.facts, plugin.missing or "yes"
    if facts is None:
        return [plugin.name, plugin.origin, *[""] * 7, here]
    takes = [_yes(takes) for takes in (facts.box, facts.negative_clicks, facts.previous_logits, facts.start_mask)]
    return [plugin.name, plugin.origin, *takes, facts.input_size, facts.licence, facts.weights or "none", here]


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def with_interval(value: float, interval: Sequence[float], digits: int) -> str:
    """``0.712 [0.684, 0.741]``."""
    low, high = interval
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _stdout() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=1000)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
