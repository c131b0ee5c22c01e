"""Ground truths that are not yet decoded: a segmentation of an annotation file, or a mask file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.types import Mask, Size
from hlmat_bench.data.layouts.image_files import AS_USUAL, DataFile, ReadSettings, read_header, read_values
from hlmat_bench.data.layouts.problems import BadAnnotation, WrongSize

Channel: TypeAlias = Literal["first", "any", "alpha"]

_POINTS = 3
"""The fewest points of a polygon; fewer enclose no pixel."""
_MOST_OFF = 0.25
"""The largest difference of a mask's side from its image's, as a share of the side, for resizing or cropping."""
_TOO_LARGE = 1e15
_FEW = 2
"""The number of values of a mask; more values under an alpha channel mean a picture that was cut out."""


class TruthShape(Protocol):
    """A ground truth that can be decoded again and again; two equal shapes are one ground truth."""

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """Decode it.

        Args:
            size: (height, width) of the image.
            where: the name of the sample in error messages.
            how: the rules by which its files are read and another size is fitted.

        Raises:
            DataProblem: when it is no mask, or has another size.
        """
        ...

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """Compare its size with the image's without decoding it; see `truth`.

        Raises:
            DataProblem: when it has another size, or its file is no image.
        """
        ...

    def definition(self) -> bytes:
        """Return everything that defines the ground truth, except its files, for a digest."""
        ...

    def files(self) -> tuple[DataFile, ...]:
        """Return the files that the ground truth is read from."""
        ...


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A segmentation as COCO's annotation files write it: polygons, or a run-length encoding.

    Attributes:
        packed: the JSON value, as compact UTF-8 text, because tens of thousands stay in memory.
        size: (height, width) in the annotations of the image on which it was drawn.
        area: the annotation's own field ``area``, in pixels; None where it is missing.
        bbox: the annotation's own field ``bbox``, [x, y, width, height] in pixels; None where it is missing.
    """

    packed: bytes
    size: Size
    area: float | None = None
    bbox: tuple[float, ...] | None = None

    @classmethod
    def pack(cls, item: Mapping[str, Any], size: Size) -> Segmentation:
        """Pack an annotation's fields ``segmentation``, ``area`` and ``bbox``.

        Raises:
            BadAnnotation: when the segmentation is nested too deeply.
        """
        try:
            packed = json.dumps(item["segmentation"], separators=(",", ":")).encode()
        except RecursionError as error:
            raise BadAnnotation("A segmentation is nested too deeply to be one; correct the annotations.") from error
        bbox = item.get("bbox")
        numbers = [_number(value) for value in bbox] if isinstance(bbox, list) else []
        box = tuple(number for number in numbers if number is not None)
        return cls(packed, size, _number(item.get("area")), box if len(box) == len(numbers) == 4 else None)

    def value(self) -> Any:
        """Return the annotation's field ``segmentation``."""
        return json.loads(self.packed)

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        self.check_size(size, where, how)
        return Truth(fitted(decode(self.value(), self.size, where), size, where, how))

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`."""
        check_fits(self.size, size, where, how)

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return repr(self.size).encode() + self.packed

    def files(self) -> tuple[DataFile, ...]:
        """Return no file, because the segmentation is in the annotation file."""
        return ()


def decode(value: Any, size: Size, where: str) -> Mask:
    """Return the mask of a segmentation (https://cocodataset.org/#format-data), bool (H, W).

    Args:
        value: polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, a single polygon as a flat list (which some
            files contain by mistake), an RLE ``{"size", "counts"}``, compressed or not, or a list of RLEs; the mask
            is the union of all parts.
        size: (height, width) of the image.
        where: the name of the segmentation in error messages.

    Raises:
        BadAnnotation: when the value has none of these forms.
    """
    parts = value if isinstance(value, list) else [value]
    if parts and all(is_number(part) for part in parts):
        parts = [parts]
    if parts and all(isinstance(part, dict) for part in parts):
        return _union([_run_lengths(part, where) for part in parts], where)
    if parts and all(isinstance(part, list) for part in parts):
        return _polygons(parts, size, where)
    raise BadAnnotation(f"{where} has a segmentation that is neither polygons nor an RLE; correct it.")


def wrong_size(where: str, mask: tuple[int, ...], image: Size) -> WrongSize:
    """Return the error for a mask of another size than its image; both sizes are (height, width)."""
    advice = "make them one size"
    if mask == image[::-1]:
        advice = (
            "turn the mask as the image's orientation tag says, remove the tag, or, where the mask was drawn on the "
            "pixels as they are stored, --set data.orientation=stored"
        )
    elif _near(mask, image):
        advice = (
            "make them one size, or --set data.resize=nearest (or crop) where the masks of the set differ a little in "
            "size"
        )
    return WrongSize(
        f"{where} has a mask of {mask[0]} x {mask[1]} and an image of {image[0]} x {image[1]} (height x width): "
        f"{advice}."
    )


def _near(mask: tuple[int, ...], image: Size) -> bool:
    """Return whether no side of the mask differs from its image's by more than a quarter of it."""
    return all(abs(mask[side] - image[side]) <= _MOST_OFF * image[side] for side in (0, 1))


def check_fits(mask: tuple[int, ...], image: Size, where: str, how: ReadSettings) -> None:
    """Compare a mask's (height, width) with its image's.

    Raises:
        WrongSize: when they differ, unless ``how.resize`` allows it: ``nearest`` allows differences of a side of at
            most a quarter, ``crop`` the same if no side of the mask is smaller than the image's.
    """
    if mask == image:
        return
    smaller = mask[0] < image[0] or mask[1] < image[1]
    if how.resize == "refuse" or mask == image[::-1] or not _near(mask, image) or (how.resize == "crop" and smaller):
        raise wrong_size(where, mask, image)


def fitted(mask: Mask, image: Size, where: str, how: ReadSettings) -> Mask:
    """Return a mask of its image's (height, width): resized to the nearest pixels, or cut off at the right and below.

    Raises:
        WrongSize: see `check_fits`.
    """
    check_fits(mask.shape, image, where, how)
    if mask.shape == image:
        return mask
    if how.resize == "crop":
        return np.ascontiguousarray(mask[: image[0], : image[1]])
    resized = Pillow.fromarray(mask).resize(image[::-1], Pillow.Resampling.NEAREST)
    return np.array(resized, dtype=bool)


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float | None:
    """Return a finite number of an annotation as a float; None for anything else."""
    return float(value) if is_number(value) and abs(value) < _TOO_LARGE else None


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
        check_polygon(polygon, size, where)
    real = [polygon for polygon in polygons if len(polygon) >= 2 * _POINTS]
    if not real:
        raise BadAnnotation(f"{where} has no polygon of {_POINTS} points or more; correct it.")
    return coco.decode(coco.merge(coco.frPyObjects(real, *size))).astype(bool, order="C")  # type: ignore[no-any-return]


def check_polygon(polygon: list[Any], size: Size, where: str) -> None:
    """Refuse polygons for which libraries in C give wrong masks or need any amount of memory.

    Args:
        polygon: [x0, y0, x1, y1, ...] in pixels.
        size: (height, width) of the image.
        where: the name of the annotation in error messages.

    Raises:
        BadAnnotation: when the polygon is no list of points, or is far outside the image.
    """
    if len(polygon) % 2 or not all(is_number(number) for number in polygon):
        raise BadAnnotation(f"{where} has a polygon that is not a list x0, y0, x1, y1, ...; correct it.")
    height, width = size
    if not all(-width <= x <= 2 * width for x in polygon[0::2]) or not all(
        -height <= y <= 2 * height for y in polygon[1::2]
    ):
        raise BadAnnotation(f"{where} has a polygon far outside its image of {height} x {width}; correct it.")


@dataclass(frozen=True, slots=True)
class MaskRule:
    """The rule that says which values of a mask file belong to the object.

    Attributes:
        threshold: larger values belong to the object.
        channel: the value that counts in a coloured file: of the ``first`` channel, of the ``alpha`` channel, or the
            largest of the colours (``any``).
        ignore: the value of pixels that no score counts; None where there are none.
    """

    threshold: float = 128
    channel: Channel = "first"
    ignore: int | None = None

    def truth(self, values: NDArray[Any], where: str = "The mask") -> Truth:
        """Apply the rule to the values of a file, (H, W) or (H, W, channels); a second or fourth channel is alpha.

        Raises:
            BadAnnotation: when the rule needs an alpha channel that is missing, or the object seems to be in an alpha
                channel that the rule does not use.
        """
        gray = self.gray(values, where)
        ignored = None if self.ignore is None else gray == self.ignore
        return Truth(gray > self.threshold, ignored if ignored is not None and ignored.any() else None)

    def gray(self, values: NDArray[Any], where: str = "The mask") -> NDArray[Any]:
        """Return the values that count, (H, W); see `truth`."""
        has_alpha = values.ndim == 3 and values.shape[2] in (2, 4)
        if self.channel == "alpha":
            if not has_alpha:
                raise BadAnnotation(f"{where} has no alpha channel; --set data.channel=first takes its colour.")
            return values[:, :, -1]
        if values.ndim == 2:
            return values
        colours = values[:, :, : 1 if values.shape[2] == 2 else 3]
        gray: NDArray[Any] = colours[:, :, 0] if self.channel == "first" else colours.max(axis=2)
        if has_alpha and self._is_cut_out(gray, values[:, :, -1]):
            raise BadAnnotation(
                f"{where} has an alpha channel with a shape that its colours do not show; --set data.channel=alpha "
                "takes the shape of the alpha channel."
            )
        return gray

    def advice(self, values: NDArray[Any]) -> str:
        """Return what the file of a blank mask holds and which setting fits, as the end of a sentence.

        The text is empty where the file has only one value.

        Args:
            values: the values of the file, see `truth`.
        """
        gray, where, settings = self.gray(values), "its file holds", ""
        if values.ndim == 3 and gray.min() == gray.max():
            gray, where = MaskRule(channel="any").gray(values), "the other channels of its file hold"
            settings = "--set data.channel=any "
        levels = np.unique(gray)
        if len(levels) < _FEW:
            return ""
        several = [f"{value:g}" for value in levels[:3]] + (["..."] if len(levels) > 4 else [])
        shown = f"{', '.join(several[: len(levels) - 1])} and {levels[-1]:g}"
        if not levels[0] <= self.threshold < levels[-1]:
            soft = len(levels) > _FEW and levels[-1] <= 1
            settings += f"--set data.threshold={0.5 if soft else math.floor(levels[0])} "
        return f", though {where} {shown}; {settings}takes the larger values"

    def _is_cut_out(self, gray: NDArray[Any], alpha: NDArray[Any]) -> bool:
        """Return whether the alpha channel varies under a single colour, or under a picture instead of a mask."""
        if alpha.min() == alpha.max():
            return False
        seen = gray[alpha > 0]
        if gray.min() == gray.max():
            return True
        agree = ((gray > self.threshold) == (alpha > 0)).all()
        return not agree and len(np.unique(seen)) > _FEW


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask in a file of its own.

    Attributes:
        path: the path of the file.
        rule: the rule for its values.
        ignore: a file with the pixels that no score counts, those above the rule's threshold; None without one.
    """

    path: DataFile
    rule: MaskRule
    ignore: DataFile | None = None

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        truth = self._read(self.path, size, where, how)
        if self.ignore is None:
            return truth
        hidden = self._read(self.ignore, size, where, how).mask
        return Truth(truth.mask, hidden if truth.ignore is None else hidden | truth.ignore)

    def _read(self, path: DataFile, size: Size, where: str, how: ReadSettings) -> Truth:
        truth = self.rule.truth(read_values(path, how), f"The mask {path}")
        ignored = None if truth.ignore is None else fitted(truth.ignore, size, where, how)
        return Truth(fitted(truth.mask, size, where, how), ignored)

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`."""
        for path in self.files():
            check_fits(read_header(path, how).size, size, where, how)

    def advice(self, how: ReadSettings = AS_USUAL) -> str:
        """Return `MaskRule.advice` for the values of the file."""
        return self.rule.advice(read_values(self.path, how))

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return repr(self.rule).encode()

    def files(self) -> tuple[DataFile, ...]:
        """Return the mask file, and the file of ignored pixels if there is one."""
        return (self.path,) if self.ignore is None else (self.path, self.ignore)
