"""Strata of samples: what of a sample itself makes it easy or hard, whatever the task says of it.

scores.json calls them ``bands``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from hlmat_bench.scores.regions import Region

#: The names of strata, each with the first value above it, from the lowest on.
Scale: TypeAlias = Sequence[tuple[str, float]]

#: The stratum of the object's size that samples without target have.
NO_OBJECT = "no object"
#: The object's area in pixels, as COCO's evaluation divides it (https://cocodataset.org/#detection-eval).
SIZES: Scale = (("small", 32**2), ("medium", 96**2), ("large", math.inf))
#: The quotient of `thinness`. A square is at 1.3, a strip at 4 from about 1:10 on, at 16 from about 1:48 on.
THINNESS: Scale = (("compact", 4), ("moderate", 16), ("thin", math.inf))
#: The number of words, divided by blanks.
LENGTHS: Scale = (("1-2", 3), ("3-5", 6), ("6-10", 11), ("11+", math.inf))
#: By property the names of its strata, in their order.
STRATA: Mapping[str, Sequence[str]] = {
    "object_size": [*(name for name, _ in SIZES), NO_OBJECT],
    "thinness": [name for name, _ in THINNESS],
    "expression_words": [name for name, _ in LENGTHS],
}


def strata_of(gt: Region | None, expression: str) -> dict[str, str]:
    """Return the sample's stratum by each property of `STRATA`.

    Args:
        gt: the object; None, like an empty one: the sample has no target. Its size is `NO_OBJECT`, and it has no
            thinness.
        expression: the description of the object.
    """
    words = {"expression_words": _stratum(LENGTHS, len(expression.split()))}
    if gt is None or not gt.area:
        return {"object_size": NO_OBJECT, **words}
    return {"object_size": _stratum(SIZES, gt.area), "thinness": _stratum(THINNESS, thinness(gt)), **words}


def thinness(gt: Region) -> float:
    """Return the isoperimetric quotient: perimeter squared over 4 pi times the area.

    It is at least 4 / pi, and NaN of an empty object. DIS5K measures the complexity of its objects by this quotient
    (Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, https://arxiv.org/abs/2203.03041).
    """
    return gt.perimeter() ** 2 / (4 * math.pi * gt.area) if gt.area else math.nan


def _stratum(scale: Scale, value: float) -> str:
    return next(name for name, end in scale if value < end)
