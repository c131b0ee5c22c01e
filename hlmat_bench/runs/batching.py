"""Dynamic batching between episodes and a model: full batches for a local model, full concurrency for an API.

Episodes ask one question at a time and know nothing of each other. A model with `reply_batch` is asked when a batch
is full, when every running episode is waiting for it, or when it has just answered and others have asked meanwhile:
no request waits for one that cannot come. With as many running episodes as a batch holds, what stands together in a
batch depends on the samples alone.
"""

from __future__ import annotations

import asyncio
import logging
import math
import operator
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from hlmat_bench.core.errors import CORRECT_IT, CallTimedOut, HlmatError, ModelFailed, RequestFailed, UsageError, said
from hlmat_bench.protocol.interfaces import BatchModel, Model, Reply, Request, close, traits
from hlmat_bench.protocol.loop import task_cancelled
from hlmat_bench.runs import stopping
from hlmat_bench.runs.calls import CallThreads
from hlmat_bench.runs.failures import FailureWatch, RequestWatch

#: Characters of a reply that are read and recorded; more are cut off. A reply of 4,096 tokens has about 16,000.
MOST_CHARACTERS = 100_000
#: Seconds that a model has to close in.
_CLOSING_SECONDS = 30.0

log = logging.getLogger("hlmat_bench")


def suitable_concurrency(model: Model | None, batch_size: int | None) -> int:
    """Return how many episodes at once suit a model: a full batch, what it declares, or one per core."""
    if isinstance(model, BatchModel):
        return batch_size or model.batch_size
    return traits(model).concurrency or os.cpu_count() or 1


