"""Draws built things: ladders, fences, towers, nets, furniture.

All functions draw into the frame [-w, w] x [-h, h] around the origin, in sixteenths of a pixel, with strokes of half
width ``p`` or near to it, and reach all four sides of the frame.
"""

from __future__ import annotations

from itertools import pairwise

from hlmat_bench.data.synth.integer_rng import TRIG_BITS, Dice, sin
from hlmat_bench.data.synth.strokes import Point, Sketch, between, polar


def ladder(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a ladder: two rails and rungs."""
    top = w - p - w * dice.between(0, 22) // 100
    left, right = ((-w + p, h - p), (-top, p - h)), ((w - p, h - p), (top, p - h))
    rungs = dice.between(5, 9)
    for i in range(rungs):
        part = 2 * i + 1
        s.line(between(*left, part, 2 * rungs), between(*right, part, 2 * rungs), p * 3 // 4)
    s.layer(dice.between(225, 290))
    s.line(*left, p)
    s.line(*right, p)


def fence(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a fence: pointed pickets on two rails, or posts with crossed boards."""
    if dice.chance(65):
        _picket_fence(s, dice, w, h, p)
    else:
        _crossed_fence(s, dice, w, h, p)


def _picket_fence(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    half = p * 7 // 4
    pickets = max(5, min(dice.between(7, 11), w // (half * 2)))
    for y in (-h * 45 // 100, h * 50 // 100):
        s.line((half - w, y), (w - half, y), p)
    s.layer(dice.between(230, 285))
    for i in range(pickets):
        x = half - w + 2 * (w - half) * i // (pickets - 1)
        s.fill([(x - half, h), (x - half, half - h), (x, -h), (x + half, half - h), (x + half, h)])


def _crossed_fence(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    fields = dice.between(2, 4)
    rail = h - p * 5 // 2
    xs = [p - w + 2 * (w - p) * i // fields for i in range(fields + 1)]
    for a, b in pairwise(xs):
        s.line((a, -rail), (b, rail), p * 3 // 4)
        s.line((a, rail), (b, -rail), p * 3 // 4)
    for y in (-rail, rail):
        s.line((xs[0], y), (xs[-1], y), p)
    s.layer(dice.between(225, 285))
    for x in xs:
        s.fill([(x - p, -h), (x + p, -h), (x + p, h), (x - p, h)])


def antenna(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a rooftop aerial: a mast, one or two booms and rods of decreasing length."""
    s.line((0, h - p), (0, p - h), p)
    rods = dice.between(6, 10)
    tall = h * dice.between(28, 36) // 100
    middle = tall - h + p
    s.layer(dice.between(225, 285))
    s.line((p - w, middle), (w - p, middle), p)
    for i in range(rods):
        x = p - w + 2 * (w - p) * i // (rods - 1)
        reach = tall - p - (tall // 2) * i // (rods - 1)
        s.line((x, middle - reach), (x, middle + reach), p * 3 // 4)
    if dice.chance(40):
        low, arm = h * dice.between(5, 20) // 100, w * dice.between(40, 65) // 100
        s.line((-arm, low), (arm, low), p)
        for x in (-arm, -arm // 2, arm // 2, arm):
            s.line((x, low - h // 8), (x, low + h // 8), p * 3 // 4)


def tower(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a lattice tower: two tapering legs, braces between them, arms for cables."""
    foot, head = w - p, w * dice.between(12, 20) // 100
    left, right = ((-foot, h - p), (-head, p - h)), ((foot, h - p), (head, p - h))
    part, stops = 0, [0]
    while part < 90:
        part += max(9, (100 - part) * 24 // 100)
        stops.append(min(part, 100))
    for low, high in pairwise(stops):
        s.line(between(*left, low, 100), between(*right, high, 100), p * 2 // 3)
        s.line(between(*right, low, 100), between(*left, high, 100), p * 2 // 3)
        s.line(between(*left, high, 100), between(*right, high, 100), p * 2 // 3)
    s.layer(dice.between(230, 280))
    s.line(*left, p)
    s.line(*right, p)
    for y, reach in ((-h * 78 // 100, w * 70 // 100), (-h * 52 // 100, w - p)):
        s.path([(-head, y - h // 10), (-reach, y), (reach, y), (head, y - h // 10)], p * 3 // 4)


def net(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a hanging net: sagging meshes, square or diamond, inside a rope."""
    columns = dice.between(4, 7)
    rows = max(3, columns * h // w)
    sag, inner = h * dice.between(4, 16) // 100, p * 2 // 3

    def knot(i: int, j: int, whole_x: int, whole_y: int) -> Point:
        x = p - w + 2 * (w - p) * i // whole_x
        bend = sag * sin(180 * i // whole_x) >> TRIG_BITS
        return x, p - h + bend + (2 * (h - p) - sag) * j // whole_y

    if dice.chance(50):
        for j in range(1, rows):
            s.path([knot(i, j, 12, rows) for i in range(13)], inner)
        for i in range(1, columns):
            s.line(knot(i, 0, columns, rows), knot(i, rows, columns, rows), inner)
    else:
        for i in range(columns):
            for j in range(rows):
                s.line(knot(i, j, columns, rows), knot(i + 1, j + 1, columns, rows), inner)
                s.line(knot(i + 1, j, columns, rows), knot(i, j + 1, columns, rows), inner)
    s.layer(dice.between(215, 275))
    around = [knot(i, 0, 12, 1) for i in range(13)] + [knot(i, 1, 12, 1) for i in range(12, -1, -1)]
    s.path(around, p, closed=True)


def chair(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a wooden chair, from the front and a little from the side."""
    depth, seat = w * dice.between(45, 65) // 100, h * dice.between(8, 20) // 100
    front, back = seat + h * 14 // 100, seat - h * 4 // 100
    a, b = (p - w, front), (w - p - depth, front)
    c, d = (w - p, back), (p - w + depth, back)
    for foot in (c, d):
        s.line(foot, (foot[0], h - p - h * 14 // 100), p)
    s.line((d[0], h * 62 // 100), (c[0], h * 62 // 100), p * 2 // 3)
    slats = dice.between(2, 5)
    if dice.chance(50):
        for i in range(slats):
            y = p - h + (back + h) * i // (slats + 1)
            s.line((d[0], y), (c[0], y), p)
    else:
        for y in (p - h, (back - h) * 55 // 100):
            s.line((d[0], y), (c[0], y), p)
        for i in range(1, slats + 1):
            x = d[0] + (c[0] - d[0]) * i // (slats + 1)
            s.line((x, p - h), (x, back), p * 2 // 3)
    for post in (c, d):
        s.line(post, (post[0], p - h), p)
    s.layer(dice.between(225, 275))
    for foot in (a, b):
        s.line(foot, (foot[0], h - p), p)
    s.line((a[0], h * 70 // 100), (b[0], h * 70 // 100), p * 2 // 3)
    s.fill([a, b, c, d])
    s.path([a, b, c, d], p, closed=True)


def rack(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw an open storage rack: uprights, shelves, and a crossed brace in every bay."""
    shelves, bays = dice.between(4, 5), dice.between(1, 2)
    xs = [p - w + 2 * (w - p) * i // bays for i in range(bays + 1)]
    ys = [2 * p - h + (2 * h - 6 * p) * i // (shelves - 1) for i in range(shelves)]
    for i in range(bays):
        j = dice.below(shelves - 1)
        s.line((xs[i], ys[j]), (xs[i + 1], ys[j + 1]), p // 2)
        s.line((xs[i + 1], ys[j]), (xs[i], ys[j + 1]), p // 2)
    for y in ys:
        s.fill([(-w, y - p), (w, y - p), (w, y + p), (-w, y + p)])
    s.layer(dice.between(220, 280))
    for x in xs:
        s.fill([(x - p, -h), (x + p, -h), (x + p, h), (x - p, h)])


def birdcage(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a birdcage: upright bars with a dome and a ring on top."""
    ring = h // 9
    dome, base = -h * dice.between(5, 25) // 100, h - 2 * p
    crown = 2 * ring + p - h
    bars = dice.between(2, 4)
    for i in range(-bars, bars + 1):
        x = (w - 2 * p) * i // bars
        s.line((x, base), (x, dome), p * 3 // 4)
        lean = [(x * (100 - t * t) // 100, dome + (crown - dome) * t // 10) for t in range(0, 11, 2)]
        s.path(lean, p * 3 // 4)
    s.layer(dice.between(220, 285))
    for y in (dome, (dome + base) // 2):
        s.line((2 * p - w, y), (w - 2 * p, y), p)
    s.fill([(-w, base - 2 * p), (w, base - 2 * p), (w, h), (-w, h)])
    s.ring((0, ring - h), ring - p, ring - p, p)
    s.disc((0, crown), 2 * p)


def web(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a spider's web: spokes, and rings that sag between them."""
    spokes, rings = dice.between(6, 9), dice.between(3, 4)
    rim = [polar((0, 0), w, h, 360 * i // spokes + i * 37 % 13 - 96) for i in range(spokes)]
    scale_x, scale_y = max(abs(x) for x, _ in rim), max(abs(y) for _, y in rim)
    rim = [(x * (w - p) // scale_x, y * (h - p) // scale_y) for x, y in rim]
    for j in range(1, rings + 1):
        part = 100 * j // (rings + 1) + 8
        for a, b in zip(rim, rim[1:] + rim[:1], strict=True):
            here, there = between((0, 0), a, part, 100), between((0, 0), b, part, 100)
            middle = between((0, 0), between(here, there, 1, 2), 86, 100)
            s.path([here, middle, there], p * 3 // 4)
    s.layer(dice.between(230, 290))
    for point in rim:
        s.line((0, 0), point, p)
