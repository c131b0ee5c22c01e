"""The scores, as pure functions of masks, areas and curves.

Scores are computed from records, never inside the click loop; `hlmat_bench.core.masks` has the areas of two
run-length encodings. Boundary IoU is that of Cheng et al., "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021 (https://arxiv.org/abs/2103.16562); the number of clicks is that of the
interactive segmentation literature, e.g. RITM (https://arxiv.org/abs/2102.06583), except that a success at
the last click is a success.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.truth import CachedTruth as CachedTruth
from hlmat_bench.core.truth import boundary_width as boundary_width
from hlmat_bench.core.truth import ratio as ratio


class NoC(NamedTuple):
    """The number of clicks that a set of samples needs to reach an IoU.

    Attributes:
        mean: over all samples, a failed one counting the whole budget; NaN of no samples.
        solved: how many samples reach the IoU within the budget.
        failed: how many do not.
    """

    mean: float
    solved: int
    failed: int


def iou(gt: ArrayLike, mask: ArrayLike, *, ignore: ArrayLike | None = None) -> float:
    """Return intersection over union, in [0, 1]; 1 where both are empty.

    Args:
        gt: the object, bool (H, W).
        mask: the mask to judge, bool (H, W).
        ignore: pixels that do not count, bool (H, W), or None.

    Raises:
        UsageError: when these are no masks of one shape.

    >>> iou([[True, True, False]], [[False, True, True]])
    0.3333333333333333
    """
    return CachedTruth(gt, ignore).iou(mask)


def boundary_iou(gt: ArrayLike, mask: ArrayLike, *, dilation: float = 0.02, ignore: ArrayLike | None = None) -> float:
    """Return boundary IoU (Cheng et al. 2021), in [0, 1]: the IoU of the two masks' inner boundaries.

    A mask's inner boundary is what an erosion by a square removes, the image's edge counting as outside.
    1 where both are empty.

    Args:
        gt: the object, bool (H, W).
        mask: the mask to judge, bool (H, W).
        dilation: the boundary's width as a share of the image's diagonal; see `boundary_width`.
        ignore: pixels that do not count, bool (H, W), or None. They are left out after the boundaries are
            drawn, so that they make no boundary of their own.

    Raises:
        UsageError: when these are no masks of one shape.
    """
    return CachedTruth(gt, ignore).boundary_iou(mask, dilation=dilation)


def miou(ious: Iterable[float]) -> float:
    """Return the mean IoU over samples, also called gIoU; NaN of no samples.

    >>> miou([0.5, 1.0])
    0.75
    """
    values = np.fromiter(ious, dtype=np.float64)
    return float(values.mean()) if values.size else math.nan


def ciou(intersections: Iterable[int], unions: Iterable[int]) -> float:
    """Return cumulative IoU (oIoU), the sum of intersections over the sum of unions; NaN of no samples.

    Args:
        intersections: per sample, in pixels.
        unions: per sample, in pixels, in the same order.

    >>> ciou([1, 30], [2, 30])
    0.96875
    """
    pairs = list(zip(intersections, unions, strict=True))
    return ratio(sum(i for i, _ in pairs), sum(u for _, u in pairs)) if pairs else math.nan


def precision(ious: Iterable[float], threshold: float) -> float:
    """Return the share of samples whose IoU is at least the threshold (Pr@q); NaN of no samples.

    >>> precision([0.5, 0.4], 0.5)
    0.5
    """
    return miou(float(value >= threshold) for value in ious)


def first_success(curve: ArrayLike, threshold: float, budget: int) -> int | None:
    """Return the click, from 1 to the budget, after which the IoU first is at least the threshold, or None.

    Both are compared in single precision, as RITM and its successors do: 17 / 20 reaches 0.8500000000000001,
    which is what steps of 0.05 from 0.8 arrive at.

    Args:
        curve: IoU after click 1, 2, ..., float (n,); it may end before the budget, and what comes after it is
            not looked at. NaN is no success.
        threshold: an IoU.
        budget: clicks allowed.

    >>> first_success([0.3, 0.85, 0.8], 0.85, budget=7)
    2
    """
    hits = np.asarray(curve, dtype=np.float32)[:budget] >= np.float32(threshold)
    return int(hits.argmax()) + 1 if hits.any() else None


def noc(curves: Iterable[ArrayLike], threshold: float, budget: int) -> NoC:
    """Return the number of clicks (NoC@q): how many a sample needs to reach the IoU, on average.

    A sample that never gets there counts the whole budget and is counted in ``failed``. A success exactly
    at the budget is a success.

    Args:
        curves: for each sample its IoU after click 1, 2, ...; a curve that ends early stays at its last
            value, an empty one is a failure.
        threshold: the IoU to reach.
        budget: clicks allowed, at least 1.

    Raises:
        UsageError: when the budget is less than 1.

    >>> noc([[0.5, 0.9], [0.6, 0.7]], 0.85, budget=5)
    NoC(mean=3.5, solved=1, failed=1)
    """
    if budget < 1:
        raise UsageError(f"The budget of NoC is at least 1 click, not {budget}.")
    hits = [first_success(curve, threshold, budget) for curve in curves]
    failed = hits.count(None)
    return NoC(miou(budget if hit is None else hit for hit in hits), len(hits) - failed, failed)
