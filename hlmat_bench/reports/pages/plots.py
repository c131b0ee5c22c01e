"""Draw plots as SVG, which pages show without JavaScript.

The project draws them itself because of the pages' content security policy (`templates.POLICY`): it forbids the inline
styles and scripts that plotting libraries write into their SVG. Elements here have only attributes and classes; the
style sheet gives the classes their colours, light and dark. Lines differ in dashes and markers as well as in colour,
and every plot comes with a table of its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

WIDTH, HEIGHT = 460, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 40
_LABEL_APART = 13

#: The dashes of lines by class; lines of other classes are solid.
_DASHES = {"s1": "7 4", "s2": "2 3", "s3": "9 3 2 3", "s4": "4 2", "ceiling": "6 3", "floor": "2 3"}


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a plot.

    Attributes:
        name: name in the legend and the table.
        values: y at x = 0, 1, 2, ...; None: no value.
        kind: class of the line: ``s0`` to ``s4``, with markers and a legend; or ``ceiling`` or ``floor``, with a label.
        low, high: limits of the band around the line; empty: no band.
        key: attribute ``data-key`` of the line, for scripts; empty: none.
    """

    name: str
    values: Sequence[float | None]
    kind: str = "s0"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    key: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a histogram.

    Attributes:
        label: text below the bar.
        value: height of the bar.
        kind: class of the bar: ``s0``, or ``censored`` for values that are only lower bounds.
    """

    label: str
    value: float
    kind: str = "s0"


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, for the macro ``plot`` of the templates.

    Attributes:
        svg: the drawing.
        legend: sample and name of each line; empty if no legend is needed.
        headers, rows: table of the numbers, as texts.
    """

    svg: Markup
    legend: Sequence[tuple[Markup, str]]
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def lines(series: Sequence[Series], *, title: str, x: str, y: str) -> Plot:
    """Draw lines with bands over x = 0, 1, 2, ..., with y from 0 to 1.

    Args:
        series: the lines; the first is drawn on top.
        title: description of the plot for screen readers.
        x, y: names of the axes.
    """
    last = max(len(line.values) for line in series) - 1
    axes = _Axes(max(last, 1), 1.0)
    svg = _svg(title)
    axes.draw(svg, x, y, _every(range(last + 1)), [(step / 5, f"{step / 5:.1f}") for step in range(6)])
    for line in reversed(series):
        _line(svg, axes, line)
    _label_references(svg, axes, [line for line in series if not line.kind.startswith("s")])
    headers = [x, *(line.name for line in series)]
    rows = [[str(t), *(_cell(line, t) for line in series)] for t in range(last + 1)]
    legend = [(_swatch(line.kind), line.name) for line in series if line.kind.startswith("s")]
    return Plot(_markup(svg), legend, headers, rows)


