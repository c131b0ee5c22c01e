"""The segmenter's side of an episode: the current mask, and the clicks and the box that led to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from hlmat_bench.actions import Action
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import CORRECT_IT, PluginFailed, UsageError
from hlmat_bench.core.networks import memory
from hlmat_bench.core.types import Box, Image, Mask
from hlmat_bench.protocol.interfaces import BatchSession, RefiningSession, Segmenter, Session


@dataclass(frozen=True, slots=True)
class SegmentationPoint:
    """A state to which a `SegmentationState` can return.

    Attributes:
        mask: bool (H, W).
        rle: the same mask, encoded.
        clicks: the clicks that led to it, oldest first.
        box: the box that the episode began with, if any.
        session: what the segmenter's session needs to continue from here.
    """

    mask: Mask
    rle: masks.RLE
    clicks: tuple[Click, ...]
    box: Box | None
    session: Any


class SegmentationState:
    """One image in a segmenter, with the mask that its clicks and box led to. Call its methods in worker threads.

    Args:
        image: uint8 (H, W, 3) RGB.
        segmenter: what turns clicks into masks.
        opening: the image on its way into the segmenter; None: it is opened when first needed.
        sample_id: which sample it is, for errors.

    Attributes:
        mask: bool (H, W), the current mask.
        rle: the same mask, encoded.
        clicks: the clicks that led to it, oldest first.
        box: the box that the episode began with, if any.
        seconds: wall time spent in the segmenter since this was last set to 0.
    """

    def __init__(
        self, image: Image, segmenter: Segmenter, opening: Future[Session] | None = None, sample_id: str = ""
    ) -> None:
        self.mask: Mask = np.zeros(image.shape[:2], bool)
        self.rle = masks.encode(self.mask)
        self.clicks: list[Click] = []
        self.box: Box | None = None
        self.seconds = 0.0
        self._image, self._segmenter, self._opening, self._sample_id = image, segmenter, opening, sample_id
        self._opened: Session | None = None
        self._tried: dict[Action, tuple[Mask, Any]] = {}

    @property
    def session(self) -> Session:
        """The segmenter's session on the image, which is opened when first needed."""
        if self._opened is None:
            with self._failing_clearly():
                self._opened = self._opening.result() if self._opening else self._segmenter.open(self._image)
        return self._opened

    def apply(self, action: Action) -> None:
        """Make the mask after a click or a box the current one, or an empty one after ``none``."""
        self.clicks, self.box = self.after(action)
        mask = np.zeros_like(self.mask) if action.kind == "none" else self._predict(action)
        self._tried = {}
        self.show(mask)

    def _predict(self, action: Action) -> Any:
        """Return the mask after a click or a box that was just made, as the segmenter predicts it or has tried it."""
        with self._timed():
            if action in self._tried:
                mask, state = self._tried[action]
                self.session.restore(state)
                return mask
            return self.session.predict(self.clicks, self.box)

    def start_from(self, mask: Mask) -> None:
        """Make a given mask the current one; later predictions continue from it.

        Raises:
            UsageError: when the mask has another shape than the image.
        """
        assert isinstance(self.session, RefiningSession), "a segmenter that starts from no mask"
        with self._timed():
            self.session.start_from(mask)
        self.show(mask)

    def show_alone(self, clicks: Sequence[Click]) -> None:
        """Make the mask of these clicks alone the current one; the session does not change."""
        mask = np.zeros_like(self.mask)
        if clicks:
            with self._timed():
                state = self.session.snapshot()
                mask = self.session.predict(clicks)
                self.session.restore(state)
        self.show(mask)

    def show(self, mask: Mask) -> None:
        """Make a mask the current one."""
        self.mask = self._checked(mask)
        self.rle = masks.encode(self.mask)

    def try_each(self, actions: Sequence[Action]) -> list[Mask]:
        """Return the mask that each click, box or ``none`` would lead to from here, without changing the state.

        A session that decodes several candidates in one pass (`BatchSession`) is asked once.
        """
        predicted = iter(self._predict_each([action for action in actions if action.kind != "none"]))
        return [np.zeros_like(self.mask) if action.kind == "none" else next(predicted) for action in actions]

    def _predict_each(self, actions: Sequence[Action]) -> list[Mask]:
        """Return the mask that each click or box would lead to, as the segmenter predicts it."""
        if not actions:
            return []
        prompts = [self.after(action) for action in actions]
        boxes = {box for _, box in prompts}
        with self._timed():
            if len(prompts) > 1 and len(boxes) == 1 and isinstance(self.session, BatchSession):
                found = self.session.predict_each([clicks for clicks, _ in prompts], boxes.pop())
                return [self._checked(mask) for mask in found]
            start = self.session.snapshot()
            for action, (clicks, box) in zip(actions, prompts, strict=True):
                self._tried[action] = self._checked(self.session.predict(clicks, box)), self.session.snapshot()
                self.session.restore(start)
        return [self._tried[action][0] for action in actions]

    def after(self, action: Action) -> tuple[list[Click], Box | None]:
        """Return the clicks and the box of the state after an action; ``none`` takes them all back."""
        if action.kind == "none":
            return [], None
        clicks = [*self.clicks, action.click] if action.kind == "click" else self.clicks
        return clicks, action.box or self.box

    def fork(self) -> SegmentationPoint:
        """Return the current state as a value, for `goto`."""
        return SegmentationPoint(self.mask, self.rle, tuple(self.clicks), self.box, self.session.snapshot())

    def goto(self, point: SegmentationPoint) -> None:
        """Return to a state of this object."""
        self.session.restore(point.session)
        self.mask, self.rle, self.clicks, self.box = point.mask, point.rle, list(point.clicks), point.box
        self._tried = {}

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        with self._failing_clearly():
            yield
        self.seconds += time.perf_counter() - started

    def _checked(self, mask: Any) -> Mask:
        """Check the mask that a segmenter returned.

        Raises:
            PluginFailed: when it is no bool or integer array of the image's shape.
        """
        right = isinstance(mask, np.ndarray) and mask.dtype.kind in "biu" and mask.shape == self.mask.shape
        if not right:
            found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            failure = PluginFailed(
                f"The segmenter {self._segmenter.name} should return a bool array of shape {self.mask.shape}, but "
                f"returned {found} for the sample {self._sample_id}",
                advice=CORRECT_IT,
            )
            failure.kind = "no bool array of the image's shape"
            raise failure
        return masks.of_shape(mask, self.mask.shape)

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        """Name the segmenter and the sample in any error of the plug-in."""
        where = f"The segmenter {self._segmenter.name} failed on the sample {self._sample_id}"
        try:
            yield
        except PluginFailed:
            raise
        except UsageError as error:
            raise UsageError(f"{where}. {error}") from error
        except BaseException as error:
            ours = isinstance(error, GeneratorExit) or threading.current_thread() is threading.main_thread()
            if ours and not isinstance(error, Exception):
                raise
            failure = PluginFailed.by(error, where)
            if (short := memory.explain(error)) is not None:
                what, _, helps = short.rstrip(".").rpartition(": ")
                failure = PluginFailed(f"{where}: {what}", advice=helps)
                failure.kind = what
            raise failure from error
