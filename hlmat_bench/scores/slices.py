"""Slices: the samples by what they are, with the scores of each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.text import clean
from hlmat_bench.scores.episodes import EpisodeScores, ScoreTable
from hlmat_bench.scores.intervals import with_intervals
from hlmat_bench.scores.strata import NO_OBJECT, STRATA

THRESHOLD = "0.85"
_MOST_VALUES = 40
_MEANINGS = {
    "object_size": "The object's area: small is below 32² pixels, medium below 96².",
    "thinness": "Perimeter² / (4π · area): compact is below 4, moderate below 16, thin above.",
    "expression_words": "Number of words in the expression.",
}
_NO_OBJECT_MEANING = " No object: the ground truth is empty."


@dataclass(frozen=True, slots=True)
class Slicing:
    """One way to part the samples.

    Attributes:
        name: e.g. ``object size``.
        values: the parts' names, in order.
        codes: per sample the number of its part; -1 where it has none.
        meaning: what the parts are, in a sentence; empty for a task's own tags.
    """

    name: str
    values: Sequence[str]
    codes: Sequence[int]
    meaning: str = ""

    def members(self, code: int) -> NDArray[np.int64]:
        """Return the samples of a part, by their numbers."""
        return np.flatnonzero(np.asarray(self.codes) == code)


def slicings(samples: Sequence[EpisodeScores], oracle: Mapping[str, EpisodeScores]) -> list[Slicing]:
    """Return all ways to part these samples, those with one part left out.

    Args:
        samples: the episodes of one run.
        oracle: the oracle's episodes by sample; empty where there are none.
    """
    ways = [
        _slicing(name.replace("_", " "), [sample.strata.get(name) for sample in samples], order, _MEANINGS[name])
        for name, order in STRATA.items()
    ]
    if all(sample.sample_id in oracle for sample in samples):
        ways.append(_difficulty([oracle[sample.sample_id].reached[THRESHOLD] for sample in samples]))
    ways += [_tag(samples, name) for name in sorted({name for sample in samples for name in sample.tags})]
    return [way for way in ways if len(way.values) > 1]


def parted(
    samples: Sequence[EpisodeScores], key: Callable[[EpisodeScores], str | None], order: Sequence[str] = ()
) -> dict[str, list[EpisodeScores]]:
    """Return the samples by what a key gives for them, None left out; parts in this order, else sorted by name."""
    found: dict[str, list[EpisodeScores]] = {}
    for sample in samples:
        if (name := key(sample)) is not None:
            found.setdefault(name, []).append(sample)
    return {name: found[name] for name in order or sorted(found) if name in found}


def slice_scores(samples: Sequence[EpisodeScores], budget: int, rule: str) -> dict[str, Any]:
    """Return the main scores of some samples: mIoU, cIoU and NoC with their intervals, and boundary IoU.

    Args:
        samples: the samples.
        budget: clicks per episode.
        rule: the selection rule whose masks are scored.
    """
    table = ScoreTable(samples)
    scores = table.at([sample.selected[rule] for sample in samples]) | {
        "noc": {THRESHOLD: table.noc(float(THRESHOLD), budget)}
    }
    return {"n": len(samples), **with_intervals(scores, table.images)}


def _difficulty(clicks: Sequence[int | None]) -> Slicing:
    names = ["1 click", "2 to 3", "4 to 6", "7 or more", "never"]
    found = [names[-1] if count is None else names[np.digitize(count, (2, 4, 7))] for count in clicks]
    return _slicing("oracle clicks", found, names, f"Clicks that the oracle needs to reach an IoU of {THRESHOLD}.")


def _tag(samples: Sequence[EpisodeScores], name: str) -> Slicing:
    found = [sample.tags.get(name) for sample in samples]
    return _slicing(clean(name, 40), found, sorted({value for value in found if value is not None})[:_MOST_VALUES])


def _slicing(name: str, found: Sequence[str | None], order: Sequence[str], meaning: str = "") -> Slicing:
    """Return a slicing by the part of each sample, with the parts that have samples, in this order."""
    used = [value for value in order if value in found]
    places = {value: n for n, value in enumerate(used)}
    codes = [-1 if value is None else places.get(value, -1) for value in found]
    meaning += _NO_OBJECT_MEANING if NO_OBJECT in used and meaning else ""
    return Slicing(name, [clean(value, 60) for value in used], codes, meaning)
