"""The click protocol, `hlmat/1`, whole: how one sample is played.

A player sees the image with the current mask and answers with text; the text is read as an action; a click goes to the
segmenter with all earlier ones and yields the next mask; until the budget is spent or the player stops. Nothing here
scores: an episode is a record, and scores are computed from records.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from hlmat_bench.actions import Action, parse
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Image, Mask, Size
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.protocol.canvas import Drawing
from hlmat_bench.protocol.interfaces import Reply, Segmenter, Session
from hlmat_bench.protocol.players import Player, View
from hlmat_bench.protocol.records import Episode, Step, select
from hlmat_bench.protocol.settings import ProtocolSettings
from hlmat_bench.protocol.step_costs import Spent

A = TypeVar("A")
T = TypeVar("T")


class Play:
    """One episode under way: the state a strategy moves and the record it leaves.

    Strategies use `ask`, `read` and `do`; a search also uses `view`, to ask about masks that it tries, and `try_each`.
    Initial states use `draw`, and leave the record `initial`.

    Args:
        sample: what is played.
        image: uint8 (H, W, 3) RGB.
        truth: the ground truth, for the record's IoU alone.
        player: who answers.
        segmenter: what turns clicks into masks.
        settings: the protocol's settings.
        pool: threads for pixel work, so that the event loop never waits for it.
        opening: the image on its way into the segmenter; None: it is opened at the first click.
        seed: the run's.
        data: digests of the files that image and truth were read from, for the record.
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
        seed: int = 0,
        data: Mapping[str, str] | None = None,
    ) -> None:
        self.sample, self.image, self.truth, self.seed = sample, image, truth, seed
        self.data = dict(data or {})
        self.player, self.segmenter, self.settings = player, segmenter, settings
        self.size = (image.shape[0], image.shape[1])
        self.scored = CachedTruth(truth.mask, truth.ignore)
        self.drawing = Drawing(image, segmenter, opening, sample.id)
        self.iou = self.scored.iou(self.drawing.mask)
        self.initial: dict[str, Any] = {"kind": "empty", "mask": None, "iou": self.iou}
        self.steps: list[Step] = []
        self._pool = pool
        self._spent = Spent()

    def view(self) -> View:
        """The current state, and the question for a click."""
        return View(self.drawing.mask, tuple(self.drawing.clicks), len(self.steps) + 1)

    async def ask(self, n: int = 1, view: View | None = None) -> list[Reply]:
        """The player's replies to the current state, or to another view.

        Raises:
            RequestFailed: when the model cannot be asked.
        """
        replies = await self.player.ask(view or self.view(), n)
        self._spent.replies += replies
        return replies

    def read(self, reply: Reply) -> Action:
        """The action that a reply means here; see `meaning`."""
        player = self.player
        return meaning(
            reply,
            player.points,
            self.size,
            player.frame,
            track=self.settings.track,
            first=not self.steps,
            clicks=self.drawing.clicks,
        )

    def ended(self) -> str | None:
        """Return why the episode is over by the protocol's rules; see `ended`."""
        actions = [step.action for step in self.steps]
        return ended(actions, self.settings.budget, deterministic=self.player.deterministic)

    async def try_each(self, actions: Sequence[Action]) -> list[Mask]:
        """The masks that clicks or boxes would lead to from here; the play stays as it is."""
        return await self.work(self.drawing.try_each, actions)

    async def draw(self, change: Callable[[A], object], argument: A) -> None:
        """Change the drawing, in a worker thread, and measure its mask."""

        def drawn(argument: A) -> float:
            change(argument)
            return self.scored.iou(self.drawing.mask)

        self.iou = await self.work(drawn, argument)

    async def do(self, action: Action, reply: Reply | None, candidates: Sequence[dict[str, Any]] = ()) -> None:
        """Carry out an action and record the step; an invalid one or a stop leaves the mask as it is.

        Args:
            action: what is done.
            reply: what it was read from; None where the model could not be asked.
            candidates: what was tried for this step, as `Step.candidates` holds it.
        """
        if action.kind in ("click", "box"):
            await self.draw(self.drawing.apply, action)
        step = Step(
            t=len(self.steps) + 1,
            raw=None if reply is None else reply.text,
            action=action,
            mask=self.drawing.rle,
            iou=self.iou,
            seconds=self._spent.seconds(self.drawing.seconds),
            tokens=self._spent.tokens(),
            cost=self._spent.cost(),
            finish=None if reply is None else reply.finish,
            thought=reply is not None and reply.thought,
            candidates=tuple(candidates),
        )
        self.steps.append(step)
        self._spent, self.drawing.seconds = Spent(), 0.0

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
            data=self.data,
        )

    async def work(self, work: Callable[[A], T], argument: A) -> T:
        """Do pixel work in a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, argument)


def meaning(
    reply: Reply,
    points: PointFormat,
    size: Size,
    frame: Frame | None = None,
    *,
    track: str,
    first: bool,
    clicks: Collection[Click],
) -> Action:
    """Return the action that a reply means: `parse`, and what the track and the state do not allow.

    A reply that was cut off at the limit of tokens counts only where it begins with its answer: what stands before the
    answer may be a thought that the model never ended.

    Args:
        reply: the player's.
        points: how it writes coordinates.
        size: (height, width) of the image.
        frame: how the player sees the image; None: as it is.
        track: of the protocol.
        first: no step was done before.
        clicks: earlier ones, which may not be repeated.
    """
    if reply.finish in ("content_filter", "refusal"):
        return Action("invalid", reason="refusal")
    action = parse(reply.text, points, size, frame, cut_off=reply.finish == "length")
    if action.box is not None and (not first or track == "point"):
        if action.kind == "box":
            return Action("invalid", reason="parse", predicted_iou=action.predicted_iou)
        action = replace(action, box=None)
    if action.kind == "click" and action.click in clicks:
        return Action("invalid", reason="repeat", predicted_iou=action.predicted_iou)
    return action


def ended(actions: Sequence[Action], budget: int, *, deterministic: bool) -> str | None:
    """Return why an episode is over after these actions, as its record says it; None where it is not over.

    A strategy may end an episode earlier, for a reason of its own.

    Args:
        actions: what was done so far, one action a step.
        budget: most steps.
        deterministic: the same picture gets the same reply, so that an invalid reply would be repeated for ever.

    Returns:
        ``stop``, ``error`` and ``stuck`` are ends by what was last done (terminated); ``budget`` is a limit from
        outside (truncated), and comes last.
    """
    last = actions[-1] if actions else None
    if last is not None and last.kind == "stop":
        return "stop"
    if last is not None and last.kind == "invalid" and (last.reason == "api" or deterministic):
        return "error" if last.reason == "api" else "stuck"
    return "budget" if len(actions) >= budget else None


async def greedy(play: Play) -> str:
    """Take one reply a step as it is."""
    while (end := play.ended()) is None:
        [reply] = await play.ask()
        await play.do(play.read(reply), reply)
    return end


async def begin_empty(play: Play) -> None:
    """Begin as a play is made: with an empty mask."""


#: Plays to the end and says why it ended. By name: `hlmat_bench.protocol.strategies`.
Strategy: TypeAlias = Callable[[Play], Awaitable[str]]
#: Sets the initial state. By name: `hlmat_bench.protocol.initial`.
Begin: TypeAlias = Callable[[Play], Awaitable[None]]


async def play(play: Play, strategy: Strategy = greedy, begin: Begin = begin_empty) -> Episode:
    """Play one sample from its initial state to its end."""
    try:
        await begin(play)
        stop = await strategy(play)
    except RequestFailed as error:
        await play.do(Action("invalid", reason="api"), None)
        return play.episode("error", str(error))
    return play.episode(stop)
