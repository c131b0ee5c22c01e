"""What ``compare`` prints: the verdict, the scores with their differences, and what else differs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import typer

from hlmat_bench.cli import console
from hlmat_bench.reports.compare import pairs, settings, tables, words
from hlmat_bench.reports.run import loaded


def print_comparison(folders: Sequence[Path], formats: Sequence[str], *, common: bool) -> None:
    """Print the comparison of runs.

    Args:
        folders: the run folders.
        formats: of `core.tables.FORMATS`; none: a table for the terminal.
        common: whether samples that not all runs have are left out.

    Raises:
        UsageError: when the runs do not compare.
    """
    entrants = loaded.read(folders, common=common)
    found = pairs.pairs(entrants)
    for ending in formats:
        typer.echo(tables.exported(entrants, found, ending), nl=False)
    if not formats:
        console.explain(words.summary(entrants, found))
        for table in tables.text_tables(entrants, found):
            console.say("")
            console.columns(table.headers, table.rows)
    for pair in combinations(entrants, 2):
        sentence = " ".join(filter(None, (settings.model_words(pair), settings.differing_words(pair))))
        if sentence:
            console.note(f"{words.title(pair)}: {sentence}")
