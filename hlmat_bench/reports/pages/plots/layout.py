"""Place the marks of a figure on a drawing of a given width: shapes and texts in pixels, for every format.

Texts have one size at every width; what changes with the width is how many ticks are named, where names are wrapped,
and which names find room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from hlmat_bench.reports.pages.plots.drawing import Anchor, Disc, Drawing, Group, Shape, Text
from hlmat_bench.reports.pages.plots.figure import Axis, Box, Figure, Line, Point, Rule, Whisker
from hlmat_bench.reports.pages.plots.style import HUES, LEADING, TEXT, shorten, text_width, wrap

_GAP = 8
_ROW = 16  # room above and below the name of a row
_DOT = 4.5
_BASELINE = 0.36 * TEXT  # from the middle of a line of text to its baseline


def layout(figure: Figure, width: int, *, legend: bool) -> Drawing:
    """Return the drawing of a figure.

    Args:
        figure: the figure.
        width: width of the drawing, in pixels.
        legend: whether the legend is part of the drawing; pages have it as a list beside it.
    """
    frame = _frame(figure, width)
    groups = [Group(tuple(_axes(figure, frame)))]
    placed = _Names(frame)
    boxes = [mark for mark in figure.marks if isinstance(mark, Box)]
    groups += [_box(mark, frame) for mark in boxes]
    groups += [_rule(mark, frame) for mark in figure.marks if isinstance(mark, Rule)]
    groups += [_line(mark, frame) for mark in reversed(figure.marks) if isinstance(mark, Line)]
    whiskers = [mark for mark in figure.marks if isinstance(mark, Whisker)]
    placed.take(whiskers, [mark for mark in figure.marks if isinstance(mark, Line)])
    groups += [_whisker(mark, frame, placed) for mark in whiskers]
    groups += _end_labels(figure, frame)
    groups += _top_labels(figure, frame)
    height = frame.bottom + frame.below
    if legend and figure.legend:
        keys, height = _legend(figure.legend, width, height + 6)
        groups += keys
    return Drawing(width, math.ceil(height), figure.title, tuple(groups))


@dataclass(frozen=True, slots=True)
class _Frame:
    """The area inside the axes, in pixels, the map of values to it, and the lines of the names at the left."""

    width: int
    left: float
    right: float
    top: float
    bottom: float
    below: float
    names: tuple[tuple[str, ...], ...]
    axes: tuple[Axis, Axis]

    def x(self, value: float) -> float:
        return self.left + _share(self.axes[0], value) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - _share(self.axes[1], value) * (self.bottom - self.top)

    def at(self, point: Point) -> Point:
        return self.x(point[0]), self.y(point[1])


def _share(axis: Axis, value: float) -> float:
    """Return where a value is on an axis, from 0 to 1; values beyond the ends are at the ends."""
    low, high = axis.low, axis.high
    if axis.log:
        low, high, value = math.log10(low), math.log10(high), math.log10(max(value, 1e-12))
    return min(max((value - low) / (high - low), 0.0), 1.0)


def _frame(figure: Figure, width: int) -> _Frame:
    rows = figure.height is None
    names = tuple(tuple(wrap(text, 0.42 * width - _GAP) if rows else [text]) for _, text in figure.y.ticks)
    left = max((text_width(line) for name in names for line in name), default=0.0) + _GAP + 1
    ends = max((text_width(end.whole, bold=True) for end in ends_of(figure)), default=0.0)
    right = width - min(max(ends + 14 if ends else 0.0, _last_tick(figure.x) / 2 + 2), 0.4 * width)
    top = (LEADING + 12 if figure.y.name else _GAP) + LEADING * len(_stacks(figure, left, right))
    inside = figure.height if figure.height is not None else _row_height(names) * len(names)
    below = 6.0 + (LEADING if figure.x.ticks else 0) + (LEADING + 2 if figure.x.name else 0)
    return _Frame(width, left, right, top, top + inside, below, names, (figure.x, figure.y))


def _last_tick(axis: Axis) -> float:
    return text_width(axis.ticks[-1][1]) if axis.ticks else 0.0


def _row_height(names: Sequence[Sequence[str]]) -> float:
    return LEADING * max(map(len, names), default=1) + _ROW


def _axes(figure: Figure, frame: _Frame) -> Iterator[Shape | Text]:
    for value, _ in figure.y.ticks if figure.y.grid else ():
        y = frame.y(value)
        yield Shape("base" if y > frame.bottom - 0.5 else "grid", ((frame.left, y), (frame.right, y)))
    for value, _ in figure.x.ticks if figure.x.grid else ():
        x = frame.x(value)
        yield Shape("zero" if value == 0 and figure.x.low < 0 else "grid", ((x, frame.top), (x, frame.bottom)))
    part = "row" if figure.height is None else "tick"
    for (value, _), lines in zip(figure.y.ticks, frame.names, strict=True):
        first = frame.y(value) + _BASELINE - LEADING * (len(lines) - 1) / 2
        for n, line in enumerate(lines):
            yield Text(part, (frame.left - _GAP, first + n * LEADING), line, "end")
    below = frame.bottom + LEADING
    for value, text in _roomy(figure.x.ticks, frame):
        yield _centred("tick", text, frame.x(value), below, frame)
    if figure.x.name:
        yield _centred("axis", figure.x.name, (frame.left + frame.right) / 2, frame.bottom + frame.below - 6, frame)
    if figure.y.name:
        yield Text("axis", (0, TEXT), shorten(figure.y.name, frame.width))


def _centred(part: str, text: str, x: float, y: float, frame: _Frame) -> Text:
    """Return a text with its middle at x, or as near as the drawing's edges allow."""
    shown = shorten(text, frame.width)
    half = text_width(shown) / 2
    return Text(part, (min(max(x, half), frame.width - half), y), shown, "middle")


