"""Write figures as source of pgfplots: marks in the units of their axes, for a LaTeX document with its own fonts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hlmat_bench.core.tables import escape_latex
from hlmat_bench.reports.pages.plots.figure import Axis, Box, Figure, Line, Mark, Point, Rule, Whisker
from hlmat_bench.reports.pages.plots.layout import apart, ends_of, has_areas
from hlmat_bench.reports.pages.plots.style import HUES, LEADING

_PATTERNS = {"rising": "north east lines", "falling": "north west lines"}


def file(figure: Figure) -> str:
    r"""Return a ``tikzpicture`` for ``\input``; its first lines say what the document needs."""
    marks = [mark for mark in figure.marks if getattr(mark, "hue", "") != "spare"]
    hues = list(dict.fromkeys([*(mark.hue for mark in marks), *(hue for hue, _ in figure.legend if hue != "spare")]))
    lines = [
        f"% {_comment(figure.title)}",
        r"% In the document's head: \usepackage{pgfplots} \pgfplotsset{compat=1.18} \usetikzlibrary{patterns}",
        r"\begin{tikzpicture}",
        *(rf"\definecolor{{{_colour(hue)}}}{{HTML}}{{{HUES[hue].light[1:].upper()}}}" for hue in hues),
        r"\begin{axis}[",
        *_options(figure),
        "]",
    ]
    # Areas first, then reference lines, then what is measured, so that nothing important is covered.
    order = (Box, Rule, Line, Whisker)
    for kind in order:
        for mark in reversed(marks) if kind is Line else marks:
            if isinstance(mark, kind):
                lines += _mark(mark, figure)
    lines += [*_end_labels(figure), *_legend(figure)]
    return "\n".join([*lines, r"\end{axis}", r"\end{tikzpicture}"]) + "\n"


def _options(figure: Figure) -> Iterator[str]:
    x, y = figure.x, figure.y
    height = figure.height
    if height is None:
        lines = max((-(-len(text) // 20) for _, text in y.ticks), default=1)  # about 20 letters fit beside the axes
        height = (16.0 + LEADING * lines) * len(y.ticks)
    # Names stand beside the axes: the area inside leaves room for them on the line.
    share = 0.55 if figure.height is None else 0.68 if ends_of(figure) else 0.85
    size = rf"width={share}\linewidth, height={height * 0.0265:.1f}cm"
    yield f"  scale only axis, {size}, clip=false, axis lines*=left,"
    if figure.height is None:
        yield r"  yticklabel style={align=right, text width=0.33\linewidth},"
    yield rf"  xlabel={{{escape_latex(x.name)}}}, ylabel={{{escape_latex(y.name)}}},"
    for letter, axis in (("x", x), ("y", y)):
        low, high = sorted((axis.low, axis.high))
        reverse = f", {letter} dir=reverse" if axis.low > axis.high else ""
        log = f", {letter}mode=log" if axis.log else ""
        yield f"  {letter}min={low:g}, {letter}max={high:g}{reverse}{log},"
        yield from _ticks(letter, axis)
    yield "  tick align=outside, major tick length=2pt,"
    yield r"  legend style={draw=none, font=\small, at={(0.5,-0.25)}, anchor=north},"
    yield "  legend columns=3, legend cell align=left,"


def _ticks(letter: str, axis: Axis) -> Iterator[str]:
    values = ",".join(f"{value:g}" for value, _ in axis.ticks)
    texts = ",".join(f"{{{escape_latex(text)}}}" for _, text in axis.ticks)
    yield f"  {letter}tick={{{values}}}, {letter}ticklabels={{{texts}}},"
    if axis.grid:
        yield f"  {letter}majorgrids, grid style={{black!12}},"


def _mark(mark: Mark, figure: Figure) -> list[str]:
    if isinstance(mark, Line):
        return list(_line(mark))
    if isinstance(mark, Rule):
        return list(_rule(mark, figure))
    if isinstance(mark, Box):
        return list(_box(mark))
    return list(_whisker(mark))


def _line(mark: Line) -> Iterator[str]:
    colour = _colour(mark.hue)
    if mark.band:
        upper = [(x, high) for x, _, high in mark.band]
        lower = [(x, low) for x, low, _ in reversed(mark.band)]
        path = " -- ".join(map(_at, [*upper, *lower]))
        yield rf"\fill[{colour}, opacity=0.16] {path} -- cycle;"
    dots = ", mark=*, mark size=1.4pt, mark options={solid}" if mark.marks else ", mark=none"
    points = " ".join(f"({x:g},{y:.4g})" for x, y in mark.points)
    yield rf"\addplot[{colour}, line width=1.1pt{_dashes(mark.hue)}{dots}, forget plot] coordinates {{{points}}};"


def _rule(mark: Rule, figure: Figure) -> Iterator[str]:
    x, y = figure.x, figure.y
    if mark.diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        start, end = (low, low), (high, high)
    elif mark.of == "y":
        start, end = (x.low, mark.value), (x.high, mark.value)
    else:
        start, end = (mark.value, y.low), (mark.value, y.high)
    yield rf"\draw[{_colour(mark.hue)}{_dashes(mark.hue)}] {_at(start)} -- {_at(end)};"
    if mark.name and mark.of == "x":
        yield _node(f"anchor=south, {_colour(mark.hue)}", end, mark.name)


def _box(mark: Box) -> Iterator[str]:
    colour, hatch = _colour(mark.hue), HUES[mark.hue].hatch
    yield rf"\filldraw[fill={colour}, draw=white] {_at(mark.low)} rectangle {_at(mark.high)};"
    if hatch and not mark.text:
        yield rf"\fill[pattern={_PATTERNS[hatch]}, opacity=0.45] {_at(mark.low)} rectangle {_at(mark.high)};"
    middle = ((mark.low[0] + mark.high[0]) / 2, (mark.low[1] + mark.high[1]) / 2)
    if mark.text and abs(mark.high[1] - mark.low[1]) >= 6:
        on = "white" if HUES[mark.hue].on == "#ffffff" else "black"
        yield _node(on, middle, mark.text)
    if mark.above:
        top = (middle[0], max(mark.low[1], mark.high[1]))
        yield _node("anchor=south", top, mark.above)


def _whisker(mark: Whisker) -> Iterator[str]:
    x, y = mark.at
    ends = ((mark.low, y), (mark.high, y)) if mark.along == "x" else ((x, mark.low), (x, mark.high))
    colour = _colour(mark.hue)
    pale = ", opacity=0.5" if mark.pale else ""
    if mark.low != mark.high:
        yield rf"\draw[{colour}, line width=1.1pt{pale}] {_at(ends[0])} -- {_at(ends[1])};"
    dot = f"only marks, mark=*, mark size=1.8pt{pale}, forget plot"
    yield rf"\addplot[{colour}, {dot}] coordinates {{({x:g},{y:.4g})}};"
    if mark.name:
        yield _node("anchor=west", mark.at, mark.name)


def _end_labels(figure: Figure) -> Iterator[str]:
    """Yield the labels at the right end, moved apart as in `layout`."""
    axis, height = figure.y, figure.height or 1.0
    ends = sorted(ends_of(figure), key=lambda end: end.at[1])
    low, high = sorted((axis.low, axis.high))
    places = apart([end.at[1] for end in ends], low, high, LEADING * (high - low) / height)
    for end, place in zip(ends, places, strict=True):
        yield _node(f"anchor=west, {_colour(end.hue)}", (figure.x.high, place), end.whole)


def _node(options: str, at: Point, text: str) -> str:
    return rf"\node[{options}, font=\small] at {_at(at)} {{{escape_latex(text)}}};"


def _legend(figure: Figure) -> Iterator[str]:
    areas = has_areas(figure)
    for hue, name in figure.legend:
        if hue != "spare":
            image = f"area legend, fill={_colour(hue)}, draw=none" if areas else f"{_colour(hue)}{_dashes(hue)}"
            yield rf"\addlegendimage{{{image}}}"
            yield rf"\addlegendentry{{{escape_latex(name)}}}"


def _at(point: Point) -> str:
    return f"(axis cs:{point[0]:g},{point[1]:.4g})"


def _colour(hue: str) -> str:
    return "hlmat" + hue.replace("-", "") if hue else "black"


def _dashes(hue: str) -> str:
    lengths: Sequence[float] = HUES[hue].dash
    if not lengths:
        return ""
    pattern = " ".join(f"{'off' if n % 2 else 'on'} {length * 0.75:g}pt" for n, length in enumerate(lengths))
    return f", dash pattern={{{pattern}}}"


def _comment(text: str) -> str:
    return " ".join(text.split())
