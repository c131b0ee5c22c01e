"""Slices: the samples by what they are, with the scores of each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.text import clean
from hlmat_bench.scores import ratio
from hlmat_bench.scores.bands import BANDS
from hlmat_bench.scores.facts import Facts
from hlmat_bench.scores.intervals import Interval, bootstrap, bootstrap_difference

THRESHOLD = "0.85"
_MOST_VALUES = 40
_MEANINGS = {
    "object_size": "The object's area: small is below 32² pixels, medium below 96².",
    "thinness": "Perimeter² / (4π · area): compact is below 4, moderate below 16, thin above.",
    "expression_words": "Words between blanks.",
}


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
        """The samples of a part, by their numbers."""
        return np.flatnonzero(np.asarray(self.codes) == code)


def slicings(samples: Sequence[Facts], oracle: Mapping[str, Facts]) -> list[Slicing]:
    """All ways to part these samples, those with one part left out.

    Args:
        samples: the episodes of one run.
        oracle: the oracle's episodes by sample; empty where there are none.
    """
    ways = [_band(samples, name) for name in BANDS]
    if all(sample.sample_id in oracle for sample in samples):
        ways.append(_difficulty([oracle[sample.sample_id].clicks[THRESHOLD] for sample in samples]))
    return [way for way in ways + _tags(samples) if len(way.values) > 1]


def scores_of(samples: Sequence[Facts], members: Sequence[int] | NDArray[np.int64], budget: int) -> dict[str, Any]:
    """mIoU, cIoU and NoC of some samples, each with its interval; None for that where there is one image only."""
    chosen = [samples[n] for n in members]
    above, below = columns(chosen, budget)
    images = [sample.image_id for sample in chosen]
    values = [ratio(*sums) for sums in zip(above.sum(0), below.sum(0), strict=True)]
    ends = ends_of(bootstrap(above, below, images), images)
    return {
        "n": len(chosen),
        "miou": values[0], "miou_ci": ends[0],
        "ciou": values[1], "ciou_ci": ends[1],
        "noc": values[2], "noc_ci": ends[2],
    }  # fmt: skip


def differences(
    first: Sequence[Facts], second: Sequence[Facts], members: Sequence[int] | NDArray[np.int64], budget: int
) -> dict[str, Any]:
    """First minus second, on some samples: mIoU, cIoU and NoC, and who is better how often.

    Intervals are paired; None where there is one image only.
    """
    ours, theirs = [first[n] for n in members], [second[n] for n in members]
    sides = columns(ours, budget), columns(theirs, budget)
    images = [sample.image_id for sample in ours]
    ends = ends_of(bootstrap_difference(*sides, images), images)
    found: dict[str, Any] = {"n": len(ours)}
    for number, name in enumerate(("miou", "ciou", "noc")):
        first_score, second_score = (ratio(above[:, number].sum(), below[:, number].sum()) for above, below in sides)
        found |= {name: first_score - second_score, f"{name}_ci": ends[number]}
    gaps = [a.score - b.score for a, b in zip(ours, theirs, strict=True)]
    return found | {"wins": sum(gap > 0 for gap in gaps), "losses": sum(gap < 0 for gap in gaps)}


def ends_of(interval: Interval, images: Sequence[str]) -> list[list[float] | None]:
    """The ends of each interval; of a single image it has no width and says nothing."""
    if len(set(images)) < 2:
        return [None] * len(interval.low)
    return [[float(low), float(high)] for low, high in zip(*interval, strict=True)]


def columns(samples: Sequence[Facts], budget: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numerators and denominators of mIoU, cIoU and NoC, float64 (n, 3) each, of the answers."""
    above = [(one.score, one.intersection[one.answer], one.clicks[THRESHOLD] or budget) for one in samples]
    below = [(1, one.union[one.answer], 1) for one in samples]
    return np.array(above, np.float64), np.array(below, np.float64)


def _band(samples: Sequence[Facts], name: str) -> Slicing:
    codes = {band: code for code, band in enumerate(BANDS[name])}
    found = [codes.get(sample.bands.get(name, ""), -1) for sample in samples]
    return _used(name.replace("_", " "), BANDS[name], found, _MEANINGS[name])


def _difficulty(clicks: Sequence[int | None]) -> Slicing:
    names = ["1 click", "2 to 3", "4 to 6", "7 or more", "never"]
    codes = [4 if count is None else int(np.digitize(count, (2, 4, 7))) for count in clicks]
    return _used("oracle clicks", names, codes, f"Clicks that the oracle needs to reach an IoU of {THRESHOLD}.")


def _tags(samples: Sequence[Facts]) -> list[Slicing]:
    return [_tag(samples, name) for name in sorted({name for sample in samples for name in sample.tags})]


def _tag(samples: Sequence[Facts], name: str) -> Slicing:
    values = sorted({sample.tags[name] for sample in samples if name in sample.tags})[:_MOST_VALUES]
    places = {value: n for n, value in enumerate(values)}
    codes = [places.get(sample.tags.get(name, ""), -1) for sample in samples]
    return Slicing(clean(name, 40), [clean(value, 60) for value in values], codes)


def _used(name: str, names: Sequence[str], codes: Sequence[int], meaning: str) -> Slicing:
    """A slicing with the parts that have samples."""
    used = sorted(set(codes) - {-1})
    places = {code: n for n, code in enumerate(used)}
    return Slicing(name, [names[code] for code in used], [places.get(code, -1) for code in codes], meaning)
