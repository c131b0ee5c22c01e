"""The threads and request queues with which a process plays episodes of opened runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from hlmat_bench.core.samples import Sample
from hlmat_bench.protocol.interfaces import Model
from hlmat_bench.runs.batching import RequestBatcher
from hlmat_bench.runs.episode_log import Finished
from hlmat_bench.runs.failures import RequestWatch
from hlmat_bench.runs.plan import RunSetup


class EpisodePlayer:
    """Plays samples of opened runs; enter it as an asynchronous context manager.

    Args:
        concurrency: most requests under way at once, for a model that takes no batches.
        batch_size: requests per batch of a local model; None: the model's own.
    """

    def __init__(self, concurrency: int, batch_size: int | None = None) -> None:
        self._concurrency, self._batch_size = concurrency, batch_size
        self._open = contextlib.AsyncExitStack()

    async def __aenter__(self) -> EpisodePlayer:
        threads = max(os.cpu_count() or 1, 2)
        self._pool = self._open.enter_context(ThreadPoolExecutor(threads, "pixels"))
        self._encoders = ThreadPoolExecutor(threads, "encoders")
        self._open.callback(self._encoders.shutdown, cancel_futures=True)
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
        batcher = RequestBatcher(model, batch_size=self._batch_size, concurrency=self._concurrency, watch=watch)
        self._open.push_async_callback(batcher.close)

        async def play(sample: Sample) -> Finished:
            with batcher.episode():
                return await run.play(sample, batcher, self._pool, self._encoders)

        return play
