from __future__ import annotations

import pytest

from hlmat_bench.actions import parse
from hlmat_bench.clicks import Click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.prompts import (
    DEFAULT_BOX_PROMPT,
    DEFAULT_PRM_PROMPT,
    DEFAULT_PROMPT,
    check_template,
    instruction,
)


def _say(points: str, **more: object) -> str:
    return instruction(
        DEFAULT_PROMPT, expression="the {red} kite", points=PointFormat.named(points), size=(480, 640), **more
    )


def test_the_prompt_names_the_object_the_order_the_range_and_the_form() -> None:
    text = _say("yx1000")
    assert "The object: the {red} kite" in text
    assert "y first, then x" in text
    assert "x from 0 (left edge) to 1000 (right edge)" in text
    assert "Positive point: (y, x)  or  Negative point: (y, x)" in text


def test_pixels_come_with_the_size_of_the_sent_image() -> None:
    assert "640 wide and 480 high: x from 0 (left) to 640 (right), y from 0 (top) to 480 (bottom)" in _say("xypixel")


@pytest.mark.parametrize("syntax", sorted(SYNTAXES))
def test_every_syntax_shows_a_form_that_its_own_reader_accepts(syntax: str) -> None:
    """Copying the shown form with numbers in place of the axes gives a valid click."""
    form = PointFormat.named(f"xy1000-{syntax}")
    a, b = ("0500", "0250") if syntax == "loc" else ("500", "250")
    shown = SYNTAXES[syntax].ask.format(a=a, b=b).split("  ")[0]
    action = parse(shown, form, (1000, 1000))
    assert (action.kind, action.x, action.y) == ("click", 500, 250)


def test_history_lists_the_clicks_in_the_models_own_format_only_when_there_are_any() -> None:
    assert "Clicks so far" not in _say("xy1000")
    text = _say("xy1000", clicks=[Click(True, 320, 120), Click(False, 0, 479)])
    assert text.endswith("Clicks so far:\n1. Positive point: (500, 250)\n2. Negative point: (0, 998)")


def test_a_box_is_asked_for_in_its_own_order_range_and_form() -> None:
    form = PointFormat.named("segagent-qwen")
    text = instruction(DEFAULT_BOX_PROMPT, expression="a kite", points=form, size=(480, 640), question="box")
    assert "The object: a kite" in text
    assert "x first, then y, relative to the image: x from 0 (left edge) to 999 (right edge)" in text
    assert text.endswith("in exactly this form: <box>(x0,y0),(x1,y1)</box>")


@pytest.mark.parametrize("template", ["{object}", "{", "{0}", "{expression"])
def test_a_template_with_other_fields_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="write other braces twice"):
        check_template(template)


@pytest.mark.parametrize(
    ("points", "asked", "form"),
    [("xy1000", "in per cent, from 0 ", "Current IOU: 50%"), ("xy1000-iou1", " to 1 ", "Current IOU: 0.50")],
)
def test_the_question_for_an_iou_says_the_unit_that_its_answer_is_read_in(points: str, asked: str, form: str) -> None:
    read = PointFormat.named(points)
    text = instruction(DEFAULT_PRM_PROMPT, expression="a kite", points=read, size=(480, 640), question="iou")
    assert asked in text
    assert text.endswith(f"in exactly this form: {form}")
    assert parse(form, read, (480, 640)).predicted_iou == 0.5
