"""A segmenter without a network, for tests: it draws a disc at each click."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.types import Box, Image, Mask, Size


class DiscSegmenter:
    """A segmenter that fills the box in the start mask, and then adds or removes a disc at each click, in order.

    Args:
        radius: radius of the discs in pixels.
        pause: seconds to wait in each prediction.

    Attributes:
        sessions: all sessions so far.
    """

    name = "discs"
    accepts_box = True
    accepts_mask = True

    def __init__(self, radius: int = 25, pause: float = 0.0) -> None:
        self.radius, self.pause = radius, pause
        self.sessions: list[DiscSession] = []

    def spec(self) -> dict[str, Any]:
        """Return the radius, see `hlmat_bench.protocol.interfaces.Segmenter.spec`."""
        return {"radius": self.radius}

    def open(self, image: Image) -> DiscSession:
        """Open an image, uint8 (H, W, 3) RGB, and keep the session in `sessions`."""
        self.sessions.append(DiscSession((image.shape[0], image.shape[1]), self))
        return self.sessions[-1]


class DiscSession:
    """An image opened in a `DiscSegmenter`.

    Attributes:
        calls: clicks and box of each prediction.
        start: the start mask, bool (H, W).
    """

    def __init__(self, size: Size, segmenter: DiscSegmenter) -> None:
        self.size, self.segmenter = size, segmenter
        self.calls: list[tuple[list[Click], Box | None]] = []
        self.start: Mask = np.zeros(size, bool)

    def start_from(self, mask: Mask) -> None:
        """Set the start mask, see `hlmat_bench.protocol.interfaces.RefiningSession.start_from`."""
        self.start = masks.of_shape(mask, self.size).copy()

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """Draw the mask, see `hlmat_bench.protocol.interfaces.Session.predict`."""
        if self.segmenter.pause:  # a sleep of 0 seconds would let other programs run first
            time.sleep(self.segmenter.pause)
        self.calls.append((list(clicks), box))
        mask = self.start.copy()
        if box is not None:
            x0, y0, x1, y1 = box
            mask[y0:y1, x0:x1] = True
        rows, columns = np.ogrid[: self.size[0], : self.size[1]]
        for positive, x, y in clicks:
            mask[(rows - y) ** 2 + (columns - x) ** 2 <= self.segmenter.radius**2] = positive
        return mask

    def snapshot(self) -> int:
        """Return the number of predictions, see `hlmat_bench.protocol.interfaces.Session.snapshot`."""
        return len(self.calls)

    def restore(self, state: int) -> None:
        """Forget later predictions, see `hlmat_bench.protocol.interfaces.Session.restore`."""
        del self.calls[state:]
