"""The commands ``hlmat-bench suite`` and ``hlmat-bench suites``; heavy imports happen inside."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.runs.stopping import CALL_SECONDS, GRACE_SECONDS

if TYPE_CHECKING:
    from hlmat_bench.runs.suites.results import TableResult

_Replaced = "NAME=SPEC: use this {0} for the suite's {0} NAME; repeatable."


def suite(
    name: Annotated[str, typer.Argument(help="A suite's name, or ./file.yaml.")],
    out: Annotated[Path | None, typer.Option(help="Folder for runs and tables; default: runs/NAME.")] = None,
    model: Annotated[list[str] | None, typer.Option(help=_Replaced.format("model"))] = None,
    segmenter: Annotated[list[str] | None, typer.Option(help=_Replaced.format("segmenter"))] = None,
    task: Annotated[list[str] | None, typer.Option(help=_Replaced.format("task"))] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(
            help="Play only this row of the tables, and show the published numbers of the others; repeatable."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first N samples of each run.")] = None,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    data_root: options.DataRoot = None,
    fetch: options.Fetch = False,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Episodes played in parallel.")] = None,
    batch_size: options.BatchSize = None,
    catalog: options.CatalogFile = None,
    embedding_cache: options.EmbeddingCache = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    no_lock: options.NoLock = False,
    grace: options.Grace = GRACE_SECONDS,
    set_: Annotated[list[str] | None, typer.Option("--set", help="A setting of all runs, key=value.")] = None,
) -> None:
    """Play a suite and write its tables. The same command continues a suite that was stopped.

    Exit code 1: numbers are missing. Exit code 3: some episodes failed; the same command repeats them.
    """
    from hlmat_bench.cli import console, progress
    from hlmat_bench.cli.names import report_command
    from hlmat_bench.cli.score_tables import failed
    from hlmat_bench.cli.settings import settings
    from hlmat_bench.runs.suites import export
    from hlmat_bench.runs.suites.definition import load_suite
    from hlmat_bench.runs.suites.expansion import Changes, expand
    from hlmat_bench.runs.suites.play import PlayOptions, play_suite
    from hlmat_bench.runs.suites.results import missing, results
    from hlmat_bench.scores.failures import remarks

    changes = Changes(model or [], segmenter or [], task or [], limit, row or [], settings(set_ or []), catalog)
    plan = expand(load_suite(name), changes)
    folder = out or Path("runs") / plan.suite.name
    if fetch:
        from hlmat_bench.cli.fetch import fetch_first

        data_root = fetch_first(sorted({one.task for one in plan.runs}), data_root, lock=not no_lock)
    argv = ["hlmat-bench", *sys.argv[1:]]
    play_options = PlayOptions(
        folder, data_root, seed, concurrency, batch_size, catalog, embedding_cache, argv, call_timeout, not no_lock
    )
    with console.resumable(grace), progress.suite(plan.suite.name) as watcher:
        outcomes = play_suite(plan, play_options, watcher)
    made = results(plan, outcomes)
    files = export.write_tables(folder, plan.suite.title, made, plan.notes())
    _print_tables(made)
    for line in plan.notes():
        console.explain(line)
    for file in files:
        console.say(str(file))
    played = [(name, outcome.run) for name, outcome in outcomes.items() if outcome.run is not None]
    for name, run in played:
        for remark in remarks(run.scores(), run.manifest):
            console.note(f"{name}: {remark}")
    if played:
        console.say(f"\nnext: {report_command([played[0][1]])}")
    if missing(made):
        raise typer.Exit(1)
    if any(failed(run) for _, run in played):
        raise typer.Exit(3)


def _print_tables(made: Sequence[TableResult]) -> None:
    """Print the tables of a suite."""
    from hlmat_bench.cli import console
    from hlmat_bench.runs.suites import export

    for table in made:
        names = [column.name for column in table.table.columns]
        console.explain(f"\n{table.table.title}")
        rows = [(line.row, line.what, *line.cells) for line in export.lines(table)]
        console.columns(("", "", *names), rows, labels=2)
        for line in (*table.caption, *export.reasons(table)):
            console.explain(line)


def suites(
    name: Annotated[str | None, typer.Argument(help="A suite or ./file.yaml: describe it.")] = None,
    data_root: options.DataRoot = None,
) -> None:
    """List suites, and what is missing here to play them."""
    from hlmat_bench.cli import console
    from hlmat_bench.runs.suites import listing

    if name is not None:
        console.say(listing.page(name, data_root))
        return
    console.table(listing.HEADERS, listing.rows(data_root), right=[1])
    console.explain("\n`hlmat-bench suites NAME` describes a suite and names the missing parts.")
