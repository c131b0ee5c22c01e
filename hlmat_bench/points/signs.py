"""Reads from words, fields and flags whether a click is positive or negative, in the languages in which models answer.

An unknown word is never read as a positive sign: it names the object where the syntax allows a name, else the sign is
`Sign.UNCLEAR` and the reply is no valid action.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache


class Sign(Enum):
    """The sign of a click, as a reply states it.

    Attributes:
        POSITIVE: the click adds to the mask.
        NEGATIVE: the click removes from the mask.
        NONE: the reply states no sign.
        UNCLEAR: the reply states both signs, negates a sign, or has an unknown word in the place of a sign.
    """

    POSITIVE = "positive"
    NEGATIVE = "negative"
    NONE = "none"
    UNCLEAR = "unclear"


# Words that are a sign anywhere in a text.
STRONG = {
    Sign.POSITIVE: r"positi[vf](?:e|o|a|es|os|as|en|er|ely)?|正[向样樣点點]|正面[点點]|阳性|陽性|ポジティブ|긍정|양성"
    r"|положительн[а-я]{0,3}",
    Sign.NEGATIVE: r"n[ée]gati[vf](?:e|o|a|es|os|as|en|er|ely)?|[负負][向样樣点點]|[负負]面[点點]|阴性|陰性|ネガティブ"
    r"|부정|음성|отрицательн[а-я]{0,3}",
}
_NOT = (
    r"(?<![a-z])(?:not|no|non|false|never|nor|neither|[a-z]{2,6}n't|nicht|keine?|pas|sin|не)[\s-]{1,9}(?:an?\s|the\s)?"
    r"|非|不是|不"
)
_STRONG_WORD = {
    sign: re.compile(rf"(?P<negated>{_NOT})?(?<![a-zà-ÿа-я])(?:{words})(?![a-zà-ÿа-я])", re.IGNORECASE)
    for sign, words in STRONG.items()
}
# Words that are a sign where they are alone, as a label or next to a point; in a sentence they are ordinary words.
_ALONE = {
    word: sign
    for sign, words in {
        Sign.POSITIVE: "pos foreground fg include included including inclusion add added adding plus keep "
        "正 前景 阳 陽 vordergrund einschließen hinzufügen ajouter inclure incluir añadir adicionar",
        Sign.NEGATIVE: "neg background bg exclude excluded excluding exclusion remove removed removing minus subtract "
        "erase delete 负 負 背景 阴 陰 hintergrund ausschließen entfernen exclure supprimer retirer excluir eliminar "
        "quitar fondo fundo фон",
    }.items()
    for word in words.split()
}
_SYMBOLS = {"+": True, "+1": True, "1": True, "1.0": True, "-": False, "-1": False, "0": False, "0.0": False}
_STATED = re.compile(r"\b(?:label|sign|type|polarity)\W{0,3}[:=]\s{0,3}[\"']?([-+]?[01]?)(?![\w.])", re.IGNORECASE)
_YES_NO = {"true": True, "yes": True, "false": False, "no": False, "1": True, "1.0": True, "0": False, "0.0": False}
_NEGATED = "not"
_NEGATIONS = {"not", "no", "non", "never", "nor", "neither", "t", "nicht", "kein", "keine", "pas", "sin", "не"}
# Words that state no sign and name no object: they describe a click, or introduce an answer or a tool call.
_ANSWER_WORDS = {
    "the", "my", "is", "final", "answer", "action", "response", "result", "output", "reply", "current", "iou",
    "miou", "json", "assistant",
}  # fmt: skip
_FILLERS = _ANSWER_WORDS | {
    "a", "an", "this", "that", "are", "it", "its", "at", "of", "on", "in", "here", "i", "click", "clicks",
    "clicked", "clicking", "point", "points", "pointing", "tap", "press", "left", "single", "mouse", "prompt",
    "sample", "marker", "keypoint", "pt", "coordinate", "coordinates", "coords", "location", "position", "box",
    "bbox", "region", "area", "part", "pixel", "pixels", "mask", "object", "target", "px", "label", "type",
    "sign", "kind", "next", "new", "best", "function", "tool", "call", "use", "computer", "text", "message", "ref",
}  # fmt: skip
_CJK_FILLERS = re.compile("点击|點擊|点|點|样本|樣本|提示|标签|类型|答案|坐标|的|向|面|性|为|是")


def together(signs: Iterable[Sign]) -> Sign:
    """Return the sign that several statements about one click agree on; UNCLEAR where they contradict each other."""
    said = set(signs) - {Sign.NONE}
    if len(said) == 1:
        return said.pop()
    return Sign.UNCLEAR if said else Sign.NONE


def of_truth(positive: bool) -> Sign:
    """Return the sign of a click that adds (True) or removes (False)."""
    return Sign.POSITIVE if positive else Sign.NEGATIVE


def of_words(text: str) -> Sign:
    """Return the sign that the words "positive" and "negative" in a text state, in any of the known languages."""
    found = [(sign, match["negated"]) for sign, word in _STRONG_WORD.items() for match in word.finditer(text)]
    if any(negated for _, negated in found):
        return Sign.UNCLEAR
    return together(sign for sign, _ in found)


def of_value(value: object, *, names: bool) -> Sign:
    """Return the sign that the value of a field states.

    Args:
        value: a JSON value.
        names: whether the field may name the object instead, so that an unknown word states no sign.
    """
    if isinstance(value, bool):
        return of_truth(value)
    if isinstance(value, int | float):
        return _symbol(f"{value:g}")
    if not isinstance(value, str):
        return Sign.NONE
    text = _split(value).strip(" \t\n\"'`*()[].,:;!")
    if text in _SYMBOLS:
        return _symbol(text)
    if not names and text in _YES_NO:
        return of_truth(_YES_NO[text])
    said, others = _of_tokens(text)
    if not names and value.strip() and not re.search(r"[^\W_]", text):
        return Sign.UNCLEAR  # "?"
    if others and (said := together((of_words(text), Sign.UNCLEAR if _NEGATED in others else Sign.NONE))) is Sign.NONE:
        misspelt = any(get_close_matches(word, ("positive", "negative"), cutoff=0.86) for word in others)
        return Sign.NONE if names and not misspelt else Sign.UNCLEAR
    return said


def of_alone(value: object) -> Sign:
    """Return the sign that a text states if it contains nothing else; NONE for any other value."""
    said, others = _of_tokens(_split(value)) if isinstance(value, str) else (Sign.NONE, [])
    return Sign.NONE if others else said


def of_flag(key: str, value: object) -> Sign:
    """Return the sign that a field like ``"is_positive": false`` states: the sign in its name, or the opposite."""
    sign = of_key(key)
    if sign not in (Sign.POSITIVE, Sign.NEGATIVE) or value is None:
        return Sign.NONE
    answer = _YES_NO.get((f"{value:g}" if type(value) in (int, float) else str(value)).strip().lower())
    if answer is None:
        return Sign.UNCLEAR
    return of_truth(answer == (sign is Sign.POSITIVE))


@lru_cache(1024)
def of_key(key: str) -> Sign:
    """Return the sign in the name of a field, such as ``positive_point`` or ``isNegative``."""
    said, others = _of_tokens(_split(key))
    return Sign.NONE if others else said


def around(before: str, after: str) -> Sign:
    """Return the sign that the words before and after a point state.

    A sign alone ("background", "-") counts, and so do the words positive and negative in a sentence. A sentence with
    another word for a negative sign is unclear.
    """
    text = f"{before} {after}"
    stated = _STATED.search(text)
    symbol = stated[1] if stated else after.strip(" \t\r\n\"'`*()[].,;:")
    if symbol in _SYMBOLS:
        return together((_symbol(symbol), of_words(text)))
    if before.rstrip(" \t").endswith("-") and of_words(text) is Sign.NONE:
        return Sign.UNCLEAR  # a bullet or a minus sign
    said, others = _of_tokens(_split(text))
    if said is Sign.NONE or others:
        strong = of_words(text)
        return Sign.UNCLEAR if strong is Sign.NONE and said in (Sign.NEGATIVE, Sign.UNCLEAR) else strong
    return said


def says_nothing_else(text: str, *, answer: bool = False) -> bool:
    """Return whether a text contains only signs and words that any reply may have around its coordinates.

    Args:
        text: the text around the coordinates.
        answer: allow only words that introduce an answer, such as "The final answer is".
    """
    known = _ANSWER_WORDS if answer else _FILLERS
    without_number = re.sub(r"\A\W*\d{1,2}[.):]", "", text)
    return not (_of_tokens(_split(text), known)[1] or re.search(r"[?\d]", without_number))


def _symbol(text: str) -> Sign:
    return of_truth(_SYMBOLS[text]) if text in _SYMBOLS else Sign.UNCLEAR


def _split(text: str) -> str:
    """Return a text in lower case, with spaces between the words of camelCase."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()


def _of_tokens(text: str, fillers: Set[str] = _FILLERS) -> tuple[Sign, list[str]]:
    """Return the sign that the single words of a text state, and its words that are neither signs nor fillers."""
    words = [word for token in re.findall(r"[^\W\d_]+", text) for word in _CJK_FILLERS.sub(" ", token).split()]
    signs, others, negated = [], [], False
    for word in words:
        if word in _NEGATIONS:
            negated = True
        elif (sign := _sign_of(word)) is not Sign.NONE:
            signs.append(sign)
        elif word not in fillers:
            others.append(word)
    said = together(signs)
    if negated:
        return (Sign.UNCLEAR if signs else Sign.NONE), [*others, _NEGATED]
    return said, others


def _sign_of(word: str) -> Sign:
    if word in _ALONE:
        return _ALONE[word]
    for sign, strong in _STRONG_WORD.items():
        if strong.fullmatch(word):
            return sign
    return Sign.NONE
