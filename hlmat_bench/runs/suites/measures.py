"""What a cell of a table shows: a score out of scores.json, in the unit that tables use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.scores.episodes import RULES
from hlmat_bench.scores.registry import STANDARD, ScoreValue, further, read

_MASK_SCORES = {"miou": "mIoU", "ciou": "cIoU", "biou": "boundary IoU"}


@dataclass(frozen=True, slots=True)
class Measure:
    """A score: IoUs in percent, errors of predicted IoUs on a scale of 100, NoC in clicks.

    Attributes:
        name: e.g. ``miou``, ``self.ciou``, ``miou@3``, ``noc@85``, ``filtering.mae``.
        title: e.g. ``mIoU``.
        path: where scores.json holds it; ``RULE`` stands for the selection rule.
        scale: what the number there is multiplied by.
        digits: after the decimal point.
    """

    name: str
    title: str
    path: tuple[str | int, ...]
    scale: float = 100.0
    digits: int = 2

    @staticmethod
    def named(name: str) -> Measure:
        """Return the score of that name.

        Raises:
            UsageError: when there is none.
        """
        if match := re.fullmatch(rf"(?:({'|'.join(RULES)})\.)?({'|'.join(_MASK_SCORES)})", name):
            rule, score = match[1], match[2]
            title = f"{_MASK_SCORES[score]} ({rule})" if rule else _MASK_SCORES[score]
            return Measure(name, title, ("selection", rule or "RULE", score))
        if match := re.fullmatch(rf"({'|'.join(_MASK_SCORES)})@(\d+)", name):
            return Measure(name, f"{_MASK_SCORES[match[1]]} after {match[2]}", ("curve", int(match[2]), match[1]))
        known = {**STANDARD, **further()}
        if (found := known.get(name)) is None:
            raise UsageError(
                f"There is no score called {name!r}. Scores are {', '.join(known)}; miou, ciou and biou also as "
                "final.miou, self.miou, best.miou, and as miou@3 after 3 clicks."
            )
        if found.unit == "share":
            return Measure(name, found.title, found.path)
        return Measure(name, found.title, found.path, 1.0, found.digits)

    def of(self, scores: Mapping[str, Any], rule: str) -> ScoreValue | None:
        """Return its value in scores.json, under a selection rule; None where there is none."""
        found = read(scores, self.path, rule)
        return None if found is None else found.times(self.scale)