def _roomy(ticks: Sequence[tuple[float, str]], frame: _Frame) -> list[tuple[float, str]]:
    """Return every n-th tick, counted from the last one, with the least n for which their texts do not touch."""
    for step in range(1, len(ticks) + 1):
        kept = [tick for n, tick in enumerate(reversed(ticks)) if n % step == 0]
        spans = sorted((frame.x(value), text_width(text) / 2) for value, text in kept)
        if all(a + wide + 6 <= b - half for (a, wide), (b, half) in pairwise(spans)):
            return kept
    return list(ticks[-1:])


@dataclass(frozen=True, slots=True)
class End:
    """A label at the right end: name, number behind it, place of the line's end in values, hue."""

    name: str
    value: str
    at: Point
    hue: str

    @property
    def whole(self) -> str:
        """Return the label uncut."""
        return f"{self.name} {self.value}".rstrip()

    def within(self, room: float) -> str:
        """Return the label with its name cut so that it fits; the number is never cut."""
        if text_width(self.whole, bold=True) <= room or not self.value:
            return shorten(self.whole, room, bold=True)
        name = shorten(self.name, room - text_width(f" {self.value}", bold=True), bold=True)
        return f"{name} {self.value}"


def ends_of(figure: Figure) -> list[End]:
    """Return the labels at the right end of a figure."""
    found = []
    for mark in figure.marks:
        if isinstance(mark, Line) and mark.label and mark.points:
            found.append(End(mark.label, mark.value, mark.points[-1], mark.hue))
        elif isinstance(mark, Rule) and mark.name and mark.of == "y":
            end = min(figure.x.high, figure.y.high) if mark.diagonal else mark.value
            found.append(End(mark.name, "", (figure.x.high, end), mark.hue))
    return found


def _end_labels(figure: Figure, frame: _Frame) -> Iterator[Group]:
    """Yield the labels at the right end, moved apart so that none covers another, each with a thin line to its end."""
    ends = sorted(ends_of(figure), key=lambda end: frame.y(end.at[1]))
    wanted = [frame.y(end.at[1]) for end in ends]
    for end, y in zip(ends, apart(wanted, frame.top, frame.bottom, LEADING), strict=True):
        x, at = frame.at(end.at)
        part = "lead" if end.hue.startswith("s") else "label"
        shown = end.within(frame.width - frame.right - 12)
        items: list[Shape | Text] = [Text(part, (frame.right + 12, y + _BASELINE), shown)]
        if abs(y - at) > 2 or frame.right - x > 2:
            items.insert(0, Shape("leader", ((x, at), (frame.right + 2, at), (frame.right + 9, y))))
        yield Group(tuple(items), end.hue, end.whole)


