"""The throttle against a server that takes so many requests at once and refuses the others."""

from __future__ import annotations

import asyncio

import pytest

from hlmat_bench.core.errors import RequestFailed, TryAgain
from hlmat_bench.models.api.throttle import Throttle


class Rounds:
    """Requests that all wait at a gate, so that a test decides how each ends."""

    def __init__(self, throttle: Throttle) -> None:
        self.throttle = throttle
        self.inside: list[asyncio.Future[None]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int) -> None:
        self.tasks += [asyncio.create_task(self._one()) for _ in range(count)]
        await settle()

    async def _one(self) -> None:
        async with self.throttle.slot():
            gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.inside.append(gate)
            await gate

    async def end(self, count: int, error: Exception | None = None) -> None:
        ending, self.inside = self.inside[:count], self.inside[count:]
        assert len(ending) == count
        for gate in ending:
            if error is None:
                gate.set_result(None)
            else:
                gate.set_exception(error)
        await settle()

    async def finish(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


TOO_MANY = TryAgain("slow down", too_many=True)


async def test_there_is_no_limit_until_the_server_refuses() -> None:
    rounds = Rounds(Throttle())
    await rounds.start(300)
    assert len(rounds.inside) == 300
    await rounds.end(100)
    await rounds.end(100, TryAgain("a server error"))
    await rounds.end(100, RequestFailed("a bad request"))
    assert rounds.throttle.allowed is None
    await rounds.finish()


async def test_a_refusal_halves_what_is_under_way_once_a_round() -> None:
    rounds = Rounds(Throttle())
    await rounds.start(40)
    await rounds.end(10, TOO_MANY)  # of 40 under way; the others of that round say nothing new
    assert rounds.throttle.allowed == 20
    await rounds.start(40)
    assert len(rounds.inside) == 30  # none begins before the surplus is gone
    await rounds.end(10)
    assert len(rounds.inside) == 20
    await rounds.end(20, TOO_MANY)
    assert (rounds.throttle.allowed, len(rounds.inside)) == (20, 20)
    await rounds.end(1, TOO_MANY)  # of the second round
    assert (rounds.throttle.allowed, len(rounds.inside)) == (10, 19)
    await rounds.finish()


async def test_a_round_of_replies_allows_one_more() -> None:
    rounds = Rounds(Throttle())
    await rounds.start(8)
    await rounds.end(1, TOO_MANY)
    await rounds.start(100)
    await rounds.end(7)
    assert (rounds.throttle.allowed, len(rounds.inside)) == (5, 5)  # 4, and one more after four of the seven
    await rounds.end(1)
    assert (rounds.throttle.allowed, len(rounds.inside)) == (5, 5)
    await rounds.end(1)
    assert (rounds.throttle.allowed, len(rounds.inside)) == (6, 6)
    await rounds.finish()


async def test_while_the_server_asks_for_a_pause_no_request_begins() -> None:
    rounds = Rounds(Throttle())
    await rounds.start(6)
    await rounds.end(1, TryAgain("wait", too_many=True, after=0.2))
    assert rounds.throttle.allowed == 3
    await rounds.end(5)
    await rounds.start(9)
    assert rounds.inside == []
    while not rounds.inside:
        await asyncio.sleep(0.01)
    await settle()
    assert len(rounds.inside) == rounds.throttle.allowed
    await rounds.finish()


async def test_one_is_always_allowed_and_the_cancelled_lose_no_slot() -> None:
    rounds = Rounds(Throttle())
    await rounds.start(2)
    for _ in range(3):
        await rounds.end(1, TOO_MANY)
        await rounds.start(2)
    assert rounds.throttle.allowed == 1
    for _ in range(5):
        for task in rounds.tasks:
            task.cancel()
        await settle()
        rounds.inside = []
        await rounds.start(3)
        assert len(rounds.inside) == 1
    await rounds.finish()


@pytest.mark.parametrize("capacity", [1, 3, 10])
async def test_requests_settle_at_what_the_server_takes(capacity: int) -> None:
    """A hundred requests, thrice each; a request that finds too many others before it is refused."""
    throttle, busy, refused, done = Throttle(), 0, 0, 0

    async def ask() -> None:
        nonlocal busy, refused, done
        if busy >= capacity:
            refused += 1
            await asyncio.sleep(0)
            raise TOO_MANY
        busy += 1
        for _ in range(5):
            await asyncio.sleep(0)
        busy -= 1
        done += 1

    async def persistent() -> None:
        for _ in range(3):
            while True:
                try:
                    async with throttle.slot():
                        await ask()
                    break
                except TryAgain:
                    continue

    await asyncio.gather(*(persistent() for _ in range(100)))
    assert done == 300
    assert throttle.allowed is not None
    assert throttle.allowed <= capacity + 1
    assert refused < 600  # without a throttle it is tens of thousands
