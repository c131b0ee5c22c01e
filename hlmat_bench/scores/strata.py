"""Strata of samples: what of a sample itself makes it easy or hard, whatever the task says of it.

scores.json calls them ``bands``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from hlmat_bench.core.types import Mask

#: The names of strata, each with the first value above it, from the lowest on.
Scale: TypeAlias = Sequence[tuple[str, float]]

#: The object's area in pixels, as COCO's evaluation divides it (https://cocodataset.org/#detection-eval).
SIZES: Scale = (("small", 32**2), ("medium", 96**2), ("large", math.inf))
#: The quotient of `thinness`. A square is at 1.3, a strip at 4 from about 1:10 on, at 16 from about 1:48 on.
THINNESS: Scale = (("compact", 4), ("moderate", 16), ("thin", math.inf))
#: The number of words, divided by blanks.
LENGTHS: Scale = (("1-2", 3), ("3-5", 6), ("6-10", 11), ("11+", math.inf))
#: By property the names of its strata, in their order.
STRATA: Mapping[str, Sequence[str]] = {
    name: [stratum for stratum, _ in scale]
    for name, scale in (("object_size", SIZES), ("thinness", THINNESS), ("expression_words", LENGTHS))
}


def strata_of(gt: Mask, expression: str) -> dict[str, str]:
    """Return the sample's stratum by each property of `STRATA`; an empty object has no thinness.

    Args:
        gt: the object, bool (H, W).
        expression: its description.
    """
    area, quotient = int(np.count_nonzero(gt)), thinness(gt)
    return {
        "object_size": _stratum(SIZES, area),
        **({"thinness": _stratum(THINNESS, quotient)} if area else {}),
        "expression_words": _stratum(LENGTHS, len(expression.split())),
    }


def thinness(gt: Mask) -> float:
    """Return the isoperimetric quotient: perimeter squared over 4 pi times the area.

    It is at least 4 / pi, and NaN of an empty object. The perimeter counts the sides of the object's pixels that have
    another pixel or the image's edge beyond them, also in holes. DIS5K measures the complexity of its objects by this
    quotient (Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022,
    https://arxiv.org/abs/2203.03041).

    Args:
        gt: the object, bool (H, W).
    """
    area, padded = int(np.count_nonzero(gt)), np.pad(gt, 1)
    sides = sum(int(np.count_nonzero(np.diff(padded, axis=axis))) for axis in (0, 1))
    return sides**2 / (4 * math.pi * area) if area else math.nan


def _stratum(scale: Scale, value: float) -> str:
    return next(name for name, end in scale if value < end)
