"""How good a search was: how its reward model judged the masks that it tried, from the record alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlmat_bench.actions import DRAWING
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.validation import exact
from hlmat_bench.protocol.records import Step


@exact
@dataclass(frozen=True, slots=True)
class Tried:
    """The candidates of one step that led to a mask.

    Attributes:
        drawn: replies of the step, invalid ones included.
        distinct: different actions among them.
        true: IoU of each mask with the ground truth, in [0, 1].
        predicted: the predicted IoU of each; None where none was said.
        chosen: which of them was taken; None where it was none of them.
    """

    drawn: int
    distinct: int
    true: list[float]
    predicted: list[float | None]
    chosen: int | None


def tried(step: Step, iou: Callable[[RLE], float]) -> Tried | None:
    """Return the candidates of a step, their IoUs computed anew from their masks; None where it has none."""
    if not step.candidates:
        return None
    drawn = [each for each in step.candidates if each["action"]["kind"] in DRAWING]
    return Tried(
        drawn=sum(len(each["replies"]) for each in step.candidates),
        distinct=len(step.candidates),
        true=[iou(each["mask"]) for each in drawn],
        predicted=[each["predicted_iou"] for each in drawn],
        chosen=next((number for number, each in enumerate(drawn) if each["chosen"]), None),
    )


def search_scores(steps: Sequence[Tried]) -> dict[str, Any] | None:
    """Return how well a search went; None where there was none.

    - ``drawn``, ``distinct``: replies, and different actions among the replies of each step.
    - ``judged``, ``unread``: masks with a prediction, and masks whose judgement held none.
    - ``mae``, ``pearson``: of the predictions against the true IoUs, over all judged masks (IoU in [0, 1]).
    - ``best_taken``: of the steps with several masks, those that took one with the highest true IoU.
    - ``lost``: mean of what the highest true IoU of a step is above that of the mask taken.
    """
    if not steps:
        return None
    pairs = [
        (true, said) for step in steps for true, said in zip(step.true, step.predicted, strict=True) if said is not None
    ]
    masks_tried = sum(len(step.true) for step in steps)
    lost = [max(step.true) - step.true[step.chosen] for step in steps if len(step.true) > 1 and step.chosen is not None]
    return {
        "drawn": sum(step.drawn for step in steps),
        "distinct": sum(step.distinct for step in steps),
        "judged": len(pairs),
        "unread": masks_tried - len(pairs),
        "mae": float(np.mean([abs(true - said) for true, said in pairs])) if pairs else None,
        "pearson": _pearson(pairs),
        "best_taken": float(np.mean([value == 0 for value in lost])) if lost else None,
        "lost": float(np.mean(lost)) if lost else None,
    }


def _pearson(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Return Pearson's correlation; None of fewer than two pairs, or of values that are all equal."""
    if len(pairs) < 2:
        return None
    true, said = np.array(pairs).T
    if np.ptp(true) == 0 or np.ptp(said) == 0:
        return None
    return float(np.corrcoef(true, said)[0, 1])
