"""Who answers in an episode: a model that sees the painted image, or a reference that knows the ground truth.

The protocol asks a `Policy` for replies and cannot tell the two apart. The ground truth is given to reference policies
alone (`hlmat_bench.protocol.reference`); a model's policy gets the image, the mask and the expression.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol

from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.protocol.observation import Observation, RequestBuilder


class ReplyFormat(Protocol):
    """What the protocol must know to read a policy's replies."""

    @property
    def points(self) -> PointFormat:
        """How the replies write coordinates."""
        ...

    @property
    def frame(self) -> Frame | None:
        """How the policy sees the image; None: unchanged."""
        ...

    @property
    def deterministic(self) -> bool:
        """The same observation always gets the same reply."""
        ...


@dataclass(frozen=True, slots=True)
class DeclaredFormat:
    """A `ReplyFormat` as a value."""

    points: PointFormat
    frame: Frame | None = None
    deterministic: bool = True


class Policy(ReplyFormat, Protocol):
    """Answers the protocol's questions about one sample."""

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        """Return ``n`` replies to an observation.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        ...


class ModelPolicy:
    """A model as the policy of one sample.

    Args:
        builder: makes the model's requests.
        send: sends a request to the model and returns its replies.
        deterministic: the same request always gets the same reply.
        pool: threads in which pictures are painted.
    """

    def __init__(
        self,
        builder: RequestBuilder,
        send: Callable[[Request], Awaitable[list[Reply]]],
        *,
        deterministic: bool,
        pool: Executor,
    ) -> None:
        self.points: PointFormat = builder.points
        self.frame: Frame | None = builder.frame
        self.deterministic = deterministic
        self._builder, self._send, self._pool = builder, send, pool

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        """See `Policy.ask`."""
        loop = asyncio.get_running_loop()
        request = await loop.run_in_executor(self._pool, self._builder.request, observation, n)
        started = time.perf_counter()
        replies = await self._send(request)
        waited = time.perf_counter() - started
        self._builder.release(request)
        return [reply if reply.seconds else replace(reply, seconds=waited) for reply in replies]
