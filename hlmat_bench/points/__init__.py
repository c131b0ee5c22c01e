"""How a model writes coordinates: axis order, unit and syntax, which are declared for the model and never guessed.

A `PointFormat` converts the numbers of a reply to pixels of the original image and back. The *syntax* is the form
of the text around the numbers (see `syntaxes.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from hlmat_bench.core.errors import unknown
from hlmat_bench.core.types import Box, Size
from hlmat_bench.points.resize import Frame
from hlmat_bench.points.syntaxes import SYNTAXES

Order: TypeAlias = Literal["xy", "yx"]
Unit: TypeAlias = Literal["pixel", "0-1", "0-100", "0-999", "0-1000", "0-1023"]

_LIMITS: dict[Unit, float] = {"0-1": 1, "0-100": 100, "0-999": 999, "0-1000": 1000, "0-1023": 1023}
#: The unit of a predicted IoU: ``percent``, 0 to 100, or ``fraction``, 0 to 1.
IouUnit: TypeAlias = Literal["percent", "fraction"]


@dataclass(frozen=True, slots=True)
class PointFormat:
    """The way in which one version of a model writes points and boxes.

    Attributes:
        name: the name of the format in manifests and on the command line.
        order: which axis comes first in a point.
        unit: the unit of the numbers. ``pixel`` means pixels of the image as it was sent to the model; the other units
            are ranges whose upper number is the right or lower edge of the image.
        syntax: one of `SYNTAXES`.
        box_order: which axis comes first in both corners of a box; None for the order of points.
        box_unit: the unit of the numbers of a box; None for the unit of points.
        box_floor: whether the edges of a box are truncated to whole pixels instead of rounded.
        iou_unit: the unit of a predicted IoU that is written without a per cent sign.
    """

    name: str
    order: Order
    unit: Unit
    syntax: str = "text"
    box_order: Order | None = None
    box_unit: Unit | None = None
    box_floor: bool = False
    iou_unit: IouUnit = "percent"

    @staticmethod
    def named(name: str) -> PointFormat:
        """Return the format of a name: one of `FORMATS`, or a name composed of order, unit and syntax.

        A composed name is ``xy`` or ``yx``, then ``pixel``, ``1``, ``100``, ``999``, ``1000`` or ``1023``, then
        optionally ``-`` and a syntax: ``xy1000``, ``yx1``, ``xypixel-json``. Both kinds of name may end in ``-iou1``,
        for a model whose predicted IoUs are fractions, or ``-iou100``, for per cent, which is the default.

        Raises:
            UsageError: when there is no such format.
        """
        plain, said, upper = name.rpartition("-iou")
        if said and upper in ("1", "100") and said not in plain:
            return replace(PointFormat.named(plain), name=name, iou_unit="fraction" if upper == "1" else "percent")
        if name in FORMATS:
            return FORMATS[name]
        match = re.fullmatch(r"(xy|yx)-?(pixel|1|100|999|1000|1023)(?:-(\w+))?", name)
        if match is None or (match[3] or "text") not in SYNTAXES:
            raise unknown(
                "point format", name, FORMATS, "A format is also written like xy1000, yx1-json or xy1000-iou1."
            )
        unit = "pixel" if match[2] == "pixel" else f"0-{match[2]}"
        return PointFormat(name, match[1], unit, match[3] or "text")  # type: ignore[arg-type]

    def without_marks(self, text: str) -> str:
        """Return a text without the marks of this unit after its numbers: ``%`` for 0-100, ``px`` for pixels."""
        marks = {"0-100": r"%|per ?cent\b", "pixel": r"px\b|pixels?\b"}.get(self.unit)
        return text if marks is None else re.sub(rf"(?<=\d)[ \t]{{0,3}}(?:{marks})", "", text, flags=re.IGNORECASE)

    def to_pixel(self, first: float, second: float, size: Size, frame: Frame | None = None) -> tuple[int, int] | None:
        """Return the pixel (x, y) for two numbers of a reply.

        The relative coordinate u becomes ``round(u * W)`` (halves to even, as the SegAgent reference
        evaluator rounds), and the upper edge of the format becomes the last pixel.

        Args:
            first: the number written first.
            second: the number written second.
            size: (height, width) of the original image.
            frame: how the image was resized or padded for the model; None where it was sent unchanged.

        Returns:
            (x, y) inside the image, or None where a number is out of the format's range or the point is in the padding.
        """
        spot = _spot(first, second, self.order, self.unit, size, frame or Frame.whole(size))
        if spot is None:
            return None
        x, y = round(spot[0]), round(spot[1])
        return (min(x, size[1] - 1), min(y, size[0] - 1)) if 0 <= x <= size[1] and 0 <= y <= size[0] else None

    def from_pixel(self, x: int, y: int, size: Size, frame: Frame | None = None) -> tuple[float, float]:
        """Return the two numbers for pixel (x, y), in the order of writing, not rounded."""
        return _numbers(x, y, self.order, self.unit, size, frame or Frame.whole(size))

    def from_box(self, box: Box, size: Size, frame: Frame | None = None) -> tuple[float, float, float, float]:
        """Return the four numbers for a box (x0, y0, x1, y1), in the order of writing, not rounded."""
        order, unit, frame = self.box_order or self.order, self.box_unit or self.unit, frame or Frame.whole(size)
        first, second = (_numbers(x, y, order, unit, size, frame) for x, y in (box[:2], box[2:]))
        return (*first, *second)

    def box_to_pixels(
        self, numbers: tuple[float, float, float, float], size: Size, frame: Frame | None = None
    ) -> Box | None:
        """Return the box (x0, y0, x1, y1) for four numbers of a reply, edges in [0, W] and [0, H].

        Returns:
            The box, or None where a number is outside the format's range or the box has no area.
        """
        order, unit, frame = self.box_order or self.order, self.box_unit or self.unit, frame or Frame.whole(size)
        corners = [_spot(*pair, order, unit, size, frame) for pair in (numbers[:2], numbers[2:])]
        if corners[0] is None or corners[1] is None:
            return None
        whole = int if self.box_floor else round
        (left, top), (right, bottom) = ((whole(x), whole(y)) for x, y in (corners[0], corners[1]))
        inside = 0 <= left < right <= size[1] and 0 <= top < bottom <= size[0]
        return (left, top, right, bottom) if inside else None


def _spot(
    first: float, second: float, order: Order, unit: Unit, size: Size, frame: Frame
) -> tuple[float, float] | None:
    """Return the position (x, y) in pixels of the original image, not rounded; None beyond the unit's range."""
    x, y = (first, second) if order == "xy" else (second, first)
    limit_y, limit_x = _limits(unit, frame.sent)
    if not (0 <= x <= limit_x and 0 <= y <= limit_y):
        return None
    u, v = frame.to_original(x / limit_x, y / limit_y)
    return u * size[1], v * size[0]


def _numbers(x: int, y: int, order: Order, unit: Unit, size: Size, frame: Frame) -> tuple[float, float]:
    """Return the two numbers for a pixel (x, y): the inverse of `_spot`."""
    limit_y, limit_x = _limits(unit, frame.sent)
    u, v = frame.from_original(x / size[1], y / size[0])
    return (u * limit_x, v * limit_y) if order == "xy" else (v * limit_y, u * limit_x)


def _limits(unit: Unit, sent: Size) -> tuple[float, float]:
    """Return the largest valid numbers on the y axis and on the x axis."""
    if unit == "pixel":
        return float(sent[0]), float(sent[1])
    return _LIMITS[unit], _LIMITS[unit]


FORMATS: dict[str, PointFormat] = {
    form.name: form
    for form in (
        # aim-uofa/SegAgent, evaltools: points are (y, x) / 1000, boxes (x, y) / 999, truncated, IoUs per cent.
        PointFormat("segagent-qwen", "yx", "0-1000", "segagent", "xy", "0-999", box_floor=True),
        # SegAgent paper, appendix E.4: decimals; the order follows from the same trajectories.
        PointFormat("segagent-llava", "yx", "0-1", "text"),
        PointFormat("pixel", "xy", "pixel", "text"),
    )
}
