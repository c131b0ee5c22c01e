"""The commands of the group ``trajectories``: what an annotator would do, from ground truths or from a model's run."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlmat_bench.cli import options
from hlmat_bench.cli.settings import settings as settings_of
from hlmat_bench.runs.stopping import CALL_SECONDS, GRACE_SECONDS

if TYPE_CHECKING:
    from hlmat_bench.runs.plan import RunSpec
    from hlmat_bench.runs.run_folder import Run

app = typer.Typer(help="Make trajectories of an annotator, to train models on.", no_args_is_help=True)

StopIou = Annotated[float | None, typer.Option(help="IoU from which on a trajectory is finished; default: 0.98.")]
MinGain = Annotated[
    float | None, typer.Option(help="A click that raises the IoU by no more than this is discarded; default: 0.")
]
Spread = Annotated[
    float | None, typer.Option(help="Place of a click in an error: from 0, its middle (the default), to 1, anywhere.")
]


@app.command()
def generate(
    task: options.Tasks,
    segmenter: options.Segmenter = "graphcut",
    max_steps: Annotated[int | None, typer.Option(min=1, help="Most clicks; default: the task's budget.")] = None,
    stop_iou: StopIou = None,
    min_gain: MinGain = None,
    spread: Spread = None,
    initial: Annotated[
        str | None,
        typer.Option(help="State before the first click, or several with shares: empty:2,points:1,generated:1."),
    ] = None,
    out: options.Out = None,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    data_root: options.DataRoot = None,
    concurrency: options.Concurrency = None,
    shard: options.Shard = None,
    embedding_cache: options.EmbeddingCache = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
    set_: options.Settings = None,
) -> None:
    """Let the rule-based annotator click through tasks; the same command again continues where it stopped.

    A set of trajectories is a run folder, and all commands for runs read it.
    """
    from hlmat_bench.data.tasks import expand
    from hlmat_bench.runs.opening import path_text
    from hlmat_bench.runs.plan import RunSpec

    how = _how(concurrency, call_timeout, no_lock, executor, workers, gpus_per_worker, ray_address)
    names = [name for each in task for name in expand(each)]
    several = initial is not None and "=" not in initial and ("," in initial or ":" in initial)
    for name in names:
        spec = RunSpec(
            model="oracle",
            task=name,
            segmenter=segmenter,
            strategy="annotate",
            budget=max_steps,
            initial=f"varied={initial}" if several else initial,
            limit=limit,
            seed=seed,
            data_root=path_text(data_root),
            shard=shard,
            embedding_cache=path_text(embedding_cache),
            settings=_rules(stop_iou=stop_iou, min_gain=min_gain, spread=spread) | settings_of(set_ or []),
        )
        _play(spec, out / name if out is not None and len(names) > 1 else out, how, grace)


@app.command()
def improve(
    run: Annotated[Path, typer.Argument(help="Folder of a model's run.")],
    out: Annotated[Path, typer.Option(help="Run folder of the improved trajectories.")],
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Most clicks; default: twice the budget of the model's run.")
    ] = None,
    stop_iou: StopIou = None,
    min_gain: MinGain = None,
    spread: Spread = None,
    round_: Annotated[int, typer.Option("--round", min=1, help="Round of improvement, for the manifest.")] = 1,
    segmenter: Annotated[str | None, typer.Option(help="The run's segmenter, where it has moved.")] = None,
    task: options.MovedTask = None,
    data_root: options.DataRoot = None,
    concurrency: options.Concurrency = None,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Improve what a model did (StaR+): keep its clicks that raise the IoU, and replace the others.

    The annotator's click replaces one that raises the IoU too little; after the model's clicks the annotator goes on.
    """
    from hlmat_bench.cli import console
    from hlmat_bench.runs.improving import compare, spec_for
    from hlmat_bench.runs.opening import path_text

    how = _how(concurrency, call_timeout, no_lock, executor, workers, gpus_per_worker, ray_address)
    spec = spec_for(run, round_, task=task, segmenter=segmenter, data_root=path_text(data_root))
    rules = _rules(stop_iou=stop_iou, min_gain=min_gain, spread=spread)
    spec = replace(spec, budget=max_steps or spec.budget, settings={**spec.settings, **rules})
    counts = compare(run, _play(spec, out, how, grace).folder)
    console.say(
        f"Clicks of the model: {counts.model:,}, of which {counts.kept:,} are kept and "
        f"{counts.model - counts.kept:,} are not; clicks of the annotator: {counts.added:,}."
    )


def _play(spec: RunSpec, out: Path | None, how: dict[str, Any], grace: float) -> Run:
    """Make trajectories, and show how good they are."""
    from hlmat_bench.cli import console
    from hlmat_bench.cli.score_tables import failed, print_scores
    from hlmat_bench.runs.execution import Execution

    argv = ["hlmat-bench", *sys.argv[1:]]
    with console.resumable(grace), console.run_progress(f"trajectories on {spec.task}") as (progress, on_beat):
        execution = Execution(**how, progress=progress, on_beat=on_beat)
        made = execution.play(spec, out or spec.folder(), argv=argv)
    print_scores("trajectories", [(made.manifest["task"]["name"], made)])
    console.say(f"  {made.folder}")
    if failed(made):
        raise typer.Exit(3)
    return made


def _how(
    concurrency: int | None,
    call_timeout: float,
    no_lock: bool,
    executor: str | None,
    workers: str | None,
    gpus_per_worker: float | None,
    ray_address: str | None,
) -> dict[str, Any]:
    """Return how the trajectories are made, as arguments of `hlmat_bench.runs.execution.Execution`."""
    how = {**locals(), "lock": not no_lock}
    del how["no_lock"]
    return how


def _rules(**given: float | None) -> dict[str, Any]:
    return {f"annotator.{name}": value for name, value in given.items() if value is not None}
