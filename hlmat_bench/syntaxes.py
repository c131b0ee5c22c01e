"""What a reply looks like around its numbers: one reader, one writer and one instruction per syntax.

A reader finds points and boxes in a text and says which sign stands with a point, if any. It knows nothing of
axis order or units: that is the `PointFormat`'s business. No reader ever raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_PAIR = rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*"
_BOX_TAG = re.compile(r"<box>([^<]*)</box>")


@dataclass(frozen=True, slots=True)
class Point:
    """Two numbers as written.

    Attributes:
        first, second: the numbers, in the order they were written (x first where `named`).
        positive: the sign written with the point; None where none is.
        named: the numbers were written with their axes' names, so they are (x, y) whatever the order.
    """

    first: float
    second: float
    positive: bool | None = None
    named: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader found: the point that counts, the box that counts, or neither.

    Attributes:
        point: two numbers.
        box: four numbers, as written.
        stop: the reply says in this syntax that the work is done.
        words: a sign may be taken from the words around the point.
    """

    point: Point | None = None
    box: tuple[float, float, float, float] | None = None
    stop: bool = False
    words: bool = True


@dataclass(frozen=True, slots=True)
class Syntax:
    """One way to write a click.

    Attributes:
        read: text -> `Reading`.
        write: (sign word, first number, second number) -> text; the inverse of `read`.
        ask: the form as shown to a model; ``{a}`` and ``{b}`` are its two numbers.
        bare_is_positive: a point without any sign names the object, so it is a positive click.
        write_box: (the four numbers) -> text; of their axes' names it is the form as shown to a model. None: the syntax
            has no boxes.
    """

    read: Callable[[str], Reading]
    write: Callable[[str, str, str], str]
    ask: str
    bare_is_positive: bool = True
    write_box: Callable[[str, str, str, str], str] | None = None


def sign_in(text: str) -> bool | None:
    """The sign that the words of a text state; None where they state none or both."""
    found = {word.lower() for word in re.findall(r"\b(positive|negative)\b", text, re.IGNORECASE)}
    return found == {"positive"} if len(found) == 1 else None


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(_NUMBER, text, re.ASCII)]


