"""What the pages say of their numbers."""

from __future__ import annotations

DEFINITIONS = {
    "IoU": "Intersection over union of a mask and the ground truth, in pixels; 1 where both are empty.",
    "mIoU": "The mean IoU over samples (also gIoU). A sample is one image, one expression, one ground truth.",
    "cIoU": "The sum of all intersections over the sum of all unions (also oIoU): large objects count more.",
    "Boundary IoU": "The IoU of the two masks' inner edges, 2 % of the image's diagonal wide (Cheng et al. 2021).",
    "NoC@q": (
        "The clicks that a sample needs to reach an IoU of q %, on average. A sample that never gets there is a miss: "
        "that it would need more clicks than the budget is all that is known. It counts the budget, and "
        "misses are counted beside the mean and drawn as dashed bars."
    ),
    "AUC": "The mean of the mIoU after 1, 2, ... clicks up to the budget, the last mask carried forward.",
    "final, self, best": (
        "Which mask of an episode is scored: the last one; the one that the model itself predicts to be best; the one "
        "that is best by the ground truth, an upper bound that is never ranked."
    ),
    "Hit rate": "Of all valid clicks: positive ones on a missed part of the object and negative ones on excess.",
    "Regret": "The gain of the oracle's click at the same state minus the gain of the model's click.",
    "Ceilings and floors": (
        "Reference players with the same segmenter on the same samples. The oracle clicks the middle of the largest "
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

RULES = {"final": "final: the last mask", "self": "self: the model's choice", "best": "best: an upper bound"}
