"""Common parts of the rules for models and for segmenters: the error, test images, and the rule about spec()."""

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

#: Image sizes (height, width) with which every plug-in is checked.
SIZES: tuple[Size, ...] = ((48, 64), (64, 48), (33, 150))


class Broken(HlmatError):
    """A plug-in breaks a rule; the message says what it did."""


def picture(size: Size, seed: int = 0) -> Image:
    """Return a test image, uint8 (H, W, 3) RGB: a red rectangle left of the centre, on noise."""
    height, width = size
    image = np.random.default_rng(seed).integers(60, 120, (height, width, 3), dtype=np.uint8)
    image[height // 4 : height * 3 // 4, width // 8 : width // 2] = (230, 40, 30)
    return image


def describes_itself(subject: Any) -> None:
    """Return from spec(), if there is one, a JSON object that is always the same, without keys and tokens."""
    describe = getattr(subject, "spec", None)
    if describe is None:
        return
    try:
        first, second = (json.dumps(describe(), sort_keys=True, allow_nan=False) for _ in range(2))
    except (TypeError, ValueError) as error:
        raise Broken(f"spec() is not JSON: {error}") from error
    if not first.startswith("{"):
        raise Broken(f"spec() is {first[:60]}, not an object")
    if first != second:
        raise Broken("spec() differs from one call to the next")
    for name, value in os.environ.items():
        if re.search(r"KEY|TOKEN|SECRET|PASSWORD", name, re.IGNORECASE) and len(value) >= 8 and value in first:
            raise Broken(f"spec() contains the value of the environment variable {name}")
