"""The work of `hlmat-bench report` and `hlmat-bench compare`."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from hlmat_bench.cli import console
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.run import build, comparison, loaded, ratings


def report(runs: Sequence[Path], out: Path | None, show: bool, **options: Any) -> None:
    """Write the pages and print their path; with ``show``, open them. For the options see `build.report`."""
    page = _built(runs, out, **options)
    if show and not webbrowser.open(page.resolve().as_uri()):
        console.note(f"No browser was found; open {page} in a browser.")


def compare(runs: Sequence[Path], out: Path | None, **options: Any) -> None:
    """Print the paired differences of all pairs, and write the pages if a folder is given.

    Raises:
        UsageError: when there are fewer than two runs, or they cannot be compared.
    """
    if len(runs) < 2:
        raise UsageError("A comparison needs two runs or more; `hlmat-bench report` shows a single run.")
    played = loaded.read(runs)
    if all(entrant.taken is None for entrant in played):
        headers, rows = ratings.pair_table(played)
    else:
        headers, rows = comparison.pair_table(comparison.pairs(played))
    console.table(headers, rows, right=range(2, len(headers)))
    for first, second in combinations(played, 2):
        if warnings := loaded.differing_settings(first, second):
            console.note(f"Not only the model differs between {first.name} and {second.name}: {'; '.join(warnings)}.")
    if out is not None:
        _built(runs, out, **options)


def _built(runs: Sequence[Path], out: Path | None, **options: Any) -> Path:
    with console.progress("images") as progress:
        page = build.report(runs, out, progress=progress, **options)
    console.say(f"{page}")
    return page
