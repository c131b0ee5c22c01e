"""Confidence intervals of scores: the bootstrap, clustered by image.

Samples of one image are not independent: they share the picture and often the object. So whole images are
drawn, with replacement, as many as there are, and the scores of each draw are computed; the interval lies
between two percentiles of them (Davison and Hinkley, "Bootstrap Methods and their Application", 1997,
chapters 3.8 and 5.3). Every score here is a sum over samples divided by another one (a mean is the sum of the
values over their number). So of an image only its sums are needed, and of a draw only how often it has each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.truth import ratio

Floats: TypeAlias = NDArray[np.float64]

_AT_A_TIME = 400_000
"""How many drawn images are in memory at a time, in three arrays of 8 bytes each."""


class Interval(NamedTuple):
    """The lower and upper ends of S intervals, float64 of shape (S,) each."""

    low: Floats
    high: Floats


_UNDEFINED = Interval(np.array([np.nan]), np.array([np.nan]))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score that is a sum over samples divided by another one.

    Attributes:
        numerators: float or int (n,).
        denominators: float or int (n,), not negative; None: ones, which make the score a mean.
    """

    numerators: NDArray[Any]
    denominators: NDArray[Any] | None = None

    @property
    def value(self) -> float:
        """Return the score; 0 / 0 counts as 1, like the IoU of two empty masks."""
        if self.denominators is None:
            return float(self.numerators.mean())
        return ratio(self.numerators.sum(), self.denominators.sum())


def with_intervals(values: Any, images: Sequence[str]) -> Any:
    """Return JSON values in which every `Estimate` is its score, with its 95 % interval as the next key.

    The interval of ``name`` is called ``name_ci``, that of ``mean`` and ``value`` is called ``ci``. All of them come
    from one set of draws.

    Args:
        values: dicts and lists of JSON values and estimates; an estimate is a value of a dict.
        images: which image each sample belongs to, (n,).
    """
    found: list[Estimate] = []

    def collect(estimate: Estimate) -> list[float]:
        found.append(estimate)
        return []

    _resolved(values, collect)
    if not found:
        return values
    ones = np.ones(len(images))
    above = np.stack([one.numerators for one in found], axis=1)
    below = np.stack([ones if one.denominators is None else one.denominators for one in found], axis=1)
    ends = zip(*(side.tolist() for side in bootstrap(above, below, images)), strict=True)
    return _resolved(values, lambda _: list(next(ends)))


def _resolved(value: Any, interval: Callable[[Estimate], list[float]]) -> Any:
    """Return JSON values with scores in place of estimates; ``interval`` is asked for the ends, in a fixed order."""
    if isinstance(value, list):
        return [_resolved(each, interval) for each in value]
    if not isinstance(value, Mapping):
        return value
    made: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(each, Estimate):
            made |= {key: each.value, interval_key(key): interval(each)}
        else:
            made[key] = _resolved(each, interval)
    return made


def interval_key(key: str) -> str:
    """Return the key of a score's interval in scores.json, which stands beside the score."""
    return "ci" if key in ("mean", "value") else f"{key}_ci"


