"""Commands that play: ``run``, ``ceilings`` and ``merge``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of
from hlmat_bench.runs.stopping import CALL_SECONDS, GRACE_SECONDS

if TYPE_CHECKING:
    from hlmat_bench.runs.run_folder import Run


def run(
    model: options.Model,
    task: options.Tasks,
    segmenter: options.Segmenter = "graphcut",
    strategy: options.Strategy = None,
    budget: options.Budget = None,
    initial: options.Initial = None,
    out: options.Out = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    fetch: options.Fetch = False,
    concurrency: options.Concurrency = None,
    batch_size: options.BatchSize = None,
    shard: options.Shard = None,
    catalog: options.CatalogFile = None,
    max_requests: options.MaxRequests = None,
    max_cost: options.MaxCost = None,
    cache: options.Cache = None,
    embedding_cache: options.EmbeddingCache = None,
    max_failures: options.MaxFailures = 10,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
    set_: options.Settings = None,
) -> None:
    """Play a task with a model and score it. The same command continues a run that was stopped.

    Exit code 3: the run is complete, and some of its episodes failed; the same command repeats these.
    """
    # The options have the names of the parameters of `hlmat_bench.run`, apart from these.
    given = {**locals(), "lock": not no_lock, "settings": settings_of(set_ or [])}
    for name in ("model", "task", "out", "grace", "no_lock", "set_", "fetch"):
        del given[name]
    from hlmat_bench.cli import console, progress
    from hlmat_bench.cli.names import short_names
    from hlmat_bench.cli.score_tables import failed
    from hlmat_bench.data.tasks import expand
    from hlmat_bench.runs.run import run as play_run

    if fetch:
        from hlmat_bench.cli.fetch import fetch_first

        given["data_root"] = fetch_first(task, data_root, lock=not no_lock)
    _tell_aliases(model, catalog)
    called = dict(zip(model, short_names(model), strict=True))
    pairs = [(name, who) for each in task for name in expand(each) for who in model]
    finished: dict[str, list[Run]] = {name: [] for name, _ in pairs}
    try:
        with console.resumable(grace), progress.runs(tasks=len(finished) > 1) as shown:
            for name, who in pairs:
                folder = _out(out, who, name, segmenter, strategy, initial, shard) if len(pairs) > 1 else out
                row = shown.begins(called[who], _task_name(name))
                argv = ["hlmat-bench", *sys.argv[1:]]
                result = play_run(who, name, **given, out=folder, argv=argv, progress=row.counts, on_beat=row.beats)
                row.ends(result)
                finished[name].append(result)
    finally:  # the results of finished runs are shown also where a later one fails
        for runs in filter(None, finished.values()):
            _show(runs)
    if shard is None:
        _say_next(list(finished.values()))
    if any(failed(one) for runs in finished.values() for one in runs):
        raise typer.Exit(3)


def _tell_aliases(models: list[str], catalog: Path | None) -> None:
    """Say what the short names among the models mean."""
    from hlmat_bench.cli import console
    from hlmat_bench.models.catalog import Catalog

    aliases = Catalog.load(catalog).aliases
    for short in {who.partition(",")[0] for who in models} & set(aliases):
        console.note(f"{short} is {aliases[short]}.")


def ceilings(
    task: options.Task,
    segmenter: options.Segmenter = "graphcut",
    budget: options.Budget = None,
    initial: options.Initial = None,
    out: Annotated[Path, typer.Option(help="Folder that holds all ceilings.")] = Path("runs") / "ceilings",
    limit: options.Limit = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Episodes played in parallel; default: one per core.")
    ] = None,
    embedding_cache: options.EmbeddingCache = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    no_lock: options.NoLock = False,
    grace: options.Grace = GRACE_SECONDS,
    set_: options.Settings = None,
) -> None:
    """Play a task with all reference policies in one pass. The same command continues where it stopped."""
    from hlmat_bench.cli import console
    from hlmat_bench.runs import ceilings

    with console.resumable(grace), console.progress(f"reference policies on {task}") as progress:
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
            call_timeout=call_timeout,
            lock=not no_lock,
            settings=settings_of(set_ or []),
            argv=["hlmat-bench", *sys.argv[1:]],
            progress=progress,
        )
    _show(list(runs.values()))
    _say_next([list(runs.values())])


def merge(
    run: Annotated[list[Path], typer.Argument(help="The run folders of all shards.")],
    out: Annotated[Path, typer.Option(help="The folder of the merged run.")],
    allow_incomplete: Annotated[
        bool, typer.Option("--allow-incomplete", help="Also merge shards that lack episodes; the run stays unfinished.")
    ] = False,
) -> None:
    """Put the shards of a run together. It is an error if a shard lacks episodes."""
    from hlmat_bench.runs import shards
    from hlmat_bench.runs.run_folder import Run

    shards.merge(run, out, allow_incomplete=allow_incomplete)
    merged = Run(out)
    merged.score()
    typer.echo(f"Merged {len(run)} shards into {out}.")
    _say_next([[merged]])


def _out(out: Path | None, model: str, task: str, segmenter: str, *more: str | None) -> Path:
    from hlmat_bench.runs.opening import folder_name

    return (out or Path("runs")) / folder_name(model, _task_name(task), segmenter, *more)


def _task_name(task: str) -> str:
    from hlmat_bench.data.tasks import load_task

    return load_task(task).name


def _show(runs: list[Run]) -> None:
    """Print the results of runs of one task."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.names import model_names
    from hlmat_bench.cli.score_tables import print_scores
    from hlmat_bench.scores.failures import remarks

    first = runs[0].manifest
    of_what = "masks per sample" if first["task"]["kind"] == "filtering" else "clicks"
    intervals = "95 % intervals by image" if runs[0].scores()["n_images"] > 1 else "one image, so no intervals"
    console.explain(
        f"\n{first['task']['name']} with {first['segmenter']['name']}, {first['protocol']['budget']} {of_what}; "
        f"per cent, {intervals}"
    )
    named = list(zip(model_names(runs), runs, strict=True))
    print_scores("model", named)
    for result in runs:
        console.say(f"  {result.folder}")
    for name, result in named:
        for remark in remarks(result.scores(), result.manifest):
            console.note(f"{name}: {remark}")


def _say_next(groups: list[list[Run]]) -> None:
    """Say what to do after runs: a command for those of each task."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.names import report_command

    console.say("")
    for runs in groups:
        console.say(f"next: {report_command(runs)}")
