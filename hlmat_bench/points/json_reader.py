"""Reads clicks in JSON and near-JSON: ``{"point_2d": [a, b], "label": "positive"}`` and its variants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from hlmat_bench.points import loose_json, signs
from hlmat_bench.points.answers import is_stop_word
from hlmat_bench.points.reading import Point, Reading, in_group, numbers_of, sign_around, without_names
from hlmat_bench.points.signs import Sign

_POINT_KEYS = (
    "point_2d", "point", "points", "coordinate", "coordinates", "coord", "coords", "click", "clicks", "position",
    "location", "xy", "yx", "center", "point_coords", "point_coordinates", "click_point", "keypoint",
)  # fmt: skip
_BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box", "bboxes", "boxes")
#: Fields that hold a sign or the name of an action, and those that may name the object instead.
_SIGN_KEYS = {"type", "sign", "kind", "action", "polarity", "click_type", "point_type", "click_sign", "button", "mode",
              "operation", "op", "point_class"}  # fmt: skip
_LABEL_KEYS = {"label", "labels", "point_label", "point_labels", "click_label", "class", "category", "name", "alt"}
_STOP_KEYS = _SIGN_KEYS | {"label", "answer", "response", "result", "output", "status", "decision", "name", "function"}
_STOP_FLAGS = {"finish", "finished", "done", "stop", "complete", "completed", "is_finished", "is_done", "is_complete"}


def read_json(text: str) -> Reading:
    """Read ``{"point_2d": [a, b], "label": "positive"}`` and its variants, fenced or not; the first object counts.

    A plain list of numbers is read, too, where the reply says nothing else or GLM's tokens enclose it (zai-org/GLM-V).
    """
    inner = text.rpartition("<|begin_of_box|>")[2]
    offset, inner = len(text) - len(inner), inner.partition("<|end_of_box|>")[0]
    found = list(loose_json.values(inner))
    for value in found:
        for item, finished in _objects(value):
            reading = _read_object(item)
            if reading is None or not (finished or reading.sign in (Sign.POSITIVE, Sign.NEGATIVE) or reading.stop):
                continue
            return _placed(reading, text, found, value, offset)
    if found and (reading := _bare_list(found[0].value)) is not None:
        reading = _placed(reading, text, found, found[0], offset)
        around = text[: reading.start] + text[reading.end :]
        if offset or signs.says_nothing_else(without_names(around)):
            return reading
    if offset and not re.search(r"[^\W\d_]", inner):  # GLM writes brackets of any kind
        end = offset + len(inner)
        return replace(in_group(inner), sign=sign_around(text, offset, end), start=offset, end=end)
    return Reading()


def _placed(
    reading: Reading, text: str, found: Sequence[loose_json.Value], value: loose_json.Value, offset: int
) -> Reading:
    """Add the position in the text to a reading, and, if it has no sign, the sign that the words around state."""
    sign = reading.sign
    if sign is Sign.NONE:
        edges = [0, *(offset + edge for one in found for edge in (one.start, one.end)), len(text)]
        pieces = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        before = next(number for number, one in enumerate(found, 1) if one is value)
        sign = signs.around(*(without_names(" ".join(part)) for part in (pieces[:before], pieces[before:])))
    return replace(reading, sign=sign, start=offset + value.start, end=offset + value.end)


def _objects(found: loose_json.Value, strings: int = 2) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield the dicts of a value, outermost first, with inherited fields about the sign, and whether they are finished.

    Strings that contain JSON, such as the arguments of a tool call, are read as well, ``strings`` levels deep.
    """
    stack: list[tuple[Any, dict[str, Any], bool, int]] = [(found.value, {}, True, strings)]
    unfinished = set(found.unfinished)
    keep = []  # Python reuses the id of an object that was freed, so the values of strings are kept alive.
    while stack:
        node, said, finished, level = stack.pop()
        children: list[tuple[Any, dict[str, Any], bool, int]] = []
        if isinstance(node, dict):
            finished = finished and id(node) not in unfinished
            yield said | node, finished
            own = said | dict([(key, value) for key, value in node.items() if _tells_sign(key, value)][:16])
            children = [(value, own | _sign_of_key(key), finished, level) for key, value in node.items()]
        elif isinstance(node, list):
            children = [(child, said, finished, level) for child in node]
        elif isinstance(node, str) and "{" in node and level:
            parsed = list(loose_json.values(node))
            keep.append(parsed)
            unfinished.update(*(one.unfinished for one in parsed))
            children = [(one.value, said, finished, level - 1) for one in parsed]
        stack += reversed([child for child in children if isinstance(child[0], dict | list | str)])


