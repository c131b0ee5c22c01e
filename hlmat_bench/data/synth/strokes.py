"""Draws lines as polygons with integer corners.

Lengths are in sixteenths of a pixel (`UNIT` per pixel), x to the right, y down, relative to the object's centre.
Nothing is rounded twice and no floating point is used: `math.isqrt` gives lengths, the table of `integer_rng`
directions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from hlmat_bench.data.synth.integer_rng import TRIG_BITS, cos, sin

UNIT = 16

Point: TypeAlias = tuple[int, int]
Polygon: TypeAlias = list[Point]

_WHEELS = tuple([(cos(a), sin(a)) for a in range(0, 360, step)] for step in (10, 30))
"""Corners of round shapes, clockwise: many, and fewer for shapes with a diameter below 8 pixels."""


def polar(centre: Point, radius_x: int, radius_y: int, degrees: int) -> Point:
    """Return the point of an axis-aligned ellipse at an angle; 0 is to the right, 90 is down."""
    return (
        centre[0] + ((radius_x * cos(degrees)) >> TRIG_BITS),
        centre[1] + ((radius_y * sin(degrees)) >> TRIG_BITS),
    )


def between(a: Point, b: Point, part: int, whole: int) -> Point:
    """Return the point at the fraction ``part / whole`` of the way from a to b."""
    return a[0] + (b[0] - a[0]) * part // whole, a[1] + (b[1] - a[1]) * part // whole


class Sketch:
    """A drawing in layers; a later layer covers the earlier ones and may have another tone.

    Attributes:
        layers: per layer, its tone (256 is the plain colour) and its polygons. The filled area of a layer is where
            the winding numbers of its polygons sum to more than 0.
    """

    def __init__(self) -> None:
        self.layers: list[tuple[int, list[Polygon]]] = [(256, [])]

    def layer(self, tone: int) -> None:
        """Start a layer of another tone, in 1/256 of the colour."""
        self.layers.append((tone, []))

    def fill(self, points: Sequence[Point], *, hole: bool = False) -> None:
        """Add a polygon; a hole is cut out of a polygon of this layer that contains it."""
        twice_area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(points, [*points[1:], points[0]], strict=True))
        forward = (twice_area > 0) != hole
        self.layers[-1][1].append(list(points) if forward else list(points)[::-1])

    def ellipse(self, centre: Point, radius_x: int, radius_y: int, *, hole: bool = False) -> None:
        """Add a filled, axis-aligned ellipse, or a hole of this form."""
        (x, y), wheel = centre, _WHEELS[max(radius_x, radius_y) < 4 * UNIT]
        points = [(x + (radius_x * c >> TRIG_BITS), y + (radius_y * s >> TRIG_BITS)) for c, s in wheel]
        self.layers[-1][1].append(points[::-1] if hole else points)

    def disc(self, centre: Point, radius: int) -> None:
        """Add a filled circle."""
        self.ellipse(centre, radius, radius)

    def ring(self, centre: Point, radius_x: int, radius_y: int, half: int) -> None:
        """Add the outline of an ellipse, with a line of half width ``half``."""
        self.ellipse(centre, radius_x + half, radius_y + half)
        self.ellipse(centre, radius_x - half, radius_y - half, hole=True)

    def line(self, a: Point, b: Point, half: int, end: int | None = None, *, round_ends: bool = True) -> None:
        """Add a straight stroke from a to b of half width ``half``, tapering to ``end`` if it is given."""
        end = half if end is None else end
        dx, dy = b[0] - a[0], b[1] - a[1]
        length = math.isqrt(dx * dx + dy * dy)
        if length:
            ax, ay = -dy * half // length, dx * half // length
            bx, by = -dy * end // length, dx * end // length
            side = [(a[0] + ax, a[1] + ay), (b[0] + bx, b[1] + by)]
            self.fill([*side, (b[0] - bx, b[1] - by), (a[0] - ax, a[1] - ay)])
        if round_ends:
            self.disc(a, half)
            self.disc(b, end)

    def path(self, points: Sequence[Point], half: int, end: int | None = None, *, closed: bool = False) -> None:
        """Add straight strokes through all points, tapering from ``half`` to ``end`` if it is given."""
        end = half if end is None else end
        stops = [*points, points[0]] if closed else list(points)
        last = len(stops) - 1
        for i in range(last):
            self.line(
                stops[i],
                stops[i + 1],
                half + (end - half) * i // last,
                half + (end - half) * (i + 1) // last,
            )

    def arc(self, centre: Point, radius_x: int, radius_y: int, start: int, stop: int, half: int) -> None:
        """Add a stroke along an ellipse from one angle to another (degrees, clockwise)."""
        steps = max(2, (stop - start) // 10)
        angles = [start + (stop - start) * i // steps for i in range(steps + 1)]
        self.path([polar(centre, radius_x, radius_y, a) for a in angles], half)
