"""What a reply looks like around its numbers: one reader, one writer and one instruction per syntax.

A reader finds points and boxes in a text and says which sign stands with a point, if any. It knows nothing of
axis order or units: that is the `PointFormat`'s business. No reader ever raises, and each takes linear time.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hlmat_bench.points import loose_json, signs
from hlmat_bench.points.answers import is_stop_word, last
from hlmat_bench.points.signs import Sign

# A number that no unit, letter or further digit follows: "50%" and "50px" are read only where the unit says so.
_NUMBER = r"(?<![\w.+-])[-+]?(?:\d+\.?\d*|\.\d+)(?!\w|\s{0,3}%|\s{0,3}px)"
_ONE_NUMBER = re.compile(_NUMBER, re.ASCII)
_NAMED = re.compile(rf"""\b([xy])["']?\s{{0,3}}[=:]\s{{0,3}}["']?({_NUMBER})""", re.ASCII | re.IGNORECASE)
_UNIT = re.compile(r"\d\s{0,3}(?:%|px)", re.IGNORECASE)
_BOX_TAG = re.compile(r"<box>([^<]*)</box>|<\|box_start\|>([^<]*)<\|box_end\|>")
_POINT_TAG = re.compile(r"<points?\b([^<>]*)>([^<]*)(?:</points?>)?")
_OBJECT_NAMES = re.compile(
    r"<ref>[^<]*</ref>|<\|ref\|>[^<]*<\|/ref\|>|<\|object_ref_start\|>[^<]*<\|object_ref_end\|>|</?\|?\w[^<>]*>"
)


@dataclass(frozen=True, slots=True)
class Point:
    """Two numbers as written.

    Attributes:
        first, second: the numbers, in the order they were written (x first where `named`).
        named: the numbers were written with their axes' names, so they are (x, y) whatever the order.
    """

    first: float
    second: float
    named: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader found: the point that counts, the box that counts, or neither.

    Attributes:
        point: two numbers.
        box: four numbers, as written.
        sign: what is said of the sign of the click. NONE beside a point: the point names the object.
        stop: the reply says in this syntax that the work is done.
        start, end: where what was found stands in the text.
        centred: with a sign, the box is a click on its centre.
    """

    point: Point | None = None
    box: tuple[float, float, float, float] | None = None
    sign: Sign = Sign.NONE
    stop: bool = False
    start: int = 0
    end: int = 0
    centred: bool = True


@dataclass(frozen=True, slots=True)
class Syntax:
    """One way to write a click.

    Attributes:
        read: text -> `Reading`.
        write: (sign word, first number, second number) -> text; the inverse of `read`.
        ask: the form as shown to a model; ``{a}`` and ``{b}`` are its two numbers.
        write_box: (the four numbers) -> text; of their axes' names it is the form as shown to a model. None: the syntax
            has no boxes.
        exact: replies are read as they were written, with nothing but the thoughts taken out.
    """

    read: Callable[[str], Reading]
    write: Callable[[str, str, str], str]
    ask: str
    write_box: Callable[[str, str, str, str], str] | None = None
    exact: bool = False


def _numbers(text: str) -> list[float]:
    """The numbers of a text; none where one has a unit that is not the format's."""
    return [] if _UNIT.search(text) else [float(number) for number in _ONE_NUMBER.findall(text)]


def _named_pair(text: str) -> Point | None:
    """The point in ``x=0.5, y=0.25``."""
    named = _NAMED.findall(text)
    values = {axis.lower(): float(number) for axis, number in named}
    return Point(values["x"], values["y"], named=True) if len(named) == len(values) == 2 else None


def _in_group(text: str) -> Reading:
    """The point or the box in the brackets or between the tags of one group; of several boxes the first counts."""
    if (point := _named_pair(text)) is not None:
        return Reading(point)
    numbers = _numbers(text)
    if len(numbers) == 2:
        return Reading(Point(numbers[0], numbers[1]))
    if len(numbers) < 4:
        return Reading()
    groups = [len(_numbers(inner)) for inner in re.findall(r"[\[(]([^\[\]()]*)[\])]", text)]
    whole = sum(groups) == len(numbers) and (set(groups) == {4} or (set(groups) == {2} and len(numbers) % 4 == 0))
    if len(numbers) == 4 or whole:
        return Reading(box=(numbers[0], numbers[1], numbers[2], numbers[3]))
    return Reading()


def without_names(text: str) -> str:
    """Return a text without tags and the names of objects between them."""
    return _OBJECT_NAMES.sub(" ", text)


def _beside(text: str, start: int, end: int) -> Sign:
    """The sign that the words around a place in a text state; names of objects and tags are no such words."""
    return signs.beside(without_names(text[:start]), without_names(text[end:]))


def _last_group(text: str, groups: Sequence[tuple[str, int, int]]) -> Reading:
    """What the last group of numbers says that holds a point or a box, with the sign beside it.

    Args:
        text: all of it.
        groups: what stands in each group, and where the group begins and ends.
    """
    for inner, start, end in reversed(groups):
        reading = _in_group(inner)
        if reading.point is not None or reading.box is not None:
            return replace(reading, sign=_beside(text, start, end), start=start, end=end)
    return Reading()


def _box_tags(text: str) -> list[tuple[str, int, int]]:
    return [(match[1] or match[2] or "", *match.span()) for match in _BOX_TAG.finditer(text)]


def _read_segagent(text: str) -> Reading:
    """As the SegAgent evaluator reads it (evaltools, plain Qwen): whole numbers after the last ``point: ``."""
    positive = "Positive point" in text
    boxed = replace(_last_group("", _box_tags(text)), point=None, sign=Sign.NONE, centred=False)
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


_STRONG = {sign: rf"(?:{words})" for sign, words in signs.STRONG.items()}
_GAP = (
    r"(?:[\s:=*_`\"'$\\~>,#})-]|\.\s|(?:is|at|located|position|location|coordinates?|placed|should be|boxed)\b"
    r"|在|为|是|位于|坐标){0,16}?"
)
_POINT_WORD = r"[\s_-]{0,3}(?:(?:points?|clicks?|prompts?)(?![a-z])|[点點击擊]{1,2})(?:\s?#?\d{1,2}\s?(?=:))?"
_SIGNED = re.compile(
    r"(?P<negated>(?<![a-z])(?:not|no|non|never|nor|neither|[a-z]{2,6}n't|without|false)[\s-]{1,3}(?:an?\s|the\s|any\s)?)?(?<![^\W\d_])"
    rf"(?:(?:(?P<positive>{_STRONG[Sign.POSITIVE]}|pos|foreground|正|前景)"
    rf"|(?:{_STRONG[Sign.NEGATIVE]}|neg|background|[负負]|背景)){_POINT_WORD}|(?:(?P<alone>{_STRONG[Sign.POSITIVE]})|{_STRONG[Sign.NEGATIVE]})[*_\"']{{0,3}}\s?(?=:)){_GAP}"
    rf"(?:<[|\w]{{1,14}}>)?[\[({{<]{{0,3}}[\s\"']{{0,9}}(?P<pair>(?:[xy]\"?\s{{0,3}}[=:]\s{{0,3}})?{_NUMBER}(?:\s{{0,9}}[,;]\s{{0,9}}|\s{{1,9}})\"?"
    rf"(?:[xy]\"?\s{{0,3}}[=:]\s{{0,3}})?{_NUMBER})(?:\s{{0,9}}[\])}}>]|(?!\s{{0,9}}[,;]?\s{{0,9}}[-+.]?\d))",
    re.IGNORECASE | re.ASCII,
)
# A line that holds a point and its sign and nothing else, in either order.
_SIGN_AND_POINT = re.compile(
    r"^[ \t*_`\"'>]{0,5}(?:current m?iou[\s:=]{0,3}[\d.]{1,6}\s?%?[\s,;.]{0,3})?"
    r"(?:(?P<before>positive|negative)[\s,:;]{1,3})?(?:(?:point|click)[\s:=]{0,3})?"
    rf"[\[(]{{0,2}}\s?(?P<pair>{_NUMBER}(?:\s?[,;]\s?|\s){_NUMBER})\s?[\])]{{0,2}}"
    r"(?:[\s,:;]{1,3}[\[(]?(?P<after>positive|negative)[\])]?)?[ \t.*_`\"']{0,5}$",
    re.IGNORECASE | re.ASCII | re.MULTILINE,
)
_THOUGHT = re.compile(r"[\s*#_]*+(?:Thought|Reflection|Action_Summary)\b", re.IGNORECASE)
_ACTION = re.compile(r"^[ \t*#_]{0,9}Action\s{0,9}:", re.IGNORECASE | re.MULTILINE)
_CALL = re.compile(
    r"(?<![\w.])(?:pyautogui\.)?(?:left_?)?(?:click|tap|single)\(([^()]*(?:\([^()]*\)[^()]*){0,4})\)", re.IGNORECASE
)
_ARGUMENT = re.compile(r"(?:start_box|point|coordinates?|coords?|position)\s*=\s*(.*)", re.DOTALL)


def _read_text(text: str) -> Reading:
    """``Positive point: (a, b)`` in any case, with or without brackets, names and commas; of several the last counts.

    Also read are the forms in which models with this syntax point by training: UI-TARS' ``click(start_box='(a,b)')``
    (bytedance/UI-TARS, README_v1.md) and the ``<|box_start|>(a,b)<|box_end|>`` of Qwen2-VL.
    """
    action = last(_ACTION, text) if _THOUGHT.match(text) else None
    begin = action.end() if action else 0
    matches = deque(_SIGNED.finditer(text, begin), maxlen=2)
    boxed = _last_group("", [group for group in _box_tags(text) if group[1] >= begin])
    boxed = replace(boxed, point=None, sign=Sign.NONE, centred=False)
    if matches:
        match, adds = matches[-1], [bool(match["positive"] or match["alone"]) for match in matches]
        both = len(set(adds)) == 2 and matches[0]["pair"] == match["pair"]  # one point with either sign
        sign = Sign.UNCLEAR if both or match["negated"] else signs.of_truth(adds[-1])
        point = _named_pair(match["pair"]) or _in_group(match["pair"]).point
        if point is None or point.named is not bool(re.search("[xy]", match["pair"], re.IGNORECASE)):
            return Reading()
        return Reading(point, boxed.box, sign, start=match.start(), end=match.end())
    if (plain := last(_SIGN_AND_POINT, text[begin:])) is not None and bool(plain["before"]) != bool(plain["after"]):
        sign = signs.of_truth((plain["before"] or plain["after"]).lower() == "positive")
        return Reading(
            _in_group(plain["pair"]).point, boxed.box, sign, start=begin + plain.start(), end=begin + plain.end()
        )
    if (call := last(_CALL, text[begin:])) is not None:
        return _called(text, call, begin)
    tokens = [group for group in _box_tags(text) if group[1] >= begin and text.startswith("<|", group[1])]
    if tokens:
        return _last_group(text, tokens)
    return _lone_box(text) if boxed.box is None else boxed


def _lone_box(text: str) -> Reading:
    """The box of a reply that is nothing but ``[0.1, 0.2, 0.3, 0.4]``, as LLaVA writes it (haotian-liu/LLaVA#606)."""
    match = re.search(r"\[([^\[\]]{7,120})\]", text)
    around = text[: match.start()] + text[match.end() :] if match else ""
    box = _in_group(match[1]).box if match and signs.says_nothing_else(around) else None
    return Reading(box=box, centred=False, start=match.start() if match else 0, end=match.end() if match else 0)


def _called(text: str, call: re.Match[str], begin: int) -> Reading:
    """What a call such as ``click(start_box='(1,2)')`` clicks: a point, or the centre of a box."""
    start, end = begin + call.start(), begin + call.end()
    named = _ARGUMENT.search(call[1])
    reading = _in_group(named[1] if named else call[1])
    point = reading.point
    if reading.box is not None:
        a, b, c, d = reading.box
        point = Point((a + c) / 2, (b + d) / 2)
    words = " ".join(re.findall(r"""=\s*["']([^"'\d<>]+)["']""", call[1]))
    sign = signs.together((signs.of_value(words, names=False), _beside(text, start, end)))
    return Reading(point, sign=sign, start=start, end=end)


def _read_point_tag(text: str) -> Reading:
    """``<point x="1.5" y="2.5" ...>`` (Molmo), ``<points x1= y1= ...>`` or ``<point>1 2</point>`` (MiniCPM-V).

    Of several the first counts. Without any, MiniCPM-V's ``<box>1 2 3 4</box>`` (OpenBMB/MiniCPM-V#185, #982).
    """
    for match in _POINT_TAG.finditer(text):
        attributes, inside = match[1], match[2]
        x, y = (_attribute(axis, attributes) for axis in "xy")
        point, label = (Point(x, y, named=True), inside) if x is not None and y is not None else (None, "")
        if point is None and (point := _in_group(inside).point) is None:
            continue
        sign = signs.together((_attribute_sign(attributes), signs.of_value(label, names=True)))
        if sign is Sign.NONE:
            sign = _beside(text, *match.span())
        return Reading(point, sign=sign, start=match.start(), end=match.end())
    return _last_group(text, [group for group in _box_tags(text) if len(group[0].split()) == 4 and "," not in group[0]])


def _attribute(axis: str, attributes: str) -> float | None:
    found = re.search(rf"""\b{axis}1?\s*=\s*["']?({_NUMBER})""", attributes, re.ASCII)
    return float(found[1]) if found else None


def _attribute_sign(attributes: str) -> Sign:
    """The sign that a tag's attributes state, read as fields of JSON are."""
    found = re.findall(r"""(\w+)\s*=\s*(?:"([^"]*)"|'([^']*)')""", attributes)
    return _fields_sign({key: double or single for key, double, single in found if key != "coords"})


def _read_points_tag(text: str) -> Reading:
    """``<points coords="1 1 900 400 2 911 800">`` (Molmo 2): image number, then number, x, y; the first counts."""
    match = re.search(r"""<points?\b([^<>]*?\bcoords\s*=\s*["']([^"'<>]*)["'][^<>]*)>([^<]*)(?:</points?>)?""", text)
    numbers = _numbers(match[2]) if match else []
    if match is None or len(numbers) < 4:
        return Reading()
    sign = signs.together((_attribute_sign(match[1]), signs.of_value(match[3], names=True)))
    if sign is Sign.NONE:
        sign = _beside(text, *match.span())
    return Reading(Point(numbers[2], numbers[3]), sign=sign, start=match.start(), end=match.end())


def _read_box(text: str) -> Reading:
    return _last_group(text, _box_tags(text))


def _read_det(text: str) -> Reading:
    """``<|det|>[[1, 2, 3, 4]]<|/det|>`` (DeepSeek-VL2); a tag that is begun anew before its end counts from there."""
    groups, position = [], 0
    for piece in text.split("<|det|>"):
        inner, end, _ = piece.partition("<|/det|>")
        if end and position:
            groups.append((inner, position - len("<|det|>"), position + len(inner) + len(end)))
        position += len(piece) + len("<|det|>")
    return _last_group(text, groups)


def _read_loc(text: str) -> Reading:
    """PaliGemma's tokens ``<loc0000>`` to ``<loc1023>``: two together are a point, four a box; the last counts."""
    found = re.finditer(r"(?:<loc\d{4}>\s*+)+", text, re.ASCII)
    return _last_group(text, [(re.sub(r"[^\d]+", " ", match[0]), *match.span()) for match in found])


_POINT_KEYS = tuple(
    re.findall(
        r"\w+",
        """
    point_2d point points coordinate coordinates coord coords click clicks position location xy yx center
    point_coords point_coordinates click_point keypoint
    """,
    )
)
_BOX_KEYS = ("bbox_2d", "box_2d", "bbox", "box", "bounding_box", "bboxes", "boxes")
#: Fields that hold a sign or the name of an action, and those that may name the object instead.
_SIGN_KEYS = {"type", "sign", "kind", "action", "polarity", "click_type", "point_type", "click_sign", "button", "mode",
              "operation", "op", "point_class"}  # fmt: skip
_LABEL_KEYS = {"label", "labels", "point_label", "point_labels", "click_label", "class", "category", "name", "alt"}
_STOP_KEYS = _SIGN_KEYS | {"label", "answer", "response", "result", "output", "status", "decision", "name", "function"}
_STOP_FLAGS = {"finish", "finished", "done", "stop", "complete", "completed", "is_finished", "is_done", "is_complete"}


def _read_json(text: str) -> Reading:
    """``{"point_2d": [a, b], "label": "positive"}`` and its variants, fenced or not; the first object counts.

    A list of numbers alone is read, too, where nothing else is said or GLM's tokens stand around it (zai-org/GLM-V).
    """
    inner = text.rpartition("<|begin_of_box|>")[2]
    offset, inner = len(text) - len(inner), inner.partition("<|end_of_box|>")[0]
    found = list(loose_json.values(inner))
    for value in found:
        for item, finished in _objects(value):
            reading = _read_object(item)
            if reading is None or not (finished or reading.sign in (Sign.POSITIVE, Sign.NEGATIVE) or reading.stop):
                continue
            return _placed(reading, text, found, value, offset)
    if found and (reading := _bare_list(found[0].value)) is not None:
        reading = _placed(reading, text, found, found[0], offset)
        around = text[: reading.start] + text[reading.end :]
        if offset or signs.says_nothing_else(without_names(around)):
            return reading
    if offset and not re.search(r"[^\W\d_]", inner):  # GLM writes any brackets
        end = offset + len(inner)
        return replace(_in_group(inner), sign=_beside(text, offset, end), start=offset, end=end)
    return Reading()


def _placed(
    reading: Reading, text: str, found: Sequence[loose_json.Value], value: loose_json.Value, offset: int
) -> Reading:
    """A reading with its place, and the sign that the words around all values state where it has none of its own."""
    sign = reading.sign
    if sign is Sign.NONE:
        edges = [0, *(offset + edge for one in found for edge in (one.start, one.end)), len(text)]
        pieces = [text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)]
        before = next(number for number, one in enumerate(found, 1) if one is value)
        sign = signs.beside(*(without_names(" ".join(part)) for part in (pieces[:before], pieces[before:])))
    return replace(reading, sign=sign, start=offset + value.start, end=offset + value.end)


