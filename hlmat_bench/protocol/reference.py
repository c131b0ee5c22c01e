"""Reference policies, with which every score is compared: ceilings know the ground truth, floors know nothing.

They write their replies as text in pixels, so that they pass through the same parser and loop as a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from hlmat_bench.actions import NO_OBJECT, write, write_box
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
from hlmat_bench.protocol.observation import Observation

PIXELS = PointFormat.named("pixel")
FINISH = "Finish"

AnswerFunction: TypeAlias = Callable[[Observation, Truth, np.random.Generator], str]


def nothing(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Answer a question that the policy has no answer to."""
    return "I do not know."


class ReferenceSpec(NamedTuple):
    """What a reference policy answers to each question.

    Attributes:
        click, iou, box: by the question of the observation.
        deterministic: the same observation gets the same answer.
        bound: a ``ceiling`` knows the ground truth, a ``floor`` knows nothing.
    """

    click: AnswerFunction
    iou: AnswerFunction = nothing
    box: AnswerFunction = nothing
    deterministic: bool = True
    bound: Literal["ceiling", "floor"] = "ceiling"


class ReferencePolicy:
    """Answers for one sample by a rule. Replies are in the format ``pixel``.

    Args:
        spec: what it answers; one of `REFERENCES`.
        truth: the sample's ground truth.
        seed: what random choices depend on, besides the step.
        pool: threads in which answers are computed.
        no_target: of the protocol. A policy that knows the ground truth then says it where there is no object.
    """

    points = PIXELS
    frame: Frame | None = None

    def __init__(
        self, spec: ReferenceSpec, truth: Truth, seed: int, pool: Executor, *, no_target: bool = False
    ) -> None:
        self._spec = spec
        self._absent = no_target and spec.bound == "ceiling" and not truth.mask.any()
        self._truth = truth
        self._seed = seed
        self._pool = pool
        self.deterministic = spec.deterministic

    async def ask(self, observation: Observation, n: int) -> list[Reply]:
        """See `Policy.ask`."""
        if self._absent and observation.question != "iou":
            return [Reply(NO_OBJECT)] * n
        draws = 1 if self.deterministic else n
        said = await asyncio.get_running_loop().run_in_executor(self._pool, self._say, observation, draws)
        return said * (n // draws)

    def _say(self, observation: Observation, draws: int) -> list[Reply]:
        """Return the answers, each from a draw of its own."""
        seeds = [[self._seed, observation.t, *([draw] if draw else [])] for draw in range(draws)]
        generators = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        answer: AnswerFunction = getattr(self._spec, observation.question)
        return [Reply(answer(observation, self._truth, generator)) for generator in generators]


def oracle(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Click the middle of the largest error, as RITM and SimpleClick simulate a user; Finish when nothing is wrong."""
    click = next_click(truth.mask, seen.mask, ignore=truth.ignore, clicked=seen.clicks)
    return _say(click, seen.mask)


def erring_oracle(seen: Observation, truth: Truth, generator: np.random.Generator, *, misplaced: float) -> str:
    """Click as the oracle, but put a share of the clicks on a uniformly drawn pixel; their sign stays."""
    click = next_click(truth.mask, seen.mask, ignore=truth.ignore, clicked=seen.clicks)
    if click is not None and generator.random() < misplaced:
        height, width = seen.mask.shape
        click = Click(click.positive, int(generator.integers(width)), int(generator.integers(height)))
    return _say(click, seen.mask)


def center(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Click once, positively, on the middle of the image, then Finish."""
    height, width = seen.mask.shape
    return _say(None if seen.clicks else Click(True, width // 2, height // 2), seen.mask)


def random_click(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Click a uniformly drawn pixel: positively outside the current mask, negatively inside it."""
    height, width = seen.mask.shape
    x, y = int(generator.integers(width)), int(generator.integers(height))
    return _say(Click(not seen.mask[y, x], x, y), seen.mask)


def empty(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Finish at once, as a model that never clicks."""
    return FINISH


def gt_box(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Give the ground truth's bounding box, then Finish: the score of localisation alone."""
    return FINISH if seen.t > 1 else true_box(seen, truth, generator)


def true_box(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Give the ground truth's bounding box; Finish where there is no object."""
    box = bounding_box(truth.mask)
    return FINISH if box is None else write_box(box, PIXELS, (truth.mask.shape[0], truth.mask.shape[1]))


def true_iou(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Say the IoU of the mask and the ground truth."""
    return _say_iou(CachedTruth(truth.mask, truth.ignore).iou(seen.mask))


def random_iou(seen: Observation, truth: Truth, generator: np.random.Generator) -> str:
    """Say a uniformly drawn IoU."""
    return _say_iou(float(generator.random()))


#: By the name that ``--model`` takes.
REFERENCES: dict[str, ReferenceSpec] = {
    "oracle": ReferenceSpec(oracle, iou=true_iou, box=true_box),
    "gt-box": ReferenceSpec(gt_box, box=true_box),
    "center": ReferenceSpec(center, bound="floor"),
    "random": ReferenceSpec(random_click, iou=random_iou, deterministic=False, bound="floor"),
    "empty": ReferenceSpec(empty, bound="floor"),
}


def find_reference(name: str, options: Mapping[str, Any]) -> ReferenceSpec | None:
    """Return the spec of a reference policy, or None where the name is that of a model.

    Raises:
        UsageError: for an option that it does not take.
    """
    if name not in REFERENCES or not options:
        return REFERENCES.get(name)
    if name != "oracle" or options.keys() != {"misplaced"}:
        given = next(option for option in options if option != "misplaced" or name != "oracle")
        only = "its only option is misplaced, for example misplaced=0.3" if name == "oracle" else "it has no options"
        raise UsageError(f'{name} has no option "{given}"; {only}.')
    share = plugins.scalar(str(options["misplaced"]))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UsageError(f"The oracle's misplaced={share} should be a share from 0 to 1.")
    return REFERENCES[name]._replace(click=partial(erring_oracle, misplaced=float(share)), deterministic=False)


def _say(click: Click | None, mask: Mask) -> str:
    return FINISH if click is None else write(click, PIXELS, (mask.shape[0], mask.shape[1]))


def _say_iou(value: float) -> str:
    """Write the IoU with a percent sign, so that 0.5 % is not read as a half."""
    return f"Current IOU: {100 * value:.4f}%"
