"""Draws plants, animals and a snowflake.

All functions draw into the frame [-w, w] x [-h, h] around the origin, in sixteenths of a pixel, with strokes of half
width ``p`` or near to it, and come near to all four sides of the frame.
"""

from __future__ import annotations

from hlmat_bench.data.synth.integer_rng import TRIG_BITS, Dice, cos, sin
from hlmat_bench.data.synth.strokes import UNIT, Point, Sketch, between, polar

_INSECT_LEGS = ((88, -42, -62), (100, -6, 18), (90, 30, 86))
"""Reach, knee and foot of the legs of one side, in percent of the frame."""

_SPIDER_LEGS = ((42, -72, 60, -100), (62, -44, 96, -58), (64, 12, 100, 42), (44, 42, 66, 100))
"""Knee (x, y) and foot (x, y) of the legs of one side, in percent of the frame."""


def insect(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw an insect from above, the head up: six jointed legs, feelers, three body parts, perhaps wings."""
    if dice.chance(35):
        _wings(s, dice, w, h, p)
    chest = -h * 20 // 100
    for side in (-1, 1):
        for reach, knee, foot in _INSECT_LEGS:
            hip = (side * w // 10, chest + h * knee // 600)
            bend = (side * w * reach * 62 // 10000, chest + h * knee // 100)
            s.path([hip, bend, (side * (w * reach // 100 - p), h * foot // 100)], p, p * 2 // 3)
        feeler = [(0, -h * 62 // 100), (side * w // 4, -h * 80 // 100), (side * w * 45 // 100, p - h)]
        s.path(feeler, p * 2 // 3)
    s.layer(dice.between(215, 275))
    thick = dice.between(17, 24)
    s.ellipse((0, chest), w * (thick - 2) // 100, h * 20 // 100)
    s.ellipse((0, -h * 54 // 100), w * (thick - 4) // 100, h * 14 // 100)
    s.ellipse((0, h * 45 // 100), w * (thick + 3) // 100, h * 55 // 100)


def _wings(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw the veins of four wings."""
    root, tilt = (0, -h * 18 // 100), dice.between(0, 12)
    for side in (-1, 1):
        for low, high, length in ((-34, -8, 96), (6, 34, 84)):
            around = [
                (side * w * length * x // 10000, root[1] + h * (low + (high - low) * y // 100 - tilt) // 100)
                for x, y in ((35, 10), (75, 0), (100, 30), (95, 75), (60, 100), (30, 70))
            ]
            s.path([root, *around], p * 3 // 5, closed=True)
            s.path([root, between(around[1], around[4], 1, 2), around[2]], p // 2)


def spider(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a spider from above: eight bent legs around two round body parts."""
    top = -h * 12 // 100
    lift = dice.between(-6, 6)
    for side in (-1, 1):
        for knee_x, knee, foot_x, foot in _SPIDER_LEGS:
            knee_at = (side * w * knee_x // 100, h * (knee + lift) // 100)
            end = (side * (w * foot_x // 100 - p), h * foot // 100 - (p if foot > 0 else -p))
            s.path([(side * w // 10, top), knee_at, end], p, p * 3 // 5)
    s.layer(dice.between(215, 275))
    round_ = dice.between(19, 26)
    s.ellipse((0, top), w * 15 // 100, h * 15 // 100)
    s.ellipse((0, h * 24 // 100), w * round_ // 100, h * (round_ + 4) // 100)


def tree(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a bare tree: a trunk that forks repeatedly."""
    trunk = max(p * 2, w // 12)
    fork = (w * dice.between(-8, 8) // 100, h * dice.between(25, 40) // 100)
    s.line((0, h), fork, trunk, trunk * 3 // 4, round_ends=False)
    s.disc(fork, trunk * 3 // 4)
    limbs = dice.between(4, 5)
    for i in range(limbs):
        angle = 180 + 180 * (2 * i + 1) // (2 * limbs) + dice.between(-6, 6)
        tip = ((w * cos(angle)) >> TRIG_BITS, fork[1] + (((h + fork[1]) * sin(angle)) >> TRIG_BITS))
        _branch(s, dice, fork, between(fork, tip, 62, 100), angle, (w - p, h - p), trunk * 3 // 5, dice.between(2, 3))


def _branch(s: Sketch, dice: Dice, a: Point, b: Point, angle: int, frame: Point, thick: int, depth: int) -> None:
    """Draw a branch from a to b with its twigs, inside the frame [-x, x] x [-y, y]; depth 0 has no twigs."""
    shorter = (between(a, b, part, 4) for part in (4, 3, 2, 1, 0))
    b = next(tip for tip in shorter if abs(tip[0]) <= frame[0] and abs(tip[1]) <= frame[1])
    end = max(thick * 3 // 5, UNIT)
    s.line(a, b, thick, end)
    if depth <= 0:
        return
    length = max(abs(b[0] - a[0]), abs(b[1] - a[1]))
    for part, turn, less in ((55, -38, 2), (100, 24, 1), (100, -22, 1)):
        start = between(a, b, part, 100)
        heading = angle + turn * dice.between(70, 130) // 100
        reach = length * dice.between(48, 70) // 100
        stop = polar(start, reach, reach, heading)
        _branch(s, dice, start, stop, heading, frame, max(end * 4 // 5, UNIT), depth - less)


def snowflake(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a snowflake: six arms with side branches in pairs."""
    pairs = [(dice.between(28, 38), dice.between(16, 26)), (dice.between(52, 62), dice.between(22, 34))]
    pairs.append((dice.between(76, 84), dice.between(12, 20)))
    across_x, across_y = w * 115 // 100 - p, h - p
    hexagon = dice.chance(50)
    for arm in range(-90, 270, 60):
        s.line((0, 0), polar((0, 0), across_x, across_y, arm), p)
        for out, length in pairs:
            root = polar((0, 0), across_x * out // 100, across_y * out // 100, arm)
            for turn in (-60, 60):
                tip = polar(root, across_x * length // 100, across_y * length // 100, arm + turn)
                s.line(root, tip, p * 4 // 5)
        if hexagon:
            here, there = (polar((0, 0), across_x * 3 // 10, across_y * 3 // 10, arm + t) for t in (0, 60))
            s.line(here, there, p * 3 // 4)
