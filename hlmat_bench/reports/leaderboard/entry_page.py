"""The page of an entry, as plain values."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard import words
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.leaderboard.ranking_page import MATRIX, difference_text
from hlmat_bench.reports.leaderboard.rows import brackets, dollars, per_thousand
from hlmat_bench.reports.leaderboard.verify.findings import LEVELS
from hlmat_bench.reports.pages.templates import in_percent
from hlmat_bench.reports.run.steps import word_of
from hlmat_bench.scores.registry import columns

NEIGHBOURS = 5
"""How many entries above and below an entry its page compares it with, besides the first of the ranking."""

MOST_SAMPLES = 300
"""How many samples a page lists, those with the lowest IoU."""


class Tile(NamedTuple):
    """A number of the strip: what it is, its value, and what stands below it."""

    label: str
    value: str
    below: str
    meaning: str = ""


class Opponent(NamedTuple):
    """Another entry in the list of comparisons.

    Attributes:
        id, title, rank: of the other one.
        difference: the entry minus the other one in points, with the interval.
        kind: ``win``, ``loss`` or ``open``.
        verdict: what that means.
        ahead, behind: samples.
    """

    id: str
    title: str
    rank: str
    difference: str
    kind: str
    verdict: str
    ahead: int
    behind: int


class SampleRow(NamedTuple):
    """A sample: its id and image, the IoU of its answer, the click at which it reaches 80 and 85 %, and its address."""

    id: str
    image: str
    iou: float
    shown: str
    first: tuple[str, str]
    address: str


class Level(NamedTuple):
    """A step of the verification: its name, what it means, and whether the entry has it."""

    name: str
    meaning: str
    reached: bool


@dataclass(frozen=True)
class EntryPage:
    """An entry as its page shows it.

    Attributes:
        ranking, place: where it stands.
    """

    ranking: Ranking
    place: int

    @property
    def row(self) -> Row:
        """Return the row in the ranking."""
        return self.ranking.rows[self.place]

    @property
    def entry(self) -> BoardEntry:
        """Return the entry."""
        return self.row.entry

    def tiles(self) -> Iterator[Tile]:
        """Yield the strip of numbers."""
        entry, scores = self.entry, self.entry.scores.model_dump()
        for score in columns("leaderboard", self.ranking.task.kind, [scores])[1:]:
            value, missed = score.read(scores, entry.manifest.selection), score.missed(scores)
            ends = value.interval if value and entry.scores.n_images > 1 else None
            below = brackets(*ends) if ends and score.unit == "share" else score.note
            if missed is not None:
                below = f"{missed:,} of {entry.scores.n:,} never"
            title = f"Clicks to {score.path[-2][2:]} %" if missed is not None else score.title
            yield Tile(title, score.shown(value.value if value else None), below, score.definition)
        inside = entry.scores.clicks.first_click_inside
        yield Tile("First click on the object", in_percent(inside), "% of the samples")
        yield Tile(
            "$ per 1,000 samples", dollars(per_thousand(entry)), f"{entry.scores.cost.tokens_out:,} tokens written"
        )

    def opponents(self) -> list[Opponent]:
        """Return the comparisons with the first entries, the neighbours and the references."""
        ranked = self.ranking.ranked
        near = range(max(0, self.place - NEIGHBOURS), min(ranked, self.place + NEIGHBOURS + 1))
        bounds = [row for row in (self.ranking.oracle, self.ranking.floor) if row is not None]
        others = {n for n, row in enumerate(self.ranking.rows[ranked:], ranked) if row in bounds}
        places = sorted({*range(min(MATRIX, ranked)), *(near if self.place < ranked else ()), *others} - {self.place})
        return [self._opponent(place) for place in places]

    def _opponent(self, place: int) -> Opponent:
        row = self.ranking.rows[place]
        found = self.ranking.difference(self.place, place)
        decisive = self.ranking.decisive
        kind = {1: "win", -1: "loss", 0: "open"}[found.sign if decisive else 0]
        verdict = {"win": "better", "loss": "worse", "open": "not separable" if decisive else "too few images"}[kind]
        rank = (
            ""
            if row.rank is None
            else f"{row.rank[0]}"
            if row.rank[0] == row.rank[1]
            else f"{row.rank[0]}–{row.rank[1]}"
        )
        title = clean(row.entry.title, 60)
        return Opponent(
            row.entry.id,
            title,
            rank or str(row.reference),
            difference_text(found),
            kind,
            verdict,
            found.ahead,
            found.behind,
        )

    def samples(self) -> list[SampleRow]:
        """Return the samples with the lowest IoU, the lowest first."""
        found, ious = self.entry.samples, self.entry.samples.ious()
        chosen = heapq.nsmallest(MOST_SAMPLES, range(len(found.id)), key=lambda n: (ious[n], found.id[n]))
        return [self._sample(n, float(ious[n])) for n in chosen]

    def _sample(self, number: int, iou: float) -> SampleRow:
        found = self.entry.samples
        clicks = [found.first[key][number] for key in ("0.80", "0.85")]
        return SampleRow(
            clean(found.id[number], 80),
            clean(found.image_id[number], 80),
            iou,
            in_percent(iou),
            ("never" if clicks[0] is None else f"{clicks[0]}", "never" if clicks[1] is None else f"{clicks[1]}"),
            f"{self.entry.report}#sample={quote(found.id[number], safe='')}" if self.entry.report else "",
        )

    def strip(self) -> list[float]:
        """Return the IoUs of all samples in per cent, sorted, at most 400 of them spread evenly."""
        ious = sorted(self.entry.samples.ious().tolist())
        step = max(1, -(-len(ious) // 400))
        return [round(100 * iou, 1) for iou in ious[::step]]

    def levels(self) -> list[Level]:
        """Return the steps of the verification, and which of them the entry has."""
        names = list(LEVELS)
        reached = names.index(self.row.listed.level)
        return [Level(name, meaning, n <= reached) for n, (name, meaning) in enumerate(LEVELS.items())]

    def kinds(self) -> Sequence[tuple[str, int]]:
        """Return how often a click of each kind was made, the most frequent first; empty where it is not known."""
        steps = self.entry.scores.steps or {}
        totals = [(word_of(kind), sum(counts)) for kind, counts in steps.items() if sum(counts)]
        return sorted(totals, key=lambda pair: -pair[1])

    def verdict(self) -> tuple[str, str]:
        """Return what the page says first."""
        return words.verdict(self.ranking, self.place)
