"""How a model writes coordinates: axis order, unit and syntax, declared per model, never guessed.

A `PointFormat` turns the numbers of a reply into pixels of the original image and back. What the reply
looks like around the numbers is its *syntax* (see `syntaxes.py`).
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
#: What a predicted IoU counts: ``percent``, 0 to 100, or ``fraction``, 0 to 1.
IouUnit: TypeAlias = Literal["percent", "fraction"]


@dataclass(frozen=True, slots=True)
class PointFormat:
    """How one model version writes a point (and a box).

    Attributes:
        name: what the format is called in manifests and on the command line.
        order: which axis comes first in a point.
        unit: what the numbers count. ``pixel`` counts pixels of the image as it was sent to the model;
            the others are ranges in which the upper number is the right or lower edge of the image.
        syntax: one of `SYNTAXES`.
        box_order: which axis comes first in each corner of a box; None: as in points.
        box_unit: what the numbers of a box count; None: as in points.
        box_floor: edges of a box are truncated to whole pixels, not rounded.
        iou_unit: what a predicted IoU counts that is written without a per cent sign.
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
        """The format of that name: one of `FORMATS`, or spelled out as order, unit and syntax.

        Spelled out it is ``xy`` or ``yx``, then ``pixel``, ``1``, ``100``, ``999``, ``1000`` or ``1023``, then
        optionally ``-`` and a syntax: ``xy1000``, ``yx1``, ``xypixel-json``. Either may end in ``-iou1``, for a model
        whose predicted IoUs are fractions, or ``-iou100``, for per cent, which is the default.

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
        """Return a text without this unit's marks behind its numbers: ``%`` of 0-100, ``px`` of pixels."""
        marks = {"0-100": r"%|per ?cent\b", "pixel": r"px\b|pixels?\b"}.get(self.unit)
        return text if marks is None else re.sub(rf"(?<=\d)[ \t]{{0,3}}(?:{marks})", "", text, flags=re.IGNORECASE)

    def to_pixel(self, first: float, second: float, size: Size, frame: Frame | None = None) -> tuple[int, int] | None:
        """The pixel (x, y) that two numbers of a reply mean.

        The relative coordinate u becomes ``round(u * W)`` (halves to even, as the SegAgent reference
        evaluator rounds), and the upper edge of the format is the last pixel.

        Args:
            first: the number written first.
            second: the number written second.
            size: (height, width) of the original image.
            frame: how the model saw the image; None: as it is.

        Returns:
            (x, y) inside the image, or None where a number lies outside the format's range or in the padding.
        """
        spot = _spot(first, second, self.order, self.unit, size, frame or Frame.whole(size))
        if spot is None:
            return None
        x, y = round(spot[0]), round(spot[1])
        return (min(x, size[1] - 1), min(y, size[0] - 1)) if 0 <= x <= size[1] and 0 <= y <= size[0] else None

    def from_pixel(self, x: int, y: int, size: Size, frame: Frame | None = None) -> tuple[float, float]:
        """The two numbers, in the order they are written, that mean pixel (x, y); not rounded."""
        return _numbers(x, y, self.order, self.unit, size, frame or Frame.whole(size))

    def from_box(self, box: Box, size: Size, frame: Frame | None = None) -> tuple[float, float, float, float]:
        """The four numbers, in the order they are written, that mean a box (x0, y0, x1, y1); not rounded."""
        order, unit, frame = self.box_order or self.order, self.box_unit or self.unit, frame or Frame.whole(size)
        first, second = (_numbers(x, y, order, unit, size, frame) for x, y in (box[:2], box[2:]))
        return (*first, *second)

    def box_to_pixels(
        self, numbers: tuple[float, float, float, float], size: Size, frame: Frame | None = None
    ) -> Box | None:
        """The box (x0, y0, x1, y1) that four numbers of a reply mean, edges in [0, W] and [0, H].

        Returns:
            None where a number lies outside the format's range or the box has no area.
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
    """Where two numbers lie in the original image, (x, y) in its pixels, not rounded; None beyond the unit's range."""
    x, y = (first, second) if order == "xy" else (second, first)
    limit_y, limit_x = _limits(unit, frame.sent)
    if not (0 <= x <= limit_x and 0 <= y <= limit_y):
        return None
    u, v = frame.to_original(x / limit_x, y / limit_y)
    return u * size[1], v * size[0]


def _numbers(x: int, y: int, order: Order, unit: Unit, size: Size, frame: Frame) -> tuple[float, float]:
    """The inverse of `_spot`."""
    limit_y, limit_x = _limits(unit, frame.sent)
    u, v = frame.from_original(x / size[1], y / size[0])
    return (u * limit_x, v * limit_y) if order == "xy" else (v * limit_y, u * limit_x)


def _limits(unit: Unit, sent: Size) -> tuple[float, float]:
    """The largest valid number down and across."""
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
