"""Ground truths before they are decoded: a segmentation of an annotation file, or a mask file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from hlmat_bench import masks
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Mask, Size
from hlmat_bench.samples import Truth
from hlmat_bench.sources.pixels import read_values
from hlmat_bench.sources.problems import BadAnnotation, WrongSize

_POINTS = 3
"""Fewer points enclose no pixel."""


class Shape(Protocol):
    """A ground truth that can be decoded again and again."""

    def truth(self, size: Size, where: str) -> Truth:
        """Decode it.

        Args:
            size: (height, width) of the image.
            where: what an error calls the sample.

        Raises:
            DataProblem: when it is no mask, or one of another size.
        """
        ...

    def content(self) -> bytes:
        """What defines it, for a digest."""
        ...

    def files(self) -> tuple[Path, ...]:
        """The files it is read from."""
        ...


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmentation as COCO's annotation files write it: polygons, or a run-length encoding.

    Attributes:
        packed: the JSON value, as compact UTF-8 text: tens of thousands stay in memory.
        size: (height, width) of the image it was drawn on, as the annotations say.
    """

    packed: bytes
    size: Size

    @classmethod
    def pack(cls, value: Any, size: Size) -> Segmentation:
        """From the value of an annotation's field ``segmentation``."""
        return cls(json.dumps(value, separators=(",", ":")).encode(), size)

    def truth(self, size: Size, where: str) -> Truth:
        """See `Shape.truth`."""
        if self.size != size:
            raise wrong_size(where, self.size, size)
        mask = decode(json.loads(self.packed), size, where)
        if mask.shape != size:
            raise wrong_size(where, mask.shape, size)
        return Truth(mask)

    def content(self) -> bytes:
        """See `Shape.content`."""
        return repr(self.size).encode() + self.packed

    def files(self) -> tuple[Path, ...]:
        """None besides the annotation file."""
        return ()


def decode(value: Any, size: Size, where: str) -> Mask:
    """The mask of a segmentation (https://cocodataset.org/#format-data), bool (H, W).

    Args:
        value: polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, a single polygon as a flat list (which some
            files hold by mistake), an RLE ``{"size", "counts"}``, compressed or not, or a list of RLEs; the mask
            is the union of all parts.
        size: (height, width) of the image.
        where: what an error calls it.

    Raises:
        BadAnnotation: when it is none of these.
    """
    parts = value if isinstance(value, list) else [value]
    if parts and all(_is_number(part) for part in parts):
        parts = [parts]
    if parts and all(isinstance(part, dict) for part in parts):
        return _union([_run_lengths(part, where) for part in parts], where)
    if parts and all(isinstance(part, list) for part in parts):
        return _polygons(parts, size, where)
    raise BadAnnotation(f"{where} has a segmentation that is neither polygons nor an RLE; correct it.")


def wrong_size(where: str, mask: tuple[int, ...], image: Size) -> WrongSize:
    """The error for a mask of another size than its image; both sizes are (height, width)."""
    advice = "make them one size"
    if mask == image[::-1]:
        advice = "turn the mask as the image's orientation tag says, or remove the tag"
    return WrongSize(
        f"{where} has a mask of {mask[0]} x {mask[1]} and an image of {image[0]} x {image[1]} (height x width): "
        f"{advice}."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _run_lengths(rle: dict[str, Any], where: str) -> Mask:
    try:
        return masks.decode(rle)
    except UsageError as error:
        raise BadAnnotation(f"{where} has a damaged segmentation: {error}") from error


def _union(parts: list[Mask], where: str) -> Mask:
    if len({part.shape for part in parts}) > 1:
        raise BadAnnotation(f"{where} has a segmentation whose parts differ in size; correct it.")
    union: Mask = np.logical_or.reduce(parts)
    return union


def _polygons(polygons: list[list[Any]], size: Size, where: str) -> Mask:
    from pycocotools import mask as coco

    for polygon in polygons:
        _check_polygon(polygon, size, where)
    real = [polygon for polygon in polygons if len(polygon) >= 2 * _POINTS]
    if not real:
        raise BadAnnotation(f"{where} has no polygon of {_POINTS} points or more; correct it.")
    return coco.decode(coco.merge(coco.frPyObjects(real, *size))).astype(bool, order="C")  # type: ignore[no-any-return]


def _check_polygon(polygon: list[Any], size: Size, where: str) -> None:
    """Refuse what pycocotools, which is written in C, would read wrongly or at any cost."""
    if len(polygon) % 2 or not all(_is_number(number) for number in polygon):
        raise BadAnnotation(f"{where} has a polygon that is no list x0, y0, x1, y1, ...; correct it.")
    height, width = size
    if not all(-width <= x <= 2 * width for x in polygon[0::2]) or not all(
        -height <= y <= 2 * height for y in polygon[1::2]
    ):
        raise BadAnnotation(f"{where} has a polygon far outside its image of {height} x {width}; correct it.")


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Which values of a mask file are the object.

    Attributes:
        threshold: larger values are the object.
        channel: which value of a colour counts: that of the ``first`` channel, or the largest (``any``).
        ignore: the value of pixels that no score counts; None: there are none.
    """

    threshold: int = 128
    channel: Literal["first", "any"] = "first"
    ignore: int | None = None

    def truth(self, values: NDArray[Any]) -> Truth:
        """From the values of a file, (H, W) or (H, W, channels); a second or fourth channel is alpha."""
        gray = values
        if values.ndim == 3:
            colours = values[:, :, : 1 if values.shape[2] == 2 else 3]
            gray = colours[:, :, 0] if self.channel == "first" else colours.max(axis=2)
        ignored = None if self.ignore is None else gray == self.ignore
        return Truth(gray > self.threshold, ignored if ignored is not None and ignored.any() else None)


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask in a file of its own.

    Attributes:
        path: the file.
        rule: which of its values are the object.
        ignore: a file whose pixels above the rule's threshold no score counts; None: there is none.
    """

    path: Path
    rule: MaskRule
    ignore: Path | None = None

    def truth(self, size: Size, where: str) -> Truth:
        """See `Shape.truth`."""
        truth = self._read(self.path, size, where)
        if self.ignore is None:
            return truth
        hidden = self._read(self.ignore, size, where).mask
        return Truth(truth.mask, hidden if truth.ignore is None else hidden | truth.ignore)

    def _read(self, path: Path, size: Size, where: str) -> Truth:
        truth = self.rule.truth(read_values(path))
        if truth.mask.shape != size:
            raise wrong_size(where, truth.mask.shape, size)
        return truth

    def content(self) -> bytes:
        """See `Shape.content`."""
        return repr(self.rule).encode() + b"".join(path.read_bytes() for path in self.files())

    def files(self) -> tuple[Path, ...]:
        """The mask, and what to ignore."""
        return (self.path,) if self.ignore is None else (self.path, self.ignore)