def _objects(found: loose_json.Value, strings: int = 2) -> Iterator[tuple[dict[str, Any], bool]]:
    """The dicts of a value, outermost first, with what their parents say of the sign, and whether they are finished.

    Strings that hold JSON, such as the arguments of a tool call, are followed as well, so many levels deep.
    """
    stack: list[tuple[Any, dict[str, Any], bool, int]] = [(found.value, {}, True, strings)]
    unfinished = set(found.unfinished)
    keep = []  # strings' values, so that no id is used twice
    while stack:
        node, said, finished, level = stack.pop()
        children: list[tuple[Any, dict[str, Any], bool, int]] = []
        if isinstance(node, dict):
            finished = finished and id(node) not in unfinished
            yield said | node, finished
            own = said | dict([(key, value) for key, value in node.items() if _tells_sign(key, value)][:16])
            children = [(value, own | _sign_of_key(key), finished, level) for key, value in node.items()]
        elif isinstance(node, list):
            children = [(child, said, finished, level) for child in node]
        elif isinstance(node, str) and "{" in node and level:
            parsed = list(loose_json.values(node))
            keep.append(parsed)
            unfinished.update(*(one.unfinished for one in parsed))
            children = [(one.value, said, finished, level - 1) for one in parsed]
        stack += reversed([child for child in children if isinstance(child[0], dict | list | str)])


