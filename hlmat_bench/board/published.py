"""Rows of papers, as they were published: shown beside the rankings, never in them."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from hlmat_bench.board.entry import Line, Link, Name, Strict, Text
from hlmat_bench.content import folder


class PublishedRow(Strict):
    """A method's numbers, one per task; None where the paper has none."""

    method: Line
    venue: str
    kind: Line
    values: list[Annotated[float, Field(ge=0, le=100)] | None]


class PublishedTable(Strict):
    """A table of a paper.

    Attributes:
        group: the task group it belongs to.
        title: its heading.
        source, url: where it was published.
        metric: what the source says its numbers are.
        tasks: our names of its columns.
        rows: its rows.
    """

    group: Name
    title: Line
    source: Line
    url: Link
    metric: Text
    tasks: list[Name]
    rows: list[PublishedRow]


def published() -> list[PublishedTable]:
    """The tables in `leaderboard/published.json`."""
    values = json.loads((folder("leaderboard") / "published.json").read_bytes())
    return [PublishedTable.model_validate(value) for value in values]
