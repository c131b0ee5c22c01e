"""The reference players every number is read beside: ceilings that know the ground truth, floors that know nothing.

They write their replies as text in pixels, so that they pass through the same parser and loop as a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeAlias

import numpy as np

from hlmat_bench.actions import write
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.framing import Frame
from hlmat_bench.interfaces import Mask, Reply
from hlmat_bench.players import View
from hlmat_bench.points import PointFormat
from hlmat_bench.samples import Truth

PIXELS = PointFormat.named("pixel")
FINISH = "Finish"

Policy: TypeAlias = Callable[[View, Truth, np.random.Generator], str]


class ReferencePlayer:
    """Plays one sample by a rule. Replies are in the format ``pixel``.

    Args:
        policy: the rule; one of `POLICIES`.
        truth: the sample's ground truth.
        seed: what random choices depend on, besides the step.
        pool: where the rule is computed, so that it never blocks the event loop.
    """

    points = PIXELS
    frame: Frame | None = None

    def __init__(self, policy: Policy, truth: Truth, seed: int, pool: Executor) -> None:
        self._policy = policy
        self._truth = truth
        self._seed = seed
        self._pool = pool
        self.deterministic = policy is not random_click

    async def ask(self, view: View, n: int) -> list[Reply]:
        """See `Player.ask`."""
        generator = np.random.Generator(np.random.PCG64([self._seed, view.t]))
        loop = asyncio.get_running_loop()
        text = await loop.run_in_executor(self._pool, self._policy, view, self._truth, generator)
        return [Reply(text)] * n


def oracle(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """The middle of the largest error, as RITM and SimpleClick simulate a user; Finish when nothing is wrong."""
    click = next_click(truth.mask, view.mask, ignore=truth.ignore, clicked=view.clicks)
    return _say(click, view.mask)


def center(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """One positive click on the middle of the image, then Finish."""
    height, width = view.mask.shape
    return _say(None if view.clicks else Click(True, width // 2, height // 2), view.mask)


def random_click(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """A uniformly drawn pixel: positive outside the current mask, negative inside it."""
    height, width = view.mask.shape
    x, y = int(generator.integers(width)), int(generator.integers(height))
    return _say(Click(not view.mask[y, x], x, y), view.mask)


def empty(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """Finish at once: what a model scores that never clicks."""
    return FINISH


def gt_box(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """The ground truth's bounding box, then Finish: what localisation alone is worth."""
    box = bounding_box(truth.mask)
    if view.t > 1 or box is None:
        return FINISH
    x0, y0, x1, y1 = box
    return f"<box>({x0},{y0}),({x1},{y1})</box>"


def bounding_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """(x0, y0, x1, y1) around a mask (bool (H, W)), the last row and column excluded; None for an empty one."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


#: By the name that ``--model`` takes.
POLICIES: dict[str, Policy] = {
    "oracle": oracle,
    "gt-box": gt_box,
    "center": center,
    "random": random_click,
    "empty": empty,
}


def _say(click: Click | None, mask: Mask) -> str:
    return FINISH if click is None else write(click, PIXELS, (mask.shape[0], mask.shape[1]))
