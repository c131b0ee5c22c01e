"""A segmenter without weights: every click changes the mask by a minimum cut in a window around the click.

We assume that a user clicks the centre of the error region, so the distance from the click to the mask's edge
estimates the size of the error. For a few radii of the error, the window is labelled by a minimum cut. Its energy
combines colour (the disc around the click against the rest), the old mask (changes far from the click cost more) and
contrast (labels should change along edges of the image). The chosen labelling has a cheap outline and the click in
the middle of its change.

A session may start from a given mask. The mask is then kept where no click contradicts it, but the first few clicks may
also move its whole outline, except for distant parts: a given mask is often wrong all around, by about the distance
from the click to its edge.

The energy is that of Boykov and Jolly (ICCV 2001); `hlmat_bench.segmenters.graphcut.min_cut` minimises it. Nothing is
random: the mask is a function of the image, the given mask and the clicks in their order.
"""

from __future__ import annotations

import importlib.metadata
import math
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Box, Image, Mask, Size
from hlmat_bench.protocol.interfaces import Facts
from hlmat_bench.segmenters.graphcut.min_cut import resized
from hlmat_bench.segmenters.graphcut.window import Labelling, Outline, Settings, Window, anchored

_ONE_AT_A_TIME = threading.Lock()
"""The steps of a cut are so short that threads that cut at once mostly wait for each other: two take longer than one
after the other."""


class GraphCut:
    """The segmenter ``graphcut``: takes clicks, no boxes; needs only OpenCV."""

    name = "graphcut"
    accepts_box = False
    accepts_mask = True

    def __init__(self) -> None:
        self.settings = Settings()

    def spec(self) -> dict[str, Any]:
        """See `hlmat_bench.protocol.interfaces.Segmenter.spec`."""
        version = importlib.metadata.version("opencv-python-headless")
        return {"algorithm": "local cuts 1", "settings": asdict(self.settings), "versions": {"opencv": version}}

    def open(self, image: Image) -> GraphCutSession:
        """See `hlmat_bench.protocol.interfaces.Segmenter.open`."""
        return GraphCutSession(_reduced(image, self.settings.canvas), (image.shape[0], image.shape[1]), self.settings)


class _State(NamedTuple):
    """The state of a session, at the canvas's size.

    Attributes:
        clicks: the clicks so far.
        mask: the mask after these clicks.
        depth: the depth of the shallowest change so far. Users correct the largest error first, so later changes
            should not be deeper.
    """

    clicks: tuple[Click, ...]
    mask: Mask
    depth: float


class GraphCutSession:
    """An image opened in `GraphCut`.

    Args:
        canvas: the image, reduced where it is large, uint8 (h, w, 3) RGB.
        size: (height, width) of the original image.
        settings: the parameters of the algorithm.
    """

    def __init__(self, canvas: Image, size: Size, settings: Settings) -> None:
        self._canvas, self._size, self._settings = canvas, size, settings
        self._given: Mask | None = None
        self._start = self._state = _State((), np.zeros(canvas.shape[:2], np.bool_), math.inf)

    def start_from(self, mask: Mask) -> None:
        """See `hlmat_bench.protocol.interfaces.RefiningSession.start_from`.

        Raises:
            UsageError: when the mask has another shape than the image.
        """
        given = masks.of_shape(mask, self._size)
        if given.any():
            self._given = given.copy()
            on_canvas = resized(given.astype(np.float32), self._canvas.shape[:2]) > 0.5
            self._start = self._state = _State((), on_canvas, math.inf)

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """See `hlmat_bench.protocol.interfaces.Session.predict`.

        Only clicks that follow those of the last prediction are computed.

        Raises:
            UsageError: when a box is given.
        """
        if box is not None:
            raise UsageError("graphcut takes only clicks; use a segmenter that takes boxes, such as sam_b.")
        wanted = tuple(clicks)
        if self._state.clicks != wanted[: len(self._state.clicks)]:
            self._state = self._start
        for click in wanted[len(self._state.clicks) :]:
            self._answer(click)
        return self._full_size(wanted)

    def snapshot(self) -> _State:
        """Return the clicks and the mask so far, which no later prediction changes."""
        return self._state

    def restore(self, state: _State) -> None:
        """See `hlmat_bench.protocol.interfaces.Session.restore`."""
        self._state = state

    def _answer(self, click: Click) -> None:
        clicks = (*self._state.clicks, click)
        placed = [self._placed(each) for each in clicks]
        with _ONE_AT_A_TIME:
            window, answer = self._best(placed)
        mask = self._state.mask.copy()
        mask[window.rows, window.columns] = window.full_size(answer)
        for each in placed:
            mask[each.y, each.x] = each.positive
        self._state = _State(clicks, anchored(mask, placed, self._start.mask), min(self._state.depth, answer.depth))

    def _best(self, clicks: Sequence[Click]) -> tuple[Window, Labelling]:
        """Return the best labelling for the last of the clicks on the canvas, and its window."""
        place = self._canvas, self._state.mask, clicks, self._state.depth, self._start.mask, self._settings
        windows, (positive, x, y) = [Window(*place)], clicks[-1]
        early = self._given is not None and len(clicks) <= self._settings.outlines
        if early and self._state.mask[y, x] != positive and self._state.mask.any():
            windows.append(Outline(*place))
        return max(((window, window.best()) for window in windows), key=lambda found: found[1].score)

    def _placed(self, click: Click) -> Click:
        """Return a click in pixels of the canvas."""
        height, width = self._canvas.shape[:2]
        x = int((click.x + 0.5) * width / self._size[1])
        y = int((click.y + 0.5) * height / self._size[0])
        return Click(click.positive, min(x, width - 1), min(y, height - 1))

    def _full_size(self, clicks: Sequence[Click]) -> Mask:
        mask = self._enlarged()
        for click in clicks:
            mask[click.y, click.x] = click.positive
        return mask

    def _enlarged(self) -> Mask:
        """Return the mask in the original's size; where it equals the given mask, it is as sharp as that mask."""
        import cv2

        mask = self._state.mask
        if mask.shape == self._size:
            return mask.copy()
        size = self._size[::-1]
        fine: Mask = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        if self._given is None:
            return fine
        # One pixel more than the change, so that the interpolated outline is not cut at the border of the change.
        near = cv2.dilate((mask != self._start.mask).astype(np.uint8), np.ones((3, 3), np.uint8))
        return np.where(cv2.resize(near, size, interpolation=cv2.INTER_NEAREST) > 0, fine, self._given)


def _reduced(image: Image, pixels: int) -> Image:
    """Return an image with at most ``pixels`` pixels."""
    height, width = image.shape[:2]
    scale = min(1.0, (pixels / (height * width)) ** 0.5)
    if scale == 1:
        return image
    return resized(image, (max(1, round(height * scale)), max(1, round(width * scale))))


SEGMENTERS = {"graphcut": GraphCut}
FACTS = {
    "graphcut": Facts(box=False, negative_clicks=True, previous_logits=False, licence="Apache-2.0", start_mask=True)
}
