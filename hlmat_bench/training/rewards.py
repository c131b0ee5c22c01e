"""Rewards of an episode's steps: small pure functions of what happened so far, and their weighted sum.

A reward is computed from recorded facts alone (IoUs, actions, and where a click lay), so that a session, a snapshot and
a finished run give the same reward for the same step: `reward` is the only place where it is computed.

Sources of the formulas:

- IBISAgent (CVPR 2026), ``verl/utils/reward_score/med_seg.py`` of https://github.com/Yankai96/IBISAgent at ab89901.
- MedSAM-Agent (arXiv 2602.03320), ``RL-verl/recipe/medsam_agent/medsam_reward.py`` of
  https://github.com/CUHK-AIM-Group/MedSAM-Agent at bfb43be.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from hlmat_bench.actions import Action
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores.outcomes import ClickPlace

#: The actions that end an episode: the mask is complete, or there is no such object.
_ENDS = ("stop", "none")


@dataclass(frozen=True, slots=True)
class Progress:
    """What happened in an episode until now.

    Attributes:
        ious: the IoU of the initial mask, and of the mask after each step, 0 to 1.
        actions: what was done, one action a step.
        place: where the last action clicked; None where it is no click.
        over: the episode has ended, by what was done or by a limit.
    """

    ious: Sequence[float]
    actions: Sequence[Action]
    place: ClickPlace | None = None
    over: bool = False

    @property
    def gain(self) -> float:
        """The change of IoU by the last step; 0 before the first step."""
        return self.ious[-1] - self.ious[-2] if self.actions else 0.0

    @property
    def turns(self) -> list[float]:
        """The IoU after each step that is no stop."""
        return [iou for iou, action in zip(self.ious[1:], self.actions, strict=True) if action.kind != "stop"]


class RewardSettings(Strict):
    """The weight of each part of a reward; the reward of a step is the weighted sum of the parts.

    All parts are better when they are higher: costs are negative, and their weights positive.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    gain: float = Field(0.0, description="The change of IoU by the step, -1 to 1.")
    improvement: float = Field(0.0, description="The change of IoU where it is positive, else 0 (MedSAM-Agent).")
    increase: float = Field(0.0, description="1 where a click or a box raised the IoU, else 0 (IBISAgent).")
    iou: float = Field(0.0, description="The IoU after the step, 0 to 1.")
    tiers: float = Field(
        0.0,
        description="How many of the thresholds the IoU after the step exceeds; 0 after an invalid reply (IBISAgent).",
    )
    format: float = Field(0.0, description="1 for a valid reply, 0 for an invalid one.")
    placement: float = Field(
        0.0,
        description="1 for a positive click on a missed pixel of the object or a negative click on a pixel too many, "
        "-1 for any other click, 0 for other replies (IBISAgent).",
    )
    turns: float = Field(
        0.0, description="-1 for each step that does not end the episode by itself: its cost (MedSAM-Agent)."
    )
    length: float = Field(
        0.0,
        description="1 up to optimal_steps, then -0.2 for each further step (IBISAgent).",
    )
    final_iou: float = Field(0.0, description="The IoU at the end of the episode; 0 before.")
    final_dice: float = Field(0.0, description="The Dice coefficient at the end; 0 before.")
    overshoot: float = Field(
        0.0,
        description="At the end, the last IoU minus the highest one after a step: 0 or negative (MedSAM-Agent).",
    )
    finish: float = Field(
        0.0,
        description="At the end, 1 for a stop after a click or a box, 0.5 for one of both, else 0: the format reward "
        "of MedSAM-Agent. The answer that there is no object counts as both.",
    )
    quality: float = Field(
        0.0,
        description="At the end, the mean of IoU and Dice, minus overshoot and 0.01 per step, plus 0.1 per unit of "
        "improvement, cut to 0 to 1: the quality reward of MedSAM-Agent.",
    )
    thresholds: tuple[float, ...] = Field((0.5, 0.7, 0.8), description="The IoUs of the part tiers, each 0 to 1.")
    optimal_steps: int = Field(5, ge=1, description="The steps that cost nothing in the part length.")

    @model_validator(mode="after")
    def _counts_something(self) -> RewardSettings:
        if not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ValueError("thresholds are IoUs from 0 to 1")
        if not self.weights():
            raise ValueError("every weight is 0; give at least one part a weight, for example gain: 1")
        return self

    def weights(self) -> dict[str, float]:
        """Return the parts that count, with their weights."""
        return {name: weight for name in PARTS if (weight := getattr(self, name))}

    @staticmethod
    def of(value: RewardSettings | str | Mapping[str, Any]) -> RewardSettings:
        """Return the settings of a name in `NAMED`, or of ``{"gain": 1, "turns": 0.01}``.

        Raises:
            UsageError: for an unknown name or part, or a value that does not fit.
        """
        if isinstance(value, RewardSettings):
            return value
        if isinstance(value, str):
            if value not in NAMED:
                raise unknown("reward", value, NAMED, f"There are {', '.join(NAMED)}, or weights such as gain: 1.")
            value = NAMED[value]
        return validated(RewardSettings, value, "the reward", what="part")

    @staticmethod
    def parse(words: Sequence[str]) -> str | dict[str, float]:
        """Return the reward that words of a command line name: a name in `NAMED`, or weights such as ``gain=1``.

        Raises:
            UsageError: for a word that is neither, or where a name stands beside others.
        """
        if len(words) == 1 and "=" not in words[0]:
            return words[0]
        weights = {}
        for word in words:
            name, _, weight = word.partition("=")
            try:
                weights[name] = float(weight)
            except ValueError:
                raise UsageError(f"The reward {word!r} should look like gain=1, or be one name alone.") from None
        return weights


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of a step.

    Attributes:
        total: the sum of the parts.
        parts: what each part contributes, its weight included.
    """

    total: float
    parts: Mapping[str, float] = field(default_factory=dict)


def reward(progress: Progress, settings: RewardSettings) -> Reward:
    """Return the reward of the last step.

    >>> from hlmat_bench.actions import Action
    >>> reward(Progress([0.25, 0.75], [Action("click", True, 3, 4)]), RewardSettings.of("gain")).total
    0.5
    """
    parts = {name: weight * PARTS[name](progress, settings) for name, weight in settings.weights().items()}
    return Reward(math.fsum(parts.values()), parts)


def episode_rewards(episode: Episode, settings: RewardSettings, *, over: bool = True) -> list[Reward]:
    """Return the reward of each step of a recorded episode.

    Args:
        episode: the record.
        settings: the weights.
        over: the episode has ended with its last step.
    """
    ious = [float(episode.initial["iou"]), *(step.iou for step in episode.steps)]
    actions = [step.action for step in episode.steps]
    located = bool(settings.placement)
    return [
        reward(
            Progress(
                ious[: t + 1],
                actions[:t],
                _place(episode, t) if located else None,
                over and t == len(actions),
            ),
            settings,
        )
        for t in range(1, len(actions) + 1)
    ]


def _place(episode: Episode, t: int) -> ClickPlace | None:
    """Return where the click of a step lay."""
    action = episode.steps[t - 1].action
    if action.kind != "click":
        return None
    before = episode.mask_at(t - 1)
    inside = bool(masks.decode(episode.gt)[action.y, action.x])
    return ClickPlace(inside, before is not None and bool(masks.decode(before)[action.y, action.x]))


def _acted(progress: Progress) -> bool:
    return bool(progress.actions) and progress.actions[-1].kind in ("click", "box")


def _valid(progress: Progress) -> bool:
    return bool(progress.actions) and progress.actions[-1].kind != "invalid"


def _tiers(progress: Progress, settings: RewardSettings) -> float:
    exceeded = sum(progress.ious[-1] > threshold for threshold in settings.thresholds)
    return float(exceeded) if _valid(progress) else 0.0


def _placement(progress: Progress, settings: RewardSettings) -> float:
    if not progress.actions or progress.actions[-1].kind != "click":
        return 0.0
    assert progress.place is not None, "a click has a place"
    return 1.0 if progress.place.corrected_by(progress.actions[-1].click.positive) else -1.0


def _turns(progress: Progress, settings: RewardSettings) -> float:
    return -1.0 if progress.actions and progress.actions[-1].kind not in _ENDS else 0.0


def _length(progress: Progress, settings: RewardSettings) -> float:
    late = len(progress.actions) - settings.optimal_steps
    return (1.0 if late <= 0 else -0.2 * late) if progress.actions else 0.0


def _dice(iou: float) -> float:
    """Return the Dice coefficient 2 |A and B| / (|A| + |B|) of two masks with this IoU."""
    return 2 * iou / (1 + iou)


def _overshoot(progress: Progress, settings: RewardSettings) -> float:
    turns = progress.turns
    return turns[-1] - max(turns) if progress.over and turns else 0.0


def _finish(progress: Progress, settings: RewardSettings) -> float:
    if not progress.over:
        return 0.0
    stopped = bool(progress.actions) and progress.actions[-1].kind in _ENDS
    return 0.5 * stopped + 0.5 * any(action.kind in ("click", "box", "none") for action in progress.actions)


def _quality(progress: Progress, settings: RewardSettings) -> float:
    turns = progress.turns
    if not progress.over or not turns:
        return 0.0
    value = (turns[-1] + _dice(turns[-1])) / 2
    if len(turns) > 1:  # the source neither fines nor rewards the course of an episode of one turn
        rises = math.fsum(max(after - before, 0.0) for before, after in itertools.pairwise(turns))
        value += _overshoot(progress, settings) - 0.01 * len(turns) + 0.1 * rises
    return min(max(value, 0.0), 1.0)


#: The parts of a reward by name: function of what happened and the settings.
PARTS: Mapping[str, Callable[[Progress, RewardSettings], float]] = {
    "gain": lambda progress, _: progress.gain,
    "improvement": lambda progress, _: max(progress.gain, 0.0),
    "increase": lambda progress, _: float(_acted(progress) and progress.gain > 0),
    "iou": lambda progress, _: progress.ious[-1] if progress.actions else 0.0,
    "tiers": _tiers,
    "format": lambda progress, _: float(_valid(progress)),
    "placement": _placement,
    "turns": _turns,
    "length": _length,
    "final_iou": lambda progress, _: progress.ious[-1] if progress.over else 0.0,
    "final_dice": lambda progress, _: _dice(progress.ious[-1]) if progress.over else 0.0,
    "overshoot": _overshoot,
    "finish": _finish,
    "quality": _quality,
}

#: Rewards by name: the IoU gain of each step, and those of two successors. IBISAgent's ``format`` is about its own
#: tags; here it is the point format that the model declares.
NAMED: Mapping[str, Mapping[str, float]] = {
    "gain": {"gain": 1.0},
    "ibis-agent": {"format": 0.2, "tiers": 0.2, "placement": 0.2, "increase": 0.2, "length": 0.2},
    "medsam-agent": {"finish": 0.2, "quality": 0.8},
}
