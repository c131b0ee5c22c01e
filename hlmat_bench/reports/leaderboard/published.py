"""Rows of papers, as they were published: shown beside the rankings, never in them."""

from __future__ import annotations

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.validation import Exact
from hlmat_bench.data.published import printed, published_table
from hlmat_bench.reports.leaderboard.entry import Link, LongText, Name, ShortText


class PublishedChoice(Exact):
    """A published table, or some of it, for a task group.

    Attributes:
        table: its name, as `published_table` takes it.
        group: the task group.
        tasks: our task for each column that is shown.
        rows: what each row that is shown is, in a few words.
    """

    table: str
    group: Name
    tasks: dict[str, Name]
    rows: dict[str, ShortText]


class PublishedRow(Exact):
    """A method, what it is, and its numbers as printed, one per task; None where the paper has none."""

    method: ShortText
    about: ShortText
    values: list[ShortText | None]


class BoardTable(Exact):
    """A table of a paper.

    Attributes:
        group: the task group it belongs to.
        title: its heading.
        source, url: where it was published.
        metric: what the source says, and does not say, its numbers are.
        tasks: our names of its columns.
        rows: its rows.
    """

    group: Name
    title: ShortText
    source: ShortText
    url: Link
    metric: LongText
    tasks: list[Name]
    rows: list[PublishedRow]


def published() -> list[BoardTable]:
    """Return the tables that `leaderboard/published.yaml` chooses."""
    values = files.read(folder("leaderboard") / "published.yaml", "choice of published numbers")
    return [_table(PublishedChoice.model_validate(value)) for value in values]


def _table(choice: PublishedChoice) -> BoardTable:
    publication, table = published_table(choice.table)
    return BoardTable(
        group=choice.group,
        title=table.title,
        source=publication.source,
        url=publication.url,
        metric=f"IoU in percent. {table.caveat}",
        tasks=list(choice.tasks.values()),
        rows=[
            PublishedRow(
                method=row, about=about, values=[printed(choice.table, row, column) for column in choice.tasks]
            )
            for row, about in choice.rows.items()
        ],
    )
