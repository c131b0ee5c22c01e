"""The threads and request queues with which a process plays episodes of opened runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable

from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.runs import stopping
from hlmat_bench.runs.batching import RequestBatcher
from hlmat_bench.runs.calls import CallThreads
from hlmat_bench.runs.episode_log import Finished
from hlmat_bench.runs.failures import RequestWatch
from hlmat_bench.runs.plan import RunSetup


class EpisodePlayer:
    """Plays samples of opened runs; enter it as an asynchronous context manager.

    Args:
        concurrency: most requests in parallel, for a model that takes no batches.
        batch_size: requests per batch of a local model; None: the model's own.
        call_timeout: seconds that one call of a plug-in may take.
    """

    def __init__(
        self, concurrency: int, batch_size: int | None = None, call_timeout: float = stopping.CALL_SECONDS
    ) -> None:
        self._concurrency, self._batch_size, self._limit = concurrency, batch_size, call_timeout
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> EpisodePlayer:
        threads = max(os.cpu_count() or 1, 2)
        self._pool = CallThreads(threads, "pixels", self._limit)
        self._encoders = CallThreads(threads, "encoders", self._limit)
        for each in (self._pool, self._encoders):
            self._open.callback(each.shutdown, wait=False, cancel_futures=True)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._open.aclose()

    def opened(
        self, run: RunSetup, model: Model | None, watch: RequestWatch
    ) -> Callable[[Sample], Awaitable[Finished]]:
        """Return the function that plays a sample of a run to its end.

        Args:
            run: the run.
            model: its model as it is asked; None for a reference policy.
            watch: is told of every request.
        """
        if model is None:
            return lambda sample: run.play(sample, None, self._pool, self._encoders)
        batcher = RequestBatcher(
            model, batch_size=self._batch_size, concurrency=self._concurrency, watch=watch, limit=self._limit
        )
        self._open.push_async_callback(batcher.close)

        async def play(sample: Sample) -> Finished:
            with batcher.episode():
                return await run.play(sample, batcher, self._pool, self._encoders)

        return play
