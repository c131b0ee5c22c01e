"""What can be wrong with a mask, each by a strength: the larger, the worse.

A defect is made for one object and gives a `Distortion`: a function from a strength in [0, 1] to a mask. Near 0 the
mask is the ground truth, as far as the defect allows. All are geometric; masks that a segmenter draws badly are in
`hlmat_bench.data.imperfect`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.types import Mask

Distortion: TypeAlias = Callable[[float], Mask]
#: (object, bool (H, W) and not empty; masks of other objects of the image; random numbers) -> distortion
Defect: TypeAlias = Callable[[Mask, Sequence[Mask], np.random.Generator], Distortion]


def eroded(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """Everything near the outline is missing; at strength 1 all of it."""
    depth = _distance(gt)
    deepest = float(depth.max())
    return lambda strength: depth > strength * deepest


def dilated(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """A rim around the object is added; at strength 1 it is as wide as the object's area is, as a square."""
    distance, reach = _distance(~gt), _width(gt)
    return lambda strength: distance <= strength * reach


def coarsened(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """The outlines are polygons of few corners (Douglas and Peucker 1973), as of a hasty annotator."""
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
    """The outline wanders in and out by a smooth random field."""
    import cv2

    width = _width(gt)
    height_cells, width_cells = (int(side / max(0.3 * width, 4)) + 3 for side in gt.shape)
    field = generator.standard_normal((height_cells, width_cells)).astype(np.float32)
    wander = cv2.resize(field, gt.shape[::-1], interpolation=cv2.INTER_CUBIC)
    depth = np.where(gt, _distance(gt), -_distance(~gt))
    return lambda strength: depth + strength * width * wander > 0


def merged(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """A neighbour is taken for a part of the object, at a strength below 1 its nearer part alone.

    The neighbour is the nearest other object of the image; where there is none, the object's own mirror image beside
    it.
    """
    distance = _distance(~gt)
    beside = [added for other in others if (added := other & ~gt).any()]
    neighbour = min(beside, key=lambda added: float(distance[added].min())) if beside else _mirrored(gt) & ~gt
    ordered = np.sort(distance[neighbour])

    def distorted(strength: float) -> Mask:
        count = round(strength * len(ordered))
        return gt | (neighbour & (distance <= ordered[count - 1])) if count else gt.copy()

    return distorted


def cropped(gt: Mask, others: Sequence[Mask], generator: np.random.Generator) -> Distortion:
    """A part is missing: all of the object that is near some point of it."""
    rows, columns = np.nonzero(gt)
    start = generator.integers(len(rows))
    y, x = np.ogrid[: gt.shape[0], : gt.shape[1]]
    distance = (y - rows[start]) ** 2 + (x - columns[start]) ** 2
    ordered = np.sort(distance[gt])

    def distorted(strength: float) -> Mask:
        count = round(strength * len(ordered))
        return gt & (distance > ordered[count - 1]) if count else gt.copy()

    return distorted


#: By name.
DEFECTS: dict[str, Defect] = {
    "eroded": eroded,
    "dilated": dilated,
    "coarsened": coarsened,
    "shifted": shifted,
    "merged": merged,
    "cropped": cropped,
}


def _distance(mask: Mask) -> NDArray[Any]:
    """Each pixel's Euclidean distance to the nearest one outside the mask, 0 outside, float32 (H, W).

    What is around the image is neither inside nor outside.
    """
    import cv2

    return cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def _width(mask: Mask) -> float:
    """The side of a square of the mask's area, in pixels."""
    return math.sqrt(np.count_nonzero(mask))


def _mirrored(gt: Mask) -> Mask:
    """The object mirrored at the side of its bounding box that has most room beyond it."""
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
    """Mirrored at the column `start` (to the left of it) or `end` (to the right)."""
    image = np.zeros_like(gt)
    flipped = gt[:, start:end][:, ::-1]
    if before:
        kept = min(end - start, start)
        image[:, start - kept : start] = flipped[:, flipped.shape[1] - kept :]
    else:
        kept = min(end - start, gt.shape[1] - end)
        image[:, end : end + kept] = flipped[:, :kept]
    return image
