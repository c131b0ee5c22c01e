from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import Action, box_form, parse, write, write_box
from hlmat_bench.clicks import Click
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.points import FORMATS, PointFormat
from hlmat_bench.points.resize import Frame, Resize
from hlmat_bench.points.syntaxes import SYNTAXES

BOXED = ["text", "segagent", "json", "point", "box", "det"]
SIZES = st.tuples(st.integers(1, 5000), st.integers(1, 5000))
UNITS = ("pixel", "1", "100", "999", "1000", "1023")


def test_click_to_pixel_vectors(vectors: Path) -> None:
    """round(p / 1000 * size), halves to even; 1000 is the last pixel; anything beyond is out of bounds."""
    form = PointFormat.named("segagent-qwen")
    checked = 0
    for case in json.loads((vectors / "parse" / "click_to_pixel.json").read_text())["cases"]:
        height, width = case["height"], case["width"]
        for p, x, y in zip(case["p"], case["x"], case["y"], strict=True):
            got = form.to_pixel(p, p, (height, width))
            if 0 <= p <= 1000:
                assert got == (min(x, width - 1), min(y, height - 1))
            else:
                assert got is None
            checked += 1
    assert checked > 1000


@pytest.mark.parametrize(
    ("name", "numbers", "size", "pixel"),
    [
        ("segagent-qwen", (483, 175), (640, 481), (84, 309)),
        ("xy1000", (175, 483), (640, 481), (84, 309)),
        ("xy1", (0.5, 0.25), (480, 640), (320, 120)),
        ("xy100", (100, 0), (480, 640), (639, 0)),
        ("yx1023-loc", (1023, 0), (480, 640), (0, 479)),
        ("xy999", (999, 499.5), (480, 640), (639, 240)),
        ("pixel", (639, 479), (480, 640), (639, 479)),
        ("pixel", (640, 480), (480, 640), (639, 479)),
        ("pixel", (641, 0), (480, 640), None),
        ("xy1000", (1000.5, 0), (480, 640), None),
        ("xy1000", (-0.01, 0), (480, 640), None),
        ("xy1", (float("nan"), 0), (480, 640), None),
    ],
)
def test_hand_computed(name: str, numbers: tuple[float, float], size: tuple[int, int], pixel: object) -> None:
    assert PointFormat.named(name).to_pixel(*numbers, size) == pixel


def test_pixels_of_the_sent_image_map_back() -> None:
    form = PointFormat.named("xypixel")
    assert form.to_pixel(50, 25, size=(400, 800), frame=Frame.whole((100, 200))) == (200, 100)
    assert form.to_pixel(201, 25, size=(400, 800), frame=Frame.whole((100, 200))) is None


def test_the_padding_of_a_square_is_out_of_bounds() -> None:
    """800 x 400 in a square of 800: 200 rows of padding above and below, so the image begins at a quarter."""
    form, frame = PointFormat.named("xy1"), Resize.named("square").frame((400, 800))
    assert form.to_pixel(0.5, 0.5, (400, 800), frame) == (400, 200)
    assert form.to_pixel(0, 0.25, (400, 800), frame) == (0, 0)
    assert form.to_pixel(1, 0.75, (400, 800), frame) == (799, 399)
    assert form.to_pixel(0.5, 0.24, (400, 800), frame) is None
    assert form.box_to_pixels((0.25, 0.25, 0.75, 0.5), (400, 800), frame) == (200, 0, 600, 200)
    assert form.box_to_pixels((0.25, 0.2, 0.75, 0.5), (400, 800), frame) is None


def test_segagent_boxes_are_xy_over_999_truncated() -> None:
    form = PointFormat.named("segagent-qwen")
    assert form.box_to_pixels((249, 123, 534, 496), (480, 640)) == (
        int(249 / 999 * 640),
        int(123 / 999 * 480),
        int(534 / 999 * 640),
        int(496 / 999 * 480),
    )
    assert form.box_to_pixels((534, 123, 249, 496), (480, 640)) is None
    assert form.box_to_pixels((0, 0, 1000, 10), (480, 640)) is None


@given(syntax=st.sampled_from(["text", "json", "point", "points", "box", "det"]), size=SIZES, data=st.data())
def test_every_syntax_reads_what_it_writes(syntax: str, size: tuple[int, int], data: st.DataObject) -> None:
    """In pixels nothing is rounded, so reading a written click gives the click."""
    form = PointFormat.named(f"xypixel-{syntax}")
    click = Click(
        data.draw(st.booleans()),
        data.draw(st.integers(0, size[1] - 1)),
        data.draw(st.integers(0, size[0] - 1)),
    )
    assert parse(write(click, form, size), form, size).click == click


