"""The diagnosis names every planted mistake; the replies are computed here, from the conventions' definitions."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Frame, Resize
from hlmat_bench.runs.probe.diagnosis import Diagnosis, ProbeAnswer, diagnose
from hlmat_bench.runs.probe.hypotheses import Convention, SentImage
from hlmat_bench.runs.probe.sentences import sentences

SIZES = [(480, 640), (300, 1000), (48, 64), (1500, 2400), (500, 320), (640, 480), (800, 300), (720, 1280)]
TOPS = {"1": 1, "100": 100, "999": 999, "1000": 1000, "1023": 1023}
ORDERS, UNITS = ("xy", "yx"), ("pixel", *TOPS)
RULES = ("none", "square", "smart-28-3136-12845056", "smart-32-65536-16777216")
CONVENTIONS = list(itertools.product(ORDERS, UNITS, RULES))

WRITTEN = {
    "text": "Positive point: ({}, {})",
    "json": '```json\n[{{"point_2d": [{}, {}], "label": "the red circle"}}]\n```',
    "point": "<point>{} {}</point>",
    "points": '<points coords="1 1 {} {}">the red circle</points>',
    "box": "<ref>the red circle</ref><box>({},{})</box>",
    "det": "<|ref|>the red circle<|/ref|><|det|>[[{}, {}]]<|/det|>",
    "loc": "<loc{:0>4}><loc{:0>4}>",
}

Numbers = tuple[float, float]


def ask(
    order: str = "xy",
    unit: str = "1000",
    rule: str = "none",
    *,
    sent_by: str = "none",
    original: bool = False,
    noise: float = 0.0,
    seed: int = 0,
    count: int = 32,
    form: str = WRITTEN["text"],
    change: Callable[[float, float], Numbers] = lambda x, y: (x, y),
    digits: int | None = None,
) -> list[ProbeAnswer]:
    """Answers of a model that points at every marker and writes in this convention.

    It sees the image after `sent_by` (or the original), changes it by `rule`, and measures on that.
    """
    generator = np.random.default_rng(seed)
    answers = []
    for number in range(count):
        height, width = SIZES[number // 4 % len(SIZES)]
        x, y = generator.uniform(0.05, 0.95, 2) * (width, height)
        frame = Resize.named(sent_by).frame((height, width))
        step = Frame.whole((height, width)) if original else frame
        seen_x, seen_y = step.left + x * step.width / width, step.top + y * step.height / height
        last = Resize.named(rule).frame(step.sent)
        u = (last.left + seen_x * last.width / step.sent[1]) / last.sent[1] + generator.normal(0, 1) * noise
        v = (last.top + seen_y * last.height / step.sent[0]) / last.sent[0] + generator.normal(0, 1) * noise
        a, b = (u * last.sent[1], v * last.sent[0]) if unit == "pixel" else (u * TOPS[unit], v * TOPS[unit])
        a, b = change(a, b)
        places = digits if digits is not None else {"1": 4, "100": 2}.get(unit, 0)
        pair = [f"{n:.{places}f}" for n in ((a, b) if order == "xy" else (b, a))]
        answers.append(ProbeAnswer((x, y), (height, width), frame, form.format(*pair)))
    return answers


def same_canvas(unit: str, rule: str, sent_by: str) -> bool:
    """Check that the true rule leaves what the numbers mean as it is."""
    sent = [Resize.named(sent_by).frame(size).sent for size in SIZES]
    changed = [Resize.named(rule).frame(size) for size in sent]
    if unit == "pixel":
        return [frame.sent for frame in changed] == sent
    return all((frame.height, frame.width) == frame.sent for frame in changed)


def hits(diagnosis: Diagnosis, answers: Sequence[ProbeAnswer], within: float) -> bool:
    """Check that the reading that was found puts every answer on its marker."""
    return all(
        spot is not None and math.dist(spot, answer.target) <= within * math.hypot(*answer.size)
        for spot, answer in zip(diagnosis.found_spots, answers, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("declared", CONVENTIONS, ids="-".join)
def test_every_pair_of_declared_and_true_convention(declared: tuple[str, str, str]) -> None:
    order, unit, sent_by = declared
    points = PointFormat.named(order + unit)
    for seed, (true_order, true_unit, rule) in enumerate(CONVENTIONS):
        answers = ask(true_order, true_unit, rule, sent_by=sent_by, seed=seed, count=20)
        found = diagnose(answers, points, sent_by)
        planted = {
            "order": order != true_order,
            "unit": unit != true_unit,
            "canvas": not same_canvas(true_unit, rule, sent_by),
        }
        expected = {name for name, there in planted.items() if there}
        case = (declared, true_order, true_unit, rule, sentences(found, answers, points))
        assert set(found.mistakes) == expected, case
        assert found.status == ("mistaken" if expected else "fits"), case
        assert hits(found, answers, 0.01), case
        if expected:
            assert found.declare is not None, case
            options = dict(part.split("=") for part in found.declare.split(","))
            assert options["points"] == true_order + true_unit, case
            assert ("resize" in options) == planted["canvas"], case
        else:
            assert found.declare is None, case


RESIZES = Catalog.load().resize_rules()
CATALOGUE = sorted({(entry.points, entry.resize) for entry in Catalog.load().models.values()})


@pytest.mark.slow
@pytest.mark.parametrize("declared", CATALOGUE, ids="_".join)
def test_every_pair_of_the_catalogues_conventions(declared: tuple[str, str]) -> None:
    """Each model of the catalogue, declared as each other one."""
    points, sent_by = PointFormat.named(declared[0]), declared[1]
    for seed, (name, rule) in enumerate(CATALOGUE):
        true = PointFormat.named(name)
        unit = true.unit.removeprefix("0-")
        written = "text" if true.syntax == "segagent" else true.syntax
        answers = ask(true.order, unit, rule, sent_by=sent_by, seed=seed, count=20, form=WRITTEN[written])
        found = diagnose(answers, points, sent_by, rules=RESIZES)
        reads_decimals = points.syntax != "segagent" or unit not in ("1", "100")
        same_syntax = written == ("text" if points.syntax == "segagent" else points.syntax) and reads_decimals
        expected = {
            "order": true.order != points.order,
            "unit": true.unit != points.unit,
            "canvas": not same_canvas(unit, rule, sent_by),
            "syntax": not same_syntax,
        }
        case = (declared, name, rule, sentences(found, answers, points))
        assert set(found.mistakes) == {mistake for mistake, there in expected.items() if there}, case
        assert found.status == ("mistaken" if any(expected.values()) else "fits"), case
        assert hits(found, answers, 0.01), case


@pytest.mark.parametrize("noise", [0.01, 0.02])
@pytest.mark.parametrize("declared", list(itertools.product(ORDERS, UNITS)), ids="".join)
def test_a_model_that_scatters_is_never_told_another_convention(declared: tuple[str, str], noise: float) -> None:
    """What was planted is the reading that was found, or is named as one that cannot be told apart from it."""
    points = PointFormat.named("".join(declared))
    for seed, true in enumerate(itertools.product(ORDERS, UNITS)):
        found = diagnose(ask(*true, noise=noise, seed=seed), points)
        assert found.found is not None
        assert "".join(true) in [found.found.convention.points(), *(convention.points() for convention in found.alike)]
        if declared == true:
            assert found.status == "fits"
        elif {declared[1], true[1]} - {"999", "1000", "1023"} or declared[0] != true[0]:
            assert found.status == "mistaken"


def test_what_cannot_be_told_apart_is_said() -> None:
    for declared, true in itertools.permutations(("999", "1000")):
        answers = ask(unit=true, noise=0.01)
        points = PointFormat.named("xy" + declared)
        found = diagnose(answers, points)
        assert found.status == "fits"
        assert "0-999 and 0-1000 can't be told apart at this scatter." in sentences(found, answers, points)


@pytest.mark.parametrize("unit", ["999", "1000"])
def test_a_range_that_the_answers_do_not_contradict_is_not_called_wrong(unit: str) -> None:
    """They scatter too much to tell 999 from 1000; that the axes are swapped is sure."""
    for seed in range(10):
        found = diagnose(ask("xy", unit, noise=0.02, seed=seed), PointFormat.named(f"yx{unit}"))
        assert (found.mistakes, found.declare) == (("order",), f"points=xy{unit}")


@pytest.mark.parametrize("syntax", WRITTEN)
def test_every_pair_of_syntaxes(syntax: str) -> None:
    points = PointFormat.named(f"yx1000-{syntax}")
    for true, form in WRITTEN.items():
        found = diagnose(ask("yx", form=form), points)
        assert found.syntax == true
        assert found.mistakes == (() if syntax == true else ("syntax",)), true
        assert found.declare == (None if syntax == true else f"points=yx1000{'' if true == 'text' else '-' + true}")


def test_a_wrong_syntax_and_a_wrong_order_are_both_named() -> None:
    answers, points = ask("yx", form=WRITTEN["json"]), PointFormat.named("xy1000")
    found = diagnose(answers, points)
    assert found.mistakes == ("order", "syntax")
    assert found.declare == "points=yx1000-json"
    text = " ".join(sentences(found, answers, points))
    assert "The axes are swapped: the model writes y first" in text
    assert "reads 0 % of the replies; they are written in the syntax json" in text


def test_decimals_where_segagent_wants_whole_numbers() -> None:
    found = diagnose(ask("yx", "1"), PointFormat.named("yx1-segagent"))
    assert found.mistakes == ("syntax",)
    assert found.declare == "points=yx1"


def test_numbers_in_no_syntax() -> None:
    answers, points = ask(form="It is at x={}, y={}."), PointFormat.named("xy1000")
    found = diagnose(answers, points)
    assert (found.mistakes, found.syntax, found.followed) == (("syntax",), "bare", 0.0)
    assert "are in no known syntax, for example 'It is at x=" in sentences(found, answers, points)[0]


def test_a_format_that_is_followed_without_a_sign() -> None:
    answers, points = ask(form="<box>({},{})</box> positive or negative"), PointFormat.named("xy1000-box")
    found = diagnose(answers, points)
    assert found.mistakes == ("syntax",)
    assert "do not say which sign" in sentences(found, answers, points)[0]


def test_axes_written_by_name_are_read_as_in_a_run() -> None:
    named = ask("xy", "100", form='<point x="{}" y="{}" alt="it">it</point>')
    for declared in ("xy100-point", "yx100-point"):
        assert diagnose(named, PointFormat.named(declared)).status == "fits"


def test_axes_written_by_the_wrong_name_cannot_be_declared() -> None:
    found = diagnose(ask("yx", "100", form='<point x="{}" y="{}">it</point>'), PointFormat.named("xy100-point"))
    assert (found.mistakes, found.declare) == (("order",), None)


@pytest.mark.parametrize("unit", ["1000", "pixel", "1"])
def test_an_offset_is_measured(unit: str) -> None:
    step = 20 if unit == "pixel" else TOPS[unit] * 0.05
    answers = ask(unit=unit, noise=0.01, change=lambda x, y: (x + step, y - step / 2), digits=4)
    points = PointFormat.named("xy" + unit)
    found = diagnose(answers, points)
    assert (found.status, found.mistakes, found.declare) == ("mistaken", ("offset",), None)
    assert found.found is not None
    assert found.found.offset is not None
    right, down = found.found.offset.x, found.found.offset.y
    assert found.found.offset.unit == ("px" if unit == "pixel" else "%")
    assert (right, down) == pytest.approx(
        (20, -10) if unit == "pixel" else (5, -2.5), abs=5 if unit == "pixel" else 0.7
    )
    assert "There is an offset" in " ".join(sentences(found, answers, points))


@pytest.mark.parametrize(("unit", "factors"), [("1000", (0.448, 0.448)), ("pixel", (1.28, 1.28)), ("pixel", (2, 0.5))])
def test_a_free_scale_is_measured(unit: str, factors: Numbers) -> None:
    answers = ask(unit=unit, noise=0.01, change=lambda x, y: (x * factors[0], y * factors[1]))
    points = PointFormat.named("xy" + unit)
    found = diagnose(answers, points)
    assert (found.mistakes, found.declare) == (("scale",), None)
    assert found.found is not None
    top = 1 if unit == "pixel" else 1000
    assert found.found.factors == pytest.approx((factors[0] * top, factors[1] * top), rel=0.02)
    both = "in both axes" in " ".join(sentences(found, answers, points))
    assert both == (factors[0] == factors[1])


def test_an_axis_that_runs_the_other_way() -> None:
    answers, points = ask(noise=0.005, change=lambda x, y: (x, 1000 - y)), PointFormat.named("xy1000")
    found = diagnose(answers, points)
    assert found.mistakes == ("scale", "offset")
    assert "counted from the other edge" in " ".join(sentences(found, answers, points))


def test_pixels_of_the_original_where_a_smaller_image_was_sent() -> None:
    small = "fit-long1568-pixels1150000"
    answers = ask(unit="pixel", original=True, sent_by=small, noise=0.01)
    found = diagnose(answers, PointFormat.named("xypixel"), small)
    assert (found.mistakes, found.declare) == (("canvas",), "points=xypixel,resize=none")


def said(answers: list[ProbeAnswer], say: Callable[[np.random.Generator], str | None], seed: int) -> list[ProbeAnswer]:
    generator = np.random.default_rng(seed)
    return [replace(answer, reply=say(generator)) for answer in answers]


def anywhere(generator: np.random.Generator) -> str:
    return WRITTEN["text"].format(*generator.integers(0, 1000, 2))


@pytest.mark.parametrize("declared", ["xy1000", "yxpixel", "xy1"])
def test_a_model_that_points_anywhere_cannot_point(declared: str) -> None:
    """Chance is ruled out at p < 0.005 by two tests, so that one in a hundred passes as an unclear case."""
    points, statuses = PointFormat.named(declared), Counter[str]()
    for seed in range(20):
        answers = said(ask(seed=seed), anywhere, seed)
        found = diagnose(answers, points)
        statuses[found.status] += 1
        assert found.declare is None
        few = diagnose(answers[:12], points)
        assert (few.status in ("silent", "unclear"), few.declare) == (True, None)
    assert statuses["blind"] >= 18
    assert statuses["fits"] == statuses["mistaken"] == 0
    assert sentences(found, answers, points)[0].startswith("This model can't point")


def test_the_middle_of_every_image_is_no_pointing() -> None:
    points = PointFormat.named("xypixel")
    answers = [replace(a, reply=WRITTEN["text"].format(a.size[1] // 2, a.size[0] // 2)) for a in ask()]
    assert diagnose(answers, points).status == "blind"
    constant = said(ask(), lambda generator: "Positive point: (500, 500)", 0)
    assert "It wrote (500, 500) 32 times of 32." in sentences(diagnose(constant, points), constant, points)


def test_a_third_of_right_answers_names_no_convention() -> None:
    points = PointFormat.named("xy1000")
    for seed in range(10):
        answers = ask(seed=seed)
        guesses = said(answers, anywhere, seed)
        mixed = [*guesses[:21], *answers[21:]]
        found = diagnose(mixed, points)
        assert found.status in ("unclear", "blind")
        assert found.declare is None
        assert re.search("unknown|can.t point", sentences(found, mixed, points)[0])


def test_two_thirds_of_right_answers_are_enough() -> None:
    answers = ask("yx")
    guesses = said(answers, anywhere, 0)
    mixed = [*guesses[:10], *answers[10:]]
    assert diagnose(mixed, PointFormat.named("xy1000")).declare == "points=yx1000"


def test_rough_pointing_is_said() -> None:
    answers, points = ask(noise=0.04), PointFormat.named("xy1000")
    assert "But the model points only roughly." in sentences(diagnose(answers, points), answers, points)
    assert diagnose(ask(noise=0.12), points).status == "unclear"


def test_refusals_and_failed_requests_are_counted() -> None:
    answers, points = ask(), PointFormat.named("xy1000")
    for number in range(8):
        answers[number] = replace(answers[number], reply=None if number < 3 else "I'm sorry, I can't help with that.")
    found = diagnose(answers, points)
    assert found.status == "fits"
    text = sentences(found, answers, points)
    assert "3 of 32 requests failed." in text
    assert "5 of 32 replies do not contain two numbers, for example \"I'm sorry, I can't help with that.\"." in text
    assert found.errors[:8] == (None,) * 8


@pytest.mark.parametrize("reply", [None, "", "Finish", "I can't.", "Positive point: (99999999, 3)"])
def test_nothing_is_said_where_nothing_was_answered(reply: str | None) -> None:
    answers, points = said(ask(), lambda generator: reply, 0), PointFormat.named("xy1000")
    found = diagnose(answers, points)
    assert (found.status, found.mistakes, found.found) == ("silent", (), None)
    assert sentences(found, answers, points)[0].startswith("The convention is unknown")


def test_few_answers_are_no_convention() -> None:
    answers = ask()
    few = [replace(answer, reply=answer.reply if number < 7 else "") for number, answer in enumerate(answers)]
    assert diagnose(few, PointFormat.named("xy1000")).status == "silent"


@given(
    order=st.sampled_from(ORDERS), unit=st.sampled_from(UNITS), rule=st.sampled_from(RULES),
    height=st.integers(16, 3000), width=st.integers(16, 3000), a=st.floats(0, 1), b=st.floats(0, 1),
)  # fmt: skip
def test_the_declared_reading_is_the_runs_own(
    order: str, unit: str, rule: str, height: int, width: int, a: float, b: float
) -> None:
    """What the probe calls the declared place is the pixel that a run would click, before rounding."""
    points, size = PointFormat.named(order + unit), (height, width)
    frame = Resize.named(rule).frame(size)
    top = 1.0 if unit != "pixel" else float(min(frame.sent))
    first, second = (n * top * TOPS.get(unit, 1) for n in (a, b))
    pixel = points.to_pixel(first, second, size, frame)
    images = [SentImage(size, frame)]
    [[x, y]] = Convention.declared(points).places(np.array([[first, second]]), images) * (width, height)
    if pixel is not None:
        # A place up to half a pixel beyond the edge is rounded to the edge, which is the last pixel.
        assert abs(x - pixel[0]) <= 1.5 + 1e-6
        assert abs(y - pixel[1]) <= 1.5 + 1e-6
        assert abs(min(x, width - 1) - pixel[0]) <= 0.5 + 1e-6


@given(st.lists(st.none() | st.text(max_size=40), min_size=1, max_size=40), st.sampled_from(["xy1", "yx1000-json"]))
def test_no_reply_breaks_the_diagnosis(replies: list[str | None], declared: str) -> None:
    answers = [replace(answer, reply=reply) for answer, reply in zip(ask(count=len(replies)), replies, strict=True)]
    points = PointFormat.named(declared)
    assert sentences(diagnose(answers, points), answers, points)
