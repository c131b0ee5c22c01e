"""A worker: one process with one model and one segmenter, which plays the images that the driver sends it."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import Failed, HlmatError
from hlmat_bench.core.samples import Sample
from hlmat_bench.models.api.limits import LimitReached
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.runs.batching import suitable_concurrency
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.player import EpisodePlayer
from hlmat_bench.runs.ray.events import (
    Answered,
    Closed,
    Ended,
    Event,
    Kept,
    NotAnswered,
    Paid,
    Played,
    RunBroken,
    Sent,
)
from hlmat_bench.runs.reply_journal import journaled
from hlmat_bench.runs.stopping import CALL_SECONDS

Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker opens runs.

    Attributes:
        folder: the driver's working directory, to which relative paths refer.
        environment: variables that the worker needs, such as the key of an API.
        argv: the driver's command line, for the manifest.
        concurrency, batch_size: see `hlmat_bench.runs.executors.LocalExecutor`.
        max_requests, max_cost: the limits of the call, over all workers.
        call_timeout: seconds that one call of a plug-in may take.
    """

    folder: str
    environment: Mapping[str, str]
    argv: Sequence[str] = ()
    concurrency: int | None = None
    batch_size: int | None = None
    max_requests: int | None = None
    max_cost: float | None = None
    call_timeout: float = CALL_SECONDS

    @classmethod
    def here(cls, **options: Any) -> WorkerOptions:
        """Return options with this process's folder and what workers need of its environment."""
        beginnings, ends = ("HLMAT_", "OPENAI_", "HF_"), ("_API_KEY", "_proxy", "_PROXY")
        passed = {
            name: value for name, value in os.environ.items() if name.startswith(beginnings) or name.endswith(ends)
        }
        return cls(str(Path.cwd()), passed, **options)


@dataclass(frozen=True, slots=True)
class OpenedRuns:
    """What a worker says of the runs that it opened.

    Attributes:
        manifests: of each run.
        per_episode: of each run, the most requests that an episode takes.
        concurrency: episodes that the worker plays at once.
    """

    manifests: Sequence[dict[str, Any]]
    per_episode: Sequence[int]
    concurrency: int


