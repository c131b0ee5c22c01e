"""Error maps: what a mask misses, and what it has too much of, on a grey picture around the object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import masks
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.reports.run.images import encoded

SIDE = 220
"""Side of an error map, in pixels."""
MISSING, TOO_MUCH, RIGHT = (75, 60, 200), (230, 97, 0), (255, 255, 255)
"""Colours, RGB: what the mask misses, what it has too much of, and what is right. style: assets/report.css."""
_ROOM = 0.18
"""Room around the object and the mask, as a share of their longer side."""
_LEAST = 0.3
"""A map shows at least this share of the picture's shorter side."""


@dataclass(frozen=True, slots=True)
class Square:
    """A square part of a picture, in its pixels; it may reach over the edges."""

    x: int
    y: int
    side: int


def draw(image: Image | None, episode: Mapping[str, Any], step: int, *, clicks: bool = True) -> bytes:
    """Return the error map of the mask after some steps, as a WebP of `SIDE` pixels.

    Args:
        image: uint8 (H, W, 3); None: the map is drawn on grey.
        episode: an episode as recorded.
        step: 0 is the mask at the start.
        clicks: whether the clicks up to that step are drawn.
    """
    gt, mask = masks.decode(episode["gt"]), _mask(episode, step)
    counted = np.ones_like(gt) if episode.get("ignore") is None else ~masks.decode(episode["ignore"])
    square = around(gt, mask)
    canvas: NDArray[np.floating[Any]] = _cut(_grey(image, gt.shape), square).astype(np.float64)
    for part, colour, strength in (
        (gt & mask, RIGHT, 0.72),
        (gt & ~mask & counted, MISSING, 0.86),
        (mask & ~gt & counted, TOO_MUCH, 0.86),
    ):
        share = strength * _cut(part.astype(np.float64), square)[..., None]
        canvas = canvas * (1 - share) + np.array(colour) * share
    drawn = np.ascontiguousarray(canvas.round().clip(0, 255).astype(np.uint8))
    for click in _clicks(episode, step) if clicks else ():
        _mark(drawn, click, square)
    return encoded(drawn, "WEBP", quality=82, method=4)


def around(gt: Mask, mask: Mask) -> Square:
    """Return the square around an object and a mask, with some room.

    It stays in the picture where the object fits in there: of a mask that is far larger, it shows a part. Where both
    are empty, it is around the whole picture.
    """
    height, width = gt.shape
    found, own = _bounds(gt | mask), _bounds(gt)
    if found is None:
        return Square((width - max(height, width)) // 2, (height - max(height, width)) // 2, max(height, width))
    side = max(round(_longer(found) * (1 + 2 * _ROOM)), round(_LEAST * min(height, width)), 16)
    if side > min(height, width):
        centred = own or found
        side = min(max(round(_longer(centred) * (1 + _ROOM)), min(height, width)), max(height, width))
        found = centred if side < _longer(found) else found
    x, y = (found[n] + (found[n + 2] - side) // 2 for n in (0, 1))
    return Square(_inside(x, side, width), _inside(y, side, height), side)


def _bounds(mask: Mask) -> tuple[int, int, int, int] | None:
    """Return x, y, width and height of a mask in pixels; None of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def _longer(bounds: tuple[int, int, int, int]) -> int:
    return max(bounds[2:])


def _inside(start: int, side: int, length: int) -> int:
    """Move a range into the picture as far as it fits; one that is longer is centred."""
    return (length - side) // 2 if side >= length else min(max(start, 0), length - side)


def _mask(episode: Mapping[str, Any], step: int) -> Mask:
    rle = episode["steps"][step - 1]["mask"] if step else episode["initial"]["mask"]
    return np.zeros(episode["size"], bool) if rle is None else masks.decode(rle)


def _grey(image: Image | None, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a pale grey picture of three channels, so that the colours of the map stand out."""
    if image is None:
        return np.full((*shape, 3), 205, np.uint8)
    grey: NDArray[Any] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64) * 0.62 + 70
    if grey.shape != shape:
        grey = cv2.resize(grey, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def _cut(picture: NDArray[Any], square: Square) -> NDArray[Any]:
    """Return the square of a picture with `SIDE` pixels a side; pale where it reaches over the edges."""
    height, width = picture.shape[:2]
    fill = 235 if picture.ndim == 3 else 0
    whole = np.full((square.side, square.side, *picture.shape[2:]), fill, picture.dtype)
    top, left = max(square.y, 0), max(square.x, 0)
    part = picture[top : min(square.y + square.side, height), left : min(square.x + square.side, width)]
    whole[top - square.y : top - square.y + part.shape[0], left - square.x : left - square.x + part.shape[1]] = part
    how = cv2.INTER_AREA if square.side > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(whole, (SIDE, SIDE), interpolation=how))


def _clicks(episode: Mapping[str, Any], step: int) -> Iterator[tuple[int, int, bool]]:
    for each in episode["steps"][:step]:
        if each["action"]["kind"] == "click":
            yield each["action"]["x"], each["action"]["y"], bool(each["action"]["positive"])


def _mark(drawn: NDArray[np.uint8], click: tuple[int, int, bool], square: Square) -> None:
    """Draw a click as a white disc with a plus or a minus."""
    scale = SIDE / square.side
    x, y = round((click[0] + 0.5 - square.x) * scale), round((click[1] + 0.5 - square.y) * scale)
    if not (0 <= x < SIDE and 0 <= y < SIDE):
        return
    cv2.circle(drawn, (x, y), 7, (255, 255, 255), -1, cv2.LINE_AA)
    cv2.circle(drawn, (x, y), 7, (20, 20, 20), 1, cv2.LINE_AA)
    cv2.line(drawn, (x - 3, y), (x + 3, y), (20, 20, 20), 2)
    if click[2]:
        cv2.line(drawn, (x, y - 3), (x, y + 3), (20, 20, 20), 2)
