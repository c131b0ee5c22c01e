"""Reads clicks in words: ``Positive point: (a, b)``, forms close to it, and calls of a function that clicks."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace

from hlmat_bench.points import signs
from hlmat_bench.points.answers import last
from hlmat_bench.points.reading import NUMBER, Point, Reading, box_tags, in_group, last_group, named_pair, sign_around
from hlmat_bench.points.signs import Sign


def read_segagent(text: str) -> Reading:
    """Read a reply as the SegAgent evaluator does (evaltools, plain Qwen): whole numbers after the last ``point: ``."""
    positive = "Positive point" in text
    boxed = replace(last_group("", box_tags(text)), point=None, sign=Sign.NONE, centred=False)
    if not positive and "Negative point" not in text:
        return boxed
    sign = signs.of_truth(positive)
    match = re.search(r"\((.*?)\)", text.rpartition("point: ")[2])
    try:
        first, second, *_ = [int(part) for part in match[1].split(",")] if match else []
    except ValueError:
        return boxed
    start = (
        text.rfind("point: ") if "point: " in text else text.index("Positive point" if positive else "Negative point")
    )
    return Reading(Point(first, second), boxed.box, sign, start=start, end=len(text))


_POSITIVE, _NEGATIVE = (rf"(?:{signs.STRONG[sign]})" for sign in (Sign.POSITIVE, Sign.NEGATIVE))
# A negation, as in "not a positive point", makes the sign UNCLEAR.
_NEGATION = (
    r"(?P<negated>(?<![a-z])(?:not|no|non|never|nor|neither|[a-z]{2,6}n't|without|false)[\s-]{1,3}"
    r"(?:an?\s|the\s|any\s)?)?(?<![^\W\d_])"
)
_POINT_WORD = r"[\s_-]{0,3}(?:(?:points?|clicks?|prompts?)(?![a-z])|[点點击擊]{1,2})(?:\s?#?\d{1,2}\s?(?=:))?"
_SIGN_WITH_WORD = (
    rf"(?:(?P<positive>{_POSITIVE}|pos|foreground|正|前景)"
    rf"|(?:{_NEGATIVE}|neg|background|[负負]|背景)){_POINT_WORD}"
)
_SIGN_WITH_COLON = rf"(?:(?P<alone>{_POSITIVE})|{_NEGATIVE})[*_\"']{{0,3}}\s?(?=:)"
# Marks and small words between the sign and the numbers; at most 16, so that the search takes linear time.
_GAP = (
    r"(?:[\s:=*_`\"'$\\~>,#})-]|\.\s|(?:is|at|located|position|location|coordinates?|placed|should be|boxed)\b"
    r"|在|为|是|位于|坐标){0,16}?"
)
_OPENING = r"(?:<[|\w]{1,14}>)?[\[({<]{0,3}[\s\"']{0,9}"
_AXIS = r"(?:[xy]\"?\s{0,3}[=:]\s{0,3})?"
_TWO_NUMBERS = rf"(?P<pair>{_AXIS}{NUMBER}(?:\s{{0,9}}[,;]\s{{0,9}}|\s{{1,9}})\"?{_AXIS}{NUMBER})"
_NO_THIRD = r"(?:\s{0,9}[\])}>]|(?!\s{0,9}[,;]?\s{0,9}[-+.]?\d))"
_SIGNED = re.compile(
    f"{_NEGATION}(?:{_SIGN_WITH_WORD}|{_SIGN_WITH_COLON}){_GAP}{_OPENING}{_TWO_NUMBERS}{_NO_THIRD}",
    re.IGNORECASE | re.ASCII,
)
# A line with only a point and its sign, in either order.
_SIGN_AND_POINT = re.compile(
    r"^[ \t*_`\"'>]{0,5}(?:current m?iou[\s:=]{0,3}[\d.]{1,6}\s?%?[\s,;.]{0,3})?"
    r"(?:(?P<before>positive|negative)[\s,:;]{1,3})?(?:(?:point|click)[\s:=]{0,3})?"
    rf"[\[(]{{0,2}}\s?(?P<pair>{NUMBER}(?:\s?[,;]\s?|\s){NUMBER})\s?[\])]{{0,2}}"
    r"(?:[\s,:;]{1,3}[\[(]?(?P<after>positive|negative)[\])]?)?[ \t.*_`\"']{0,5}$",
    re.IGNORECASE | re.ASCII | re.MULTILINE,
)
_THOUGHT = re.compile(r"[\s*#_]*+(?:Thought|Reflection|Action_Summary)\b", re.IGNORECASE)
_ACTION = re.compile(r"^[ \t*#_]{0,9}Action\s{0,9}:", re.IGNORECASE | re.MULTILINE)
_CALL = re.compile(
    r"(?<![\w.])(?:pyautogui\.)?(?:left_?)?(?:click|tap|single)\(([^()]*(?:\([^()]*\)[^()]*){0,4})\)", re.IGNORECASE
)
_ARGUMENT = re.compile(r"(?:start_box|point|coordinates?|coords?|position)\s*=\s*(.*)", re.DOTALL)


def read_text(text: str) -> Reading:
    """Read the last ``Positive point: (a, b)``, in upper or lower case, with or without brackets and commas.

    Forms that models with this syntax learned in training are read, too: ``click(start_box='(a,b)')`` of UI-TARS
    (bytedance/UI-TARS, README_v1.md) and ``<|box_start|>(a,b)<|box_end|>`` of Qwen2-VL.
    """
    action = last(_ACTION, text) if _THOUGHT.match(text) else None
    begin = action.end() if action else 0
    matches = deque(_SIGNED.finditer(text, begin), maxlen=2)
    boxed = last_group("", [group for group in box_tags(text) if group[1] >= begin])
    boxed = replace(boxed, point=None, sign=Sign.NONE, centred=False)
    if matches:
        match, adds = matches[-1], [bool(match["positive"] or match["alone"]) for match in matches]
        both = len(set(adds)) == 2 and matches[0]["pair"] == match["pair"]  # one point with either sign
        sign = Sign.UNCLEAR if both or match["negated"] else signs.of_truth(adds[-1])
        point = named_pair(match["pair"]) or in_group(match["pair"]).point
        if point is None or point.named is not bool(re.search("[xy]", match["pair"], re.IGNORECASE)):
            return Reading()
        return Reading(point, boxed.box, sign, start=match.start(), end=match.end())
    if (plain := last(_SIGN_AND_POINT, text[begin:])) is not None and bool(plain["before"]) != bool(plain["after"]):
        sign = signs.of_truth((plain["before"] or plain["after"]).lower() == "positive")
        return Reading(
            in_group(plain["pair"]).point, boxed.box, sign, start=begin + plain.start(), end=begin + plain.end()
        )
    if (call := last(_CALL, text[begin:])) is not None:
        return _called(text, call, begin)
    tokens = [group for group in box_tags(text) if group[1] >= begin and text.startswith("<|", group[1])]
    if tokens:
        return last_group(text, tokens)
    return _lone_box(text) if boxed.box is None else boxed


def _lone_box(text: str) -> Reading:
    """Read a reply with only a box ``[0.1, 0.2, 0.3, 0.4]``, as LLaVA writes it (haotian-liu/LLaVA#606)."""
    match = re.search(r"\[([^\[\]]{7,120})\]", text)
    around = text[: match.start()] + text[match.end() :] if match else ""
    box = in_group(match[1]).box if match and signs.says_nothing_else(around) else None
    return Reading(box=box, centred=False, start=match.start() if match else 0, end=match.end() if match else 0)


def _called(text: str, call: re.Match[str], begin: int) -> Reading:
    """Read a call such as ``click(start_box='(1,2)')``, which clicks a point or the centre of a box."""
    start, end = begin + call.start(), begin + call.end()
    named = _ARGUMENT.search(call[1])
    reading = in_group(named[1] if named else call[1])
    point = reading.point
    if reading.box is not None:
        a, b, c, d = reading.box
        point = Point((a + c) / 2, (b + d) / 2)
    words = " ".join(re.findall(r"""=\s*["']([^"'\d<>]+)["']""", call[1]))
    sign = signs.together((signs.of_value(words, names=False), sign_around(text, start, end)))
    return Reading(point, sign=sign, start=start, end=end)
