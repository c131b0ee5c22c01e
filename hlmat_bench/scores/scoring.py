"""From episodes to scores.json (`hlmat-scores/1`): pure recomputation, without model, segmenter or images.

An episode is measured once (`scores/episodes.py`); each section of the scores is made from all that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores.clicks import click_scores
from hlmat_bench.scores.episodes import NOC_THRESHOLDS, RULES, EpisodeScores, ScoreTable, score_episode
from hlmat_bench.scores.failures import failure_scores
from hlmat_bench.scores.filtering import filtering_scores
from hlmat_bench.scores.intervals import with_intervals
from hlmat_bench.scores.no_target import no_target_scores
from hlmat_bench.scores.refinement import refinement_scores
from hlmat_bench.scores.registry import further_scores
from hlmat_bench.scores.search import search_scores
from hlmat_bench.scores.slices import parted, slice_scores
from hlmat_bench.scores.strata import STRATA

SCORES_SCHEMA = "hlmat-scores/1"


def score_episodes(
    episodes: Iterable[Episode],
    *,
    budget: int,
    track: str,
    rule: str = "final",
    regrets: Mapping[str, Mapping[int, float]] | None = None,
) -> dict[str, Any]:
    """Compute the scores of a run from its records; see `score_samples`.

    Args:
        episodes: the records.
        budget: clicks per episode; the curves run from 0 to it.
        track: ``point`` or ``box+point``, passed through.
        rule: the selection rule whose mask is the answer, which further scores are of.
        regrets: the regret of each valid click, by sample and step, as `hlmat_bench.runs.replay` finds it; None: regret
            is null.
    """
    found = regrets or {}
    samples = [
        score_episode(each, budget, rule=rule, regrets=found.get(each.sample_id), boundary=True) for each in episodes
    ]
    return score_samples(samples, budget=budget, track=track)


def score_samples(samples: Sequence[EpisodeScores], *, budget: int, track: str) -> dict[str, Any]:
    """Compute the scores of a run from its measured episodes.

    Every episode counts, whatever it ended with. Intervals are 95 %, bootstrapped over images, seeded.

    Returns:
        A dict of JSON values of schema ``hlmat-scores/1``. ``n`` counts expressions, ``n_refs`` objects.
    """
    clicked = [sample for sample in samples if not sample.predicted]  # masks that were given say nothing of clicks
    of_masks = _of_masks(clicked, budget)
    no_target = no_target_scores(clicked, of_masks["selection"])
    return {
        "schema": SCORES_SCHEMA,
        "n": len(samples),
        "n_images": len({sample.image_id for sample in samples}),
        "n_refs": len({sample.ref_id for sample in samples}),
        "budget": budget,
        "track": track,
        **of_masks,
        "clicks": click_scores([sample.clicks for sample in clicked], budget),
        "filtering": filtering_scores(samples),
        "refinement": refinement_scores(clicked, budget),
        "search": search_scores([each for sample in samples for each in sample.tried]),
        "cost": _cost(samples),
        "failures": failure_scores([sample.failures for sample in samples]),
        **_slices(clicked, budget),
        **({"no_target": no_target} if no_target else {}),
        **({"further": further} if (further := further_scores(samples)) else {}),
    }


def _of_masks(samples: Sequence[EpisodeScores], budget: int) -> dict[str, Any]:
    """Return the sections on the masks; their intervals come from one set of draws."""
    if not samples:
        return {"selection": {}, "noc": {}, "curve": [], "auc": None}
    table = ScoreTable(samples)
    curve = [{"t": t, **table.at([t] * len(samples))} for t in range(budget + 1)]
    sections: dict[str, Any] = {
        "selection": {rule: table.selected([sample.selected[rule] for sample in samples]) for rule in RULES},
        "noc": {f"{threshold:.2f}": table.noc(threshold, budget) for threshold in NOC_THRESHOLDS},
        "curve": [point | {"ciou": point["ciou"].value} for point in curve],
        "auc": float(np.mean([point["miou"].value for point in curve[1:]])),
    }
    found: dict[str, Any] = with_intervals(sections, table.images)
    return found


def _cost(samples: Sequence[EpisodeScores]) -> dict[str, Any]:
    return {
        "tokens_in": sum(sample.tokens_in for sample in samples),
        "tokens_out": sum(sample.tokens_out for sample in samples),
        "dollars": _total([cost for sample in samples for cost in sample.dollars]),
        "seconds": sum(sample.seconds for sample in samples),
    }


def _total(costs: Sequence[float | None]) -> float | None:
    """Return the sum; None when one of them is unknown, or there is none."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def _slices(samples: Sequence[EpisodeScores], budget: int) -> dict[str, Any]:
    """Return the main scores by what the samples themselves are like, and by tag where samples carry tags."""

    def scored(key: Callable[[EpisodeScores], str | None], order: Sequence[str] = ()) -> dict[str, Any]:
        return {part: slice_scores(chosen, budget, "final") for part, chosen in parted(samples, key, order).items()}

    strata = {name: scored(lambda one: one.strata.get(name), order) for name, order in STRATA.items()}  # noqa: B023
    names = sorted({name for sample in samples for name in sample.tags})
    tags = {name: scored(lambda one: one.tags.get(name)) for name in names}  # noqa: B023
    return {"bands": strata, **({"slices": tags} if tags else {})}