def bars(groups: Sequence[Bar], *, title: str, x: str, y: str) -> Plot:
    """Draw a histogram with a number above each bar; for the arguments see `lines`."""
    top = max([bar.value for bar in groups] + [1.0])
    axes = _Axes(float(len(groups)), top * 1.12)
    svg = _svg(title)
    apart, last = -(-len(groups) // 12), len(groups) - 1  # at most 12 labels, including the last one
    ticks = [(n + 0.5, bar.label) for n, bar in enumerate(groups) if (last - n) % apart == 0]
    axes.draw(svg, x, y, ticks, [(0.0, "0"), (top, f"{top:,.0f}")])
    for n, bar in enumerate(groups):
        left, right, above = axes.x(n + 0.14), axes.x(n + 0.86), axes.y(bar.value)
        place = {"x": _px(left), "width": _px(right - left), "y": _px(above), "height": _px(axes.y(0) - above)}
        _add(svg, "rect", {"class": f"bar {bar.kind}", **place})
        if bar.value:
            _text(svg, f"{bar.value:,.0f}", (left + right) / 2, above - 4, "middle", "value")
    rows = [[bar.label, f"{bar.value:,.0f}"] for bar in groups]
    return Plot(_markup(svg), [], [x, y], rows)


def forest(
    rows: Sequence[tuple[str, float, float, float]], *, title: str, x: str, bounds: tuple[float, float] | None = None
) -> Plot:
    """Draw values with intervals below their names, and a line at 0 if the axis includes it.

    Args:
        rows: (name, value, low, high) of each value.
        title: description of the plot for screen readers.
        x: name of the axis.
        bounds: ends of the axis; None: chosen so that all intervals fit.
    """
    low, high = bounds or _bounds(rows)
    left, line = 20, 42
    height = line * len(rows) + 44
    svg = _svg(title, height)
    scale = (WIDTH - left - 14) / (high - low)

    def place(value: float) -> float:
        return left + (min(max(value, low), high) - low) * scale

    for tick in _nice(low, high):
        kind = "zero" if tick == 0 and low < 0 else "grid"
        _add(svg, "line", {"class": kind, **_between(place(tick), 6, place(tick), height - 36)})
        _text(svg, f"{tick:g}".replace("-", "−"), place(tick), height - 20, "middle", "tick")
    for n, (name, value, below, above) in enumerate(rows):
        y = 34 + n * line
        _text(svg, name if len(name) < 60 else name[:58] + "…", left, y - 14, "start", "tick")
        _add(svg, "line", {"class": "whisker", **_between(place(below), y, place(above), y)})
        _add(svg, "circle", {"class": "dot s0", "cx": _px(place(value)), "cy": _px(y), "r": "4"})
    _text(svg, x, left + (WIDTH - left) / 2, height - 4, "middle", "axis")
    table = [[name, f"{value:.3f}", f"{below:.3f}", f"{above:.3f}"] for name, value, below, above in rows]
    return Plot(_markup(svg), [], ["", x, "low", "high"], table)


class _Axes:
    """The map from values to pixels, with x from 0 to ``right`` and y from 0 to ``top``."""

    def __init__(self, right: float, top: float) -> None:
        self._right, self._top = right, top

    def x(self, value: float) -> float:
        return _LEFT + value / self._right * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - value / self._top * (HEIGHT - _TOP - _BOTTOM)

    def draw(
        self,
        svg: ElementTree.Element,
        x: str,
        y: str,
        x_ticks: Iterable[tuple[float, str]],
        y_ticks: Iterable[tuple[float, str]],
    ) -> None:
        for value, label in y_ticks:
            kind = "grid" if value else "base"
            _add(svg, "line", {"class": kind, **_between(_LEFT, self.y(value), WIDTH - _RIGHT, self.y(value))})
            _text(svg, label, _LEFT - 7, self.y(value) + 4, "end", "tick")
        for value, label in x_ticks:
            _text(svg, label, self.x(value), HEIGHT - _BOTTOM + 17, "middle", "tick")
        _text(svg, x, (_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 5, "middle", "axis")
        middle = (_TOP + HEIGHT - _BOTTOM) / 2
        name = _text(svg, y, 11, middle, "middle", "axis")
        name.set("transform", f"rotate(-90 11 {_px(middle)})")


def _line(svg: ElementTree.Element, axes: _Axes, line: Series) -> None:
    group = _add(svg, "g", {"class": f"series {line.kind}"} | ({"data-key": line.key} if line.key else {}))
    if line.low and line.high:
        ends = [*enumerate(line.high), *reversed(list(enumerate(line.low)))]
        _add(group, "polygon", {"class": "band", "points": _points(axes, ends)})
    dash = {"stroke-dasharray": _DASHES[line.kind]} if line.kind in _DASHES else {}
    known = [(t, value) for t, value in enumerate(line.values) if value is not None]
    _add(group, "polyline", {"class": "line", "points": _points(axes, known), "fill": "none", **dash})
    if line.kind.startswith("s"):
        for t, value in known:
            mark = _add(group, "circle", {"class": "mark", "cx": _px(axes.x(t)), "cy": _px(axes.y(value)), "r": "2.6"})
            _add(mark, "title", {}).text = f"{line.name}: {value:.3f} at {t}"


def _label_references(svg: ElementTree.Element, axes: _Axes, references: Sequence[Series]) -> None:
    """Write the names of lines above their ends, moved up so that they do not overlap."""
    lowest = axes.y(0) + 2 + _LABEL_APART
    for line in sorted(references, key=lambda line: _last(line)[1]):
        t, value = _last(line)
        lowest = min(axes.y(value) - 5, lowest - _LABEL_APART)
        _text(svg, line.name, axes.x(t), lowest, "end", "name")


def _last(line: Series) -> tuple[int, float]:
    return [(t, value) for t, value in enumerate(line.values) if value is not None][-1]


def _swatch(kind: str) -> Markup:
    """Draw a short piece of a line for the legend."""
    shape = {"viewBox": "0 0 28 10", "width": "28", "height": "10", "aria-hidden": "true"}
    svg = ElementTree.Element("svg", {"class": f"swatch series {kind}", **shape})
    dash = {"stroke-dasharray": _DASHES[kind]} if kind in _DASHES else {}
    _add(svg, "line", {"class": "line", **_between(1, 5, 27, 5), **dash})
    return _markup(svg)


def _svg(title: str, height: int = HEIGHT) -> ElementTree.Element:
    shape = {"viewBox": f"0 0 {WIDTH} {height}", "width": str(WIDTH), "height": str(height)}
    return ElementTree.Element("svg", {"class": "drawing", "role": "img", "aria-label": title, **shape})


def _add(parent: ElementTree.Element, tag: str, attributes: dict[str, str]) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, attributes)


def _text(svg: ElementTree.Element, text: str, x: float, y: float, anchor: str, kind: str) -> ElementTree.Element:
    element = _add(svg, "text", {"class": kind, "x": _px(x), "y": _px(y), "text-anchor": anchor})
    element.text = text
    return element


def _markup(svg: ElementTree.Element) -> Markup:
    # Markup is not escaped again. That is safe: ElementTree escapes every text and attribute.
    return Markup(ElementTree.tostring(svg, encoding="unicode", short_empty_elements=False))


def _points(axes: _Axes, points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{_px(axes.x(x))},{_px(axes.y(y))}" for x, y in points)


def _between(x1: float, y1: float, x2: float, y2: float) -> dict[str, str]:
    return {"x1": _px(x1), "y1": _px(y1), "x2": _px(x2), "y2": _px(y2)}


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _every(steps: range) -> list[tuple[float, str]]:
    """Return at most 12 ticks (position, label) at integers."""
    apart = -(-len(steps) // 12)
    return [(float(t), str(t)) for t in steps if t % apart == 0]


def _cell(line: Series, t: int) -> str:
    value = line.values[t] if t < len(line.values) else None
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" [{line.low[t]:.3f}, {line.high[t]:.3f}]" if line.low and line.high else "")


def _bounds(rows: Sequence[tuple[Any, float, float, float]]) -> tuple[float, float]:
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    room = 0.08 * (high - low) or 0.05
    return min(low - room, 0.0), max(high + room, 0.0)


def _nice(low: float, high: float) -> list[float]:
    """Return about five round numbers between two numbers."""
    span = high - low
    step = next(s * 10.0**e for e in range(-6, 7) for s in (1, 2, 5) if span / (s * 10.0**e) <= 6)
    first = -int(-low // step) if low > 0 else int(low / step)
    return [round(n * step, 9) for n in range(first, int(high / step) + 1)]
