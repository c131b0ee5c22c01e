"""What can be wrong with a data set, so that a check can count each kind apart."""

from __future__ import annotations

from dataclasses import dataclass

from hlmat_bench.core.errors import UsageError


class DataProblem(UsageError):
    """Something about the files of a data set; `kind` names it in a report."""

    kind = "other problems"

    def __init__(self, message: str) -> None:
        super().__init__(valid(message))


class MissingFile(DataProblem):
    """A file or folder is not there."""

    kind = "missing files"


class Unreadable(DataProblem):
    """A file is there, but is no image."""

    kind = "unreadable images"


class WrongSize(DataProblem):
    """A mask has another size than its image."""

    kind = "size mismatches"


class BadAnnotation(DataProblem):
    """An annotation does not say what it should."""

    kind = "bad annotations"


class Unannotated(BadAnnotation):
    """An annotation lacks what makes it a sample: its segmentation or its expression."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that a check reports although the sample can be played.

    Attributes:
        kind: as in a report, in the plural.
        sentence: what was seen, and the likely reason.
        severe: whether the truth is probably wrong.
        sure: whether the reason explains all that was seen.
    """

    kind: str
    sentence: str
    severe: bool = False
    sure: bool = False


def valid(text: str) -> str:
    """Return a text as valid Unicode: halves of surrogate pairs, which no UTF-8 file can hold, become U+FFFD.

    >>> valid("\\ud83d cup") == "\\ufffd cup"
    True
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def valid_name(name: str) -> str:
    r"""Return a file's name as valid Unicode; names of different files stay different.

    Bytes that are no UTF-8, which Python reads as surrogates, become ``\xNN``.
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return valid(name)
