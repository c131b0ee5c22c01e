"""Draws capital letters with strokes of a pen, so that no font of the machine is needed.

Glyphs are on a grid of width 6 and height 8, with its origin at the top left.
"""

from __future__ import annotations

from typing import TypeAlias

from hlmat_bench.data.synth.integer_rng import Dice
from hlmat_bench.data.synth.strokes import Point, Sketch

Arc: TypeAlias = tuple[int, int, int, int, int, int]
"""Centre x, centre y, radius x, radius y, first and last angle in degrees: 0 right, 90 down."""

STROKES: dict[str, list[list[Point]]] = {
    "A": [[(0, 8), (3, 0), (6, 8)], [(1, 5), (5, 5)]],
    "B": [[(0, 4), (0, 0), (4, 0)], [(0, 4), (4, 4)], [(0, 4), (0, 8), (4, 8)]],
    "E": [[(6, 0), (0, 0), (0, 8), (6, 8)], [(0, 4), (5, 4)]],
    "F": [[(6, 0), (0, 0), (0, 8)], [(0, 4), (5, 4)]],
    "H": [[(0, 0), (0, 8)], [(6, 0), (6, 8)], [(0, 4), (6, 4)]],
    "K": [[(0, 0), (0, 8)], [(6, 0), (0, 5)], [(2, 3), (6, 8)]],
    "M": [[(0, 8), (0, 0), (3, 5), (6, 0), (6, 8)]],
    "N": [[(0, 8), (0, 0), (6, 8), (6, 0)]],
    "P": [[(0, 8), (0, 0), (4, 0)], [(0, 4), (4, 4)]],
    "R": [[(0, 8), (0, 0), (4, 0)], [(0, 4), (4, 4)], [(3, 4), (6, 8)]],
    "T": [[(0, 0), (6, 0)], [(3, 0), (3, 8)]],
    "W": [[(0, 0), (1, 8), (3, 3), (5, 8), (6, 0)]],
    "X": [[(0, 0), (6, 8)], [(6, 0), (0, 8)]],
    "Y": [[(0, 0), (3, 4), (6, 0)], [(3, 4), (3, 8)]],
    "Z": [[(0, 0), (6, 0), (0, 8), (6, 8)]],
}
ARCS: dict[str, list[Arc]] = {
    "B": [(4, 2, 2, 2, -90, 90), (4, 6, 2, 2, -90, 90)],
    "P": [(4, 2, 2, 2, -90, 90)],
    "R": [(4, 2, 2, 2, -90, 90)],
}


def draw(glyph: str, s: Sketch, dice: Dice, w: int, h: int, p: int) -> None:
    """Draw a letter in the frame [-w, w] x [-h, h], outlined like a sign or with plain strokes."""
    half = max(p * 3 // 2, w // 9)

    def at(x: int, y: int) -> Point:
        return half - w + (w - half) * x // 3, half - h + (h - half) * y // 4

    def all_strokes(width: int) -> None:
        for path in STROKES[glyph]:
            s.path([at(*point) for point in path], width)
        for x, y, rx, ry, start, stop in ARCS.get(glyph, []):
            s.arc(at(x, y), (w - half) * rx // 3, (h - half) * ry // 4, start, stop, width)

    all_strokes(half)
    if dice.chance(60):
        s.layer(dice.pick((200, 300)))
        all_strokes(half // 3)