def _tells_sign(key: str, value: object) -> bool:
    return not isinstance(value, dict | list) and (
        _plain_key(key) in _SIGN_KEYS | _LABEL_KEYS or signs.of_key(key) is not Sign.NONE
    )


def _sign_of_key(key: str) -> dict[str, Any]:
    """What an object under a key such as ``negative_point`` inherits from it."""
    return {key: True} if signs.of_key(key) is not Sign.NONE else {}


def _read_object(item: dict[str, Any]) -> Reading | None:
    """The point or the box of one object, its sign, or that it says stop; None where it holds nothing of that."""
    keys = {_plain_key(key): key for key in item}
    point = _object_point(item, keys)
    ends = {name for name in keys.keys() & _STOP_KEYS if is_stop_word(item[keys[name]])}
    if ends or any(item[keys[name]] is True for name in keys.keys() & _STOP_FLAGS):
        alone = point is None or ends & {"action", "type"}
        return Reading(stop=True) if point is None or alone else Reading(point[0], sign=Sign.UNCLEAR)
    sign = _fields_sign(item)
    if point is not None:
        return Reading(point[0], sign=signs.together((sign, point[1])))
    for name in _BOX_KEYS:
        if name in keys and (four := _numbers_in(item[keys[name]], 4)):
            return Reading(box=(four[0], four[1], four[2], four[3]), sign=sign)
    return None


