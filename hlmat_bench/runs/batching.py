"""Dynamic batching between episodes and a model: full batches for a local model, full concurrency for an API.

Episodes ask one question at a time and know nothing of each other. A model with `reply_batch` is asked when a batch
is full, when every episode under way is waiting for it, or when it has just answered and others have asked meanwhile:
no request waits for one that cannot come. With as many episodes under way as a batch holds, what stands together in a
batch depends on the samples alone.
"""

from __future__ import annotations

import asyncio
import math
import operator
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hlmat_bench.core.errors import HlmatError, PluginFailed, RequestFailed, failure_words
from hlmat_bench.protocol.interfaces import BatchModel, Model, Reply, Request, close, traits
from hlmat_bench.runs.failures import FailureWatch, RequestWatch


def suitable_concurrency(model: Model | None, batch_size: int | None) -> int:
    """Return how many episodes at once suit a model: a full batch, what it declares, or one per core."""
    if isinstance(model, BatchModel):
        return batch_size or model.batch_size
    return traits(model).concurrency or os.cpu_count() or 1


class RequestBatcher:
    """Sends the requests of the episodes under way to the model, in batches where it takes batches.

    Args:
        model: what is asked.
        batch_size: most requests per call of `reply_batch`, which the model is told; None: the model's own.
        concurrency: most requests under way at once, for a model without `reply_batch`.
        watch: is told which requests are answered and which fail; None: no watch.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int | None = None,
        concurrency: int = 8,
        watch: RequestWatch | None = None,
    ) -> None:
        self._model = model
        self._watch: RequestWatch = watch or FailureWatch(model.name, sys.maxsize, begun=True)
        self._batches = model if isinstance(model, BatchModel) else None
        if self._batches and batch_size:
            self._batches.batch_size = batch_size
        self._batch_size = self._batches.batch_size if self._batches else 1
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: list[tuple[Request, asyncio.Future[list[Reply]]]] = []
        self._asked = 0
        self._episodes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model") if self._batches else None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def episode(self) -> Iterator[None]:
        """Mark an episode as under way: a batch may wait for its next request."""
        self._episodes += 1
        try:
            yield
        finally:
            self._episodes -= 1
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._send_if_due)

    async def reply(self, request: Request) -> list[Reply]:
        """Return the model's ``request.n`` replies, checked.

        Raises:
            RequestFailed: when the request failed.
            UsageError: when no request can succeed, the watch ends the run, or the model returned what it must not.
        """
        try:
            replies = await self._ask(request)
        except RequestFailed as failure:
            self._watch.failed(failure)
            raise
        except HlmatError:
            raise
        except Exception as error:
            raise PluginFailed(
                f"The model {self._model.name} failed on the sample {request.sample_id}: {failure_words(error)}, and "
                "the same command continues."
            ) from error
        self._watch.succeeded()
        return checked(replies, request.n, self._model.name)

    async def _ask(self, request: Request) -> list[Reply]:
        if self._batches is None:
            async with self._slots:
                return await self._model.reply(request)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Reply]] = loop.create_future()
        self._waiting.append((request, future))
        loop.call_soon(self._send_if_due)  # after the episodes that start in this same turn of the loop
        return await future

    async def close(self) -> None:
        """Close the model and give back its thread."""
        await close(self._model)
        if self._thread:
            self._thread.shutdown(wait=False, cancel_futures=True)

    def _send_if_due(self, *, just_answered: bool = False) -> None:
        waiting = len(self._waiting)
        idle = self._asked == 0 and (just_answered or waiting >= self._episodes)
        if not waiting or not (idle or waiting >= self._batch_size):
            return
        self._waiting.sort(key=lambda pair: (pair[0].sample_id, pair[0].t))
        batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
        self._asked += len(batch)
        task = asyncio.get_running_loop().create_task(self._send(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: list[tuple[Request, asyncio.Future[list[Reply]]]]) -> None:
        try:
            answers = await self._answers([request for request, _ in batch])
        except Exception as error:  # noqa: BLE001  (handed to every episode that asked)
            answers = [error] * len(batch)
        finally:
            self._asked -= len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        self._send_if_due(just_answered=True)

    async def _answers(self, requests: list[Request]) -> Sequence[list[Reply] | Exception]:
        """Return the replies to each request; where a batch fails, each of its requests is asked alone."""
        assert self._batches is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._batches.reply_batch, requests)
        except RequestFailed as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in await self._answers([request])]


def checked(replies: Any, n: int, model: str) -> list[Reply]:
    """Check the replies that a model returned, and turn numbers of other libraries into Python's own.

    Args:
        replies: what it returned.
        n: how many replies were asked for.
        model: its name, for the sentences.

    Raises:
        PluginFailed: when they are not ``n`` replies, or a field of one is not what `Reply` says.
    """
    if not isinstance(replies, list) or len(replies) != n or not all(isinstance(reply, Reply) for reply in replies):
        raise PluginFailed(
            f"The model {model} should return a list of {n} Reply, but returned {replies!r:.80}; correct its plug-in."
        )
    return [_checked(reply, model) for reply in replies]


def _checked(reply: Reply, model: str) -> Reply:
    fields = {
        "text": isinstance(reply.text, str),
        "finish": reply.finish is None or isinstance(reply.finish, str),
        "thought": isinstance(reply.thought, bool),
    }
    counts = {name: _count(getattr(reply, name)) for name in ("tokens_in", "tokens_out")}
    amounts = {name: _amount(getattr(reply, name)) for name in ("seconds", "cost")}
    fields |= {name: value is not _WRONG for name, value in (counts | amounts).items()}
    if wrong := [name for name, right in fields.items() if not right]:
        raise PluginFailed(
            f"The model {model} returned a Reply with {wrong[0]}={getattr(reply, wrong[0])!r:.60}, which is not "
            "possible (docs/plugins.md says what a Reply holds); correct its plug-in."
        )
    return replace(reply, **counts, **amounts)  # type: ignore[arg-type]


_WRONG = object()


def _count(value: Any) -> object:
    """Return a number of tokens as an int; None stays None."""
    if value is None:
        return None
    try:
        count = operator.index(value)
    except TypeError:
        return _WRONG
    return count if 0 <= count < 2**53 and not isinstance(value, bool) else _WRONG


def _amount(value: Any) -> object:
    """Return seconds or dollars as a float; None stays None."""
    if value is None:
        return None
    try:
        amount = float(value) if not isinstance(value, str | bytes) else math.nan
    except (TypeError, ValueError, OverflowError):
        return _WRONG
    return amount if math.isfinite(amount) and amount >= 0 else _WRONG
