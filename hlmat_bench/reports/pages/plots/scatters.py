"""Make figures of points: scatter plots and calibration. Shares come in as fractions and are shown in per cent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hlmat_bench.reports.pages.plots.figure import Axis, Figure, Line, Mark, Rule, Whisker
from hlmat_bench.reports.pages.plots.make import PERCENT, Reference, with_unit


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a scatter plot.

    Attributes:
        name: name beside it, left out where it would cover another; empty: none.
        x: value on the x axis, in the axis' own unit.
        y: value on the y axis, a fraction.
        low, high: ends of the interval of y, fractions; None: none.
        hue, href: see `Estimate`.
        title: tooltip, and name of the link; empty: the name.
    """

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hue: str = "s0"
    href: str = ""
    title: str = ""


def scatter(
    dots: Sequence[Dot],
    *,
    title: str,
    x: Axis,
    y: str,
    references: Sequence[Reference] = (),
    diagonal: str = "",
    name: str = "",
) -> Figure:
    """Return points with optional intervals of y, which is a share.

    Args:
        dots: the points; names are placed in this order.
        title: description for screen readers.
        x: the x axis, such as `PERCENT_AXIS` or what `dollar_axis` returns.
        y: name of the y axis.
        references: horizontal lines.
        diagonal: name of the line x = y, of an x axis in per cent; empty: none.
        name: name of the files; empty: none.
    """
    marks: list[Mark] = [Rule(100 * each.value, "y", each.hue, each.name) for each in references]
    if diagonal:
        marks.append(Rule(0.0, "y", "floor", diagonal, diagonal=True))
    rows = []
    for dot in dots:
        low, high = (dot.y if end is None else end for end in (dot.low, dot.high))
        ends = 100 * low, 100 * high
        marks.append(Whisker((dot.x, 100 * dot.y), *ends, "y", dot.hue, dot.name, dot.title, dot.href))
        interval = f" [{100 * low:.1f}, {100 * high:.1f}]" if low != high else ""
        rows.append([dot.name or dot.title, f"{dot.x:,.2f}", f"{100 * dot.y:.1f}{interval}"])
    axis = Axis(with_unit(y), 0, 100, PERCENT, grid=True)
    return Figure(title, x, axis, marks, (), ["", x.name, axis.name], rows, name, 300)


def percent_axis(name: str) -> Axis:
    """Return an x axis from 0 to 100 per cent; its values are per cents."""
    return Axis(f"{name} (%)", 0, 100, PERCENT)


def dollar_axis(name: str, values: Iterable[float]) -> Axis:
    """Return a logarithmic x axis for positive amounts of dollars."""
    found = [value for value in values if value > 0] or [1.0]
    low, high = min(found) / 1.6, max(found) * 1.6
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    amounts = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return Axis(name, low, high, [(value, f"${value:g}") for value in amounts if low <= value <= high], log=True)


def calibration(
    bins: Sequence[tuple[float, float, int]],
    *,
    title: str,
    x: str = "predicted IoU",
    y: str = "true IoU",
    name: str = "",
) -> Figure:
    """Return the mean truth over the mean prediction, with the number of predictions beside each dot.

    Args:
        bins: (mean prediction, mean truth, number of predictions) of each bin; the first two are fractions.
        title, x, y, name: see `lines`.
    """
    dots = [Dot(f"{count:,}", 100 * predicted, true) for predicted, true, count in bins if count]
    figure = scatter(dots, title=title, x=percent_axis(x), y=y, diagonal="calibrated", name=name)
    rows = [[f"{100 * predicted:.1f}", f"{100 * true:.1f}", f"{count:,}"] for predicted, true, count in bins if count]
    points = [(100 * predicted, 100 * true) for predicted, true, count in bins if count]
    return Figure(
        title,
        figure.x,
        figure.y,
        [*figure.marks, Line(points)],
        (),
        [figure.x.name, figure.y.name, "n"],
        rows,
        name,
        300,
    )
