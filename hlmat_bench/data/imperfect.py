"""Imperfect masks of controlled quality, with which episodes of refinement tasks begin.

Each is made from the ground truth by one defect whose strength is searched until the IoU is in a band. A defect that
cannot reach the band (an erosion of something one pixel wide) gives way to the next one; where none can, the mask whose
IoU is nearest to the band is taken, and its record says so. All choices depend on a seed and the sample's id alone, so
that every model begins with the same masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlmat_bench.clicks.random import generator_of, random_points
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.data.defects import DEFECTS, Distortion
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.mask_settings import RefinementSettings

_HALVINGS = 12
_DRAWS = 6
_MOST_POSITIVE, _MOST_NEGATIVE = 3, 3


@dataclass(frozen=True, slots=True)
class Imperfect:
    """An imperfect mask.

    Attributes:
        mask: bool (H, W).
        iou: with the ground truth.
        defect: what is wrong with it.
        band: what the IoU should be in.
        strength: of the defect, 0 to 1.
    """

    mask: Mask
    iou: float
    defect: str
    band: tuple[float, float]
    strength: float

    @property
    def distance(self) -> float:
        """From the IoU to the band, 0 inside."""
        low, high = self.band
        return max(low - self.iou, self.iou - high, 0.0)

    def record(self) -> dict[str, Any]:
        """What an episode's record says of it besides mask and IoU: JSON values."""
        return {
            "defect": self.defect,
            "band": list(self.band),
            "in_band": self.distance == 0,
            "strength": self.strength,
        }


def imperfect(
    settings: RefinementSettings,
    sample_id: str,
    image: Image,
    truth: Truth,
    others: Sequence[Mask],
    segmenter: Segmenter,
) -> Imperfect:
    """The imperfect mask of a sample.

    Args:
        settings: which ones there are.
        sample_id: what all draws depend on, besides the seed.
        image: uint8 (H, W, 3) RGB, for what the segmenter draws.
        truth: the ground truth. Of an empty one the mask is empty, too.
        others: masks of other objects in the image, bool (H, W).
        segmenter: the run's; asked only where it draws the mask: defects ``box`` and ``points``.
    """
    generator, scored = generator_of(settings.seed, sample_id), CachedTruth(truth.mask, truth.ignore)
    band = settings.bands[generator.integers(len(settings.bands))]
    names = [settings.defects[i] for i in generator.permutation(len(settings.defects))]
    if not truth.mask.any():
        return Imperfect(truth.mask.copy(), scored.iou(truth.mask), names[0], band, 0.0)

    def made(name: str) -> Imperfect:
        def tried(strength: float, mask: Mask) -> Imperfect:
            return Imperfect(mask, scored.iou(mask), name, band, strength)

        if name in DEFECTS:
            return _halved(DEFECTS[name](truth.mask, others, generator), tried)
        drawn = _boxed if name == "box" else _pointed
        return _nearest(tried(*each) for each in drawn(truth, image, segmenter, generator))

    return _nearest(made(name) for name in names)


def _nearest(candidates: Iterator[Imperfect]) -> Imperfect:
    """The first in its band, or the one nearest to it."""
    best = next(candidates)
    while best.distance and (other := next(candidates, None)) is not None:
        best = min(best, other, key=lambda each: each.distance)
    return best


def _halved(distortion: Distortion, tried: Callable[[float, Mask], Imperfect]) -> Imperfect:
    """By halving the strengths in question; first it is tried how bad it can be."""

    def candidates() -> Iterator[Imperfect]:
        low, high = 0.0, 1.0
        worst = tried(high, distortion(high))
        yield worst
        if worst.iou > worst.band[1]:
            return
        for _ in range(_HALVINGS):
            middle = tried((low + high) / 2, distortion((low + high) / 2))
            yield middle
            low, high = (middle.strength, high) if middle.iou > middle.band[1] else (low, middle.strength)

    return _nearest(candidates())


def _boxed(
    truth: Truth, image: Image, segmenter: Segmenter, generator: np.random.Generator
) -> Iterator[tuple[float, Mask]]:
    """The segmenter's masks for ever more misplaced boxes: each edge moves by up to the strength times half a side."""
    box, session = bounding_box(truth.mask), segmenter.open(image)
    assert box is not None
    start = session.snapshot()
    height, width = truth.mask.shape
    for number in range(_DRAWS):
        strength = number / (_DRAWS - 1)
        reach = np.array([box[2] - box[0], box[3] - box[1]] * 2) / 2
        moved = np.array(box) + generator.uniform(-strength, strength, 4) * reach
        x0, y0, x1, y1 = (round(edge) for edge in moved.tolist())
        x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
        yield strength, session.predict([], (x0, y0, min(max(x1, x0 + 1), width), min(max(y1, y0 + 1), height)))
        session.restore(start)


def _pointed(
    truth: Truth, image: Image, segmenter: Segmenter, generator: np.random.Generator
) -> Iterator[tuple[float, Mask]]:
    """The segmenter's masks for a few points at random; the draws differ in luck, not in strength."""
    session = segmenter.open(image)
    start = session.snapshot()
    for _ in range(_DRAWS):
        positive, negative = generator.integers((1, 0), (_MOST_POSITIVE + 1, _MOST_NEGATIVE + 1)).tolist()
        clicks = random_points(truth, positive, negative, generator)
        yield 1.0, session.predict(clicks) if clicks else np.zeros(truth.mask.shape, bool)
        session.restore(start)
