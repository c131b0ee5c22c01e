"""What the pages say of their numbers."""

from __future__ import annotations

from hlmat_bench.scores.registry import STANDARD

DEFINITIONS = {
    "IoU": "Intersection over union of a mask and the ground truth, in pixels; 1 where both are empty.",
    **{STANDARD[key].title: STANDARD[key].definition for key in ("miou", "ciou", "biou")},
    "NoC@q": STANDARD["noc@85"].definition,
    "AUC": STANDARD["auc"].definition,
    "final, self, best": (
        "Which mask of an episode is scored: the last one; the one that the model itself predicts to be best; the one "
        "that is best by the ground truth, an upper bound that is never ranked."
    ),
    "Hit rate": "Of all valid clicks: positive ones on a missed part of the object and negative ones on excess.",
    "Regret": "The gain of the oracle's click at the same state minus the gain of the model's click.",
    "Ceilings and floors": (
        "Reference policies with the same segmenter on the same samples. The oracle clicks the middle of the largest "
        "error, and gt-box draws the ground truth's box: ceilings, not human performance. Random and centre clicks and "
        "the empty mask are floors."
    ),
    "Interval": (
        "95 %, percentile bootstrap with 2,000 draws of whole images, seeded. Of a difference it is paired: both runs "
        "are scored on the same draws."
    ),
}

CLICKS = {
    "total": "Clicks spent, invalid replies included",
    "valid": "Valid clicks",
    "hit_rate": "Hit rate",
    "first_click_inside": "First click inside the object",
    "mean_gain": "Mean gain of IoU per valid click",
    "overshoot": "Clicks that lowered the IoU",
    "regret": "Mean regret",
}

WORTH = {
    "valid": "clicks",
    "hit_rate": "hit rate",
    "mean_gain": "mean gain",
    "overshoot": "lowered the IoU",
    "regret": "regret",
}

RULES = {
    "final": "last mask",
    "self": "mask with the highest predicted IoU",
    "best": "best mask, chosen with the ground truth (upper bound)",
}