class Worker:
    """A worker; Ray calls its methods, all in one event loop.

    Args:
        specs: the runs, as JSON objects; see `RunSpec`.
        options: see `WorkerOptions`.
    """

    def __init__(self, specs: Sequence[Mapping[str, Any]], options: WorkerOptions) -> None:
        self._specs, self._options = [RunSpec.from_json(spec) for spec in specs], options
        self._happened: list[Event] = []
        self._news = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: list[_Run] = []
        self._slots = asyncio.Semaphore(1)

    async def open(self) -> OpenedRuns | RunBroken:
        """Open the runs; in a thread, because that may load a large model."""
        options = self._options
        os.environ.update(options.environment)
        with suppress(OSError):  # a folder of the driver's machine that is not on this one
            os.chdir(options.folder)
        try:
            setups = await asyncio.to_thread(self._open_all)
            concurrency = options.concurrency or suitable_concurrency(setups[0].model, options.batch_size)
            player = await self._stack.enter_async_context(
                EpisodePlayer(concurrency, options.batch_size, options.call_timeout)
            )
            self._slots = asyncio.Semaphore(concurrency)
            self._runs = [_Run(number, setup, player, self._emit) for number, setup in enumerate(setups)]
        except Exception as error:  # noqa: BLE001  (handed to the driver, which raises it)
            return _broken(error)
        return OpenedRuns(
            [setup.manifest(options.argv) for setup in setups],
            [setup.most_requests for setup in setups],
            concurrency,
        )

    async def play(self, ticket: int, run: int, wanted: Sequence[str], kept: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin to play samples of one image.

        Args:
            ticket: names the image in the events about it.
            run: the number of the run.
            wanted: the ids of the samples.
            kept: replies of an earlier worker or call about these samples, by sample and request.
        """
        task = asyncio.create_task(self._play(ticket, self._runs[run], wanted, kept))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def fail(self, ticket: int, run: int, wanted: Sequence[str], why: str) -> None:
        """Record samples that cannot be played as failed; their image is not opened."""
        one = self._runs[run]
        try:
            for sample_id in wanted:
                self._emit(Played(ticket, await asyncio.to_thread(one.setup.failed, one.samples[sample_id], why)))
        except Exception as error:  # noqa: BLE001  (handed to the driver, which raises it)
            self._emit(_broken(error))
        self._emit(Ended(ticket))

    async def events(self) -> list[Event]:
        """Return what happened since the last call; wait until there is something."""
        await self._news.wait()
        happened, self._happened = self._happened, []
        self._news.clear()
        return happened

    async def halt(self) -> None:
        """Send no further request to a model behind an API; episodes that need one end without a record."""
        for run in self._runs:
            run.halted = True

    async def close(self) -> None:
        """Stop playing, and close models and threads. Replies that are running are waited for, for a while."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
        self._emit(Closed())

    def _open_all(self) -> list[RunSetup]:
        """Open all runs; they share data and segmenter where they have the same."""
        options, data = self._options, self._specs[0].open_data(look=False)
        setups: list[RunSetup] = []
        for spec in self._specs:
            setups.append(spec.open(data=data, segmenter=setups[0].segmenter if setups else None))
            setups[-1].meter(options.max_requests, options.max_cost)
        return setups

    async def _play(self, ticket: int, run: _Run, wanted: Sequence[str], kept: Mapping[str, Mapping[str, Any]]) -> None:
        run.kept |= kept
        try:
            async with asyncio.TaskGroup() as group:
                for sample_id in wanted:
                    group.create_task(self._play_one(ticket, run, sample_id))
        except* Exception as errors:  # noqa: BLE001  (handed to the driver, which raises the first)
            self._emit(_broken(errors.exceptions[0]))
        for sample_id in wanted:
            run.kept.pop(sample_id, None)
        self._emit(Ended(ticket))

    async def _play_one(self, ticket: int, run: _Run, sample_id: str) -> None:
        async with self._slots:
            with suppress(LimitReached):
                self._emit(Played(ticket, await run.play(run.samples[sample_id])))

    def _emit(self, event: Event) -> None:
        self._happened.append(event)
        self._news.set()


class _Run:
    """A run in a worker; it tells the driver what its meter, its journal and its watch must know."""

    def __init__(self, number: int, setup: RunSetup, player: EpisodePlayer, emit: Emit) -> None:
        self.setup, self.halted = setup, False
        self.samples: dict[str, Sample] = {sample.id: sample for sample in setup.data.samples}
        self.kept: dict[str, Mapping[str, list[Reply]]] = {}
        self._number, self._emit = number, emit
        self.play = player.opened(setup, journaled(setup.asked_model(self), self), self)

    def before(self, sample_id: str) -> None:
        """See `RequestMeter.before`."""
        if self.halted:
            raise LimitReached("A limit of this run is reached.")
        self._emit(Sent(self._number, sample_id))

    def after(self, replies: list[Reply]) -> None:
        """See `RequestMeter.after`."""
        self._emit(Paid(self._number, replies))

    def find(self, sample_id: str, key: str) -> list[Reply] | None:
        """See `Journal.find`."""
        return self.kept.get(sample_id, {}).get(key)

    def add(self, sample_id: str, key: str, replies: list[Reply]) -> None:
        """See `Journal.add`."""
        self._emit(Kept(self._number, sample_id, key, replies))

    def succeeded(self) -> None:
        """See `RequestWatch.succeeded`."""
        self._emit(Answered(self._number))

    def failed(self, failure: Failed) -> None:
        """See `RequestWatch.failed`."""
        self._emit(NotAnswered(self._number, failure))


def _broken(error: Exception) -> RunBroken:
    """Return an error for the driver to raise. One that was not foreseen may not unpickle there, so its text goes."""
    if isinstance(error, HlmatError):
        return RunBroken(error)
    return RunBroken(RuntimeError("A worker failed:\n" + "".join(traceback.format_exception(error))))
