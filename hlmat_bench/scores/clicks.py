"""Click diagnostics: how good the model's clicks were, apart from the segmenter's strength.

The paper names two competences (SegAgent, section 4.2, https://arxiv.org/abs/2503.08625): to localise the object by its
description, which the first action shows, and to refine a mask, which all later ones show. They are told apart here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from hlmat_bench.core.validation import exact
from hlmat_bench.protocol.records import Step
from hlmat_bench.scores.intervals import bootstrap
from hlmat_bench.scores.outcomes import ClickPlace


@exact
@dataclass(frozen=True, slots=True)
class ValidClick:
    """A click that went to the segmenter.

    Attributes:
        t: its step.
        positive: it adds.
        localises: it is the first valid action of an episode that began without a mask.
        hit: a positive one on a missed pixel, a negative one on an excess pixel.
        gain: the change of IoU; with a box that came with it.
        regret: the gain of the oracle's click from the same state minus this gain; None where it was not replayed.
    """

    t: int
    positive: bool
    localises: bool
    hit: bool
    gain: float
    regret: float | None = None


@exact
@dataclass
class EpisodeClicks:
    """The clicks of one episode.

    Attributes:
        image_id: its image.
        located: the IoU after the first valid action, where the episode began without a mask; else None.
        first_inside: its first action is a positive click inside the object.
        target: its sample has a target; of an empty object no click is inside.
        invalid: replies by reason.
        finish: replies by how they ended, where not by their own end.
        valid: the valid clicks, in order.
    """

    image_id: str
    located: float | None
    first_inside: bool = False
    target: bool = True
    invalid: Counter[str] = field(default_factory=Counter)
    finish: Counter[str] = field(default_factory=Counter)
    valid: list[ValidClick] = field(default_factory=list)
    _acted: Annotated[bool, Field(exclude=True)] = field(default=False, init=False, compare=False)

    def note(self, step: Step, place: ClickPlace | None, *, gain: float, iou: float) -> None:
        """Add a step.

        Args:
            step: the step.
            place: where it clicked; None when it is no click.
            gain: the change of IoU.
            iou: after the step.
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
        if place is not None:
            positive = action.click.positive
            hit = place.corrected_by(positive)
            self.valid.append(ValidClick(step.t, positive, localises, hit, gain))
            self.first_inside = self.first_inside or (step.t == 1 and positive and place.inside)


def click_scores(episodes: Sequence[EpisodeClicks], budget: int) -> dict[str, Any]:
    """Return the section ``clicks`` of the scores; a mean over nothing is None.

    Where the object is empty, a positive click is never a hit, and a negative one is a hit on the mask.

    - ``total``: clicks spent, invalid replies included; a stop is no click.
    - ``finish``: replies that ended otherwise than by the model's own end: ``length``, ``content_filter``, ``refusal``.
    - ``first_click_inside``: of all episodes whose sample has a target, those whose first action is a positive click
      inside the object.
    - ``valid``, ``hit_rate``, ``mean_gain``, ``overshoot``, ``regret``: of all valid clicks; see `_quality`.
    - ``regret_ci``: the interval of ``regret``, over the images that have a valid click.
    - ``localisation``: those of clicks that are the first valid action of an episode that began without a mask;
      ``episodes`` counts these episodes, and ``iou`` is their mean IoU after that action, or at the end without one.
    - ``refinement``: those of all other valid clicks.
    - ``positive``, ``negative``: those by sign.
    - ``by_step``: those of the clicks of each step ``t``, from 1 to the budget.
    """
    invalid: Counter[str] = sum((each.invalid for each in episodes), Counter())
    finish: Counter[str] = sum((each.finish for each in episodes), Counter())
    clicks = [click for each in episodes for click in each.valid]
    located = [each.located for each in episodes if each.located is not None]
    return {
        "total": len(clicks) + invalid.total(),
        "invalid": dict(sorted(invalid.items())),
        "finish": dict(sorted(finish.items())),
        "first_click_inside": _mean([each.first_inside for each in episodes if each.target]),
        **_quality(clicks),
        "regret_ci": _regret_interval(episodes),
        "localisation": {
            "episodes": len(located),
            "iou": _mean(located),
            **_quality([click for click in clicks if click.localises]),
        },
        "refinement": _quality([click for click in clicks if not click.localises]),
        "positive": _quality([click for click in clicks if click.positive]),
        "negative": _quality([click for click in clicks if not click.positive]),
        "by_step": [{"t": t, **_quality([click for click in clicks if click.t == t])} for t in range(1, budget + 1)],
    }


def _quality(clicks: Sequence[ValidClick]) -> dict[str, Any]:
    """Return how many clicks these are, and how good they were on average.

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
    return [float(end[0]) for end in bootstrap(regrets, np.ones(len(regrets)), images)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
