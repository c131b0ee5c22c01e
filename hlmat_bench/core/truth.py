"""The ground truth of one object, and the areas that masks share with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError


class CachedTruth:
    """A ground truth to compare many masks with; everything that depends on it alone is computed once.

    Args:
        gt: the mask of the object, bool (H, W).
        ignore: pixels that no score counts, bool (H, W), or None.

    Raises:
        UsageError: when these arrays are no masks of one shape.
    """

    def __init__(self, gt: ArrayLike, ignore: ArrayLike | None = None) -> None:
        if ignore is None:
            (truth,) = masks.binary(gt)
            self._counted = None
        else:
            truth, ignored = masks.binary(gt, ignore)
            self._counted = masks.pack(~ignored)
        self.shape = truth.shape
        self._gt = masks.pack(truth)
        self._visible = self._hide(self._gt)
        self._area = masks.count(self._visible)
        self._boundaries: dict[int, tuple[masks.Packed, int]] = {}

    def intersection_union(self, mask: ArrayLike) -> tuple[int, int]:
        """Return the areas, in pixels, of the intersection and the union of a mask and the ground truth.

        Args:
            mask: bool (H, W).

        Raises:
            UsageError: when ``mask`` is no mask of the ground truth's shape.
        """
        return self._areas(self._visible, self._area, self._hide(masks.pack(masks.of_shape(mask, self.shape))))

    def iou(self, mask: ArrayLike) -> float:
        """Return the IoU of a mask (bool (H, W)) and the ground truth, in [0, 1]; see `scores.iou`."""
        return ratio(*self.intersection_union(mask))

    def boundary_iou(self, mask: ArrayLike, *, dilation: float = 0.02) -> float:
        """Return the boundary IoU of a mask (bool (H, W)) and the ground truth, in [0, 1], as `scores.boundary_iou`."""
        width = boundary_width(self.shape, dilation)
        if width not in self._boundaries:
            visible = self._hide(_boundary(self._gt, width))
            self._boundaries[width] = visible, masks.count(visible)
        other = _boundary(masks.pack(masks.of_shape(mask, self.shape)), width)
        return ratio(*self._areas(*self._boundaries[width], self._hide(other)))

    def _hide(self, packed: masks.Packed) -> masks.Packed:
        return packed if self._counted is None else packed & self._counted

    @staticmethod
    def _areas(truth: masks.Packed, truth_area: int, other: masks.Packed) -> tuple[int, int]:
        both = truth_area + masks.count(other)
        intersection = (both - masks.count_differing(truth, other)) // 2
        return intersection, both - intersection


def boundary_width(size: Sequence[int], dilation: float = 0.02) -> int:
    """Return the width of the boundary in pixels, at least 1, for an image of size (height, width).

    Raises:
        UsageError: when the dilation is not a share of the diagonal, in (0, 1].
    """
    if not 0 < dilation <= 1:
        raise UsageError(f"The dilation of boundary IoU is a share of the diagonal, in (0, 1], not {dilation}.")
    return max(1, round(dilation * math.hypot(*size)))


def _boundary(packed: masks.Packed, width: int) -> masks.Packed:
    words = masks.align(packed)
    words ^= masks.erode(words, width)
    return words.view(np.uint8)[:, : packed.shape[1]]


def ratio(intersection: float, union: float) -> float:
    """Return intersection over union of two areas; 1 where the union is empty, because two empty masks agree."""
    return float(intersection / union) if union else 1.0
