"""A plot as marks on two axes: what `layout` draws for pages and files, and `pgfplots` writes for LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        name: what is measured, with its unit.
        low, high: values at its ends; low is at the left or at the bottom, and may be the larger one.
        ticks: (value, text) of what is written along it.
        grid: whether lines at the ticks go through the plot.
        log: whether distances are those of logarithms.
    """

    name: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]] = ()
    grid: bool = False
    log: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points.

    Attributes:
        points: (x, y) of its points.
        hue: name in `style.HUES`.
        name: what it is, for tooltips and the legend.
        label: name at its right end, cut where there is no room; empty: none.
        value: number behind the label, never cut.
        band: (x, low, high) of the band around it; empty: none.
        marks: whether its points have dots, whose tooltips tell the value.
        key: attribute ``data-key`` of the line on pages, for scripts; empty: none.
    """

    points: Sequence[Point]
    hue: str = "s0"
    name: str = ""
    label: str = ""
    value: str = ""
    band: Sequence[tuple[float, float, float]] = ()
    marks: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A straight line through the whole plot, such as a reference value, with its name at its end.

    Attributes:
        value: where it is.
        of: the axis that has the value: of y, the line is horizontal.
        hue: name in `style.HUES`.
        name: text at its end; empty: none.
        diagonal: whether it is the line x = y instead.
    """

    value: float
    of: Literal["x", "y"] = "y"
    hue: str = "oracle"
    name: str = ""
    diagonal: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle between two corners, such as a bar.

    Attributes:
        low, high: (x, y) of opposite corners.
        hue: name in `style.HUES`.
        text: number inside, left out where it does not fit.
        title: tooltip, and name of the link.
        href: address that it leads to; empty: none. Must be safe: the page's own, such as ``#kind=helped``.
        above: number above it.
    """

    low: Point
    high: Point
    hue: str = "s0"
    text: str = ""
    title: str = ""
    href: str = ""
    above: str = ""


@dataclass(frozen=True, slots=True)
class Whisker:
    """A dot with an interval.

    Attributes:
        at: (x, y) of the dot.
        low, high: ends of the interval on the axis ``along``; equal: the dot alone.
        along: the axis of the interval.
        hue: name in `style.HUES`.
        name: text beside the dot, left out where it would cover another; empty: none.
        title: tooltip, and name of the link.
        href: address that it leads to; empty: none. See `Box`.
        pale: whether it is drawn pale, for too few samples to judge.
    """

    at: Point
    low: float
    high: float
    along: Literal["x", "y"] = "x"
    hue: str = "s0"
    name: str = ""
    title: str = ""
    href: str = ""
    pale: bool = False


Mark = Line | Rule | Box | Whisker


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot; made by `plots.lines` and the other functions there.

    Attributes:
        title: description for screen readers, and title of the files.
        x, y: the axes.
        marks: what is drawn, the first on top.
        legend: (hue, name) of things that have no label in the plot.
        headers, rows: table of the numbers, as texts.
        name: name of its files without ending, such as ``quality-per-click``; empty: it has none.
        height: height of the area inside the axes, in pixels; None: by the number of rows, which are y's ticks.
        widths: widths of the drawing on wide and on narrow pages; files have the first.
    """

    title: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    legend: Sequence[tuple[str, str]] = ()
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    name: str = ""
    height: float | None = 240
    widths: tuple[int, int] = (540, 320)

    def named(self, name: str) -> Figure:
        """Return the figure with a name for its files: lower-case letters, digits and hyphens."""
        return replace(self, name=name)
