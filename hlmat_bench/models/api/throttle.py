"""How many requests a server is asked at once: as many as it takes.

Additive increase, multiplicative decrease, as in TCP (https://www.rfc-editor.org/rfc/rfc5681, section 3.1): there is no
limit until the server refuses because of too many requests; then half of those under way are allowed, and one more
after every round of as many replies as are allowed. While the server has asked for a pause, no request begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hlmat_bench.core.errors import TryAgain


class Throttle:
    """Holds requests back in one event loop.

    Attributes:
        allowed: most requests under way at once; None: no limit yet.
    """

    def __init__(self) -> None:
        self.allowed: int | None = None
        self._under_way = 0
        self._slots = asyncio.Semaphore(0)
        self._surplus = 0  # slots in use that are to be given up
        self._cuts = 0
        self._replies = 0
        self._resume = 0.0  # of the event loop's clock

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Around a request; its `TryAgain` tells whether there were too many."""
        await self._wait()
        if self.allowed is not None:
            await self._acquire()
        self._under_way += 1
        cuts = self._cuts
        try:
            yield
        except TryAgain as failure:
            if failure.too_many:
                self._hold(failure.after)
                if cuts == self._cuts:  # those sent before the last cut say nothing about it
                    self._halve()
            raise
        else:
            self._count()
        finally:
            self._under_way -= 1
            if self.allowed is not None:
                self._release()

    def _hold(self, seconds: float | None) -> None:
        """Let no request begin for as long as the server asks."""
        if seconds is not None:
            self._resume = max(self._resume, asyncio.get_running_loop().time() + seconds)

    async def _acquire(self) -> None:
        await self._slots.acquire()
        try:
            await self._wait()  # again: the server may have asked for a pause meanwhile
        except asyncio.CancelledError:
            self._release()
            raise

    async def _wait(self) -> None:
        while self._resume and (seconds := self._resume - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(seconds)

    def _halve(self) -> None:
        before = self._under_way if self.allowed is None else self.allowed
        self.allowed = max(before // 2, 1)
        self._surplus += before - self.allowed
        self._cuts += 1
        self._replies = 0

    def _count(self) -> None:
        """A reply came: after as many as are allowed, allow one more."""
        self._replies += 1
        if self.allowed is not None and self._replies >= self.allowed:
            self._replies = 0
            self.allowed += 1
            self._release()

    def _release(self) -> None:
        if self._surplus:
            self._surplus -= 1
        else:
            self._slots.release()
