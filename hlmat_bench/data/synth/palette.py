"""Named colours that stay distinguishable under all light of the scenes."""

from __future__ import annotations

import math
from typing import TypeAlias

RGB: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (204, 34, 38),
    "orange": (240, 130, 24),
    "yellow": (240, 212, 48),
    "green": (44, 150, 60),
    "blue": (40, 86, 208),
    "purple": (128, 52, 172),
    "pink": (244, 140, 186),
    "brown": (116, 72, 38),
    "white": (240, 240, 236),
    "black": (30, 30, 34),
}
"""All colours that an expression may name, in 8-bit RGB."""

ALIKE: frozenset[frozenset[str]] = frozenset(
    frozenset(pair)
    for pair in (
        ("red", "orange"),
        ("red", "pink"),
        ("red", "brown"),
        ("orange", "yellow"),
        ("orange", "brown"),
        ("yellow", "white"),
        ("blue", "purple"),
        ("blue", "black"),
        ("purple", "pink"),
        ("purple", "black"),
        ("pink", "white"),
        ("brown", "black"),
        ("green", "brown"),
        ("brown", "purple"),
    )
)
"""Colours that are never in the same scene, because shade, light or blur could turn one into the other."""


def distance(a: RGB, b: RGB) -> int:
    """Return the distance between two colours, 0 to 765: Euclidean, weighted 3 : 4 : 2 over red, green and blue."""
    red, green, blue = (x - y for x, y in zip(a, b, strict=True))
    return math.isqrt(3 * red * red + 4 * green * green + 2 * blue * blue)
