"""Imperfect masks of controlled quality, with which episodes of refinement tasks begin.

A defect is a perturbation of the ground truth whose strength is searched until the IoU is in a band. Geometric defects
are functions of the object's mask (`DEFECTS`); for the defects ``box`` and ``points``, the run's segmenter draws the
mask from a misplaced box or from random points. Where a defect cannot reach the band (an erosion of an object one
pixel wide), the next one is tried; where none can, the mask whose IoU is nearest to the band is taken, and its record
says so. All choices depend only on a seed and the sample's id, so that every model begins with the same masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.clicks.random import generator_of, random_points
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.mask_settings import RefinementSettings

_HALVINGS = 12
_DRAWS = 6
_MOST_POSITIVE, _MOST_NEGATIVE = 3, 3

#: Function from a strength in [0, 1] to a mask, bool (H, W). Near 0 the mask is the ground truth, as far as the defect
#: allows; the larger the strength, the worse the mask.
Distortion: TypeAlias = Callable[[float], Mask]
#: Function from (object, bool (H, W) and not empty; masks of other objects of the image; random numbers) to a
#: distortion.
Defect: TypeAlias = Callable[[Mask, Sequence[Mask], np.random.Generator], Distortion]


def eroded(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Remove all pixels near the outline; at strength 1, remove the whole object."""
    depth = _distance(gt)
    deepest = float(depth.max())
    return lambda strength: depth > strength * deepest


