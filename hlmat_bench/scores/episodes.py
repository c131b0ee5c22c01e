"""What the scores need of the episodes: each measured from its masks, and all of them as one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores import ciou, first_success, miou, noc
from hlmat_bench.scores.bands import bands_of
from hlmat_bench.scores.clicks import EpisodeClicks
from hlmat_bench.scores.failures import EpisodeFailures, episode_failures
from hlmat_bench.scores.intervals import bootstrap
from hlmat_bench.scores.search import Tried, tried

NOC_THRESHOLDS = (0.80, 0.85, 0.90)
RULES = ("final", "self", "best")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the scores need of one episode; arrays run over t = 0..budget, carried forward.

    Attributes:
        bands: the band of each of the sample's measures; see `hlmat_bench.scores.bands`.
        iou, boundary_iou: float (T + 1,).
        intersection, union: pixels, int (T + 1,), ignored pixels left out.
        tried: the candidates of each step of a search.
        dollars: what each reply cost; None where unknown.
        initial: how it began, as in the record, without the mask.
        failures: what went wrong.
        predicted: of each step that is about a given mask, the IoU that the model predicts; None where it cannot be
            read.
    """

    image_id: str
    ref_id: str
    tags: Mapping[str, str]
    bands: Mapping[str, str]
    iou: NDArray[np.float64]
    boundary_iou: NDArray[np.float64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    selected: Mapping[str, int]
    clicks: EpisodeClicks
    tried: Sequence[Tried]
    tokens_in: int
    tokens_out: int
    dollars: Sequence[float | None]
    seconds: float
    initial: Mapping[str, Any]
    failures: EpisodeFailures
    predicted: Sequence[float | None]


def measure(episode: Episode, budget: int, regrets: Mapping[int, float] | None = None) -> Measured:
    """Everything the scores need of one episode, from its masks alone; recorded IoUs are not believed.

    Args:
        episode: the record.
        budget: clicks per episode.
        regrets: of its valid clicks, by step, where a replay found them.

    Raises:
        UsageError: when it has more steps than that, and the mask of one of them is its answer.
    """
    if max(episode.selected.values()) > budget:
        steps = len(episode.steps)
        raise UsageError(f"The episode {episode.sample_id} has {steps} steps, more than the budget of {budget}.")
    gt = masks.decode(episode.gt)
    truth = CachedTruth(gt, None if episode.ignore is None else masks.decode(episode.ignore))
    before = np.zeros(episode.size, bool)
    if (initial := episode.mask_at(0)) is not None:
        before = masks.decode(initial)
    states = [_state(truth, before)]
    clicks = EpisodeClicks(episode.image_id, located=states[0][0] if initial is None else None)
    previous = initial
    for step in episode.steps:
        same = previous is not None and step.mask["counts"] == previous["counts"]
        after = before if same else masks.decode(step.mask)
        states.append(states[-1] if same else _state(truth, after))
        iou, gain = states[-1][0], states[-1][0] - states[-2][0]
        clicks.note(step, gt, before, gain=gain, iou=iou, regret=(regrets or {}).get(step.t))
        before, previous = after, step.mask
    states += [states[-1]] * (budget + 1 - len(states))
    ious, boundary, intersection, union = zip(*states[: budget + 1], strict=True)
    return Measured(
        image_id=episode.image_id,
        ref_id=episode.ref_id if episode.ref_id is not None else episode.sample_id,
        tags=episode.tags,
        bands=bands_of(gt, episode.expression),
        iou=np.array(ious, np.float64),
        boundary_iou=np.array(boundary, np.float64),
        intersection=np.array(intersection, np.int64),
        union=np.array(union, np.int64),
        selected=episode.selected,
        clicks=clicks,
        tried=[found for step in episode.steps if (found := tried(step, truth)) is not None],
        tokens_in=sum(step.tokens.get("in") or 0 for step in episode.steps),
        tokens_out=sum(step.tokens.get("out") or 0 for step in episode.steps),
        dollars=[step.cost for step in episode.steps if step.raw is not None],
        seconds=sum(sum(step.seconds.values()) for step in episode.steps),
        initial={name: value for name, value in episode.initial.items() if name != "mask"},
        failures=episode_failures(episode),
        predicted=[step.action.predicted_iou for step in episode.steps if step.action.kind == "predict"],
    )


def _state(truth: CachedTruth, mask: Mask) -> tuple[float, float, int, int]:
    intersection, union = truth.intersection_union(mask)
    return truth.iou(mask), truth.boundary_iou(mask), intersection, union


class Table:
    """The measured samples as arrays, and the scores over them.

    The intervals of all scores come from the same resamples, drawn once: the lists that stand for them in the scores
    are empty until `fill_intervals`.
    """

    def __init__(self, samples: Sequence[Measured]) -> None:
        self.images = [sample.image_id for sample in samples]
        self.selected = [sample.selected for sample in samples]
        self.iou = np.stack([sample.iou for sample in samples])
        self.boundary_iou = np.stack([sample.boundary_iou for sample in samples])
        self.intersection = np.stack([sample.intersection for sample in samples])
        self.union = np.stack([sample.union for sample in samples])
        self._columns: list[tuple[NDArray[Any], NDArray[Any], list[float]]] = []

    def at(self, steps: Sequence[int]) -> dict[str, Any]:
        """mIoU and cIoU with intervals, and boundary IoU, of one step per sample."""
        rows = np.arange(len(steps)), np.asarray(steps)
        ious, intersections, unions = self.iou[rows], self.intersection[rows], self.union[rows]
        return {
            "miou": miou(ious),
            "miou_ci": self.interval(ious),
            "ciou": ciou(intersections, unions),
            "ciou_ci": self.interval(intersections, unions),
            "biou": float(self.boundary_iou[rows].mean()),
        }

    def noc(self, threshold: float, budget: int) -> dict[str, Any]:
        """NoC with its interval; a miss counts the budget."""
        curves = self.iou[:, 1:]
        found = noc(curves, threshold, budget)
        clicks = np.array([first_success(curve, threshold, budget) or budget for curve in curves])
        return {
            "mean": found.mean,
            "ci": self.interval(clicks),
            "solved": found.solved,
            "failed": found.failed,
        }

    def interval(self, numerators: NDArray[Any], denominators: NDArray[Any] | None = None) -> list[float]:
        """An empty list, in which `fill_intervals` puts the interval; without denominators, that of the mean."""
        interval: list[float] = []
        below = np.ones(len(numerators)) if denominators is None else denominators
        self._columns.append((numerators, below, interval))
        return interval

    def fill_intervals(self) -> None:
        """Compute all intervals that were asked for, in the lists that were given out."""
        above, below = (np.stack([column[side] for column in self._columns], axis=1) for side in (0, 1))
        low, high = bootstrap(above, below, self.images)
        for number, (_, _, interval) in enumerate(self._columns):
            interval += [float(low[number]), float(high[number])]
