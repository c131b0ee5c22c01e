"""Reading a chat completion, the JSON that servers of OpenAI's API answer with.

Format: https://platform.openai.com/docs/api-reference/chat/object.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from hlmat_bench.errors import TryAgain
from hlmat_bench.interfaces import Reply
from hlmat_bench.prices import Price

#: Values of ``finish_reason`` that are passed on; any other (``tool_calls``, ...) is as good as none.
_FINISHED = ("stop", "length", "content_filter")


def read(data: bytes, wanted: int, price: Price | None) -> list[Reply]:
    """The replies in the body of a response, at most as many as wanted.

    A reply is what the model wrote, or why it refuses; nothing at all where it ended without a word. Tokens and cost
    are shared out among the replies; the cost also covers choices beyond the wanted ones.

    Raises:
        TryAgain: when the body is no chat completion, or one without text; the message holds what the server says.
    """
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise TryAgain("the answer is no JSON object")
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise TryAgain("the answer has no choice" + _said(answer.get("error")))
    endings = [_ending(choice) for choice in choices]
    usage = answer.get("usage")
    tokens_in, tokens_out = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
    shares = [None] * len(endings) if tokens_out is None else _shares(tokens_out, len(endings))
    cost = None if price is None else price.of(tokens_in, tokens_out)
    kept = min(wanted, len(endings))
    each = None if cost is None else cost / kept
    return [
        Reply(text, tokens_in, share, cost=each, finish=finish)
        for (text, finish), share in list(zip(endings, shares, strict=True))[:kept]
    ]


class Refusal(NamedTuple):
    """What a server says beside a status that means no: a message, and a code where it gives one."""

    message: str
    code: str | None


def read_error(data: bytes) -> Refusal:
    """The error in the body of a response: an object ``error`` with ``message`` and ``code``, or any text."""
    try:
        answer = json.loads(data)
    except ValueError:
        return Refusal(data.decode(errors="replace"), None)
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    if not isinstance(error, dict):
        return Refusal(str(error), None)
    code = error.get("code")
    return Refusal(str(error.get("message") or error), code if isinstance(code, str) else None)


def _ending(choice: Any) -> tuple[str, str | None]:
    """What the model wrote and why it ended."""
    choice = choice if isinstance(choice, dict) else {}
    reason = choice.get("finish_reason")
    finish = reason if reason in _FINISHED else None
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    text, refusal = message.get("content"), message.get("refusal")
    if isinstance(refusal, str) and refusal:
        return (text if isinstance(text, str) and text else refusal), "refusal"
    if isinstance(text, str):
        return text, finish
    if text is None and finish is not None:
        return "", finish
    raise TryAgain("the answer has a choice without text")


def _said(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f": {message}" if message else ""


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else None


def _shares(total: int, parts: int) -> Sequence[int]:
    """A total in whole parts as equal as possible, larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]
