"""A segmenter and a player without any network, for tests of the protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.errors import RequestFailed
from hlmat_bench.interfaces import Box, Image, Mask, Reply, Size
from hlmat_bench.players import View
from hlmat_bench.points import PointFormat


class DiscSession:
    """The box filled, then a disc of each click's sign, in order; remembers what it was asked."""

    def __init__(self, size: Size, radius: int) -> None:
        self.size, self.radius = size, radius
        self.calls: list[tuple[list[Click], Box | None]] = []

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        self.calls.append((list(clicks), box))
        mask = np.zeros(self.size, bool)
        if box is not None:
            x0, y0, x1, y1 = box
            mask[y0:y1, x0:x1] = True
        rows, columns = np.ogrid[: self.size[0], : self.size[1]]
        for click in clicks:
            mask[(rows - click.y) ** 2 + (columns - click.x) ** 2 <= self.radius**2] = click.positive
        return mask

    def snapshot(self) -> int:
        return len(self.calls)

    def restore(self, state: int) -> None:
        del self.calls[state:]


class DiscSegmenter:
    """Draws discs."""

    name = "disc"
    accepts_box = True

    def __init__(self, radius: int) -> None:
        self.radius = radius
        self.sessions: list[DiscSession] = []

    def spec(self) -> dict[str, Any]:
        return {"radius": self.radius}

    def open(self, image: Image) -> DiscSession:
        self.sessions.append(DiscSession((image.shape[0], image.shape[1]), self.radius))
        return self.sessions[-1]


class ScriptPlayer:
    """Says its lines in order and remembers the masks it was shown; the line None is a failed request."""

    sent: Size | None = None

    def __init__(self, lines: Sequence[str | None], points: str = "segagent-qwen", deterministic: bool = True) -> None:
        self.lines, self.points, self.deterministic = list(lines), PointFormat.named(points), deterministic
        self.seen: list[Mask] = []

    async def ask(self, view: View, n: int) -> list[Reply]:
        self.seen.append(view.mask.copy())
        line = self.lines[view.t - 1]
        if line is None:
            raise RequestFailed("the server is gone")
        return [Reply(line)] * n
