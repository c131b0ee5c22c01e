"""Make figures: curves, bars, intervals, forests. Shares come in as fractions and are shown in per cent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hlmat_bench.reports.pages.plots.figure import Axis, Box, Figure, Line, Mark, Rule, Whisker

_MOST_LABELS = 6
#: Ticks of an axis of shares.
PERCENT = tuple((float(value), str(value)) for value in range(0, 101, 20))
_DASH = "–"


@dataclass(frozen=True, slots=True)
class Series:
    """A curve.

    Attributes:
        name: name at its end, or in the legend, and in the table.
        values: y at x = 0, 1, 2, ..., as fractions; None: no value.
        hue: ``s0`` to ``s4``, ``ceiling``, ``floor``, or ``spare`` for a line that only a script shows.
        low, high: limits of the band around the curve; empty: no band.
        key: attribute ``data-key`` of the line on pages, for scripts; empty: none.
    """

    name: str
    values: Sequence[float | None]
    hue: str = "s0"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram: text below it, its height, and its hue (``censored`` for what is only a lower bound)."""

    label: str
    value: float
    hue: str = "s0"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a stacked bar: a hue of `style.HUES`, its name, how many samples, and an optional link to them."""

    hue: str
    name: str
    count: int
    href: str = ""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval, as fractions.

    Attributes:
        name: name of its row, or beside its dot.
        value, low, high: the value and the ends of its interval; equal where there is none.
        hue: name in `style.HUES`.
        href: address that its dot leads to, such as ``#slice=size%3Asmall``; empty: none.
        pale: whether it is drawn pale, for too few images to judge.
    """

    name: str
    value: float
    low: float
    high: float
    hue: str = "s0"
    href: str = ""
    pale: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference line with its name at its end: a fraction."""

    name: str
    value: float
    hue: str = "oracle"


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x: str,
    y: str,
    name: str = "",
    signed: bool = False,
    legend: bool | None = None,
) -> Figure:
    """Return curves with bands over x = 0, 1, 2, ..., each named at its end with its last value.

    Args:
        series: the curves; the first is on top.
        title: description for screen readers.
        x, y: names of the axes.
        name: name of the files; empty: none.
        signed: whether the values are differences: the axis then fits them and has a line at 0.
        legend: whether names stand in a legend instead; None: where there are more than six, or spare lines.
    """
    last = max(max(len(line.values) for line in series) - 1, 1)
    ticks = [(float(t), str(t)) for t in range(last + 1)]
    listed = len(series) > _MOST_LABELS or any(line.hue == "spare" for line in series) if legend is None else legend
    ends = _signed(series) if signed else (0.0, 100.0)
    marks: list[Mark] = [_curve(line, signed=signed, label=not listed) for line in series]
    if signed:
        marks.append(Rule(0.0, "y", ""))
    return Figure(
        title,
        Axis(x, 0, last, ticks),
        Axis(with_unit(y, signed=signed), *ends, _ticks(*ends) if signed else PERCENT, grid=True),
        marks,
        [(line.hue, line.name) for line in series] if listed else (),
        [x, *(line.name for line in series)],
        [[str(t), *(_cell(line, t, signed=signed) for line in series)] for t in range(last + 1)],
        name,
    )


def _curve(line: Series, *, signed: bool, label: bool) -> Line:
    known = [(float(t), 100 * value) for t, value in enumerate(line.values) if value is not None]
    ends = zip(line.low, line.high, strict=True)
    band = [(float(t), 100 * low, 100 * high) for t, (low, high) in enumerate(ends)]
    text, value = (line.name, _shown(known[-1][1], signed=signed)) if label and known else ("", "")
    return Line(known, line.hue, line.name, text, value, band, line.hue.startswith("s"), line.key)


def _signed(series: Sequence[Series]) -> tuple[float, float]:
    values = [100 * value for line in series for value in (*line.values, *line.low, *line.high) if value is not None]
    return _bounds(values)


def _cell(line: Series, t: int, *, signed: bool) -> str:
    value = line.values[t] if t < len(line.values) else None
    if value is None:
        return _DASH
    interval = ""
    if t < len(line.low) and t < len(line.high):
        interval = f" [{_shown(100 * line.low[t], signed=signed)}, {_shown(100 * line.high[t], signed=signed)}]"
    return _shown(100 * value, signed=signed) + interval


def cumulative(reached: Mapping[str, Sequence[int | None]], budget: int, *, title: str, name: str = "") -> Figure:
    """Return the share of samples that have reached a quality after each click, a curve for each quality.

    Args:
        reached: by name of the quality, such as ``80 %``, the click at which each sample reaches it; None: never.
        budget: number of clicks.
        title: description for screen readers.
        name: name of the files; empty: none.
    """
    series = []
    for n, (quality, clicks) in enumerate(reached.items()):
        counts = Counter(clicks)
        solved = accumulate(counts[t] for t in range(budget + 1))
        series.append(Series(quality, [count / max(len(clicks), 1) for count in solved], f"s{n}"))
    return lines(series, title=title, x="clicks", y="samples", name=name)


def stacked(
    columns: Sequence[tuple[str, Sequence[Segment]]], total: int, *, title: str, x: str, y: str, name: str = ""
) -> Figure:
    """Return a stacked bar for each click: what each click did, as shares of all samples, and the counts as a table.

    Args:
        columns: (text below the bar, its segments from below).
        total: number of samples; what is missing to it is left blank.
        title: description for screen readers.
        x, y: names of the axes.
        name: name of the files; empty: none.
    """
    marks: list[Mark] = []
    names: dict[str, str] = {}
    for n, (label, segments) in enumerate(columns):
        height = 0.0
        for each in segments:
            share = 100 * each.count / max(total, 1)
            names.setdefault(each.hue, each.name)
            if each.count:
                low, high = (n + 0.1, height), (n + 0.9, height + share)
                about = f"{each.name}: {each.count:,} of {total:,} at {x} {label}"
                marks.append(Box(low, high, each.hue, f"{share:.0f}", about, each.href))
            height += share
    counts = [{each.hue: each.count for each in segments} for _, segments in columns]
    used = [hue for hue in names if any(count.get(hue) for count in counts)]
    return Figure(
        title,
        Axis(x, 0, max(len(columns), 1), [(n + 0.5, label) for n, (label, _) in enumerate(columns)]),
        Axis(with_unit(y), 0, 100, PERCENT, grid=True),
        marks,
        [(hue, names[hue]) for hue in used],
        [x, *(names[hue] for hue in used)],
        [
            [label, *(f"{count.get(hue, 0):,}" for hue in used)]
            for (label, _), count in zip(columns, counts, strict=True)
        ],
        name,
    )


def bars(groups: Sequence[Bar], *, title: str, x: str, y: str, name: str = "") -> Figure:
    """Return a histogram with a number above each bar; for the arguments see `lines`."""
    top = max([bar.value for bar in groups] + [1.0])
    marks = [
        Box((n + 0.14, 0), (n + 0.86, bar.value), bar.hue, above=f"{bar.value:,.0f}" if bar.value else "")
        for n, bar in enumerate(groups)
    ]
    return Figure(
        title,
        Axis(x, 0, max(len(groups), 1), [(n + 0.5, bar.label) for n, bar in enumerate(groups)]),
        Axis(y, 0, top * 1.12, [(0.0, "0"), (top, f"{top:,.0f}")], grid=True),
        marks,
        (),
        [x, y],
        [[bar.label, f"{bar.value:,.0f}"] for bar in groups],
        name,
        200,
    )


def forest(
    rows: Sequence[Estimate],
    *,
    title: str,
    x: str,
    name: str = "",
    bounds: tuple[float, float] | None = None,
) -> Figure:
    """Return differences with their intervals, a row each, names at the left, and a line at 0.

    Args:
        rows: the differences, fractions, from above.
        title: description for screen readers.
        x: name of the axis; the unit, points, is added.
        name: name of the files; empty: none.
        bounds: ends of the axis, fractions; None: chosen so that all intervals fit.
    """
    values = [100 * value for row in rows for value in (row.value, row.low, row.high)]
    ends = (100 * bounds[0], 100 * bounds[1]) if bounds else _bounds(values)
    return _in_rows(rows, Axis(f"{x} (points)", *ends, _ticks(*ends), grid=True), (), title, name, signed=True)


def intervals(
    rows: Sequence[Estimate],
    *,
    title: str,
    x: str,
    references: Sequence[Reference] = (),
    name: str = "",
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Return values with their intervals on a common axis, a row each, and named reference lines; see `forest`."""
    low, high = 100 * bounds[0], 100 * bounds[1]
    ticks = PERCENT if bounds == (0.0, 1.0) else _ticks(low, high)
    axis = Axis(with_unit(x), low, high, ticks, grid=True)
    return _in_rows(rows, axis, references, title, name, signed=False)


