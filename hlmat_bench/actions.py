"""Actions: what the model decided, read from its reply in the point format it is declared to write."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from hlmat_bench.clicks import Click
from hlmat_bench.errors import UsageError
from hlmat_bench.framing import Frame
from hlmat_bench.interfaces import Box, Size
from hlmat_bench.points import PointFormat, Unit
from hlmat_bench.syntaxes import SYNTAXES, Point, Reading, sign_in

Kind: TypeAlias = Literal["click", "box", "stop", "invalid", "predict"]

#: Why a reply is no valid action.
REASONS = ("parse", "out_of_bounds", "refusal", "empty", "repeat", "api")

_SPECIAL_TOKEN = re.compile(r"<\|(?!/?det\|)[^|<>]*\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>")
_IOU = re.compile(r"\bm?IoU\b[^\w.-]{0,4}(\d{1,3}(?:\.\d*)?|\.\d+)(?!\d)\s*(%?)", re.IGNORECASE | re.ASCII)
# Thoughts before the answer, as Qwen's, GLM's and others' models and Kimi's write them.
_THOUGHTS = re.compile(r"(?:<think>|◁think▷).*?(?:</think>|◁/think▷|\Z)|\A.*?(?:</think>|◁/think▷)", re.DOTALL)
_STOP = re.compile(r"(?:stop|finish|finished|done)", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:i(?:'m| am) sorry|i (?:can(?:no|')t|am unable|am not able)|unable to (?:help|assist|comply)|as an ai)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Action:
    """One decision.

    Attributes:
        kind: ``click``, ``box``, ``stop``, ``invalid``, or ``predict`` (filtering tasks).
        positive: of a click: True adds, False removes.
        x, y: of a click: the pixel of the original image, inside it.
        box: of a box: (x0, y0, x1, y1); a click may come with one (SegAgent's box models write both).
        reason: of an invalid one: one of `REASONS`.
        predicted_iou: what the model says the mask it was shown is worth, 0 to 1; None where it does not say.
    """

    kind: Kind
    positive: bool | None = None
    x: int | None = None
    y: int | None = None
    box: Box | None = None
    reason: str | None = None
    predicted_iou: float | None = None

    @property
    def click(self) -> Click:
        """The click of a ``click``."""
        assert self.positive is not None and self.x is not None and self.y is not None
        return Click(self.positive, self.x, self.y)

    def to_json(self) -> dict[str, Any]:
        """The fields that the kind has, as in episodes.jsonl; `predicted_iou` stands beside the action there."""
        box = {} if self.box is None else {"box": list(self.box)}
        if self.kind == "click":
            return {"kind": "click", "positive": self.positive, "x": self.x, "y": self.y, **box}
        if self.kind == "box":
            return {"kind": "box", **box}
        if self.kind == "invalid":
            return {"kind": "invalid", "reason": self.reason}
        return {"kind": self.kind}


def parse(reply: str, points: PointFormat, size: Size, frame: Frame | None = None) -> Action:
    """Read a reply, without the thoughts before its answer. Never raises, and never tries a second convention.

    Args:
        reply: what the model wrote.
        points: the format the model is declared to write.
        size: (height, width) of the original image.
        frame: how the model saw the image, where that is not as it is.

    Returns:
        The action; ``invalid`` with a reason where the reply holds none.
    """
    said = _THOUGHTS.sub("", reply)
    text = _SPECIAL_TOKEN.sub(" ", said).strip()
    predicted = predicted_iou(text)
    if not text:
        return Action("invalid", reason="empty" if said == reply else "parse")
    syntax = SYNTAXES[points.syntax]
    reading = syntax.read(said)
    point = _signed_point(reading, text, syntax.bare_is_positive)
    box = points.box_to_pixels(reading.box, size, frame) if reading.box else None
    if point is not None:
        return _click(point, points, size, frame, box, predicted)
    if reading.stop or _says_stop(text):
        return Action("stop", predicted_iou=predicted)
    if box is not None:
        return Action("box", box=box, predicted_iou=predicted)
    if reading.box is not None:
        return Action("invalid", reason="out_of_bounds", predicted_iou=predicted)
    reason = "refusal" if _REFUSAL.search(text.replace("’", "'")) else "parse"
    return Action("invalid", reason=reason, predicted_iou=predicted)


def write(click: Click, points: PointFormat, size: Size, frame: Frame | None = None) -> str:
    """The reply that means this click: the inverse of `parse`, to within the format's own rounding."""
    first, second = _written(points.from_pixel(click.x, click.y, size, frame), points.unit)
    return SYNTAXES[points.syntax].write("Positive" if click.positive else "Negative", first, second)


def write_box(box: Box, points: PointFormat, size: Size, frame: Frame | None = None) -> str:
    """The reply that means this box (x0, y0, x1, y1): the inverse of `parse`, to within the format's own rounding.

    Raises:
        UsageError: when the format has no boxes.
    """
    return _box_writer(points)(*_written(points.from_box(box, size, frame), points.box_unit or points.unit))


def box_form(points: PointFormat) -> str:
    """A box as the format writes it, with its axes' names, x0 to y1, in place of the numbers.

    Raises:
        UsageError: when the format has no boxes.
    """
    first, second = points.box_order or points.order
    return _box_writer(points)(f"{first}0", f"{second}0", f"{first}1", f"{second}1")


def _box_writer(points: PointFormat) -> Callable[[str, str, str, str], str]:
    write = SYNTAXES[points.syntax].write_box
    if write is None:
        able = ", ".join(name for name, syntax in SYNTAXES.items() if syntax.write_box)
        raise UsageError(
            f"The model is to be asked for a box, but its point format {points.name} has none; boxes are read in the "
            f"syntaxes {able}."
        )
    return write


def _written(numbers: Sequence[float], unit: Unit) -> list[str]:
    digits = {"0-1": 4, "0-100": 2}.get(unit, 0)
    return [f"{number:.{digits}f}" for number in numbers]


def predicted_iou(text: str) -> float | None:
    """The IoU that a reply predicts ("Current IOU: 74", "Current mIoU: 0.74"), as a fraction in [0, 1].

    A number up to 1 that is written with a decimal point is a fraction, any other a percentage; of several the
    last counts, as in the SegAgent evaluator. Percentages over 100 are no prediction.
    """
    found = _IOU.findall(text)
    if not found:
        return None
    number, percent = found[-1]
    value = float(number)
    if "." not in number or percent or value > 1:
        value /= 100
    return value if value <= 1 else None


def _signed_point(reading: Reading, text: str, bare_is_positive: bool) -> Point | None:
    """The point that was found, with its sign; a box with a sign written beside it is a click on its centre."""
    point, positive = reading.point, reading.point.positive if reading.point else None
    if positive is None and reading.words:
        positive = sign_in(text)
    if point is None and reading.box is not None and reading.words and positive is not None:
        a, b, c, d = reading.box
        point = Point((a + c) / 2, (b + d) / 2)
    if point is not None and positive is None and bare_is_positive and not _mentions_a_sign(text):
        positive = True
    return None if point is None or positive is None else Point(point.first, point.second, positive, point.named)


def _mentions_a_sign(text: str) -> bool:
    return bool(re.search(r"\b(?:positive|negative)\b", text, re.IGNORECASE))


def _click(
    point: Point, points: PointFormat, size: Size, frame: Frame | None, box: Box | None, predicted: float | None
) -> Action:
    first, second = point.first, point.second
    if point.named and points.order == "yx":
        first, second = second, first
    pixel = points.to_pixel(first, second, size, frame)
    if pixel is None:
        return Action("invalid", reason="out_of_bounds", predicted_iou=predicted)
    return Action("click", point.positive, *pixel, box=box, predicted_iou=predicted)


def _says_stop(text: str) -> bool:
    """The reply is a stop word and nothing else, apart from a predicted IoU."""
    rest = re.sub(r"\bcurrent\b", " ", _IOU.sub(" ", text), flags=re.IGNORECASE)
    return bool(_STOP.fullmatch(rest.strip(" \t\r\n.,;:!*`\"'")))
