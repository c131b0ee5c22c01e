"""Limits on what a run may ask and pay.

A limit ends a run between episodes: one more begins only where enough is left for all its steps. Where that forecast
fails (the first replies show what one costs), no further request is sent, and the episodes under way are not recorded.
"""

from __future__ import annotations

import math
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Model, Reply, Request


class Spent(UsageError):
    """A limit of a run is reached."""


class Meter:
    """Counts the requests to a model and what they cost, over one call of `run`.

    A request counts once, however often the adapter had to repeat it, and with all its replies; a reply from the
    cache counts nothing.

    Args:
        max_requests: most requests; None: no limit.
        max_cost: most US dollars; None: no limit.
        per_episode: most requests of an episode.

    Raises:
        UsageError: when a limit allows no episode.
    """

    def __init__(self, *, max_requests: int | None = None, max_cost: float | None = None, per_episode: int) -> None:
        self.requests, self.cost = 0, 0.0
        self._max_requests = math.inf if max_requests is None else max_requests
        self._max_cost = math.inf if max_cost is None else max_cost
        self._per_episode = per_episode
        self._dearest = 0.0
        self._ahead: dict[str, int] = {}
        if self._max_requests < per_episode:
            raise UsageError(
                f"An episode may take {per_episode} requests, more than --max-requests {max_requests}; raise it."
            )

    @property
    def limited(self) -> bool:
        """There is a limit."""
        return min(self._max_requests, self._max_cost) < math.inf

    def check(self, model: Model) -> None:
        """Make sure that the limits can be kept with this model.

        Raises:
            UsageError: when the price of its tokens is unknown and there is a limit to the cost.
        """
        if self._max_cost < math.inf and getattr(model, "price", None) is None:
            raise UsageError(
                f"The price of {model.name} is unknown, so --max-cost cannot be kept; name a file that has it with the "
                "model's option prices=."
            )

    def begin(self, sample_id: str) -> bool:
        """Whether enough is left for one more episode; if so, it is set aside until `end`."""
        ahead = sum(self._ahead.values()) + self._per_episode
        if self.requests + ahead > self._max_requests or self.cost + ahead * self._dearest > self._max_cost:
            return False
        self._ahead[sample_id] = self._per_episode
        return True

    def end(self, sample_id: str) -> None:
        """The episode is over; what it did not ask is free again."""
        del self._ahead[sample_id]

    def before(self, request: Request) -> None:
        """Count a request that is about to be sent.

        Raises:
            Spent: when a limit is reached.
        """
        if self.requests >= self._max_requests or self.cost >= self._max_cost:
            raise Spent("A limit of this run is reached.")
        self.requests += 1
        if request.sample_id in self._ahead:
            self._ahead[request.sample_id] -= 1

    def after(self, replies: list[Reply]) -> None:
        """Count what the replies to a request cost.

        Raises:
            UsageError: when that is unknown and there is a limit to it.
        """
        costs = [reply.cost for reply in replies if reply.cost is not None]
        if len(costs) < len(replies) and self._max_cost < math.inf:
            raise UsageError("The server does not say how many tokens it used, so --max-cost cannot be kept.")
        self.cost += math.fsum(costs)
        self._dearest = max(self._dearest, math.fsum(costs))

    def spent(self, done: int, total: int) -> Spent:
        """The end of a run that a limit cut short."""
        used = f"{self.requests} requests" + (f" and ${self.cost:.4g}" if self.cost else "")
        return Spent(
            f"A limit is reached after {used}: {done} of {total} episodes are done and scored; the same command "
            "continues from there."
        )


class Metered:
    """A model whose requests a `Meter` counts; everything else is the model's own."""

    def __init__(self, model: Model, meter: Meter) -> None:
        self._model, self._meter = model, meter
        self.name, self.points = model.name, model.points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`.

        Raises:
            Spent: when a limit is reached.
        """
        self._meter.before(request)
        replies = await self._model.reply(request)
        self._meter.after(replies)
        return replies
