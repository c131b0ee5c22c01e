"""Random clicks inside the object's bounding box, to prompt a segmenter for masks of varied quality.

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
    """Return the random number generator of a sample, which depends only on the seed and the sample's id."""
    key = hashlib.blake2b(f"{seed}/{sample_id}".encode(), digest_size=8).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key)))


def random_points(truth: Truth, positive: int, negative: int, generator: np.random.Generator) -> list[Click]:
    """Return random positive clicks on the object, then negative clicks outside it, all different.

    Args:
        truth: the ground truth. All clicks are inside the object's bounding box and outside the ignored pixels.
        positive: the number of positive clicks; fewer where the object has fewer pixels.
        negative: the number of negative clicks; fewer where the box has fewer pixels outside the object.
        generator: draws the pixels with equal probability.
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
    """Return ``number`` different pixels (x, y) of an area, or all where it has fewer."""
    pixels = np.argwhere(area)
    chosen = generator.choice(pixels, min(number, len(pixels)), replace=False) if len(pixels) else pixels
    return [(x, y) for y, x in chosen.tolist()]
