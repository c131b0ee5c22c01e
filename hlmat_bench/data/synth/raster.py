"""Converts polygons to pixels with integers only, so that the coverage is the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Box, Size
from hlmat_bench.data.synth.strokes import UNIT, Polygon

Alpha: TypeAlias = NDArray[np.int32]
"""Coverage of pixels, int32 (H, W), from 0 (not covered) to 256 (fully covered)."""

_GRID = 4
_STEP = UNIT // _GRID
_HALF = _STEP // 2


@dataclass(frozen=True, slots=True)
class RasterShape:
    """Polygons as arrays.

    Attributes:
        points: int64 (N, 2), the corners (x, y) of all polygons, in sixteenths of a pixel.
        follows: int64 (N,), the index of the next corner of the same polygon, for every corner.
    """

    points: NDArray[np.int64]
    follows: NDArray[np.int64]

    @staticmethod
    def of(polygons: Sequence[Polygon], *, backwards: bool = False) -> RasterShape:
        """Return the shape of polygons; ``backwards`` reverses the direction of all of them."""
        lengths = np.array([len(polygon) for polygon in polygons], np.int64)
        flat = np.fromiter(chain.from_iterable(chain.from_iterable(polygons)), np.int64, 2 * lengths.sum())
        starts, index = np.cumsum(lengths) - lengths, np.arange(lengths.sum())
        ends = starts + lengths - 1
        follows = index - 1 if backwards else index + 1
        if backwards:
            follows[starts] = ends
        else:
            follows[ends] = starts
        return RasterShape(flat.reshape(-1, 2), follows)

    def __add__(self, other: RasterShape) -> RasterShape:
        """Return a shape with the polygons of both."""
        follows = np.concatenate([self.follows, other.follows + len(self.points)])
        return RasterShape(np.concatenate([self.points, other.points]), follows)

    def window(self, size: Size) -> Box:
        """Return the box of pixels that the shape can touch, one more on all sides, inside an image (height, width)."""
        low, high = self.points.min(axis=0) // UNIT - 1, self.points.max(axis=0) // UNIT + 2
        x0, y0 = (int(min(max(low[k], 0), size[1 - k])) for k in (0, 1))
        x1, y1 = (int(min(max(high[k], 0), size[1 - k])) for k in (0, 1))
        return x0, y0, x1, y1


def coverage(shape: RasterShape, window: Box) -> Alpha:
    """Return the coverage of the pixels of a window by a shape.

    A pixel is sampled at 4 x 4 regular points. A point is inside where the winding numbers of all polygons sum to more
    than 0, so overlaps count once and reversed polygons cut holes. The crossing of an edge and a line of samples is
    computed by a floor division, with the same result for all polygons that share the edge.

    Args:
        shape: the polygons.
        window: the box of pixels.

    Returns:
        int32 of the window's shape, 0 to 256.
    """
    x0, y0, x1, y1 = window
    rows, columns = (y1 - y0) * _GRID, (x1 - x0) * _GRID
    # Every crossing changes the winding number of all samples to its right, so a running sum along a row gives them.
    steps = np.zeros((rows, columns + 1), np.int16)
    row, column, direction = _crossings(shape, x0 * UNIT, y0 * UNIT, rows, columns)
    np.add.at(steps.reshape(-1), row * (columns + 1) + column, direction)
    inside = (np.cumsum(steps, axis=1, dtype=np.int16)[:, :-1] > 0).view(np.uint8)
    lines = inside[0::4] + inside[1::4] + inside[2::4] + inside[3::4]
    samples: Alpha = (lines[:, 0::4] + lines[:, 1::4] + lines[:, 2::4] + lines[:, 3::4]).astype(np.int32)
    return samples * (256 // _GRID**2)


def _crossings(
    shape: RasterShape, left: int, top: int, rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int16]]:
    """Return the crossings of edges and sample rows: row, first column to the right, +1 upwards or -1 downwards."""
    ax, ay = (shape.points - [left, top]).T
    bx, by = ax[shape.follows], ay[shape.follows]
    first = np.clip((np.minimum(ay, by) - _HALF + _STEP - 1) // _STEP, 0, rows)
    last = np.clip((np.maximum(ay, by) - _HALF + _STEP - 1) // _STEP, 0, rows)
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    rise = (row * _STEP + _HALF - ay[edge]) * (bx - ax)[edge]
    x = ax[edge] + rise // (by - ay)[edge]
    column = np.clip((x - _HALF) // _STEP + 1, 0, columns)
    return row, column, np.where(by < ay, 1, -1).astype(np.int16)[edge]


def box_blur(values: NDArray[np.int32], radius: int) -> NDArray[np.int32]:
    """Return the mean over a square of side ``2 * radius + 1``, rounded down once per axis; pixels outside count as 0.

    Args:
        values: int32 (H, W), at most 256.
        radius: the radius in pixels.

    Returns:
        int32 (H, W).
    """
    side = 2 * radius + 1
    for axis in (1, 0):
        around = [(0, 0), (0, 0)]
        around[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, around), axis=axis, dtype=np.int32)
        upper, lower = (sums[:, side:], sums[:, :-side]) if axis else (sums[side:], sums[:-side])
        values = (upper - lower) // side
    return values
