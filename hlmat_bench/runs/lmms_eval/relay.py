"""A run whose model is asked by another program, which takes the questions one by one and brings the answers.

lmms-eval drives its models itself and asks a task, after each reply, what to ask next. So the episodes of the run are
coroutines in an event loop of their own, which runs only while the caller waits for the next question.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hlmat_bench.core.samples import Sample
from hlmat_bench.models import lmms_eval as convention
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.batching import RequestBatcher
from hlmat_bench.runs.plan import RunSetup
from hlmat_bench.runs.reply_journal import journaled
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.writer import RunWriter


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that waits for an answer.

    Attributes:
        request: what is asked.
        n: which of the request's replies this is, from 0.
        answer: takes what lmms-eval's model returns.
    """

    request: Request
    n: int
    answer: asyncio.Future[Any]


class RelayModel:
    """A model that leaves its requests for another program and waits for the answers, one at a time.

    Args:
        name: what to call it.
        points: how it writes coordinates.
        resize: how the image is changed before it is handed over.
        spec: what the answers depend on.
        secrets: what must not be in an error.
    """

    concurrency = 1
    timed = True

    def __init__(
        self, name: str, points: PointFormat, resize: Resize, spec: dict[str, Any], secrets: Sequence[str]
    ) -> None:
        self.name, self.points, self.resize = name, points, resize
        self.pending: asyncio.Queue[PendingRequest] = asyncio.Queue()
        self._spec, self._secrets = spec, secrets

    def spec(self) -> dict[str, Any]:
        """Return what the answers depend on."""
        return self._spec

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`."""
        replies = []
        for n in range(request.n):
            pending = PendingRequest(request, n, asyncio.get_running_loop().create_future())
            self.pending.put_nowait(pending)
            replies.append(convention.read(await pending.answer, self._secrets))
        return replies


class RelayedRun:
    """A run whose samples are played in their order, while a caller brings the model's answers.

    Args:
        model: the run's model.
        open_run: opens the run with this model, and its folder; it is called at the first question.
    """

    def __init__(self, model: RelayModel, open_run: Callable[[RelayModel], tuple[RunSetup, RunWriter]]) -> None:
        self._model, self._open_run = model, open_run
        self._open = ExitStack()
        self._episode: asyncio.Task[None] | None = None
        self._pending: PendingRequest | None = None

    def question(self, sample_id: str) -> PendingRequest | None:
        """Return the next question about a sample; None when its episode is over, now or in an earlier run.

        Raises:
            UsageError: when the run ended with it.
        """
        try:
            (_, writer), run_in_loop = self._run, self._run_in_loop
            if self._episode is None and sample_id not in self._waiting:
                return None
            self._pending = run_in_loop(self._next(writer, sample_id))
        except BaseException:
            self._open.close()  # what was recorded is written, whatever happens to the caller
            raise
        return self._pending

    def answer(self, output: Any) -> None:
        """Take what the model returned to the question that was asked last."""
        assert self._pending is not None
        self._pending.answer.set_result(output)

    @cached_property
    def result(self) -> Run:
        """The finished run, once there is no question left."""
        with self._open:
            _, writer = self._run
            writer.end()
            writer.close_files()
            return writer.finish()

    @cached_property
    def _run(self) -> tuple[RunSetup, RunWriter]:
        setup, writer = self._open_run(self._model)
        self._open.enter_context(writer)
        return setup, writer

    @cached_property
    def _waiting(self) -> set[str]:
        return {sample.id for sample in self._run[1].todo()}

    @cached_property
    def _run_in_loop(self) -> Callable[[Coroutine[Any, Any, PendingRequest | None]], PendingRequest | None]:
        # The loop has a thread of its own, because the caller's may run a loop already, as a notebook's does.
        thread = self._open.enter_context(ThreadPoolExecutor(1, "relay"))
        runner = asyncio.Runner()
        self._open.callback(lambda: thread.submit(runner.close).result())
        return lambda coroutine: thread.submit(runner.run, coroutine).result()

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        threads = ThreadPoolExecutor(max(os.cpu_count() or 1, 2), "pixels")
        self._open.callback(threads.shutdown, cancel_futures=True)
        return threads

    @cached_property
    def _batcher(self) -> RequestBatcher:
        setup, writer = self._run
        model = journaled(setup.asked_model(writer.meter), writer.journal)
        assert model is not None
        return RequestBatcher(model, concurrency=1, watch=writer.watch)

    async def _next(self, writer: RunWriter, sample_id: str) -> PendingRequest | None:
        """Play on until the next question, or to the end of the episode."""
        if self._episode is None:
            self._waiting.discard(sample_id)
            [sample] = [sample for sample in writer.data.samples if sample.id == sample_id]
            self._episode = asyncio.create_task(self._play(writer, sample))
        asked = asyncio.ensure_future(self._model.pending.get())
        await asyncio.wait({asked, self._episode}, return_when=asyncio.FIRST_COMPLETED)
        if asked.done():
            return asked.result()
        asked.cancel()
        episode, self._episode = self._episode, None
        await episode
        return None

    async def _play(self, writer: RunWriter, sample: Sample) -> None:
        (setup, _), began, threads = self._run, writer.begin(), self._threads
        with writer.explained():
            writer.append(await setup.play(sample, self._batcher, threads, threads), began)
