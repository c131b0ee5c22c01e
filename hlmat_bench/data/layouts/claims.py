"""Compares an annotation's mask with the annotation's own fields for the area and the box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.types import Mask
from hlmat_bench.data.layouts.masks import Segmentation, decode
from hlmat_bench.data.layouts.problems import Doubt

_SAME_BOX = 0.5
"""Boxes with at least this IoU are equal, because outlines are drawn roughly."""
_SAME_AREA, _SAME_AREA_IN_BOX = 1.5, 4
"""Areas with at most this ratio are equal. In a box that fits, areas are often rough: of one part, or of a hull."""
_FEW_PIXELS = 32
"""Areas that differ by at most this many pixels are equal, because thin objects lose many when they are drawn."""


def doubts(shape: Segmentation, mask: Mask, where: str) -> Iterator[Doubt]:
    """Yield the contradictions between a mask and its annotation's fields ``area`` and ``bbox`` or coordinates.

    Args:
        shape: the annotation.
        mask: its mask, bool (H, W).
        where: the name of the annotation in sentences.
    """
    value = shape.value()
    if _is_relative(value, shape):
        yield Doubt(
            "polygons that are not in pixels",
            f"{where} has a polygon whose coordinates are all in 0..1, which covers {int(mask.sum())} pixels: they "
            "look like fractions of the image's size; multiply x by the width and y by the height.",
            severe=True,
            sure=True,
        )
    elif not _agrees(shape, mask):
        seen = f"{where} has a mask of {int(mask.sum())} pixels{_in_box(mask)}, but its annotation says {_said(shape)}"
        reason = next(_reasons(value, shape), None)
        sentence = f"{seen}: {reason or 'correct the segmentation, or the area and the bbox'}."
        yield Doubt("masks that differ from their annotation's area or bbox", sentence, True, sure=reason is not None)


def _is_relative(value: Any, shape: Segmentation) -> bool:
    numbers = _coordinates(value)
    whole = all(number == int(number) for number in numbers)
    return bool(numbers) and min(shape.size) > 1 and not whole and all(0 <= number <= 1 for number in numbers)


def _coordinates(value: Any) -> list[float]:
    """Return all numbers of a segmentation's polygons; an empty list for an RLE."""
    parts = value if isinstance(value, list) else []
    flat = [number for part in parts for number in (part if isinstance(part, list) else [part])]
    return flat if all(isinstance(number, int | float) for number in flat) else []


def _agrees(shape: Segmentation, mask: Mask) -> bool:
    ratio = _SAME_AREA if shape.bbox is None else _SAME_AREA_IN_BOX
    return _box_agrees(shape, mask) and _area_agrees(shape, mask, ratio)


def _area_agrees(shape: Segmentation, mask: Mask, ratio: float) -> bool:
    said, seen = shape.area, float(mask.sum())
    if said is None or said <= 1:  # Placeholders, and shares of the image.
        return True
    if shape.bbox is not None and np.isclose(said, shape.bbox[2] * shape.bbox[3], rtol=0.02):
        return True  # Many converters write the box's area.
    return abs(said - seen) <= _FEW_PIXELS or max(said, seen) <= ratio * min(said, seen)


def _box_agrees(shape: Segmentation, mask: Mask) -> bool:
    """Return whether the box fits the mask, either as [x, y, width, height] of COCO or as two corners."""
    if shape.bbox is None or max(shape.bbox) <= 1:
        return True
    seen = bounding_box(mask)
    x, y, a, b = shape.bbox
    if seen is None:
        return False
    return any(_near(box, seen) for box in ((x, y, x + a, y + b), (x, y, a, b)))


def _near(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    if max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 2:
        return True
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared >= _SAME_BOX * (areas - shared) > 0


def _in_box(mask: Mask) -> str:
    if (box := bounding_box(mask)) is None:
        return ""
    x, y, right, below = box
    return f" in the box [{x}, {y}, {right - x}, {below - y}]"


def _said(shape: Segmentation) -> str:
    area = [] if shape.area is None else [f"an area of {shape.area:g}"]
    box = [] if shape.bbox is None else [f"the box [{', '.join(f'{number:g}' for number in shape.bbox)}]"]
    return " and ".join(area + box)


def _reasons(value: Any, shape: Segmentation) -> Iterator[str]:
    """Yield explanations: changes of the segmentation after which its mask fits its annotation's fields."""
    height, width = shape.size
    if _coordinates(value):
        for reason, change in _OTHER_POLYGONS.items():
            if _fits(change(value, width, height), shape):
                yield reason
    elif _fits_by_rows(value, shape):
        yield "its run lengths seem to run row by row, while COCO's run column by column; encode the mask again"


def _scaled(value: Any, x: float, y: float) -> Any:
    if all(not isinstance(part, list) for part in value):
        value = [value]
    return [[number * (y if n % 2 else x) for n, number in enumerate(part)] for part in value]


def _swapped(value: Any) -> Any:
    flat = _scaled(value, 1, 1)
    return [[number for y, x in zip(part[0::2], part[1::2], strict=False) for number in (x, y)] for part in flat]


_OTHER_POLYGONS: dict[str, Callable[[Any, int, int], Any]] = {
    "its coordinates look like fractions of the image's size; multiply x by the width and y by the height": (
        lambda value, width, height: _scaled(value, width, height)
    ),
    "its coordinates look like per cent of the image's size; multiply x by width / 100 and y by height / 100": (
        lambda value, width, height: _scaled(value, width / 100, height / 100)
    ),
    "its coordinates look like thousandths of the image's size; multiply x by width / 1000 and y by height / 1000": (
        lambda value, width, height: _scaled(value, width / 1000, height / 1000)
    ),
    "x and y seem to be exchanged; write x before y": lambda value, width, height: _swapped(value),
}


def _fits(value: Any, shape: Segmentation) -> bool:
    try:
        return _agrees(shape, decode(value, shape.size, ""))
    except UsageError:
        return False


def _fits_by_rows(value: Any, shape: Segmentation) -> bool:
    """Return whether an RLE fits when its runs are read row by row."""
    try:
        mask = decode(value, shape.size, "")
    except UsageError:
        return False
    return _agrees(shape, mask.T.reshape(-1).reshape(mask.shape))
