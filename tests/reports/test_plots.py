"""Plots: harmless, where their numbers are, readable at any width, and the same on pages and in files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.reports.pages import plots
from hlmat_bench.reports.pages.plots import drawing, layout, pdf, pgfplots, svg
from hlmat_bench.reports.pages.plots.style import HUES, PARTS, TEXT, css, text_width, wrap

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}}\u202eevil"


def figures() -> list[plots.Figure]:
    curve = plots.Series(HOSTILE, [0.0, 0.5, 0.9], low=[0, 0.4, 0.8], high=[0, 0.6, 1.0])
    segments = [plots.Segment("helped", HOSTILE, 6, "#kind=helped"), plots.Segment("stopped", "stopped", 1)]
    wide = plots.Estimate(HOSTILE, -0.1, -0.3, 0.1, href="#slice=a")
    return [
        plots.lines([curve, plots.Series("oracle", [0, 0.7, None], "ceiling")], title=HOSTILE, x="clicks", y="mIoU"),
        plots.lines([curve], title="difference", x="clicks", y="mIoU", signed=True),
        plots.bars([plots.Bar("1", 3), plots.Bar(HOSTILE, 2, "censored")], title="t", x="x", y="y"),
        plots.stacked([("1", segments), ("2", segments[1:])], 8, title="t", x="click", y="samples"),
        plots.forest([wide, plots.Estimate("b", 0.2, 0.1, 0.3, pale=True)], title="t", x="difference"),
        plots.intervals([wide], title="t", x="mIoU", references=[plots.Reference(HOSTILE, 0.8)]),
        plots.scatter(
            [plots.Dot(HOSTILE, 0.5, 0.4, 0.3, 0.5), plots.Dot("b", 12, 0.2)],
            title="t", x=plots.dollar_axis("dollars", [0.5, 12]), y="mIoU", references=[plots.Reference("oracle", 0.8)],
        ),
        plots.calibration([(0.1, 0.2, 5), (0.9, 0.7, 1000), (0.5, 0.5, 0)], title="t"),
        plots.cumulative({"80 %": [1, 2, None, 2], "90 %": [None, None, None, 3]}, 3, title="t"),
    ]  # fmt: skip


def _drawn(figure: plots.Figure) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(f"<p>{svg.inline(figure)}</p>"))


@pytest.mark.parametrize("figure", figures())
def test_a_plot_is_escaped_and_unstyled(figure: plots.Figure) -> None:
    for root, width in zip(_drawn(figure), figure.widths, strict=True):
        assert root.get("aria-label") == figure.title
        assert root.get("width") == str(width)
        links = root.findall(".//a")
        assert root.get("role") == (
            "group" if links else "img"
        )  # what is inside an image is hidden from screen readers
        assert all(link.get("href", "").startswith("#") and link.get("aria-label") for link in links)
        for element in root.iter():
            assert element.tag in {"svg", "g", "a", "polyline", "polygon", "circle", "text", "title"}
            assert not [name for name in element.attrib if name == "style" or name.startswith("on")]
            assert element.tag == "a" or "href" not in element.attrib


def test_a_line_is_where_its_values_are() -> None:
    figure = figures()[0]
    root = _drawn(figure)[0]
    own = next(group for group in root.iter("g") if group.get("class") == "hue s0")
    points = [tuple(map(float, point.split(","))) for point in own.find("polyline").get("points").split()]
    base, above = points[0], points[2]
    assert points[1][0] == pytest.approx((base[0] + above[0]) / 2, abs=0.1)
    # From 0 to 90 of 100 per cent over a height of 240 pixels.
    assert base[1] - above[1] == pytest.approx(0.9 * 240, abs=0.1)
    assert base[1] - points[1][1] == pytest.approx(0.5 * 240, abs=0.1)
    assert figure.rows[1] == ["1", "50.0 [40.0, 60.0]", "70.0"]
    assert figure.rows[2][2] == "–"


def test_differences_are_points_with_signs() -> None:
    figure = plots.forest([plots.Estimate("a", -0.129, -0.2, 0.0004)], title="t", x="A − B")
    assert figure.headers[1] == "A − B (points)"
    assert figure.rows == [["a", "−12.9", "−20.0", "0.0"]]


def test_the_share_of_solved_samples_grows_with_the_clicks() -> None:
    figure = plots.cumulative({"80 %": [1, 2, None, 2]}, 3, title="t")
    assert [row[1] for row in figure.rows] == ["0.0", "25.0", "75.0", "75.0"]


def test_a_segment_is_a_share_of_all_samples_and_leads_to_its_own() -> None:
    figure = figures()[3]
    boxes = [mark for mark in figure.marks if isinstance(mark, plots.figure.Box)]
    assert [(box.low[1], box.high[1], box.href) for box in boxes] == [
        (0, 75, "#kind=helped"), (75, 87.5, ""), (0, 12.5, ""),
    ]  # fmt: skip
    assert figure.rows == [["1", "6", "1"], ["2", "0", "1"]]


def _areas(figure: plots.Figure, width: int) -> Iterator[tuple[drawing.Text, float, float, float, float]]:
    for group in layout.layout(figure, width, legend=True).groups:
        for item in group.items:
            if isinstance(item, drawing.Text):
                wide = text_width(item.text, bold=PARTS[item.part].bold)
                left = item.at[0] - {"start": 0.0, "middle": wide / 2, "end": wide}[item.anchor]
                yield item, left, left + wide, item.at[1] - 0.7 * TEXT, item.at[1]


@pytest.mark.parametrize("width", [540, 320])
@pytest.mark.parametrize("figure", figures())
def test_no_text_covers_another_or_is_cut_at_the_edge(figure: plots.Figure, width: int) -> None:
    drawn = layout.layout(figure, width, legend=True)
    for _, left, right, top, bottom in _areas(figure, width):
        assert left >= -0.5
        assert right <= width + 0.5
        assert top >= 0
        assert bottom <= drawn.height
    for (a, *first), (b, *second) in itertools.combinations(_areas(figure, width), 2):
        apart = first[1] <= second[0] or second[1] <= first[0] or first[3] <= second[2] or second[3] <= first[2]
        assert apart, (a, b)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.text(st.characters(codec="utf-8"), max_size=60))
def test_names_at_line_ends_are_in_order_and_apart(values: list[float], name: str) -> None:
    series = [plots.Series(f"{n} {name}", [0.0, value], f"s{n % 5}") for n, value in enumerate(values)]
    figure = plots.lines(series, title="t", x="clicks", y="mIoU")
    names = [item for item, *_ in _areas(figure, 540) if item.part == "lead"]
    assert len(names) == len(values)
    places = [item.at[1] for item in names]
    assert all(b - a >= TEXT for a, b in itertools.pairwise(places))
    shown = [float(item.text.rpartition(" ")[2]) for item in names]  # the number is never cut
    assert shown == sorted(shown, reverse=True)


def test_names_of_rows_stay_left_of_zero_and_whiskers() -> None:
    rows = [plots.Estimate("a name that is much too long for one line and also for two lines", -0.3, -0.5, -0.1)]
    figure = plots.forest(rows, title="t", x="A − B")
    for width in figure.widths:
        drawn = layout.layout(figure, width, legend=False)
        items = [item for group in drawn.groups for item in group.items]
        first = min(x for item in items if isinstance(item, drawing.Shape) for x, _ in item.points)
        ends = [item.at[0] for item in items if isinstance(item, drawing.Text) and item.part == "row"]
        assert len(ends) == 3
        assert max(ends) < first


def test_a_name_that_has_no_room_beside_its_dot_is_cut() -> None:
    dots = [
        plots.Dot("A model with a name that is far longer than the plot can be wide on any page of this site", 50, 0.5)
    ]
    figure = plots.scatter(dots, title="t", x=plots.percent_axis("x"), y="y")
    for width in figure.widths:
        [name] = [item.text for item, *_ in _areas(figure, width) if item.part == "row"]
        assert name.startswith("A model with")
        assert name.endswith("…")


def test_every_hue_differs_without_colour() -> None:
    """Lines differ in dashes; neighbouring areas differ in lightness by a third of it, or in hatching."""
    dashes = [HUES[name].dash for name in ("s0", "s1", "s2", "s3", "s4", "ceiling")]
    assert len(set(dashes)) == len(dashes)
    order = ["helped", "no-effect", "wrong-sign", "off-object", "already-covered", "invalid-reply", "refusal",
             "request-failed", "stopped"]  # fmt: skip
    for a, b in itertools.pairwise(order):
        first, second = HUES[a], HUES[b]
        assert first.hatch != second.hatch or abs(_lightness(first.light) - _lightness(second.light)) > 0.12, (a, b)


@pytest.mark.parametrize("name", [name for name in HUES if name])
def test_text_on_areas_and_names_of_lines_can_be_read(name: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of at least 4.5 to 1."""
    hue = HUES[name]
    assert _contrast(hue.on, hue.light) >= 4.5 or name.startswith("s") or name in ("ceiling", "floor", "oracle")
    if re.fullmatch(r"s\d|spare|ceiling|floor|oracle", name):
        assert _contrast(hue.light, "#ffffff") >= 4.5
        assert _contrast(hue.dark, "#171a21") >= 4.5


