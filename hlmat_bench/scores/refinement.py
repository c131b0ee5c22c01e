"""What the clicks made of the masks that episodes begin with: the section ``refinement`` of scores.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.scores import first_success
from hlmat_bench.scores.episodes import NOC_THRESHOLDS, RULES, EpisodeScores
from hlmat_bench.scores.intervals import Estimate, with_intervals
from hlmat_bench.scores.slices import parted


def refinement_scores(samples: Sequence[EpisodeScores], budget: int) -> dict[str, Any] | None:
    """Return the scores of runs whose episodes begin with a mask; None where all begin with an empty one.

    - ``initial_miou``: before the first click.
    - ``final``, ``self``, ``best``: by selection rule ``miou``; ``gain``, its mean difference to the initial mask;
      ``worsened``, the share of samples whose mask is worse than the initial one.
    - ``noc``: clicks from the initial state on: a sample that begins at the threshold needs none, a miss counts the
      budget.
    - ``in_band``: how many imperfect masks have an IoU in the band that they were made for; only where masks are made.
    - ``by_defect``, ``by_band``: the scores of the samples of each; empty where masks are given from elsewhere.
    """
    if all(sample.initial["kind"] == "empty" for sample in samples):
        return None

    def grouped(key: Callable[[EpisodeScores], str | None]) -> dict[str, Any]:
        return {name: _scores(chosen, budget) for name, chosen in parted(samples, key).items()}

    return {
        **_scores(samples, budget),
        "by_defect": grouped(lambda sample: sample.initial.get("defect")),
        "by_band": grouped(_band),
    }


def _band(sample: EpisodeScores) -> str | None:
    band = sample.initial.get("band")
    return None if band is None else f"{band[0]:.2f}-{band[1]:.2f}"


def _scores(samples: Sequence[EpisodeScores], budget: int) -> dict[str, Any]:
    ious = np.stack([sample.iou for sample in samples])
    first = ious[:, 0]
    made = [sample.initial["in_band"] for sample in samples if "in_band" in sample.initial]
    scores: dict[str, Any] = {"n": len(samples), "initial_miou": Estimate(first)}
    for rule in RULES:
        last = np.array([sample.at(rule) for sample in samples])
        columns = {"miou": last, "gain": last - first, "worsened": (last < first).astype(float)}
        scores[rule] = {name: Estimate(values) for name, values in columns.items()}
    scores["noc"] = {f"{threshold:.2f}": _noc(ious, threshold, budget) for threshold in NOC_THRESHOLDS}
    found: dict[str, Any] = with_intervals(scores, [sample.image_id for sample in samples])
    return found | ({"in_band": sum(made)} if made else {})


def _noc(ious: NDArray[np.float64], threshold: float, budget: int) -> dict[str, Any]:
    """Return the number of clicks, counted from 0: that of the first state at the threshold."""
    hits = [first_success(curve, threshold, budget + 1) for curve in ious]
    clicks = np.array([budget if hit is None else hit - 1 for hit in hits])
    failed = hits.count(None)
    return {"mean": Estimate(clicks), "solved": len(hits) - failed, "failed": failed}
