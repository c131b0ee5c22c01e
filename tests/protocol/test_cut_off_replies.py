"""Replies that were cut off at the most tokens: what counts of them."""

from __future__ import annotations

import pytest

from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.protocol.state import interpret

SIZE = (480, 640)
#: The middle of a picture's width and the upper quarter of its height, in `SIZE`.
ADD, REMOVE = (True, 320, 120), (False, 320, 120)

CUT_OFF = [
    ("xy1000", "So maybe Positive point: (100, 100) is on it; no, wait", "parse"),
    ("xy1000", "Positive point: (500, 250)\nI chose this because", ADD),
    ("xy1000", "Current IOU: 74, Negative point: (500, 250) since the", REMOVE),
    ("xy1000", "**Answer:** Negative point: (500, 250)** be", REMOVE),
    ("xy1000", "1. Positive point: (500, 250)\n2. Positive", ADD),
    ("xy1000", "<think>It is there.</think>\nPositive point: (500, 250)\nI", ADD),
    ("xy1000", "<think>Positive point: (500, 250)\nI", "parse"),
    ("xy1000", "Positive point: (100, 100)? Wait. Negative point: (500, 250)", "parse"),
    ("xy1000", "The user wants a dog. <answer>Positive point: (500, 250)", "parse"),
    ("xy1000", "Positive point: 500, 25", "parse"),
    ("xy1000", "Finish. The mask covers", "stop"),
    ("xy1000", "I could say\nFinish\nbut the", "parse"),
    ("xy1000-json", '```json\n[{"point_2d": [500, 250], "label": "positive"}, {"point_2d": [1, 1], "la', ADD),
    ("xy1000-json", 'Let me see: [{"point_2d": [500, 250], "label": "positive"}, {"point_2d": [1, 1], "la', "parse"),
    ("xy1000-json", '{"point_2d": [500, 250], "label": "pos', "parse"),
    ("xy1000-point", " <point>500 250</point> negative. I", REMOVE),
    ("xy1000-point", "Perhaps <point>500 250</point> negative. I", "parse"),
    ("xy1000-box", "<ref>the dog</ref><box>(400,200),(600,300)</box> positive, as", ADD),
    ("xy1000", "Perhaps <box>(400,200),(600,300)</box>, but", "parse"),
    ("xy1000", "<ref>the dog</ref><box>(400,200),(600,300)</box>, which", "box"),
    ("yx1000-segagent", "So maybe Positive point: (250, 500) is on it; no", "parse"),
    ("yx1000-segagent", "Current IOU: 7, Positive point: (250, 500), as", ADD),
    ("yx1000-segagent", "Maybe <box>(400,200),(600,300)</box>; no", "parse"),
    ("xy1000", "I see a dog. <answer>Positive point: (500, 250), for 12", "parse"),
]


@pytest.mark.parametrize(("form", "reply", "wanted"), CUT_OFF)
def test_a_reply_that_was_cut_off_counts_only_where_it_begins_with_the_answer(
    form: str, reply: str, wanted: object
) -> None:
    """Words before the answer may be a thought that the chat template opened; the record holds the reply's finish."""
    action = interpret(
        Reply(reply, finish="length"), PointFormat.named(form), SIZE, track="box+point", first=True, clicks=()
    )
    assert (tuple(action.click) if action.kind == "click" else action.reason or action.kind) == wanted


def test_an_iou_in_a_reply_that_was_cut_off_counts_only_at_its_beginning() -> None:
    form = PointFormat.named("xy1000")
    for reply, value in (
        ("Current IOU: 74, Pos", 0.74),
        ("It may be that the IoU is 74, so", None),
        ("Current IOU: 7", None),
    ):
        action = interpret(Reply(reply, finish="length"), form, SIZE, track="point", first=True, clicks=())
        assert action.predicted_iou == value
