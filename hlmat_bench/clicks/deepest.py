"""The errors of a mask as regions, and the deepest pixel of a region: where the oracle clicks.

A pixel's depth is its Euclidean distance to the nearest pixel outside the region; it is kept as a squared
integer, so that no rounding decides between equal ones. (Where the distance transform of everything is taken,
this holds up to depths of 1000 pixels.)

How it is fast: a region has one bit per pixel. Blocks of 8 x 8 pixels bound the depths of their pixels; those
that could win are halved again and again, by the depths of their centres. Where too many could win, larger
and larger discs are tried on all pixels at once, or all distances are computed after all.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import masks
from hlmat_bench.core.types import Mask

_BLOCK = 8
_IN_BLOCK = (_BLOCK - 1) * math.sqrt(2)
"""The greatest distance between two pixels of one block."""
_SLACK = 1e-3
"""More than the rounding error of a bound, which is in single precision."""
_DISCS = 40
"""Up to this bound, discs are tried rather than the distance transform."""
_TRANSFORM = 2
"""How many comparisons of two points, per pixel, are worth trying before the distance transform of all pixels."""
_OPERATION = 1000
"""What an operation on all bits costs beside its size, in such comparisons."""

_Ints: TypeAlias = NDArray[np.int32]
Extent: TypeAlias = tuple[int, int, int, int]  # top, left, bottom, right; the latter two are outside


class Spot(NamedTuple):
    """A pixel and its squared depth; depth 0 is no pixel."""

    depth: int
    y: int
    x: int


_NOWHERE = Spot(0, 0, 0)


def extent(flags: NDArray[np.generic]) -> Extent:
    """The bounding box of what is not 0; zeros of nothing."""
    rows, columns = (np.flatnonzero(flags.any(axis=axis)) for axis in (1, 0))
    return (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else (0, 0, 0, 0)


class Region:
    """The errors of one kind, in which the deepest pixel is sought.

    The bits are held in whole blocks and whole 64-bit words, with an empty block all around.

    Args:
        errors: all errors, packed.
        side: the ground truth, whose errors are missed, or the mask, whose errors are wrong; packed.
        box: the bounding box of all errors, from `extent`.
        clicked: the clicks so far, (y, x); a clicked pixel has no depth.
    """

    def __init__(self, errors: masks.Packed, side: masks.Packed, box: Extent, clicked: list[tuple[int, int]]) -> None:
        top, left, bottom, right = box
        height, width = bottom - top, right - left
        rows, columns = math.ceil(height / _BLOCK) + 2, math.ceil((width + 2) / 8) * 8
        self._bits = np.zeros((rows * _BLOCK, columns), dtype=np.uint8)
        region = self._bits[_BLOCK : _BLOCK + height, 1 : 1 + width]
        np.bitwise_and(errors[top:bottom, left:right], side[top:bottom, left:right], out=region)
        self._words = self._bits.view("<u8")
        self._top, self._left = top - _BLOCK, (left - 1) * _BLOCK
        self._width = 8 * columns
        self._clicked = [
            y * self._width + x
            for y, x in ((y - self._top, x - self._left) for y, x in clicked)
            if 0 <= y < len(self._bits) and 0 <= x < self._width
        ]
        self._bounds = self._bound_blocks()
        self.bound = float(self._bounds.max())
        """No pixel is deeper than this."""

    def _bound_blocks(self) -> NDArray[np.float32]:
        """For each block a number that no depth in it exceeds."""
        blocks = self._words.reshape(-1, _BLOCK, self._words.shape[1])
        full = np.bitwise_and.reduce(blocks, axis=1).view(np.uint8) == 255
        touched = np.bitwise_or.reduce(blocks, axis=1).view(np.uint8) != 0
        bounds: NDArray[np.float32] = touched * np.float32(_IN_BLOCK)
        top, left, bottom, right = extent(full)
        if bottom:
            box = np.s_[top - 1 : bottom + 1, left - 1 : right + 1]
            bounds[box] += _BLOCK * _transform(full[box].view(np.uint8))
        return bounds

    def deepest(self, floor: int) -> Spot:
        """The deepest pixel if its squared depth is at least the floor, else any pixel or none."""
        # Mostly some pixel of the block with the highest bound is nearly as far from the next block not full.
        target = floor or int(max(self.bound - _IN_BLOCK, 0) ** 2)
        while True:
            spot = self._search(target)
            if spot is None:
                spot = self._by_transform()
                break
            if spot.depth >= target or target <= floor:
                break
            target = max(spot.depth or int(max(math.sqrt(target) - _BLOCK / 2, 0) ** 2), floor)
        return spot._replace(y=spot.y + self._top, x=spot.x + self._left)

    def _search(self, target: int) -> Spot | None:
        """The deepest pixel if its squared depth is at least the target, else any pixel or none.

        None where that would take longer than the distance transform of everything.
        """
        blocks = self._bounds >= max(math.sqrt(target) - _SLACK, _SLACK)
        if not blocks.any():
            return _NOWHERE
        most: float = _TRANSFORM * self._width * len(self._bits)
        if self.bound > _DISCS:
            return self._by_halving(blocks, most)
        operations = 60 + 10 * math.sqrt(target)  # about as many are needed to try discs
        most = min(most, operations * (_OPERATION + self._bits.size / 40))
        thin = self.bound <= _IN_BLOCK + _SLACK
        spot = None if thin else self._by_halving(blocks, most)
        return spot or self._by_discs(max(target, 1))

    def _by_halving(self, blocks: Mask, most: float) -> Spot | None:
        """The deepest pixel of the blocks, or None where that would take so many comparisons.

        The depth of a square's centre bounds those of all its pixels. Squares that can't win against the
        deepest centre are dropped, the others are halved both ways.
        """
        edge, first_row = self._edge(blocks)
        if np.count_nonzero(blocks) * masks.count(edge.view(np.uint8)) > most:
            return None
        to_y, to_x = _points(edge)
        to_y += first_row
        y, x = _BLOCK * _nonzero(blocks)
        floor = 0
        for half in (4, 2, 1, 0):
            y, x = y + half, x + half
            inside = (self._bits[y, x >> 3] >> (x & 7) & 1).astype(np.bool_)
            most -= np.count_nonzero(inside) * to_y.size
            if most < 0:
                return None
            depths = np.zeros_like(y)
            depths[inside] = _squared_distances(y[inside], x[inside], to_y, to_x)
            unclicked = depths * ~np.isin(y * self._width + x, self._clicked) if self._clicked else depths
            if half:
                floor = max(floor, int(unclicked.max()))
                open_ = np.sqrt(depths) + half * math.sqrt(2) >= math.sqrt(floor) - _SLACK
                y, x = _quarters(y[open_] - half, x[open_] - half, half)
        first = np.lexsort((x, y, -unclicked))[0]
        return Spot(int(unclicked[first]), int(y[first]), int(x[first]))

    def _edge(self, blocks: Mask) -> tuple[masks.Words, int]:
        """The pixels outside, touching the region on a side, that may be the nearest to a pixel of the blocks.

        They are bits of some rows; the second value is the first of these.
        """
        reach = math.ceil(self.bound / _BLOCK)
        rows = np.flatnonzero(blocks.any(axis=1))
        top, bottom = max(int(rows[0]) - reach, 0), int(rows[-1]) + 1 + reach
        square = np.ones((2 * reach + 1, 2 * reach + 1), dtype=np.uint8)
        near = cv2.dilate(blocks[top:bottom].view(np.uint8), square).view(np.bool_)
        words = self._words[top * _BLOCK : bottom * _BLOCK]
        edge = masks.shift(words, 1)
        edge |= masks.shift(words, -1)
        edge[1:] |= words[:-1]
        edge[:-1] |= words[1:]
        edge |= words
        edge ^= words
        edge.view(np.uint8).reshape(-1, _BLOCK, near.shape[1])[...] *= near[:, None]
        return edge, top * _BLOCK

    def _by_discs(self, floor: int) -> Spot:
        """The deepest pixel if its squared depth is at least the floor (at least 1), else none."""
        inner = self._deeper_than(floor - 1)
        for position in self._clicked:
            inner.view(np.uint8).reshape(-1)[position // 8] &= 255 - (1 << position % 8)
        if not inner.any():
            return _NOWHERE
        moved = functools.cache(lambda dx: masks.shift(self._words, dx))
        for depth, offsets in (ring for ring in _rings() if ring[0] >= floor):  # noqa: B007
            deeper = inner.copy()
            for dy, dx in offsets:
                _keep(deeper, moved(dx), dy)
            if not deeper.any():
                break
            inner = deeper
        y = int(inner.any(axis=1).argmax())
        x = int(np.unpackbits(inner[y].view(np.uint8), bitorder="little").argmax())
        return Spot(depth, y, x)

    def _deeper_than(self, squared: int) -> masks.Words:
        """The pixels around which a disc of that squared radius is in the region."""
        inner, run, half = self._words.copy(), self._words, 0
        for dy in range(math.isqrt(squared), -1, -1):
            while half < math.isqrt(squared - dy * dy):
                half += 1
                run = run & masks.shift(self._words, half) & masks.shift(self._words, -half)
            _keep(inner, run, dy)
            _keep(inner, run, -dy)
        return inner

    def _by_transform(self) -> Spot:
        """The deepest pixel, or none if all were clicked."""
        depths = _transform(np.unpackbits(self._bits, axis=1, bitorder="little"))
        depths.reshape(-1)[self._clicked] = 0
        depth = round(float(depths.max()) ** 2)
        if depth == 0:
            return _NOWHERE
        y, x = divmod(int((depths > math.sqrt(depth - 0.5)).argmax()), self._width)
        return Spot(depth, y, x)


def _keep(bits: masks.Words, other: masks.Words, dy: int) -> None:
    """Keep those of the bits that are set in the other dy rows below.

    Rows without such a row stay as they are: nearer rows, empty ones around the region, decide about them.
    """
    rows = len(bits)
    bits[max(-dy, 0) : rows - max(dy, 0)] &= other[max(dy, 0) : rows - max(-dy, 0)]


@functools.cache
def _rings() -> list[tuple[int, list[tuple[int, int]]]]:
    """The squared distances up to that of `_DISCS`, each with all offsets (dy, dx) of that length."""
    rings: dict[int, list[tuple[int, int]]] = {}
    reach = range(-_DISCS, _DISCS + 1)
    for dy in reach:
        for dx in reach:
            rings.setdefault(dy * dy + dx * dx, []).append((dy, dx))
    return [(squared, rings[squared]) for squared in sorted(rings) if squared <= _DISCS**2]


def _nonzero(flags: NDArray[np.bool_]) -> _Ints:
    """The positions (y, x) of all True, in rows from the top, as int32 (2, n)."""
    return np.stack(np.divmod(np.flatnonzero(flags), flags.shape[1])).astype(np.int32)


def _points(packed: masks.Words) -> _Ints:
    """The positions (y, x) of all set bits, in rows from the top, as int32 (2, n)."""
    words = packed.reshape(-1)
    where = np.flatnonzero(words != 0)
    bits = np.flatnonzero(np.unpackbits(words[where].view(np.uint8), bitorder="little"))
    return np.stack(np.divmod(64 * where[bits >> 6] + (bits & 63), 64 * packed.shape[1])).astype(np.int32)


def _quarters(y: _Ints, x: _Ints, side: int) -> tuple[_Ints, _Ints]:
    """The corners of the four squares of that side that begin at each (y, x)."""
    return np.concatenate([y, y, y + side, y + side]), np.concatenate([x, x + side, x, x + side])


def _squared_distances(y: _Ints, x: _Ints, to_y: _Ints, to_x: _Ints) -> _Ints:
    """The squared distance of each point (y, x) to the nearest of the others."""
    nearest = np.empty_like(y)
    step = max(1, 100_000 // to_y.size)  # what fits into the cache
    for some in (slice(i, i + step) for i in range(0, y.size, step)):
        squared, dx = y[some, None] - to_y, x[some, None] - to_x
        squared *= squared
        dx *= dx
        squared += dx
        squared.min(axis=1, out=nearest[some])
    return nearest


def _transform(region: masks.Packed) -> NDArray[np.float32]:
    """The exact Euclidean distance of each pixel to the nearest zero, but for float rounding."""
    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)  # type: ignore[return-value]
