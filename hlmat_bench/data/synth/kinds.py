"""The kinds of objects in scenes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from hlmat_bench.data.synth import shapes_letters, shapes_nature, shapes_solid, shapes_structures, shapes_tools
from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.strokes import Sketch


class Draw(Protocol):
    """A function that draws an object of one kind."""

    def __call__(self, s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
        """Draw into the frame [-w, w] x [-h, h] with strokes of half width p or near to it, in pixels / 16."""
        ...


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind of object that can be drawn and named.

    Attributes:
        noun: the name of one object in expressions.
        plural: the name of several objects in expressions.
        family: the group of similar kinds by which scores are grouped.
        draw: the function that draws it.
        aspect: the frame's width in percent of its height, from and to.
        tilt: the largest turn of the drawing in either direction, in degrees.
        weight: the width of its strokes, in percent of the usual width; less for dense drawings.
        mirrors: whether its mirror image is of the same kind.
    """

    noun: str
    plural: str
    family: str
    draw: Draw
    aspect: tuple[int, int]
    tilt: int
    weight: int
    mirrors: bool = True


def _kind(noun: str, plural: str, draw: Draw, low: int, high: int, tilt: int, weight: int) -> ObjectKind:
    return ObjectKind(noun, plural, noun.split()[-1], draw, (low, high), tilt, weight)


_THINGS = (
    _kind("wheel", "wheels", shapes_tools.wheel, 75, 100, 25, 100),
    _kind("bicycle", "bicycles", shapes_tools.bicycle, 140, 160, 12, 75),
    _kind("key", "keys", shapes_tools.key, 40, 52, 180, 110),
    _kind("comb", "combs", shapes_tools.comb, 190, 260, 45, 70),
    _kind("pair of scissors", "pairs of scissors", shapes_tools.scissors, 50, 68, 180, 100),
    _kind("rake", "rakes", shapes_tools.rake, 48, 66, 30, 90),
    _kind("pair of glasses", "pairs of glasses", shapes_tools.glasses, 230, 280, 30, 90),
    _kind("coat hanger", "coat hangers", shapes_tools.hanger, 140, 180, 25, 90),
    _kind("ladder", "ladders", shapes_structures.ladder, 32, 45, 40, 100),
    _kind("fence", "fences", shapes_structures.fence, 130, 200, 8, 85),
    _kind("antenna", "antennas", shapes_structures.antenna, 70, 100, 12, 80),
    _kind("lattice tower", "lattice towers", shapes_structures.tower, 48, 62, 5, 75),
    _kind("net", "nets", shapes_structures.net, 90, 150, 20, 70),
    _kind("chair", "chairs", shapes_structures.chair, 60, 75, 8, 100),
    _kind("rack", "racks", shapes_structures.rack, 70, 120, 5, 95),
    _kind("birdcage", "birdcages", shapes_structures.birdcage, 60, 78, 8, 75),
    _kind("spider web", "spider webs", shapes_structures.web, 85, 115, 30, 65),
    _kind("insect", "insects", shapes_nature.insect, 78, 100, 180, 70),
    _kind("spider", "spiders", shapes_nature.spider, 95, 125, 180, 75),
    _kind("tree", "trees", shapes_nature.tree, 80, 110, 5, 70),
    _kind("snowflake", "snowflakes", shapes_nature.snowflake, 100, 100, 30, 90),
)
_LETTERS = tuple(
    ObjectKind(
        f"letter {glyph}",
        f"letters {glyph}",
        "letter",
        partial(shapes_letters.draw, glyph),
        (68, 84),
        15,
        100,
        mirrors=False,
    )
    for glyph in shapes_letters.STROKES
)

THIN_KINDS: tuple[ObjectKind, ...] = (*_THINGS, *_LETTERS)
"""Thin, holed and branching objects."""

SOLID_KINDS: tuple[ObjectKind, ...] = (
    _kind("lollipop", "lollipops", shapes_solid.lollipop, 45, 52, 35, 100),
    _kind("hammer", "hammers", shapes_solid.hammer, 60, 72, 35, 100),
    _kind("mushroom", "mushrooms", shapes_solid.mushroom, 90, 108, 20, 100),
    _kind("house", "houses", shapes_solid.house, 88, 108, 8, 100),
    _kind("fish", "fish", shapes_solid.fish, 150, 180, 20, 100),
    _kind("mug", "mugs", shapes_solid.mug, 120, 135, 15, 100),
    _kind("snowman", "snowmen", shapes_solid.snowman, 56, 64, 12, 100),
    _kind("flower", "flowers", shapes_solid.flower, 95, 105, 0, 100),
    _kind("dumbbell", "dumbbells", shapes_solid.dumbbell, 180, 210, 45, 100),
    _kind("arrow", "arrows", shapes_solid.arrow, 58, 72, 30, 100),
)
"""Things of a few thick parts."""

KINDS: dict[str, ObjectKind] = {kind.noun: kind for kind in (*THIN_KINDS, *SOLID_KINDS)}
"""All kinds by their nouns."""

ALIKE: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        ("insect", "spider"),
        ("spider", "web"),
        ("net", "web"),
        ("net", "fence"),
        ("wheel", "web"),
        ("wheel", "bicycle"),
        ("wheel", "snowflake"),
        ("wheel", "glasses"),
        ("comb", "rake"),
        ("antenna", "tower"),
        ("antenna", "rake"),
        ("ladder", "rack"),
        ("ladder", "tower"),
        ("rack", "chair"),
    )
)
"""Families that are never in the same scene, because a picture of one could be mistaken for the other."""
