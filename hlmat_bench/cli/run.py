"""Commands that play: ``run``, ``ceilings`` and ``merge``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of


def run(
    model: Annotated[list[str], typer.Option(help="Name[,key=value...] or ./file.py; may be given several times.")],
    task: Annotated[list[str], typer.Option(help="Name, group (res, hres) or ./file.yaml; several are allowed.")],
    segmenter: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")] = "graphcut",
    strategy: Annotated[
        str | None,
        typer.Option(help="Who chooses the next action: greedy (the default), prm, tree, box-only, or ./file.py."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Clicks per episode; default: the task's.")] = None,
    initial: options.Initial = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; of several runs, the folder that holds them.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.")] = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Episodes under way at once; default: what suits the model.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Requests per batch of a local model.")] = None,
    shard: Annotated[str | None, typer.Option(help="Only part I of N, split by image: I/N.")] = None,
    catalog: options.CatalogFile = None,
    max_requests: Annotated[int | None, typer.Option(min=1, help="Most requests of each run to an API.")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="Most US dollars of each run for an API.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps an API's replies.")] = None,
    embedding_cache: options.EmbeddingCache = None,
    max_failures: Annotated[
        int, typer.Option(min=1, help="Failed requests in a row that end a run; none of them is recorded.")
    ] = 10,
    no_lock: Annotated[
        bool, typer.Option("--no-lock", help="Write without a lock, on a file system that has none.")
    ] = False,
    set_: options.Settings = None,
) -> None:
    """Play a task with a model and score it; the same command again continues where it stopped.

    Exit code 3: the run is complete, and some of its episodes failed; the same command asks these again.
    """
    from hlmat_bench.cli import console
    from hlmat_bench.cli.score_tables import failed
    from hlmat_bench.core.text import redact
    from hlmat_bench.data.tasks import expand
    from hlmat_bench.models.catalog import Catalog
    from hlmat_bench.runs.run import run as run_one
    from hlmat_bench.runs.run_folder import Run

    aliases = Catalog.load(catalog).aliases
    for short in {who.partition(",")[0] for who in model} & set(aliases):
        console.note(f"{short} is {aliases[short]}.")

    settings = settings_of(set_ or [])
    tasks = [name for given in task for name in expand(given)]
    several = len(tasks) * len(model) > 1
    finished: dict[str, list[tuple[str, Run]]] = {name: [] for name in tasks}
    for name in tasks:
        for who in model:
            with console.resumable(), console.progress(f"{redact(who)} on {name}") as progress:
                result = run_one(
                    who,
                    name,
                    segmenter,
                    strategy=strategy,
                    budget=budget,
                    initial=initial,
                    out=_out(out, who, name, segmenter, strategy, initial, shard) if several else out,
                    limit=limit,
                    seed=seed,
                    data_root=data_root,
                    concurrency=concurrency,
                    batch_size=batch_size,
                    shard=shard,
                    catalog=catalog,
                    max_requests=max_requests,
                    max_cost=max_cost,
                    cache=cache,
                    embedding_cache=embedding_cache,
                    max_failures=max_failures,
                    lock=not no_lock,
                    settings=settings,
                    argv=["hlmat-bench", *sys.argv[1:]],
                    progress=progress,
                )
            finished[name].append((redact(who), result))
    for runs in finished.values():
        _show(segmenter, runs)
    if any(failed(one) for runs in finished.values() for _, one in runs):
        raise typer.Exit(3)


def ceilings(
    task: Annotated[str, typer.Option(help="Name or ./file.yaml.")],
    segmenter: Annotated[str, typer.Option(help="Name[,key=value...] or ./file.py.")] = "graphcut",
    budget: Annotated[int | None, typer.Option(help="Clicks per episode; default: the task's.")] = None,
    initial: options.Initial = None,
    out: Annotated[Path, typer.Option(help="The folder that holds all ceilings.")] = Path("runs") / "ceilings",
    limit: Annotated[int | None, typer.Option(help="Only the first so many samples.")] = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Episodes under way at once; default: one per core.")
    ] = None,
    embedding_cache: options.EmbeddingCache = None,
    set_: options.Settings = None,
) -> None:
    """Play a task with all reference players in one pass; the same command again continues where it stopped."""
    from hlmat_bench.cli import console
    from hlmat_bench.runs import ceilings

    with console.resumable(), console.progress(f"reference players on {task}") as progress:
        runs = ceilings.play(
            task,
            segmenter,
            budget=budget,
            initial=initial,
            out=out,
            limit=limit,
            seed=seed,
            data_root=data_root,
            concurrency=concurrency,
            embedding_cache=embedding_cache,
            settings=settings_of(set_ or []),
            argv=["hlmat-bench", *sys.argv[1:]],
            progress=progress,
        )
    _show(segmenter, list(runs.items()))


def merge(
    run: Annotated[list[Path], typer.Argument(help="The run folders of all shards.")],
    out: Annotated[Path, typer.Option(help="The folder of the merged run.")],
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also merge shards that lack episodes; the run stays unfinished.")
    ] = False,
) -> None:
    """Put the shards of a run together; it is an error where one lacks episodes."""
    from hlmat_bench.runs import shards
    from hlmat_bench.runs.run_folder import Run

    shards.merge(run, out, allow_incomplete=allow_incomplete)
    Run(out).score()
    typer.echo(f"Merged {len(run)} shards into {out}.")


def _out(out: Path | None, model: str, task: str, segmenter: str, *more: str | None) -> Path:
    from hlmat_bench.data.tasks import load_task
    from hlmat_bench.runs.plan import folder_name

    return (out or Path("runs")) / folder_name(model, load_task(task).name, segmenter, *more)


def _show(segmenter: str, runs: list[tuple[str, Any]]) -> None:
    from hlmat_bench.cli import console
    from hlmat_bench.cli.score_tables import print_scores
    from hlmat_bench.scores.failures import remarks

    first = runs[0][1].manifest
    of_what = "masks a sample" if first["task"]["kind"] == "filtering" else "clicks"
    budget = f"{first['protocol']['budget']} {of_what}"
    console.say(f"\n{first['task']['name']} with {segmenter}, {budget}, 95 % intervals by image")
    print_scores("model", runs)
    for _, result in runs:
        console.say(f"  {result.folder}")
    for name, result in runs:
        for remark in remarks(result.scores(), result.manifest):
            console.note(f"{name}: {remark}")
