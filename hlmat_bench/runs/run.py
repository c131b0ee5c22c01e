"""A run: one model on one task with one segmenter, on disk in one folder, resumable and scored."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.runs.execution import Execution
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.failures import IN_A_ROW
from hlmat_bench.runs.heartbeat import OnBeat
from hlmat_bench.runs.opening import path_text
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.stopping import CALL_SECONDS


def run(
    model: str | Model,
    task: str,
    segmenter: str = "graphcut",
    *,
    strategy: str | None = None,
    budget: int | None = None,
    initial: str | None = None,
    out: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    data_root: str | os.PathLike[str] | None = None,
    concurrency: int | None = None,
    batch_size: int | None = None,
    shard: str | None = None,
    catalog: str | os.PathLike[str] | None = None,
    max_requests: int | None = None,
    max_cost: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    embedding_cache: str | os.PathLike[str] | None = None,
    max_failures: int = IN_A_ROW,
    call_timeout: float = CALL_SECONDS,
    lock: bool = True,
    executor: str | None = None,
    workers: int | str | None = None,
    gpus_per_worker: float | None = None,
    ray_address: str | None = None,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
    on_beat: OnBeat | None = None,
) -> Run:
    """Play a task and score it; called again with the same arguments it continues where it stopped.

    Args:
        model: a name with options, e.g. ``"hf,pretrained=/models/X,points=xy1000"``, a file ``"./my_model.py"``, or a
            model itself.
        task: a task's name, the path of a task's YAML file, or ``hf:OWNER/REPO,split=NAME``, a data set of the hub.
        segmenter: a name with options, or a file.
        strategy: who chooses the next action; None: greedy, or what the task's kind has.
        budget: clicks per episode; None: the task's.
        initial: the state before the first click, one of `settings.INITIAL_STATES`; None: empty, or what the task's
            kind has.
        out: the run folder; None: ``runs/MODEL__TASK__SEGMENTER``, and strategy and initial state where they are given.
        limit: play only this many samples, from the first; a later call may raise it.
        seed: of everything random.
        data_root: the folder that holds the data sets; None: the environment's HLMAT_DATA.
        concurrency: episodes played in parallel; None: what suits the model.
        batch_size: requests per batch of a local model; None: its own.
        shard: ``"I/N"``: the I-th of N parts, split by image.
        catalog: a file with more models, in the form of ``adapters/models/catalog.yaml``.
        max_requests: most requests to a model behind an API in this call; what is left is for another call.
        max_cost: most US dollars in this call; the requests that are sent when it is reached may exceed it.
        cache: a folder for the replies of a model behind an API, which are then not asked for again, in this run or
            another.
        embedding_cache: a folder for what the segmenter's encoder makes of images, which are then not encoded again.
        max_failures: failed requests in a row that end the run, or episodes in a row in which the segmenter fails. It
            ends, too, when the first `hlmat_bench.runs.failures.FIRST` fail alike. In both cases the failures are not
            recorded.
        call_timeout: seconds that one call of the segmenter, or of a model without a time limit of its own, may take.
        lock: keep other processes out of the run folder; False where its file system has no locks.
        executor: ``local`` plays in this process, ``ray`` with workers; None: workers where one of the next three is
            given.
        workers: processes with a model and a segmenter each; ``"auto"``: one per GPU, else one per pair of cores.
        gpus_per_worker: GPUs of each; None: one, or an equal share where there are fewer GPUs than workers.
        ray_address: of a Ray cluster, or ``auto``; None: Ray is started on this machine.
        settings: more settings of the protocol (``{"overlay.color": "blue"}``) and of the data
            (``{"data.missing": "skip"}``), and ``points``, a format that replaces the model's declared one.
        argv: the command line, for the manifest.
        progress: called with (episodes done, episodes in all).
        on_beat: called about every 2 seconds, from a thread of its own, with the run's numbers so far:
            `hlmat_bench.runs.tally.RunTally.numbers`, ``replies``, the number of steps so far, and
            `hlmat_bench.runs.heartbeat.Beat`.

    Returns:
        The run. Episodes whose model could not be asked, or whose segmenter failed, have ``stop`` ``error``;
        ``scores()["failures"]`` counts them, and the same call asks them again.

    Raises:
        UsageError: for what the caller can correct; finished episodes are kept. Where a limit ended the run, they are
            scored.
    """
    spec = RunSpec(
        model=model if isinstance(model, str) else model.name,
        task=task,
        segmenter=segmenter,
        strategy=strategy,
        budget=budget,
        initial=initial,
        limit=limit,
        seed=seed,
        data_root=path_text(data_root),
        shard=shard,
        catalog=path_text(catalog),
        cache=path_text(cache),
        embedding_cache=path_text(embedding_cache),
        settings=dict(settings or {}),
    )
    how = Execution(
        concurrency=concurrency,
        batch_size=batch_size,
        max_requests=max_requests,
        max_cost=max_cost,
        max_failures=max_failures,
        call_timeout=call_timeout,
        lock=lock,
        executor=executor,
        workers=workers,
        gpus_per_worker=gpus_per_worker,
        ray_address=ray_address,
        progress=progress,
        on_beat=on_beat,
    )
    made = None if isinstance(model, str) else model
    return how.play(spec, Path(out) if out else spec.folder(), model=made, argv=argv)
