from __future__ import annotations

import json
import math
import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.actions import REASONS, Action, parse, predicted_iou
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES

SEGAGENT = PointFormat.named("segagent-qwen")
SIZE = (480, 640)


def test_parse_vectors(vectors: Path) -> None:
    """Every answer that the reference reads as a click is the same click here, and no other answer is one."""
    cases = json.loads((vectors / "parse" / "parse.json").read_text())["cases"]
    clicks = 0
    for case in cases:
        action = parse(case["text"], SEGAGENT, (1000, 1000))
        expected = case["full"]
        if expected["is_positive"] is None:
            assert action.kind != "click", case["text"]
            continue
        y, x = expected["relative"]
        if not (0 <= x <= 1 and 0 <= y <= 1):
            assert action.reason == "out_of_bounds", case["text"]
            continue
        clicks += 1
        wanted = (expected["is_positive"], min(round(x * 1000), 999), min(round(y * 1000), 999))
        assert (action.positive, action.x, action.y) == wanted, case["text"]
    assert clicks > 80


#: Boxes that the reference reads otherwise, each with the box here.
BOXES_DECIDED: dict[str, tuple[int, int, int, int] | None] = {
    # A space between a box's numbers: the reference finds no box.
    "<box>(1, 2), (3, 4)</box> Positive point: (5, 6)": (1, 2, 3, 4),
    "<box>(1 2),(3 4)</box> Positive point: (5, 6)": (1, 2, 3, 4),
    # The reference takes any two pairs of numbers; here a box stands between its two tags.
    "(1,2),(3,4) Positive point: (5, 6)": None,
    "<box>(1,2),(3,4) Positive point: (5, 6)": None,
    "(11,22),(33,44)</box> Negative point: (5, 6)": None,
}


def test_boxes_of_parse_vectors(vectors: Path) -> None:
    """The reference's boxes, in whole pixels. One that leaves the image or has no inside is none here."""
    cases = json.loads((vectors / "parse" / "parse.json").read_text())["cases"]
    decided, found = set(), 0
    for case in cases:
        text, expected = case["text"], case["full_box"]
        assert {key: expected[key] for key in ("is_positive", "relative")} == case["full"], text
        x0, y0, x1, y1 = wanted = tuple(math.floor(edge) for edge in expected["box"])
        box = wanted if 0 <= x0 < x1 <= 1000 and 0 <= y0 < y1 <= 1000 else None
        if text in BOXES_DECIDED:
            decided.add(text)
            assert box != BOXES_DECIDED[text], text
            box = BOXES_DECIDED[text]
        assert parse(text, SEGAGENT, (1000, 1000)).box == box, text
        found += box is not None
    assert decided == set(BOXES_DECIDED)
    assert found == 24


@pytest.mark.parametrize(
    ("form", "reply", "click"),
    [
        ("xy1000", "Positive point: (500, 250)", (True, 320, 120)),
        ("xy1000", "I think:\n**negative point: [500, 250]**", (False, 320, 120)),
        ("xy1000", "A Positive point: (1, 2)? No. Negative point: (500, 250)", (False, 320, 120)),
        ("yx1", "Current mIoU: 0.4, Positive point: (0.25, 0.5)", (True, 320, 120)),
        ("xy1000", "(500, 250) positive", (True, 320, 120)),
        ("xy1000", "Point: (500, 250), negative", (False, 320, 120)),
        ("xy1000", "Current IOU: 40, [500, 250] (Negative)", (False, 320, 120)),
        ("xy1000", "positive 500 250", (True, 320, 120)),
        ("xy1000-json", '```json\n[{"point_2d": [500, 250], "label": "positive"}]\n```', (True, 320, 120)),
        ("xy1000-json", '{"point_2d": [500, 250], "label": "negative click"}', (False, 320, 120)),
        ("xy1000-json", '{"point": [500, 250], "label": 0}', (False, 320, 120)),
        ("xy1000-json", '{"point": [500, 250], "positive": false}', (False, 320, 120)),
        ("yx1000-json", '[{"point": [250, 500], "label": "the dog"}]', (True, 320, 120)),
        ("yx1000-json", '{"x": 500, "y": 250, "type": "positive"}', (True, 320, 120)),
        ("xy1000-json", 'Negative. {"point_2d": [500, 250], "label": "sky"}', (False, 320, 120)),
        ("xy1000-json", '{"bbox_2d": [400, 200, 600, 300], "label": "x"} a positive click', (True, 320, 120)),
        ("xy100-point", '<point x="50.0" y="25.0" alt="dog">dog</point>', (True, 320, 120)),
        ("xy100-point", '<point x="50" y="25" alt="negative">negative</point>', (False, 320, 120)),
        ("xy100-point", '<points x1="50" y1="25" x2="9" y2="9" alt="dogs">dogs</points>', (True, 320, 120)),
        ("xy1000-point", "<point>500 250</point> negative", (False, 320, 120)),
        ("xy1000-points", '<points coords="1 1 500 250 2 911 800">positive</points>', (True, 320, 120)),
        ("xy1000-box", "<ref>dog</ref><box>(400,200),(600,300)</box> Positive", (True, 320, 120)),
        ("xy1000-box", "<box>400 200 600 300</box> negative", (False, 320, 120)),
        ("xy1000-det", "<|ref|>dog<|/ref|><|det|>[[400, 200, 600, 300]]<|/det|> positive", (True, 320, 120)),
        ("yx1023-loc", "<loc0512><loc0256> negative", (False, 160, 240)),
        ("xypixel-json", '{"point_2d": [320, 120], "label": "positive"}<|im_end|>', (True, 320, 120)),
    ],
)
def test_clicks(form: str, reply: str, click: tuple[bool, int, int]) -> None:
    action = parse(reply, PointFormat.named(form), SIZE)
    assert (action.kind, tuple(action.click) if action.kind == "click" else action) == ("click", click)


