"""Read how long a server asks to wait, from headers, the body or the words of its message."""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from hlmat_bench.models.api.error_bodies import Refusal

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = r"\d+(?:\.\d+)?\s*(?:milliseconds?|ms|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|s|m|h|d)(?![a-z])"
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milli|s|m|h|d)[a-z]*", re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_PART}[\s,]*(?:and\s+)?)+", re.IGNORECASE)
_IN_WORDS = re.compile(
    rf"(?:try|retry|retrying|again|wait|available|resets?)\b[^.;:\d]{{0,40}}?((?:{_PART}[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12


def seconds(text: str) -> float | None:
    """Read a duration (``47``, ``47.3s``, ``1m2.5s``, ``350ms``, ``2 hours``) in seconds; None if the text is none.

    >>> seconds("1m2.5s"), seconds("350ms"), seconds("soon")
    (62.5, 0.35, None)
    """
    text = text.strip()
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    return _sum(text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that the headers ask to wait (https://www.rfc-editor.org/rfc/rfc9110#name-retry-after).

    Args:
        headers: headers of the response, by name in lower case. ``retry-after-ms``, which some services send, takes
            precedence over ``retry-after``.

    Returns:
        At least 0; None if the headers name no valid time.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        told = seconds(headers.get(name, ""))
        if told is not None:
            return told * unit
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def pause(headers: Mapping[str, str], error: Refusal) -> float | None:
    """Return the seconds that a refusal asks to wait.

    The first of these that is present: the headers of `retry_after`, a field of the body, the words of the message, the
    time at which the limit ends. ``x-ratelimit-reset-requests`` and ``-tokens``
    (https://platform.openai.com/docs/guides/rate-limits) count only if ``x-ratelimit-remaining-`` of the same limit is
    0; ``x-ratelimit-reset`` is a point in time or a duration.

    Returns:
        At least 0; None if no time is named.
    """
    told = retry_after(headers)
    if told is not None:
        return told
    for text in (error.pause, _in_words(error.message)):
        if text and (told := seconds(text)) is not None:
            return told
    ends = [
        seconds(headers.get(f"x-ratelimit-reset-{limit}", ""))
        for limit in ("requests", "tokens")
        if headers.get(f"x-ratelimit-remaining-{limit}") == "0"
    ]
    if known := [end for end in ends if end is not None]:
        return max(known)
    return _until(error.reset or headers.get("x-ratelimit-reset", ""))


def moment(after: float) -> str:
    """Write the time ``after`` seconds from now as ``YYYY-MM-DD HH:MM UTC``."""
    try:
        then = datetime.fromtimestamp(datetime.now(UTC).timestamp() + after, UTC)
    except (OverflowError, ValueError, OSError):
        return "an unknown time"
    return f"{then:%Y-%m-%d %H:%M} UTC"


def _in_words(message: str) -> str:
    """Return the duration in a sentence such as ``Please try again in 1m2.5s``; empty without one."""
    found = _IN_WORDS.search(message)
    return found[1].strip(" ,") if found else ""


def _sum(text: str) -> float:
    total = 0.0
    for number, unit in _PARTS.findall(text):
        total += float(number) * _UNITS["ms" if unit.lower() == "milli" else unit.lower()]
    return total


def _until(text: str) -> float | None:
    """Return the seconds until a time in seconds or milliseconds since 1970; a small number is already a duration."""
    told = seconds(text)
    if told is None or not math.isfinite(told) or told < _EPOCH_SECONDS:
        return told
    time = told / 1000 if told >= _EPOCH_MILLISECONDS else told
    return max(time - datetime.now(UTC).timestamp(), 0.0)
