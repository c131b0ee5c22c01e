"""From episodes to scores.json (`hlmat-scores/1`): pure recomputation, without model, segmenter or images.

An episode is measured once (`scores/episodes.py`); each section of the scores is made from all that were measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores import precision
from hlmat_bench.scores.bands import BANDS
from hlmat_bench.scores.clicks import click_scores
from hlmat_bench.scores.episodes import NOC_THRESHOLDS, RULES, Measured, Table, measure
from hlmat_bench.scores.failures import failure_scores
from hlmat_bench.scores.filtering import filtering_scores
from hlmat_bench.scores.refinement import refinement_scores
from hlmat_bench.scores.search import search_scores

SCORES_SCHEMA = "hlmat-scores/1"
PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)

#: The regret of each valid click, by sample and step; see `hlmat_bench.runs.replay`.
Regrets = Mapping[str, Mapping[int, float]]


def score_episodes(
    episodes: Iterable[Episode], *, budget: int, track: str, regrets: Regrets | None = None
) -> dict[str, Any]:
    """The scores of a run.

    Every episode counts, whatever it ended with. Intervals are 95 %, bootstrapped over images, seeded.

    Args:
        episodes: the records.
        budget: clicks per episode; the curves run from 0 to it.
        track: ``point`` or ``box+point``, passed through.
        regrets: what a replay found; None: regret is null.

    Returns:
        A dict of JSON values of schema ``hlmat-scores/1``. ``n`` counts expressions, ``n_refs`` objects.
    """
    found = regrets or {}
    samples = [measure(episode, budget, found.get(episode.sample_id)) for episode in episodes]
    clicked = [sample for sample in samples if not sample.predicted]  # masks that were given say nothing of clicks
    return {
        "schema": SCORES_SCHEMA,
        "n": len(samples),
        "n_images": len({sample.image_id for sample in samples}),
        "n_refs": len({sample.ref_id for sample in samples}),
        "budget": budget,
        "track": track,
        **_of_masks(clicked, budget),
        "clicks": click_scores([sample.clicks for sample in clicked], budget),
        "filtering": filtering_scores(samples),
        "refinement": refinement_scores(clicked, budget),
        "search": search_scores([each for sample in samples for each in sample.tried]),
        "cost": _cost(samples),
        "failures": failure_scores([sample.failures for sample in samples]),
        "bands": _bands(clicked, budget),
        **_slices(clicked, budget),
    }


def _of_masks(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    """The sections on the masks; their intervals come from the same draws."""
    if not samples:
        return {"selection": {}, "noc": {}, "curve": [], "auc": None}
    table = Table(samples)
    curve = [{"t": t, **table.at([t] * len(samples))} for t in range(budget + 1)]
    sections = {
        "selection": {rule: _selection(table, rule) for rule in RULES},
        "noc": {f"{threshold:.2f}": table.noc(threshold, budget) for threshold in NOC_THRESHOLDS},
        "curve": [{key: point[key] for key in ("t", "miou", "miou_ci", "ciou", "biou")} for point in curve],
        "auc": float(np.mean([point["miou"] for point in curve[1:]])),
    }
    table.fill_intervals()
    return sections


def _selection(table: Table, rule: str) -> dict[str, Any]:
    steps = [selected[rule] for selected in table.selected]
    ious = table.iou[np.arange(len(steps)), steps]
    reached = {f"{threshold:.1f}": precision(ious, threshold) for threshold in PRECISION_THRESHOLDS}
    return table.at(steps) | {"precision": reached}


def _cost(samples: Sequence[Measured]) -> dict[str, Any]:
    return {
        "tokens_in": sum(sample.tokens_in for sample in samples),
        "tokens_out": sum(sample.tokens_out for sample in samples),
        "dollars": _total([cost for sample in samples for cost in sample.dollars]),
        "seconds": sum(sample.seconds for sample in samples),
    }


def _total(costs: Sequence[float | None]) -> float | None:
    """The sum; None when one of them is unknown, or there is none."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if known and len(known) == len(costs) else None


def _bands(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    """The main scores by what the samples themselves are like; bands that hold none are left out."""
    return {
        measure: {
            band: _slice(chosen, budget)
            for band in bands
            if (chosen := [sample for sample in samples if sample.bands.get(measure) == band])
        }
        for measure, bands in BANDS.items()
    }


def _slices(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    """The main scores by tag, where samples carry tags."""
    slices: dict[str, dict[str, Any]] = {}
    for name in sorted({name for sample in samples for name in sample.tags}):
        values = sorted({sample.tags[name] for sample in samples if name in sample.tags})
        slices[name] = {value: _slice([s for s in samples if s.tags.get(name) == value], budget) for value in values}
    return {"slices": slices} if slices else {}


def _slice(samples: Sequence[Measured], budget: int) -> dict[str, Any]:
    table = Table(samples)
    final = table.at([sample.selected["final"] for sample in samples])
    scores = {"n": len(samples), **final, "noc": {"0.85": table.noc(0.85, budget)}}
    table.fill_intervals()
    return scores