def _two_or_four(groups: list[str]) -> Reading:
    """The last group with two numbers (a point) or four (a box)."""
    for group in reversed(groups):
        numbers = _numbers(group)
        if len(numbers) == 2:
            return Reading(Point(numbers[0], numbers[1]))
        if len(numbers) == 4:
            return Reading(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    return Reading()


def _read_segagent(text: str) -> Reading:
    """As the SegAgent evaluator reads it (evaltools, plain Qwen): whole numbers after the last ``point: ``."""
    positive = "Positive point" in text
    box = _two_or_four(_BOX_TAG.findall(text)).box
    if not positive and "Negative point" not in text:
        return Reading(box=box, words=False)
    match = re.search(r"\((.*?)\)", text.rpartition("point: ")[2])
    try:
        first, second, *_ = [int(part) for part in match[1].split(",")] if match else []
    except ValueError:
        return Reading(box=box, words=False)
    return Reading(Point(first, second, positive), box, words=False)


def _read_text(text: str) -> Reading:
    """``Positive point: (a, b)`` in any case, brackets round or square; of several the last counts."""
    form = rf"\b(positive|negative)\s+(?:point|click)\b[^\w(\[]{{0,8}}[(\[]{_PAIR}[)\]]"
    found = re.findall(form, text, re.IGNORECASE | re.ASCII)
    box = _two_or_four(_BOX_TAG.findall(text)).box
    if not found:
        return Reading(box=box, words=False)
    word, first, second = found[-1]
    return Reading(Point(float(first), float(second), word.lower() == "positive"), box, words=False)


def _read_point_tag(text: str) -> Reading:
    """``<point x="1.5" y="2.5" ...>`` (Molmo), ``<points x1= y1= ...>`` or ``<point>1 2</point>`` (MiniCPM-V)."""
    tags = re.findall(r"<points?\b([^<>]*)>([^<]*)", text)
    for attributes, inside in tags:
        named = re.search(rf"""\bx1?\s*=\s*["']?({_NUMBER}).*?\by1?\s*=\s*["']?({_NUMBER})""", attributes, re.ASCII)
        if named:
            return Reading(Point(float(named[1]), float(named[2]), sign_in(attributes + inside), named=True))
        if len(numbers := _numbers(inside)) == 2:
            return Reading(Point(numbers[0], numbers[1]))
    return Reading()


def _read_points_tag(text: str) -> Reading:
    """``<points coords="1 1 900 400 2 911 800">`` (Molmo 2): image number, then number, x, y; the first counts."""
    match = re.search(r"""<points?\b[^<>]*?\bcoords\s*=\s*["']([^"'<>]*)["'][^<>]*>""", text)
    numbers = _numbers(match[1]) if match else []
    return Reading(Point(numbers[2], numbers[3])) if len(numbers) >= 4 else Reading()


def _read_box(text: str) -> Reading:
    return _two_or_four(_BOX_TAG.findall(text))


def _read_det(text: str) -> Reading:
    return _two_or_four(re.findall(r"<\|det\|>(.*?)<\|/det\|>", text, re.DOTALL))


def _read_loc(text: str) -> Reading:
    """PaliGemma's tokens ``<loc0000>`` to ``<loc1023>``: two together are a point, four a box; the last counts."""
    return _two_or_four(re.findall(r"(?:<loc\d{4}>\s*)+", text, re.ASCII))


_POINT_KEYS = ("point_2d", "point", "coordinate", "coordinates", "click", "position", "xy", "yx")
_BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box")
_SIGN_KEYS = ("label", "type", "sign", "click_type", "kind", "action", "polarity")
_STOP_WORDS = {"stop", "finish", "finished", "done"}


def _read_json(text: str) -> Reading:
    """``{"point_2d": [a, b], "label": "positive"}`` and its variants, fenced or not; the first object counts."""
    for thing in _json_objects(text):
        reading = _read_object(thing)
        if reading is not None:
            return reading
    return Reading()


def _json_objects(text: str, attempts: int = 32) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text, each list flattened, outermost first; at most so many starts are tried."""
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(attempts):
        start = re.compile(r"[\[{]").search(text, position)
        if start is None:
            return
        try:
            value, position = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.start() + 1
            continue
        queue = [value]
        while queue:
            item = queue.pop(0)
            if isinstance(item, dict):
                yield item
                queue[:0] = [child for child in item.values() if isinstance(child, dict | list)]
            elif isinstance(item, list):
                queue[:0] = [child for child in item if isinstance(child, dict | list)]


def _read_object(item: dict[str, Any]) -> Reading | None:
    if any(str(item.get(key)).lower() in _STOP_WORDS for key in _SIGN_KEYS):
        return Reading(stop=True)
    positive = _object_sign(item)
    if (x := _number(item.get("x"))) is not None and (y := _number(item.get("y"))) is not None:
        return Reading(Point(x, y, positive, named=True))
    for key in _POINT_KEYS:
        if pair := _number_list(item.get(key), 2):
            return Reading(Point(pair[0], pair[1], positive))
    for key in _BOX_KEYS:
        if four := _number_list(item.get(key), 4):
            return Reading(box=(four[0], four[1], four[2], four[3]))
    return None


def _object_sign(item: dict[str, Any]) -> bool | None:
    if isinstance(item.get("positive"), bool):
        return bool(item["positive"])
    for key in _SIGN_KEYS:
        value = item.get(key)
        if isinstance(value, str) and (positive := sign_in(value)) is not None:
            return positive
        if key == "label" and type(value) is int and value in (0, 1):
            return value == 1
    return None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number_list(value: object, length: int) -> list[float] | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, list) or len(value) != length:
        return None
    numbers = [number for number in map(_number, value) if number is not None]
    return numbers if len(numbers) == length else None


def _write_text(sign: str, first: str, second: str) -> str:
    return f"{sign} point: ({first}, {second})"


def _write_json(sign: str, first: str, second: str) -> str:
    return f'{{"point_2d": [{first}, {second}], "label": "{sign.lower()}"}}'


def _write_box_tag(a0: str, b0: str, a1: str, b1: str) -> str:
    return f"<box>({a0},{b0}),({a1},{b1})</box>"


def _write_loc_box(*numbers: str) -> str:
    return "".join(f"<loc{number.zfill(4) if number.isdecimal() else number}>" for number in numbers)


_TEXT_FORM = "Positive point: ({a}, {b})  or  Negative point: ({a}, {b})"

SYNTAXES: dict[str, Syntax] = {
    "text": Syntax(_read_text, _write_text, _TEXT_FORM, bare_is_positive=False, write_box=_write_box_tag),
    "segagent": Syntax(_read_segagent, _write_text, _TEXT_FORM, bare_is_positive=False, write_box=_write_box_tag),
    "json": Syntax(
        _read_json,
        _write_json,
        '{{"point_2d": [{a}, {b}], "label": "positive"}}  with "positive" or "negative"',
        write_box=lambda *numbers: f'{{"bbox_2d": [{", ".join(numbers)}]}}',
    ),
    "point": Syntax(
        _read_point_tag,
        lambda sign, a, b: f"<point>{a} {b}</point> {sign.lower()}",
        "<point>{a} {b}</point> positive  or  <point>{a} {b}</point> negative",
    ),
    "points": Syntax(
        _read_points_tag,
        lambda sign, a, b: f'<points coords="1 1 {a} {b}">{sign.lower()}</points>',
        '<points coords="1 1 {a} {b}">positive</points>  with positive or negative',
    ),
    "box": Syntax(
        _read_box,
        lambda sign, a, b: f"<box>({a},{b})</box> {sign.lower()}",
        "<box>({a},{b})</box> positive  or  <box>({a},{b})</box> negative",
        write_box=_write_box_tag,
    ),
    "det": Syntax(
        _read_det,
        lambda sign, a, b: f"<|det|>[[{a}, {b}]]<|/det|> {sign.lower()}",
        "<|det|>[[{a}, {b}]]<|/det|> positive  or  <|det|>[[{a}, {b}]]<|/det|> negative",
        write_box=lambda *numbers: f"<|det|>[[{', '.join(numbers)}]]<|/det|>",
    ),
    "loc": Syntax(
        _read_loc,
        lambda sign, a, b: f"<loc{int(a):04d}><loc{int(b):04d}> {sign.lower()}",
        "<loc{a}><loc{b}> positive  or  <loc{a}><loc{b}> negative",
        write_box=_write_loc_box,
    ),
}
