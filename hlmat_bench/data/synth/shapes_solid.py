"""Draws things of a few thick parts in different tones, so that one click rarely finds the whole of them.

All functions draw into the frame [-w, w] x [-h, h] around the origin, in sixteenths of a pixel, and come near to all
four sides of the frame. The half width ``p`` of strokes is not used: nothing in these drawings is thin.
"""

from __future__ import annotations

from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.strokes import Sketch, polar


def lollipop(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a lollipop: a ball on a stick."""
    half = w * dice.between(20, 26) // 100
    s.fill([(-half, w - h), (half, w - h), (half, h), (-half, h)])
    _next_part(s, dice)
    s.ellipse((0, w - h), w, w)


def hammer(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a hammer: a head across the upper end of a handle."""
    neck, half = -h * dice.between(40, 52) // 100, w * dice.between(20, 26) // 100
    s.fill([(-half, neck), (half, neck), (half, h), (-half, h)])
    _next_part(s, dice)
    s.fill([(-w, -h), (w, -h), (w, neck), (-w, neck)])


def mushroom(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a mushroom: a round cap on a stem."""
    rim, half = h * dice.between(0, 15) // 100, w * dice.between(28, 38) // 100
    s.fill([(-half, rim), (half, rim), (half, h), (-half, h)])
    _next_part(s, dice)
    s.fill([polar((0, rim), w, rim + h, angle) for angle in range(180, 361, 10)])


def house(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a house: a wall under a roof."""
    eaves, half = -h * dice.between(5, 20) // 100, w * dice.between(70, 80) // 100
    s.fill([(-half, eaves), (half, eaves), (half, h), (-half, h)])
    _next_part(s, dice)
    s.fill([(-w, eaves), (0, -h), (w, eaves)])


def fish(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a fish: an oval body and a tail fin."""
    root = w * dice.between(30, 40) // 100
    s.fill([(root - w // 8, 0), (w, -h), (w, h)])
    _next_part(s, dice)
    s.ellipse(((root - w) // 2, 0), (root + w) // 2, h * 85 // 100)


def mug(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a mug: a body and a broad handle."""
    side = w * dice.between(22, 32) // 100
    s.ellipse((side, 0), w - side, h * 70 // 100)
    s.ellipse((side, 0), (w - side) * 45 // 100, h * 32 // 100, hole=True)
    _next_part(s, dice)
    s.fill([(-w, -h), (side, -h), (side, h), (-w, h)])


def snowman(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a snowman: a small ball on a large one."""
    head = w * dice.between(62, 72) // 100
    s.ellipse((0, head - h), head, head)
    _next_part(s, dice)
    s.ellipse((0, head * 3 // 4), w, h - head * 3 // 4)


def flower(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a flower: round petals around a middle."""
    petals, turn = dice.between(4, 5), dice.between(0, 89)
    for i in range(petals):
        s.ellipse(polar((0, 0), w * 66 // 100, h * 66 // 100, turn + 360 * i // petals), w * 34 // 100, h * 34 // 100)
    _next_part(s, dice)
    s.ellipse((0, 0), w * 40 // 100, h * 40 // 100)


def dumbbell(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a dumbbell: two weights on a bar."""
    half, end = h * dice.between(26, 34) // 100, w * dice.between(34, 42) // 100
    s.fill([(end - w, -half), (w - end, -half), (w - end, half), (end - w, half)])
    _next_part(s, dice)
    for side in (-1, 1):
        s.fill([(side * (w - end), -h), (side * w, -h), (side * w, h), (side * (w - end), h)])


def arrow(s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw an arrow that points up."""
    neck, half = -h * dice.between(5, 20) // 100, w * dice.between(32, 40) // 100
    s.fill([(-half, neck), (half, neck), (half, h), (-half, h)])
    _next_part(s, dice)
    s.fill([(-w, neck), (0, -h), (w, neck)])


def _next_part(s: Sketch, dice: Dice) -> None:
    """Begin a part in another tone."""
    s.layer(dice.pick((120, 140, 350, 380)))