def _in_rows(
    rows: Sequence[Estimate], axis: Axis, references: Sequence[Reference], title: str, name: str, *, signed: bool
) -> Figure:
    marks: list[Mark] = [Rule(100 * each.value, "x", each.hue, each.name) for each in references]
    table = []
    for n, row in enumerate(rows):
        shown = [_shown(100 * value, signed=signed) for value in (row.value, row.low, row.high)]
        about = f"{row.name}: {shown[0]}" + (f" [{shown[1]}, {shown[2]}]" if row.low != row.high else "")
        ends = 100 * row.low, 100 * row.high
        marks.append(
            Whisker((100 * row.value, float(n)), *ends, "x", row.hue, "", about, row.href, row.pale),
        )
        table.append([row.name, *shown])
    names = Axis("", len(rows) - 0.5, -0.5, [(float(n), row.name) for n, row in enumerate(rows)])
    return Figure(title, axis, names, marks, (), ["", axis.name, "low", "high"], table, name, height=None)


def with_unit(name: str, *, signed: bool = False) -> str:
    """Return the name of an axis with its unit: per cent, or points of differences."""
    return f"{name} ({'points' if signed else '%'})"


def _shown(value: float, *, signed: bool) -> str:
    """Write per cents with one decimal; differences with their sign, and 0 without."""
    text = f"{value:+.1f}" if signed else f"{value:.1f}"
    return ("0.0" if float(text) == 0 else text).replace("-", "−")


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    """Return ends of an axis of differences that has room for all values and for 0."""
    low, high = min([*values, 0.0]), max([*values, 0.0])
    room = 0.08 * (high - low) or 5.0
    return low - room, high + room


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return about five round numbers between two numbers."""
    span = high - low
    step = next(
        digit * 10.0**power for power in range(-6, 7) for digit in (1, 2, 5) if span / (digit * 10.0**power) <= 6
    )
    values = [round(n * step, 9) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [(value, f"{value:g}".replace("-", "−")) for value in values]
