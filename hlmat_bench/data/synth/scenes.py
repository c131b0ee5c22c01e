"""Composes scenes: chooses objects and their places with integers, before anything is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from hlmat_bench.core.types import Box, Size
from hlmat_bench.data.synth import palette
from hlmat_bench.data.synth.integer_rng import TRIG_BITS, Dice, cos, sin
from hlmat_bench.data.synth.kinds import ALIKE, KINDS
from hlmat_bench.data.synth.raster import RasterShape
from hlmat_bench.data.synth.strokes import UNIT, Polygon, Sketch
from hlmat_bench.data.synth.styles import Level, Style

Layers: TypeAlias = list[tuple[int, RasterShape]]

_MARGIN = 3
"""The smallest distance of objects from the picture's border, in pixels."""


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of a scene.

    Attributes:
        kind: its noun, a key of `kinds.KINDS`.
        colour: its colour, a key of `palette.COLOURS`.
        centre: (x, y) of its centre in pixels.
        half: half the width and half the height of its frame before turning, in sixteenths of a pixel.
        angle: the turn, clockwise, in degrees.
        mirrored: whether left and right are swapped.
        pen: half width of its strokes, in sixteenths of a pixel.
        stream: the random stream of its drawing.
    """

    kind: str
    colour: str
    centre: tuple[int, int]
    half: tuple[int, int]
    angle: int
    mirrored: bool
    pen: int
    stream: tuple[int, ...] = field(repr=False)

    @property
    def box(self) -> Box:
        """The box around the turned frame, (x0, y0, x1, y1) in pixels; the drawing is inside it."""
        x, y = turned_half(self.half, self.angle)
        return self.centre[0] - x, self.centre[1] - y, self.centre[0] + x, self.centre[1] + y

    @property
    def area(self) -> int:
        """The area of the frame in pixels."""
        return 4 * self.half[0] * self.half[1] // UNIT**2


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene without its pixels.

    Attributes:
        style: the set of scenes that it belongs to.
        size: (height, width) in pixels.
        level: its difficulty.
        things: the objects, the farthest first.
        blades: blades of grass in the foreground, polygons in sixteenths of a pixel.
        stream: the seed and the random stream of the scene.
    """

    style: Style
    size: Size
    level: Level
    things: tuple[Thing, ...]
    blades: tuple[Polygon, ...] = field(repr=False)
    stream: tuple[int, ...] = field(repr=False)


