"""What a cell of a table shows: a score out of scores.json, in the unit that tables use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlmat_bench.core.errors import UsageError
from hlmat_bench.scores.episodes import RULES

_MASK_SCORES = {"miou": "mIoU", "ciou": "cIoU", "biou": "boundary IoU"}
_FILTERING = {"mae": "MAE", "mse": "MSE", "pearson": "Pearson", "spearman": "Spearman"}
_HELP = (
    "Scores are miou, ciou and biou (also as final.miou, self.miou, best.miou, and as miou@3 after so many clicks), "
    f"noc@80, noc@85, noc@90, auc, {', '.join(f'filtering.{name}' for name in _FILTERING)}."
)


class Shown(NamedTuple):
    """A number as a table shows it, with its 95 % interval, in the unit of its `Measure`.

    Attributes:
        low, high: None where there is no interval.
    """

    value: float
    low: float | None
    high: float | None


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
        """The score of that name.

        Raises:
            UsageError: when there is none.
        """
        if match := re.fullmatch(rf"(?:({'|'.join(RULES)})\.)?({'|'.join(_MASK_SCORES)})", name):
            rule, score = match[1], match[2]
            title = f"{_MASK_SCORES[score]} ({rule})" if rule else _MASK_SCORES[score]
            return Measure(name, title, ("selection", rule or "RULE", score))
        if match := re.fullmatch(rf"({'|'.join(_MASK_SCORES)})@(\d+)", name):
            return Measure(name, f"{_MASK_SCORES[match[1]]} after {match[2]}", ("curve", int(match[2]), match[1]))
        if match := re.fullmatch(r"noc@(80|85|90)", name):
            return Measure(name, f"NoC@{match[1]}", ("noc", f"0.{match[1]}", "mean"), 1.0)
        if name == "auc":
            return Measure(name, "AUC", ("auc",))
        if name.partition(".")[0] == "filtering" and (score := name.partition(".")[2]) in _FILTERING:
            return Measure(name, _FILTERING[score], ("filtering", score), 1.0, 3 if "ear" in score else 2)
        raise UsageError(f"There is no score called {name!r}. {_HELP}")

    def of(self, scores: Mapping[str, Any], rule: str) -> Shown | None:
        """Its value in scores.json, under a selection rule; None where there is none."""
        *sections, key = self.path
        found: Any = scores
        try:
            for section in sections:
                found = found[rule if section == "RULE" else section]
            value = found[key]
        except (KeyError, IndexError, TypeError):
            return None
        if value is None:
            return None
        interval = found.get("ci" if key == "mean" else f"{key}_ci")
        low, high = (self.scale * end for end in interval) if interval else (None, None)
        return Shown(self.scale * value, low, high)
