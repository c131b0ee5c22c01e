"""A policy that says prepared lines, and the stub segmenter of the reference's traces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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


class ConfidenceDiscs:
    """Be the stub segmenter of the traces: a disc of confidence around each click, later ones on top."""

    def __init__(self, case: Any) -> None:
        self.shape = case["height"], case["width"]
        self.radii, self.confidences = case["stub"]["radii"], case["stub"]["positive_conf"]
        self.background = case["stub"]["background"]

    def __call__(self, clicks: Any) -> np.ndarray:
        confidence = np.full(self.shape, self.background, np.float32)
        rows, columns = np.ogrid[: self.shape[0], : self.shape[1]]
        for i, (positive, x, y) in enumerate(clicks):
            disc = (rows - y) ** 2 + (columns - x) ** 2 <= self.radii[i % len(self.radii)] ** 2
            confidence[disc] = self.confidences[i % len(self.confidences)] if positive else 0.1
        return confidence