def bootstrap(
    numerators: ArrayLike,
    denominators: ArrayLike,
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return percentile bootstrap intervals of S scores, each a sum over n samples divided by another one.

    Whole images are drawn, and all scores are computed from the same draws.

    mIoU has the IoUs over ones; cIoU has intersections over unions. 0 / 0 counts as 1, like the IoU of two
    empty masks. Of a single image all draws are equal: the interval has no width, and says nothing.

    Args:
        numerators: float (n, S), or (n,) of one score.
        denominators: float (n, S), or (n,); not negative.
        clusters: (n,), which image each sample belongs to, as numbers or strings.
        resamples: how many draws.
        seed: of the generator (PCG64). Equal seeds and images give equal draws, in whatever order samples are.
        level: the share of the draws that the interval holds, between 0 and 1.

    Raises:
        UsageError: when there is no sample or shapes don't fit.
    """
    return between(bootstrap_scores(numerators, denominators, clusters, resamples=resamples, seed=seed), level)


def bootstrap_scores(
    numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike, *, resamples: int = 2000, seed: int = 0
) -> Floats:
    """Return S scores in every draw of `bootstrap`, float64 of shape (S, resamples); for the arguments see there.

    The difference of two rows has the interval of `bootstrap_difference`, so that k runs need k rows for all pairs.
    """
    return _scores(_cluster_sums(numerators, denominators, clusters), resamples, seed)


def bootstrap_difference(
    first: tuple[ArrayLike, ArrayLike],
    second: tuple[ArrayLike, ArrayLike],
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return intervals of the difference of two runs' scores on the same samples: first minus second, draw by draw.

    What makes a sample easy or hard for both cancels out, so that these intervals are much narrower than
    those of two runs apart suggest. Where one does not hold 0, the runs differ.

    Args:
        first: numerators and denominators of a run, each (n, S) or (n,), as in `bootstrap`.
        second: those of the other run, with the samples in the same order.
        clusters: (n,), which image each sample belongs to, as numbers or strings.
        resamples: how many draws.
        seed: of the generator (PCG64).
        level: the share of the draws that the interval holds, between 0 and 1.

    Raises:
        UsageError: when there is no sample or shapes don't fit.
    """
    ours, theirs = (_cluster_sums(*run, clusters) for run in (first, second))
    return between(_scores(ours, resamples, seed) - _scores(theirs, resamples, seed), level)


def bootstrap_statistic(
    statistic: Callable[[Floats], Floats],
    clusters: ArrayLike,
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return intervals of S scores that are no quotients of sums, such as correlations, from the draws of `bootstrap`.

    Args:
        statistic: of weights, float64 (n,), which say how often a draw has each sample; the scores, (S,), NaN where
            they are not defined for a draw.
        clusters: (n,), which image each sample belongs to, as numbers or strings.
        resamples: how many draws.
        seed: of the generator (PCG64).
        level: the share of the draws that the interval holds, of those for which a score is defined.

    Returns:
        The intervals; NaN of a score that no draw defines.
    """
    images, codes = np.unique(np.asarray(clusters), return_inverse=True)
    drawn = [statistic(counts[codes]) for block in _counts(images.size, resamples, seed) for counts in block]
    scores = np.stack(drawn, axis=1)
    ends = [between(row[None, row == row], level) if (row == row).any() else _UNDEFINED for row in scores]
    return Interval(*(np.concatenate([interval[side] for interval in ends]) for side in (0, 1)))


def _cluster_sums(numerators: ArrayLike, denominators: ArrayLike, clusters: ArrayLike) -> tuple[Floats, Floats]:
    """Return numerators and denominators, summed over the samples of each of C images: (S, C) each."""
    images, codes = np.unique(np.asarray(clusters), return_inverse=True)
    above, below = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))
    if not codes.size or above.shape != below.shape or above.shape[:1] != codes.shape:
        raise UsageError(
            f"An interval needs at least one sample and a row for each; there are images of {codes.shape}, "
            f"numerators of {above.shape} and denominators of {below.shape}."
        )

    def sums(values: Floats) -> Floats:
        columns = values.reshape(codes.size, -1).T
        return np.stack([np.bincount(codes, weights=column, minlength=images.size) for column in columns])

    return sums(above), sums(below)


def _scores(sums: tuple[Floats, Floats], resamples: int, seed: int) -> Floats:
    """Return the scores of every draw, (S, resamples)."""
    # A product with a vector at a time: with few columns BLAS is far slower with a matrix.
    columns = np.concatenate(sums)
    blocks = [[counts @ column for column in columns] for counts in _counts(columns.shape[1], resamples, seed)]
    top, bottom = np.split(np.concatenate(blocks, axis=1), 2)
    scores: Floats = np.divide(top, bottom, out=np.ones_like(top), where=bottom != 0)
    return scores


def _counts(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often a draw has each image, for some draws at a time: (draws, images)."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = max(1, _AT_A_TIME // images)
    for start in range(0, resamples, rows):
        draws = min(rows, resamples - start)
        drawn = generator.integers(images, size=(draws, images))
        drawn += images * np.arange(draws)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=draws * images)
        yield counts.reshape(draws, images).astype(np.float64)


def between(scores: Floats, level: float = 0.95) -> Interval:
    """Return the percentile intervals of S scores, given their values in every draw, (S, resamples)."""
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail], axis=1)
    return Interval(low, high)
