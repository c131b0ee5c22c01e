"""Clicks, and the oracle that knows where the next one should go.

The oracle is the click simulator of interactive segmentation (RITM, https://arxiv.org/abs/2102.06583, and
its successors): it clicks the middle of the largest error. Its rule, to the pixel, is in `next_click`.
Depths are compared as squared integers, so that no rounding decides between equal ones.

How it is fast: false negatives and false positives are kept with one bit per pixel. Blocks of 8 x 8 pixels
give every pixel an upper bound of its depth. Depths are computed only in windows where the bound does not
lose against the best pixel so far, or, where too many blocks could win, by trying larger and larger discs
on all pixels at once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlmat_bench import masks


class Click(NamedTuple):
    """A click on the original image: x to the right, y down, in pixels, origin at the top left."""

    positive: bool
    x: int
    y: int


def next_click(
    gt: ArrayLike, mask: ArrayLike, *, ignore: ArrayLike | None = None, clicked: Iterable[Click] = ()
) -> Click | None:
    """The click that the oracle makes when it is shown a mask.

    False negatives and false positives are two regions. In each, a pixel's depth is its Euclidean distance to
    the nearest pixel outside the region (beyond the image is outside), and 0 where a click already was. The
    deepest pixel is clicked: positive if it is a false negative, negative if it is a false positive or if
    both regions are equally deep; the topmost, then the leftmost of several.

    Args:
        gt: the object, bool (H, W).
        mask: the mask to correct, bool (H, W).
        ignore: pixels that are no errors, bool (H, W), or None.
        clicked: the clicks so far.

    Returns:
        The click, or None when nothing is left to correct.

    Raises:
        UsageError: when these are no masks of one shape.
    """
    arrays = masks.binary(gt, mask) if ignore is None else masks.binary(gt, mask, ignore)
    missed, wrong = _errors(arrays, list(clicked))
    floor = max(missed, wrong, key=lambda region: region.bound()).sounding()
    first = missed.deepest(floor)
    second = wrong.deepest(max(floor, first.depth))
    positive = first.depth > second.depth
    spot = first if positive else second
    return Click(positive, spot.x, spot.y) if spot.depth else None


_BLOCK = 8
_IN_BLOCK = (_BLOCK - 1) * math.sqrt(2)
"""The greatest distance between two pixels of one block."""
_SLACK = 1e-3
"""More than the rounding error of a bound, which is in single precision."""
_DISCS = 40
"""Up to this bound, discs are tried rather than the distance transform."""
_CALL = 200
"""What a window costs beside its area, in blocks."""

_Bytes: TypeAlias = NDArray[np.uint8]


class _Spot(NamedTuple):
    """A pixel and its squared depth; depth 0 is no pixel."""

    depth: int
    y: int
    x: int

    def or_better(self, other: _Spot) -> _Spot:
        """The one to click: the deeper, then the upper, then the left one."""
        return max(self, other, key=lambda spot: (spot.depth, -spot.y, -spot.x))


_NOWHERE = _Spot(0, 0, 0)


class _Window(NamedTuple):
    """A rectangle of blocks; bottom and right are outside."""

    top: int
    left: int
    bottom: int
    right: int

    def grown(self, margin: int) -> _Window:
        return _Window(
            max(self.top - margin, 0), max(self.left - margin, 0), self.bottom + margin, self.right + margin
        )

    def of(self, bits: _Bytes) -> _Bytes:
        return bits[self.top * _BLOCK : self.bottom * _BLOCK, self.left : self.right]


def _errors(arrays: list[masks.Mask], clicked: list[Click]) -> tuple[_Region, _Region]:
    """The regions of false negatives and false positives.

    Args:
        arrays: gt, mask and perhaps ignore, bool (H, W).
        clicked: the clicks so far.
    """
    gt, mask, *ignore = (np.packbits(array, axis=1, bitorder="little") for array in arrays)
    errors = gt ^ mask
    for ignored in ignore:
        errors &= ~ignored
    top, bottom = _extent(errors.any(axis=1))
    left, right = _extent(errors.any(axis=0))
    box = np.s_[top:bottom, left:right]
    y, x = top - _BLOCK, (left - 1) * _BLOCK
    missed, wrong = (_Region(errors[box] & side[box], y, x, clicked) for side in (gt, mask))
    return missed, wrong


def _extent(flags: NDArray[np.bool_]) -> tuple[int, int]:
    """The first True and the one after the last; (0, 0) of none."""
    where = np.flatnonzero(flags)
    return (int(where[0]), int(where[-1]) + 1) if where.size else (0, 0)


class _Region:
    """The errors of one kind, in which the deepest pixel is sought.

    The bits are held in whole blocks and whole 64-bit words, with an empty block all around.

    Args:
        bits: uint8 (rows, bytes), the errors in their bounding box, a byte being 8 pixels of a row.
        y: which row of the image is the first row of the padded bits.
        x: which column of the image is the first column of the padded bits.
        clicked: the clicks so far.
    """

    def __init__(self, bits: _Bytes, y: int, x: int, clicked: Iterable[Click]) -> None:
        height, width = bits.shape
        rows, columns = math.ceil(height / _BLOCK) + 2, math.ceil((width + 2) / 8) * 8
        self._bits = np.zeros((rows * _BLOCK, columns), dtype=np.uint8)
        self._bits[_BLOCK : _BLOCK + height, 1 : 1 + width] = bits
        self._words = self._bits.view("<u8")
        self._y, self._x = y, x
        self._clicked = [(click.y - y, click.x - x) for click in clicked]
        self._bounds = self._bound_blocks()

    def _bound_blocks(self) -> NDArray[np.float32]:
        """For each block a number that no depth in it exceeds."""
        blocks = self._words.reshape(-1, _BLOCK, self._words.shape[1])
        full = np.bitwise_and.reduce(blocks, axis=1).view(np.uint8) == 255
        touched = np.bitwise_or.reduce(blocks, axis=1).view(np.uint8) != 0
        bounds = touched * np.float32(_IN_BLOCK)
        if full.any():
            bounds += _BLOCK * _transform(full.view(np.uint8))
        return bounds

    def bound(self, window: _Window | None = None) -> float:
        """No pixel in the window, or anywhere, is deeper than this."""
        top, left, bottom, right = window or (0, 0, *self._bounds.shape)
        return float(self._bounds[top:bottom, left:right].max())

    def sounding(self) -> int:
        """A squared depth that some pixel has: the greatest in one of the most promising blocks."""
        y, x = divmod(int(self._bounds.argmax()), self._bounds.shape[1])
        return self._in_window(_Window(y, x, y + 1, x + 1)).depth

    def deepest(self, floor: int) -> _Spot:
        """The deepest pixel if its squared depth is at least the floor, else any pixel or none."""
        candidates = self._bounds >= max(math.sqrt(floor) - _SLACK, _SLACK)
        windows = self._windows(candidates)
        if len(windows) == 1 and self.bound() <= _DISCS:
            best = self._by_discs(max(floor, 1))
        else:
            best = _NOWHERE
            for window in windows:
                if self.bound(window) >= math.sqrt(best.depth) - _SLACK:
                    best = best.or_better(self._in_window(window))
        return best._replace(y=best.y + self._y, x=best.x + self._x)

    def _windows(self, candidates: masks.Mask) -> list[_Window]:
        """Windows that together hold all the candidate blocks, the most promising first."""
        import cv2

        count, _, stats, _ = cv2.connectedComponentsWithStats(candidates.view(np.uint8), connectivity=8)
        if count == 1:
            return []
        left, top, width, height = stats[1:, :4].T
        bottom, right = top + height, left + width
        whole = _Window(int(top.min()), int(left.min()), int(bottom.max()), int(right.max()))
        margin = 2 * math.ceil(self.bound() / _BLOCK)
        apart = ((height + margin) * (width + margin) + _CALL).sum()
        if apart > (whole.bottom - whole.top + margin) * (whole.right - whole.left + margin) + _CALL:
            return [whole]
        windows = map(_Window._make, np.stack([top, left, bottom, right], axis=1).tolist())
        return sorted(windows, key=self.bound, reverse=True)

    def _in_window(self, window: _Window) -> _Spot:
        """The deepest pixel in the window."""
        distances = self._distances(window)
        top, left = window.top * _BLOCK, window.left * _BLOCK
        for y, x in self._clicked:
            if 0 <= y - top < distances.shape[0] and 0 <= x - left < distances.shape[1]:
                distances[y - top, x - left] = 0
        depth = round(float(distances.max()) ** 2)
        if depth == 0:
            return _NOWHERE
        y, x = divmod(int((distances > math.sqrt(depth - 0.5)).argmax()), distances.shape[1])
        return _Spot(depth, top + y, left + x)

    def _distances(self, window: _Window) -> NDArray[np.floating]:
        """The depths of the pixels in the window, but for float rounding.

        The nearest pixel outside is one of the region's edge. A small window is compared with all of the edge
        around it; for a large one, or a long edge, the distance transform is faster.
        """
        around = window.grown(math.ceil(self.bound(window) / _BLOCK))
        top, left = (window.top - around.top) * _BLOCK, (window.left - around.left) * _BLOCK
        part = np.unpackbits(window.of(self._bits), axis=1, bitorder="little")
        area = 8 * around.of(self._bits).size
        if 16 * part.size < area:
            y, x = _set_bits(around.of(self._edge))
            if part.size * y.size < 24 * area:
                return _distances_to(y - top, x - left, part.shape) * part
        region = np.unpackbits(around.of(self._bits), axis=1, bitorder="little")
        return _transform(region)[top : top + part.shape[0], left : left + part.shape[1]]

    @functools.cached_property
    def _edge(self) -> _Bytes:
        """The pixels outside that touch the region on a side, as bits."""
        words = self._words
        near = masks.shift(words, 1) | masks.shift(words, -1)
        near[1:] |= words[:-1]
        near[:-1] |= words[1:]
        return (near & ~words).view(np.uint8)

    def _by_discs(self, floor: int) -> _Spot:
        """The deepest pixel, if its squared depth is at least the floor (at least 1), else none."""
        inner = self._deeper_than(floor - 1)
        for y, x in self._clicked:
            if 0 <= y < len(inner) and 0 <= x < 8 * self._bits.shape[1]:
                inner.view(np.uint8)[y, x // 8] &= 255 - (1 << x % 8)
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
        row = np.unpackbits(inner[y].view(np.uint8), bitorder="little")
        return _Spot(depth, y, int(row.argmax()))

    def _deeper_than(self, squared: int) -> masks.Packed:
        """The pixels round which a disc of that squared radius is in the region."""
        inner, run, half = self._words.copy(), self._words, 0
        for dy in range(math.isqrt(squared), -1, -1):
            while half < math.isqrt(squared - dy * dy):
                half += 1
                run = run & masks.shift(self._words, half) & masks.shift(self._words, -half)
            _keep(inner, run, dy)
            _keep(inner, run, -dy)
        return inner


def _keep(bits: masks.Packed, other: masks.Packed, dy: int) -> None:
    """Keep those of the bits that are set in the other dy rows below.

    Rows without such a row stay as they are: a smaller disc already met the empty rows around the region.
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


def _set_bits(bits: _Bytes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Row and column of each set bit."""
    y, byte = np.nonzero(bits != 0)
    which, bit = np.nonzero(np.unpackbits(bits[y, byte][:, None], axis=1, bitorder="little"))
    return y[which].astype(np.int32), (8 * byte[which] + bit).astype(np.int32)


def _distances_to(y: NDArray[np.int32], x: NDArray[np.int32], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """For each pixel of an array of that shape, the distance to the nearest of the points (y, x)."""
    rows, columns = shape
    if rows < columns:
        return _distances_to(x, y, (columns, rows)).T
    across = (np.arange(columns, dtype=np.int32)[:, None] - x) ** 2
    return np.sqrt([(across + (row - y) ** 2).min(axis=1) for row in range(rows)])


def _transform(region: _Bytes) -> NDArray[np.float32]:
    """The exact Euclidean distance of each pixel to the nearest zero, but for float rounding."""
    import cv2

    return cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)  # type: ignore[return-value]
