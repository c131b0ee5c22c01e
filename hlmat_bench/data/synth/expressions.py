"""Writes referring expressions: descriptions that are true of exactly one object of a scene.

An expression has a head (a kind, perhaps a colour) and, where the head fits several objects, a choice among them by
size, position or relation. Everything is computed from the scene's description with margins: where a viewer could
doubt which object is meant, there is no expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from hlmat_bench.core.types import Size
from hlmat_bench.data.synth.kinds import KINDS
from hlmat_bench.data.synth.scenes import Thing

Group: TypeAlias = list[int]

LARGER_PERCENT = 160
"""The smallest ratio of the areas of a larger and a smaller object, in percent."""
LONGER_PERCENT = 120
"""The smallest ratio of the longer sides of a larger and a smaller object, in percent."""
FARTHER_PERCENT = 150
"""The smallest ratio of the distances of the second nearest and the nearest object, in percent."""
STEP_PERCENT = 10
"""The smallest distance between positions that an expression distinguishes, in percent of the picture's side."""

_EXTREMES = (("leftmost", 0, 1), ("rightmost", 0, -1), ("topmost", 1, 1), ("lowest", 1, -1))
_RELATIONS = (("to the left of", 0, -1), ("to the right of", 0, 1), ("above", 1, -1), ("below", 1, 1))


@dataclass(frozen=True, slots=True)
class Referral:
    """An expression and the object that it refers to.

    Attributes:
        target: the index of the object among the scene's things.
        text: the expression.
        form: the property that identifies the object: ``attribute``, ``size``, ``position`` or ``relation``.
    """

    target: int
    text: str
    form: str


def referrals(things: Sequence[Thing], size: Size) -> list[Referral]:
    """Return all expressions of all objects, in a fixed order.

    Args:
        things: the scene's objects.
        size: (height, width) of the picture.
    """
    return list(_referrals(things, size))


def _referrals(things: Sequence[Thing], size: Size) -> Iterator[Referral]:
    for (kind, colour), group in _groups(things).items():
        head = f"{colour} " if colour else ""
        if len(group) == 1:
            if colour:
                yield Referral(group[0], f"the {head}{kind}", "attribute")
            continue
        yield from _by_size(things, group, head, kind)
        yield from _by_position(things, group, head + kind, size)
        for anchor in range(len(things)):
            others = [i for i in group if i != anchor]
            if len(others) > 1:
                yield from _by_relation(things, others, head + kind, anchor, size)


def _groups(things: Sequence[Thing]) -> dict[tuple[str, str], Group]:
    """Group the objects by (kind, "") and by (kind, colour)."""
    groups: dict[tuple[str, str], Group] = {}
    for i, thing in enumerate(things):
        groups.setdefault((thing.kind, ""), []).append(i)
        groups.setdefault((thing.kind, thing.colour), []).append(i)
    return groups


def _by_size(things: Sequence[Thing], group: Group, head: str, kind: str) -> Iterator[Referral]:
    ranked = sorted(group, key=lambda i: (things[i].area, i))
    if len(group) == 2:
        low, high = (f"the {word} of the two {head}{KINDS[kind].plural}" for word in ("smaller", "larger"))
    else:
        low, high = (f"the {word} {head}{kind}" for word in ("smallest", "largest"))
    if _clearly_larger(things[ranked[1]], things[ranked[0]]):
        yield Referral(ranked[0], low, "size")
    if all(_clearly_larger(things[ranked[-1]], things[i]) for i in ranked[:-1]):
        yield Referral(ranked[-1], high, "size")


def _clearly_larger(large: Thing, small: Thing) -> bool:
    longer = max(large.half) * 100 >= max(small.half) * LONGER_PERCENT
    return longer and large.area * 100 >= small.area * LARGER_PERCENT


def _by_position(things: Sequence[Thing], group: Group, name: str, size: Size) -> Iterator[Referral]:
    for word, axis, sign in _EXTREMES:
        step = size[1 - axis] * STEP_PERCENT // 100
        edge = axis if sign > 0 else axis + 2
        places = sorted((sign * things[i].centre[axis], sign * things[i].box[edge], i) for i in group)
        clear = [b[0] - a[0] >= step and b[1] > a[1] for a, b in pairwise(places)]
        if clear[0]:
            yield Referral(places[0][2], f"the {word} {name}", "position")
        if axis == 0 and len(places) > 2 and all(clear):
            side = "left" if sign > 0 else "right"
            yield Referral(places[1][2], f"the second {name} from the {side}", "position")


def _by_relation(things: Sequence[Thing], others: Group, name: str, anchor: int, size: Size) -> Iterator[Referral]:
    called = _unique_name(things, anchor)
    if called is None:
        return
    for words, axis, sign in _RELATIONS:
        step = size[1 - axis] * STEP_PERCENT // 100
        next_to = [i for i in others if _next_to(things[i], things[anchor], axis, sign)]
        away = [i for i in others if sign * (things[i].centre[axis] - things[anchor].centre[axis]) <= -step]
        if len(next_to) == 1 and len(away) == len(others) - 1:
            yield Referral(next_to[0], f"the {name} {words} the {called}", "relation")
    near = sorted((_distance(things[i], things[anchor]), i) for i in others)
    if near[1][0] * 10000 >= near[0][0] * FARTHER_PERCENT**2:
        yield Referral(near[0][1], f"the {name} closest to the {called}", "relation")


def _unique_name(things: Sequence[Thing], i: int) -> str | None:
    """Return the shortest name that fits only this object, its kind or its colour and kind; None if neither does."""
    same = [thing for thing in things if thing.kind == things[i].kind]
    if len(same) == 1:
        return things[i].kind
    if sum(thing.colour == things[i].colour for thing in same) == 1:
        return f"{things[i].colour} {things[i].kind}"
    return None


def _next_to(thing: Thing, anchor: Thing, axis: int, sign: int) -> bool:
    """Return whether an object is wholly on one side of another, and not farther away across this direction."""
    apart = thing.box[axis] - anchor.box[axis + 2] if sign > 0 else anchor.box[axis] - thing.box[axis + 2]
    along, across = (abs(thing.centre[k] - anchor.centre[k]) for k in (axis, 1 - axis))
    return apart >= 0 and across <= along


def _distance(a: Thing, b: Thing) -> int:
    """Return the squared distance between the centres of two objects."""
    return sum((p - q) ** 2 for p, q in zip(a.centre, b.centre, strict=True))
