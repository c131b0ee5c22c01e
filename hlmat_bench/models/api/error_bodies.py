"""Read the bodies of error responses: JSON of many forms, web pages, plain text.

Forms, with their sources:

- ``{"error": {"message", "type", "param", "code"}}``: https://platform.openai.com/docs/guides/error-codes;
- ``[{"error": {"message", "status", "details": [...]}}]``: Google, https://google.aip.dev/193;
- ``{"detail": "..."}`` or ``{"detail": [{"loc", "msg", "type"}]}``: FastAPI,
  https://fastapi.tiangolo.com/tutorial/handling-errors/;
- ``{"title", "detail", "status"}``: https://www.rfc-editor.org/rfc/rfc9457;
- ``{"error": {"message", "code", "metadata": {"raw", "headers"}}}``: https://openrouter.ai/docs/api-reference/errors;
- any of these as text inside the message of another: gateways pass errors on in this way.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Leaf: TypeAlias = tuple[str, Any]

_MESSAGES = ("message", "msg", "detail", "title", "error", "errors", "error_description", "status_msg", "raw")
_CODES = ("code", "type", "status", "reason", "error_code", "errorcode", "finish_reason", "error_type")
_STATUSES = ("code", "status", "statuscode", "status_code")
_RETRY = ("retrydelay", "retry_after", "retry_after_seconds", "retry-after", "estimated_time")
_ECHOES = ("input", "ctx", "request", "links", "url")  # they repeat the request, or name pages of documentation
_DEEPEST = 8
_LONGEST, _LONGEST_MESSAGE = 100_000, 4_000  # bytes of a page, characters of a message
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The content of an error response.

    Attributes:
        message: the server's words; empty if there are none.
        codes: words for the kind of error (``code``, ``type``, ``status``, ``reason``), in lower case.
        status: an HTTP status from 400 to 599 that the body names; None without one.
        param: the field of the request that the error is about; empty if the body does not name it.
        pause: how long to wait, as the body writes it (``47s``, ``30``); empty if it does not say.
        reset: when the limit ends, as the body writes it; empty if it does not say.
        quotas: the identifiers of exhausted quotas.
    """

    message: str
    codes: frozenset[str] = frozenset()
    status: int | None = None
    param: str = ""
    pause: str = ""
    reset: str = ""
    quotas: tuple[str, ...] = ()


def read_error(data: bytes) -> Refusal:
    """Read the body of an error response; a body in an unknown form is read as plain text."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return Refusal(_plain(data[:_LONGEST].decode(errors="replace"))[:_LONGEST_MESSAGE])
    return of_value(value)


def json_object(data: bytes | str) -> dict[str, Any]:
    """Read a JSON object; return an empty one if the data are anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def of_value(value: Any) -> Refusal:
    """Read an error from parsed JSON: the value of ``error``, or the whole response around it."""
    leaves = [(key.lower(), leaf) for key, leaf in _leaves("error", value, _DEEPEST)]
    words = [leaf.strip() for key, leaf in leaves if key in _MESSAGES and isinstance(leaf, str) and leaf.strip()]
    return Refusal(
        ("; ".join(dict.fromkeys(words)) or (json.dumps(value) if value else ""))[:_LONGEST_MESSAGE],
        frozenset(leaf.lower() for key, leaf in leaves if key in _CODES and isinstance(leaf, str)),
        next((status for key, leaf in leaves if key in _STATUSES and (status := _status(leaf))), None),
        _first(leaves, "param"),
        _first(leaves, *_RETRY),
        _first(leaves, "x-ratelimit-reset"),
        tuple(leaf for key, leaf in leaves if key == "quotaid" and isinstance(leaf, str)),
    )


def _leaves(key: str, value: Any, depth: int) -> Iterator[Leaf]:
    """Yield (key, value) of all numbers, texts, booleans and nulls in a JSON value; items of a list have its key."""
    if depth == 0:
        return
    if isinstance(value, dict):
        if "loc" in value and "msg" in value:  # pydantic's way to say which field is wrong
            yield "msg", f"{_place(value['loc'])}: {value['msg']}"
            yield "type", value.get("type")
            return
        for name, inner in value.items():
            if name.lower() not in _ECHOES:
                yield from _leaves(name, inner, depth - 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(key, inner, depth - 1)
    elif isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        yield from _leaves_of_text(key, value, depth)
    else:
        yield key, value


def _leaves_of_text(key: str, text: str, depth: int) -> Iterator[Leaf]:
    """Yield the leaves of an error that a gateway has passed on as text."""
    try:
        inner = json.loads(text)
    except (ValueError, RecursionError):
        yield key, text
        return
    yield from _leaves(key, inner, depth - 1)


def _place(loc: Any) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else str(loc)


def _status(value: Any) -> int | None:
    text = str(value)
    return int(text) if re.fullmatch(r"[45]\d\d", text) else None


def _first(leaves: list[Leaf], *names: str) -> str:
    return next((str(leaf) for key, leaf in leaves if key in names and leaf is not None), "")


def _plain(text: str) -> str:
    """Return the title of a web page, or plain text unchanged."""
    if "<" not in text[:200]:
        return text
    title = _TITLE.search(text)
    return html.unescape(title[2] if title else re.sub(r"<[^>]*>", " ", text)).strip()