def apart(wanted: Sequence[float], top: float, bottom: float, leading: float) -> list[float]:
    """Return places at least ``leading`` apart, near the wanted ones, which ascend, and between top and bottom."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + leading) if places else max(y, top))
    limit = max(bottom, top + leading * (len(places) - 1))
    for n in reversed(range(len(places))):
        places[n] = min(places[n], limit)
        limit = places[n] - leading
    return places


def _stacks(figure: Figure, left: float, right: float) -> list[list[tuple[Rule, float]]]:
    """Return the names of vertical rules in rows above the plot, with the middle of each: as few as do not overlap."""
    rows: list[list[tuple[Rule, float]]] = []
    named = [mark for mark in figure.marks if isinstance(mark, Rule) and mark.of == "x" and mark.name]
    named = [replace(mark, name=shorten(mark.name, right, bold=True)) for mark in named]
    for mark in sorted(named, key=lambda mark: mark.value):
        half = text_width(mark.name, bold=True) / 2
        at = left + _share(figure.x, mark.value) * (right - left)
        at = max(min(at, right - half), half)
        for row in rows:
            last, middle = row[-1]
            if middle + text_width(last.name, bold=True) / 2 + 6 <= at - half:
                row.append((mark, at))
                break
        else:
            rows.append([(mark, at)])
    return rows


def _top_labels(figure: Figure, frame: _Frame) -> Iterator[Group]:
    for n, row in enumerate(_stacks(figure, frame.left, frame.right)):
        for mark, at in row:
            yield Group((Text("label", (at, frame.top - 5 - n * LEADING), mark.name, "middle"),), mark.hue, mark.name)


def _rule(mark: Rule, frame: _Frame) -> Group:
    if mark.diagonal:
        x, y = frame.axes
        low, high = max(x.low, y.low), min(x.high, y.high)
        ends = frame.at((low, low)), frame.at((high, high))
    elif mark.of == "y":
        ends = (frame.left, frame.y(mark.value)), (frame.right, frame.y(mark.value))
    else:
        ends = (frame.x(mark.value), frame.top), (frame.x(mark.value), frame.bottom)
    return Group((Shape("rule", ends),), mark.hue, mark.name)


def _line(mark: Line, frame: _Frame) -> Group:
    items: list[Shape | Disc] = []
    if mark.band:
        upper = [frame.at((x, high)) for x, _, high in mark.band]
        lower = [frame.at((x, low)) for x, low, _ in reversed(mark.band)]
        items.append(Shape("band", (*upper, *lower), closed=True))
    points = tuple(frame.at(point) for point in mark.points)
    items.append(Shape("line", points))
    if mark.marks:
        titles = (f"{mark.name}: {y:.1f} at {x:g}" for x, y in mark.points)
        items += [Disc("mark", point, 2.8, title) for point, title in zip(points, titles, strict=True)]
    return Group(tuple(items), mark.hue, mark.name, key=mark.key)


def _box(mark: Box, frame: _Frame) -> Group:
    (x0, y0), (x1, y1) = frame.at(mark.low), frame.at(mark.high)
    left, right, top, bottom = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    items: list[Shape | Text] = [
        Shape("box", ((left, top), (right, top), (right, bottom), (left, bottom)), closed=True)
    ]
    fits = bottom - top >= TEXT + 2 and right - left >= text_width(mark.text) + 2
    hatch = HUES[mark.hue].hatch
    if hatch and not (mark.text and fits):  # a text tells as much, and is read more easily without lines behind it
        items += [Shape("hatch", line) for line in _hatching(left, right, top, bottom, rising=hatch == "rising")]
    middle = (left + right) / 2
    if mark.text and fits:
        items.append(Text("inside", (middle, (top + bottom) / 2 + _BASELINE), mark.text, "middle"))
    if mark.above:
        items.append(Text("row", (middle, top - 4), mark.above, "middle"))
    return Group(tuple(items), mark.hue, mark.title, mark.href)


def _hatching(left: float, right: float, top: float, bottom: float, *, rising: bool) -> Iterator[tuple[Point, Point]]:
    """Yield lines at 45 degrees, 6 pixels apart, cut at the rectangle's edges."""
    wide, high = right - left, bottom - top
    for offset in range(6, int(wide + high), 6):
        first, last = max(0.0, offset - high), min(wide, float(offset))  # x of the ends, from the left edge
        ends = (first, offset - first), (last, offset - last)  # y of the ends, from the top edge
        if rising:
            yield (left + ends[0][0], top + ends[0][1]), (left + ends[1][0], top + ends[1][1])
        else:
            yield (left + ends[0][0], bottom - ends[0][1]), (left + ends[1][0], bottom - ends[1][1])


def _whisker(mark: Whisker, frame: _Frame, placed: _Names) -> Group:
    centre = frame.at(mark.at)
    items: list[Shape | Disc | Text] = []
    if mark.low != mark.high:
        items.append(Shape("whisker", _span(mark, frame)))
    items.append(Disc("dot", centre, _DOT))
    if mark.name:
        name = placed.place(mark.name, centre)
        items += [name] if name else []
    return Group(tuple(items), mark.hue, mark.title or mark.name, mark.href, pale=mark.pale)