def _lightness(colour: str) -> float:
    red, green, blue = (int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(a: str, b: str) -> float:
    low, high = sorted((_lightness(a), _lightness(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_style_sheet_knows_every_part_and_hue() -> None:
    text = css()
    assert all(f".drawing .{part} {{" in text for part in PARTS)
    assert all(f".hue.{hue} {{" in text for hue in HUES if hue)
    assert f"font-size: {TEXT}px" in text


@given(st.text(max_size=200), st.integers(40, 300))
def test_wrapped_lines_fit(text: str, room: int) -> None:
    lines = wrap(text, room)
    assert 1 <= len(lines) <= 3
    assert all(text_width(line) <= room for line in lines)


@pytest.mark.parametrize("figure", figures())
def test_files_stand_alone_and_are_the_same_each_time(figure: plots.Figure) -> None:
    text = svg.file(figure)
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{space}svg"
    for element in root.iter():
        tag = element.tag.removeprefix(space)
        assert not {"class", "href", "style"} & set(element.attrib)
        if tag in {"polyline", "polygon", "circle", "text", "rect"}:
            assert "fill" in element.attrib or tag == "rect"
    assert text == svg.file(figure)
    assert pdf.file(figure) == pdf.file(figure)
    assert pdf.file(figure).startswith(b"%PDF")
    assert pgfplots.file(figure) == pgfplots.file(figure)
