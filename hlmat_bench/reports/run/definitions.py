"""What the pages say of their numbers."""

from __future__ import annotations

from hlmat_bench.reports.pages.definitions import DEFINITIONS as DEFINITIONS

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
