"""The rule-based annotator, which makes trajectories from ground truths (SegAgent, arXiv 2503.08625, section 4.1).

At each step it clicks the middle of the largest error, as the oracle does, or a point near it. An action that raises
the IoU too little is discarded, and play continues from the state before. The paper's algorithm 3 has the same three
rules: a greatest number of clicks, an IoU that is good enough, and no action of low or negative gain.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.actions import NO_OBJECT, Action, write
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.clicks.random import generator_of
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.annotator_settings import AnnotatorSettings
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.loop import Play
from hlmat_bench.protocol.reference import PIXELS
from hlmat_bench.protocol.state import EpisodePoint


class Annotator:
    """Chooses the clicks of one episode.

    Args:
        truth: the ground truth.
        spread: how far from the middle of an error a click may be: 0, the middle; 1, anywhere in the error.
        generator: of the clicks' places; a spread of 0 draws nothing.
    """

    def __init__(self, truth: Truth, spread: float, generator: np.random.Generator) -> None:
        self._truth, self._spread, self._generator = truth, spread, generator
        self.forget()

    def next_click(self, mask: Mask, clicked: Sequence[Click]) -> Click | None:
        """Return the next click for a mask, bool (H, W), or None where no error is left that is not avoided."""
        middle = next_click(self._truth.mask, mask, ignore=self._avoided, clicked=clicked)
        if middle is None or self._spread == 0:
            return middle
        error = self._error(middle, mask)
        depth = _depths(error)
        for click in clicked:
            depth[click.y, click.x] = 0
        y, x = np.nonzero((depth > 0) & (depth >= (1 - self._spread) * depth.max()))
        drawn = int(self._generator.integers(y.size))
        return Click(middle.positive, int(x[drawn]), int(y[drawn]))

    def avoid(self, click: Click, mask: Mask) -> None:
        """Leave the middle of the error alone that a click on this mask was in, until `forget`.

        It is the largest disc around the click that lies in the error.
        """
        depth = _depths(self._error(click, mask))[click.y, click.x]
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        self._avoided |= (rows - click.y) ** 2 + (columns - click.x) ** 2 < max(float(depth), 1.0) ** 2

    def forget(self) -> None:
        """Avoid no error any more, because the mask has changed."""
        self._avoided = np.zeros_like(self._truth.mask) if self._truth.ignore is None else self._truth.ignore.copy()

    def _error(self, click: Click, mask: Mask) -> Mask:
        """Return the connected error, bool (H, W), that a click is in: missed pixels, or wrong ones."""
        import cv2

        wrong = (self._truth.mask & ~mask if click.positive else mask & ~self._truth.mask) & ~self._avoided
        _, parts = cv2.connectedComponents(wrong.astype(np.uint8), connectivity=4)
        found: Mask = parts == parts[click.y, click.x]
        return found


class _Trajectory:
    """A trajectory that is not finished.

    Args:
        play: the episode.
    """

    def __init__(self, play: Play) -> None:
        self._play, self._state = play, play.state
        self._rules = play.settings.annotator or AnnotatorSettings()
        generator = generator_of(self._state.seed, f"{self._state.sample.id}/clicks")
        self._annotator = Annotator(self._state.truth, self._rules.spread, generator)

    def ended(self) -> str | None:
        """Return why the trajectory is over; None where it is not."""
        return self._play.ended() or ("reached" if self._state.iou >= self._rules.stop_iou else None)

    async def step(self) -> bool:
        """Do the annotator's click, the first of a few that raises the IoU enough; return False where none does."""
        for _ in range(self._rules.tries):
            mask = self._state.segmentation.mask
            click = await self._play.work(self._annotator.next_click, mask, self._state.segmentation.clicks)
            if click is None:
                return False
            if await self.do_if_better(click):
                return True
            await self._play.work(self._annotator.avoid, click, mask)
        return False

    async def do_if_better(self, click: Click) -> bool:
        """Do a click if it raises the IoU by more than the least gain; else return False and change nothing."""
        action = Action("click", *click)
        [mask] = await self._play.try_each([action])
        if await self._play.work(self._state.scored.iou, mask) - self._state.iou <= self._rules.min_gain:
            return False
        await self._play.do(action, Reply(write(click, PIXELS, self._state.size)))
        self._annotator.forget()
        return True

    async def finish(self) -> str:
        """Let the annotator click until the end, and return why it ended; where there may be no object, it says so."""
        if self._play.settings.no_target and not self._state.truth.mask.any():
            await self._play.do(Action("none"), Reply(NO_OBJECT))
            return "none"
        while (end := self.ended()) is None:
            if not await self.step():
                return "exhausted"
        return end


async def annotate(play: Play) -> str:
    """Click until the IoU is good enough, the budget is spent, or no click raises the IoU enough.

    Returns:
        ``reached``, ``budget``, ``exhausted`` or ``none``.
    """
    return await _Trajectory(play).finish()


async def improve(play: Play, clicks: Sequence[Click]) -> str:
    """Play a model's clicks again, with the annotator's click in the place of each that does not raise the IoU enough.

    After them the annotator clicks to the end. This is StaR+ (SegAgent, section 4.3 and its algorithm 1), but play
    continues from the state that the better action leads to, so that the trajectory is one that could have been played.
    Where no click raises the IoU any more, the model's last click is taken back if that leads to a higher IoU.

    Args:
        play: the episode.
        clicks: of the model, in their order.

    Returns:
        See `annotate`.
    """
    trajectory, before = _Trajectory(play), list[EpisodePoint]()
    for click in clicks:
        if trajectory.ended() is not None or not play.state.truth.mask.any():
            break
        point = await play.fork()
        if click not in play.state.segmentation.clicks and await trajectory.do_if_better(click):
            before.append(point)
        elif not await trajectory.step():
            break
    end = await trajectory.finish()
    while end == "exhausted" and before:
        there, iou = await play.fork(), play.state.iou
        await play.goto(before.pop())
        other_end = await trajectory.finish()
        if play.state.iou <= iou:
            await play.goto(there)
            break
        end = other_end
    return end


def _depths(region: Mask) -> NDArray[np.float32]:
    """Return the distance of each pixel of a region to the nearest pixel outside it, float32 (H, W)."""
    import cv2

    padded = np.pad(region, 1).astype(np.uint8)
    return cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]  # type: ignore[return-value]
