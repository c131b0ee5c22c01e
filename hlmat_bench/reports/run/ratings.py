"""Comparing runs that predict the IoU of given masks: paired differences of their errors on the same masks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.run.comparison import separated
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.views import with_range
from hlmat_bench.scores.filtering import as_numbers, errors
from hlmat_bench.scores.intervals import bootstrap_difference
from hlmat_bench.scores.slices import ends_of


def pair_table(entrants: Sequence[Entrant]) -> tuple[list[str], list[list[str]]]:
    """Return paired differences of MAE and MSE, in percent and percent squared, of every two runs: headers and rows.

    Raises:
        UsageError: when they were not shown the same masks.
    """
    headers = ["first − second", "verdict", "MAE", "MSE", "first nearer on", "equal on", "second nearer on"]
    return headers, [_row(*pair) for pair in combinations(entrants, 2)]


def _row(first: Entrant, second: Entrant) -> list[str]:
    images = [sample.image_id for sample in first.samples for _ in sample.predicted]
    if _true(first) != _true(second):
        raise UsageError(
            f"{first.name} and {second.name} were shown other masks; run both with the same segmenter, budget and task."
        )
    ours, theirs = _errors(first), _errors(second)
    ones = np.ones_like(ours)
    mae, mse = (ours.mean(axis=0) - theirs.mean(axis=0)).tolist()
    ends = ends_of(bootstrap_difference((ours, ones), (theirs, ones), images), images)
    nearer, farther = (int(np.count_nonzero(which[:, 0])) for which in (ours < theirs, ours > theirs))
    better = f"{(second if mae > 0 else first).name} is better"
    return [
        f"{first.name} − {second.name}",
        better if separated(ends[0]) else "not separated",
        with_range(mae, ends[0], 2),
        with_range(mse, ends[1], 2),
        *(f"{count:,}" for count in (nearer, len(ours) - nearer - farther, farther)),
    ]


def _errors(entrant: Entrant) -> NDArray[np.float64]:
    """Return absolute and squared error of every mask's prediction, float64 (n, 2)."""
    said = [value for sample in entrant.samples for value in sample.predicted]
    return errors(as_numbers(said), np.concatenate(_true(entrant)))


def _true(entrant: Entrant) -> list[list[float]]:
    """Return the true IoUs of every sample's masks."""
    return [sample.iou[1:].tolist() for sample in entrant.samples]
