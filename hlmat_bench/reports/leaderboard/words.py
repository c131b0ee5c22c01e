"""What pages of a leaderboard say in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from hlmat_bench.core.text import clean
from hlmat_bench.reports.leaderboard.paired import Difference
from hlmat_bench.reports.leaderboard.ranking import Ranking, Row
from hlmat_bench.reports.leaderboard.rows import brackets, rank_text
from hlmat_bench.reports.pages.templates import in_percent

_MOST_NAMED = 3


def points(value: float) -> str:
    """Write a difference of shares in points of per cent with its sign, ``+12.9``."""
    text = f"{100 * value:+.1f}"
    return ("0.0" if float(text) == 0 else text).replace("-", "−")


def point_range(difference: Difference) -> str:
    """Write the interval of a difference in points, ``[6.2, 20.4]``; nothing where there is none."""
    return brackets(difference.low, difference.high)


def lead(ranking: Ranking) -> tuple[list[Row], str]:
    """Return the entries that lead, at most three, and what is said of them after their names."""
    leaders = ranking.leaders
    if not leaders:
        return [], ""
    best = leaders[0].entry.answer.miou
    share = ranking.share_of_oracle(best)
    way = "" if share is None else f", {round(100 * share)} % of the way from blind clicks to the oracle"
    if ranking.ranked == 1:
        return leaders, f" is the only ranked entry, with {in_percent(best)} % mIoU{way}."
    if not ranking.decisive:
        return leaders[:1], f" has the highest mIoU, {in_percent(best)} %{way}; {_too_few(ranking)}."
    if len(leaders) == 1:
        return leaders, f" leads with {in_percent(best)} % mIoU{way}.{_ties(ranking)}"
    others = len(leaders) - _MOST_NAMED
    more = f" and {others} more" if others > 0 else ""
    last = leaders[-1].entry.answer.miou
    return leaders[:_MOST_NAMED], (
        f"{more} lead and cannot be told apart: {in_percent(best)} to {in_percent(last)} % mIoU{way}."
    )


def _too_few(ranking: Ranking) -> str:
    return f"{ranking.n_images} images are too few to say which entry is better"


def _ties(ranking: Ranking) -> str:
    """Say which place after the first cannot be told from others."""
    second = next((row.rank for row in ranking.rows if row.rank is not None and row.rank[0] == 2), None)
    if second is None or second[0] == second[1]:
        return ""
    return f" Places {second[0]} to {second[1]} cannot be told apart."


def verdict(ranking: Ranking, place: int) -> tuple[str, str]:
    """Return what the page of an entry says first: its mIoU with the interval, and its place among the others."""
    row = ranking.rows[place]
    low, high = row.entry.answer.miou_ci if ranking.n_images > 1 else (None, None)
    share = ranking.share_of_oracle(row.entry.answer.miou) if row.reference is None else None
    way = "" if share is None else f", {round(100 * share)} % of the way from blind clicks to the oracle"
    return f"mIoU {in_percent(row.entry.answer.miou)} %", f" {brackets(low, high)}{way}. {_standing(ranking, place)}"


def _standing(ranking: Ranking, place: int) -> str:
    row = ranking.rows[place]
    if row.repeats is not None:
        return f"Not ranked: it is the same run as {clean(row.repeats.title, 60)}, which was submitted before."
    if row.rank is None:
        return f"Not ranked: {'a reference' if row.reference in ('ceiling', 'floor') else 'it'} {_why(row)}."
    said = [f"Rank {rank_text(row)} of {ranking.ranked}", *_compared(ranking, place)]
    return f"{'; '.join(said)}."


def _why(row: Row) -> str:
    return {"ceiling": "that knows the ground truth", "floor": "that does not see the image"}.get(
        str(row.reference), str(row.reference)
    )


def _compared(ranking: Ranking, place: int) -> list[str]:
    """Say how far the entry is from the first, or from the second if it is the first, and what it is close to."""
    if ranking.ranked < 2:
        return []
    other = 1 if place == 0 else 0
    found = ranking.difference(place, other)
    name = clean(ranking.rows[other].entry.title, 60)
    if not ranking.decisive:
        return [_too_few(ranking)]
    interval = f" {brackets(*sorted((abs(found.low or 0), abs(found.high or 0))))}" if found.sign else ""
    if found.sign:
        far = f"{in_percent(abs(found.value))} points {'ahead of' if found.sign > 0 else 'behind'} {name}{interval}"
    else:
        far = f"not separable from {name}"
    return [far, *_near(ranking, place, other)]


def _near(ranking: Ranking, place: int, said: int) -> list[str]:
    """Name the neighbours that cannot be told from the entry, beside the one that was named."""
    neighbours = [n for n in (place - 1, place + 1) if 0 <= n < ranking.ranked and n != said]
    names = [clean(ranking.rows[n].entry.title, 60) for n in neighbours if ranking.difference(place, n).sign == 0]
    return [f"not separable from {' and '.join(names)}"] if names else []


def listed(names: Sequence[str]) -> str:
    """Write names as ``A``, ``A and B`` or ``A, B and C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