def _span(mark: Whisker, frame: _Frame) -> tuple[Point, Point]:
    x, y = frame.at(mark.at)
    if mark.along == "x":
        return (frame.x(mark.low), y), (frame.x(mark.high), y)
    return (x, frame.y(mark.low)), (x, frame.y(mark.high))


class _Names:
    """Places for the names of dots: right, left, above or below, wherever nothing else is."""

    def __init__(self, frame: _Frame) -> None:
        self._frame = frame
        self._taken: list[tuple[float, float, float, float]] = []

    def take(self, marks: Sequence[Whisker], lines: Sequence[Line]) -> None:
        """Keep the places of dots, intervals and lines free."""
        for (x0, y0), (x1, y1) in (pair for line in lines for pair in pairwise(map(self._frame.at, line.points))):
            pieces = max(int(math.hypot(x1 - x0, y1 - y0) / 4), 1)
            for x, y in ((x0 + (x1 - x0) * n / pieces, y0 + (y1 - y0) * n / pieces) for n in range(pieces + 1)):
                self._taken.append((x - 1, x + 1, y - 1, y + 1))
        for mark in marks:
            x, y = self._frame.at(mark.at)
            self._taken.append((x - _DOT, x + _DOT, y - _DOT, y + _DOT))
            (x0, y0), (x1, y1) = _span(mark, self._frame)
            self._taken.append((min(x0, x1) - 1, max(x0, x1) + 1, min(y0, y1) - 1, max(y0, y1) + 1))

    def place(self, name: str, centre: Point) -> Text | None:
        """Return a name where it covers nothing, cut if it must be; None where there is no room at all."""
        cut = dict.fromkeys([name, *(shorten(name, room) for room in (180, 110))])
        return next(filter(None, (self._place(text, centre) for text in cut)), None)

    def _place(self, name: str, centre: Point) -> Text | None:
        x, y = centre
        wide = text_width(name)
        choices: list[tuple[float, float, Anchor, float]] = [
            (x + 9, y + _BASELINE, "start", x + 9),
            (x - 9, y + _BASELINE, "end", x - 9 - wide),
            (x, y - 10, "middle", x - wide / 2),
            (x, y + 10 + TEXT * 0.75, "middle", x - wide / 2),
        ]
        for at, baseline, anchor, left in choices:
            area = (left, left + wide, baseline - TEXT * 0.75, baseline + TEXT * 0.22)
            inside = left >= self._frame.left and area[1] <= self._frame.width
            inside = inside and area[2] >= self._frame.top - 4 and area[3] <= self._frame.bottom + 2
            if inside and not any(_overlap(area, other) for other in self._taken):
                self._taken.append(area)
                return Text("row", (at, baseline), name, anchor)
        return None


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3]


def swatch(hue: str, left: float, middle: float, *, area: bool) -> Group:
    """Return the sample of a hue for a legend, 26 pixels wide: a piece of its line, or of its area."""
    if not area:
        return Group((Shape("line", ((left, middle), (left + 26, middle))),), hue)
    corners = ((left, middle - 6), (left + 26, middle - 6), (left + 26, middle + 6), (left, middle + 6))
    hatch = HUES[hue].hatch
    lines = _hatching(left, left + 26, middle - 6, middle + 6, rising=hatch == "rising") if hatch else ()
    return Group((Shape("box", corners, closed=True), *(Shape("hatch", line) for line in lines)), hue)


def has_areas(figure: Figure) -> bool:
    """Tell whether the hues of a figure's legend are those of areas, not of lines."""
    return any(isinstance(mark, Box) for mark in figure.marks)


def _legend(legend: Sequence[tuple[str, str]], width: int, top: float) -> tuple[list[Group], float]:
    """Return the legend in as many rows as it needs, and the height of the drawing with it."""
    groups: list[Group] = []
    left, middle = 0.0, top + LEADING / 2
    for hue, name in legend:
        shown = shorten(name, width - 40)
        wide = 26 + 7 + text_width(shown)
        if left and left + wide > width:
            left, middle = 0.0, middle + LEADING + 4
        groups.append(swatch(hue, left, middle, area=hue not in _LINE_HUES))
        groups.append(Group((Text("row", (left + 33, middle + _BASELINE), shown),)))
        left += wide + 18
    return groups, middle + LEADING / 2 + 4


_LINE_HUES = frozenset({"s0", "s1", "s2", "s3", "s4", "spare", "ceiling", "floor", "oracle"})
