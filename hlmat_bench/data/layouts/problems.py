"""The kinds of errors in a data set, which a check counts separately."""

from __future__ import annotations

from dataclasses import dataclass

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import valid


class DataProblem(UsageError):
    """An error in the files of a data set; `kind` is its name in a report."""

    kind = "other problems"

    def __init__(self, message: str) -> None:
        super().__init__(valid(message))


class MissingFile(DataProblem):
    """A file or folder does not exist."""

    kind = "missing files"


class Unreadable(DataProblem):
    """A file exists, but cannot be read as an image."""

    kind = "unreadable images"


class WrongSize(DataProblem):
    """A mask has another size than its image."""

    kind = "size mismatches"


class BadAnnotation(DataProblem):
    """An annotation has an invalid form or value."""

    kind = "bad annotations"


class Unannotated(BadAnnotation):
    """An annotation is no sample, because its segmentation or its expression is missing."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A finding that a check reports although the sample can be played.

    Attributes:
        kind: the name of its kind in a report, in the plural.
        sentence: the observation and the likely reason.
        severe: whether the truth is probably wrong.
        sure: whether the reason explains the whole observation.
    """

    kind: str
    sentence: str
    severe: bool = False
    sure: bool = False


def valid_name(name: str) -> str:
    r"""Return a file's name as valid Unicode; names of different files stay different.

    Bytes that are no UTF-8, which Python reads as surrogates, become ``\xNN``.
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return valid(name)
