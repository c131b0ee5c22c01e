"""Reads clicks between tags, as Molmo, MiniCPM-V, Qwen-VL, InternVL, DeepSeek-VL2 and PaliGemma write them."""

from __future__ import annotations

import re

from hlmat_bench.points import signs
from hlmat_bench.points.json_reader import fields_sign
from hlmat_bench.points.reading import NUMBER, Point, Reading, box_tags, in_group, last_group, numbers_of, sign_around
from hlmat_bench.points.signs import Sign

_POINT_TAG = re.compile(r"<points?\b([^<>]*)>([^<]*)(?:</points?>)?")


def read_point_tag(text: str) -> Reading:
    """Read ``<point x="1.5" y="2.5" ...>`` (Molmo), ``<points x1= y1= ...>`` or ``<point>1 2</point>`` (MiniCPM-V).

    The first point counts. A reply without points may have MiniCPM-V's ``<box>1 2 3 4</box>``
    (OpenBMB/MiniCPM-V#185, #982).
    """
    for match in _POINT_TAG.finditer(text):
        attributes, inside = match[1], match[2]
        x, y = (_attribute(axis, attributes) for axis in "xy")
        point, label = (Point(x, y, named=True), inside) if x is not None and y is not None else (None, "")
        if point is None and (point := in_group(inside).point) is None:
            continue
        sign = signs.together((_attribute_sign(attributes), signs.of_value(label, names=True)))
        if sign is Sign.NONE:
            sign = sign_around(text, *match.span())
        return Reading(point, sign=sign, start=match.start(), end=match.end())
    return last_group(text, [group for group in box_tags(text) if len(group[0].split()) == 4 and "," not in group[0]])


def _attribute(axis: str, attributes: str) -> float | None:
    found = re.search(rf"""\b{axis}1?\s*=\s*["']?({NUMBER})""", attributes, re.ASCII)
    return float(found[1]) if found else None


def _attribute_sign(attributes: str) -> Sign:
    """Return the sign that the attributes of a tag state, read like fields of JSON."""
    found = re.findall(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""", attributes)
    return fields_sign({key: double or single for key, double, single in found if key != "coords"})


def read_points_tag(text: str) -> Reading:
    """Read ``<points coords="1 1 900 400 2 911 800">`` (Molmo 2): image, then number, x and y of the first point."""
    match = re.search(r"""<points?\b([^<>]*?\bcoords\s*=\s*["']([^"'<>]*)["'][^<>]*)>([^<]*)(?:</points?>)?""", text)
    numbers = numbers_of(match[2]) if match else []
    if match is None or len(numbers) < 4:
        return Reading()
    sign = signs.together((_attribute_sign(match[1]), signs.of_value(match[3], names=True)))
    if sign is Sign.NONE:
        sign = sign_around(text, *match.span())
    return Reading(Point(numbers[2], numbers[3]), sign=sign, start=match.start(), end=match.end())


def read_box(text: str) -> Reading:
    """Read the last ``<box>(1,2),(3,4)</box>``, or two numbers in it as a point (Qwen-VL, InternVL)."""
    return last_group(text, box_tags(text))


def read_det(text: str) -> Reading:
    """Read the last ``<|det|>[[1, 2, 3, 4]]<|/det|>`` (DeepSeek-VL2); a repeated opening tag begins the group anew."""
    groups, position = [], 0
    for piece in text.split("<|det|>"):
        inner, end, _ = piece.partition("<|/det|>")
        if end and position:
            groups.append((inner, position - len("<|det|>"), position + len(inner) + len(end)))
        position += len(piece) + len("<|det|>")
    return last_group(text, groups)


def read_loc(text: str) -> Reading:
    """Read PaliGemma's tokens ``<loc0000>`` to ``<loc1023>``: the last group of two (a point) or four (a box)."""
    found = re.finditer(r"(?:<loc\d{4}>\s*+)+", text, re.ASCII)
    return last_group(text, [(re.sub(r"[^\d]+", " ", match[0]), *match.span()) for match in found])
