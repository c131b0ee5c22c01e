"""The one measurer: an episode in numbers, from its masks alone, and all episodes of a run as one table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import RLE
from hlmat_bench.core.truth import CachedTruth, ratio
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.scores import first_success, noc
from hlmat_bench.scores.clicks import EpisodeClicks
from hlmat_bench.scores.failures import EpisodeFailures, episode_failures
from hlmat_bench.scores.intervals import Estimate
from hlmat_bench.scores.outcomes import ClickPlace, outcome, step_kind
from hlmat_bench.scores.registry import further_terms
from hlmat_bench.scores.search import Tried, tried
from hlmat_bench.scores.strata import strata_of

NOC_THRESHOLDS = (0.80, 0.85, 0.90)
RULES = ("final", "self", "best")
#: The thresholds of NoC that pages and entries show of single samples.
SHOWN_THRESHOLDS = ("0.80", "0.85")

#: Intersection and union of a mask with the ground truth, in pixels, ignored ones left out.
Areas: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class EpisodeScores:
    """One episode in numbers; arrays run over t = 0..budget, the last mask carried forward.

    Attributes:
        sample_id, image, image_id, expression, tags, stop: as in the record.
        ref_id: as in the record; the sample's id where it has none.
        strata: the sample's, as `hlmat_bench.scores.strata` names them.
        intersection, union: pixels, int (T + 1,), ignored pixels left out.
        iou, boundary_iou: float (T + 1,).
        selected: per selection rule the step whose mask is taken.
        answer: the one of these that the run is scored by.
        reached: per threshold of NoC (``0.85``) the click that reached it; None for a miss.
        kinds: per step what it was; see `outcomes.STEPS`.
        outcome: see `outcomes.OUTCOMES`.
        clicks: what its clicks did.
        tried: the candidates of each step of a search.
        tokens_in, tokens_out, seconds: of the whole episode.
        dollars: what each reply cost; None where unknown.
        initial: how it began, as in the record, without the mask.
        failures: what went wrong.
        predicted: of each step that is about a given mask, the IoU that the model predicts; None where it cannot be
            read.
        gt, mask: the ground truth and the answer's mask; None of an empty initial mask.
        further: numerator and denominator of every score of `registry.further` that is for such episodes.
    """

    sample_id: str
    image: str
    image_id: str
    ref_id: str
    expression: str
    tags: Mapping[str, str]
    strata: Mapping[str, str]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    iou: NDArray[np.float64]
    boundary_iou: NDArray[np.float64]
    selected: Mapping[str, int]
    answer: int
    reached: Mapping[str, int | None]
    kinds: Sequence[str | None]
    outcome: str
    stop: str
    clicks: EpisodeClicks
    tried: Sequence[Tried]
    tokens_in: int
    tokens_out: int
    dollars: Sequence[float | None]
    seconds: float
    initial: Mapping[str, Any]
    failures: EpisodeFailures
    predicted: Sequence[float | None]
    gt: RLE
    mask: RLE | None
    further: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Return the IoU of the answer."""
        return float(self.iou[self.answer])

    def areas(self) -> list[Areas]:
        """Return intersection and union after t = 0..budget clicks, in pixels."""
        return list(zip(self.intersection.tolist(), self.union.tolist(), strict=True))

    def at(self, rule: str) -> float:
        """Return the IoU of the mask that a selection rule takes."""
        return float(self.iou[self.selected[rule]])


class MaskState:
    """A mask of an episode beside its ground truth.

    Attributes:
        mask: bool (H, W).
        intersection, union: with the ground truth, in pixels, ignored ones left out.
        iou: their ratio; 1 where both masks are empty.
    """

    def __init__(self, truth: CachedTruth, mask: Mask) -> None:
        self.mask, self._truth = mask, truth
        self.intersection, self.union = truth.intersection_union(mask)
        self.iou = ratio(self.intersection, self.union)

    @cached_property
    def boundary_iou(self) -> float:
        """Return the boundary IoU with the ground truth, which is computed when it is first asked for."""
        return self._truth.boundary_iou(self.mask)


def states_of(episode: Episode, truth: CachedTruth | None = None) -> Iterator[MaskState]:
    """Yield the initial mask and the mask after every step; equal masks in a row are one object, measured once.

    Raises:
        UsageError: when a mask is none, or not of the ground truth's size.
    """
    truth = truth or _truth(episode, masks.decode(episode.gt))
    initial = episode.mask_at(0)
    state = MaskState(truth, np.zeros(episode.size, bool) if initial is None else masks.decode(initial))
    yield state
    previous = None if initial is None else initial["counts"]
    for step in episode.steps:
        if step.mask["counts"] != previous:
            state = MaskState(truth, masks.decode(step.mask))
        previous = step.mask["counts"]
        yield state


