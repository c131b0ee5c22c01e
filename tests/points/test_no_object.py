"""Replies that say that there is no such object: by hand, and over all replies of the reference vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import NO_OBJECT, Action, parse
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.state import interpret

SIZE = (480, 640)
PLAIN = "xy1000"
NONE = Action("none")

#: What says so at any mask, in any syntax.
SAID = [
    "No object",
    "no object.",
    "**No Object**",
    "Answer: No object",
    "<answer>No object</answer>",
    "\\boxed{No object}",
    '{"answer": "No object"}',
    "<think>first I would click (30, 40)</think>\nNo object",
    "<think>There is no such object? There is.</think> There are no such objects.",
    "There is no such object in the image.",
    "there is no object matching the description",
    "No matching object found.",
    "Object not found",
    "The target is not present in this image.",
    "The described object does not exist.",
    "There is no red car in the image.",
    "There’s no man in a red shirt in this picture.",
    "There isn't any dog in the photo.",
    "The woman with the umbrella is not in the image.",
    'There is no "red car" in the image.',
    "No object matching 'red car' is present in the image.",
    "No object\nHowever, there are two dogs.",
    "NO_OBJECT",
    "No such object exists.",
    "No, there is no such object in the image.",
    "No. There is no object like that.",
    "In this image, there is no cat.",
    "The image contains no such object.",
    "The photo shows no elephant.",
    "I see no cat in the image.",
    "It is not in the image.",
    "The object is absent from the image.",
    "No objects in the image match the description.",
    "There is nothing in the image that matches the description.",
    "Nothing matches the description.",
    "The image does not contain a zebra.",
    "I don't see any cat in the image.",
    "I'm sorry, but there is no such object in the image.",
    "Unfortunately, there is no giraffe in this scene.",
    "There is no such object in the image, so no click is needed.",
    "Two dogs lie on a sofa. There is no cat in the image.",
    "There is no cat in the image. It shows two dogs on a sofa.",
    "The image shows two dogs.\nNo object\nThey lie on a sofa.",
    "No object\nFinish",
    "图中没有该物体。",
    '<tool>{"name": "report_no_mask", "parameters": {}}</tool>',
    "<think>nothing fits</think><tool>\n{'name': 'report_no_mask'}\n</tool>",
    "report_no_mask()",
]
#: What may mean something else, and is read as without the setting.
NOT_SAID = [
    "",
    "No",
    "None",
    "nothing",
    "no more clicks needed",
    "Finish",
    "Done. There is no error in the mask.",
    "I cannot see any image.",
    "I'm sorry, I can't help with that.",
    "I am unable to locate the object in the image.",
    "I cannot find such an object in the image.",
    "There is no image.",
    "No image was provided",
    "Is there no such object?",
    "No object?",
    "No object needs a correction",
    "No object is outside the mask",
    "There is no such object in the mask.",
    "There is no mask in the image.",
    "There are no unpainted parts in the image.",
    "There is no object left in the image",
    "There is no other object in the image.",
    "There is no need to click in the image.",
    "The object is not covered",
    "The object is not painted in the image",
    "There is no green in the image",
    "The image shows no mask",
    "In this image, there are no painted parts",
    "I see no mistakes in the image.",
    "There is nothing to correct in the image.",
    "Nothing matches the mask.",
    "It is not covered.",
    "No, the mask is right.",
    "It is not in the image of the mask",
    "There is no such object on the left, but on the right there is.",
    "There is no red car in the image. However, there is a blue one.",
    "There is no red car in the image.\nHowever, there is a blue one.",
    "The object is here, sorry, no object",
    "There is no object in the image that should be missed.",
    "If there is no such object in the image, answer: No object",
    "There are 2 dogs. There is no cat in the image.",
    "I should not call report_no_mask() here",
    "x" * 300 + " no object",
]
#: By syntax what says so at an empty mask alone.
AT_AN_EMPTY_MASK = {
    "xy1-text": ["Terminate", "<action>Terminate</action>", "<action> Termination </action><answer>a lung</answer>"],
    "xypixel-json": ["[]", "<think>no dog</think><answer>[]</answer>", "```json\n[]\n```", "[ ]"],
    "xy100-point": ["There are none."],
    "xy1000-points": ["There are none."],
}


def _read(reply: str, points: str, *, no_target: bool = True, empty: bool = True, cut_off: bool = False) -> Action:
    absent = None if empty else ()
    return parse(reply, PointFormat.named(points), SIZE, cut_off=cut_off, no_target=no_target, absent=absent)


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("reply", SAID)
def test_what_says_it(reply: str, syntax: str) -> None:
    assert _read(reply, f"xy1000-{syntax}", empty=False) == NONE
    assert _read(reply, f"xy1000-{syntax}", no_target=False).kind != "none"


@pytest.mark.parametrize("syntax", ["text", "segagent", "json"])
@pytest.mark.parametrize("reply", NOT_SAID)
def test_what_may_mean_something_else(reply: str, syntax: str) -> None:
    points = f"xy1000-{syntax}"
    assert _read(reply, points) == _read(reply, points, no_target=False)


@pytest.mark.parametrize(
    ("points", "reply"), [(form, reply) for form in AT_AN_EMPTY_MASK for reply in AT_AN_EMPTY_MASK[form]]
)
def test_models_with_nothing_to_click_say_it_at_an_empty_mask(points: str, reply: str) -> None:
    assert _read(reply, points) == NONE
    assert _read(reply, points, empty=False) == _read(reply, points, no_target=False)
    for other in AT_AN_EMPTY_MASK.keys() - {points}:
        if reply not in AT_AN_EMPTY_MASK[other]:
            assert _read(reply, other) == _read(reply, other, no_target=False)


def test_the_state_decides_which_answers_may_say_it() -> None:
    form = PointFormat.named("xy1-text")

    def meant(reply: Reply, no_target: bool, empty: bool) -> Action:
        return interpret(reply, form, SIZE, track="point", first=True, clicks=(), no_target=no_target, empty=empty)

    ends, says = Reply("<action>Terminate</action>"), Reply("No object")
    assert [meant(ends, True, True).kind, meant(ends, True, False).kind] == ["none", "stop"]
    assert [meant(says, True, False).kind, meant(says, False, True).kind] == ["none", "invalid"]
    assert meant(Reply("No object", finish="refusal"), True, True).reason == "refusal"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("Positive point: (500, 500)\nNo object", "invalid"),
        ("<box>(1,2),(300,400)</box>\nNo object", "invalid"),
        ("No object, or Positive point: (500, 500)", "click"),
        ("There is no object with a hat at the left. Negative point: (500, 500)", "click"),
    ],
)
def test_a_click_and_no_object_are_not_one_decision(reply: str, kind: str) -> None:
    assert _read(reply, PLAIN).kind == kind


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("No object\nThe image shows two do", "none"),
        ("There is no such object in the image.\nIt sho", "none"),
        ("No object", "invalid"),
        ("There is no object in the image", "invalid"),
        ("I think that\nNo object\nis wr", "invalid"),
    ],
)
def test_a_reply_that_was_cut_off_begins_with_the_whole_line(reply: str, kind: str) -> None:
    assert _read(reply, PLAIN, cut_off=True).kind == kind


def test_a_predicted_iou_is_kept() -> None:
    assert _read("Current IOU: 12, No object", "segagent-qwen") == Action("none", predicted_iou=0.12)


def _replies(vectors: Path) -> Iterator[tuple[str, PointFormat]]:
    for case in json.loads((vectors / "parse" / "parse.json").read_text())["cases"]:
        for syntax in SYNTAXES:
            yield case["text"], PointFormat.named(f"xy1000-{syntax}")


def test_no_reply_of_the_reference_vectors_is_read_otherwise(vectors: Path) -> None:
    """None of them says that there is no object, so the setting changes nothing."""
    replies = list(_replies(vectors))
    assert len(replies) > 500
    for reply, form in replies:
        assert parse(reply, form, SIZE, no_target=True, absent=()) == parse(reply, form, SIZE)


_PIECES = st.sampled_from(
    [*SAID[:4], *NOT_SAID, "Positive point: (12, 34)", "<answer>", "[]", "\n", ". ", '{"point_2d": [1, 2]}',
     "Terminate", "<think>", "</think>", "but ", "Current IOU: 3"]
)  # fmt: skip


@given(
    reply=st.one_of(
        st.text(max_size=60), st.lists(_PIECES, max_size=6).map(" ".join), st.lists(_PIECES, max_size=6).map("".join)
    ),
    syntax=st.sampled_from(list(SYNTAXES)),
    cut_off=st.booleans(),
    empty=st.booleans(),
)
def test_the_setting_can_only_turn_an_answer_into_none(reply: str, syntax: str, cut_off: bool, empty: bool) -> None:
    """A click stays a click, or becomes invalid where the reply says both; without the setting nothing is ``none``."""
    points = f"xy1000-{syntax}"
    before = _read(reply, points, no_target=False, empty=empty, cut_off=cut_off)
    after = _read(reply, points, empty=empty, cut_off=cut_off)
    assert before.kind != "none"
    if after != before:
        drawn = before.kind in ("click", "box")
        assert (after.kind, after.reason) == (("invalid", "parse") if drawn else ("none", None))
    assert after.predicted_iou == before.predicted_iou


@given(
    st.sampled_from(list(SYNTAXES)),
    st.sampled_from(["", "\n", " ", "**", "> "]),
    st.sampled_from(["", "\n", ".", "**"]),
)
def test_what_prompts_ask_for_is_read_in_every_syntax(syntax: str, before: str, after: str) -> None:
    assert _read(f"{before}{NO_OBJECT}{after}", f"xy1000-{syntax}", empty=False) == NONE
