"""How well a model predicts the IoU of masks it is shown: the section ``filtering`` of scores.json.

SegAgent (arXiv 2503.08625, appendix E.1) measures this by MAE and MSE, of IoUs from 0 to 100, and by the correlations
of Pearson and Spearman.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.scores.episodes import EpisodeScores
from hlmat_bench.scores.intervals import Estimate, Floats, bootstrap_statistic, with_intervals

#: What a prediction that cannot be read counts as: the middle of the scale, which a model says that knows nothing.
UNPARSABLE_AS = 0.5
#: Masks are kept whose predicted IoU is at least so high.
KEEP_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
_BINS = 10


@dataclass(frozen=True, slots=True)
class Ratings:
    """All masks that were shown; arrays are float64 or bool (n,).

    Attributes:
        images: the image of each.
        true, predicted: IoUs from 0 to 1; `UNPARSABLE_AS` where none was read.
        read: a prediction was read.
    """

    images: Sequence[str]
    true: Floats
    predicted: Floats
    read: NDArray[np.bool_]


def filtering_scores(samples: Sequence[EpisodeScores]) -> dict[str, Any] | None:
    """Return the scores of runs in which IoUs are predicted; None of others. Every mask that was shown counts.

    - ``mae``, ``mse``: mean absolute and squared error, in percent and percent squared.
    - ``pearson``, ``spearman``: correlations of predicted and true IoUs; None where either is the same for all masks.
    - ``unparsable``: masks without a readable prediction, failed requests among them; each counts as 0.5.
    - ``baseline``: these errors of one constant, the mean of the true IoUs.
    - ``keep``: by threshold how filtering by the predicted IoU does: ``accuracy``, the share of masks that are rightly
      kept or thrown away; ``precision``, of those kept, the share at least as good; ``recall``, of those as good, the
      share kept.
    - ``calibration``: of the predictions that were read, in ten bins, their mean, that of the true IoUs, and how many.
    """
    rated = [sample for sample in samples if sample.predicted]
    if not rated:
        return None
    said = [value for sample in rated for value in sample.predicted]
    ratings = Ratings(
        images=[sample.image_id for sample in rated for _ in sample.predicted],
        true=np.concatenate([sample.iou[1 : len(sample.predicted) + 1] for sample in rated]),
        predicted=as_numbers(said),
        read=np.array([value is not None for value in said]),
    )
    constant = np.full_like(ratings.true, ratings.true.mean())
    return {
        "n_masks": len(said),
        "unparsable": int(np.count_nonzero(~ratings.read)),
        "true_miou": float(ratings.true.mean()),
        **_errors(ratings, ratings.predicted),
        **_correlations(ratings),
        "baseline": {"predicted": float(constant[0]), **_errors(ratings, constant)},
        "keep": {f"{threshold:.1f}": _keep(ratings, threshold) for threshold in KEEP_THRESHOLDS},
        "calibration": _calibration(ratings),
    }


def as_numbers(said: Sequence[float | None]) -> Floats:
    """Return predictions, float64 (n,): `UNPARSABLE_AS` where none was read."""
    return np.array([UNPARSABLE_AS if value is None else value for value in said])


def errors(predicted: Floats, true: Floats) -> Floats:
    """Return absolute and squared errors in percent and percent squared, float64 (n, 2), of IoUs from 0 to 1."""
    difference = 100 * (predicted - true)
    return np.stack([np.abs(difference), difference**2], axis=1)


def _errors(ratings: Ratings, predicted: Floats) -> dict[str, Any]:
    mae, mse = errors(predicted, ratings.true).T
    found: dict[str, Any] = with_intervals({"mae": Estimate(mae), "mse": Estimate(mse)}, ratings.images)
    return found


def _correlations(ratings: Ratings) -> dict[str, Any]:
    true, predicted = ratings.true, ratings.predicted

    def both(weights: Floats) -> Floats:
        ranks = ranked(true, weights), ranked(predicted, weights)
        return np.array([correlation(true, predicted, weights), correlation(*ranks, weights)])

    values, (low, high) = both(np.ones_like(true)), bootstrap_statistic(both, ratings.images)
    names = ("pearson", "spearman")
    found: dict[str, Any] = {}
    for name, value, *interval in zip(names, values.tolist(), low.tolist(), high.tolist(), strict=True):
        known = not math.isnan(value)
        found |= {name: value if known else None, f"{name}_ci": interval if known else None}
    return found


def correlation(first: Floats, second: Floats, weights: Floats) -> float:
    """Return Pearson's correlation of samples, each counted as often as its weight says.

    It is NaN where one of both does not vary.

    Args:
        first, second, weights: float64 (n,).
    """
    total = weights.sum()
    x, y = (values - (weights @ values) / total for values in (first, second))
    spread = math.sqrt((weights @ x**2) * (weights @ y**2))
    return float(weights @ (x * y)) / spread if spread > 1e-12 * total else math.nan


def ranked(values: Floats, weights: Floats) -> Floats:
    """Return the rank of each value among samples, each counted as often as its weight says.

    Equal values share their mean rank.

    Args:
        values, weights: float64 (n,).
    """
    codes = np.unique(values, return_inverse=True)[1]
    counts = np.bincount(codes, weights)
    middles: Floats = np.cumsum(counts) - (counts - 1) / 2
    return middles[codes]


def _keep(ratings: Ratings, threshold: float) -> dict[str, Any]:
    kept, good = ratings.predicted >= threshold, ratings.true >= threshold
    right = (kept == good).astype(np.float64)
    both = int(np.count_nonzero(kept & good))
    return {
        **with_intervals({"accuracy": Estimate(right)}, ratings.images),
        "kept": int(np.count_nonzero(kept)),
        "good": int(np.count_nonzero(good)),
        "precision": both / np.count_nonzero(kept) if kept.any() else None,
        "recall": both / np.count_nonzero(good) if good.any() else None,
    }


def _calibration(ratings: Ratings) -> list[dict[str, Any]]:
    """Return bins of equal width; the last one holds 1, too. Empty ones are left out."""
    predicted, true = ratings.predicted[ratings.read], ratings.true[ratings.read]
    numbers = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    return [
        {
            "low": number / _BINS,
            "high": (number + 1) / _BINS,
            "predicted": float(predicted[numbers == number].mean()),
            "true": float(true[numbers == number].mean()),
            "n": int(np.count_nonzero(numbers == number)),
        }
        for number in np.unique(numbers).tolist()
    ]
