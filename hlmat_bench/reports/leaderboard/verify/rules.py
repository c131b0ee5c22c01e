"""Check that the protocol can have recorded an episode: how it began, what was done, why it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hlmat_bench.actions import DRAWING, Action
from hlmat_bench.clicks import Click
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import bounding_box
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.annotator_settings import AnnotatorSettings
from hlmat_bench.protocol.initial import box_alone
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.protocol.search import Convergence, preference
from hlmat_bench.protocol.settings import BOX_STATES, StopSettings, shares_of
from hlmat_bench.protocol.state import ended, interpret
from hlmat_bench.protocol.strategies import STRATEGIES
from hlmat_bench.reports.leaderboard.entry import Manifest
from hlmat_bench.reports.leaderboard.verify.findings import Mismatch, at

_SEARCHES = ("prm", "tree")
_BOXED = frozenset(state.partition("=")[0] for state in BOX_STATES)


class Rules:
    """The protocol's rules with the settings of a run.

    A submitter's own strategy must click what its replies say; what it does with other replies, and when it ends, is
    not checked.

    Args:
        manifest: of the run.

    Raises:
        UsageError: when it is no manifest of a run.
    """

    def __init__(self, manifest: Manifest) -> None:
        protocol = manifest.protocol
        self._strategy: str = protocol["strategy"]
        self._initial: str = protocol["initial"]
        self._track: str = protocol["track"]
        self._budget: int = protocol["budget"]
        self._prm = protocol.get("prm")
        self._no_target = bool(protocol.get("no_target"))
        self._no_target_reply = protocol.get("no_target_reply")
        self._candidates_drawn = protocol.get("candidates")
        self._resize = Resize.named(manifest.resize)
        try:
            self._stopping = StopSettings(**protocol.get("stop") or {})
            self._annotator = AnnotatorSettings(**protocol.get("annotator") or {})
            self._points = PointFormat(**manifest.points)
            self._varied = shares_of(self._initial) if self._initial.startswith("varied=") else {}
        except (TypeError, ValueError) as error:
            raise UsageError(f"The manifest's points, stop, annotator or initial are none: {error}.") from error

    def check(self, episode: Episode) -> Iterator[Mismatch]:
        """Yield what is against the rules, with its place."""
        numbers = [step.t for step in episode.steps]
        if numbers != list(range(1, len(numbers) + 1)) or len(numbers) > self._budget:
            yield Mismatch(at(episode.sample_id, None, "steps"), f"are not numbered from 1 to at most {self._budget}")
            return
        yield from self._beginning(episode)
        clicks: list[Click] = []
        for step in episode.steps:
            yield from self._step(episode, step, clicks)
            yield from self._candidates(episode, step)
            if step.action.kind == "click":
                clicks.append(step.action.click)
        if self._strategy in STRATEGIES:
            yield from self._end(episode)

    def _beginning(self, episode: Episode) -> Iterator[Mismatch]:
        """Check that the initial state is of the kind that the run has; given masks themselves are not checked here."""
        begin, kind = episode.initial, self._initial.partition("=")[0]
        mask, box = begin["mask"], begin.get("box")
        if episode.error is not None and begin["kind"] == "empty":
            kind = "empty"  # the model could not be asked for its box
        if kind == "varied" and begin["kind"] in self._varied:
            kind = begin["kind"]
        if begin["kind"] != kind:
            yield Mismatch(
                at(episode.sample_id, 0, "kind"), f"says {begin['kind']}, but the episodes of this run begin {kind}"
            )
        boxed = kind in _BOXED
        if (mask is not None) != (box is not None if boxed else kind != "empty"):
            yield Mismatch(at(episode.sample_id, 0, "mask"), f"is not what an episode that begins {kind} can have")
        if box is None:
            return
        if (found := self._box(episode, kind)) != box:
            yield Mismatch(at(episode.sample_id, 0, "box"), f"says {box}, but {found} is found")

    def _box(self, episode: Episode, kind: str) -> list[int] | None:
        """Return the box that an episode of this kind begins with."""
        found = None
        if kind == "gt-box":
            found = bounding_box(masks.decode(episode.gt))
        elif kind == "model-box":
            found = box_alone(self._meant(episode, Reply(episode.initial["raw"]))).box
        elif kind == "box-from":
            found = episode.initial["box"]  # of another run, which is not here
        return None if found is None else list(found)

    def _step(self, episode: Episode, step: Step, clicks: Sequence[Click]) -> Iterator[Mismatch]:
        """Check that what was done is what the reply means in this state."""
        action, place = step.action, at(episode.sample_id, step.t, "action")
        does = action.kind in DRAWING
        meant = Action("invalid", reason="api")
        if step.raw is not None:
            reply = Reply(step.raw, finish=step.finish)
            meant = self._meant(episode, reply, step.t, clicks)
            meant = box_alone(meant) if self._strategy == "box-only" else meant
        if (does or self._strategy in STRATEGIES) and _unrated(meant) != _unrated(action):
            yield Mismatch(place, f"says {json.dumps(action.to_json())}, but the reply {json.dumps(meant.to_json())}")
        if (does or action.predicted_iou is not None) and action.predicted_iou != meant.predicted_iou:
            yield Mismatch(
                at(episode.sample_id, step.t, "predicted_iou"),
                f"says {action.predicted_iou}, but the reply {meant.predicted_iou}",
            )

    def _meant(self, episode: Episode, reply: Reply, t: int = 1, clicks: Sequence[Click] = ()) -> Action:
        """Return what a reply means as that to step t."""
        before = episode.mask_at(t - 1) if self._no_target else None
        return interpret(
            reply,
            self._points,
            episode.size,
            self._resize.frame(episode.size),
            track=self._track,
            first=t == 1,
            clicks=clicks,
            no_target=self._no_target,
            no_target_reply=self._no_target_reply,
            empty=before is None or not masks.area(before),
        )

    def _candidates(self, episode: Episode, step: Step) -> Iterator[Mismatch]:
        """Check that the recorded candidate rewards match the replies and that the best candidate was taken."""
        tried, place = step.candidates, at(episode.sample_id, step.t, "candidates")
        if not tried:
            return
        if [each["action"] for each in tried if each["chosen"]] != [step.action.to_json()]:
            yield Mismatch(place, "the one that was taken is not the step's action")
        best = max(tried, key=lambda each: preference(each["action"]["kind"], each["predicted_iou"]))
        if self._strategy in _SEARCHES and not best["chosen"]:
            yield Mismatch(place, "the one that was taken is not the one that is said to be worth most")
        for each in tried:
            judgement = each["judgement"]
            by_truth, draws = self._prm in ("oracle", "noisy"), each["action"]["kind"] in DRAWING
            if judgement is None and (by_truth or not draws):
                continue  # the model was not asked
            reply = Reply(judgement or "", finish=each.get("finish"))
            found = self._meant(episode, reply).predicted_iou
            if each["predicted_iou"] != found:
                yield Mismatch(place, f"one is said to be worth {each['predicted_iou']}, but the reply says {found}")

    def _end(self, episode: Episode) -> Iterator[Mismatch]:
        """Check that the episode ended where the rules end it, so that a submitter cannot choose the last mask."""
        stop, why = episode.stop, self._converged(episode)
        actions = [step.action for step in episode.steps]
        # Whether the model repeats itself is not in the manifest, so an end by either is right.
        ends = {ended(actions, self._budget, deterministic=repeats) for repeats in (True, False)}
        right = {
            **dict.fromkeys(ends, True),
            "budget": "budget" in ends and why in (None, "unknown"),
            "box": self._strategy == "box-only" and "none" not in ends,
            "converged": why in ("converged", "unknown"),
            "falling": why in ("falling", "unknown"),
            "reached": self._strategy == "annotate" and _last_iou(episode) >= self._annotator.stop_iou,
            "exhausted": self._strategy == "annotate",
        }
        over = why == "over" or any(
            ended(actions[:t], self._budget, deterministic=False) is not None for t in range(len(actions))
        )
        if over or not right.get(stop) or (stop == "error") != (episode.error is not None):
            problem = f"says {stop} after step {len(actions)} of {self._budget}, where it cannot have ended so"
            yield Mismatch(at(episode.sample_id, None, "stop"), problem)

    def _converged(self, episode: Episode) -> str | None:
        """Return why a search has to end after its last step; None where it may continue.

        ``over`` means that it had to end earlier; ``unknown``, that the record lacks the reward of the initial mask.
        """
        if self._strategy not in _SEARCHES or not episode.steps:
            return None
        begin = episode.initial["mask"]
        if self._prm == "reply" and (self._strategy == "prm" or self._candidates_drawn == 1):
            value = episode.steps[0].action.predicted_iou
        elif begin is None or not masks.decode(begin).any():
            value = 0.0
        else:
            return "unknown"
        convergence, why = Convergence(self._stopping, value), None
        for step in episode.steps:
            if why is not None:
                return "over"
            why = convergence.after(step.chosen_value())
        return why


def _last_iou(episode: Episode) -> float:
    iou: float = episode.steps[-1].iou if episode.steps else episode.initial["iou"]
    return iou


def _unrated(action: Action) -> Action:
    return replace(action, predicted_iou=None)
