"""What the rules of models and those of segmenters share: how one is broken, and the pictures that are asked about."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from hlmat_bench.core.errors import HlmatError
from hlmat_bench.core.types import Image, Size

Subject = TypeVar("Subject")
Rule: TypeAlias = Callable[[Subject], None]

#: Image sizes (height, width) that every plug-in meets.
SIZES: tuple[Size, ...] = ((48, 64), (64, 48), (33, 150))


class Broken(HlmatError):
    """A plug-in does not keep a rule; the message says what was seen."""


def picture(size: Size, seed: int = 0) -> Image:
    """A picture to ask about, uint8 (H, W, 3) RGB: a red rectangle left of the middle, on noise."""
    height, width = size
    image = np.random.default_rng(seed).integers(60, 120, (height, width, 3), dtype=np.uint8)
    image[height // 4 : height * 3 // 4, width // 8 : width // 2] = (230, 40, 30)
    return image


def describes_itself(subject: Any) -> None:
    """Its spec(), where it has one, is a JSON object, the same each time, and holds no key or token."""
    describe = getattr(subject, "spec", None)
    if describe is None:
        return
    try:
        first, second = (json.dumps(describe(), sort_keys=True, allow_nan=False) for _ in range(2))
    except (TypeError, ValueError) as error:
        raise Broken(f"spec() is no JSON: {error}") from error
    if not first.startswith("{"):
        raise Broken(f"spec() is {first[:60]}, no object")
    if first != second:
        raise Broken("spec() differs from one call to the next")
    for name, value in os.environ.items():
        if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name, re.IGNORECASE) and len(value) >= 8 and value in first:
            raise Broken(f"spec() holds the value of {name}")
