"""Asking again: how often, how long, and after which pause."""

from __future__ import annotations

import asyncio
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.core.errors import HlmatError, RequestFailed, TryAgain, UsageError
from hlmat_bench.models.api.retries import insist, persist
from hlmat_bench.models.api.throttle import Throttle
from hlmat_bench.models.api.waiting_times import retry_after, seconds


class Asked:
    """Raises its errors one after the other, then the last again and again; None is an answer."""

    def __init__(self, *errors: HlmatError | None) -> None:
        self.errors, self.times = list(errors), []  # type: ignore[var-annotated]

    async def __call__(self) -> str:
        self.times.append(time.monotonic())
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error
        return "answer"


async def ask(asked: Asked, *, retries: int = 5, deadline: float = 60.0) -> str:
    return await persist(asked, throttle=Throttle(), retries=retries, deadline=deadline)


def soon(text: str = "again") -> TryAgain:
    return TryAgain(text, after=0.001)


async def test_it_asks_until_there_is_an_answer() -> None:
    asked = Asked(soon(), soon(), None)
    assert await ask(asked) == "answer"
    assert len(asked.times) == 3


async def test_the_last_failure_is_raised_after_the_last_repetition() -> None:
    asked = Asked(soon("one"), soon("two"), soon("three"), soon("four"))
    with pytest.raises(RequestFailed, match="three") as caught:
        await ask(asked, retries=2)
    assert len(asked.times) == 3
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("error", [RequestFailed("bad request"), UsageError("wrong key")])
async def test_other_failures_come_through_at_once(error: HlmatError) -> None:
    asked = Asked(soon(), error)
    with pytest.raises(type(error), match=str(error)):
        await ask(asked)
    assert len(asked.times) == 2


@pytest.mark.slow
async def test_pauses_grow_and_are_as_long_as_the_server_asks() -> None:
    asked = Asked(TryAgain("plain"), TryAgain("plain"), TryAgain("asks", after=0.3), None)
    await ask(asked)
    pauses = [later - earlier for earlier, later in zip(asked.times, asked.times[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.5, 1.0, 0.3), strict=True))


@pytest.mark.slow
async def test_too_many_requests_use_up_no_repetition_until_the_deadline() -> None:
    asked = Asked(*[TryAgain("slow down", after=0.001, too_many=True)] * 3, soon(), None)
    assert await ask(asked, retries=1) == "answer"
    assert len(asked.times) == 5
    asked = Asked(TryAgain("slow down", too_many=True))
    with pytest.raises(TryAgain, match="slow down"):
        await ask(asked, retries=0, deadline=1.0)
    assert len(asked.times) == 2  # after half a second; the next pause, of a second, would pass the deadline


@pytest.mark.slow
async def test_a_server_that_asks_for_no_pause_is_asked_ever_more_slowly() -> None:
    asked = Asked(TryAgain("slow down", after=0.0, too_many=True))
    with pytest.raises(TryAgain):
        await ask(asked, deadline=1.0)
    pauses = [later - earlier for earlier, later in zip(asked.times, asked.times[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=False))
    assert len(asked.times) <= 6


async def test_a_pause_beyond_the_deadline_is_not_waited_for() -> None:
    asked = Asked(TryAgain("come back tomorrow", after=86400.0))
    with pytest.raises(RequestFailed, match="tomorrow"):
        await ask(asked)
    assert len(asked.times) == 1


async def test_an_attempt_ends_at_the_deadline() -> None:
    async def hang() -> str:
        await asyncio.sleep(3600)
        return ""

    with pytest.raises(RequestFailed, match="within 0.1 seconds") as caught:
        await persist(hang, throttle=Throttle(), retries=5, deadline=0.1)
    assert caught.value.__context__ is None


async def test_waiting_for_a_slot_is_not_counted() -> None:
    throttle = Throttle()
    with pytest.raises(TryAgain):
        async with throttle.slot():
            raise TryAgain("no more than one", too_many=True)

    async def work() -> str:
        await asyncio.sleep(0.05)
        return "done"

    tasks = [persist(work, throttle=throttle, retries=0, deadline=0.5) for _ in range(15)]
    assert await asyncio.gather(*tasks) == ["done"] * 15  # one after the other, or two: far longer than one may take


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 0.25 "}, 0.25),
        ({"retry-after-ms": "150", "retry-after": "2"}, 0.15),
        ({"retry-after-ms": "soon", "retry-after": "2"}, 2.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "tomorrow"}, None),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "9" * 400}, float("inf")),
    ],
)
def test_the_header_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_the_header_may_be_a_date() -> None:
    seconds = retry_after({"retry-after": email.utils.formatdate(time.time() + 100, usegmt=True)})
    assert seconds is not None
    assert 90 < seconds <= 100


def insistent(*errors: HlmatError | None, deadline: float = 60.0) -> tuple[str, int]:
    """Return the answer of a thread that insists, and how often it asked."""
    left, count = list(errors), 0

    def ask() -> str:
        nonlocal count
        count += 1
        if (error := left.pop(0) if left else None) is not None:
            raise error
        return "answer"

    return insist(ask, deadline=deadline), count


def test_a_thread_asks_until_there_is_an_answer() -> None:
    assert insistent(soon(), soon(), None) == ("answer", 3)


def test_a_thread_gives_up_where_the_pause_would_pass_the_deadline_or_asking_is_pointless() -> None:
    with pytest.raises(TryAgain, match="later"):
        insistent(soon(), TryAgain("later", after=60.0), deadline=30.0)
    with pytest.raises(UsageError, match="wrong key"):
        insistent(soon(), UsageError("wrong key"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("47", 47.0), ("47.3s", 47.3), ("1m2.5s", 62.5), ("6m0s", 360.0), ("350ms", 0.35), ("2 hours", 7200.0),
        ("1h 30m", 5400.0), ("1 hour and 3 minutes", 3780.0), ("1d", 86400.0), ("20 sec", 20.0), ("5 mins", 300.0),
        ("", None), ("soon", None), ("5 apples", None), ("-5s", None), ("5s ago", None), ("1e3", None),
    ],
)  # fmt: skip
def test_a_duration_is_read(text: str, told: float | None) -> None:
    assert seconds(text) == (None if told is None else pytest.approx(told))


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_is_the_sum_of_its_parts(hours: int, minutes: int, rest: int, thousandths: int) -> None:
    total = 3600 * hours + 60 * minutes + rest + thousandths / 1000
    assert seconds(f"{hours}h{minutes}m{rest}.{thousandths:03}s") == pytest.approx(total)
    assert seconds(f"{hours} hours, {minutes} min and {rest}s {thousandths}ms") == pytest.approx(total)
