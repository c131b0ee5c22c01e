"""Click diagnostics: what the model's clicks were worth, apart from the segmenter's strength.

The paper names two competences (SegAgent, section 4.2, https://arxiv.org/abs/2503.08625): to localise the object by its
description, which the first action shows, and to refine a mask, which all later ones show. They are told apart here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.records import Step
from hlmat_bench.scores.intervals import bootstrap


@dataclass(frozen=True, slots=True)
class ValidClick:
    """A click that went to the segmenter.

    Attributes:
        t: its step.
        positive: it adds.
        localises: it is the first valid action of an episode that began without a mask.
        hit: a positive one on a missed pixel, a negative one on an excess pixel.
        gain: the change of IoU; with a box that came with it.
        regret: the gain of the oracle's click from the same state minus this gain; None where nobody replayed it.
    """

    t: int
    positive: bool
    localises: bool
    hit: bool
    gain: float
    regret: float | None


@dataclass
class EpisodeClicks:
    """What one episode has to say about its clicks.

    Attributes:
        image_id: its image.
        located: the IoU after the first valid action, where the episode began without a mask; else None.
        first_inside: its first action is a positive click inside the object.
        invalid: replies by reason.
        finish: replies by how they ended, where not by their own end.
        valid: the valid clicks, in order.
    """

    image_id: str
    located: float | None
    first_inside: bool = False
    invalid: Counter[str] = field(default_factory=Counter)
    finish: Counter[str] = field(default_factory=Counter)
    valid: list[ValidClick] = field(default_factory=list)
    _acted: bool = field(default=False, init=False)

    def note(self, step: Step, gt: Mask, before: Mask, *, gain: float, iou: float, regret: float | None) -> None:
        """Add a step.

        Args:
            step: the step.
            gt: the object, bool (H, W).
            before: the mask that the step answered, bool (H, W).
            gain: the change of IoU.
            iou: after the step.
            regret: of its click, where known.
        """
        action = step.action
        if step.finish not in (None, "stop"):
            self.finish[step.finish] += 1
        if action.kind == "invalid":
            self.invalid[action.reason or "parse"] += 1
        if action.kind not in ("click", "box"):
            return
        first, self._acted = not self._acted, True
        localises = first and self.located is not None
        if localises:
            self.located = iou
        if action.kind == "click":
            positive, x, y = action.click
            inside, covered = bool(gt[y, x]), bool(before[y, x])
            hit = inside and not covered if positive else covered and not inside
            self.valid.append(ValidClick(step.t, positive, localises, hit, gain, regret))
            self.first_inside = self.first_inside or (step.t == 1 and positive and inside)


def click_scores(episodes: Sequence[EpisodeClicks], budget: int) -> dict[str, Any]:
    """The section ``clicks`` of the scores; a mean over nothing is None.

    - ``total``: clicks spent, invalid replies included; a stop is no click.
    - ``finish``: replies that ended otherwise than by the model's own end: ``length``, ``content_filter``, ``refusal``.
    - ``first_click_inside``: of all episodes, those whose first action is a positive click inside the object.
    - ``valid``, ``hit_rate``, ``mean_gain``, ``overshoot``, ``regret``: of all valid clicks; see `_worth`.
    - ``regret_ci``: the interval of ``regret``, over the images that have a valid click.
    - ``localisation``: the same of clicks that are the first valid action of an episode that began without a mask;
      ``episodes`` counts these episodes, and ``iou`` is their mean IoU after that action, or at the end without one.
    - ``refinement``: the same of all other valid clicks.
    - ``positive``, ``negative``: the same by sign.
    - ``by_step``: the same of the clicks of each step ``t``, from 1 to the budget.
    """
    invalid: Counter[str] = sum((each.invalid for each in episodes), Counter())
    finish: Counter[str] = sum((each.finish for each in episodes), Counter())
    clicks = [click for each in episodes for click in each.valid]
    located = [each.located for each in episodes if each.located is not None]
    return {
        "total": len(clicks) + invalid.total(),
        "invalid": dict(sorted(invalid.items())),
        "finish": dict(sorted(finish.items())),
        "first_click_inside": _mean([each.first_inside for each in episodes]),
        **_worth(clicks),
        "regret_ci": _regret_interval(episodes),
        "localisation": {
            "episodes": len(located),
            "iou": _mean(located),
            **_worth([click for click in clicks if click.localises]),
        },
        "refinement": _worth([click for click in clicks if not click.localises]),
        "positive": _worth([click for click in clicks if click.positive]),
        "negative": _worth([click for click in clicks if not click.positive]),
        "by_step": [{"t": t, **_worth([click for click in clicks if click.t == t])} for t in range(1, budget + 1)],
    }


def _worth(clicks: Sequence[ValidClick]) -> dict[str, Any]:
    """How many clicks these are, and what they were worth on average.

    - ``hit_rate``: positive ones in a false-negative region and negative ones in a false-positive region of the mask
      they answered.
    - ``mean_gain``: mean change of IoU.
    - ``overshoot``: those that lowered the IoU.
    - ``regret``: mean gain of the oracle's click from the same state minus that of the click; needs a replay.
    """
    return {
        "valid": len(clicks),
        "hit_rate": _mean([click.hit for click in clicks]),
        "mean_gain": _mean([click.gain for click in clicks]),
        "overshoot": _mean([click.gain < 0 for click in clicks]),
        "regret": _mean([click.regret for click in clicks if click.regret is not None]),
    }


def _regret_interval(episodes: Sequence[EpisodeClicks]) -> list[float] | None:
    rows = [(click.regret, each.image_id) for each in episodes for click in each.valid if click.regret is not None]
    if not rows:
        return None
    regrets, images = zip(*rows, strict=True)
    low, high = bootstrap(regrets, np.ones(len(regrets)), images)
    return [float(low[0]), float(high[0])]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
