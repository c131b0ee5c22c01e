"""Playing many episodes at once: who plays, with what, in which order, and where the records go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hlmat_bench import plugins
from hlmat_bench.batching import Front
from hlmat_bench.catalog import Choice
from hlmat_bench.episode_log import EpisodeLog, written_ids
from hlmat_bench.errors import UsageError
from hlmat_bench.framing import UNCHANGED
from hlmat_bench.interfaces import BatchModel, Model, Segmenter
from hlmat_bench.players import ModelPlayer, Player
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol import Play, play
from hlmat_bench.records import Episode
from hlmat_bench.reference import PIXELS, POLICIES, ReferencePlayer
from hlmat_bench.samples import Sample, Source
from hlmat_bench.settings import ProtocolSettings

#: The file in a run folder that keeps what the model's process printed, for models with a ``log``.
MODEL_LOG = "model.log"

Progress = Callable[[int, int], None]


class Contest:
    """Who plays and with what: a model or a reference policy, a segmenter, the rules.

    Args:
        model: what the user's ``--model`` means; a reference's name, too.
        segmenter: what `plugins.make` takes.
        rules: the protocol's settings.
        points: a point format that replaces the model's declared one; None: the declared one.
        seed: the run's seed.

    Raises:
        UsageError: when one of them cannot be made, or they do not fit together.
    """

    def __init__(self, model: Choice, segmenter: str, rules: ProtocolSettings, points: str | None, seed: int) -> None:
        self.rules, self.seed = rules, seed
        self.policy = POLICIES.get(model.plugin)
        self.segmenter: Segmenter = plugins.make("segmenter", segmenter)
        if (rules.track == "box+point" or rules.initial == "gt-box") and not self.segmenter.accepts_box:
            raise UsageError(
                f"The segmenter {self.segmenter.name} takes no boxes, which this run needs; use one that does, "
                "such as sam_b."
            )
        self.model: Model | None = None if self.policy else model.make()
        self.points, self.resize = PIXELS, UNCHANGED.name
        self.model_spec: dict[str, Any] = {"name": model.plugin, "kind": "reference"}
        if self.model is not None:
            self.points = PointFormat.named(points) if points else self.model.points
            self.resize = getattr(self.model, "resize", UNCHANGED).name
            describe = getattr(self.model, "spec", None)
            self.model_spec = {"name": self.model.name, "kind": "model", **(describe() if describe else {})}
            if model.described is not None:
                self.model_spec["catalog"] = dict(model.described)

    def concurrency(self, batch_size: int | None) -> int:
        """Episodes under way that suit the model: a full batch, or what it declares, or one per core."""
        if isinstance(self.model, BatchModel):
            return batch_size or self.model.batch_size
        return getattr(self.model, "concurrency", None) or os.cpu_count() or 1

    def seat(self, sample: Sample, source: Source, front: Front | None, pool: ThreadPoolExecutor) -> Play:
        """Everything one episode needs. Reads the image and the ground truth, so call it in a worker thread."""
        image, truth = source.image(sample), source.truth(sample)
        seed = int.from_bytes(hashlib.blake2b(f"{self.seed}/{sample.id}".encode(), digest_size=4).digest())
        player: Player
        if self.policy is not None:
            player = ReferencePlayer(self.policy, truth, seed, pool)
        else:
            assert self.model is not None and front is not None
            player = ModelPlayer(self.model, front, sample, image, self.rules, points=self.points, seed=seed, pool=pool)
        return Play(sample, image, truth, player, self.segmenter, self.rules, pool)


def play_all(
    contest: Contest,
    source: Source,
    samples: Sequence[Sample],
    folder: Path,
    *,
    concurrency: int | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Play the samples that are not yet written and append their episodes; the caller holds the folder's lock.

    Raises:
        UsageError: for what the user can mend; episodes finished before it are kept.
    """
    done = written_ids(folder)
    todo = [sample for sample in samples if sample.id not in done]
    count = len(samples) - len(todo)
    log = EpisodeLog(folder, [sample.id for sample in samples])

    def report() -> None:
        if progress:
            progress(count, len(samples))

    def finished(episode: Episode) -> None:
        nonlocal count
        log.append(episode)
        count += 1
        report()

    report()
    try:
        seats = concurrency or contest.concurrency(batch_size)
        _in_own_loop(_play_async(contest, source, todo, seats, batch_size, finished))
    finally:
        log.close()
        if (words := getattr(contest.model, "log", None)) is not None:
            shutil.copyfile(words, folder / MODEL_LOG)


async def _play_async(
    contest: Contest,
    source: Source,
    todo: Sequence[Sample],
    seats: int,
    batch_size: int | None,
    finished: Callable[[Episode], None],
) -> None:
    remaining = iter(todo)
    loop = asyncio.get_running_loop()
    model = contest.model
    front = Front(model, batch_size=batch_size, concurrency=seats) if model else None

    async def seat() -> None:
        """Play one sample after the other."""
        for sample in remaining:
            with front.episode() if front else contextlib.nullcontext():
                seated = await loop.run_in_executor(pool, contest.seat, sample, source, front, pool)
                finished(await play(seated))

    async with contextlib.AsyncExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(max(os.cpu_count() or 1, 2), "pixels"))
        if front:
            stack.callback(front.close)
        if (close := getattr(model, "close", None)) is not None:
            stack.push_async_callback(close)
        await _all_or_none([seat() for _ in range(min(seats, len(todo)))])


async def _all_or_none(coroutines: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one fails, stop the others and raise its error."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _in_own_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine to its end, from a script or from inside a notebook's running loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(coroutine)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, coroutine).result()
