"""Paired comparisons of all entries of a ranking, from one set of draws of the bootstrap over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.scores.intervals import between, bootstrap_scores

RESAMPLES = 2000
_ROUNDING = 1e-12
"""An end of an interval that is nearer to 0 is 0: interpolated between equal draws, it may miss it by a rounding."""


class Difference(NamedTuple):
    """The mIoU of an entry minus that of another one, as shares.

    Attributes:
        value: on all samples.
        low, high: its 95 % interval; None of a single image, of which nothing is known.
        ahead, behind: samples on which the IoU of the first entry is higher, and lower.
    """

    value: float
    low: float | None
    high: float | None
    ahead: int
    behind: int

    @property
    def sign(self) -> int:
        """Return 1 where the first entry is clearly better, -1 where it is clearly worse, else 0."""
        return 0 if self.low is None or self.high is None else int(self.low > _ROUNDING) - int(self.high < -_ROUNDING)


class PairedScores:
    """The IoUs of k entries on the same samples, and their mIoU in every draw.

    Args:
        values: per entry its IoU of every sample, float (n,), samples in the same order.
        images: which image each sample belongs to, (n,). Of a single image nothing can be told apart.
        resamples: draws of the bootstrap.
    """

    def __init__(
        self, values: Sequence[NDArray[np.float64]], images: Sequence[str], *, resamples: int = RESAMPLES
    ) -> None:
        self._values = values
        self._draws: NDArray[np.float64] | None = None
        if len(values) > 1 and len(set(images)) > 1:
            columns = np.stack(values, axis=1)
            self._draws = bootstrap_scores(columns, np.ones_like(columns), images, resamples=resamples)

    def difference(self, first: int, second: int) -> Difference:
        """Return the first entry minus the second one."""
        ours, theirs = self._values[first], self._values[second]
        low = high = None
        if self._draws is not None:
            found = between((self._draws[first] - self._draws[second])[None])
            low, high = float(found.low[0]), float(found.high[0])
        counts = int((ours > theirs).sum()), int((ours < theirs).sum())
        return Difference(float(ours.mean() - theirs.mean()), low, high, *counts)

    def clearly_better(self, k: int | None = None) -> NDArray[np.bool_]:
        """Return where entry i is clearly better than entry j: the interval of i minus j lies above 0.

        Args:
            k: only the first k entries are compared; None: all.

        Returns:
            Bool (k, k).
        """
        k = len(self._values) if k is None else k
        better = np.zeros((k, k), bool)
        if self._draws is None:
            return better
        draws = self._draws[:k]
        # The ends of an interval are interpolated between two neighbours in the sorted differences. How many
        # differences are not above 0 (or not below) says on which side of 0 these neighbours are, without sorting. Only
        # where they are on either side is the interval computed.
        # Of 1,000 entries, counting takes some seconds; sorting took 217.
        lower = int((1 - 0.95) / 2 * (draws.shape[1] - 1))
        for first in range(k - 1):
            later = draws[first + 1 :]
            not_above = np.count_nonzero(later >= draws[first], axis=1)
            not_below = np.count_nonzero(later <= draws[first], axis=1)
            better[first, first + 1 :], better[first + 1 :, first] = not_above <= lower, not_below <= lower
            for second in first + 1 + np.flatnonzero((not_above == lower + 1) | (not_below == lower + 1)):
                sign = self.difference(first, int(second)).sign
                better[first, second], better[second, first] = sign > 0, sign < 0
        return better

    def rank_ranges(self, k: int | None = None) -> list[tuple[int, int]]:
        """Return the range of ranks of each of the first k entries among them, from 1; None: of all."""
        better = self.clearly_better(k)
        above, below = better.sum(axis=0), better.sum(axis=1)
        return [(1 + int(a), len(better) - int(b)) for a, b in zip(above, below, strict=True)]