def _object_point(item: dict[str, Any], keys: dict[str, str]) -> tuple[Point, Sign] | None:
    """The point of an object, and the sign that the name of its field states."""
    x, y = (_number(item[keys[axis]]) if axis in keys else None for axis in "xy")
    if x is not None and y is not None:
        return Point(x, y, named=True), Sign.NONE
    for name in _POINT_KEYS:
        if name in keys and (pair := _numbers_in(item[keys[name]], 2)):
            return Point(pair[0], pair[1]), Sign.NONE
    for key, value in item.items():
        if (
            isinstance(value, list | str)
            and (sign := signs.of_key(key)) is not Sign.NONE
            and (pair := _numbers_in(value, 2))
        ):
            return Point(pair[0], pair[1]), sign
    return None


def _fields_sign(item: dict[str, Any]) -> Sign:
    """What the fields of an object say of its sign."""
    return signs.together(_field_sign(key, value) for key, value in item.items())


def _field_sign(key: str, value: object) -> Sign:
    while isinstance(value, list) and value:
        value = value[0]
    name = _plain_key(key)
    if isinstance(value, dict | list):
        return Sign.NONE
    if name in _SIGN_KEYS or name in _LABEL_KEYS:
        return signs.of_value(value, names=name in _LABEL_KEYS)
    if signs.of_key(key) is Sign.NONE:
        return signs.of_alone(value)
    if _numbers_in(value, 2) or (isinstance(value, float) and value not in (-1, 0, 1)):
        return Sign.NONE
    return signs.of_flag(key, value)