@pytest.mark.parametrize(
    ("form", "reply", "reason"),
    [
        ("xy1000", "", "empty"),
        ("xy1000", " <|im_end|></s>", "empty"),
        ("xy1000", "I'm sorry, but I can't help with that.", "refusal"),
        ("xy1000", "I’m sorry, I cannot identify people.", "refusal"),
        ("xy1000", "The dog is on the left.", "parse"),
        ("xy1000", "Point: (500, 250)", "parse"),
        ("xy1000", "positive (500, 250) negative", "parse"),
        ("xy1000", "not positive (500, 250)", "parse"),
        ("xy1000", "Positive point: (500, 1001)", "out_of_bounds"),
        ("xy1", "Positive point: (500, 250)", "out_of_bounds"),
        ("xy1000", "Positive point: (-1, 5)", "out_of_bounds"),
        ("xy1000-json", '{"point_2d": [500, 250]} is it positive or negative?', "parse"),
        ("xy1000-json", '{"point_2d": [500, "left"]}', "parse"),
        ("xy1000-json", '{"point_2d": [500, 250', "parse"),
        ("xy1000-json", "[" * 100_000, "parse"),
        ("xy1000-json", '{"point_2d": [1e400, NaN], "label": "positive"}', "out_of_bounds"),
        ("xy100-point", '<point x="101" y="25" alt="dog">dog</point>', "out_of_bounds"),
        ("xy1000-box", "<box>(600,200),(400,300)</box>", "out_of_bounds"),
        ("segagent-qwen", "Positive point: (0.5, 0.3)", "parse"),
        ("segagent-qwen", f"Positive point: ({'9' * 10_000}, 1)", "parse"),
        ("segagent-qwen", f"Positive point: ({'9' * 400}, 1)", "out_of_bounds"),
    ],
)
def test_refusals_have_their_reason(form: str, reply: str, reason: str) -> None:
    action = parse(reply, PointFormat.named(form), SIZE)
    assert (action.kind, action.reason) == ("invalid", reason)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ("<think>Positive point: (1, 1)? No.</think>Negative point: (500, 250)", "click"),
        ("or Positive point: (1, 1).</think>\n\nNegative point: (500, 250)", "click"),
        ("◁think▷Positive point: (1, 1)◁/think▷Negative point: (500, 250)", "click"),
        ("<think>a</think><think>Positive point: (1, 1)</think>Negative point: (500, 250)", "click"),
        ("<think>Negative point: (500, 250), but then the", "invalid"),
        ("<think>mIoU: 0.5, Negative point: (500, 250)</think>", "invalid"),
        ("<think>It is done.</think>Finish", "stop"),
    ],
)
def test_thoughts_are_no_answer(reply: str, kind: str) -> None:
    action = parse(reply, PointFormat.named("xy1000"), SIZE)
    assert action.kind == kind
    assert action.predicted_iou is None
    if kind == "click":
        assert tuple(action.click) == (False, round(0.5 * SIZE[1]), round(0.25 * SIZE[0]))
    if kind == "invalid":
        assert action.reason == "parse"


@pytest.mark.parametrize(
    "reply",
    [
        "Finish",
        "Finish.",
        "finish<|im_end|>",
        "**Stop**",
        "Done!",
        "Current IOU: 93, Finish",
        "mIoU: 0.93. finished",
    ],
)
def test_stop(reply: str) -> None:
    assert parse(reply, SEGAGENT, SIZE).kind == "stop"


