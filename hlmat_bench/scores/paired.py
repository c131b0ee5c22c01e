"""Paired differences: two runs on the same samples, scored on the same draws of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.scores import first_success, ratio
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.intervals import Interval, bootstrap_difference
from hlmat_bench.scores.registry import Score, ScoreValue

#: An interval needs at least this many images: of a single one it has no width and says nothing.
INTERVAL_IMAGES = 2
#: Whether a difference is significant is said from this many images on.
VERDICT_IMAGES = 10

_THRESHOLDS = ("0.80", "0.85", "0.90", "0.95")
_Terms = Callable[[EpisodeScores, int], tuple[float, float]]


def _clicks_to(threshold: str) -> _Terms:
    return lambda one, budget: (one.reached[threshold] or budget, 1)


def _clicks_from_start(threshold: str) -> _Terms:
    """Count clicks from the initial mask on, which needs none where it is good enough."""

    def terms(one: EpisodeScores, budget: int) -> tuple[float, float]:
        hit = first_success(one.iou, float(threshold), budget + 1)
        return (budget if hit is None else hit - 1), 1

    return terms


#: Numerator and denominator of each score of one sample; a denominator of 0 means that the sample does not count.
_TERMS: Mapping[str, _Terms] = {
    "miou": lambda one, _: (one.score, 1),
    "ciou": lambda one, _: one.areas()[one.answer],
    "biou": lambda one, _: (float(one.boundary_iou[one.answer]), 1),
    **{f"noc@{threshold[2:]}": _clicks_to(threshold) for threshold in _THRESHOLDS},
    **{f"refinement.noc@{threshold[2:]}": _clicks_from_start(threshold) for threshold in _THRESHOLDS},
    "refinement.initial_miou": lambda one, _: (float(one.iou[0]), 1),
    "refinement.gain": lambda one, _: (one.score - float(one.iou[0]), 1),
    "refinement.worsened": lambda one, _: (one.score < float(one.iou[0]), 1),
    "no_target.n_acc": lambda one, _: (not one.target and one.is_empty(one.answer), not one.target),
    "no_target.t_acc": lambda one, _: (bool(one.target) and not one.is_empty(one.answer), bool(one.target)),
}


def sample_values(key: str, samples: Sequence[EpisodeScores], budget: int) -> NDArray[np.float64]:
    """Return numerators and denominators of a score, float64 (n, 2).

    Args:
        key: the score's key in the registry.
        samples: the measured episodes of a run.
        budget: its clicks per episode, which a sample counts that never reaches a threshold.
    """
    terms = [one.further[key] if key in one.further else _TERMS[key](one, budget) for one in samples]
    return np.array(terms, np.float64).reshape(-1, 2)


def paired_differences(
    scores: Sequence[Score],
    first: Sequence[EpisodeScores],
    second: Sequence[EpisodeScores],
    budgets: tuple[int, int],
) -> dict[str, ScoreValue | None]:
    """Return first minus second by score, with 95 % intervals from the same draws of images for both.

    Args:
        scores: scores of the registry that are of masks.
        first, second: the measured episodes, on the same samples in the same order.
        budgets: clicks per episode of both.

    Returns:
        A difference per key; None where a score is not defined for one of the runs. A score of some samples only
        (N-acc) has its interval over the images of these. There is no interval of fewer than `INTERVAL_IMAGES`.
    """
    # Scores of all samples share one set of draws, which takes most of the time.
    groups = [[score for score in scores if not score.optional], *([score] for score in scores if score.optional)]
    found: dict[str, ScoreValue | None] = {}
    for group in groups:
        found |= _differences([score.key for score in group], first, second, budgets) if group else {}
    return {score.key: found[score.key] for score in scores}


def _differences(
    keys: Sequence[str], first: Sequence[EpisodeScores], second: Sequence[EpisodeScores], budgets: tuple[int, int]
) -> dict[str, ScoreValue | None]:
    """Return the differences of scores that are over the same samples: those whose denominators are not all 0."""
    sides = [
        np.stack([sample_values(key, side, budget) for key in keys], axis=1)
        for side, budget in zip((first, second), budgets, strict=True)
    ]
    counted = np.flatnonzero(sides[0][:, :, 1].any(axis=1))
    ours, theirs = (np.moveaxis(side[counted], -1, 0) for side in sides)
    images = [first[n].image_id for n in counted.tolist()]
    if not images:
        return dict.fromkeys(keys)
    ends = ends_of(bootstrap_difference((ours[0], ours[1]), (theirs[0], theirs[1]), images), images)
    found: dict[str, ScoreValue | None] = {}
    for n, key in enumerate(keys):
        known = all(below[:, n].any() for _, below in (ours, theirs))
        values = [ratio(above[:, n].sum(), below[:, n].sum()) for above, below in (ours, theirs)]
        found[key] = ScoreValue(values[0] - values[1], *(ends[n] or (None, None))) if known else None
    return found


def ends_of(interval: Interval, images: Sequence[str]) -> list[tuple[float, float] | None]:
    """Return the ends of each interval; None of fewer than `INTERVAL_IMAGES` images."""
    if len(set(images)) < INTERVAL_IMAGES:
        return [None] * len(interval.low)
    return [(float(low), float(high)) for low, high in zip(*interval, strict=True)]
