"""One episode as a state that moves: what is seen, what a reply means, what an action does, and when it is over.

Everything here is synchronous and knows no model, no file and no event loop. Whatever plays, searches, checks or
replays episodes uses these rules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from hlmat_bench.actions import DRAWING, Action, parse
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Box, Image, Mask, Size
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Question, Reply, Segmenter, Session
from hlmat_bench.protocol.observation import Observation
from hlmat_bench.protocol.policies import ReplyFormat
from hlmat_bench.protocol.records import Episode, Step, select
from hlmat_bench.protocol.segmentation import SegmentationPoint, SegmentationState
from hlmat_bench.protocol.settings import ProtocolSettings


def interpret(
    reply: Reply,
    points: PointFormat,
    size: Size,
    frame: Frame | None = None,
    *,
    track: str,
    first: bool,
    clicks: Collection[Click],
    no_target: bool = False,
    no_target_reply: str | None = None,
    empty: bool = True,
) -> Action:
    """Return the action that a reply means: what `parse` reads, unless the track or the state forbids it.

    A reply that was cut off at the limit of tokens counts only where it begins with its answer: text before the answer
    may be a thought that the model never ended.

    Args:
        reply: the policy's reply.
        points: how it writes coordinates.
        size: (height, width) of the image.
        frame: how the policy sees the image; None: unchanged.
        track: of the protocol, ``point`` or ``box+point``.
        first: no step was done before.
        clicks: earlier clicks, which may not be repeated.
        no_target, no_target_reply: of the protocol: a reply may say that there is no such object, and how else.
        empty: the current mask is empty, so that no click to give means that there is no object.
    """
    if reply.finish in ("content_filter", "refusal"):
        return Action("invalid", reason="refusal")
    absent = {*([no_target_reply] if no_target_reply else []), *(SYNTAXES[points.syntax].nothing if empty else [])}
    cut_off = reply.finish == "length"
    action = parse(reply.text, points, size, frame, cut_off=cut_off, no_target=no_target, absent=absent)
    if action.box is not None and (not first or track == "point"):
        if action.kind == "box":
            return Action("invalid", reason="parse", predicted_iou=action.predicted_iou)
        action = replace(action, box=None)
    if action.kind == "click" and action.click in clicks:
        return Action("invalid", reason="repeat", predicted_iou=action.predicted_iou)
    return action


#: The recorded ends that are limits from outside (truncated). All others are ends by what was done (terminated).
TRUNCATED = frozenset({"budget"})


def ended(actions: Sequence[Action], budget: int, *, deterministic: bool) -> str | None:
    """Return why an episode is over after these actions, as its record says it; None where it is not over.

    A strategy may end an episode earlier, for a reason of its own.

    Args:
        actions: what was done so far, one action a step.
        budget: most steps.
        deterministic: the same observation gets the same reply, so an invalid reply would be repeated for ever.

    Returns:
        ``stop``, ``none``, ``error`` or ``stuck`` for an end by the last action (terminated); ``budget`` for the limit
        (truncated, see `TRUNCATED`), which comes last.
    """
    last = actions[-1] if actions else None
    if last is not None and last.kind in ("stop", "none"):
        return last.kind
    if last is not None and last.kind == "invalid" and (last.reason == "api" or deterministic):
        return "error" if last.reason == "api" else "stuck"
    return "budget" if len(actions) >= budget else None


@dataclass(frozen=True, slots=True)
class EpisodePoint:
    """A state to which an `EpisodeState` can return.

    Attributes:
        segmentation: the segmenter's side.
        steps: what was recorded until then.
        iou: of the mask, 0 to 1.
    """

    segmentation: SegmentationPoint
    steps: tuple[Step, ...]
    iou: float


class EpisodeState:
    """One sample while it is played. Its methods do pixel work: call them in worker threads where an event loop runs.

    Args:
        sample: the sample.
        image: uint8 (H, W, 3) RGB.
        truth: the ground truth, for the record's IoU alone.
        segmenter: turns clicks into masks.
        settings: the protocol's settings.
        replies: how the policy's replies are read.
        opening: the image on its way into the segmenter; None: it is opened at the first click.
        seed: the run's seed.
        data: digests of the files that image and truth were read from, for the record.

    Attributes:
        size: (height, width) of the image.
        scored: the ground truth, ready to be compared with masks.
        segmentation: the current mask, and the clicks and the box that led to it.
        iou: of the current mask, 0 to 1.
        initial: what the record says of the initial state.
        steps: what was recorded so far.
        asked: the replies since the last step; they are the cost of the next one.
    """

    def __init__(
        self,
        sample: Sample,
        image: Image,
        truth: Truth,
        segmenter: Segmenter,
        settings: ProtocolSettings,
        replies: ReplyFormat,
        *,
        opening: Future[Session] | None = None,
        seed: int = 0,
        data: Mapping[str, str] | None = None,
    ) -> None:
        self.sample, self.image, self.truth, self.seed = sample, image, truth, seed
        self.segmenter, self.settings, self.replies = segmenter, settings, replies
        self.size: Size = (image.shape[0], image.shape[1])
        self.scored = CachedTruth(truth.mask, truth.ignore)
        self.segmentation = SegmentationState(image, segmenter, opening, sample.id)
        self.iou = self.scored.iou(self.segmentation.mask)
        self.initial: dict[str, Any] = {"kind": "empty", "mask": None, "iou": self.iou}
        self.steps: list[Step] = []
        self.asked: list[Reply] = []
        self._every_step: list[Step] = []
        self._began = time.perf_counter()
        self._data = dict(data or {})

    def observation(self, question: Question = "click", *, greedy: bool = False) -> Observation:
        """Return what there is to see now, and a question about it."""
        clicks = tuple(self.segmentation.clicks)
        return Observation(self.segmentation.mask, clicks, len(self.steps) + 1, question, greedy)

    def interpret(self, reply: Reply) -> Action:
        """Return the action that a reply means in this state; see `interpret`."""
        return interpret(
            reply,
            self.replies.points,
            self.size,
            self.replies.frame,
            track=self.settings.track,
            first=not self.steps,
            clicks=self.segmentation.clicks,
            no_target=self.settings.no_target,
            no_target_reply=self.settings.no_target_reply,
            empty=self.settings.no_target and not self.segmentation.mask.any(),
        )

    def ended(self) -> str | None:
        """Return why the episode is over by the protocol's rules; None where it is not. See `ended`."""
        actions = [step.action for step in self.steps]
        return ended(actions, self.settings.budget, deterministic=self.replies.deterministic)

    def begin_with_box(self, box: Box | None, **made: Any) -> None:
        """Begin with the segmenter's mask for a box; without a box the mask stays empty.

        Args:
            box: (x0, y0, x1, y1) in pixels, or None.
            made: ``kind``, and what made the box, for the record.
        """
        if box is not None:
            self.segmentation.apply(Action("box", box=box))
            self._measure()
        self.initial = {
            "box": None if box is None else list(box),
            "mask": None if box is None else self.segmentation.rle,
            "iou": self.iou,
            **made,
        }

    def begin_with_mask(self, mask: Mask, **made: Any) -> None:
        """Begin with a given mask.

        Args:
            mask: bool (H, W).
            made: ``kind``, and what made the mask, for the record.

        Raises:
            UsageError: when it does not have the image's size.
        """
        self.segmentation.start_from(mask)
        self._measure()
        self.initial = {"mask": self.segmentation.rle, "iou": self.iou, **made}

    def show(self, clicks: Sequence[Click]) -> None:
        """Make the mask of these clicks alone the current one, as tasks of the kind filtering do."""
        self.segmentation.show_alone(clicks)
        self._measure()

    def apply(self, action: Action, reply: Reply | None = None, candidates: Sequence[dict[str, Any]] = ()) -> Step:
        """Carry out an action and record it as a step; an invalid action or a stop leaves the mask as it is.

        The action ``none`` (there is no such object) empties it.

        Args:
            action: what is done.
            reply: the reply that it was read from; None where the model could not be asked.
            candidates: what was tried for this step, as `Step.candidates` holds it.
        """
        if action.kind in DRAWING:
            self.segmentation.apply(action)
            self._measure()
        step = Step(
            t=len(self.steps) + 1,
            raw=None if reply is None else reply.text,
            action=action,
            mask=self.segmentation.rle,
            iou=self.iou,
            seconds=self._seconds(),
            tokens=_tokens(self.asked),
            cost=_cost(self.asked),
            finish=None if reply is None else reply.finish,
            thought=reply is not None and reply.thought,
            candidates=tuple(candidates),
        )
        self.steps.append(step)
        self._every_step.append(step)
        self.asked, self.segmentation.seconds, self._began = [], 0.0, time.perf_counter()
        return step

    def try_each(self, actions: Sequence[Action]) -> list[Mask]:
        """Return the masks that clicks or boxes would lead to from here, without changing the state."""
        return self.segmentation.try_each(actions)

    def fork(self) -> EpisodePoint:
        """Return the current state as a value, for `goto`."""
        return EpisodePoint(self.segmentation.fork(), tuple(self.steps), self.iou)

    def goto(self, point: EpisodePoint, *, forget: bool = False) -> None:
        """Return to a state of this episode; steps that were recorded since then leave the record.

        Args:
            point: the state.
            forget: what these steps cost is forgotten, too; else it stays in the record, see `record`.
        """
        self.segmentation.goto(point.segmentation)
        self.steps, self.iou = list(point.steps), point.iou
        if forget:
            self._every_step = list(point.steps)

    def record(self, stop: str, error: str | None = None) -> Episode:
        """Return the finished episode. What abandoned steps cost is added to its last step.

        Args:
            stop: why it ended, as `Episode.stop` says it.
            error: what failed; None where nothing failed.
        """
        kept = {id(step) for step in self.steps}
        if self.steps and (abandoned := [step for step in self._every_step if id(step) not in kept]):
            self.steps[-1] = _with_costs_of(self.steps[-1], abandoned)
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
            data=self._data,
        )

    def _measure(self) -> None:
        self.iou = self.scored.iou(self.segmentation.mask)

    def _seconds(self) -> dict[str, float]:
        """Return the wall time since the last step: in the ``model``, the ``segmenter``, and the ``harness``."""
        model, segmenter = sum(reply.seconds for reply in self.asked), self.segmentation.seconds
        rest = time.perf_counter() - self._began - model - segmenter
        return {"model": model, "segmenter": segmenter, "harness": max(rest, 0.0)}


def _tokens(replies: Sequence[Reply]) -> dict[str, int | None]:
    """Return the tokens ``in`` and ``out``; None where one reply does not say; empty without any reply."""
    if not replies:
        return {}
    return {
        "in": _sum_or_none([reply.tokens_in for reply in replies]),
        "out": _sum_or_none([reply.tokens_out for reply in replies]),
    }


def _cost(replies: Sequence[Reply | Step]) -> float | None:
    """Return the cost in US dollars; None where one cost is unknown."""
    costs = [reply.cost for reply in replies if reply.cost is not None]
    return math.fsum(costs) if costs and len(costs) == len(replies) else None


def _sum_or_none(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _with_costs_of(last: Step, abandoned: Sequence[Step]) -> Step:
    """Return a step whose seconds, tokens and cost include those of steps that left the record."""
    steps = [last, *abandoned]
    seconds = {part: math.fsum(step.seconds.get(part, 0.0) for step in steps) for part in last.seconds}
    asked = [step for step in steps if step.tokens]
    tokens = {part: _sum_or_none([step.tokens[part] for step in asked]) for part in ("in", "out")} if asked else {}
    return replace(last, seconds=seconds, tokens=tokens, cost=_cost(asked))
