"""Samples whose ground truth is empty, because the expression names nothing in the image: the section ``no_target``.

The scores are those of GRES (Liu, Ding and Jiang, "GRES: Generalized Referring Expression Segmentation", CVPR 2023,
https://arxiv.org/abs/2306.00968, section 3.3). Whether an answer says "no such object" is decided by its mask alone:
it says so where no pixel of it counts. The authors' program (https://github.com/henghuiding/ReLA, commit 3ca9551,
`gres_model/evaluation/refer_evaluation.py`) asks a separate output of the network instead. So it differs in two cases.
Where that output says "target" beside an empty mask, a sample without target has IoU 0 there and 1 here. Where it says
"no target" beside a mask, a sample without target has IoU 1 there and 0 here, and a sample with a target has no
intersection there (the union of mask and truth counts), and that of its mask here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hlmat_bench.scores.episodes import RULES, EpisodeScores, ScoreTable
from hlmat_bench.scores.intervals import Estimate, with_intervals
from hlmat_bench.scores.outcomes import did_nothing

_OF_ALL = {"giou": "miou", "giou_ci": "miou_ci", "ciou": "ciou", "ciou_ci": "ciou_ci"}
_OF_TARGETS = (
    "t_acc", "t_acc_ci", "target_miou", "target_miou_ci", "target_ciou", "target_ciou_ci", "target_biou",
    "target_precision",
)  # fmt: skip


def no_target_scores(
    samples: Sequence[EpisodeScores], selection: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    """Return the scores of runs with samples without target; None where every sample has one.

    - ``n``, ``targets``: samples without and with a target.
    - ``final``, ``self``, ``best``: by selection rule
      ``n_acc``, the share of the samples without target whose mask is empty;
      ``t_acc``, the share of the samples with a target whose mask is not empty;
      ``giou`` and ``ciou``, mIoU and cIoU over all samples: a sample without target has IoU 1 where its mask is empty,
      else 0, and the pixels of its mask go into the sum of unions;
      ``target_miou``, ``target_ciou``, ``target_biou``, ``target_precision`` over the samples with a target;
      ``unanswered``, how many samples ``n_acc`` counts as right although no reply was an action: their masks stayed
      empty, but the model did not say so.

    What is over some samples has its interval over the images of these. It is None where there are none.

    Args:
        samples: the measured episodes.
        selection: the section ``selection`` of the scores.
    """
    without = [sample for sample in samples if not sample.target]
    if not without:
        return None
    having = [sample for sample in samples if sample.target]
    return {
        "n": len(without),
        "targets": len(having),
        **{
            rule: {
                **_without(without, rule),
                **_having(having, rule),
                **{key: selection[rule][name] for key, name in _OF_ALL.items()},
            }
            for rule in RULES
        },
    }


def accuracies(samples: Sequence[EpisodeScores]) -> tuple[float | None, float | None]:
    """Return N-acc and T-acc of the samples' answers; None of no samples."""
    columns = (
        [sample.is_empty(sample.answer) != has for sample in samples if bool(sample.target) == has]
        for has in (False, True)
    )
    n_acc, t_acc = (float(np.mean(right)) if right else None for right in columns)
    return n_acc, t_acc


def _without(samples: Sequence[EpisodeScores], rule: str) -> dict[str, Any]:
    seen = [sample.is_empty(sample.selected[rule]) for sample in samples]
    return {
        **with_intervals({"n_acc": Estimate(np.array(seen, float))}, [sample.image_id for sample in samples]),
        "unanswered": sum(did_nothing(sample.kinds) for sample, empty in zip(samples, seen, strict=True) if empty),
    }


def _having(samples: Sequence[EpisodeScores], rule: str) -> dict[str, Any]:
    if not samples:
        return dict.fromkeys(_OF_TARGETS)
    table, steps = ScoreTable(samples), [sample.selected[rule] for sample in samples]
    drawn = np.array([not sample.is_empty(t) for sample, t in zip(samples, steps, strict=True)], float)
    scores = {f"target_{name}": value for name, value in table.selected(steps).items()}
    found: dict[str, Any] = with_intervals({"t_acc": Estimate(drawn), **scores}, table.images)
    return found
