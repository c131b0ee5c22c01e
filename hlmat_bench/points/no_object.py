"""Finds in a reply the statement that the image has no such object, where a task allows this answer.

Read are the words that prompts ask for (``No object``), plain sentences that say the same of the whole image, and the
call of a function by which SAM 3's agent says it. A sentence that may be about the mask, about a part of the object or
about the model itself is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from hlmat_bench.points.answers import CONTINUES, last, refuses, undecorated

#: Longer ones are not read, so that the search takes linear time.
_LONGEST_SENTENCE = 200

_NOUN = (
    r"(?:(?:such|matching|corresponding|referred|described|specified|requested|relevant|suitable|visible|target) ){0,2}"
    r"(?:objects?|targets?|instances?|match(?:es)?|things?|items?|entit(?:y|ies))"
    r"(?: (?:that |which )?(?:match(?:es|ing)?|fits?|fitting|corresponds?(?:ing)? to|of|like) (?:the|this|that)"
    r"(?: (?:given )?(?:description|expression|query|phrase|prompt|kind|type))?)?"
)
_NAME = r"(?P<name>[^\W\d][\w'\" -]{0,90}?|\"[\w'\" -]{1,90}?)"
_IMAGE = r"(?:the|this) (?:(?:given|provided|shown|whole|entire) )?(?:image|picture|photo|photograph|scene)"
_HERE = rf" (?:in|within|on) {_IMAGE}"
_SEEN = r"(?:present|visible|found|seen|detected|identified|shown|depicted)"
_IS_SEEN = rf"(?: (?:(?:is|are|was|were|can be|could be) )?{_SEEN}| exists?)?"
_NO = r"(?:there (?:is|are|was|were|seems to be|appears to be) )?(?:no|not any|not an?)"
_THE = r"(?:the|this|that|these|those|such an?|such)"
_DESCRIBED = (
    r"(?:that |which )?(?:match(?:es|ing)?|fits?|fitting)"
    r" (?:the|this|that) (?:description|expression|query|phrase|prompt)"
)
#: What may stand alone on a line, whatever the other lines say.
_WORDS = re.compile(
    rf"no {_NOUN}{_IS_SEEN}(?:{_HERE})?|(?:object|target) not (?:present|found)(?:{_HERE})?"
    r"|没有(?:该|此|目标)?(?:物体|对象|目标)",
    re.IGNORECASE,
)
_SENTENCES = [
    re.compile(sentence, re.IGNORECASE)
    for sentence in (
        rf"{_NO} {_NOUN}{_IS_SEEN}(?:{_HERE})?",
        rf"{_NO} {_NAME}{_IS_SEEN}{_HERE}",
        rf"(?:{_THE} )?(?:objects?|targets?) (?:(?:is|are|was|were) )?not (?:present|found)(?:{_HERE})?",
        rf"{_THE} (?:{_NOUN}|{_NAME}) (?:is|are|was|were) not(?: {_SEEN})?{_HERE}",
        rf"{_THE} {_NOUN} (?:does|do) not exist(?:{_HERE})?",
        rf"{_THE} {_NAME} (?:does|do) not (?:exist|appear){_HERE}",
        rf"(?:{_THE} {_NOUN}|it) (?:is|are) (?:absent from|not in) {_IMAGE}",
        rf"(?:no objects?|(?:there is )?nothing)(?:{_HERE})? {_DESCRIBED}(?:{_HERE})?",
        rf"{_IMAGE} (?:does not (?:contain|show|include|have|depict) (?:any|an?|the|such an?)"
        rf"|(?:contains|shows|includes|has|depicts) no) (?:{_NOUN}|{_NAME})",
        rf"(?:i|we) (?:do not see (?:any|an?|the|such an?)|see no) (?:{_NOUN}|{_NAME}){_HERE}",
        rf"(?:in|within|on) {_IMAGE},? there (?:is|are) no (?:{_NOUN}|{_NAME})",
        r"(?:图中|图片中|图像中|画面中)?(?:没有|不存在)(?:这样的|该|此|目标|对应的?|符合描述的)?(?:物体|对象|目标)",
        r"(?:该|此|目标)?(?:物体|对象|目标)(?:在图(?:片|像)?中)?不存在",
    )
]
#: What may be absent although the object is there: parts of the mask or of the annotator's work.
_OTHER_THINGS = re.compile(
    r"\b(?:masks?|(?:un)?painted|overlays?|areas?|regions?|parts?|pixels?|clicks?|points?|errors?|mistakes?|needs?|changes?"
    r"|improvements?|corrections?|further|more|another|additional|remaining|else|uncovered|unmarked|covered|segmented"
    r"|highlighted|annotations?|segmentations?|issues?|problems?|images?|background|only|enough|doubt|way|reason"
    r"|informations?|green|blue|red|yellow|magenta|cyan|(?<!the )left)\Z"
    r"|\b(?:masks?|(?:un)?painted|overlays?|clicks?|points?|pixels?|errors?|mistakes?|unmarked|uncovered|segmented"
    r"|annotat\w+|segmentations?|only|except|other|more|further|additional|remaining|else)\b",
    re.IGNORECASE,
)
_NOT = re.compile(r"\b(is|are|was|were|does|do)n't\b", re.IGNORECASE)
_THERE_IS = re.compile(r"\bthere's\b", re.IGNORECASE)
_LEAD = re.compile(
    r"\A(?:(?:i am|i'm) (?:sorry|afraid)|sorry|unfortunately|no(?=,)|it (?:seems|appears|looks like)(?: that)?)\W{1,3}"
    r"(?:but |that )?",
    re.IGNORECASE,
)
_BETWEEN_SENTENCES = re.compile(r"(?<![.!;])[.!;]+(?:\s+|\Z)|\n+|,? (?:so|therefore|thus|hence),? | -+ ", re.IGNORECASE)
# SAM 3's agent (facebookresearch/sam3, sam3/agent/system_prompts/system_prompt.txt).
_CALL = re.compile(
    r"""\{\s*["']name["']\s*:\s*["']report_no_mask["']|^[^\w\n]*report_no_mask\(\s*\)[^\w\n]*$""", re.MULTILINE
)
_FIELD = re.compile(
    r"""["'](?:action|type|label|answer|response|result|output|status|decision)["']\s{0,9}:\s{0,9}"""
    rf"""(?:"([^"]{{1,{_LONGEST_SENTENCE}}})"|'([^']{{1,{_LONGEST_SENTENCE}}})')"""
)
_ACTION = re.compile(r"<action>([^<]*)</action>", re.IGNORECASE)


def says_no_object(text: str) -> bool:
    """Return whether a text says that the image has no such object.

    The words count alone on a line, or as the value of a field such as ``"answer"``. A sentence counts where it is the
    first or the last one, and the text neither refuses nor continues to something else.

    Args:
        text: the final answer in a reply, with ASCII punctuation.
    """
    fields = (double or single for double, single in _FIELD.findall(text))
    lines = (line for line in text.splitlines() if 0 < len(line) <= _LONGEST_SENTENCE and not _asks(line))
    if _CALL.search(text) or any(_WORDS.fullmatch(_normal(line)) for line in lines) or any(map(is_no_object, fields)):
        return True
    plain = _LEAD.sub("", undecorated(text))
    if CONTINUES.search(plain) or refuses(plain):
        return False
    sentences = [sentence for sentence in _BETWEEN_SENTENCES.split(plain) if sentence and sentence.strip()]
    return bool(sentences) and any(is_no_object(sentence) for sentence in (sentences[0], sentences[-1]))


def begins_with_no_object(text: str, *, cut_off: bool) -> bool:
    """Return whether the first line of a text says it; where the text was cut off, the line must be complete."""
    first, more, _ = text.strip().partition("\n")
    return bool(more or not cut_off) and says_no_object(first)


def says_no_object_at_last(text: str) -> bool:
    """Return whether the words are alone on the last line of a text."""
    return is_no_object(text.rstrip().rpartition("\n")[2])


def is_no_object(value: object) -> bool:
    """Return whether one sentence, or the value of a field, is such a statement and nothing else."""
    if not isinstance(value, str) or len(value) > _LONGEST_SENTENCE or _asks(value):
        return False
    plain = _LEAD.sub("", _normal(value))
    if _WORDS.fullmatch(plain):
        return True
    found = [match for sentence in _SENTENCES if (match := sentence.fullmatch(plain))]
    return any(not _OTHER_THINGS.search(match.groupdict().get("name") or "") for match in found)


def _normal(sentence: str) -> str:
    """Return a sentence without markup and short forms, its words one space apart; ``no_object`` has two."""
    plain = undecorated(sentence).replace("_", " ")
    return " ".join(_NOT.sub(r"\1 not", _THERE_IS.sub("there is", plain)).split())


def _asks(sentence: str) -> bool:
    return sentence.rstrip(" *_\"'`").endswith("?")


def answer_of(said: str, final: str) -> str:
    """Return the final answer in a reply, or its last ``<action>``; IBISAgent writes a summary as the answer."""
    action = last(_ACTION, said)
    return final if action is None else action[1]


def is_one_of(answer: str, forms: Collection[str]) -> bool:
    """Return whether an answer is one of these forms, in upper or lower case, with tags and fences around it or not."""
    without_tags = re.sub(r"<[|/]{0,2}\w{1,30}\|?>|```\w{0,9}", " ", answer)
    return bool(forms) and not {_plain(answer), _plain(without_tags)}.isdisjoint(map(_plain, forms))


def _plain(text: str) -> str:
    return " ".join(text.lower().split()).strip(" .,:;!*\"'`")