def _box(data: st.DataObject, size: tuple[int, int]) -> tuple[int, int, int, int]:
    (x0, x1), (y0, y1) = (
        sorted(data.draw(st.lists(st.integers(0, side), min_size=2, max_size=2, unique=True)))
        for side in (size[1], size[0])
    )
    return x0, y0, x1, y1


@given(syntax=st.sampled_from(BOXED), order=st.sampled_from(["xy", "yx"]), size=SIZES, data=st.data())
def test_every_syntax_reads_the_boxes_it_writes(
    syntax: str, order: str, size: tuple[int, int], data: st.DataObject
) -> None:
    """In pixels nothing is rounded, so reading a written box gives the box."""
    form = PointFormat.named(f"{order}pixel-{syntax}")
    box = _box(data, size)
    assert parse(write_box(box, form, size), form, size) == Action("box", box=box)


@given(name=st.sampled_from(sorted(FORMATS)), size=SIZES, data=st.data())
def test_boxes_of_rounded_formats_land_within_their_own_rounding(
    name: str, size: tuple[int, int], data: st.DataObject
) -> None:
    form, box = PointFormat.named(name), _box(data, size)
    got = parse(write_box(box, form, size), form, size).box
    step = {"0-1": 1e-4, "0-999": 1 / 999}.get(form.box_unit or form.unit, 0.0)
    if got is None:  # an edge shorter than the format's step
        assert min(box[2] - box[0], box[3] - box[1]) <= step * max(size) + 1
        return
    assert all(abs(a - b) <= step * max(size) / 2 + 1 for a, b in zip(got, box, strict=True))


def test_the_order_of_a_box_is_that_of_its_format() -> None:
    """By hand: SegAgent's points are (y, x) of 1000, its boxes (x, y) of 999."""
    form = PointFormat.named("segagent-qwen")
    assert write_box((64, 48, 320, 240), form, (480, 640)) == "<box>(100,100),(500,500)</box>"
    assert write_box((64, 48, 320, 480), form, (480, 640)) == "<box>(100,100),(500,999)</box>"
    assert box_form(form) == "<box>(x0,y0),(x1,y1)</box>"
    assert box_form(PointFormat.named("yx1000-json")) == '{"bbox_2d": [y0, x0, y1, x1]}'
    written = write_box((64, 48, 320, 480), PointFormat.named("yx1023-loc"), (480, 640))
    assert written == "<loc0102><loc0102><loc1023><loc0512>"


def test_a_syntax_without_boxes_says_so() -> None:
    with pytest.raises(UsageError, match="xy1000-points has none; boxes are read in the syntaxes text, segagent"):
        box_form(PointFormat.named("xy1000-points"))


def test_the_unit_of_a_predicted_iou_is_part_of_a_name() -> None:
    for name, unit in (
        ("xy1000-json", "percent"),
        ("xy1000-json-iou1", "fraction"),
        ("segagent-llava-iou100", "percent"),
    ):
        form = PointFormat.named(name)
        assert (form.name, form.iou_unit) == (name, unit)
    plain, fraction = PointFormat.named("yx1-json"), PointFormat.named("yx1-json-iou1")
    assert (fraction.order, fraction.unit, fraction.syntax) == (plain.order, plain.unit, plain.syntax)


@given(name=st.sampled_from(sorted(FORMATS)), size=SIZES, data=st.data())
def test_rounded_formats_land_within_their_own_rounding(name: str, size: tuple[int, int], data: st.DataObject) -> None:
    form = PointFormat.named(name)
    click = Click(True, data.draw(st.integers(0, size[1] - 1)), data.draw(st.integers(0, size[0] - 1)))
    got = parse(write(click, form, size), form, size).click
    step = {"0-1": 1e-4, "0-1000": 1e-3}.get(form.unit, 0.0)
    assert abs(got.x - click.x) <= step * size[1] / 2 + 0.5 + 1e-9 + (got.x == size[1] - 1) * 0.5
    assert abs(got.y - click.y) <= step * size[0] / 2 + 0.5 + 1e-9 + (got.y == size[0] - 1) * 0.5


@pytest.mark.parametrize(
    "name", ["segagent-qwem", "xy", "zx1000", "xy1000-yaml", "xy77", "xy1-iou", "xy1-iou1-iou1", ""]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="point format"):
        PointFormat.named(name)


def test_a_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean segagent-qwen"):
        PointFormat.named("segagent-quen")


def test_every_syntax_is_a_format_of_its_name_and_is_documented() -> None:
    page = (folder("tasks").parent / "docs" / "points.md").read_text()
    table = page.split("| syntax | a click looks like |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(SYNTAXES)
    for name in SYNTAXES:
        form = PointFormat.named(f"xy1000-{name}")
        assert form.syntax == name
        assert parse(write(Click(True, 250, 500), form, (1000, 1000)), form, (1000, 1000)).click == (True, 250, 500)
