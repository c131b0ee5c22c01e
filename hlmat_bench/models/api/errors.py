"""What to do when a server refuses a request: a pure function of status, headers and body.

Services say the same thing with different statuses (an unknown model is 404, 400 or 500; no credit is 402, 429 or 400),
so the rules (`refusals.py`) look at codes and words first and at the status last.
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
    """The body of a success holds an error."""


class Withheld(HlmatError):
    """The service does not let a prompt through."""


class FieldRefused(UsageError):
    """The server does not take a field of the request.

    Attributes:
        field: its name.
    """

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class Decision(NamedTuple):
    """What to do about a refused request.

    Attributes:
        fate: see `Fate`.
        message: what the server says, with its status.
        advice: what helps where every request fails like this, as an imperative without a full stop.
        after: seconds that the server asks to wait; None where it does not say.
        too_many: the server refuses because of too many requests, or is not ready yet: it is asked again until the
            deadline.
        field: the field of the request that the server does not take.
    """

    fate: Fate
    message: str
    advice: str
    after: float | None = None
    too_many: bool = False
    field: str = ""

    def error(self, host: str, clean: Callable[[str], str]) -> HlmatError:
        """Return the error to raise, which says what the server at this host says, cleaned of secrets."""
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
class Asked:
    """What was asked, for advice that fits.

    Attributes:
        advice: sentences that replace those of `ADVICE`, by subject.
        fields: the names of the request's fields besides its model and messages.
        deadline: seconds that a request may take with all its repetitions.
        url: the address that the user gave, without login and query; empty where none was given.
    """

    advice: Mapping[str, str]
    fields: frozenset[str] = frozenset()
    deadline: float = 600.0
    url: str = ""


#: Statuses of named errors in a body that came with status 200.
_NAMED = {
    "invalid_api_key": 401, "authentication_error": 401, "unauthenticated": 401, "unauthorized": 401,
    "permission_denied": 403, "permission_error": 403, "forbidden": 403, "not_found": 404, "not_found_error": 404,
    "model_not_found": 404, "rate_limit_exceeded": 429, "rate_limit_error": 429, "resource_exhausted": 429,
    "too_many_requests": 429, "invalid_argument": 400, "invalid_request_error": 400, "bad_request": 400,
    "request_too_large": 413,
}  # fmt: skip
_PASSING = (408, 409, 421, 425, 429, 498, 499)


def decide(status: int, headers: Mapping[str, str], body: bytes, asked: Asked) -> Decision:
    """Decide what to do about a response that is no answer.

    Args:
        status: of the response; 200 where the body of a success holds an error.
        headers: of the response, by name in lower case.
        body: of the response.
        asked: what was asked.
    """
    error = read_error(body)
    message = f"HTTP {status}" + (f": {error.message}" if error.message else "")
    status = _meant(status, error)
    for rule in RULES:
        if rule.fits(status, error):
            return Decision(rule.fate, message, _advice(rule.subject, asked))
    if status == 402:
        return Decision("ends", message, _advice("credit", asked))
    if status == 429 or TOO_MANY.fits(status, error):
        return _limited(message, headers, error, asked)
    if field := refused_field(status, error, asked.fields):
        return Decision("field", message, field_advice(field, error.message), field=field)
    for rule in LATE_RULES:
        if rule.fits(status, error):
            return Decision(rule.fate, message, _advice(rule.subject, asked))
    return _by_status(status, message, headers, error, asked)


def _meant(status: int, error: Refusal) -> int:
    """Return the status that is meant: services and gateways also put it into the body alone."""
    if status < 300:
        named = next((_NAMED[code] for code in sorted(error.codes) if code in _NAMED), status)
        return error.status or named
    return error.status if status in (500, 502) and error.status and error.status < 500 else status


def _limited(message: str, headers: Mapping[str, str], error: Refusal, asked: Asked) -> Decision:
    """Decide about a refusal because of too many requests: wait, or end where the wait is longer than the deadline."""
    after = pause(headers, error)
    daily = DAILY.search(" ".join((error.message, *error.quotas)))
    misleading = any(DAILY.search(quota) for quota in error.quotas)  # Google then still says to retry in a minute
    if after is not None and after >= asked.deadline:
        return Decision(
            "ends", message, f"the quota is used up until {moment(after)}: {_advice('quota', asked)}", after
        )
    if daily and (after is None or misleading):
        return Decision("ends", message, f"the quota is used up: {_advice('quota', asked)}", after)
    return Decision("again", message, _advice("busy", asked), after, too_many=True)


def _by_status(status: int, message: str, headers: Mapping[str, str], error: Refusal, asked: Asked) -> Decision:
    """Decide by the status alone."""
    if status in (401, 403):
        return Decision("ends", message, _advice("key", asked))
    if 300 <= status < 400:
        moved = headers.get("location", "").startswith("https://") and asked.url.startswith("http://")
        return Decision("ends", message, _advice("scheme" if moved else "path", asked))
    for subject, statuses in (("model", (410,)), ("path", (404, 405, 501)), ("proxy", (407,)), ("region", (451,))):
        if status in statuses:
            return Decision("ends", message, _advice(subject, asked))
    if status == 413:
        return Decision("fails", message, _advice("size", asked))
    if status in _PASSING or status >= 500 or status < 300:
        return Decision("again", message, _advice("server", asked), pause(headers, error))
    return Decision("fails", message, _advice("request", asked))


def _advice(subject: str, asked: Asked) -> str:
    return asked.advice.get(subject) or ADVICE.get(subject, "")
