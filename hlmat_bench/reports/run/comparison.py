"""What the page of a comparison shows: paired differences, and who wins where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from hlmat_bench.reports.pages.plots import Estimate, Figure, forest
from hlmat_bench.reports.pages.templates import number
from hlmat_bench.reports.run.loaded import Entrant, differing_settings
from hlmat_bench.reports.run.views import with_range
from hlmat_bench.scores import miou
from hlmat_bench.scores.registry import STANDARD, columns, further
from hlmat_bench.scores.slices import Slicing, differences

_SHORT = 16


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on the same samples.

    Attributes:
        first, second: their numbers in the report.
        names: their names.
        found: first minus second, as `hlmat_bench.scores.slices.differences` gives it.
        warnings: what besides the model differs between them.
    """

    first: int
    second: int
    names: tuple[str, str]
    found: Mapping[str, Any]
    warnings: Sequence[str]

    @property
    def verdict(self) -> str:
        """Say which one has the higher mIoU, where the interval says so."""
        if not separated(self.found["miou_ci"]):
            return "not separated"
        return f"{self.names[0 if self.found['miou'] > 0 else 1]} is better"


def separated(ends: Sequence[float] | None) -> bool:
    """Tell whether the interval of a difference does not hold 0; of a single image there is none."""
    return ends is not None and not ends[0] <= 0 <= ends[1]


def pairs(entrants: Sequence[Entrant]) -> list[Pair]:
    """Compare every two runs."""
    return [_pair(entrants, a, b) for a, b in combinations(range(len(entrants)), 2)]


def pair_table(found: Sequence[Pair]) -> tuple[list[str], list[list[str]]]:
    """Return the paired differences: headers and rows."""
    standard = (("miou", "miou"), ("ciou", "ciou"), ("noc", "noc@85"))
    shown = [(name, STANDARD[key].title, STANDARD[key].digits) for name, key in standard]
    shown += [(name, STANDARD[f"no_target.{name}"].title, 3) for name in ("n_acc", "t_acc") if name in found[0].found]
    shown += [(each.key, each.title, each.digits) for each in further().values() if each.key in found[0].found]
    titles = [title for _, title, _ in shown]
    headers = ["first − second", "verdict", *titles, "first better on", "equal on", "second better on"]
    rows = []
    for pair in found:
        each = pair.found
        equal = each["n"] - each["wins"] - each["losses"]
        rows.append(
            [
                f"{pair.names[0]} − {pair.names[1]}",
                pair.verdict,
                *(
                    "–" if each[key] is None else with_range(each[key], each[f"{key}_ci"], digits)
                    for key, _, digits in shown
                ),
                *(f"{count:,}" for count in (each["wins"], equal, each["losses"])),
            ]
        )
    return headers, rows


def difference_plot(found: Sequence[Pair]) -> Figure:
    """Plot the differences of mIoU with their intervals."""
    rows = [Estimate(f"{_short(pair.names[0])} − {_short(pair.names[1])}", *_ends(pair.found)) for pair in found]
    return forest(rows, title="Paired differences of mIoU with 95 % intervals", x="difference of mIoU")


def head_rows(entrants: Sequence[Entrant]) -> tuple[list[str], list[list[str]]]:
    """Return the scores of the runs: headers and rows."""
    headers, rows = ["run", "segmenter"], [[one.name, str(one.manifest["segmenter"]["name"])] for one in entrants]
    for score in columns("comparison", entrants[0].kind, (one.scores for one in entrants)):
        missed = [score.missed(one.scores) for one in entrants]
        counted = None not in missed
        headers += [score.title, "missed"] if counted else [score.title]
        for row, entrant, count in zip(rows, entrants, missed, strict=True):
            value = entrant.read(score)
            # NoC is shown with its misses in place of its interval.
            ends = None if value is None or counted else value.interval
            row.append("–" if value is None else with_range(value.value, ends, score.digits))
            row += [f"{count:,}"] if counted else []
    return headers, rows


def slice_tables(entrants: Sequence[Entrant], slicings: Sequence[Slicing]) -> list[dict[str, Any]]:
    """Return, per part of the samples, every run's mIoU and the difference of the first to the others."""
    first, *others = [entrant.name for entrant in entrants]
    headers = [f"mIoU {first}"] + [text for name in others for text in (f"mIoU {name}", f"{first} − {name}")]
    return [
        {
            "name": way.name,
            "meaning": way.meaning,
            "headers": [way.name, "samples", *headers, "best here"],
            "rows": [_slice_row(entrants, way, code) for code in range(len(way.values))],
        }
        for way in slicings
    ]


def _pair(entrants: Sequence[Entrant], a: int, b: int) -> Pair:
    first, second = entrants[a], entrants[b]
    everything = np.arange(len(first.samples))
    budget = max(first.budget, second.budget)
    found = differences(first.samples, second.samples, everything, budget)
    return Pair(a, b, (first.name, second.name), found, differing_settings(first, second))


def _slice_row(entrants: Sequence[Entrant], way: Slicing, code: int) -> list[str]:
    members = way.members(code)
    budget = max(entrant.budget for entrant in entrants)
    scores = [miou(entrant.samples[n].score for n in members) for entrant in entrants]
    cells = [number(scores[0])]
    apart = True
    for entrant, found in zip(entrants[1:], scores[1:], strict=True):
        gap = differences(entrants[0].samples, entrant.samples, members, budget)
        cells += [number(found), with_range(gap["miou"], gap["miou_ci"], 3)]
        apart = apart and separated(gap["miou_ci"])
    best = max(range(len(entrants)), key=scores.__getitem__)
    return [
        way.values[code],
        f"{len(members):,}",
        *cells,
        entrants[best].name if apart else "not separated",
    ]


def _ends(found: Mapping[str, Any]) -> tuple[float, float, float]:
    low, high = found["miou_ci"] or (found["miou"], found["miou"])
    return found["miou"], low, high


def _short(name: str) -> str:
    return name if len(name) <= _SHORT else name[: _SHORT - 1] + "…"
