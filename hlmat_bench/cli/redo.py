"""The command ``redo``: repeat chosen episodes of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hlmat_bench.cli import options
from hlmat_bench.runs.stopping import CALL_SECONDS, GRACE_SECONDS


def redo(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    failed: Annotated[bool, typer.Option("--failed", help="Choose the episodes that failed.")] = False,
    sample: Annotated[list[str] | None, typer.Option(help="Choose the episode of this sample; repeatable.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="Choose the episodes with FIELD=VALUE: stop=error, iou<0.5, tags.kind=thin, error=*timed out*."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The run's model, if it has moved or needs a key.")] = None,
    segmenter: Annotated[str | None, typer.Option(help="The run's segmenter, if it has moved.")] = None,
    task: options.MovedTask = None,
    data_root: Annotated[Path | None, typer.Option(help="Folder that contains the data sets, if it has moved.")] = None,
    concurrency: options.Concurrency = None,
    batch_size: options.BatchSize = None,
    max_requests: options.MaxRequests = None,
    max_cost: options.MaxCost = None,
    max_failures: options.MaxFailures = 10,
    call_timeout: options.CallTimeout = CALL_SECONDS,
    grace: options.Grace = GRACE_SECONDS,
    no_lock: options.NoLock = False,
    executor: options.Executor = None,
    workers: options.Workers = None,
    gpus_per_worker: options.GpusPerWorker = None,
    ray_address: options.RayAddress = None,
) -> None:
    """Repeat chosen episodes of a run in its folder. The old records stay in history.jsonl.

    Several --where must all hold. The same command continues a call that was stopped. Exit codes are those of `run`.
    """
    from hlmat_bench.cli import console, progress
    from hlmat_bench.cli.names import report_command
    from hlmat_bench.cli.score_tables import failed as failed_episodes
    from hlmat_bench.cli.score_tables import print_scores
    from hlmat_bench.runs.execution import Execution
    from hlmat_bench.runs.opening import path_text
    from hlmat_bench.runs.redo import Choice, Condition
    from hlmat_bench.runs.redo import redo as play_again

    choice = Choice(failed, sample or (), [Condition.parse(each) for each in where or ()])
    with console.resumable(grace), progress.runs("run") as shown:
        row = shown.begins(str(run))
        how = Execution(
            concurrency=concurrency,
            batch_size=batch_size,
            max_requests=max_requests,
            max_cost=max_cost,
            max_failures=max_failures,
            call_timeout=call_timeout,
            lock=not no_lock,
            executor=executor,
            workers=workers,
            gpus_per_worker=gpus_per_worker,
            ray_address=ray_address,
            progress=row.counts,
            on_beat=row.beats,
        )
        elsewhere = {"model": model, "segmenter": segmenter, "task": task, "data_root": path_text(data_root)}
        result = play_again(run, choice, how, **elsewhere)
    print_scores("run", [(str(run), result)])
    if (total := result.manifest["samples"]) > (there := result.scores()["n"]):
        console.note(f"{total - there} of {total} samples are not played yet; the run's own command plays them.")
    console.say(f"\nnext: {report_command([result])}")
    if failed_episodes(result):
        raise typer.Exit(3)
