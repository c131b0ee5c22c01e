"""Adapt the number of concurrent requests to what a server accepts.

Additive increase, multiplicative decrease (AIMD), as in TCP (https://www.rfc-editor.org/rfc/rfc5681, section 3.1):
there is no limit until the server refuses because of too many requests. Then the limit is half of the requests in
flight, and it grows by 1 whenever as many replies have come as it allows. During a pause that the server asked for, no
request begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hlmat_bench.core.errors import TryAgain


class Throttle:
    """A limit of the concurrent requests in one event loop.

    Attributes:
        allowed: most requests in flight; None: no limit yet.
    """

    def __init__(self) -> None:
        self.allowed: int | None = None
        self._under_way = 0
        self._slots = asyncio.Semaphore(0)
        # Slots in use above the limit. A cut cannot end requests in flight: instead, the next requests to end do not
        # give their slots back, until no more requests are in flight than the new limit allows.
        self._surplus = 0
        self._cuts = 0
        self._replies = 0  # since the limit last changed
        self._resume = 0.0  # time of the event loop's clock

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait until a request may begin, and hold its slot; a `TryAgain` of the request may lower the limit."""
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
                # A server at its limit refuses many requests together. Only the first refusal halves the limit: the
                # others were sent before that cut, so they do not show that the new limit is still too high.
                if cuts == self._cuts:
                    self._halve()
            raise
        else:
            self._count()
        finally:
            self._under_way -= 1
            if self.allowed is not None:
                self._release()

    def _hold(self, seconds: float | None) -> None:
        if seconds is not None:
            self._resume = max(self._resume, asyncio.get_running_loop().time() + seconds)

    async def _acquire(self) -> None:
        await self._slots.acquire()
        try:
            await self._wait()  # again: the server may have asked for a pause while this request waited for its slot
        except asyncio.CancelledError:
            self._release()
            raise

    async def _wait(self) -> None:
        while self._resume and (seconds := self._resume - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(seconds)

    def _halve(self) -> None:
        # At the first cut the semaphore has no slots, and the requests in flight have taken none. But each of them will
        # release one at its end, as if it had taken it: so the number in flight is the limit before the cut.
        before = self._under_way if self.allowed is None else self.allowed
        self.allowed = max(before // 2, 1)
        self._surplus += before - self.allowed
        self._cuts += 1
        self._replies = 0

    def _count(self) -> None:
        """Count a reply; after as many replies as requests are allowed, allow one request more."""
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
