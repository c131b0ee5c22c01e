"""Copies of data sets that are known: which one lies there, and how it differs from the standard split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.plain_files import exists
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.data.layouts import hub_cache

_KINDS = ("res", "refine", "refine_prompted", "filter")
"""What the names of shipped tasks begin with."""


class Copy(Strict):
    """A split of a repository of the Hugging Face hub.

    Attributes:
        repo: the repository.
        split: the split, as the repository names it.
        schema_: the schema of its columns; see `hlmat_bench.data.layouts.parquet_schemas`.
        rows: the number of its rows; None where it is not known.
        expressions: the number of its expressions; None where it is not known.
        task: the standard split that it resembles, as tasks name it; empty where there is none.
        standard: whether it is that split, whole and unchanged.
        about: what differs, as the end of a sentence.
        source: where that is read.
    """

    repo: str
    split: str
    schema_: str = Field(alias="schema")
    rows: int | None = None
    expressions: int | None = None
    task: str = ""
    standard: bool = False
    about: str
    source: str

    @property
    def name(self) -> str:
        """The repository and the split."""
        return f"{self.repo} {self.split}"

    @property
    def spec(self) -> str:
        """The task that plays it under its own name."""
        return f"hf:{self.repo},split={self.split}"

    def resembles(self, task: str) -> bool:
        """Return whether a shipped task reads the standard split that it resembles."""
        return bool(self.task) and task in [f"{kind}_{self.task}" for kind in _KINDS]


class _Copies(Strict):
    schema_: Literal["hlmat-copies/1"] = Field(alias="schema")
    copies: tuple[Copy, ...]


@cache
def known_copies() -> tuple[Copy, ...]:
    """Return the copies of the content folder `tasks/copies/`."""
    paths = sorted((folder("tasks") / "copies").glob("*.yaml"))
    what = "file of known copies"
    read = [validated(_Copies, files.read(path, what), f"the {what} {path}") for path in paths]
    return tuple(copy for one in read for copy in one.copies)


def copies_named(text: str) -> list[Copy]:
    """Return the copies of a name such as ``lmms-lab/RefCOCO val``, or of several joined by `` or ``."""
    names = text.split(" or ")
    return [copy for copy in known_copies() if copy.name in names]


def identified(schema: str, place: str, split: str | None, rows: int, expressions: int) -> list[Copy]:
    """Return the known copies that a data set can be.

    Args:
        schema: the schema of its columns.
        place: where it lies, which may hold the name of its repository.
        split: the split; None where it is not known.
        rows: the number of its rows.
        expressions: the number of its expressions.
    """
    alike = [copy for copy in known_copies() if copy.schema_ == schema and split in (None, copy.split)]
    own = [copy for copy in alike if f"/{copy.repo}/".lower() in f"/{_plain(place)}/".lower()]
    return [
        copy for copy in own or alike
        if copy.expressions in (None, expressions) and (copy.rows == rows or (copy.rows is None and bool(own)))
    ]  # fmt: skip


def _plain(place: str) -> str:
    """Return a place without the prefix and the revision of the hub's cache."""
    if not place.startswith(hub_cache.PREFIX):
        return place
    owner, _, rest = place.removeprefix(hub_cache.PREFIX).partition("/")
    repo, _, path = rest.partition("/")
    return f"{owner}/{repo.partition('@')[0]}/{path}"


def other_copies(task: str, roots: Iterable[Path]) -> list[Copy]:
    """Return the copies under the roots, or in the cache of the hub, that a task cannot take for its data."""
    return [copy for copy in copies_here(roots) if copy.resembles(task) and not copy.standard]


def copies_here(roots: Iterable[Path]) -> Iterator[Copy]:
    """Yield the known copies that lie under the roots, or in the cache of the hub."""
    places = list(roots)
    for copy in known_copies():
        if any(_holds(folder, copy.split) for folder in _folders(copy.repo, places)):
            yield copy


def _folders(repo: str, roots: Sequence[Path]) -> Iterator[Path]:
    """Yield the folders in which a repository may lie."""
    yield from (root / repo for root in roots)
    cached = hub_cache.cached(f"{hub_cache.PREFIX}{repo}")
    yield from [] if cached is None else [cached]


def _holds(folder: Path, split: str) -> bool:
    return exists(folder) and any(folder.rglob(f"{split}[-.]*parquet"))
