"""Asking a server again: with growing pauses, no longer than a limit, and no more at once than it takes."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from hlmat_bench.errors import RequestFailed, TryAgain
from hlmat_bench.throttle import Throttle

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_JITTER = 0.25


async def persist(ask: Callable[[], Awaitable[T]], *, throttle: Throttle, retries: int, deadline: float) -> T:
    """What ``ask`` returns, asked again while it raises `TryAgain`.

    The pause before the n-th repetition is 0.5 * 2^(n-1) seconds, at most 30, or what the server asks for; up to a
    quarter more, at random, so that requests that failed together do not come back together.

    Args:
        ask: asks once.
        throttle: gives each attempt its slot; a pause holds none.
        retries: most repetitions.
        deadline: seconds for all attempts and pauses together; waiting for a slot does not count.

    Raises:
        RequestFailed: the last failure, or that the deadline is over. Whatever else ``ask`` raises comes through.
    """
    asked_for = idle_for = 0.0

    async def once() -> T:
        nonlocal asked_for
        async with throttle.slot():
            started = time.monotonic()
            try:
                return await _within(deadline - asked_for - idle_for, ask, deadline)
            finally:
                asked_for += time.monotonic() - started

    try:
        return await once()
    except TryAgain as failure:
        first: TryAgain | None = failure

    import tenacity  # only now: it takes longer than everything else between a request and its reply

    def is_over(state: RetryCallState) -> bool:
        return state.attempt_number > retries or asked_for + state.idle_for + state.upcoming_sleep >= deadline

    async def again() -> T:
        nonlocal first, idle_for
        idle_for = attempts.statistics["idle_for"]
        if (failure := first) is not None:
            first = None
            raise failure
        return await once()

    attempts = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TryAgain),
        stop=is_over,
        wait=_pause,
        reraise=True,
    )
    return await attempts(again)


def insist(ask: Callable[[], T], *, deadline: float) -> T:
    """What ``ask`` returns, asked again from this thread while it raises `TryAgain`, with the pauses of `persist`.

    Args:
        ask: asks once.
        deadline: seconds after which it is not asked again.

    Raises:
        TryAgain: the last failure. Whatever else ``ask`` raises comes through.
    """
    import tenacity

    attempts = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TryAgain),
        stop=tenacity.stop_before_delay(deadline),
        wait=_pause,
        reraise=True,
    )
    return attempts(ask)


async def _within(seconds: float, ask: Callable[[], Awaitable[T]], deadline: float) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await ask()
    except TimeoutError:
        pass
    raise RequestFailed(f"there was no answer within {deadline:g} seconds, all attempts together")


def _pause(state: RetryCallState) -> float:
    """Seconds to wait after a failed attempt."""
    assert state.outcome is not None
    failure = state.outcome.exception()
    assert isinstance(failure, TryAgain)
    pause = failure.after
    if pause is None:
        pause = min(_FIRST_PAUSE * 2.0 ** (state.attempt_number - 1), _LONGEST_PAUSE)
    return pause * random.uniform(1, 1 + _JITTER)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after).

    Args:
        headers: of the response; names are looked up in lower case. ``retry-after-ms``, which some services send, goes
            before ``retry-after``.

    Returns:
        At least 0; None where the headers say nothing that makes sense.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if text.replace(".", "", 1).isdecimal():
            return float(text) * unit
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)
