"""Clicks at random inside the object's box: what masks of varied quality are prompted with.

SegAgent (arXiv 2503.08625, appendix E.1) makes the masks of its filtering test "by randomly sampling positive and
negative points within the GT bounding boxes".
"""

from __future__ import annotations

import hashlib

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.types import Mask


def generator_of(seed: int, sample_id: str) -> np.random.Generator:
    """The random numbers of a sample: they depend on nothing but the seed and the sample's id."""
    key = hashlib.blake2b(f"{seed}/{sample_id}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key)))


def random_points(truth: Truth, positive: int, negative: int, generator: np.random.Generator) -> list[Click]:
    """Positive clicks on the object, then negative ones beside it, both inside its bounding box and all different.

    Args:
        truth: the ground truth. No click falls on pixels that no score counts.
        positive: how many on the object; fewer where it has fewer pixels.
        negative: how many beside it; fewer where the box has fewer pixels beside the object.
        generator: draws them, evenly among the pixels.
    """
    box = bounding_box(truth.mask)
    if box is None:
        return []
    x0, y0, x1, y1 = box
    counted = np.ones((y1 - y0, x1 - x0), bool) if truth.ignore is None else ~truth.ignore[y0:y1, x0:x1]
    inside = truth.mask[y0:y1, x0:x1]
    return [
        Click(sign, x0 + x, y0 + y)
        for sign, area, number in ((True, inside, positive), (False, ~inside, negative))
        for x, y in _drawn(area & counted, number, generator)
    ]


def _drawn(area: Mask, number: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Different pixels (x, y) of an area."""
    pixels = np.argwhere(area)
    chosen = generator.choice(pixels, min(number, len(pixels)), replace=False) if len(pixels) else pixels
    return [(x, y) for y, x in chosen.tolist()]
