"""Reads the model's decision from its reply, in the point format declared for the model, and writes replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Box, Size
from hlmat_bench.points import IouUnit, PointFormat, Unit
from hlmat_bench.points.answers import ReplyParts, answer_in, begins_with_stop, last, refuses, says_stop, stops_at_last
from hlmat_bench.points.no_object import (
    answer_of,
    begins_with_no_object,
    is_one_of,
    says_no_object,
    says_no_object_at_last,
)
from hlmat_bench.points.reading import Point, Reading, without_names
from hlmat_bench.points.resize import Frame
from hlmat_bench.points.signs import Sign, of_words, says_nothing_else
from hlmat_bench.points.syntaxes import SYNTAXES

ActionKind: TypeAlias = Literal["click", "box", "none", "stop", "invalid", "predict"]

#: The kinds of actions that lead to a new mask.
DRAWING: frozenset[ActionKind] = frozenset({"click", "box", "none"})

NO_OBJECT = "No object"
"""What prompts ask for, and references write, where the image has no such object."""

#: Why a reply is no valid action.
REASONS = ("parse", "out_of_bounds", "refusal", "empty", "repeat", "api")

_IOU = re.compile(
    r"(?:(?<![a-z])(?:(?:current|predicted|estimated|the)\s{1,3}){0,2}m?IoU(?![a-z])|交并比)[^\w.-]{0,4}(?:(?:is|of|at|about|around|approximately)\s{1,3}[^\w.-]{0,3}){0,2}"
    r"(\d{1,3}(?:\.\d*)?|\.\d+)(?!\d|,\d|\s?-\s?\d)(\s{0,3}(?:%|per ?cent\b))?",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Action:
    """One decision of a model.

    Attributes:
        kind: ``click``, ``box``, ``none`` (there is no such object), ``stop``, ``invalid``, or ``predict`` (filtering
            tasks).
        positive: for a click, whether it adds (True) or removes (False).
        x, y: for a click, its pixel inside the original image.
        box: for a box, (x0, y0, x1, y1); a click may have a box, too, because SegAgent's box models write both.
        reason: for an invalid action, one of `REASONS`.
        predicted_iou: the IoU that the model predicts for the mask it was shown, 0 to 1; None without a prediction.
    """

    kind: ActionKind
    positive: bool | None = None
    x: int | None = None
    y: int | None = None
    box: Box | None = None
    reason: str | None = None
    predicted_iou: float | None = None

    @property
    def click(self) -> Click:
        """The position and the sign of an action of the kind ``click``."""
        assert self.positive is not None and self.x is not None and self.y is not None
        return Click(self.positive, self.x, self.y)

    def to_json(self) -> dict[str, Any]:
        """Return the fields of this kind of action, as in episodes.jsonl, which records `predicted_iou` separately."""
        box = {} if self.box is None else {"box": list(self.box)}
        if self.kind == "click":
            return {"kind": "click", "positive": self.positive, "x": self.x, "y": self.y, **box}
        if self.kind == "box":
            return {"kind": "box", **box}
        if self.kind == "invalid":
            return {"kind": "invalid", "reason": self.reason}
        return {"kind": self.kind}


def parse(
    reply: str,
    points: PointFormat,
    size: Size,
    frame: Frame | None = None,
    *,
    cut_off: bool = False,
    no_target: bool = False,
    absent: Collection[str] | None = None,
) -> Action:
    """Read the action in a reply, without the thoughts before it. Never raises and never tries a second convention.

    Args:
        reply: what the model wrote.
        points: the format declared for the model.
        size: (height, width) of the original image.
        frame: how the image was resized or padded for the model; None where it was sent unchanged.
        cut_off: whether the reply ended at the limit of tokens. An answer then counts only where the reply begins
            with it: words before it may be a thought that the chat template opened and the reply did not close.
        no_target: whether the reply may say that there is no such object. Without it such a reply is invalid.
        absent: answers that say it, too, where they are all that is said. None: those with which models of this syntax
            have nothing to click at an empty mask (`Syntax.nothing`).

    Returns:
        The action, which is ``invalid`` with a reason where the reply has no valid one.
    """
    answer = answer_in(reply)
    forms = SYNTAXES[points.syntax].nothing if absent is None else absent
    if no_target and not cut_off and is_one_of(answer.raw, forms):
        return Action("none")
    if not answer.said.strip():
        return Action("invalid", reason="empty" if answer.raw == reply else "parse")
    said, text = answer.said, points.without_marks(answer.final)
    if cut_off:  # the last number may lack digits
        said, text = said.rstrip("0123456789.,-"), text.rstrip("0123456789.,-")
    predicted = predicted_iou(said, points.iou_unit, first=cut_off)
    syntax = SYNTAXES[points.syntax]
    reading = syntax.read(answer.raw if syntax.exact else text)
    before = answer.said[: len(answer.said) - len(answer.final)]
    action = _action(reading, said, text, points, size, frame)
    if action.kind == "click" and not syntax.exact and stops_at_last(text[reading.end :]):
        # The model only considered this click, or gives a click and a stop: neither is one decision.
        action = Action("invalid", reason="parse")
    if (cut_off or answer.alone) and action.kind != "invalid":
        whole = answer.raw if syntax.exact else text
        around = before + whole[: reading.start] + (whole[reading.end :] if answer.alone else "")
        begins = says_nothing_else(without_names(_IOU.sub(" ", around)), answer=True)
        if not (begins_with_stop(_IOU.sub(" ", before + text)) if action.kind == "stop" else begins):
            action = Action("invalid", reason="parse")
    if no_target:
        action = _unless_absent(action, answer, _IOU.sub(" ", text), forms, cut_off=cut_off)
    return replace(action, predicted_iou=predicted)


def _unless_absent(action: Action, answer: ReplyParts, words: str, forms: Collection[str], *, cut_off: bool) -> Action:
    """Return an action as it was read, or ``none`` where the reply says instead that there is no such object.

    A click or a box with these words alone on the last line means two things, and is invalid.
    """
    if action.kind in ("click", "box"):
        return Action("invalid", reason="parse") if says_no_object_at_last(words) else action
    if cut_off or answer.alone:
        says = begins_with_no_object(_IOU.sub(" ", answer.said), cut_off=cut_off)
    else:
        says = says_no_object(words) or is_one_of(answer_of(answer.said, words), forms)
    return Action("none") if says else action


def _action(reading: Reading, said: str, text: str, points: PointFormat, size: Size, frame: Frame | None) -> Action:
    """Return the action for the points and boxes found in a reply; see `parse`."""
    box = points.box_to_pixels(reading.box, size, frame) if reading.box else None
    if reading.point is not None or (reading.box is not None and reading.centred and reading.sign is not Sign.NONE):
        return _click(reading, said, points, size, frame, box)
    if reading.stop or says_stop(_IOU.sub(" ", text)):
        return Action("stop")
    if reading.box is not None:
        return Action("invalid", reason="out_of_bounds") if box is None else Action("box", box=box)
    return Action("invalid", reason="refusal" if refuses(said) else "parse")


def write(click: Click, points: PointFormat, size: Size, frame: Frame | None = None) -> str:
    """Return a reply with this click: the inverse of `parse`, except for the rounding of the format."""
    first, second = _written(points.from_pixel(click.x, click.y, size, frame), points.unit)
    return SYNTAXES[points.syntax].write("Positive" if click.positive else "Negative", first, second)


def write_box(box: Box, points: PointFormat, size: Size, frame: Frame | None = None) -> str:
    """Return a reply with this box (x0, y0, x1, y1): the inverse of `parse`, except for the rounding of the format.

    Raises:
        UsageError: when the format has no boxes.
    """
    return _box_writer(points)(*_written(points.from_box(box, size, frame), points.box_unit or points.unit))


def box_form(points: PointFormat) -> str:
    """Return a box in the form that the format writes, with the names x0, y0, x1 and y1 in place of numbers.

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
            f"The model should give a box, but its point format {points.name} has none; boxes are read in the syntaxes "
            f"{able}, so take a format with one of these."
        )
    return write


