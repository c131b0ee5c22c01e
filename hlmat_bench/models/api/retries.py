"""Repeat failed requests, with growing pauses, until a deadline, and within the limit of concurrent requests."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from hlmat_bench.core.errors import RequestFailed, TryAgain
from hlmat_bench.models.api.throttle import Throttle

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_JITTER = 0.25


async def persist(ask: Callable[[], Awaitable[T]], *, throttle: Throttle, retries: int, deadline: float) -> T:
    """Call ``ask`` until it does not raise `TryAgain`, and return its result.

    The pause before the n-th repetition is 0.5 * 2^(n-1) seconds, at most 30. If the server asks for a time, it is that
    time, but at least a tenth of the former. Up to a quarter is added at random, so that requests that failed together
    are not repeated together. After "too many requests" a request is repeated until the deadline, without a limit of
    the number.

    Args:
        ask: sends the request once.
        throttle: gives a slot to each attempt; no slot is held during a pause.
        retries: most repetitions after failures other than too many requests.
        deadline: seconds for all attempts and pauses together; waiting for a slot does not count.

    Raises:
        RequestFailed: the last failure, or that the deadline is over. Other errors of ``ask`` are passed on.
    """
    asked_for, idle_for, counted = 0.0, 0.0, 0  # seconds of attempts and of pauses; failures but too many requests

    async def once() -> T:
        nonlocal asked_for
        async with throttle.slot():
            started = time.monotonic()
            try:
                return await _within(deadline - asked_for - idle_for, ask, deadline)
            finally:
                asked_for += time.monotonic() - started

    # The first attempt does without tenacity, which adds 20 to 50 us to each request: with 256 requests in flight a
    # run would lose 4 % of its throughput (benchmarks/api.py). Its failure is then tenacity's first one.
    try:
        return await once()
    except TryAgain as failure:
        first = [failure]

    import tenacity  # takes 3 to 20 ms, which a command without failed requests need not wait for

    def is_over(state: RetryCallState) -> bool:
        nonlocal counted
        counted += not _failure(state).too_many
        return counted > retries or asked_for + state.idle_for + state.upcoming_sleep >= deadline

    async def again() -> T:
        nonlocal idle_for
        if first:
            raise first.pop()
        idle_for = attempts.statistics["idle_for"]
        return await once()

    failed = tenacity.retry_if_exception_type(TryAgain)
    attempts = tenacity.AsyncRetrying(retry=failed, stop=is_over, wait=_pause, reraise=True)
    return await attempts(again)


def insist(ask: Callable[[], T], *, deadline: float) -> T:
    """Call ``ask`` until it does not raise `TryAgain`, with the pauses of `persist`, in the calling thread.

    Args:
        ask: sends the request once.
        deadline: seconds after which the request is not repeated.

    Raises:
        TryAgain: the last failure. Other errors of ``ask`` are passed on.
    """
    import tenacity

    again, stop = tenacity.retry_if_exception_type(TryAgain), tenacity.stop_before_delay(deadline)
    return tenacity.Retrying(retry=again, stop=stop, wait=_pause, reraise=True)(ask)


async def _within(seconds: float, ask: Callable[[], Awaitable[T]], deadline: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except TimeoutError:
        pass
    # raised outside of the handler, so that the timeout is no part of the error
    raise RequestFailed(
        f"there was no answer within {deadline:g} seconds, all attempts together",
        advice="take a longer deadline=, or a lower concurrency=",
    )


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait after a failed attempt."""
    growing = min(FIRST_PAUSE * 2.0 ** min(state.attempt_number - 1, 99), _LONGEST_PAUSE)
    after = _failure(state).after
    # A server that asks for 0 seconds again and again is asked ever more slowly all the same.
    pause = growing if after is None else max(after, growing / 10)
    return pause * random.uniform(1, 1 + _JITTER)


def _failure(state: RetryCallState) -> TryAgain:
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, TryAgain)
    return failure
