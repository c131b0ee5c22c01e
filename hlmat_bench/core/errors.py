"""The errors of hlmat-bench.

`UsageError` is raised for what a user can cause and can correct: the command line prints its sentence and ends with
exit code 2. `RequestFailed` is raised when a model or a server fails on one request: the episode records it. A run in
which requests fail one after the other ends with a `UsageError`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: Of a message; what is longer quotes a file or a reply and tells nobody more.
MOST_LETTERS = 2000


class HlmatError(Exception):
    """Base of every error that hlmat-bench raises on purpose.

    Its message is one line of printable text, whatever files and replies it quotes: nothing that it quotes can move the
    cursor of a terminal, and what is longer than `MOST_LETTERS` is cut in the middle.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_cut("".join(map(_shown, _cut(message)))))


def _cut(text: str) -> str:
    half = MOST_LETTERS // 2
    return text if len(text) <= MOST_LETTERS else f"{text[: half - 5]} ... {text[-half:]}"


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else ascii(letter)[1:-1]


class UsageError(HlmatError):
    """Something that the user can correct; the message is one sentence that says how."""


class PluginFailed(UsageError):
    """A plug-in raised an exception, the cause of this one, or returned a value that its contract does not allow."""


class RequestFailed(HlmatError):
    """A request to a model failed and is not sent again: its retries are used up, or a retry cannot help.

    Attributes:
        advice: what the user can do if every request fails like this one, as an imperative without a full stop
            (``"take a lower quality= or a resize="``); empty where nothing is known to help.
    """

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class TryAgain(RequestFailed):
    """A request failed, but may succeed when it is sent again.

    Attributes:
        after: seconds to wait first, as the server asks; None where it does not say.
        too_many: the server refused because of too many requests.
    """

    def __init__(self, message: str, *, advice: str = "", after: float | None = None, too_many: bool = False) -> None:
        super().__init__(message, advice=advice)
        self.after, self.too_many = after, too_many


def failure_words(error: BaseException) -> str:
    """Describe a plug-in's exception: its type, the first line of its message, what to do; without a full stop."""
    said = str(error).strip().splitlines()
    words = f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__
    return f"{words.rstrip('.')}; correct its plug-in"


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