def _written(numbers: Sequence[float], unit: Unit) -> list[str]:
    digits = {"0-1": 4, "0-100": 2}.get(unit, 0)
    return [f"{number:.{digits}f}" for number in numbers]


def predicted_iou(text: str, unit: IouUnit = "percent", *, first: bool = False) -> float | None:
    """Return the last IoU that a reply predicts ("Current IOU: 74"), as a fraction in [0, 1].

    Args:
        text: the reply.
        unit: the unit of a number without a per cent sign.
        first: count a prediction only where the reply begins with it.

    Returns:
        The fraction; None without a prediction, or where it exceeds the range of its unit.
    """
    match = last(_IOU, text)
    if match is None or (first and not says_nothing_else(text[: match.start()], answer=True)):
        return None
    value = float(match[1])
    if match[2] or unit == "percent":
        value /= 100
    return value if value <= 1 else None


def _click(
    reading: Reading, said: str, points: PointFormat, size: Size, frame: Frame | None, box: Box | None
) -> Action:
    """Return the click on a point or a box's centre; a point without a sign names the object, so it is positive."""
    sign = reading.sign
    if sign is Sign.NONE and of_words(said) in (Sign.NONE, Sign.POSITIVE):
        sign = Sign.POSITIVE
    if sign not in (Sign.POSITIVE, Sign.NEGATIVE):
        return Action("invalid", reason="parse")
    point = reading.point
    if point is None:
        assert reading.box is not None
        a, b, c, d = reading.box
        point = Point((a + c) / 2, (b + d) / 2)
    first, second = point.first, point.second
    if point.named and points.order == "yx":
        first, second = second, first
    pixel = points.to_pixel(first, second, size, frame)
    if pixel is None:
        return Action("invalid", reason="out_of_bounds")
    return Action("click", sign is Sign.POSITIVE, *pixel, box=box)
