"""The reference players every number is read beside: ceilings that know the ground truth, floors that know nothing.

They write their replies as text in pixels, so that they pass through the same parser and loop as a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from hlmat_bench.actions import write, write_box
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.core.samples import Truth
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Mask
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.players import View

PIXELS = PointFormat.named("pixel")
FINISH = "Finish"

Policy: TypeAlias = Callable[[View, Truth, np.random.Generator], str]


def nothing(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """What a player says to a question that it has no answer to."""
    return "I do not know."


class Rule(NamedTuple):
    """What a reference player answers to each question.

    Attributes:
        click, iou, box: by the question of the view.
        deterministic: it answers the same view in the same way.
        bound: what every number is read beside: a ``ceiling`` knows the ground truth, a ``floor`` knows nothing.
    """

    click: Policy
    iou: Policy = nothing
    box: Policy = nothing
    deterministic: bool = True
    bound: Literal["ceiling", "floor"] = "ceiling"


class ReferencePlayer:
    """Plays one sample by a rule. Replies are in the format ``pixel``.

    Args:
        rule: what it answers; one of `POLICIES`.
        truth: the sample's ground truth.
        seed: what random choices depend on, besides the step.
        pool: where the rule is computed, so that it never blocks the event loop.
    """

    points = PIXELS
    frame: Frame | None = None

    def __init__(self, rule: Rule, truth: Truth, seed: int, pool: Executor) -> None:
        self._rule = rule
        self._truth = truth
        self._seed = seed
        self._pool = pool
        self.deterministic = rule.deterministic

    async def ask(self, view: View, n: int) -> list[Reply]:
        """See `Player.ask`."""
        draws = 1 if self.deterministic else n
        said = await asyncio.get_running_loop().run_in_executor(self._pool, self._say, view, draws)
        return said * (n // draws)

    def _say(self, view: View, draws: int) -> list[Reply]:
        """The rule's replies, each from its own draw."""
        seeds = [[self._seed, view.t, *([draw] if draw else [])] for draw in range(draws)]
        generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        policy: Policy = getattr(self._rule, view.question)
        return [Reply(policy(view, self._truth, generator)) for generator in generators]


def oracle(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """The middle of the largest error, as RITM and SimpleClick simulate a user; Finish when nothing is wrong."""
    click = next_click(truth.mask, view.mask, ignore=truth.ignore, clicked=view.clicks)
    return _say(click, view.mask)


def erring_oracle(view: View, truth: Truth, generator: np.random.Generator, *, misplaced: float) -> str:
    """The oracle, but a share of its clicks fall on a uniformly drawn pixel; their sign stays."""
    click = next_click(truth.mask, view.mask, ignore=truth.ignore, clicked=view.clicks)
    if click is not None and generator.random() < misplaced:
        height, width = view.mask.shape
        click = Click(click.positive, int(generator.integers(width)), int(generator.integers(height)))
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
    return FINISH if view.t > 1 else true_box(view, truth, generator)


def true_box(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """The ground truth's bounding box; Finish where there is no object."""
    box = bounding_box(truth.mask)
    return FINISH if box is None else write_box(box, PIXELS, (truth.mask.shape[0], truth.mask.shape[1]))


def true_iou(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """The IoU of the mask and the ground truth."""
    return _say_iou(CachedTruth(truth.mask, truth.ignore).iou(view.mask))


def random_iou(view: View, truth: Truth, generator: np.random.Generator) -> str:
    """A uniformly drawn IoU."""
    return _say_iou(float(generator.random()))


#: By the name that ``--model`` takes.
POLICIES: dict[str, Rule] = {
    "oracle": Rule(oracle, iou=true_iou, box=true_box),
    "gt-box": Rule(gt_box, box=true_box),
    "center": Rule(center, bound="floor"),
    "random": Rule(random_click, iou=random_iou, deterministic=False, bound="floor"),
    "empty": Rule(empty, bound="floor"),
}


def policy_of(name: str, options: Mapping[str, Any]) -> Rule | None:
    """The rule of a reference player, or None where the name is that of a model.

    Raises:
        UsageError: for an option that it does not take.
    """
    if name not in POLICIES or not options:
        return POLICIES.get(name)
    if name != "oracle" or options.keys() != {"misplaced"}:
        raise UsageError(f"The reference player {name} takes no {', '.join(options)}; only oracle takes misplaced=0.3.")
    share = plugins.scalar(str(options["misplaced"]))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UsageError(f"The oracle's misplaced={share} should be a share from 0 to 1.")
    return POLICIES[name]._replace(click=partial(erring_oracle, misplaced=float(share)), deterministic=False)


def _say(click: Click | None, mask: Mask) -> str:
    return FINISH if click is None else write(click, PIXELS, (mask.shape[0], mask.shape[1]))


def _say_iou(value: float) -> str:
    """With a percent sign, so that 0.5 % is not read as a half."""
    return f"Current IOU: {100 * value:.4f}%"
