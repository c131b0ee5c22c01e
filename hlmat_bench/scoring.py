"""From episodes to scores.json (`hlmat-scores/1`): pure recomputation, without model, segmenter or images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench import masks
from hlmat_bench.interfaces import Mask
from hlmat_bench.intervals import bootstrap
from hlmat_bench.records import Episode, Step
from hlmat_bench.scores import CachedTruth, ciou, first_success, miou, noc, precision

SCORES_SCHEMA = "hlmat-scores/1"
NOC_THRESHOLDS = (0.80, 0.85, 0.90)
PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
RULES = ("final", "self", "best")


@dataclass
class Clicks:
    """What the clicks of one episode were, for the click diagnostics of `click_scores`."""

    invalid: Counter[str] = field(default_factory=Counter)
    finish: Counter[str] = field(default_factory=Counter)
    hits: list[bool] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    first_inside: bool = False


@dataclass
class Measured:
    """What the scores need of one episode; arrays run over t = 0..budget, carried forward.

    Attributes:
        iou, boundary_iou: float (T + 1,).
        intersection, union: pixels, int (T + 1,), ignored pixels left out.
        dollars: what each reply cost; None where unknown.
    """

    image_id: str
    ref_id: str
    tags: Mapping[str, str]
    iou: NDArray[np.float64]
    boundary_iou: NDArray[np.float64]
    intersection: NDArray[np.int64]
    union: NDArray[np.int64]
    selected: Mapping[str, int]
    clicks: Clicks
    tokens_in: int
    tokens_out: int
    dollars: Sequence[float | None]
    seconds: float


def score_episodes(episodes: Iterable[Episode], *, budget: int, track: str) -> dict[str, Any]:
    """The scores of a run.

    Every episode counts, whatever it ended with. Intervals are 95 %, bootstrapped over images, seeded.

    Args:
        episodes: the records.
        budget: clicks per episode; the curves run from 0 to it.
        track: ``point`` or ``box+point``, passed through.

    Returns:
        A dict of JSON values of schema ``hlmat-scores/1``. ``n`` counts expressions, ``n_refs`` objects.
    """
    samples = [measure(episode, budget) for episode in episodes]
    scores: dict[str, Any] = {
        "schema": SCORES_SCHEMA,
        "n": len(samples),
        "n_images": len({sample.image_id for sample in samples}),
        "n_refs": len({sample.ref_id for sample in samples}),
        "budget": budget,
        "track": track,
    }
    if not samples:
        return scores | _nothing()
    table = _Table(samples)
    curve = [{"t": t, **table.at([t] * len(samples))} for t in range(budget + 1)]
    scores |= {
        "selection": {rule: _selection(table, rule) for rule in RULES},
        "noc": {f"{threshold:.2f}": table.noc(threshold, budget) for threshold in NOC_THRESHOLDS},
        "curve": [{key: point[key] for key in ("t", "miou", "miou_ci", "ciou", "biou")} for point in curve],
        "auc": float(np.mean([point["miou"] for point in curve[1:]])),
        "clicks": click_scores([sample.clicks for sample in samples]),
        "filtering": None,
        "refinement": None,
        "cost": {
            "tokens_in": sum(sample.tokens_in for sample in samples),
            "tokens_out": sum(sample.tokens_out for sample in samples),
            "dollars": _total([cost for sample in samples for cost in sample.dollars]),
            "seconds": sum(sample.seconds for sample in samples),
        },
    }
    table.fill_intervals()
    return scores | _slices(samples, budget)


def measure(episode: Episode, budget: int) -> Measured:
    """Everything the scores need of one episode, from its masks alone; recorded IoUs are not believed."""
    gt = masks.decode(episode.gt)
    truth = CachedTruth(gt, None if episode.ignore is None else masks.decode(episode.ignore))
    before = np.zeros(episode.size, bool)
    if (initial := episode.mask_at(0)) is not None:
        before = masks.decode(initial)
    states = [_state(truth, before)]
    clicks = Clicks()
    previous = initial
    for step in episode.steps:
        same = previous is not None and step.mask["counts"] == previous["counts"]
        after = before if same else masks.decode(step.mask)
        states.append(states[-1] if same else _state(truth, after))
        _note_click(clicks, step, gt, before, gain=states[-1][0] - states[-2][0])
        before, previous = after, step.mask
    states += [states[-1]] * (budget + 1 - len(states))
    iou, boundary, intersection, union = zip(*states[: budget + 1], strict=True)
    return Measured(
        image_id=episode.image_id,
        ref_id=episode.ref_id if episode.ref_id is not None else episode.sample_id,
        tags=episode.tags,
        iou=np.array(iou, np.float64),
        boundary_iou=np.array(boundary, np.float64),
        intersection=np.array(intersection, np.int64),
        union=np.array(union, np.int64),
        selected=episode.selected,
        clicks=clicks,
        tokens_in=sum(step.tokens.get("in") or 0 for step in episode.steps),
        tokens_out=sum(step.tokens.get("out") or 0 for step in episode.steps),
        dollars=[step.cost for step in episode.steps if step.raw is not None],
        seconds=sum(sum(step.seconds.values()) for step in episode.steps),
    )


def _total(costs: Sequence[float | None]) -> float | None:
    """The sum; None when one of them is unknown, or there is none."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def _state(truth: CachedTruth, mask: Mask) -> tuple[float, float, int, int]:
    intersection, union = truth.intersection_union(mask)
    return truth.iou(mask), truth.boundary_iou(mask), intersection, union


