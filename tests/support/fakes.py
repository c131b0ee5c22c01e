"""A policy that says prepared lines, for tests of the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.core.types import Mask
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.observation import Observation


class ScriptPolicy:
    """Says its lines in order and remembers the masks it was shown; the line None is a failed request."""

    frame: Frame | None = None

    def __init__(self, lines: Sequence[str | None], points: str = "segagent-qwen", deterministic: bool = True) -> None:
        self.lines, self.points, self.deterministic = list(lines), PointFormat.named(points), deterministic
        self.seen: list[Mask] = []

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        self.seen.append(observation.mask.copy())
        line = self.lines[observation.t - 1]
        if line is None:
            raise RequestFailed("the server is gone")
        return [Reply(line)] * n
