"""The sentences of a comparison, the same on its page and in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hlmat_bench.reports.compare.pairs import MAIN, Pair, ranked
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.scores.paired import VERDICT_IMAGES


class _Kind(NamedTuple):
    """The words for a kind of task.

    Attributes:
        better: begins a verdict, with the names of both runs, the difference and its interval.
        leads: tells a difference that is not significant.
        ahead, behind: what a run is on a sample, or on a mask.
        items: what is counted.
    """

    better: str
    leads: str
    ahead: str
    behind: str
    items: str


_KINDS = {
    "segmentation": _Kind(
        "{a} is better than {b} by {by} points {ci}", "{a} is ahead by {by} points {ci}", "ahead", "behind", "samples"
    ),
    "refinement": _Kind(
        "{a} is better than {b}: its clicks gain {by} points more {ci}",
        "the clicks of {a} gain {by} points more {ci}",
        "ahead",
        "behind",
        "samples",
    ),
    "filtering": _Kind(
        "{a} is better than {b}: its mean absolute error is {by} points lower {ci}",
        "the mean absolute error of {a} is {by} points lower {ci}",
        "nearer",
        "farther",
        "masks",
    ),
}


def title(entrants: Sequence[Entrant]) -> str:
    """Return the title of a comparison: ``A vs. B vs. C``."""
    return " vs. ".join(entrant.name for entrant in entrants)


def verdict(pair: Pair) -> str:
    """Say which of two runs is better, by how much and on how many samples; or that this is open, and why."""
    words = _KINDS[_kind(pair)]
    leader = pair if pair.lead.value >= 0 else pair.swapped
    a, b = leader.names
    on = f"on {len(pair.leads):,} {words.items}"
    if pair.better is not None:
        said = words.better
    elif not leader.lead.value:
        said = "{a} and {b} do not differ"
    elif pair.too_few:
        said = words.leads[0].upper() + words.leads[1:]
    else:
        said = "The difference between {a} and {b} is not significant: " + words.leads
    ci = "" if leader.lead.interval is None else difference(leader).partition(" ")[2]
    by = pair.main.shown(leader.lead.value)
    told = f"{said.format(a=a, b=b, by=by, ci=ci).rstrip()} {on}; {counted(leader)}."
    few = "a single image" if pair.image_count == 1 else f"{pair.image_count} images"
    return f"No verdict on {few}, as {VERDICT_IMAGES} are needed. {told}" if pair.too_few else told


def difference(pair: Pair) -> str:
    """Write how much better the first run is, with the interval."""
    return pair.main.with_interval(pair.lead)


def counted(pair: Pair) -> str:
    """Say on how many samples the first run is ahead, behind and equal: ``ahead on 63, behind on 17``."""
    words = _KINDS[_kind(pair)]
    ahead, equal, behind = pair.counts
    said = f"{words.ahead} on {ahead:,}, {words.behind} on {behind:,}"
    return f"{said}, equal on {equal:,}" if equal else said


def short(pair: Pair) -> str:
    """Return the verdict of a table's cell."""
    if pair.better is not None:
        return f"{pair.names[pair.better]} is better"
    return f"under {VERDICT_IMAGES} images" if pair.too_few else "not significant"


def summary(entrants: Sequence[Entrant], found: Sequence[Pair]) -> str:
    """Say which of the runs is best; of two runs, the verdict."""
    if len(found) == 1:
        return verdict(found[0])
    order = ranked(entrants)
    best = entrants[order[0]]
    value = best.read(MAIN[best.kind])
    own = [pair if pair.first == order[0] else pair.swapped for pair in found if order[0] in (pair.first, pair.second)]
    beaten = [pair.names[1] for pair in own if pair.better == 0]
    level = [pair.names[1] for pair in own if pair.better is None]
    main = MAIN[best.kind]
    most = "highest" if main.higher_is_better else "lowest"
    said = [f"{best.name} has the {most} {main.title}, {main.with_interval(value)}."]
    if own[0].too_few:
        return f"{said[0]} No verdict: a verdict needs samples on {VERDICT_IMAGES} images."
    if beaten:
        said.append(f"It is significantly better than {listed(beaten)}.")
    if level:
        said.append(f"Its difference to {listed(level)} is not significant.")
    return " ".join(said)


def listed(names: Sequence[str]) -> str:
    """Join names: ``A, B and C``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _kind(pair: Pair) -> str:
    return next(kind for kind, main in MAIN.items() if main is pair.main)
