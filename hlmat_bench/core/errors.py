"""The errors of hlmat-bench.

`UsageError` is raised for what a user can cause and can correct: the command line prints its sentence and ends with
exit code 2. `RequestFailed` is raised when a model or a server fails on one request: the episode records it. A run in
which requests fail one after the other ends with a `UsageError`.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from typing import Any, Self

from hlmat_bench.core.text import cut

#: The length of a message, in characters; what is longer quotes a file or a reply, and says nothing more.
MOST_LETTERS = 2000


class HlmatError(Exception):
    """Base of every error that hlmat-bench raises on purpose.

    Its message is one line of printable text, whatever files and replies it quotes: nothing that it quotes can move the
    cursor of a terminal, and what is longer than `MOST_LETTERS` is cut in the middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(cut("".join(map(_shown, cut(message, MOST_LETTERS))), MOST_LETTERS))


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else ascii(letter)[1:-1]


class UsageError(HlmatError):
    """Something that the user can correct; the message is one sentence that says how."""


class Failed(HlmatError):
    """Something failed once: an episode records it, and a run in which it happens again and again ends.

    Attributes:
        advice: what the user can do if it fails every time, as an imperative without a full stop
            (``"take a lower quality= or a resize="``); empty where nothing is known to help.
        kind: what failures of one kind have in common, as text; empty: their messages.
    """

    kind = ""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class RequestFailed(Failed):
    """A request to a model failed and is not sent again: its retries are used up, or a retry cannot help."""


class PluginFailed(Failed, UsageError):
    """A plug-in raised an exception, did not return, or returned a value that its contract does not allow.

    Attributes:
        traceback: of the plug-in's exception, for its author; empty where it raised none.
    """

    traceback = ""

    @classmethod
    def by(cls, error: BaseException, where: str) -> Self:
        """Return the failure for an exception of a plug-in.

        Args:
            error: the exception.
            where: which plug-in failed at what, e.g. ``"The model m failed on the sample a/1"``.
        """
        failure = cls(f"{where}: {said(error)}", advice=CORRECT_IT)
        failure.kind = said(error)
        if not isinstance(error, CallTimedOut):
            failure.traceback = "".join(traceback.format_exception(error))
        failure.__cause__ = error
        return failure


class ModelFailed(PluginFailed):
    """A model failed at a request, see `PluginFailed`."""


class CallTimedOut(HlmatError):
    """A call of a plug-in did not return within its time limit, in seconds."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"it did not return within {limit:g} seconds (--call-timeout sets another limit)")
        self.limit = limit

    def __reduce__(self) -> tuple[Any, ...]:
        """Make it again in another process, see ``object.__reduce__``."""
        return type(self), (self.limit,)


class TryAgain(RequestFailed):
    """A request failed, but may succeed when it is sent again.

    Attributes:
        after: seconds to wait first, as the server asks; None where it does not say.
        too_many: the server refused because of too many requests.
    """

    def __init__(self, message: str, *, advice: str = "", after: float | None = None, too_many: bool = False) -> None:
        super().__init__(message, advice=advice)
        self.after, self.too_many = after, too_many


CORRECT_IT = "correct its plug-in"


def said(error: BaseException) -> str:
    """Return a plug-in's exception in words: its type and the first line of its message, without a full stop."""
    if isinstance(error, CallTimedOut):
        return str(error)
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001  (an exception of a plug-in may be unable to say what it is)
        lines = []
    return (f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__).rstrip(".")


def failure_words(error: BaseException) -> str:
    """Return a plug-in's exception in words, see `said`, and what to do about it."""
    return f"{said(error)}; {CORRECT_IT}"


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> UsageError:
    """Return the error for a name that does not exist; its sentence suggests the nearest names that do.

    Args:
        kind: what was looked for, e.g. ``"task"``.
        name: the name that was given.
        known: the names that exist.
        hint: a last sentence, e.g. which command lists the names.
    """
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
    nearest = f" Did you mean {' or '.join(close)}?" if close else ""
    return UsageError(f"There is no {kind} called {name!r}.{nearest}{' ' + hint if hint else ''}")
