"""Limits on the requests and the cost of a run.

A limit ends a run between episodes: an episode begins only if the rest suffices for all its steps. If that forecast
fails (only the first replies show what a request costs), no further request is sent, and unfinished episodes are not
recorded.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Model, Reply, Request, traits


class LimitReached(UsageError):
    """A limit of a run is reached."""


class RequestMeter(Protocol):
    """Is told of every request to a model."""

    def before(self, sample_id: str) -> None:
        """Count a request about a sample that is about to be sent."""

    def after(self, replies: list[Reply]) -> None:
        """Count the replies to a request."""


class UsageMeter:
    """Counter of the requests to a model and of their cost, for one call of `run`.

    A request with all its replies and all repetitions by the adapter counts once; replies from the cache do not count.

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
        """Whether the run has a limit."""
        return min(self._max_requests, self._max_cost) < math.inf

    def check(self, model: Model) -> None:
        """Check that the limits can be enforced for a model.

        Raises:
            UsageError: when the price of its tokens is unknown and there is a limit to the cost.
        """
        if self._max_cost < math.inf and traits(model).price is None:
            raise UsageError(
                f"The price of {model.name} is unknown, so --max-cost cannot be kept; name a file that has it with the "
                "model's option prices=."
            )

    def begin(self, sample_id: str) -> bool:
        """Reserve the requests of one more episode until `end`; return False if the rest does not suffice."""
        ahead = sum(self._ahead.values()) + self._per_episode
        if self.requests + ahead > self._max_requests or self.cost + ahead * self._dearest > self._max_cost:
            return False
        self._ahead[sample_id] = self._per_episode
        return True

    def end(self, sample_id: str) -> None:
        """Release what a finished episode has reserved and not used."""
        del self._ahead[sample_id]

    @property
    def exhausted(self) -> bool:
        """Whether no further request may be sent."""
        return self.requests >= self._max_requests or self.cost >= self._max_cost

    def before(self, sample_id: str) -> None:
        """Count a request about a sample that is about to be sent.

        Raises:
            LimitReached: when a limit is reached.
        """
        if self.exhausted:
            raise LimitReached("A limit of this run is reached.")
        self.sent(sample_id)

    def sent(self, sample_id: str) -> None:
        """Count a request about a sample that was sent."""
        self.requests += 1
        if sample_id in self._ahead:
            self._ahead[sample_id] -= 1

    def after(self, replies: list[Reply]) -> None:
        """Add the cost of the replies to a request.

        Raises:
            UsageError: when the cost is unknown and limited.
        """
        costs = [reply.cost for reply in replies if reply.cost is not None]
        if len(costs) < len(replies) and self._max_cost < math.inf:
            raise UsageError(
                "The server does not say how many tokens it used, so --max-cost cannot be kept; leave it out, or limit "
                "the run with --max-requests."
            )
        self.cost += math.fsum(costs)
        self._dearest = max(self._dearest, math.fsum(costs))

    def limit_reached(self, done: int, total: int) -> LimitReached:
        """Return the error that ends a run at a limit, with the number of finished episodes and of all."""
        used = f"{self.requests} requests" + (f" and ${self.cost:.4g}" if self.cost else "")
        return LimitReached(
            f"A limit is reached after {used}: {done} of {total} episodes are done and scored; the same command "
            "continues from there."
        )


class MeteredModel:
    """A model whose requests are counted by a `RequestMeter`; all other attributes are those of the model."""

    def __init__(self, model: Model, meter: RequestMeter) -> None:
        self._model, self._meter = model, meter
        self.name, self.points = model.name, model.points

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def reply(self, request: Request) -> list[Reply]:
        """Ask the model and count, see `hlmat_bench.protocol.interfaces.Model.reply`.

        Raises:
            LimitReached: when a limit is reached.
        """
        self._meter.before(request.sample_id)
        replies = await self._model.reply(request)
        self._meter.after(replies)
        return replies
