"""Chooses the part of an image that an interactive segmenter sees: ZoomIn, as SimpleClick uses it.

Source of the rules and numbers: `isegm/inference/transforms/zoom_in.py` and `isegm/utils/misc.py` of
https://github.com/uncbiag/SimpleClick, which took them from RITM (Sofiiuk et al., arXiv 2102.06583).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Size


class Crop(NamedTuple):
    """A part of an image: its first and last row and first and last column, all inside it, in pixels."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> Size:
        """The size (height, width) in pixels."""
        return self.bottom - self.top + 1, self.right - self.left + 1


@dataclass(frozen=True, slots=True)
class ZoomIn:
    """Chooses a part around the object found so far, with a margin, to be resized to the network's input.

    Attributes:
        input_size: (height, width) of the network's input.
        expansion: the factor between the sides of the object and those of the part.
        least_side: the smallest height and width of the part, before it is cut at the image's edges, in pixels.
        least_overlap: the part of the last mask is kept while its overlap with the new one is not below this value;
            see `overlap`.
        threshold: a pixel with a higher probability belongs to the object.
    """

    input_size: Size = (448, 448)
    expansion: float = 1.4
    least_side: int = 200
    least_overlap: float = 0.5
    threshold: float = 0.5

    def next_crop(self, crop: Crop | None, found: Crop | None, clicks: Sequence[Click], size: Size) -> Crop:
        """Return the part that the network sees for the next mask.

        Args:
            crop: the part that it saw for the last mask; None for the first mask.
            found: the smallest part that contains the last mask; None if that is empty.
            clicks: all clicks.
            size: (height, width) of the image.
        """
        due = Crop(0, size[0] - 1, 0, size[1] - 1) if found is None else self._around(found, clicks, size)
        if crop is None or not _holds(crop, clicks) or overlap(due, crop) < self.least_overlap:
            return due
        return crop

    def to_input(self, click: Click, crop: Crop) -> tuple[float, float]:
        """Return (y, x) of a click in pixels of the network's input, perhaps outside of it."""
        (height, width), (input_height, input_width) = crop.size, self.input_size
        return input_height * (click.y - crop.top) / height, input_width * (click.x - crop.left) / width

    def _around(self, found: Crop, clicks: Sequence[Click], size: Size) -> Crop:
        """Return the part around the object and the positive clicks, with a margin, inside the image."""
        positive = [click for click in clicks if click.positive]
        rows = _clamped([found.top, found.bottom, *(click.y for click in positive)], size[0])
        columns = _clamped([found.left, found.right, *(click.x for click in positive)], size[1])
        return Crop(*_clamped(self._expanded(rows), size[0]), *_clamped(self._expanded(columns), size[1]))

    def _expanded(self, span: Sequence[int]) -> tuple[int, int]:
        first, last = min(span), max(span)
        middle = 0.5 * (first + last)
        half = 0.5 * max(self.expansion * (last - first + 1), self.least_side)
        return round(middle - half), round(middle + half)


def overlap(one: Crop, other: Crop) -> float:
    """Return intersection over union of the rows, times that of the columns, from 0 to 1."""
    return _overlap(one[:2], other[:2]) * _overlap(one[2:], other[2:])


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> float:
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]) + 1)
    return shared / (max(one[1], other[1]) - min(one[0], other[0]) + 1)


def _holds(crop: Crop, clicks: Sequence[Click]) -> bool:
    """Return whether a part contains all positive clicks, not counting its last row and column, as in the original."""
    return all(
        crop.top <= click.y < crop.bottom and crop.left <= click.x < crop.right for click in clicks if click.positive
    )


def _clamped(values: Sequence[int], length: int) -> list[int]:
    return [min(max(value, 0), length - 1) for value in values]
