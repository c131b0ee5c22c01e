"""Two runs on the same samples: paired differences of their scores, and which of the runs is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.reports.compare import ratings
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.intervals import bootstrap_difference
from hlmat_bench.scores.paired import VERDICT_IMAGES, ends_of, paired_differences, sample_values
from hlmat_bench.scores.registry import STANDARD, Score, ScoreValue, columns

#: The score by which runs of a kind of task are compared.
MAIN = {
    "segmentation": STANDARD["miou"],
    "refinement": STANDARD["refinement.gain"],
    "filtering": STANDARD["filtering.mae"],
}
_EQUAL = 1e-9


@dataclass(frozen=True)
class Pair:
    """Two runs on the same samples.

    Attributes:
        first, second: their numbers in the comparison.
        names: their names.
        main: the score by which they are compared.
        found: first minus second by score, in the unit of scores.json; None where one of both has none.
        leads: how much better the first is on each sample, or on each mask of a filtering task, float64 (n,): a
            difference of the main score, above 0 where the first run is better.
        images: the image of each of these.
        samples: how many samples there are.
    """

    first: int
    second: int
    names: tuple[str, str]
    main: Score
    found: Mapping[str, ScoreValue | None]
    leads: NDArray[np.float64]
    images: Sequence[str]
    samples: int

    @cached_property
    def lead(self) -> ScoreValue:
        """Return how much better the first run is by the main score, above 0 where it is."""
        value = self.found[self.main.key]
        assert value is not None
        return value if self.main.higher_is_better else _turned(value)

    @property
    def swapped(self) -> Pair:
        """Return the same two runs in the other order."""
        found = {key: None if value is None else _turned(value) for key, value in self.found.items()}
        names = self.names[1], self.names[0]
        return Pair(self.second, self.first, names, self.main, found, -self.leads, self.images, self.samples)

    @property
    def better(self) -> int | None:
        """Return which run is significantly better, 0 or 1 for first or second; None where that is open.

        It is open where the 95 % interval of the difference contains 0, and with fewer than `VERDICT_IMAGES` images.
        """
        ends = self.lead.interval
        if self.too_few or ends is None or ends[0] <= 0 <= ends[1]:
            return None
        return 0 if self.lead.value > 0 else 1

    @property
    def too_few(self) -> bool:
        """Tell whether there are too few images for a verdict."""
        return self.image_count < VERDICT_IMAGES

    @cached_property
    def image_count(self) -> int:
        """Return on how many images the samples are."""
        return len(set(self.images))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return on how many samples or masks the first run is ahead, equal and behind."""
        ahead, behind = (int(np.count_nonzero(side > _EQUAL)) for side in (self.leads, -self.leads))
        return ahead, len(self.leads) - ahead - behind, behind

    def part(self, members: Sequence[int] | NDArray[np.int64]) -> Pair:
        """Return the pair on some of the samples, with the main score alone."""
        leads, images = self.leads[members], [self.images[n] for n in members]
        ones = np.ones(len(leads))
        ends = ends_of(bootstrap_difference((leads, ones), (np.zeros_like(ones), ones), images), images)[0]
        lead = ScoreValue(float(leads.mean()), *(ends or (None, None)))
        found = {self.main.key: lead if self.main.higher_is_better else _turned(lead)}
        return Pair(self.first, self.second, self.names, self.main, found, leads, images, len(leads))


def pairs(entrants: Sequence[Entrant]) -> list[Pair]:
    """Compare every two runs.

    Raises:
        UsageError: when they predict the IoU of other masks.
    """
    return [pair(entrants, a, b) for a, b in combinations(range(len(entrants)), 2)]


def pair(entrants: Sequence[Entrant], a: int, b: int) -> Pair:
    """Compare the runs of two numbers; see `pairs`."""
    first, second = entrants[a], entrants[b]
    names, main = (first.name, second.name), MAIN[first.kind]
    if first.kind == "filtering":
        found, leads, images = ratings.differences(first, second)
        return Pair(a, b, names, main, found, leads, images, len(first.samples))
    scores = shown_scores(entrants)
    budgets = first.budget, second.budget
    found = paired_differences(scores, first.samples, second.samples, budgets)
    ours, theirs = (sample_values(main.key, one.samples, one.budget)[:, 0] for one in (first, second))
    images = [sample.image_id for sample in first.samples]
    return Pair(a, b, names, main, found, ours - theirs, images, len(images))


def shown_scores(entrants: Sequence[Entrant]) -> list[Score]:
    """Return the scores that a comparison shows, in the order of its tables."""
    return columns("comparison", entrants[0].kind, (one.scores for one in entrants))


def ranked(entrants: Sequence[Entrant]) -> list[int]:
    """Return the numbers of the runs, the best by the main score first."""
    main = MAIN[entrants[0].kind]
    values = [one.read(main) for one in entrants]
    sign = -1 if main.higher_is_better else 1
    return sorted(range(len(entrants)), key=lambda n: np.inf if (value := values[n]) is None else sign * value.value)


def _turned(value: ScoreValue) -> ScoreValue:
    ends = value.interval
    return ScoreValue(-value.value, *((-ends[1], -ends[0]) if ends else (None, None)))
