"""The deepest pixel of a region of errors: where the simulated annotator clicks.

A pixel's depth is its Euclidean distance to the nearest pixel outside the region. It is kept as a squared integer, so
that no rounding decides between equal depths (where the distance transform is used, up to depths of 1000 pixels).

The plain way is OpenCV's exact distance transform of the region's bounding box. Measured (benchmarks/primitives.py, CPU
time of one click, all errors of one image): 3.1 ms of 640x480 and 61 ms of 2048x1536 pixels, against 0.5 and 0.9 ms of
`ErrorRegion`. It is faster because it computes few distances:

1. The region has one bit per pixel, so that 64 pixels are tested at once.
2. Blocks of 8 x 8 pixels bound the depths of their pixels: the distance transform of the full blocks, which is 64 times
   smaller, plus a block's diagonal. Only blocks whose bound reaches the depth that is sought are searched.
3. `_by_halving` computes the depth of the centre of each such block, drops those that cannot win, and halves the rest.
4. Where too many blocks could win, as in speckle and stripes, `_by_discs` tries larger and larger discs on all pixels
   at once; where these would be too large, `_by_transform` takes the plain way.

Without step 3 for shallow regions the scene of that benchmark takes 4.7 times as long, without discs beyond a radius of
12 pixels its stripes take 9 times as long.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import masks
from hlmat_bench.core.types import Box, Mask

_BLOCK = 8
_IN_BLOCK = (_BLOCK - 1) * math.sqrt(2)
"""The greatest distance between two pixels of one block."""
_SLACK = 1e-3
"""More than the rounding error of a bound, which is in single precision."""
_DISCS = 40
"""Up to this bound, discs are tried rather than the distance transform."""
_TRANSFORM = 2
"""The distance transform of all pixels takes as long as this many comparisons of two points per pixel."""
_OPERATION = 1000
"""An operation on all bits takes as long as this many comparisons, besides a share that grows with the size."""

_Ints: TypeAlias = NDArray[np.int32]


class Spot(NamedTuple):
    """A pixel and its squared depth; a depth of 0 means that there is no pixel."""

    depth: int
    y: int
    x: int


_NOWHERE = Spot(0, 0, 0)


class ErrorRegion:
    """The errors of one kind, in which the deepest pixel is sought.

    The bits are held in whole blocks and whole 64-bit words. An empty block all around stands for the pixels outside,
    so that no operation needs a special case at the border.

    Args:
        errors: all errors, packed.
        side: the ground truth, whose errors are missed, or the mask, whose errors are wrong; packed.
        box: the bounding box of all errors, in bytes across and in rows down.
        clicked: the clicks so far, (y, x); a clicked pixel has depth 0.
    """

    def __init__(self, errors: masks.Packed, side: masks.Packed, box: Box, clicked: list[tuple[int, int]]) -> None:
        left, top, right, bottom = box
        height, width = bottom - top, right - left
        rows, columns = math.ceil(height / _BLOCK) + 2, math.ceil((width + 2) / 8) * 8
        self._bits = np.zeros((rows * _BLOCK, columns), dtype=np.uint8)
        region = self._bits[_BLOCK : _BLOCK + height, 1 : 1 + width]
        np.bitwise_and(errors[top:bottom, left:right], side[top:bottom, left:right], out=region)
        self._words = self._bits.view("<u8")
        self._top, self._left = top - _BLOCK, (left - 1) * _BLOCK
        self._width = 8 * columns
        placed = [(y - self._top, x - self._left) for y, x in clicked]
        inside = [(y, x) for y, x in placed if 0 <= y < len(self._bits) and 0 <= x < self._width]
        self._clicked = [y * self._width + x for y, x in inside]
        self._bounds = self._bound_blocks()
        self.bound = float(self._bounds.max())
        """No pixel is deeper than this."""

    def _bound_blocks(self) -> NDArray[np.float32]:
        """Return a number for each block that no depth in it exceeds."""
        blocks = self._words.reshape(-1, _BLOCK, self._words.shape[1])
        full = np.bitwise_and.reduce(blocks, axis=1).view(np.uint8) == 255
        touched = np.bitwise_or.reduce(blocks, axis=1).view(np.uint8) != 0
        bounds: NDArray[np.float32] = touched * np.float32(_IN_BLOCK)
        if (box := masks.bounding_box(full)) is not None:
            left, top, right, bottom = box
            around = np.s_[top - 1 : bottom + 1, left - 1 : right + 1]
            bounds[around] += _BLOCK * _transform(full[around].view(np.uint8))
        return bounds

    def deepest(self, floor: int) -> Spot:
        """Return the deepest pixel if its squared depth is at least the floor, else any pixel or none."""
        # Guess the depth from the best bound, which a pixel of that block nearly reaches as a rule. A guess that is too
        # high finds nothing, and is lowered; one that is too low only searches more blocks.
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
        """Return the deepest pixel if its squared depth is at least the target, else any pixel or none.

        Return None if that would take longer than the distance transform of everything.
        """
        blocks = self._bounds >= max(math.sqrt(target) - _SLACK, _SLACK)
        if not blocks.any():
            return _NOWHERE
        most: float = _TRANSFORM * self._width * len(self._bits)
        if self.bound > _DISCS:
            return self._by_halving(blocks, most)
        operations = 60 + 10 * math.sqrt(target)  # about as many are needed to try discs
        most = min(most, operations * (_OPERATION + self._bits.size / 40))
        thin = self.bound <= _IN_BLOCK + _SLACK  # no block is full: all could win, and discs are small
        spot = None if thin else self._by_halving(blocks, most)
        return spot or self._by_discs(max(target, 1))

    def _by_halving(self, blocks: Mask, most: float) -> Spot | None:
        """Return the deepest pixel of the blocks, or None if that would take more than ``most`` comparisons.

        The depth of a square's centre bounds the depths of all its pixels. Squares that cannot win against the deepest
        centre are dropped, the others are halved both ways.
        """
        edge, first_row = self._edge(blocks)
        if np.count_nonzero(blocks) * masks.count(edge.view(np.uint8)) > most:
            return None
        to_y, to_x = _points(edge)
        to_y += first_row
        y, x = _BLOCK * np.stack(np.divmod(np.flatnonzero(blocks), blocks.shape[1])).astype(np.int32)
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
        """Return the pixels outside that may be the nearest to a pixel of the blocks, and the first of their rows.

        The nearest pixel outside always touches the region on a side, and is not farther than the bound.
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
        edge ^= words  # all neighbours of the region, less the region
        edge.view(np.uint8).reshape(-1, _BLOCK, near.shape[1])[...] *= near[:, None]
        return edge, top * _BLOCK

    def _by_discs(self, floor: int) -> Spot:
        """Return the deepest pixel if its squared depth is at least the floor (at least 1), else none."""
        inner = self._deeper_than(floor - 1)
        for position in self._clicked:
            inner.view(np.uint8).reshape(-1)[position // 8] &= 255 - (1 << position % 8)
        if not inner.any():
            return _NOWHERE
        moved = functools.cache(lambda dx: masks.shift(self._words, dx))
        # Let the disc grow by one ring after the other, until no pixel is left around which it fits.
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
        """Return the pixels around which a disc of that squared radius is in the region."""
        inner, run, half = self._words.copy(), self._words, 0
        for dy in range(math.isqrt(squared), -1, -1):
            while half < math.isqrt(squared - dy * dy):
                half += 1
                run = run & masks.shift(self._words, half) & masks.shift(self._words, -half)
            _keep(inner, run, dy)
            _keep(inner, run, -dy)
        return inner

    def _by_transform(self) -> Spot:
        """Return the deepest pixel, or none if all were clicked."""
        depths = _transform(np.unpackbits(self._bits, axis=1, bitorder="little"))
        depths.reshape(-1)[self._clicked] = 0
        depth = round(float(depths.max()) ** 2)
        if depth == 0:
            return _NOWHERE
        y, x = divmod(int((depths > math.sqrt(depth - 0.5)).argmax()), self._width)
        return Spot(depth, y, x)


def _keep(bits: masks.Words, other: masks.Words, dy: int) -> None:
    """Clear the bits that are not set in ``other``, dy rows below.

    Rows without such a row stay as they are: the empty rows around the region are nearer, and decide about them.
    """
    rows = len(bits)
    bits[max(-dy, 0) : rows - max(dy, 0)] &= other[max(dy, 0) : rows - max(-dy, 0)]


@functools.cache
def _rings() -> list[tuple[int, list[tuple[int, int]]]]:
    """Return the squared distances up to that of `_DISCS`, each with all offsets (dy, dx) of that length."""
    rings: dict[int, list[tuple[int, int]]] = {}
    reach = range(-_DISCS, _DISCS + 1)
    for dy in reach:
        for dx in reach:
            rings.setdefault(dy * dy + dx * dx, []).append((dy, dx))
    return [(squared, rings[squared]) for squared in sorted(rings) if squared <= _DISCS**2]


def _points(packed: masks.Words) -> _Ints:
    """Return the positions (y, x) of all set bits, in rows from the top, as int32 (2, n)."""
    words = packed.reshape(-1)
    where = np.flatnonzero(words != 0)
    bits = np.flatnonzero(np.unpackbits(words[where].view(np.uint8), bitorder="little"))
    return np.stack(np.divmod(64 * where[bits >> 6] + (bits & 63), 64 * packed.shape[1])).astype(np.int32)


def _quarters(y: _Ints, x: _Ints, side: int) -> tuple[_Ints, _Ints]:
    """Return the corners of the four squares of that side that begin at each (y, x)."""
    return np.concatenate([y, y, y + side, y + side]), np.concatenate([x, x + side, x, x + side])


def _squared_distances(y: _Ints, x: _Ints, to_y: _Ints, to_x: _Ints) -> _Ints:
    """Return the squared distance of each point (y, x) to the nearest of the others."""
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
    """Return the Euclidean distance of each pixel to the nearest zero, exact but for float rounding."""
    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)  # type: ignore[return-value]