def dilated(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Add a rim around the object; at strength 1, as wide as the side of a square with the object's area."""
    distance, reach = _distance(~gt), _width(gt)
    return lambda strength: distance <= strength * reach


def coarsened(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Simplify the outlines to polygons of few corners (Douglas and Peucker 1973), as a hasty annotator draws them."""
    import cv2

    outlines, tree = cv2.findContours(gt.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    width = _width(gt)

    def distorted(strength: float) -> Mask:
        polygons = [cv2.approxPolyDP(outline, strength * width, closed=True) for outline in outlines]
        canvas = np.zeros(gt.shape, np.uint8)
        cv2.drawContours(canvas, polygons, -1, 1, cv2.FILLED, hierarchy=tree)
        return canvas > 0

    return distorted


def shifted(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Move the outline in and out by a smooth random field."""
    import cv2

    width = _width(gt)
    height_cells, width_cells = (int(side / max(0.3 * width, 4)) + 3 for side in gt.shape)
    field = generator.standard_normal((height_cells, width_cells)).astype(np.float32)
    wander = cv2.resize(field, gt.shape[::-1], interpolation=cv2.INTER_CUBIC)
    depth = np.where(gt, _distance(gt), -_distance(~gt))
    return lambda strength: depth + strength * width * wander > 0


def merged(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Add a neighbour to the object; at a strength below 1, only the nearer part of the neighbour.

    The neighbour is the nearest other object of the image; where there is none, a mirrored copy of the object next to
    it.
    """
    distance = _distance(~gt)
    addable = [added for other in others if (added := other & ~gt).any()]
    neighbour = min(addable, key=lambda added: float(distance[added].min())) if addable else _mirrored(gt) & ~gt
    ordered = np.sort(distance[neighbour])

    def distorted(strength: float) -> Mask:
        count = round(strength * len(ordered))
        return gt | (neighbour & (distance <= ordered[count - 1])) if count else gt.copy()

    return distorted


def cropped(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Remove the part of the object that is nearest to a random point of it."""
    rows, columns = np.nonzero(gt)
    start = generator.integers(len(rows))
    y, x = np.ogrid[: gt.shape[0], : gt.shape[1]]
    distance = (y - rows[start]) ** 2 + (x - columns[start]) ** 2
    ordered = np.sort(distance[gt])

    def distorted(strength: float) -> Mask:
        count = round(strength * len(ordered))
        return gt & (distance > ordered[count - 1]) if count else gt.copy()

    return distorted


#: All geometric defects by name.
DEFECTS: dict[str, Defect] = {
    "eroded": eroded,
    "dilated": dilated,
    "coarsened": coarsened,
    "shifted": shifted,
    "merged": merged,
    "cropped": cropped,
}


def _distance(mask: Mask) -> NDArray[Any]:
    """Return the Euclidean distance to the nearest pixel outside the mask, 0 outside, float32 (H, W).

    Pixels beyond the image do not count as outside.
    """
    import cv2

    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _width(mask: Mask) -> float:
    """Return the side of a square with the mask's area, in pixels."""
    return math.sqrt(np.count_nonzero(mask))


def _mirrored(gt: Mask) -> Mask:
    """Mirror the object at the side of its bounding box that is farthest from the image's edge."""
    box = bounding_box(gt)
    assert box is not None
    x0, y0, x1, y1 = box
    height, width = gt.shape
    room = {"left": x0, "top": y0, "right": width - x1, "bottom": height - y1}
    side = max(room, key=lambda name: room[name])
    if side in ("top", "bottom"):
        return _mirrored_across(gt.T, side == "top", y0, y1).T
    return _mirrored_across(gt, side == "left", x0, x1)


def _mirrored_across(gt: Mask, before: bool, start: int, end: int) -> Mask:
    """Mirror a mask at the column `start` (to its left) or `end` (to its right)."""
    image = np.zeros_like(gt)
    flipped = gt[:, start:end][:, ::-1]
    if before:
        kept = min(end - start, start)
        image[:, start - kept : start] = flipped[:, flipped.shape[1] - kept :]
    else:
        kept = min(end - start, gt.shape[1] - end)
        image[:, end : end + kept] = flipped[:, :kept]
    return image


@dataclass(frozen=True, slots=True)
class Imperfect:
    """An imperfect mask.

    Attributes:
        mask: bool (H, W).
        iou: IoU with the ground truth.
        defect: the name of its defect.
        band: the smallest and the largest IoU wanted.
        strength: the strength of the defect, 0 to 1.
    """

    mask: Mask
    iou: float
    defect: str
    band: tuple[float, float]
    strength: float

    @property
    def distance(self) -> float:
        """The distance from the IoU to the band, 0 inside."""
        low, high = self.band
        return max(low - self.iou, self.iou - high, 0.0)

    def record(self) -> dict[str, Any]:
        """Return the fields of an episode's record, as JSON values, except mask and IoU."""
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
    """Return the imperfect mask of a sample.

    Args:
        settings: the defects, the bands and the seed.
        sample_id: the sample's id; all draws depend on it and the seed.
        image: uint8 (H, W, 3) RGB, for the defects that the segmenter draws.
        truth: the ground truth. If it is empty, the imperfect mask is empty, too.
        others: masks of other objects in the image, bool (H, W).
        segmenter: the run's segmenter; used only for the defects ``box`` and ``points``.
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
    """Return the first candidate inside its band, or else the one nearest to it."""
    best = next(candidates)
    while best.distance and (other := next(candidates, None)) is not None:
        best = min(best, other, key=lambda each: each.distance)
    return best


def _halved(distortion: Distortion, tried: Callable[[float, Mask], Imperfect]) -> Imperfect:
    """Search the strength by bisection, after a first try of the strongest distortion."""

    def candidates() -> Iterator[Imperfect]:
        low, high = 0.0, 1.0
        worst = tried(high, distortion(high))
        yield worst
        if worst.iou > worst.band[1]:  # Even the strongest distortion is too good for the band: no search can help.
            return
        for _ in range(_HALVINGS):
            middle = tried((low + high) / 2, distortion((low + high) / 2))
            yield middle
            low, high = (middle.strength, high) if middle.iou > middle.band[1] else (low, middle.strength)

    return _nearest(candidates())


def _boxed(
    truth: Truth, image: Image, segmenter: Segmenter, generator: np.random.Generator
) -> Iterator[tuple[float, Mask]]:
    """Yield the segmenter's masks for boxes of growing error: edges move by up to the strength times half a side."""
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
    """Yield the segmenter's masks for a few random points; the draws are random, and all have the strength 1."""
    session = segmenter.open(image)
    start = session.snapshot()
    for _ in range(_DRAWS):
        positive, negative = generator.integers((1, 0), (_MOST_POSITIVE + 1, _MOST_NEGATIVE + 1)).tolist()
        clicks = random_points(truth, positive, negative, generator)
        yield 1.0, session.predict(clicks) if clicks else np.zeros(truth.mask.shape, bool)
        session.restore(start)
