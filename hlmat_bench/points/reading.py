"""Shared parts of the readers: points and boxes as written, and the numbers of a group with their sign."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hlmat_bench.points import signs
from hlmat_bench.points.signs import Sign

# A number that no unit, letter or further digit follows: "50%" and "50px" are read only where the unit says so.
# Possessive quantifiers take all digits at once, so that a long run of digits is read in linear time.
NUMBER = r"(?<![\w.+-])[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?!\w|\s{0,3}%|\s{0,3}px)"
_ONE_NUMBER = re.compile(NUMBER, re.ASCII)
_NAMED = re.compile(rf"""\b([xy])["']?\s{{0,3}}[=:]\s{{0,3}}["']?({NUMBER})""", re.ASCII | re.IGNORECASE)
_UNIT = re.compile(r"\d\s{0,3}(?:%|px)", re.IGNORECASE)
_BOX_TAG = re.compile(r"<box>([^<]*)</box>|<\|box_start\|>([^<]*)<\|box_end\|>")
_OBJECT_NAMES = re.compile(
    r"<ref>[^<]*</ref>|<\|ref\|>[^<]*<\|/ref\|>|<\|object_ref_start\|>[^<]*<\|object_ref_end\|>|</?\|?\w[^<>]*>"
)


@dataclass(frozen=True, slots=True)
class Point:
    """Two numbers as a reply writes them.

    Attributes:
        first, second: the numbers, in the order of writing (x first where `named`).
        named: whether the reply names their axes, so that they are (x, y) in a format of any order.
    """

    first: float
    second: float
    named: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of a reader: the point that counts, the box that counts, or neither.

    Attributes:
        point: two numbers.
        box: four numbers, as written.
        sign: the sign of the click. A point with the sign NONE names the object.
        stop: whether the reply says in this syntax that the work is done.
        start, end: where the point or the box begins and ends in the text.
        centred: whether a box with a sign is a click on its centre.
    """

    point: Point | None = None
    box: tuple[float, float, float, float] | None = None
    sign: Sign = Sign.NONE
    stop: bool = False
    start: int = 0
    end: int = 0
    centred: bool = True


def numbers_of(text: str) -> list[float]:
    """Return the numbers of a text; an empty list where a number has a unit that is not the format's."""
    return [] if _UNIT.search(text) else [float(number) for number in _ONE_NUMBER.findall(text)]


def named_pair(text: str) -> Point | None:
    """Return the point in ``x=0.5, y=0.25``; None where the text contains no such pair."""
    named = _NAMED.findall(text)
    values = {axis.lower(): float(number) for axis, number in named}
    return Point(values["x"], values["y"], named=True) if len(named) == len(values) == 2 else None


def in_group(text: str) -> Reading:
    """Read the point or the first box in one group of numbers: the text in brackets or between tags."""
    if (point := named_pair(text)) is not None:
        return Reading(point)
    numbers = numbers_of(text)
    if len(numbers) == 2:
        return Reading(Point(numbers[0], numbers[1]))
    if len(numbers) < 4:
        return Reading()
    groups = [len(numbers_of(inner)) for inner in re.findall(r"[\[(]([^\[\]()]*)[\])]", text)]
    whole = sum(groups) == len(numbers) and (set(groups) == {4} or (set(groups) == {2} and len(numbers) % 4 == 0))
    if len(numbers) == 4 or whole:
        return Reading(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    return Reading()


def without_names(text: str) -> str:
    """Return a text without tags and the names of objects between them."""
    return _OBJECT_NAMES.sub(" ", text)


def sign_around(text: str, start: int, end: int) -> Sign:
    """Return the sign that the words around a point in a text state, without tags and the names of objects."""
    return signs.around(without_names(text[:start]), without_names(text[end:]))


def last_group(text: str, groups: Sequence[tuple[str, int, int]]) -> Reading:
    """Read the last group of numbers that contains a point or a box, with the sign that the words around it state.

    Args:
        text: the whole text.
        groups: the inner text of every group, and where the group begins and ends.
    """
    for inner, start, end in reversed(groups):
        reading = in_group(inner)
        if reading.point is not None or reading.box is not None:
            return replace(reading, sign=sign_around(text, start, end), start=start, end=end)
    return Reading()


def box_tags(text: str) -> list[tuple[str, int, int]]:
    """Return the text between the tags of every box, and where the box begins and ends."""
    return [(match[1] or match[2] or "", *match.span()) for match in _BOX_TAG.finditer(text)]
