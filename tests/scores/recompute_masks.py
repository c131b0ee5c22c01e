"""For recompute.py: what the masks of an episode are worth, and intervals."""

import math

import cv2
import numpy as np
from pycocotools import mask as coco


def ratio(pair):
    return pair[0] / pair[1] if pair[1] else 1.0


def areas(one, other, ignore):
    return int((one & other & ~ignore).sum()), int(((one | other) & ~ignore).sum())


def rim(mask):
    """Return what an erosion by 2 % of the diagonal removes; beyond the image there is nothing."""
    width = max(1, round(0.02 * math.hypot(*mask.shape)))
    return mask & (cv2.erode(np.pad(mask, 1), np.ones((3, 3)), iterations=width)[1:-1, 1:-1] == 0)


def measured(episode, budget):
    """Return the episode with its masks and their scores after t = 0..budget steps, carried forward."""
    parts = [episode["initial"], *episode["steps"]]
    stored = [episode["gt"], episode["ignore"], *(part["mask"] for part in parts)]
    gt, ignore, *masks = (coco.decode(rle) if rle else np.zeros(episode["size"], np.uint8) for rle in stored)
    masks = (masks + masks[-1:] * budget)[: budget + 1]
    pairs = [areas(gt, mask, ignore) for mask in masks]
    rims = [ratio(areas(rim(gt), rim(mask), ignore)) for mask in masks]
    return episode | {
        "gt": gt,
        "ignored": ignore,
        "masks": masks,
        "pairs": pairs,
        "ious": [*map(ratio, pairs)],
        "rims": rims,
    }


def counted(episode, mask):
    """Return the pixels of a mask that are not ignored."""
    return mask.astype(bool) & ~episode["ignored"].astype(bool)


def interval(episodes, above, below=None):
    """95 % of the quotients of sums over drawn images."""
    images, codes = np.unique([episode["image_id"] for episode in episodes], return_inverse=True)
    draws = np.random.Generator(np.random.PCG64(0)).integers(len(images), size=(2000, len(images)))
    sums = [np.bincount(codes, side)[draws].sum(axis=1) for side in (above, below or np.ones(len(above)))]
    return np.quantile([ratio(pair) for pair in np.transpose(sums)], [0.025, 0.975]).tolist()
