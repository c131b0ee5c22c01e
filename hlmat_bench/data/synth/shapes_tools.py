"""Draws tools and other things to use: wheels, keys, combs, scissors.

All functions draw into the frame [-w, w] x [-h, h] around the origin, in sixteenths of a pixel, with strokes of half
width ``p`` or near to it, and reach all four sides of the frame.
"""

from __future__ import annotations

from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.strokes import Point, Sketch, between, polar


def wheel(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a wheel: a tyre or rim, a hub and spokes."""
    tyre = p * dice.between(11, 18) // 10
    spokes, start = dice.between(5, 12), dice.below(90)
    for i in range(spokes):
        angle = start + 360 * i // spokes
        s.line((0, 0), polar((0, 0), w - tyre, h - tyre, angle), p * 3 // 4)
    s.layer(dice.between(200, 290))
    s.ring((0, 0), w - tyre, h - tyre, tyre)
    s.layer(dice.between(225, 285))
    s.ellipse((0, 0), max(w // 7, 2 * p), max(h // 7, 2 * p))


def bicycle(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a bicycle from the side."""
    radius = min(w * 46 // 100, h * 62 // 100)
    back, front = (radius - w, h - radius), (w - radius, h - radius)
    for hub in (back, front):
        s.ring(hub, radius - p, radius - p, p)
        spokes = dice.between(6, 9)
        for i in range(spokes):
            s.line(hub, polar(hub, radius - p, radius - p, 360 * i // spokes), p // 2)
        s.disc(hub, 2 * p)
    s.layer(dice.between(220, 280))
    crank = (-w * 8 // 100, h - radius + h // 12)
    saddle, head = (-w * 26 // 100, -h * 62 // 100), (w * 36 // 100, -h * 68 // 100)
    top = between(crank, saddle, 3, 4)
    for a, b in ((back, crank), (back, top), (crank, head), (top, head), (crank, saddle)):
        s.line(a, b, p)
    s.line(head, front, p)
    grip = (head[0] - w // 20, p - h)
    s.path([head, grip, (grip[0] + w // 5, p - h), (grip[0] + w // 4, p - h + h // 6)], p)
    s.line((saddle[0] - w // 9, saddle[1] - p), (saddle[0] + w // 9, saddle[1] - p), p * 2, p)
    s.ring(crank, 3 * p, 3 * p, p * 2 // 3)
    (x, y), arm = crank, h // 5
    s.path([(x - arm, y + h // 8), crank, (x + arm, y - h // 8)], p * 3 // 4)


def key(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a key with a round or a three-lobed bow, upright, with the bit at the bottom."""
    middle = -w + (2 * w) * dice.between(38, 46) // 100
    radius = min(middle + w, h * 38 // 100)
    s.line((middle, 2 * radius - h), (middle, h - p), p * 5 // 4)
    for i in range(dice.between(2, 3)):
        y = h - p - i * max(h // 7, 4 * p)
        reach = (w - middle) * (10 if i == 0 else dice.between(5, 9)) // 10
        s.line((middle, y), (middle + reach, y), p, round_ends=False)
    s.line((middle - 2 * p, 2 * radius - h + p), (middle + 2 * p, 2 * radius - h + p), p)
    s.layer(dice.between(225, 285))
    if dice.chance(50):
        s.ring((middle, radius - h), radius - p, radius - p, p)
    else:
        lobe, low = radius * 11 // 20, radius * 3 // 2 - h
        for x, y in ((0, lobe - h), (lobe - radius, low), (radius - lobe, low)):
            s.ring((middle + x, y), lobe - p, lobe - p, p)


def comb(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a comb: a curved back and a row of teeth."""
    back = max(h * dice.between(22, 34) // 100, 2 * p)
    teeth = max(7, min(dice.between(8, 14), w * 2 // (p * 6)))
    end = p * 3 // 2
    top = [(w * i // 6, -h + (abs(i) ** 2) * back // 60) for i in range(-6, 7)]
    s.fill([*top, (w, back - h), (-w, back - h)])
    s.layer(dice.between(235, 275))
    for x in (-w + end, w - end):
        s.fill([(x - end, back - h - p), (x + end, back - h - p), (x + end, h), (x - end, h)])
    for i in range(1, teeth):
        x = 2 * end - w + 2 * (w - 2 * end) * i // teeth
        s.line((x, back - h - p), (x, h - p), p * 4 // 5, p // 2)


def scissors(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a pair of open scissors, with the handles at the bottom."""
    pivot = (0, h * dice.between(2, 14) // 100)
    ring_x, ring_y = w * 45 // 100 - p, h * dice.between(21, 25) // 100
    spread = w * dice.between(28, 60) // 100
    for side in (-1, 1):
        s.layer(256 if side < 0 else dice.between(215, 290))
        centre = (side * (w - ring_x - p), h - ring_y - p)
        s.ring(centre, ring_x, ring_y, p * 5 // 4 if ring_x > 3 * p else p)
        s.line((centre[0] - side * ring_x // 2, centre[1] - ring_y), pivot, p * 5 // 4, p * 3 // 2)
        tip = (-side * spread, -h)
        wide = max(w // 7, 2 * p)
        s.fill([(pivot[0] - wide // 2, pivot[1]), tip, (pivot[0] + wide // 2, pivot[1])])
        s.disc(pivot, p * 3 // 2)
    s.layer(150)
    s.disc(pivot, p)


def rake(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a garden rake, with the teeth at the bottom: a bar of teeth, or a fan."""
    s.line((0, p - h), (0, h * 45 // 100), p)
    s.layer(dice.between(215, 285))
    teeth = dice.between(7, 11)
    shoulder = (0, h * 40 // 100)
    fan = dice.chance(50)
    for i in range(teeth):
        x = p - w + 2 * (w - p) * i // (teeth - 1)
        if fan:
            s.path([shoulder, (x, h * 86 // 100), (x, h - p)], p * 3 // 4)
        else:
            s.line((x, h * 62 // 100), (x, h - p), p * 3 // 4)
    bar = h * 62 // 100
    if fan:
        half_way = (h * 40 // 100 + h * 86 // 100) // 2
        s.line(((p - w) // 2, half_way), ((w - p) // 2, half_way), p)
    else:
        s.line((p - w, bar), (w - p, bar), p)
        s.path([(-w // 2, bar), shoulder, (w // 2, bar)], p * 3 // 4)


def glasses(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a pair of glasses from the front, with the temples folded out to the sides."""
    lens_x, lens_y = w * dice.between(36, 40) // 100, h - p
    gap = w * dice.between(8, 12) // 100
    square = dice.chance(40)
    for side in (-1, 1):
        centre = (side * (gap + lens_x), 0)
        if square:
            s.path(_rounded(centre, lens_x - p, lens_y), p, closed=True)
        else:
            s.ring(centre, lens_x - p, lens_y, p)
        s.path([(side * (gap + 2 * lens_x - p), -h // 3), (side * (w - p), -h * 45 // 100)], p)
        s.line((side * (w - p), -h * 45 // 100), (side * (w - p), h // 5), p * 3 // 4)
    s.layer(dice.between(225, 285))
    s.arc((0, 0), gap + p, max(h // 3, p), 180, 360, p)


def _rounded(centre: Point, x: int, y: int) -> list[Point]:
    corner = min(x, y) // 3
    quarters = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return [
        polar((centre[0] + a * (x - corner), centre[1] + b * (y - corner)), corner, corner, 90 * i + turn)
        for i, (a, b) in enumerate(quarters)
        for turn in (0, 30, 60, 90)
    ]


def hanger(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a coat hanger: a hook, sloping shoulders and a bar."""
    hook = min(h * dice.between(24, 30) // 100, w // 3)
    neck = 3 * hook - h
    s.arc((0, hook - h), hook - p, hook - p, 180, 450, p)
    s.line((0, 2 * hook - h - p), (0, neck), p)
    s.layer(dice.between(225, 285))
    bar = h - p
    shoulders = [(p - w, bar - h // 8), (0, neck), (w - p, bar - h // 8)]
    s.path([*shoulders, (w * 85 // 100, bar), (-w * 85 // 100, bar)], p * 5 // 4, closed=True)
    if dice.chance(50):
        for side in (-1, 1):
            at = between((0, neck), (side * w, bar), dice.between(30, 55), 100)
            s.line(at, (at[0], bar), p * 3 // 4)
