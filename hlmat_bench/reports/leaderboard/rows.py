"""The rows of a ranking as a page shows them, and as the data from which a script shows further ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.pages.templates import in_percent, number
from hlmat_bench.scores.registry import Score, ScoreValue, columns

PAGE = 100
"""How many rows a page has."""

SYMBOLS = {"schema": "○", "recomputed": "◔", "replayed": "◑", "rerun": "●"}
"""How full the circle of each level is."""

STRATEGIES = {
    "greedy": "single pass",
    "box-only": "box only",
    "prm": "single pass, stops itself",
    "tree": "tree search",
}
"""What a reader calls the strategies of hlmat-bench."""

_KNOWS = {"ceiling": "knows the ground truth", "floor": "does not see the image"}


_FIRST_LEFT_OUT = ("ciou", "biou", "noc80", "strategy")


class Column(NamedTuple):
    """A column of the table after the interval.

    Attributes:
        key: name for sorting.
        title: its header.
        meaning: its definition.
        ascending: whether it is sorted from the smallest value first.
        number: whether its values are numbers.
    """

    key: str
    title: str
    meaning: str
    ascending: bool = False
    number: bool = True

    @property
    def classes(self) -> str:
        """Return the classes of its cells; narrow pages leave out ``more2``, narrower ones also ``more``."""
        return f"more{' more2' if self.key in _FIRST_LEFT_OUT else ''}{' number' if self.number else ''}"


class Cell(NamedTuple):
    """A cell: its text, small text below it, and the value that it is sorted by; an empty one is last."""

    text: str
    small: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class RowView:
    """A row of the table.

    Attributes:
        id: of the entry.
        kind: class of the row: ``ranked``, ``tie`` (has the range of ranks of the row above), ``reference`` or
            ``unranked``.
        rank, title, sub: texts of the first two cells.
        miou, interval: per cents as text.
        ends: (low, value, high) of the interval, in per cent of the axis.
        cells: the other cells, as `columns_of` names them.
        weights: ``open`` or ``closed``.
    """

    id: str
    kind: str
    rank: str
    title: str
    sub: str
    miou: Cell
    interval: str
    ends: tuple[float, float, float]
    cells: Sequence[Cell]
    weights: str

    def data(self) -> list[Any]:
        """Return the row as JSON values, for the script of the page."""
        return [
            self.id,
            self.kind,
            self.rank,
            self.title,
            self.sub,
            self.weights,
            [self.miou.text, self.interval, self.miou.value],
            list(self.ends),
            [list(cell) for cell in self.cells],
        ]


def brackets(low: float | None, high: float | None) -> str:
    """Write an interval of shares as ``[61.5, 75.6]``; nothing where there is none."""
    return "" if low is None or high is None else f"[{in_percent(low)}, {in_percent(high)}]"


def dollars(per: float | None) -> str:
    """Write US dollars: with cents, small amounts with two digits that are not 0, and None as a dash."""
    if per is None:
        return "–"
    return f"${per:,.2f}" if per >= 0.1 or not per else f"${per:.2g}"


def per_thousand(entry: BoardEntry) -> float | None:
    """Return the US dollars that 1,000 samples cost; None where they are unknown."""
    cost = entry.scores.cost.dollars
    return None if cost is None else 1000 * cost / entry.scores.n


def strategy(entry: BoardEntry) -> str:
    """Return how the clicks were chosen, in a few words."""
    name = entry.manifest.protocol["strategy"]
    return STRATEGIES.get(name, clean(name, 40))


def rank_text(row: Row) -> str:
    """Write the rank, ``2–4``, or why there is none."""
    if row.repeats is not None:
        return "same run"
    if row.rank is None:
        return row.reference or ""
    best, worst = row.rank
    return f"{best}" if best == worst else f"{best}–{worst}"


def scores_of(rows: Iterable[Row], kind: str) -> list[Score]:
    """Return the scores that a table of rows shows."""
    return columns("leaderboard", kind, [row.entry.scores.model_dump() for row in rows])


RANK = (
    "A range of places: from one more than how many entries are significantly better, to how many are not "
    "significantly worse. A rank such as 2–4 means the entry cannot be told apart from others in these places."
)


def definitions(scores: Sequence[Score]) -> dict[str, str]:
    """Return the definitions of the columns of tables, by their titles."""
    interval = {"95 % interval": "Of the mIoU: percentile bootstrap with 2,000 draws of whole images, seeded."}
    named = {column.title: column.meaning for column in columns_of(scores)}
    return {"Rank": RANK, scores[0].title: scores[0].definition, **interval, **named}


def columns_of(scores: Sequence[Score]) -> list[Column]:
    """Return the columns of the table after the interval."""
    first = Column(
        "oracle",
        "of oracle",
        "How far the mIoU is on the way from blind clicks on the centre (0 %) to the oracle (100 %), which clicks the "
        "middle of the largest error.",
    )
    own = [Column(_key(each), _title(each), _meaning(each), not each.higher_is_better) for each in scores]
    price = Column(
        "dollars",
        "$ / 1,000",
        "US dollars for 1,000 samples: what all replies of the run cost, divided by its samples. A dash: unknown.",
        ascending=True,
    )
    how = Column(
        "strategy",
        "Strategy",
        "How the next click is chosen: in a single pass, one reply per click, or by a search that tries several.",
        ascending=True,
        number=False,
    )
    level = Column(
        "level",
        "Verified",
        "What those who run this leaderboard have checked; see the page on the method.",
        number=False,
    )
    return [first, *own[1:], price, how, level]


def _key(score: Score) -> str:
    return score.key.replace("@", "")


def _title(score: Score) -> str:
    if score.path[-1] == "mean":  # a number of clicks
        return f"Clicks to {score.path[-2][2:]} %"
    return score.short or score.title


def _meaning(score: Score) -> str:
    if score.path[-1] != "mean":
        return score.definition
    return (
        f"How many clicks a sample needs until its IoU is at least {score.path[-2][2:]} %, on average. A sample that "
        "never gets there counts as the full number of clicks; how many there are is always shown."
    )


def row_views(ranking: Ranking, scores: Sequence[Score]) -> list[RowView]:
    """Return all rows of a ranking, in its order."""
    found = []
    above: tuple[int, int] | None = None
    for row in ranking.rows:
        found.append(_view(ranking, row, scores, tie=row.rank is not None and row.rank == above))
        above = row.rank
    return found


def _view(ranking: Ranking, row: Row, scores: Sequence[Score], *, tie: bool) -> RowView:
    entry = row.entry
    answer = entry.answer
    low, high = _interval(entry)
    failed = entry.scores.failures
    miou = Cell(
        in_percent(answer.miou),
        f"{number(100 * failed.share, 1)} % failed" if failed.episodes else "",
        f"{answer.miou:.6g}",
    )
    ends = answer.miou if low is None else low, answer.miou, answer.miou if high is None else high
    return RowView(
        entry.id,
        "tie" if tie else "ranked" if row.rank else "reference" if row.reference in _KNOWS else "unranked",
        rank_text(row),
        clean(entry.title, 60),
        _below(row),
        miou,
        brackets(low, high),
        (round(100 * ends[0], 2), round(100 * ends[1], 2), round(100 * ends[2], 2)),
        _cells(ranking, row, scores),
        entry.weights,
    )


def _interval(entry: BoardEntry) -> tuple[float | None, float | None]:
    """Return the interval of the mIoU; none of a single image, of which it says nothing."""
    low, high = entry.answer.miou_ci
    return (low, high) if entry.scores.n_images > 1 else (None, None)


def _below(row: Row) -> str:
    if row.repeats is not None:
        return f"the same run as {clean(row.repeats.title, 60)}, which was submitted before"
    if row.reference in _KNOWS:
        return _KNOWS[row.reference]
    entry = row.entry
    return f"{clean(entry.submitter, 60)} · {entry.weights} weights · {entry.submitted}"


def _cells(ranking: Ranking, row: Row, scores: Sequence[Score]) -> list[Cell]:
    entry = row.entry
    share = ranking.share_of_oracle(entry.answer.miou)
    values, rule = entry.scores.model_dump(), entry.manifest.selection
    own = [_score_cell(each, each.read(values, rule), each.missed(values)) for each in scores[1:]]
    price = per_thousand(entry)
    how = Cell(strategy(entry), "answers with the mask it rates highest" if rule == "self" else "", strategy(entry))
    level = row.listed.level
    return [
        Cell("–" if share is None else f"{number(100 * share, 0)} %", "", "" if share is None else f"{share:.6g}"),
        *own,
        Cell(dollars(price), "", "" if price is None else f"{price:.6g}"),
        how if row.reference not in _KNOWS else Cell(""),
        Cell(f"{SYMBOLS[level]} {level}", "", str(list(SYMBOLS).index(level))),
    ]


def _score_cell(score: Score, value: ScoreValue | None, missed: int | None) -> Cell:
    if value is None:
        return Cell("–")
    return Cell(score.shown(value.value), "" if missed is None else f"{missed:,} never", f"{value.value:.6g}")
