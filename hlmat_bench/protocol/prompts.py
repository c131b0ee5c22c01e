"""What a general chat model is told at each step."""

from __future__ import annotations

from collections.abc import Sequence

from hlmat_bench.actions import box_form, write
from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Size
from hlmat_bench.points import IouUnit, Order, PointFormat, Unit
from hlmat_bench.points.resize import Frame
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Question

DEFAULT_PROMPT = """\
You are annotating one object in this image with an interactive segmentation tool.
The object: {expression}
The area painted in semi-transparent {color} is the current mask; at the start there is none.
Give the one click that improves the mask most: a positive click on a part of the object that is not painted, \
or a negative click on a painted part that does not belong to the object.
{coordinates}
Answer with one line in exactly this form: {form}
If the mask already covers the object and nothing else, answer: Finish
{history}"""

DEFAULT_PRM_PROMPT = """\
An annotator is marking one object in this image.
The object: {expression}
The area painted in semi-transparent {color} is the current mask; where nothing is painted, it is empty.
How well does the mask cover the object, and nothing else? Estimate the intersection over union (IoU) of the mask and \
the object, {iou_range}.
Answer with one line in exactly this form: {iou_form}"""

DEFAULT_BOX_PROMPT = """\
Find one object in this image.
The object: {expression}
Give the smallest box that holds all of it: (x0, y0) is its upper left corner, (x1, y1) its lower right one.
{coordinates}
Answer with one line in exactly this form: {form}"""

#: What the field {no_target} of a template says, by the question, where a sample may have no object.
_NO_TARGET: dict[Question, str] = {
    "click": "If there is no such object in the image, answer: {answer}",
    "box": "If there is no such object in the image, answer: {answer}",
    "iou": "If there is no such object in the image, an empty mask is completely right, and any other mask shares "
    "nothing with it.",
}

#: The range of a predicted IoU in words, and the line to answer, by the unit that the model's point format declares.
_IOUS: dict[IouUnit, tuple[str, str]] = {
    "percent": ("in per cent, from 0 (they share nothing) to 100 (they are the same)", "Current IOU: 50%"),
    "fraction": ("as a decimal fraction, from 0 (they share nothing) to 1 (they are the same)", "Current IOU: 0.50"),
}

_NAMES = {(0, 255, 0): "green", (0, 0, 255): "blue", (255, 0, 0): "red"}


#: What `instruction` fills into a template.
FIELDS = ("expression", "color", "coordinates", "form", "history", "no_target", "iou_range", "iou_form")


def offering_none(template: str) -> str:
    """Return a default prompt with the field ``{no_target}`` on a line of its own at its end, before the history."""
    before = template.removesuffix("\n{history}")
    return f"{before}\n{{no_target}}{template[len(before) :]}"


def check_template(template: str) -> None:
    """Raise UsageError when a template uses a field that `instruction` does not fill."""
    try:
        template.format(**dict.fromkeys(FIELDS, ""))
    except (KeyError, IndexError, ValueError) as error:
        raise UsageError(
            f"The prompt uses {error}, but only {', '.join(f'{{{name}}}' for name in FIELDS)} are filled in; write "
            "other braces twice."
        ) from error


def instruction(
    template: str,
    *,
    expression: str,
    points: PointFormat,
    size: Size,
    frame: Frame | None = None,
    color: tuple[int, int, int] = (0, 255, 0),
    clicks: Sequence[Click] = (),
    question: Question = "click",
    no_object: str | None = None,
) -> str:
    """Return the whole prompt of one step.

    Args:
        template: text with the fields ``{expression}``, ``{color}`` (its name), ``{coordinates}`` (axis order and
            range in words), ``{form}`` (the line to answer), ``{history}``, ``{no_target}`` (what to answer where there
            is no such object), ``{iou_range}`` and ``{iou_form}`` (the range of a predicted IoU in words and the line
            that states one, in the unit of the model's point format).
        expression: the description of the object.
        points: the format the model writes.
        size: (height, width) of the original image, in which the clicks are.
        frame: how the model sees it; None: as it is.
        color: RGB of the overlay.
        clicks: the clicks so far, where the protocol shows them.
        question: what is asked: ``{coordinates}`` and ``{form}`` are those of a click or of a box.
        no_object: the answer where there is no such object; None: there is one, and ``{no_target}`` is empty.

    Raises:
        UsageError: for a box in a format that has none.
    """
    frame = frame or Frame.whole(size)
    order, unit = points.order, points.unit
    if question == "box":
        order, unit, form = points.box_order or order, points.box_unit or unit, box_form(points)
    else:
        form = SYNTAXES[points.syntax].ask.format(a=order[0], b=order[1])
    iou_range, iou_form = _IOUS[points.iou_unit]
    return template.format(
        expression=expression,
        color=_NAMES.get(color, f"rgb{color}"),
        coordinates=_coordinates(order, unit, frame.sent),
        form=form,
        iou_range=iou_range,
        iou_form=iou_form,
        history=_history(points, clicks, size, frame),
        no_target="" if no_object is None else _NO_TARGET[question].format(answer=no_object),
    ).rstrip()


def _coordinates(order: Order, unit: Unit, sent: Size) -> str:
    first, second = order
    if unit == "pixel":
        scale = {"x": f"0 (left) to {sent[1]} (right)", "y": f"0 (top) to {sent[0]} (bottom)"}
        kind = f"in pixels of this image, which is {sent[1]} wide and {sent[0]} high"
    else:
        top = unit.removeprefix("0-")
        scale = {"x": f"0 (left edge) to {top} (right edge)", "y": f"0 (top edge) to {top} (bottom edge)"}
        kind = "as decimal fractions" if unit == "0-1" else "relative to the image"
    return f"Coordinates are written {first} first, then {second}, {kind}: x from {scale['x']}, y from {scale['y']}."


def _history(points: PointFormat, clicks: Sequence[Click], size: Size, frame: Frame) -> str:
    if not clicks:
        return ""
    lines = [f"{number}. {write(click, points, size, frame)}" for number, click in enumerate(clicks, 1)]
    return "Clicks so far:\n" + "\n".join(lines)
