"""The figures of a comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.reports.compare import ratings
from hlmat_bench.reports.compare.pairs import MAIN, Pair
from hlmat_bench.reports.pages import plots
from hlmat_bench.reports.pages.plots.figure import Axis, Box, Figure, Line
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.reports.run.steps import OUTCOMES, outcome_word
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.intervals import bootstrap_difference
from hlmat_bench.scores.paired import ends_of, sample_values
from hlmat_bench.scores.slices import Slicing

#: A scatter has at most this many dots; of more samples every n-th is drawn.
MOST_DOTS = 400
#: A forest has at most this many rows on the page; the table below it has all.
MOST_ROWS = 12
_SOLVED = ("solved", "no object, seen", "rated")


def difference_curve(entrants: Sequence[Entrant], pair: Pair, name: str) -> Figure:
    """Return the paired difference of mIoU after each click, with its 95 % band."""
    last = max(entrants[n].budget for n in (pair.first, pair.second))
    ours, theirs = (_curves(entrants[n].samples, last) for n in (pair.first, pair.second))
    ones = np.ones_like(ours)
    ends = ends_of(bootstrap_difference((ours, ones), (theirs, ones), pair.images), pair.images)
    known = [each for each in ends if each is not None]
    a, b = map(short, pair.names)
    line = plots.Series(
        "difference",
        (ours.mean(axis=0) - theirs.mean(axis=0)).tolist(),
        low=[low for low, _ in known],
        high=[high for _, high in known],
    )
    title = f"Difference of mIoU after each click, {pair.names[0]} minus {pair.names[1]}"
    figure = plots.lines([line], title=title, x="clicks", y=f"{a} − {b}", name=name, signed=True)
    # The axis says what it is, so that the number alone is at the end of the curve, and fits a phone.
    marks = [replace(mark, label=mark.value, value="") if isinstance(mark, Line) else mark for mark in figure.marks]
    return replace(figure, marks=marks)


def _curves(samples: Sequence[EpisodeScores], last: int) -> NDArray[np.float64]:
    """Return the IoUs after 0 to ``last`` clicks, the last one carried forward, float64 (n, last + 1)."""
    return np.stack([np.pad(one.iou, (0, last + 1 - len(one.iou)), mode="edge") for one in samples])


def scatter(entrants: Sequence[Entrant], pair: Pair, ids: Sequence[str], name: str) -> Figure:
    """Return the IoU of every sample in one run over that in the other; of a filtering task, the errors per sample.

    Args:
        entrants: all runs.
        pair: two of them.
        ids: the samples' ids as the page names them.
        name: name of the files.
    """
    first, second = (entrants[n] for n in (pair.first, pair.second))
    a, b = map(short, pair.names)
    if pair.main.key == "filtering.mae":
        x, y = (ratings.sample_errors(one) / 100 for one in (first, second))
        what = "error"
    else:
        x, y = (np.array([sample.score for sample in one.samples]) for one in (first, second))
        what = "IoU"
    dots = [
        plots.Dot(
            "",
            100 * float(x[n]),
            float(y[n]),
            hue="s0" if abs(x[n] - y[n]) > 1e-9 else "floor",
            href=sample_link(pair, ids[n], len(entrants)),
            title=f"{ids[n]}: {pair.names[0]} {100 * x[n]:.1f}, {pair.names[1]} {100 * y[n]:.1f}",
        )
        for n in range(0, len(ids), step_of(len(ids)))
    ]
    title = f"{what[0].upper()}{what[1:]} of every sample, {pair.names[0]} and {pair.names[1]}"
    return plots.scatter(
        dots, title=title, x=plots.percent_axis(f"{what} of {a}"), y=f"{what} of {b}", diagonal="equal", name=name
    )


def step_of(count: int) -> int:
    """Return which samples a scatter has: every n-th."""
    return -(-count // MOST_DOTS)


def sample_link(pair: Pair, sample: str, runs: int) -> str:
    """Return the state of the page that shows a sample of two runs."""
    chosen = {"runs": f"{pair.first},{pair.second}"} if runs > 2 else {}
    return "#" + urlencode({**chosen, "sample": sample})


def slice_link(way: Slicing, code: int) -> str:
    """Return the state of the page that lists the samples of a part."""
    return "#" + urlencode({"slice": f"{way.name}: {way.values[code]}"})


def main_values(entrant: Entrant) -> NDArray[np.float64]:
    """Return the main score of every sample of a run, float64 (n,)."""
    return sample_values(MAIN[entrant.kind].key, entrant.samples, entrant.budget)[:, 0]


def slice_rows(pair: Pair, slicings: Sequence[Slicing]) -> list[tuple[Slicing, int, Pair]]:
    """Return the pair on each part of the samples, the largest difference first, parts with few images last."""
    found = [
        (way, code, pair.part(members))
        for way in slicings
        for code in range(len(way.values))
        if len(members := way.members(code))
    ]
    return sorted(found, key=lambda row: (row[2].too_few, -abs(row[2].lead.value)))


def forest(rows: Sequence[tuple[Slicing, int, Pair]], pair: Pair, name: str) -> Figure:
    """Return the difference on each part of the samples: left of 0 the first run is better, right of it the second."""
    scale = 1.0 if pair.main.unit == "share" else 0.01
    estimates = []
    for way, code, part in rows[:MOST_ROWS]:
        value = -scale * part.lead.value
        low, high = (-scale * end for end in reversed(part.lead.interval or (part.lead.value, part.lead.value)))
        href = slice_link(way, code)
        named = f"{way.name}: {way.values[code]}"
        estimates.append(plots.Estimate(named, value, low, high, href=href, pale=part.too_few))
    a, b = (short(each, 11) for each in pair.names)
    title = f"Difference on parts of the samples, {pair.names[0]} and {pair.names[1]}"
    return plots.forest(estimates, title=title, x=f"{a} better ← 0 → {b} better", name=name)


def failures(entrants: Sequence[Entrant], name: str) -> Figure | None:
    """Return a bar per run for each kind of failure, in per cent of the samples; None where nothing failed."""
    counts = [Counter(outcome_word(sample) for sample in one.samples) for one in entrants]
    kinds = [kind for kind in OUTCOMES if kind not in _SOLVED and any(count[kind] for count in counts)]
    if not kinds:
        return None
    total, runs = len(entrants[0].samples), len(entrants)
    top = max(100 * count[kind] / total for count in counts for kind in kinds)
    marks = []
    for row, kind in enumerate(kinds):
        for n, count in enumerate(counts):
            share, y = 100 * count[kind] / total, row - 0.4 + 0.8 * n / runs
            about = f"{kind}: {count[kind]:,} of {total:,} samples of {entrants[n].name}"
            href = "#" + urlencode({"outcome": kind})
            if share:
                box = (0.0, y), (share, y + 0.8 / runs)
                marks.append(Box(*box, f"s{min(n, 4)}", f"{share:.0f}", about, href))
    return Figure(
        "Kinds of failures in per cent of the samples, of " + ", ".join(one.name for one in entrants),
        Axis("samples (%)", 0, top * 1.06, [(value, f"{value:g}") for value in _ticks(top)], grid=True),
        Axis("", len(kinds) - 0.5, -0.5, [(float(row), kind) for row, kind in enumerate(kinds)]),
        marks,
        [(f"s{min(n, 4)}", short(one.name)) for n, one in enumerate(entrants)],
        ["outcome", *(one.name for one in entrants)],
        [[kind, *(f"{count[kind]:,} ({100 * count[kind] / total:.1f} %)" for count in counts)] for kind in kinds],
        name,
        height=float(len(kinds) * (19 * runs + 12)),
    )


def calibration(entrant: Entrant, name: str) -> Figure | None:
    """Return the true over the predicted IoU of a run that predicts it; None where no prediction could be read."""
    bins = [(each["predicted"], each["true"], each["n"]) for each in entrant.scores["filtering"]["calibration"]]
    return None if not bins else plots.calibration(bins, title=f"True over predicted IoU, {entrant.name}", name=name)


def short(name: str, room: int = 18) -> str:
    """Return a name cut to what axes have room for: without its middle, as names of runs often differ at the end."""
    return name if len(name) <= room else f"{name[: room // 2 - 1]}…{name[-room // 2 :]}"


def _ticks(top: float) -> list[float]:
    step = next(step for step in (1, 2, 5, 10, 20, 50) if top / step <= 6)
    return [float(value) for value in range(0, int(top) + 1, step)]