def test_stop_as_json_and_not_inside_a_sentence() -> None:
    assert parse('{"action": "finish"}', PointFormat.named("xy1000-json"), SIZE).kind == "stop"
    assert parse("I can't stop here", SEGAGENT, SIZE).kind == "invalid"


def test_box_alone_is_a_box_and_beside_a_click_belongs_to_it() -> None:
    box = parse("<ref>dog</ref><box>(249,123),(534,496)</box>", SEGAGENT, (999, 999))
    assert (box.kind, box.box) == ("box", (249, 123, 534, 496))
    both = parse("<box>(249,123),(534,496)</box> Positive point: (500, 250)", SEGAGENT, (999, 999))
    assert (both.kind, both.box, both.x) == ("click", (249, 123, 534, 496), round(0.25 * 999))


@pytest.mark.parametrize(
    ("text", "percent", "fraction"),
    [
        ("Current IOU: 74, Positive point: (1, 2)", 0.74, None),
        ("Current IOU: 0, Positive point: (1, 2)", 0.0, 0.0),
        ("Current IOU: 85.2. Positive point: (1, 2)", 0.852, None),
        ("Current IOU: 0.8, Positive point: (1, 2)", 0.008, 0.8),
        ("Current mIoU: 0.05, Positive point: (1, 2)", 0.0005, 0.05),
        ("Current mIoU: 1.0", 0.01, 1.0),
        ("Current IOU: 1", 0.01, 1.0),
        ("Current IOU: 100", 1.0, None),
        ("Current IoU: 0.5%", 0.005, 0.005),
        ("Current IoU: 74 %", 0.74, 0.74),
        ("Current IoU: 74 percent", 0.74, 0.74),
        ("Current IOU：７４％", 0.74, 0.74),
        ("The estimated IoU is about 0.5", 0.005, 0.5),
        ('{"current_iou": 74}', 0.74, None),
        ("Current IOU: 12, then Current IOU: 60", 0.6, None),
        ("Current IOU: 101", None, None),
        ("Current IOU: 0,74", None, None),
        ("Current IOU: 70-80", None, None),
        ("Current IOU: high", None, None),
        ("Current IOU: -5", None, None),
        ("Positive point: (74, 74)", None, None),
    ],
)
def test_predicted_iou_in_the_declared_unit(text: str, percent: float | None, fraction: float | None) -> None:
    """The unit is declared and never guessed from a number; a per cent sign is per cent in both."""
    for form, value in (("xy1000", percent), ("xy1000-iou1", fraction)):
        got = parse(text, PointFormat.named(form), SIZE).predicted_iou
        assert got == (None if value is None else pytest.approx(value))
    if text.isascii():
        assert predicted_iou(text) == (None if percent is None else pytest.approx(percent))


FRAGMENTS = [
    "Positive point: ", "Negative point: ", "point: ", "(", ")", "[", "]", "{", "}", ",", "500", "-1", "0.5", "1e9",
    "<box>", "</box>", "<point x=", ' y="', "<points coords=\"", "<|det|>", "<|/det|>", "<loc0512>", '{"point_2d":',
    '"label":', '"positive"', "Current IOU: ", "Finish", "\x00", "\u202e", "٣", "９", "\ud800", "\n", "nan",
    "```json", "I'm sorry",
]  # fmt: skip


def _is_sound(action: Action) -> bool:
    if action.kind == "click":
        x, y = action.x, action.y
        return action.positive is not None and x is not None and y is not None and 0 <= x < 640 and 0 <= y < 480
    return action.kind in ("box", "stop") or (action.kind == "invalid" and action.reason in REASONS)


@pytest.mark.slow
def test_a_hundred_thousand_random_and_mutated_strings_never_raise() -> None:
    generator = random.Random(0)
    forms = [PointFormat.named(name) for name in ("segagent-qwen", *(f"xy1000-{syntax}" for syntax in SYNTAXES))]
    for number in range(100_000):
        text = "".join(generator.choices(FRAGMENTS, k=generator.randrange(12)))
        for _ in range(generator.randrange(3)):
            at = generator.randrange(len(text) + 1)
            text = text[:at] + generator.choice(string.printable) + text[at + generator.randrange(3) :]
        assert _is_sound(parse(text, forms[number % len(forms)], SIZE)), text


@given(st.text(), st.sampled_from(sorted(SYNTAXES)))
def test_any_text_is_read_soundly(text: str, syntax: str) -> None:
    assert _is_sound(parse(text, PointFormat.named(f"yx1-{syntax}"), SIZE))