def _note_click(clicks: Clicks, step: Step, gt: Mask, before: Mask, *, gain: float) -> None:
    """Add a step to the diagnostics; ``before`` is the mask it answered."""
    action = step.action
    if step.finish not in (None, "stop"):
        clicks.finish[step.finish] += 1
    if action.kind == "invalid":
        clicks.invalid[action.reason or "parse"] += 1
    if action.kind != "click":
        return
    positive, x, y = action.click
    inside, covered = bool(gt[y, x]), bool(before[y, x])
    clicks.hits.append(inside and not covered if positive else covered and not inside)
    clicks.gains.append(gain)
    clicks.first_inside = clicks.first_inside or (step.t == 1 and positive and inside)


def click_scores(episodes: Sequence[Clicks]) -> dict[str, Any]:
    """Click diagnostics: what the model's clicks were worth, apart from the segmenter's strength.

    - ``total``: clicks spent, invalid replies included; a stop is no click.
    - ``finish``: replies that ended otherwise than by the model's own end: ``length``, ``content_filter``, ``refusal``.
    - ``hit_rate``: of the valid clicks, positive ones in a false-negative region and negative ones in a
      false-positive region of the mask they answered.
    - ``first_click_inside``: of all episodes, those whose first action is a positive click inside the object.
    - ``mean_gain``: mean change of IoU over the valid clicks.
    - ``regret``: needs the segmenter; null here.
    """
    invalid: Counter[str] = sum((each.invalid for each in episodes), Counter())
    finish: Counter[str] = sum((each.finish for each in episodes), Counter())
    hits = [hit for each in episodes for hit in each.hits]
    gains = [gain for each in episodes for gain in each.gains]
    return {
        "total": len(hits) + invalid.total(),
        "valid": len(hits),
        "invalid": dict(sorted(invalid.items())),
        "finish": dict(sorted(finish.items())),
        "hit_rate": float(np.mean(hits)) if hits else None,
        "first_click_inside": float(np.mean([each.first_inside for each in episodes])) if episodes else None,
        "mean_gain": float(np.mean(gains)) if gains else None,
        "regret": None,
    }


class _Table:
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
            "miou_ci": self._interval(ious),
            "ciou": ciou(intersections, unions),
            "ciou_ci": self._interval(intersections, unions),
            "biou": float(self.boundary_iou[rows].mean()),
        }

    def noc(self, threshold: float, budget: int) -> dict[str, Any]:
        """NoC with its interval; a miss counts the budget."""
        curves = self.iou[:, 1:]
        found = noc(curves, threshold, budget)
        clicks = np.array([first_success(curve, threshold, budget) or budget for curve in curves])
        return {
            "mean": found.mean,
            "ci": self._interval(clicks),
            "solved": found.solved,
            "failed": found.failed,
        }

    def fill_intervals(self) -> None:
        """Compute all intervals that were asked for, in the lists that were given out."""
        above, below = (np.stack([column[side] for column in self._columns], axis=1) for side in (0, 1))
        low, high = bootstrap(above, below, self.images)
        for number, (_, _, interval) in enumerate(self._columns):
            interval += [float(low[number]), float(high[number])]

    def _interval(self, numerators: NDArray[Any], denominators: NDArray[Any] | None = None) -> list[float]:
        """An empty list, in which `fill_intervals` puts the interval; without denominators, that of the mean."""
        interval: list[float] = []
        below = np.ones(len(numerators)) if denominators is None else denominators
        self._columns.append((numerators, below, interval))
        return interval


def _selection(table: _Table, rule: str) -> dict[str, Any]:
    steps = [selected[rule] for selected in table.selected]
    ious = table.iou[np.arange(len(steps)), steps]
    reached = {f"{threshold:.1f}": precision(ious, threshold) for threshold in PRECISION_THRESHOLDS}
    return table.at(steps) | {"precision": reached}


def _slices(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    """The main scores by tag, where samples carry tags."""
    slices: dict[str, dict[str, Any]] = {}
    for name in sorted({name for sample in samples for name in sample.tags}):
        values = sorted({sample.tags[name] for sample in samples if name in sample.tags})
        slices[name] = {value: _slice([s for s in samples if s.tags.get(name) == value], budget) for value in values}
    return {"slices": slices} if slices else {}


def _slice(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    table = _Table(samples)
    final = table.at([sample.selected["final"] for sample in samples])
    scores = {"n": len(samples), **final, "noc": {"0.85": table.noc(0.85, budget)}}
    table.fill_intervals()
    return scores


def _nothing() -> dict[str, Any]:
    """What is left of the scores when there is no episode."""
    return {
        "selection": {},
        "noc": {},
        "curve": [],
        "auc": None,
        "clicks": click_scores([]),
        "filtering": None,
        "refinement": None,
        "cost": {"tokens_in": 0, "tokens_out": 0, "dollars": None, "seconds": 0.0},
    }
