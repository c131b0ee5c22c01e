"""The forms of text around the numbers of a reply: one reader, one writer and one instruction per syntax.

A reader finds points and boxes in a text, and the sign of a point, if the text states one. It ignores axis order and
units, which belong to the `PointFormat`. No reader ever raises, and all take linear time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hlmat_bench.points.json_reader import read_json
from hlmat_bench.points.reading import Reading
from hlmat_bench.points.tag_readers import read_box, read_det, read_loc, read_point_tag, read_points_tag
from hlmat_bench.points.text_reader import read_segagent, read_text


@dataclass(frozen=True, slots=True)
class Syntax:
    """One way to write a click.

    Attributes:
        read: text -> `Reading`.
        write: (sign word, first number, second number) -> text; the inverse of `read`.
        ask: the form as shown to a model; ``{a}`` and ``{b}`` are its two numbers.
        write_box: (the four numbers) -> text; of their axes' names it is the form as shown to a model. None: the syntax
            has no boxes.
        tags: coordinates stand between tags, which are special tokens in many checkpoints.
        exact: replies are read as they were written, with nothing but the thoughts taken out.
        nothing: answers of models with this syntax that have nothing to click. Alone, and at an empty mask, they say
            that there is no such object.
    """

    read: Callable[[str], Reading]
    write: Callable[[str, str, str], str]
    ask: str
    write_box: Callable[[str, str, str, str], str] | None = None
    tags: bool = False
    exact: bool = False
    nothing: frozenset[str] = frozenset()


def _write_text(sign: str, first: str, second: str) -> str:
    return f"{sign} point: ({first}, {second})"


def _write_json(sign: str, first: str, second: str) -> str:
    return f'{{"point_2d": [{first}, {second}], "label": "{sign.lower()}"}}'


def _write_box_tag(a0: str, b0: str, a1: str, b1: str) -> str:
    return f"<box>({a0},{b0}),({a1},{b1})</box>"


def _write_loc_box(*numbers: str) -> str:
    return "".join(f"<loc{number.zfill(4) if number.isdecimal() else number}>" for number in numbers)


# IBISAgent's only end, with which it also answers whether there is a tumour (Yankai96/IBISAgent, infer/multi_turn.py at
# 12cf56f, verl/utils/reward_score/med_seg.py at 675dae6).
_ENDS = frozenset({"terminate", "termination"})
# VisionReasoner's list without objects (JIA-Lab-research/VisionReasoner, evaluation/calculate_iou_with_bbox_nonobj.py
# at 5c1587f).
_NO_ITEMS = frozenset({"[]", "[ ]"})
# Molmo's answer without points (allenai/molmo, olmo/data/data_formatter.py).
_NO_POINTS = frozenset({"there are none"})
_TEXT_FORM = "Positive point: ({a}, {b})  or  Negative point: ({a}, {b})"

SYNTAXES: dict[str, Syntax] = {
    "text": Syntax(read_text, _write_text, _TEXT_FORM, write_box=_write_box_tag, nothing=_ENDS),
    "segagent": Syntax(read_segagent, _write_text, _TEXT_FORM, write_box=_write_box_tag, exact=True),
    "json": Syntax(
        read_json,
        _write_json,
        '{{"point_2d": [{a}, {b}], "label": "positive"}}  with "positive" or "negative"',
        write_box=lambda *numbers: f'{{"bbox_2d": [{", ".join(numbers)}]}}',
        nothing=_NO_ITEMS,
    ),
    "point": Syntax(
        read_point_tag,
        lambda sign, a, b: f"<point>{a} {b}</point> {sign.lower()}",
        "<point>{a} {b}</point> positive  or  <point>{a} {b}</point> negative",
        write_box=lambda *numbers: f"<box>{' '.join(numbers)}</box>",
        tags=True,
        nothing=_NO_POINTS,
    ),
    "points": Syntax(
        read_points_tag,
        lambda sign, a, b: f'<points coords="1 1 {a} {b}">{sign.lower()}</points>',
        '<points coords="1 1 {a} {b}">positive</points>  with positive or negative',
        tags=True,
        nothing=_NO_POINTS,
    ),
    "box": Syntax(
        read_box,
        lambda sign, a, b: f"<box>({a},{b})</box> {sign.lower()}",
        "<box>({a},{b})</box> positive  or  <box>({a},{b})</box> negative",
        write_box=_write_box_tag,
        tags=True,
    ),
    "det": Syntax(
        read_det,
        lambda sign, a, b: f"<|det|>[[{a}, {b}]]<|/det|> {sign.lower()}",
        "<|det|>[[{a}, {b}]]<|/det|> positive  or  <|det|>[[{a}, {b}]]<|/det|> negative",
        write_box=lambda *numbers: f"<|det|>[[{', '.join(numbers)}]]<|/det|>",
        tags=True,
    ),
    "loc": Syntax(
        read_loc,
        lambda sign, a, b: f"<loc{int(a):04d}><loc{int(b):04d}> {sign.lower()}",
        "<loc{a}><loc{b}> positive  or  <loc{a}><loc{b}> negative",
        write_box=_write_loc_box,
        tags=True,
    ),
}
