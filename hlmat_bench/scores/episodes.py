"""The one measurer: an episode in numbers, from its masks alone, and all episodes of a run as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.truth import CachedTruth, ratio
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.scores import first_success, noc, precision
from hlmat_bench.scores.clicks import EpisodeClicks
from hlmat_bench.scores.episode_scores import Areas
from hlmat_bench.scores.episode_scores import EpisodeScores as EpisodeScores
from hlmat_bench.scores.failures import episode_failures
from hlmat_bench.scores.intervals import Estimate
from hlmat_bench.scores.outcomes import ClickPlace, outcome, step_kind
from hlmat_bench.scores.regions import Region
from hlmat_bench.scores.registry import further, further_terms
from hlmat_bench.scores.search import tried
from hlmat_bench.scores.strata import strata_of

NOC_THRESHOLDS = (0.80, 0.85, 0.90, 0.95)
PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
RULES = ("final", "self", "best")
#: The thresholds of NoC that pages and entries show of single samples.
SHOWN_THRESHOLDS = ("0.80", "0.85")


class GroundTruth:
    """The ground truth of an episode, with which masks are compared.

    Attributes:
        region: the object as runs.
        counted: how many of its pixels are not ignored; 0 is a sample without target.
    """

    def __init__(self, episode: Episode) -> None:
        self._gt, self._ignore = episode.gt, episode.ignore
        self.region = self._counted = Region(episode.gt)
        self._ignored = Region(episode.ignore)
        if episode.ignore is not None:
            self._counted = Region(masks.encode(masks.decode(episode.gt) & ~masks.decode(episode.ignore)))
        self.counted = self._counted.area

    def areas(self, region: Region) -> Areas:
        """Return intersection and union of a mask with the ground truth, in pixels, ignored ones left out."""
        intersection = region.shared(self._counted)
        return intersection, region.area - region.shared(self._ignored) + self._counted.area - intersection

    @cached_property
    def pixels(self) -> CachedTruth:
        """Return the ground truth for boundary IoU, which needs decoded masks; it is decoded when first asked for."""
        return CachedTruth(masks.decode(self._gt), None if self._ignore is None else masks.decode(self._ignore))


class MaskState:
    """A mask of an episode and how it agrees with the ground truth.

    Attributes:
        region: the mask as runs.
        areas: intersection and union with the ground truth.
        iou: their ratio; 1 where both masks are empty.
    """

    def __init__(self, truth: GroundTruth, rle: RLE | None) -> None:
        self._truth, self._rle = truth, rle
        self.region = Region(rle)
        self.areas = truth.areas(self.region)
        self.iou = ratio(*self.areas)

    @cached_property
    def boundary_iou(self) -> float:
        """Return the boundary IoU with the ground truth, for which the mask is decoded when it is first asked for."""
        truth = self._truth.pixels
        return truth.boundary_iou(np.zeros(truth.shape, bool) if self._rle is None else masks.decode(self._rle))


def states_of(episode: Episode, truth: GroundTruth | None = None) -> Iterator[MaskState]:
    """Yield the initial mask and the mask after every step; equal masks in a row are one object, measured once.

    Raises:
        UsageError: when a mask is none, or not of the ground truth's size.
    """
    truth = truth or GroundTruth(episode)
    previous = episode.mask_at(0)
    state = MaskState(truth, previous)
    yield state
    for step in episode.steps:
        if previous is None or step.mask["counts"] != previous["counts"]:
            state = MaskState(truth, step.mask)
        previous = step.mask
        yield state


def score_episode(
    episode: Episode,
    budget: int,
    *,
    rule: str = "final",
    regrets: Mapping[int, float] | None = None,
    boundary: bool = False,
) -> EpisodeScores:
    """Measure an episode from its masks alone; recorded IoUs are not believed.

    Args:
        episode: the record.
        budget: clicks per episode.
        rule: the selection rule whose mask is the answer; see `hlmat_bench.protocol.settings.answer_rule`.
        regrets: of its valid clicks, by step, where a replay found them.
        boundary: also boundary IoU, which takes as long as all the rest; it is NaN otherwise, unless there are further
            scores, which may need it.

    Raises:
        UsageError: when a mask is none, or the episode has more steps than the budget and the mask of one of them is
            its answer.
    """
    if max(episode.selected.values()) > budget:
        steps = len(episode.steps)
        raise UsageError(f"The episode {episode.sample_id} has {steps} steps, more than the budget of {budget}.")
    truth = GroundTruth(episode)
    states, kinds, clicks = _walked(episode, truth)
    # The last state is carried forward to the end of the budget.
    measured = (states + [states[-1]] * (budget + 1 - len(states)))[: budget + 1]
    ious = [state.iou for state in measured]
    boundary = boundary or bool(further())
    answer = episode.selected[rule]
    predicted = [step.action.predicted_iou for step in episode.steps if step.action.kind == "predict"]
    found = EpisodeScores(
        sample_id=episode.sample_id,
        image=episode.image,
        image_id=episode.image_id,
        ref_id=episode.ref_id if episode.ref_id is not None else episode.sample_id,
        expression=episode.expression,
        tags=episode.tags,
        strata=strata_of(truth.region if truth.counted else None, episode.expression),
        intersection=np.array([state.areas[0] for state in measured], np.int64),
        union=np.array([state.areas[1] for state in measured], np.int64),
        iou=np.array(ious, np.float64),
        target=truth.counted,
        boundary_iou=np.array([state.boundary_iou if boundary else np.nan for state in measured]),
        selected=episode.selected,
        answer=answer,
        reached={f"{threshold:.2f}": first_success(ious[1:], threshold, budget) for threshold in NOC_THRESHOLDS},
        kinds=kinds,
        outcome="rated"
        if predicted
        else outcome(kinds, episode.stop, score=ious[answer], best=max(ious), target=truth.counted > 0),
        stop=episode.stop,
        clicks=clicks,
        tried=[
            found
            for step in episode.steps
            if (found := tried(step, lambda mask: MaskState(truth, mask).iou)) is not None
        ],
        tokens_in=sum(step.tokens.get("in") or 0 for step in episode.steps),
        tokens_out=sum(step.tokens.get("out") or 0 for step in episode.steps),
        dollars=[step.cost for step in episode.steps if step.raw is not None],
        seconds=float(sum(sum(step.seconds.values()) for step in episode.steps)),
        initial={name: value for name, value in episode.initial.items() if name != "mask"},
        failures=episode_failures(episode),
        predicted=predicted,
        further={},
        gt=episode.gt,
        mask=episode.mask_at(answer),
    )
    found = found.with_regrets(regrets)
    return replace(found, further=further_terms(found))


def _walked(episode: Episode, truth: GroundTruth) -> tuple[list[MaskState], list[str | None], EpisodeClicks]:
    """Return the states of an episode from the initial one on, the kind of each step, and its clicks."""
    states = list(states_of(episode, truth))
    located = states[0].iou if episode.mask_at(0) is None else None
    clicks = EpisodeClicks(episode.image_id, located=located, target=truth.counted > 0)
    kinds: list[str | None] = []
    for step, before, after in zip(episode.steps, states[:-1], states[1:], strict=True):
        place, gain = _place(step, truth.region, before.region), after.iou - before.iou
        kinds.append(step_kind(step.action, place, gain))
        clicks.note(step, place, gain=gain, iou=after.iou)
    return states, kinds, clicks


def _place(step: Step, gt: Region, before: Region) -> ClickPlace | None:
    """Return where a step clicked; None when it is no click."""
    if step.action.kind != "click":
        return None
    click = step.action.click
    return ClickPlace(inside=gt.holds(click.x, click.y), covered=before.holds(click.x, click.y))


class ScoreTable:
    """The measured samples as arrays, and the scores over them, of which `with_intervals` makes JSON values."""

    def __init__(self, samples: Sequence[EpisodeScores]) -> None:
        self.images = [sample.image_id for sample in samples]
        self.iou, self.boundary_iou, self.intersection, self.union = (
            np.stack([getattr(sample, name) for sample in samples])
            for name in ("iou", "boundary_iou", "intersection", "union")
        )

    def at(self, steps: Sequence[int]) -> dict[str, Any]:
        """Return mIoU and cIoU as estimates, and boundary IoU, of one step per sample."""
        rows = np.arange(len(steps)), np.asarray(steps)
        return {
            "miou": Estimate(self.iou[rows]),
            "ciou": Estimate(self.intersection[rows], self.union[rows]),
            "biou": float(self.boundary_iou[rows].mean()),
        }

    def selected(self, steps: Sequence[int]) -> dict[str, Any]:
        """Return the scores `at` one step per sample, and the precision at thresholds."""
        scores = self.at(steps)
        ious = scores["miou"].numerators
        return scores | {"precision": {f"{q:.1f}": precision(ious, q) for q in PRECISION_THRESHOLDS}}

    def noc(self, threshold: float, budget: int) -> dict[str, Any]:
        """Return NoC, its mean as an estimate; a miss counts the budget."""
        curves = self.iou[:, 1:]
        found = noc(curves, threshold, budget)
        clicks = np.array([first_success(curve, threshold, budget) or budget for curve in curves])
        return {"mean": Estimate(clicks), "solved": found.solved, "failed": found.failed}
