"""Bands by which scores are sliced: what of a sample itself makes it easy or hard, whatever the task says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from hlmat_bench.core.types import Mask

#: Each band with the first value above it, from the lowest on.
Scale: TypeAlias = Sequence[tuple[str, float]]

#: The object's area in pixels, as COCO's evaluation divides it (https://cocodataset.org/#detection-eval).
SIZES: Scale = (("small", 32**2), ("medium", 96**2), ("large", math.inf))
#: The quotient of `thinness`. A square is at 1.3, a strip at 4 from about 1:10 on, at 16 from about 1:48 on.
THINNESS: Scale = (("compact", 4), ("moderate", 16), ("thin", math.inf))
#: The number of words, divided by blanks.
LENGTHS: Scale = (("1-2", 3), ("3-5", 6), ("6-10", 11), ("11+", math.inf))
#: The bands of each measure, in their order.
BANDS: Mapping[str, Sequence[str]] = {
    name: [band for band, _ in scale]
    for name, scale in (("object_size", SIZES), ("thinness", THINNESS), ("expression_words", LENGTHS))
}


def bands_of(gt: Mask, expression: str) -> dict[str, str]:
    """The sample's band in each of `BANDS`; an empty object has no thinness.

    Args:
        gt: the object, bool (H, W).
        expression: its description.
    """
    return bands_from(int(np.count_nonzero(gt)), perimeter(gt), expression)


def bands_from(area: int, sides: int, expression: str) -> dict[str, str]:
    """The same as `bands_of`, of an object of that area and `perimeter`."""
    thin = {"thinness": _band(THINNESS, _quotient(area, sides))} if area else {}
    return {
        "object_size": _band(SIZES, area),
        **thin,
        "expression_words": _band(LENGTHS, len(expression.split())),
    }


def thinness(gt: Mask) -> float:
    """The isoperimetric quotient, perimeter squared over 4 pi times the area: at least 4 / pi, NaN of an empty object.

    DIS5K measures the complexity of its objects by this quotient (Qin et al., "Highly Accurate
    Dichotomous Image Segmentation", ECCV 2022, https://arxiv.org/abs/2203.03041).

    Args:
        gt: the object, bool (H, W).
    """
    return _quotient(int(np.count_nonzero(gt)), perimeter(gt))


def perimeter(gt: Mask) -> int:
    """The number of sides of the object's pixels with another pixel, or the image's edge, beyond them; also in holes.

    Args:
        gt: the object, bool (H, W).
    """
    padded = np.pad(gt, 1)
    return sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in (0, 1))


def _quotient(area: int, sides: int) -> float:
    return sides**2 / (4 * math.pi * area) if area else math.nan


def _band(scale: Scale, value: float) -> str:
    return next(band for band, end in scale if value < end)
