"""For recompute.py: which band each sample is in."""

import math

import numpy as np
from recompute_masks import counted

BANDS = {
    "object_size": {"no object": 1, "small": 32**2, "medium": 96**2, "large": math.inf},
    "thinness": {"compact": 4, "moderate": 16, "thin": math.inf},
    "expression_words": {"1-2": 3, "3-5": 6, "6-10": 11, "11+": math.inf},
}


def thinness(gt):
    """Sides of pixels between the object and what is not the object, squared, over 4 pi times the area."""
    padded = np.pad(gt, 1).astype(int)
    sides = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    return sides**2 / (4 * math.pi * gt.sum())


def bands(episodes):
    pairs = [(episode, not counted(episode, episode["gt"]).any()) for episode in episodes]
    values = {
        "object_size": [0 if empty else episode["gt"].sum() for episode, empty in pairs],
        "thinness": [None if empty else thinness(episode["gt"]) for episode, empty in pairs],
        "expression_words": [len(episode["expression"].split()) for episode in episodes],
    }
    return {name: [band(BANDS[name], value) for value in column] for name, column in values.items()}


def band(ends, value):
    return None if value is None else min((end, name) for name, end in ends.items() if value < end)[1]