@lru_cache(1024)
def _plain_key(key: str) -> str:
    """The name of a field in lower case, its words joined by underscores."""
    return re.sub(r"[\s-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key.strip())).lower()


def _number(value: object) -> float | None:
    if isinstance(value, str):
        return loose_json.number(value.strip())
    return value if isinstance(value, float) else None


def _numbers_in(value: object, length: int) -> list[float] | None:
    """So many numbers in a list, in the first of several lists, or in a text with nothing else but brackets."""
    while isinstance(value, list):
        numbers = [number for number in map(_number, value[: length + 1]) if number is not None]
        if len(numbers) == len(value) == length:
            return numbers
        if length == 4 and len(value) == 2 and all(isinstance(corner, list) and len(corner) == 2 for corner in value):
            return _numbers_in([*value[0], *value[1]], 4)
        value = value[0] if value and isinstance(value[0], list | str) and not numbers else None
    if not isinstance(value, str) or re.search(r"[^\s\d.,;()\[\]+-]", value):
        return None
    numbers = _numbers(value)
    return numbers if len(numbers) == length else None


def _bare_list(value: object) -> Reading | None:
    """The point or the box that a list of numbers is; of several the first."""
    if not isinstance(value, list):
        return None
    if four := _numbers_in(value, 4):
        return Reading(box=(four[0], four[1], four[2], four[3]))
    pair = _numbers_in(value, 2)
    return Reading(Point(pair[0], pair[1])) if pair else None


def _write_text(sign: str, first: str, second: str) -> str:
    return f"{sign} point: ({first}, {second})"


def _write_json(sign: str, first: str, second: str) -> str:
    return f'{{"point_2d": [{first}, {second}], "label": "{sign.lower()}"}}'


def _write_box_tag(a0: str, b0: str, a1: str, b1: str) -> str:
    return f"<box>({a0},{b0}),({a1},{b1})</box>"


def _write_loc_box(*numbers: str) -> str:
    return "".join(f"<loc{number.zfill(4) if number.isdecimal() else number}>" for number in numbers)


_TEXT_FORM = "Positive point: ({a}, {b})  or  Negative point: ({a}, {b})"

SYNTAXES: dict[str, Syntax] = {
    "text": Syntax(_read_text, _write_text, _TEXT_FORM, write_box=_write_box_tag),
    "segagent": Syntax(_read_segagent, _write_text, _TEXT_FORM, write_box=_write_box_tag, exact=True),
    "json": Syntax(
        _read_json,
        _write_json,
        '{{"point_2d": [{a}, {b}], "label": "positive"}}  with "positive" or "negative"',
        write_box=lambda *numbers: f'{{"bbox_2d": [{", ".join(numbers)}]}}',
    ),
    "point": Syntax(
        _read_point_tag,
        lambda sign, a, b: f"<point>{a} {b}</point> {sign.lower()}",
        "<point>{a} {b}</point> positive  or  <point>{a} {b}</point> negative",
        write_box=lambda *numbers: f"<box>{' '.join(numbers)}</box>",
    ),
    "points": Syntax(
        _read_points_tag,
        lambda sign, a, b: f'<points coords="1 1 {a} {b}">{sign.lower()}</points>',
        '<points coords="1 1 {a} {b}">positive</points>  with positive or negative',
    ),
    "box": Syntax(
        _read_box,
        lambda sign, a, b: f"<box>({a},{b})</box> {sign.lower()}",
        "<box>({a},{b})</box> positive  or  <box>({a},{b})</box> negative",
        write_box=_write_box_tag,
    ),
    "det": Syntax(
        _read_det,
        lambda sign, a, b: f"<|det|>[[{a}, {b}]]<|/det|> {sign.lower()}",
        "<|det|>[[{a}, {b}]]<|/det|> positive  or  <|det|>[[{a}, {b}]]<|/det|> negative",
        write_box=lambda *numbers: f"<|det|>[[{', '.join(numbers)}]]<|/det|>",
    ),
    "loc": Syntax(
        _read_loc,
        lambda sign, a, b: f"<loc{int(a):04d}><loc{int(b):04d}> {sign.lower()}",
        "<loc{a}><loc{b}> positive  or  <loc{a}><loc{b}> negative",
        write_box=_write_loc_box,
    ),
}
