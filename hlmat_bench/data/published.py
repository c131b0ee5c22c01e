"""Published numbers, as printed, with their source and their caveats."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

from pydantic import Field

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import unknown
from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.validation import Strict, validated


class PublishedTable(Strict):
    """A table of a publication.

    Attributes:
        title: its title, and its place in the publication.
        scale: the factor from its numbers to the unit of `hlmat_bench.runs.suites.measures.Measure`.
        caveat: a sentence that says what a reader must know about the numbers.
        columns: the names of the columns.
        rows: per name of a row, one number per column, as printed; None for an empty cell.
    """

    title: str
    scale: float = 1.0
    caveat: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]

    def value(self, row: str, column: str) -> float | None:
        """Return the number of a cell, in the unit of a measure; None where the table has no such cell."""
        if row not in self.rows or column not in self.columns:
            return None
        printed = self.rows[row][self.columns.index(column)]
        return None if printed is None else round(printed * self.scale, 6)


class Publication(Strict):
    """A file of published numbers.

    Attributes:
        source: the publication, as it is cited.
        url: its address.
        tables: its tables, by name.
    """

    schema_: Literal["hlmat-published/1"] = Field(alias="schema")
    source: str
    url: str
    tables: dict[str, PublishedTable]


def published_table(name: str) -> tuple[Publication, PublishedTable]:
    """Return the table called ``publication/table`` and its publication.

    Raises:
        UsageError: when there is no such table.
    """
    file, _, table = name.partition("/")
    publication = _publication(file)
    if table not in publication.tables:
        raise unknown("published table", name, [f"{file}/{known}" for known in publication.tables])
    return publication, publication.tables[table]


def published_number(tables: Sequence[str], row: str, column: str) -> tuple[float, str] | None:
    """Return the number of a cell in the first of some tables that has one, and that table's name.

    Raises:
        UsageError: when there is no such table.
    """
    for name in tables:
        if (found := published_table(name)[1].value(row, column)) is not None:
            return found, name
    return None


def printed(name: str, row: str, column: str) -> str | None:
    """Return the number of a cell of the table called ``publication/table`` with the digits of the source, ``51.70``.

    It is None for an empty cell, and for one that the table does not have.

    Raises:
        UsageError: when there is no such table.
    """
    _, table = published_table(name)
    if table.value(row, column) is None:
        return None
    file, _, part = name.partition("/")
    text: str = _texts(file)["tables"][part]["rows"][row][table.columns.index(column)]
    return text


@cache
def _texts(name: str) -> dict[str, Any]:
    """Return a file of published numbers with every number as its text: a number has no trailing zeros."""
    import yaml

    text = (folder("leaderboard") / "published" / f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.load(text, yaml.BaseLoader)
    return values


@cache
def _publication(name: str) -> Publication:
    place = folder("leaderboard") / "published"
    path = place / f"{name}.yaml"
    if not is_file(path):
        raise unknown("file of published numbers", name, [known.stem for known in place.glob("*.yaml")])
    what = "file of published numbers"
    return validated(Publication, files.read(path, what), f"the {what} {path}")