def score_episode(
    episode: Episode, budget: int, *, rule: str = "final", regrets: Mapping[int, float] | None = None
) -> EpisodeScores:
    """Measure an episode from its masks alone; recorded IoUs are not believed.

    Args:
        episode: the record.
        budget: clicks per episode.
        rule: the selection rule whose mask is the answer; see `hlmat_bench.protocol.settings.headline`.
        regrets: of its valid clicks, by step, where a replay found them.

    Raises:
        UsageError: when a mask is none, or the episode has more steps than the budget and the mask of one of them is
            its answer.
    """
    if max(episode.selected.values()) > budget:
        steps = len(episode.steps)
        raise UsageError(f"The episode {episode.sample_id} has {steps} steps, more than the budget of {budget}.")
    gt = masks.decode(episode.gt)
    truth = _truth(episode, gt)
    states = states_of(episode, truth)
    before = next(states)
    numbers = [_numbers(before)]
    clicks = EpisodeClicks(episode.image_id, located=before.iou if episode.mask_at(0) is None else None)
    kinds: list[str | None] = []
    for step, after in zip(episode.steps, states, strict=True):
        place, gain = _place(step, gt, before.mask), after.iou - before.iou
        kinds.append(step_kind(step.action, place, gain))
        clicks.note(step, place, gain=gain, iou=after.iou, regret=(regrets or {}).get(step.t))
        numbers.append(_numbers(after))
        before = after
    numbers += [numbers[-1]] * (budget + 1 - len(numbers))
    ious, boundary, intersection, union = zip(*numbers[: budget + 1], strict=True)
    answer = episode.selected[rule]
    predicted = [step.action.predicted_iou for step in episode.steps if step.action.kind == "predict"]
    found = EpisodeScores(
        sample_id=episode.sample_id,
        image=episode.image,
        image_id=episode.image_id,
        ref_id=episode.ref_id if episode.ref_id is not None else episode.sample_id,
        expression=episode.expression,
        tags=episode.tags,
        strata=strata_of(gt, episode.expression),
        intersection=np.array(intersection, np.int64),
        union=np.array(union, np.int64),
        iou=np.array(ious, np.float64),
        boundary_iou=np.array(boundary, np.float64),
        selected=episode.selected,
        answer=answer,
        reached={f"{threshold:.2f}": first_success(ious[1:], threshold, budget) for threshold in NOC_THRESHOLDS},
        kinds=kinds,
        outcome="rated" if predicted else outcome(kinds, episode.stop, score=ious[answer], best=max(ious)),
        stop=episode.stop,
        clicks=clicks,
        tried=[found for step in episode.steps if (found := tried(step, truth)) is not None],
        tokens_in=sum(step.tokens.get("in") or 0 for step in episode.steps),
        tokens_out=sum(step.tokens.get("out") or 0 for step in episode.steps),
        dollars=[step.cost for step in episode.steps if step.raw is not None],
        seconds=sum(sum(step.seconds.values()) for step in episode.steps),
        initial={name: value for name, value in episode.initial.items() if name != "mask"},
        failures=episode_failures(episode),
        predicted=predicted,
        gt=episode.gt,
        mask=episode.mask_at(answer),
    )
    return replace(found, further=further_terms(found))


def _truth(episode: Episode, gt: Mask) -> CachedTruth:
    return CachedTruth(gt, None if episode.ignore is None else masks.decode(episode.ignore))


def _numbers(state: MaskState) -> tuple[float, float, int, int]:
    return state.iou, state.boundary_iou, state.intersection, state.union


def _place(step: Step, gt: Mask, before: Mask) -> ClickPlace | None:
    """Return where a step clicked; None when it is no click."""
    if step.action.kind != "click":
        return None
    click = step.action.click
    return ClickPlace(inside=bool(gt[click.y, click.x]), covered=bool(before[click.y, click.x]))


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

    def noc(self, threshold: float, budget: int) -> dict[str, Any]:
        """Return NoC, its mean as an estimate; a miss counts the budget."""
        curves = self.iou[:, 1:]
        found = noc(curves, threshold, budget)
        clicks = np.array([first_success(curve, threshold, budget) or budget for curve in curves])
        return {"mean": Estimate(clicks), "solved": found.solved, "failed": found.failed}
