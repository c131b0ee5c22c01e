"""Find the field of a request that a server does not accept, and the option that leaves it out.

Servers write this in many ways: ``Unrecognized request argument supplied: seed``, ``Unknown name "seed"``,
``body.seed: Extra inputs are not permitted``, ``does not support parameters: ['seed']``, ``seed must be less than 9``.
"""

from __future__ import annotations

import re

from hlmat_bench.models.api.error_bodies import Refusal

_REFUSES = re.compile(
    r"unrecogni[sz]ed|unknown|unexpected|unsupported|n[o']t support|not (?:supported|permitted|allowed|accepted|valid)"
    r"|forbid|extraneous|extra (?:inputs|fields)|additional propert|invalid|deprecated|incompatible|only supports?|must"
    r"|should be|only [^.]{0,30}(?:is|are) (?:supported|allowed)|too (?:large|big|small|high|low|many)|out of range"
    r"|greater than|less than|range|strictly positive",
    re.IGNORECASE,
)
_ALLOWED = re.compile(
    r"expected one of|did you mean|supported (?:parameters|fields|keys)|allowed (?:properties|fields|keys)|use ['\"`]",
    re.IGNORECASE,
)
_UNKNOWN_FIELD = re.compile(
    r"unexpected keyword|unexpected field|extra inputs|unsupported ?param|not support param|unknown field",
    re.IGNORECASE,
)
_PLAIN_NAMES = ("seed", "temperature", "max_tokens", "max_completion_tokens", "reasoning_effort", "skip_special_tokens")
_NO_FIELD = (401, 402, 403, 404, 405, 407, 408, 409, 413, 429)


def refused_field(status: int, error: Refusal, fields: frozenset[str]) -> str:
    """Return the field of the request that the server does not accept; empty if the refusal is about something else.

    If several fields are refused, ``skip_special_tokens`` comes first: the adapter can leave it out without the user,
    who has not asked for it.
    """
    if status in _NO_FIELD or (status >= 500 and not _UNKNOWN_FIELD.search(error.message)):
        return ""
    words = _ALLOWED.split(error.message)[0]
    refuses = _REFUSES.search(error.message) or error.codes & {"unsupported_parameter", "unsupported_value"}
    if not refuses:
        return ""
    named = sorted(
        (field != "skip_special_tokens", place, field)
        for field in fields
        if (place := 0 if error.param == field else _named_at(field, words)) is not None
    )
    return named[0][2] if named else ""


def _named_at(field: str, words: str) -> int | None:
    """Return the position at which a sentence names a field, as a name and not as a common word; None if nowhere."""
    name = re.escape(field)
    forms = [rf"['\"`\[({{]{name}['\"`\])}}:=](?!\s*:?\s*\[)", rf"\.{name}(?![-\w])", rf"\b{name}: "]
    forms.append(rf"(?:supplied|parameter|field|model): {name}(?![-\w])")
    if field in _PLAIN_NAMES:  # models are called seed-1.6, too
        forms.append(rf"(?<![-\w/.]){name}(?![-\w/])")
    if field == "n":
        forms.append(r"\bn\b ?(?:>|=|must|should|is )")
    found = re.search("|".join(forms), words)
    return found.start() if found else None


def field_advice(field: str, message: str) -> str:
    """Return the advice for a field that the server does not accept: the option that leaves it out or renames it."""
    if field == "max_tokens" and "max_completion_tokens" in message:
        return "add max_tokens_param=max_completion_tokens"
    if field == "max_completion_tokens":
        return "add max_tokens_param=max_tokens"
    if field == "detail":
        return "take another detail=, or leave detail= out"
    if field == "reasoning_effort":
        return "take another reasoning_effort=, or leave reasoning_effort= out"
    if field == "max_tokens":
        return "take another --set max_tokens=, add max_tokens_param=max_completion_tokens, or add leave_out=max_tokens"
    return f"add leave_out={field}"
