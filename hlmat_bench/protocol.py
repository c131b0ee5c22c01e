"""The click protocol, `hlmat/1`, whole: how one sample is played.

A player sees the image with the current mask and answers with text; the text is read as an action; a click goes to the
segmenter with all earlier ones and yields the next mask; until the budget is spent or the player stops. Nothing here
scores: an episode is a record, and scores are computed from records.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from hlmat_bench import masks
from hlmat_bench.actions import Action, parse
from hlmat_bench.clicks import Click
from hlmat_bench.errors import RequestFailed
from hlmat_bench.interfaces import Box, Image, Mask, Reply, Segmenter, Session
from hlmat_bench.players import Player, View
from hlmat_bench.records import Episode, Step, select
from hlmat_bench.reference import bounding_box
from hlmat_bench.samples import Sample, Truth
from hlmat_bench.scores import CachedTruth
from hlmat_bench.settings import ProtocolSettings

T = TypeVar("T")


class Play:
    """One episode under way: the state a strategy moves and the record it leaves.

    Strategies use `ask`, `read` and `do`; for a search, `session.snapshot` and `session.restore` take back a click.

    Args:
        sample: what is played.
        image: uint8 (H, W, 3) RGB.
        truth: the ground truth, for the record's IoU alone.
        player: who answers.
        segmenter: what turns clicks into masks.
        settings: the protocol's settings.
        pool: threads for pixel work, so that the event loop never waits for it.
        opening: the image on its way into the segmenter; None: it is opened at the first click.
    """

    def __init__(
        self,
        sample: Sample,
        image: Image,
        truth: Truth,
        player: Player,
        segmenter: Segmenter,
        settings: ProtocolSettings,
        pool: Executor,
        opening: Future[Session] | None = None,
    ) -> None:
        self.sample, self.image, self.truth = sample, image, truth
        self.player, self.segmenter, self.settings = player, segmenter, settings
        self.size = (image.shape[0], image.shape[1])
        self.scored = CachedTruth(truth.mask, truth.ignore)
        self.session: Session | None = None
        self.mask: Mask = np.zeros(self.size, bool)
        self.rle: masks.RLE = masks.encode(self.mask)
        self.iou = self.scored.iou(self.mask)
        self.clicks: list[Click] = []
        self.box: Box | None = None
        self.initial: dict[str, Any] = {"kind": "empty", "mask": None, "iou": self.iou}
        self.steps: list[Step] = []
        self._pool, self._opening = pool, opening
        self._asked_at = 0.0
        self._segmenter_seconds = 0.0

    async def ask(self, n: int = 1) -> list[Reply]:
        """The player's replies to the current state.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        self._asked_at, self._segmenter_seconds = time.perf_counter(), 0.0
        return await self.player.ask(View(self.mask, tuple(self.clicks), len(self.steps) + 1), n)

    def read(self, reply: Reply) -> Action:
        """The action that a reply means here: `parse`, and what this state and track do not allow."""
        if reply.finish in ("content_filter", "refusal"):
            return Action("invalid", reason="refusal")
        action = parse(reply.text, self.player.points, self.size, self.player.frame)
        if action.box is not None and (self.steps or self.settings.track == "point"):
            if action.kind == "box":
                return Action("invalid", reason="parse", predicted_iou=action.predicted_iou)
            action = replace(action, box=None)
        if action.kind == "click" and action.click in self.clicks:
            return Action("invalid", reason="repeat", predicted_iou=action.predicted_iou)
        return action

    async def do(self, action: Action, reply: Reply) -> None:
        """Carry out an action and record the step; an invalid one or a stop leaves the mask as it is."""
        if action.box is not None:
            self.box = action.box
        if action.kind == "click":
            self.clicks.append(action.click)
        if action.kind in ("click", "box"):
            await self._work(self._segment)
        rest = time.perf_counter() - self._asked_at - reply.seconds - self._segmenter_seconds
        seconds = {"model": reply.seconds, "segmenter": self._segmenter_seconds, "harness": max(rest, 0.0)}
        self._record(action, reply, seconds)

    async def begin(self) -> None:
        """Set the initial state."""
        if self.settings.initial == "gt-box" and (box := bounding_box(self.truth.mask)) is not None:
            self.box = box
            await self._work(self._segment)
            self.initial = {"kind": "gt-box", "box": list(box), "mask": self.rle, "iou": self.iou}

    def fail(self) -> None:
        """Record that the model could not be asked."""
        self._record(Action("invalid", reason="api"), None, {"model": 0.0, "segmenter": 0.0, "harness": 0.0})

    def episode(self, stop: str, error: str | None = None) -> Episode:
        """The finished record."""
        sample, ignore = self.sample, self.truth.ignore
        return Episode(
            sample_id=sample.id,
            image=sample.image,
            image_id=sample.image_id,
            ref_id=sample.ref_id,
            expression=sample.expression,
            size=self.size,
            gt=masks.encode(self.truth.mask),
            ignore=None if ignore is None else masks.encode(ignore),
            initial=self.initial,
            steps=self.steps,
            selected=select(self.steps, self.initial),
            stop=stop,
            error=error,
            tags=dict(sample.tags),
        )

    def _segment(self) -> None:
        """In a worker thread: the next mask from all clicks so far, with its record."""
        started = time.perf_counter()
        if self.session is None:
            self.session = self._opening.result() if self._opening else self.segmenter.open(self.image)
        self.mask = self.session.predict(self.clicks, self.box)
        self._segmenter_seconds = time.perf_counter() - started
        self.rle = masks.encode(self.mask)
        self.iou = self.scored.iou(self.mask)

    def _record(self, action: Action, reply: Reply | None, seconds: dict[str, float]) -> None:
        """Add a step; without a reply, of a request that failed."""
        t, state = len(self.steps) + 1, (self.rle, self.iou, seconds)
        if reply is None:
            self.steps.append(Step(t, None, action, *state))
        else:
            tokens = {"in": reply.tokens_in, "out": reply.tokens_out}
            self.steps.append(Step(t, reply.text, action, *state, tokens, reply.cost, reply.finish))

    async def _work(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)


async def greedy(play: Play) -> str:
    """One reply a step, taken as it is."""
    while len(play.steps) < play.settings.budget:
        [reply] = await play.ask()
        action = play.read(reply)
        await play.do(action, reply)
        if action.kind == "stop":
            return "stop"
        if action.kind == "invalid" and play.player.deterministic:
            return "stuck"
    return "budget"


Strategy = Callable[[Play], Awaitable[str]]

#: By the name that ``--strategy`` takes: each plays to the end and says why it ended.
STRATEGIES: dict[str, Strategy] = {"greedy": greedy}


async def play(play: Play) -> Episode:
    """Play one sample from its initial state to its end."""
    await play.begin()
    try:
        stop = await STRATEGIES[play.settings.strategy](play)
    except RequestFailed as error:
        play.fail()
        return play.episode("error", str(error))
    return play.episode(stop)
