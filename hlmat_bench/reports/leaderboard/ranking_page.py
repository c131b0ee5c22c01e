"""The page of a ranking: its table, who beats whom, and its plots, as plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from hlmat_bench.core.tables import TextTable
from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard import figures, words
from hlmat_bench.reports.leaderboard.paired import Difference
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.leaderboard.rows import PAGE, Column, RowView, columns_of, row_views, scores_of
from hlmat_bench.reports.pages.plots import Figure
from hlmat_bench.scores.registry import Score

MATRIX = 10
"""How many entries the matrix of who beats whom has, from the first."""

_TABS = 7


class MatrixCell(NamedTuple):
    """The mIoU of the row's entry minus that of the column's, in points.

    Attributes:
        text: the difference; empty on the diagonal.
        kind: ``win`` or ``loss`` where it is clear, else ``open``; ``self`` on the diagonal.
        address: where the comparison is.
        about: what a screen reader says of it: the interval.
    """

    text: str
    kind: str
    address: str
    about: str


class MatrixRow(NamedTuple):
    """A row of the matrix: its number, the entry's title, and a cell for each entry."""

    number: int
    title: str
    cells: Sequence[MatrixCell]


@dataclass(frozen=True)
class RankingPage:
    """A ranking as a page shows it.

    Attributes:
        ranking: what is shown.
        label: what tells it from the other rankings, on its tab.
    """

    ranking: Ranking
    label: str

    @property
    def page(self) -> str:
        """Return the name of its first file."""
        return self.file(0)

    def file(self, number: int) -> str:
        """Return the name of the file of a page, counted from 0."""
        more = f"-{number + 1}" if number else ""
        return f"ranking-{self.ranking.task.name}-{self.ranking.key}{more}.html"

    @cached_property
    def scores(self) -> list[Score]:
        """Return the scores in the table; the first is the mIoU."""
        return scores_of(self.ranking.rows, self.ranking.task.kind)

    @cached_property
    def columns(self) -> list[Column]:
        """Return the columns after the interval."""
        return columns_of(self.scores)

    @cached_property
    def _views(self) -> list[RowView]:
        return row_views(self.ranking, self.scores)

    @cached_property
    def rows(self) -> list[RowView]:
        """Return the rows of models, the ranked ones first."""
        return [row for row in self._views if row.kind != "reference"]

    @cached_property
    def bounds(self) -> list[RowView]:
        """Return the rows of reference policies."""
        return [row for row in self._views if row.kind == "reference"]

    @property
    def pages(self) -> int:
        """Return how many pages the table needs, at least one."""
        return max(1, -(-len(self.rows) // PAGE))

    def part(self, number: int) -> list[RowView]:
        """Return the rows of a page, counted from 0."""
        return self.rows[number * PAGE : (number + 1) * PAGE]

    @property
    def oracle(self) -> float | None:
        """Return the oracle's mIoU in per cent; None where it is not entered."""
        row = self.ranking.oracle
        return None if row is None else round(100 * row.entry.answer.miou, 2)

    @cached_property
    def lead(self) -> tuple[list[Row], str]:
        """Return the entries that lead, and what is said of them."""
        return words.lead(self.ranking)

    @cached_property
    def curves(self) -> Figure | None:
        """Return the plot of the mIoU after each click; None where nothing is entered but other references."""
        return figures.curves(self.ranking)

    @cached_property
    def cost(self) -> Figure | None:
        """Return the plot of quality against cost."""
        return figures.cost(self.ranking)

    @cached_property
    def matrix(self) -> list[MatrixRow]:
        """Return who beats whom of the first entries; empty of fewer than two."""
        count = min(MATRIX, self.ranking.ranked)
        if count < 2:
            return []
        return [
            MatrixRow(
                row + 1,
                clean(self.ranking.rows[row].entry.title, 40),
                [self._cell(row, column) for column in range(count)],
            )
            for row in range(count)
        ]

    def _cell(self, row: int, column: int) -> MatrixCell:
        if row == column:
            return MatrixCell("", "self", "", "")
        found = self.ranking.difference(row, column)
        ours, theirs = (self.ranking.rows[n].entry for n in (row, column))
        kind = {1: "win", -1: "loss", 0: "open"}[found.sign if self.ranking.decisive else 0]
        about = f"{clean(ours.title, 60)} minus {clean(theirs.title, 60)}: {difference_text(found)}"
        return MatrixCell(words.points(found.value), kind, f"entries/{ours.id}.html#vs-{theirs.id}", about)

    def table(self) -> TextTable:
        """Return the table for papers: rank, model, mIoU with its interval, and the other columns."""
        headers = ["Rank", "Model", "mIoU", "95 % interval", *(column.title for column in self.columns)]
        rows = [
            [row.rank, row.title, row.miou.text, row.interval, *(cell.text for cell in row.cells)]
            for row in (*self.rows, *self.bounds)
        ]
        return TextTable(headers, rows, texts=2, caption=f"{self.ranking.task.name}: {self.label}")


def difference_text(found: Difference) -> str:
    """Write a difference in points with its interval, ``+12.9 [+6.2, +20.4]``."""
    ends = (
        "" if found.low is None or found.high is None else f" [{words.points(found.low)}, {words.points(found.high)}]"
    )
    return words.points(found.value) + ends


def pages_of(rankings: Sequence[Ranking]) -> list[RankingPage]:
    """Return the pages of all rankings, those with the most ranked entries first."""
    ordered = sorted(rankings, key=lambda ranking: -ranking.ranked)
    labels = [_label(ranking, rankings) for ranking in ordered]
    seen = Counter(labels)
    return [
        RankingPage(ranking, label if seen[label] == 1 else f"{label} · variant {ranking.key}")
        for ranking, label in zip(ordered, labels, strict=True)
    ]


def tabs(pages: Sequence[RankingPage], shown: RankingPage) -> list[RankingPage]:
    """Return the rankings that a page has tabs for: the largest ones, and its own."""
    first = list(pages[:_TABS])
    return first if shown in first else [*first[:-1], shown]


def _label(ranking: Ranking, others: Sequence[Ranking]) -> str:
    """Say what tells a ranking from others: its segmenter and clicks, and the rest only where it differs among them."""

    def differs(*path: str) -> bool:
        return len({_at(each, path) for each in others}) > 1

    parts = [
        ranking.task.name if differs("task", "name") else "",
        ranking.segmenter,
        f"{ranking.budget} clicks",
        ("with a box" if ranking.track != "point" else "clicks only") if differs("track") else "",
        f"starting from {ranking.start}" if ranking.start else "",
        f"{ranking.n:,} samples" if differs("n") else "",
    ]
    return " · ".join(part for part in parts if part)


def _at(value: object, path: Sequence[str]) -> object:
    for name in path:
        value = getattr(value, name)
    return value
