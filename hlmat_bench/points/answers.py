"""Finds the answer in a reply, without thoughts and tokens of the chat template, and whether it stops or refuses."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

# How models mark thoughts: <think>, <thinking>, <seed:think>, <|begin_of_thought|>, Kimi's ◁think▷, Mistral's [THINK],
# MedGemma's <unused94>, Gemma 4's <|channel>thought (its model card, "Thinking Mode Configuration"), Cohere's
# <|START_THINKING|>, Apertus' <|inner_prefix|>, Ollama's "...done thinking.", Open WebUI's <details>.
# Any closing mark closes any opening mark, because no mark is part of an answer.
_NAMES = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|analysis|scratch_?pad|rationale|cot(?:_\w{1,20})?|draft"
    r"|plan(?:ning)?)"
)
_BEFORE = r"(?:\w{1,20}[:_])?"
_CLOSING = (
    rf"</{_BEFORE}{_NAMES}\s?>|<\|/{_BEFORE}{_NAMES}\|>|<\|(?:end|stop)_(?:of_)?{_NAMES}\|>|◁/think▷"
    rf"|\[/THINK(?:ING)?\]|<unused95>|<channel\|>|<\|{_NAMES}_end\|>|<\|inner_suffix\|>"
    r"|\.\.\.done thinking\.|</details>"
)
_OPENING = (
    rf"<\|?{_BEFORE}{_NAMES}(?:_start)?(?:\s[^<>]{{0,80}})?\|?>|<\|(?:begin|start)_(?:of_)?{_NAMES}\|>|◁think▷"
    r"|\[THINK(?:ING)?\]|<unused94>|<\|channel>|<\|inner_prefix\|>|<details\b[^<>]{0,80}>"
)
_MARK = re.compile(rf"(?P<close>{_CLOSING})|{_OPENING}", re.IGNORECASE)
# The end of a prompt that opens a thought: a mark, also with the name of Gemma 4's channel, or harmony's channel.
_OPENED_AT_END = re.compile(rf"(?:(?:{_OPENING})(?:thought)?|<\|channel\|>analysis<\|message\|>)\s*\Z", re.IGNORECASE)
# Harmony, the format of gpt-oss (github.com/openai/harmony, docs/format.md); servers that drop special tokens leave
# "analysis...assistantfinal...", and of Gemma 4's channel the word "thought" on a line of its own.
_NO_TOKENS_FINAL = re.compile(r"assistant\s{0,9}final")
_NO_TOKENS_THOUGHT = re.compile(r"\s*+(?:analysis|commentary)(?=[^\sa-z:,.]|\n)")
_NO_TOKENS_CHANNEL = re.compile(r"\s*+thought[ \t]*+\n")
_FINAL_ANSWER = re.compile(
    r"<answer>|^[ \t*#_]{0,9}answer[*_]{0,3}\s{0,3}:|\bfinal answer\b(?:\s{0,9}is\b)?\W{0,9}?:",
    re.IGNORECASE | re.MULTILINE,
)

_TAGS = r"/?det|/?ref|/?box|box_(?:start|end)|(?:begin|end)_of_box|object_ref_(?:start|end)"
_TOKEN = re.compile(
    rf"<\|(?!(?:{_TAGS})\|)[^|<>]*\|>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn|end_of_utterance|endoftext)>"
    r"|<\|?turn\|?>|\[/?INST\]|\[EO[ST]\]"
)
# A full-width form is ASCII plus 0xFEE0. Invisible characters are dropped, because they would split words and numbers.
_PLAIN = (
    {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
    | dict.fromkeys(map(ord, "\u00a0\u2002\u2003\u2009\u202f\u3000"), " ")
    | dict.fromkeys(map(ord, "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"))
    | {ord(char): plain for char, plain in zip("。、【】〔〕“”‘’−–—«»", '.,[][]""\'\'---""', strict=True)}
)

_STOP_WORDS = (
    r"(?:stop(?:ped)?|finish(?:ed)?|done|completed?|terminated?|完成|已完成|结束|結束|停止|完了|終了|완료|종료|fertig|beendet"
    r"|terminado|finalizado|hecho|listo|fin|fini|termin[ée]|finito|fatto|conclu[ií]do|завершено|готово)"
)
_LEAD = re.compile(
    r"(?:(?:(?:my|the|i|final|next)\s+)*(?:answer|action|response|result|output|reply|decision|conclusion|status|答案|回答)"
    r"(?:\s+is)?\b[\W_]*)+",
    re.IGNORECASE,
)
_BARE_STOP = re.compile(rf"{_STOP_WORDS}(?:\)|\s*\(.*)?", re.IGNORECASE | re.DOTALL)
_STOP_SENTENCE = re.compile(
    rf"{_STOP_WORDS}\s*[.!,;:-]+\s|no (?:more|further|additional|other) (?:clicks?|points?|changes?|corrections?"
    r"|refinements?)(?: (?:is|are))? (?:needed|required|necessary)",
    re.IGNORECASE,
)
#: Words and numbers after which a text asks for something else.
CONTINUES = re.compile(
    r"\b(?:but|however|except|although|though|still|missing|instead|wait|next|then|first|should|must|positive|negative)\b"
    r"|\d",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:(?:i(?:'m| am)|we(?:'re| are)) (?:very |so |really |truly )?"
    r"(?:sorry|afraid|unable|not able|not allowed|not comfortable)"
    r"|sorry,|my apologies|i apologi[sz]e"
    r"|i (?:can ?not|can't|could not|couldn't|won't|will not|must decline"
    r"|have to decline|decline|(?:do not|don't) have the (?:ability|capability)|don't feel comfortable)"
    r"|(?:unable|not able|not possible) to (?:help|assist|comply|see|view|identify|process|provide|determine|locate)"
    r"|as an ai\b|as a (?:large )?language model)"
    r"|\b(?:lo siento|lamento|no puedo|je suis d[ée]sol[ée]|d[ée]sol[ée],|je ne (?:peux|suis) pas"
    r"|tut mir leid|leider kann"
    r"|ich kann (?:\w+ ){0,3}nicht|entschuldigung|desculpe|sinto muito|n[ãa]o posso|mi dispiace|non posso|spiacente"
    r"|извините|к сожалению|не могу|przepraszam|üzgünüm|maaf)"
    r"|抱歉|对不起|對不起|很遗憾|很遺憾|无法|無法|不能(?:帮助|协助|提供|识别)"
    r"|申し訳|できません|すみません|죄송|할 수 없",
    re.IGNORECASE,
)


class ReplyParts(NamedTuple):
    """The parts of a reply from which the action is read.

    Attributes:
        raw: the reply without thoughts, as it was written.
        said: `raw` with punctuation and digits in their ASCII forms, and spaces in place of chat template tokens.
        final: the text after the last mark of a final answer in `said`; all of `said` without such a mark.
        alone: whether the answer counts only where the reply contains nothing else, because it may contain a thought.
    """

    raw: str
    said: str
    final: str
    alone: bool = False


def answer_in(reply: str) -> ReplyParts:
    """Remove the thoughts from a reply and find its final answer. Takes linear time and never raises."""
    raw = _without_thoughts(_final_channel(reply))
    channel = _NO_TOKENS_CHANNEL.match(raw)
    if channel is not None:
        raw = raw[channel.end() :]
    said = _TOKEN.sub(" ", plain_text(raw))
    final = last(_FINAL_ANSWER, said)
    return ReplyParts(raw, said, said if final is None else said[final.end() :], alone=channel is not None)


def opened_thought(prompt: str) -> str:
    """Return the text that opens a thought at the end of a prompt; empty where none is opened."""
    found = _OPENED_AT_END.search(prompt)
    return found[0] if found else ""


def last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """Return the last match of a pattern in a text, or None."""
    matches = deque(pattern.finditer(text), maxlen=1)
    return matches[0] if matches else None


def plain_text(text: str) -> str:
    """Return a text with full-width and typographic punctuation, spaces and digits in their ASCII forms."""
    return text.translate(_PLAIN)


def says_stop(text: str) -> bool:
    """Return whether a stop word is alone on a line of a text, or begins a text that asks for no further click."""
    lines = text.splitlines()
    if any(_BARE_STOP.fullmatch(undecorated(line)) for line in lines):
        return True
    begins = _STOP_SENTENCE.match(undecorated(text, end="") + " ")
    return begins is not None and not CONTINUES.search(text)


def stops_at_last(text: str) -> bool:
    """Return whether a stop word is alone on the last line of a text."""
    return _BARE_STOP.fullmatch(undecorated(text.rstrip().rpartition("\n")[2])) is not None


def begins_with_stop(text: str) -> bool:
    """Return whether the first line of a text that was cut off says stop."""
    return says_stop(text.strip().partition("\n")[0])


def is_stop_word(value: object) -> bool:
    """Return whether the value of a field is a stop word."""
    return isinstance(value, str) and _BARE_STOP.fullmatch(undecorated(value)) is not None


def refuses(text: str) -> bool:
    """Return whether a text declines to answer."""
    return _REFUSAL.search(text) is not None


def undecorated(text: str, end: str = " \t\r\n.,;:!*`\"'_#>-{}[]$~") -> str:
    r"""Return a text without surrounding markup, brackets, \boxed{} and words such as "Answer:"."""
    text = re.sub(r"<[|/]{0,2}\w{1,30}\|?>|\\(?:boxed|text|mathrm)\b", " ", text).lstrip(
        " \t\r\n.,;:!*`\"'_#>-{}[]()$~\\"
    )
    lead = _LEAD.match(text)
    text = text[lead.end() :] if lead else text
    return text.rstrip(end) if end else text


def _final_channel(reply: str) -> str:
    """Return the text in the last ``final`` channel of harmony; a reply in another format is returned unchanged."""
    if "<|channel|>" in reply:
        finals = [part for part in reply.split("<|channel|>")[1:] if part.lstrip().startswith("final")]
        body = re.split(r"<\|(?:end|return|start|call)\|>", finals[-1], maxsplit=1)[0] if finals else ""
        return body.lstrip().removeprefix("final").rpartition("<|message|>")[2]
    if (final := last(_NO_TOKENS_FINAL, reply)) is not None:
        return reply[final.end() :]
    if _NO_TOKENS_THOUGHT.match(reply):
        return ""
    return re.sub(r"\A\s*+final(?=[A-Z{\[<(])", "", reply)


def _without_thoughts(text: str) -> str:
    """Return the text outside thoughts; a closing mark without an opening one ends a thought opened by the template."""
    kept: list[str] = []
    position, thinking = 0, False
    for mark in _MARK.finditer(text):
        if not thinking:
            kept.append(text[position : mark.start()])
        if mark["close"] is None:
            thinking = True
        elif thinking:
            thinking = False
        else:
            kept.clear()
        position = mark.end()
    return "".join(kept) if thinking else "".join([*kept, text[position:]])
