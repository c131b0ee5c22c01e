"""Definitions of the terms on pages: the one list that headers, tooltips and "Definitions" take them from."""

from __future__ import annotations

from hlmat_bench.scores.registry import STANDARD

DEFINITIONS = {
    "IoU": "Intersection over union of a mask and the ground truth, in pixels; 1 (100 %) where both are empty.",
    **{STANDARD[key].title: STANDARD[key].definition for key in ("miou", "ciou", "biou")},
    "NoC@q": STANDARD["noc@85"].definition,
    "AUC": STANDARD["auc"].definition,
    "Scored mask": (
        "Which mask of an episode is scored: the last one, or, for a strategy that predicts the IoU of its masks, the "
        "one with the highest prediction. The best mask by the ground truth is an upper bound and is never ranked."
    ),
    "Hit rate": (
        "Share of all valid clicks that were placed correctly: positive ones on a missed part of the object, negative "
        "ones on excess. It does not ask whether the mask became better."
    ),
    "Regret": "The gain of the oracle's click at the same state minus the gain of the model's click.",
    "Ceilings and floors": (
        "Reference policies with the same segmenter on the same samples. The oracle clicks the middle of the largest "
        "error, and gt-box draws the ground truth's box: ceilings, not human performance. Random and centre clicks and "
        "the empty mask are floors."
    ),
    "Interval": (
        "95 %, percentile bootstrap with 2,000 draws of whole images, seeded. For a difference it is paired: both runs "
        "are scored on the same draws. If the interval of a difference contains 0, the difference is not significant "
        "at the 95 % level."
    ),
}
