"""What a step of an episode costs: time, tokens and dollars, of all its replies and predictions."""

from __future__ import annotations

import math
import time

from hlmat_bench.protocol.interfaces import Reply


class Spent:
    """What was spent since it was made: a step may ask several times, and try several clicks."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self._began = time.perf_counter()

    def seconds(self, segmenter: float) -> dict[str, float]:
        """Wall time in the ``model``, the ``segmenter``, which tells it, and the ``harness``, which is all the rest."""
        model = sum(reply.seconds for reply in self.replies)
        rest = time.perf_counter() - self._began - model - segmenter
        return {"model": model, "segmenter": segmenter, "harness": max(rest, 0.0)}

    def tokens(self) -> dict[str, int | None]:
        """Tokens ``in`` and ``out``; None where one reply does not say; empty without any reply."""
        if not self.replies:
            return {}
        return {
            "in": _sum_or_none([reply.tokens_in for reply in self.replies]),
            "out": _sum_or_none([reply.tokens_out for reply in self.replies]),
        }

    def cost(self) -> float | None:
        """US dollars; None where that of one reply is unknown."""
        costs = [reply.cost for reply in self.replies if reply.cost is not None]
        return math.fsum(costs) if costs and len(costs) == len(self.replies) else None


def _sum_or_none(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