class RequestBatcher:
    """Sends the requests of the running episodes to the model, in batches where it takes batches.

    Args:
        model: what is asked.
        batch_size: most requests per call of `reply_batch`, which the model is told; None: the model's own.
        concurrency: most requests in parallel, for a model without `reply_batch`.
        watch: is told which requests are answered and which fail; None: no watch.
        limit: seconds that one call of the model may take, where it has no time limit of its own (`ModelTraits`).
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int | None = None,
        concurrency: int = 8,
        watch: RequestWatch | None = None,
        limit: float = stopping.CALL_SECONDS,
    ) -> None:
        self._model = model
        self._limit = None if traits(model).timed else limit
        self._watch: RequestWatch = watch or FailureWatch.of_requests(model.name, sys.maxsize, begun=True)
        self._batches = model if isinstance(model, BatchModel) else None
        if self._batches and batch_size:
            self._batches.batch_size = batch_size
        self._batch_size = self._batches.batch_size if self._batches else 1
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: list[tuple[Request, asyncio.Future[list[Reply]]]] = []
        self._asked = 0
        self._episodes = 0
        self._thread = CallThreads(1, "model", self._limit) if self._batches else None
        self._tasks: set[asyncio.Task[None]] = set()

    @contextmanager
    def episode(self) -> Iterator[None]:
        """Mark an episode as running: a batch may wait for its next request."""
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
            replies = checked(await self._ask(request), request.n, self._model.name)
        except (RequestFailed, ModelFailed) as failure:
            self._watch.failed(failure)
            raise
        self._watch.succeeded()
        return replies

    async def _ask(self, request: Request) -> Any:
        if self._batches is None:
            async with self._slots:
                return await reply_of(self._model, request, self._limit)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Reply]] = loop.create_future()
        self._waiting.append((request, future))
        loop.call_soon(self._send_if_due)  # after the episodes that start in this same turn of the loop
        return await future

    async def close(self) -> None:
        """Close the model and give back its thread. A model that fails at that spoils nothing any more: it is said."""
        try:
            async with asyncio.timeout(_CLOSING_SECONDS):
                await close(self._model)
        except Exception as error:  # noqa: BLE001  (of the plug-in)
            log.warning("The model %s failed while it was closed: %s.", self._model.name, said(error))
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
        except HlmatError as error:
            answers = [error] * len(batch)
        finally:
            self._asked -= len(batch)
        for (request, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                ours = isinstance(answer, HlmatError)
                future.set_exception(answer if ours else _failure(answer, self._model.name, request.sample_id))
            else:
                future.set_result(answer)
        self._send_if_due(just_answered=True)

    async def _answers(self, requests: list[Request]) -> Sequence[list[Reply] | Exception]:
        """Return the replies to each request; where a batch fails, each of its requests is asked alone."""
        assert self._batches is not None
        ask = partial(self._batches.reply_batch, requests)
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._thread, ask)
        except RequestFailed as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in await self._answers([request])]
        except CallTimedOut as error:
            # The device is still busy with it, so the next batch would wait, too.
            raise UsageError(
                f"The model {self._model.name} was asked {len(requests)} requests at once, and {error}; the same "
                "command continues."
            ) from None
        except HlmatError:
            raise
        except Exception as error:
            raise _failure(error, self._model.name, requests[0].sample_id) from error
        if not isinstance(answers, Sequence) or len(answers) != len(requests):
            raise ModelFailed(
                f"The model {self._model.name} should return one answer to each of {len(requests)} requests, but "
                f"returned {_shown(answers)}",
                advice=CORRECT_IT,
            )
        return answers


async def reply_of(model: Model, request: Request, limit: float | None = None) -> Any:
    """Ask a model that takes one request at a time.

    Args:
        model: the model.
        request: what it is asked.
        limit: seconds that it may take; None: it ends by itself.

    Raises:
        ModelFailed: for whatever it raises that is no error of ours, and when it takes too long.
    """
    try:
        async with asyncio.timeout(limit) as scope:
            return await model.reply(request)
    except (HlmatError, KeyboardInterrupt, GeneratorExit, stopping.Stopped):
        raise
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and task_cancelled():
            raise
        timed_out = isinstance(error, TimeoutError) and scope.expired() and limit is not None
        failure = _failure(CallTimedOut(limit or 0) if timed_out else error, model.name, request.sample_id)
        raise failure from (None if timed_out else error)


class CheckedModel:
    """A model that takes one request at a time, whose replies are checked; all other attributes are the model's."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.name, self.points = model.name, model.points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`.

        Raises:
            ModelFailed: see `reply_of` and `checked`.
        """
        return checked(await reply_of(self._model, request), request.n, self.name)


def _failure(error: BaseException, model: str, sample_id: str) -> ModelFailed:
    return ModelFailed.by(error, f"The model {model} failed on the sample {sample_id}")


def checked(replies: Any, n: int, model: str) -> list[Reply]:
    """Check the replies that a model returned, turn numbers of other libraries into Python's own, and cut long texts.

    Args:
        replies: what it returned.
        n: how many replies were asked for.
        model: its name, for the sentences.

    Raises:
        ModelFailed: when they are not ``n`` replies, or a field of one is not what `Reply` says.
    """
    if not isinstance(replies, list) or len(replies) != n or not all(isinstance(reply, Reply) for reply in replies):
        raise ModelFailed(
            f"The model {model} should return a list of {n} Reply, but returned {_shown(replies)}",
            advice=CORRECT_IT,
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
        raise ModelFailed(
            f"The model {model} returned a Reply with {wrong[0]}={_shown(getattr(reply, wrong[0]))}, which is not "
            "possible (docs/plugins.md says what a Reply holds)",
            advice=CORRECT_IT,
        )
    return replace(reply, text=_cut(reply.text), **counts, **amounts)  # type: ignore[arg-type]


def _shown(value: Any) -> str:
    """Return the beginning of a plug-in's value as Python writes it; its type where that fails."""
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001  (of the plug-in)
        return f"a {type(value).__name__}"


def _cut(text: str) -> str:
    """Return a reply without what is beyond `MOST_CHARACTERS`, and a remark that says so."""
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]} [cut by hlmat-bench: the first {MOST_CHARACTERS} of {len(text)} characters]"


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
