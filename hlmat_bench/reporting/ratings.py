"""Comparing runs that predict the IoU of given masks: paired differences of their errors on the same masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.errors import UsageError
from hlmat_bench.filtering import UNPARSABLE_AS
from hlmat_bench.intervals import bootstrap_difference
from hlmat_bench.reporting.entrants import Entrant
from hlmat_bench.reporting.views import with_range


def pair_table(entrants: Sequence[Entrant]) -> tuple[list[str], list[list[str]]]:
    """The paired differences of MAE and MSE, in percent and percent squared, of every two runs: headers and rows.

    Raises:
        UsageError: when they were not shown the same masks.
    """
    headers = ["first − second", "verdict", "MAE", "MSE", "first nearer on", "equal on", "second nearer on"]
    return headers, [_row(*pair) for pair in combinations(entrants, 2)]


def _row(first: Entrant, second: Entrant) -> list[str]:
    images = [sample.image_id for sample in first.facts for _ in sample.predicted]
    if [sample.iou[1:] for sample in first.facts] != [sample.iou[1:] for sample in second.facts]:
        raise UsageError(
            f"{first.name} and {second.name} were shown other masks; run both with the same segmenter, budget and task."
        )
    ours, theirs = _errors(first), _errors(second)
    ones = np.ones_like(ours)
    gaps = ours.mean(axis=0) - theirs.mean(axis=0)
    low, high = bootstrap_difference((ours, ones), (theirs, ones), images)
    ends = [[float(low[n]), float(high[n])] if len(set(images)) > 1 else None for n in range(2)]
    apart = ends[0] is not None and not ends[0][0] <= 0 <= ends[0][1]
    nearer = [int(np.count_nonzero(which)) for which in (ours[:, 0] < theirs[:, 0], ours[:, 0] > theirs[:, 0])]
    return [
        f"{first.name} − {second.name}",
        f"{(second if gaps[0] > 0 else first).name} is better" if apart else "not separated",
        with_range(float(gaps[0]), ends[0], 2),
        with_range(float(gaps[1]), ends[1], 2),
        *(f"{count:,}" for count in (nearer[0], len(ours) - sum(nearer), nearer[1])),
    ]


def _errors(entrant: Entrant) -> NDArray[np.float64]:
    """Absolute and squared error of every mask's prediction, float64 (n, 2); see `hlmat_bench.filtering`."""
    pairs = [pair for sample in entrant.facts for pair in zip(sample.predicted, sample.iou[1:], strict=True)]
    error = np.array([100 * abs((UNPARSABLE_AS if said is None else said) - true) for said, true in pairs])
    return np.stack([error, error**2], axis=1)