def turned_half(half: tuple[int, int], angle: int) -> tuple[int, int]:
    """Return half the width and height, in pixels, of the box around a frame turned by an angle."""
    c, s = abs(cos(angle)), abs(sin(angle))
    (w, h), scale = half, UNIT << TRIG_BITS
    return -(-(w * c + h * s) // scale), -(-(w * s + h * c) // scale)


def outline(thing: Thing) -> Layers:
    """Draw an object at its place, as layers of a tone (256 is the plain colour) and a shape."""
    sketch = Sketch()
    KINDS[thing.kind].draw(sketch, Dice(*thing.stream), *thing.half, thing.pen)
    c, s, flip = cos(thing.angle), sin(thing.angle), -1 if thing.mirrored else 1
    turn = np.array([[flip * c, flip * s], [-s, c]], np.int64)
    layers: Layers = []
    for tone, polygons in sketch.layers:
        if polygons:
            shape = RasterShape.of(polygons, backwards=thing.mirrored)
            points = (shape.points @ turn >> TRIG_BITS) + np.array(thing.centre) * UNIT
            layers.append((tone, RasterShape(points, shape.follows)))
    return layers


class _Role(NamedTuple):
    """The plan of an object: its kind, its colour and its length in percent of the mean."""

    kind: str
    colour: str
    share: int


def draw_scene(style: Style, index: int, stream: tuple[int, ...]) -> Scene:
    """Compose a scene; it depends only on these values.

    Args:
        style: what may be in the scene.
        index: the index of the scene; levels and leading families alternate by it.
        stream: the seed and the random stream; another one gives another scene of the same level and leading family.
    """
    dice, level = Dice(*stream), style.levels[index % len(style.levels)]
    size = dice.pick(style.sizes)
    placed: list[Thing] = []
    for role in _cast(dice, style, level, style.families[index % len(style.families)]):
        thing = _place(dice, level, size, role, [other.box for other in placed], (*stream, 1 + len(placed)))
        if thing is not None:
            placed.append(thing)
    return Scene(style, size, level, tuple(dice.shuffled(placed)), _blades(dice, level, size), stream)


def _cast(dice: Dice, style: Style, level: Level, lead: str) -> list[_Role]:
    """Choose the objects, the large ones first.

    Two objects are of the same kind of the leading family, and a third has the colour of one of them, so that neither
    kind nor colour alone identifies an object.
    """
    families = _apart([lead, *dice.shuffled(style.families)], ALIKE, dice.between(2, 3))
    nouns = [dice.pick([kind.noun for kind in style.kinds if kind.family == family]) for family in families]
    colours = _apart(dice.shuffled(style.colours), palette.ALIKE, dice.between(2, 3))
    pairs = [(nouns[0], colours[0]), (nouns[0], colours[1]), (nouns[1], colours[0])]
    pairs += [(dice.pick(nouns), dice.pick(colours)) for _ in range(dice.between(*level.things) - len(pairs))]
    roles = [_Role(*pair, dice.pick((72, 100, 100, 138))) for pair in pairs]
    return sorted(roles, key=lambda role: -role.share)


def _apart(names: Sequence[str], alike: frozenset[frozenset[str]], count: int) -> list[str]:
    """Return the first ``count`` of the names, without names that repeat or are alike."""
    chosen: list[str] = []
    for name in names:
        near = {other for other in chosen if other == name or frozenset((name, other)) in alike}
        if len(chosen) < count and not near:
            chosen.append(name)
    return chosen


def _place(
    dice: Dice, level: Level, size: Size, role: _Role, taken: Sequence[Box], stream: tuple[int, ...]
) -> Thing | None:
    """Place an object where its box fits with those taken, smaller if necessary; None where it fits nowhere."""
    height, width = size
    spec = KINDS[role.kind]
    aspect, angle = dice.between(*spec.aspect), dice.between(-spec.tilt, spec.tilt)
    mirrored = spec.mirrors and dice.chance(50)
    for attempt in range(80):
        length = _mean_length(level, size) * role.share * (100 - attempt // 2) // 10000
        long = length * UNIT // 2
        half = (long, long * 100 // aspect) if aspect > 100 else (long * aspect // 100, long)
        x, y = (extent + _MARGIN for extent in turned_half(half, angle))
        if 2 * x >= width or 2 * y >= height:
            continue
        centre = dice.between(x, width - x), dice.between(y, height - y)
        pen = max(length * UNIT * spec.weight // (100 * level.slender), 3 * UNIT // 2)
        thing = Thing(role.kind, role.colour, centre, half, angle, mirrored, pen, stream)
        if _fits(thing.box, taken, level.overlap):
            return thing
    return None


def _mean_length(level: Level, size: Size) -> int:
    """Return the mean length of objects, in pixels."""
    return math.isqrt(size[0] * size[1] * 100 // (level.things[1] * 128))


def _fits(box: Box, others: Sequence[Box], overlap: int) -> bool:
    """Return whether a box keeps the gap from all others, or overlaps only one of them and not too much."""
    gap = max(-overlap, 0)
    touched = [shared for other in others if (shared := _shared(box, other, gap)) is not None]
    return not touched or (len(touched) == 1 and touched[0] <= overlap)


def _shared(a: Box, b: Box, gap: int) -> int | None:
    """Return the overlap of two boxes in percent of the smaller one; None where they are ``gap`` or more apart.

    The gap is added to both sides of the overlap.
    """
    wide = min(a[2], b[2]) - max(a[0], b[0]) + gap
    tall = min(a[3], b[3]) - max(a[1], b[1]) + gap
    if wide <= 0 or tall <= 0:
        return None
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return 100 * wide * tall // smaller


def _blades(dice: Dice, level: Level, size: Size) -> tuple[Polygon, ...]:
    """Draw blades of grass in the foreground, from the lower edge up."""
    height, width = (extent * UNIT for extent in size)
    sketch = Sketch()
    for _ in range(dice.between(0, level.blades)):
        x, top = dice.below(width), height * dice.between(25, 75) // 100
        bend = width * dice.between(-12, 12) // 100
        path = [(x + bend * t * t // 25, height - (height - top) * t // 5) for t in range(6)]
        sketch.path(path, max(width // 150, 2 * UNIT), UNIT // 2)
    return tuple(sketch.layers[0][1])
