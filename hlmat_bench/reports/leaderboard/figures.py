"""The plots of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence

from hlmat_bench.core.text import clean
from hlmat_bench.protocol.settings import digest
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.leaderboard.rows import PAGE, per_thousand
from hlmat_bench.reports.pages import plots
from hlmat_bench.reports.run.steps import KINDS, hue_of, word_of

MOST_CURVES = 5
"""How many curves a plot can show that a reader tells apart."""

CURVES = 12
"""From how many rows of a ranking a reader can choose these."""

_DOTS = 30
"""How many entries a plot of quality against cost shows, from the first."""


def curves(ranking: Ranking) -> plots.Figure | None:
    """Plot the mIoU after each click of the first rows and of the references; None where there is neither.

    Lines of the hue ``spare`` are hidden until a script shows them.
    """
    series = []
    for number, row in enumerate(ranking.rows[: min(CURVES, ranking.ranked)]):
        kind = f"s{number}" if number < MOST_CURVES else "spare"
        series.append(plots.Series(clean(row.entry.title, 60), _values(row.entry), kind, key=row.entry.id))
    for row in _bounds(ranking):
        kind = str(row.reference)
        series.append(plots.Series(clean(row.entry.title, 60), _values(row.entry), kind, key=row.entry.id))
    if not series:
        return None
    return plots.lines(
        series, title="mIoU after each click", x="clicks", y="mIoU", name=f"clicks-{ranking.key}", legend=True
    )


def entry_curve(ranking: Ranking, place: int) -> plots.Figure:
    """Plot an entry's mIoU after each click, with its neighbours in the ranking and the references.

    Only figures of the first `PAGE` entries of a ranking have files: a PDF takes longer than the rest of a page.
    """
    entry = ranking.rows[place].entry
    low, high = zip(*(point.miou_ci for point in entry.scores.curve), strict=True)
    series = [plots.Series(clean(entry.title, 30), _values(entry), "s0", low, high)]
    near = [n for n in (place - 1, place + 1) if 0 <= n < ranking.ranked and place < ranking.ranked]
    for number, other in enumerate(near, 1):
        row = ranking.rows[other]
        series.append(plots.Series(clean(row.entry.title, 30), _values(row.entry), f"s{number}"))
    for row in _bounds(ranking):
        if row.entry is not entry:
            series.append(plots.Series(clean(row.entry.title, 30), _values(row.entry), str(row.reference)))
    title = f"mIoU after each click, {clean(entry.title, 60)}"
    return plots.lines(series, title=title, x="clicks", y="mIoU", name=_name("entry", entry, place))


def cost(ranking: Ranking) -> plots.Figure | None:
    """Plot quality against cost of the first entries whose cost is known and not 0; None where there are none."""
    ranked = ranking.rows[: ranking.ranked]
    priced = [(row, per) for row in ranked if (per := per_thousand(row.entry))][:_DOTS]
    if not priced:
        return None
    dots = [_dot(row, per) for row, per in priced]
    oracle = ranking.oracle
    references = [] if oracle is None else [plots.Reference("oracle", oracle.entry.answer.miou)]
    return plots.scatter(
        dots,
        title="Quality against cost",
        x=plots.dollar_axis("US dollars per 1,000 samples (log)", [dot.x for dot in dots]),
        y="mIoU",
        references=references,
        name=f"cost-{ranking.key}",
    )


def _dot(row: Row, per: float) -> plots.Dot:
    entry = row.entry
    low, high = entry.answer.miou_ci
    name, title = clean(entry.title, 40), clean(entry.title, 60)
    return plots.Dot(name, per, entry.answer.miou, low, high, href=f"entries/{entry.id}.html", title=title)


def steps(entry: BoardEntry, place: int) -> plots.Figure | None:
    """Plot what each click did of the entry at a place of its ranking; None of an entry that does not say so."""
    counts = entry.scores.steps
    if not counts:
        return None
    by_word = {word_of(kind): found for kind, found in counts.items()}
    columns = [
        (str(t + 1), [plots.Segment(hue_of(word), word, by_word[word][t]) for word in KINDS if word in by_word])
        for t in range(entry.scores.budget)
    ]
    title = f"What each click did, {clean(entry.title, 60)}"
    return plots.stacked(
        columns, entry.scores.n, title=title, x="click", y="samples", name=_name("steps", entry, place)
    )


def _name(kind: str, entry: BoardEntry, place: int) -> str:
    """Return the name of an entry's figure, of small letters, digits and hyphens; empty where it has no files."""
    return f"{kind}-{digest(entry.id)[:12]}" if place < PAGE else ""


def _values(entry: BoardEntry) -> list[float | None]:
    return [point.miou for point in entry.scores.curve]


def _bounds(ranking: Ranking) -> Sequence[Row]:
    """Return the oracle and the floor, where they are entered."""
    return [row for row in (ranking.oracle, ranking.floor) if row is not None]