def _tells_sign(key: str, value: object) -> bool:
    return not isinstance(value, dict | list) and (
        _plain_key(key) in _SIGN_KEYS | _LABEL_KEYS or signs.of_key(key) is not Sign.NONE
    )


def _sign_of_key(key: str) -> dict[str, Any]:
    """Return the fields that an object inherits from a key such as ``negative_point``."""
    return {key: True} if signs.of_key(key) is not Sign.NONE else {}


def _read_object(item: dict[str, Any]) -> Reading | None:
    """Read the point or the box of one object and its sign, or a stop; None where the object has neither."""
    keys = {_plain_key(key): key for key in item}
    point = _object_point(item, keys)
    ends = {name for name in keys.keys() & _STOP_KEYS if is_stop_word(item[keys[name]])}
    if ends or any(item[keys[name]] is True for name in keys.keys() & _STOP_FLAGS):
        alone = point is None or ends & {"action", "type"}
        return Reading(stop=True) if point is None or alone else Reading(point[0], sign=Sign.UNCLEAR)
    sign = fields_sign(item)
    if point is not None:
        return Reading(point[0], sign=signs.together((sign, point[1])))
    for name in _BOX_KEYS:
        if name in keys and (four := _numbers_in(item[keys[name]], 4)):
            return Reading(box=(four[0], four[1], four[2], four[3]), sign=sign)
    return None


def _object_point(item: dict[str, Any], keys: dict[str, str]) -> tuple[Point, Sign] | None:
    """Return the point of an object, and the sign that the name of the point's field states."""
    x, y = (_number(item[keys[axis]]) if axis in keys else None for axis in "xy")
    if x is not None and y is not None:
        return Point(x, y, named=True), Sign.NONE
    for name in _POINT_KEYS:
        if name in keys and (pair := _numbers_in(item[keys[name]], 2)):
            return Point(pair[0], pair[1]), Sign.NONE
    for key, value in item.items():
        if (
            isinstance(value, list | str)
            and (sign := signs.of_key(key)) is not Sign.NONE
            and (pair := _numbers_in(value, 2))
        ):
            return Point(pair[0], pair[1]), sign
    return None


def fields_sign(item: dict[str, Any]) -> Sign:
    """Return the sign that the fields of an object state."""
    return signs.together(_field_sign(key, value) for key, value in item.items())


def _field_sign(key: str, value: object) -> Sign:
    while isinstance(value, list) and value:
        value = value[0]
    name = _plain_key(key)
    if isinstance(value, dict | list):
        return Sign.NONE
    if name in _SIGN_KEYS or name in _LABEL_KEYS:
        return signs.of_value(value, names=name in _LABEL_KEYS)
    if signs.of_key(key) is Sign.NONE:
        return signs.of_alone(value)
    if _numbers_in(value, 2) or (isinstance(value, float) and value not in (-1, 0, 1)):
        return Sign.NONE
    return signs.of_flag(key, value)


@lru_cache(1024)
def _plain_key(key: str) -> str:
    """Return the name of a field in lower case, with its words joined by underscores."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key.strip())).lower()


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return loose_json.number(value.strip())
    return value if isinstance(value, float) else None


def _numbers_in(value: object, length: int) -> list[float] | None:
    """Return the ``length`` numbers of a list, of the first of several lists, or of a text of numbers and brackets."""
    while isinstance(value, list):
        numbers = [number for number in map(_number, value[: length + 1]) if number is not None]
        if len(numbers) == len(value) == length:
            return numbers
        if length == 4 and len(value) == 2 and all(isinstance(corner, list) and len(corner) == 2 for corner in value):
            return _numbers_in([*value[0], *value[1]], 4)
        value = value[0] if value and isinstance(value[0], list | str) and not numbers else None
    if not isinstance(value, str) or re.search(r"[^\s\d.,;()\[\]+-]", value):
        return None
    numbers = numbers_of(value)
    return numbers if len(numbers) == length else None


def _bare_list(value: object) -> Reading | None:
    """Read a list of numbers, or the first of several, as a point or a box."""
    if not isinstance(value, list):
        return None
    if four := _numbers_in(value, 4):
        return Reading(box=(four[0], four[1], four[2], four[3]))
    pair = _numbers_in(value, 2)
    return Reading(Point(pair[0], pair[1])) if pair else None
