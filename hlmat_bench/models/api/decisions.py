"""Decide what to do when a server refuses a request: a pure function of status, headers and body.

Services report one problem with different statuses (an unknown model is 404, 400 or 500; no credit is 402, 429 or
400), so the rules (`refusals.py`) look at codes and words first and at the status last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hlmat_bench.core.errors import HlmatError, RequestFailed, TryAgain, UsageError
from hlmat_bench.models.api.error_bodies import Refusal, read_error
from hlmat_bench.models.api.refusals import ADVICE, DAILY, LATE_RULES, RULES, TOO_MANY, Fate
from hlmat_bench.models.api.refused_fields import field_advice, refused_field
from hlmat_bench.models.api.waiting_times import moment, pause


class ErrorAnswer(HlmatError):
    """The body of a response with a success status holds an error."""


class Withheld(HlmatError):
    """The service's content filter blocks a prompt."""


class FieldRefused(UsageError):
    """The server does not accept a field of the request.

    Attributes:
        field: name of the field.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Decision(NamedTuple):
    """What to do about a refused request.

    Attributes:
        fate: what happens to the request, see `Fate`.
        message: the server's message, with the status.
        advice: what the user can do if every request fails in this way: an imperative without a full stop.
        after: seconds that the server asks to wait; None if it does not say.
        too_many: True if the server refuses because of too many requests, or is not ready yet: the request is repeated
            until the deadline.
        field: the field of the request that the server does not accept; empty if it is about something else.
    """

    fate: Fate
    message: str
    advice: str
    after: float | None = None
    too_many: bool = False
    field: str = ""

    def error(self, host: str, clean: Callable[[str], str]) -> HlmatError:
        """Return the error to raise.

        Args:
            host: name of the server, for the message.
            clean: removes secrets from the server's message.
        """
        said = f"{host} says: {clean(self.message)}"
        if self.fate == "again":
            return TryAgain(said, advice=self.advice, after=self.after, too_many=self.too_many)
        if self.fate == "fails":
            return RequestFailed(said, advice=self.advice)
        if self.fate == "withheld":
            return Withheld(said)
        sentence = f"{said}; {self.advice}."
        return FieldRefused(sentence, self.field) if self.field else UsageError(sentence)


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a decision must know about the request.

    Attributes:
        advice: sentences that replace those of `ADVICE`, by subject.
        fields: the names of the request's fields, without its model and messages.
        deadline: seconds that a request may take with all its repetitions.
        url: the address that the user gave, without login and query; empty if none was given.
    """

    advice: Mapping[str, str]
    fields: frozenset[str] = frozenset()
    deadline: float = 600.0
    url: str = ""


#: The status of each named error, for bodies that came with status 200.
_NAMED = {
    "invalid_api_key": 401, "authentication_error": 401, "unauthenticated": 401, "unauthorized": 401,
    "permission_denied": 403, "permission_error": 403, "forbidden": 403, "not_found": 404, "not_found_error": 404,
    "model_not_found": 404, "rate_limit_exceeded": 429, "rate_limit_error": 429, "resource_exhausted": 429,
    "too_many_requests": 429, "invalid_argument": 400, "invalid_request_error": 400, "bad_request": 400,
    "request_too_large": 413,
}  # fmt: skip
_PASSING = (408, 409, 421, 425, 429, 498, 499)


def decide(status: int, headers: Mapping[str, str], body: bytes, context: RequestContext) -> Decision:
    """Decide what to do about a response without a reply.

    Args:
        status: HTTP status of the response; 200 if the body of a success holds an error.
        headers: headers of the response, by name in lower case.
        body: body of the response.
        context: what the advice needs to know of the request.
    """
    error = read_error(body)
    message = f"HTTP {status}" + (f": {error.message}" if error.message else "")
    status = _meant(status, error)
    for rule in RULES:
        if rule.fits(status, error):
            return Decision(rule.fate, message, _advice(rule.subject, context))
    if status == 402:
        return Decision("ends", message, _advice("credit", context))
    if status == 429 or TOO_MANY.fits(status, error):
        return _limited(message, headers, error, context)
    if field := refused_field(status, error, context.fields):
        return Decision("field", message, field_advice(field, error.message), field=field)
    for rule in LATE_RULES:
        if rule.fits(status, error):
            return Decision(rule.fate, message, _advice(rule.subject, context))
    return _by_status(status, message, headers, error, context)


def _meant(status: int, error: Refusal) -> int:
    """Return the effective HTTP status: some services and gateways write it only into the body."""
    if status < 300:
        named = next((_NAMED[code] for code in sorted(error.codes) if code in _NAMED), status)
        return error.status or named
    return error.status if status in (500, 502) and error.status and error.status < 500 else status


def _limited(message: str, headers: Mapping[str, str], error: Refusal, context: RequestContext) -> Decision:
    """Decide about a refusal because of too many requests: wait, or end if the wait is longer than the deadline."""
    after = pause(headers, error)
    daily = DAILY.search(" ".join((error.message, *error.quotas)))
    misleading = any(DAILY.search(quota) for quota in error.quotas)  # Google then still says to retry in a minute
    if after is not None and after >= context.deadline:
        return Decision(
            "ends", message, f"the quota is used up until {moment(after)}: {_advice('quota', context)}", after
        )
    if daily and (after is None or misleading):
        return Decision("ends", message, f"the quota is used up: {_advice('quota', context)}", after)
    return Decision("again", message, _advice("busy", context), after, too_many=True)


def _by_status(
    status: int, message: str, headers: Mapping[str, str], error: Refusal, context: RequestContext
) -> Decision:
    """Decide by the status if neither codes nor words match a rule."""
    if status in (401, 403):
        return Decision("ends", message, _advice("key", context))
    if 300 <= status < 400:
        moved = headers.get("location", "").startswith("https://") and context.url.startswith("http://")
        return Decision("ends", message, _advice("scheme" if moved else "path", context))
    for subject, statuses in (("model", (410,)), ("path", (404, 405, 501)), ("proxy", (407,)), ("region", (451,))):
        if status in statuses:
            return Decision("ends", message, _advice(subject, context))
    if status == 413:
        return Decision("fails", message, _advice("size", context))
    if status in _PASSING or status >= 500 or status < 300:
        return Decision("again", message, _advice("server", context), pause(headers, error))
    return Decision("fails", message, _advice("request", context))


def _advice(subject: str, context: RequestContext) -> str:
    return context.advice.get(subject) or ADVICE.get(subject, "")
