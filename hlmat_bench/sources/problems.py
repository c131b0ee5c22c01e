"""What can be wrong with a data set, so that a check can count each kind apart."""

from __future__ import annotations

from hlmat_bench.errors import UsageError


class DataProblem(UsageError):
    """Something about the files of a data set; `kind` names it in a report."""

    kind = "other problems"


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
