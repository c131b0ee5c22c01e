"""Comparing runs that predict the IoU of given masks: paired differences of their errors on the same masks."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.filtering import as_numbers, correlation, errors, ranked
from hlmat_bench.scores.intervals import Floats, bootstrap_difference, bootstrap_statistic
from hlmat_bench.scores.paired import ends_of
from hlmat_bench.scores.registry import ScoreValue


def differences(first: Entrant, second: Entrant) -> tuple[dict[str, ScoreValue | None], NDArray[np.float64], list[str]]:
    """Return the paired differences of two runs, how much nearer the first is on each mask, and the masks' images.

    Raises:
        UsageError: when they were not shown the same masks.
    """
    if _true(first) != _true(second):
        raise UsageError(
            f"{first.name} and {second.name} were shown other masks; run both with the same segmenter, budget and task."
        )
    images = [sample.image_id for sample in first.samples for _ in sample.predicted]
    ours, theirs = mask_errors(first), mask_errors(second)
    ones = np.ones_like(ours)
    ends = ends_of(bootstrap_difference((ours, ones), (theirs, ones), images), images)
    means = (ours.mean(axis=0) - theirs.mean(axis=0)).tolist()
    found: dict[str, ScoreValue | None] = {
        f"filtering.{name}": ScoreValue(value, *(both or (None, None)))
        for name, value, both in zip(("mae", "mse"), means, ends, strict=True)
    }
    return found | _correlations(first, second, images), theirs[:, 0] - ours[:, 0], images


def mask_errors(entrant: Entrant) -> Floats:
    """Return absolute and squared error of every mask's prediction, in percent, float64 (n, 2)."""
    return errors(_said(entrant), np.concatenate(_true(entrant)))


def sample_errors(entrant: Entrant) -> Floats:
    """Return the mean absolute error of every sample's predictions, in percent, float64 (n,)."""
    counts = [len(sample.predicted) for sample in entrant.samples]
    owners = np.repeat(np.arange(len(counts)), counts)
    found: Floats = np.bincount(owners, mask_errors(entrant)[:, 0], len(counts)) / np.maximum(counts, 1)
    return found


def _correlations(first: Entrant, second: Entrant, images: list[str]) -> dict[str, ScoreValue | None]:
    true, ours, theirs = np.concatenate(_true(first)), _said(first), _said(second)

    def both(weights: Floats) -> Floats:
        ranks = [ranked(values, weights) for values in (true, ours, theirs)]
        return np.array(
            [
                correlation(true, ours, weights) - correlation(true, theirs, weights),
                correlation(ranks[0], ranks[1], weights) - correlation(ranks[0], ranks[2], weights),
            ]
        )

    ends = ends_of(bootstrap_statistic(both, images), images)
    values = both(np.ones_like(true)).tolist()
    return {
        f"filtering.{name}": None if math.isnan(value) else ScoreValue(value, *(interval or (None, None)))
        for name, value, interval in zip(("pearson", "spearman"), values, ends, strict=True)
    }


def _said(entrant: Entrant) -> Floats:
    return as_numbers([value for sample in entrant.samples for value in sample.predicted])


def _true(entrant: Entrant) -> list[list[float]]:
    """Return the true IoUs of every sample's masks."""
    return [sample.iou[1 : len(sample.predicted) + 1].tolist() for sample in entrant.samples]
