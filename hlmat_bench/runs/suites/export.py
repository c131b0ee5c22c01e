"""Tables of a suite as text: the lines that all forms share, and Markdown, CSV, LaTeX and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.tables import BOOKTABS, escape_latex, escape_markdown, markdown_line, tabular
from hlmat_bench.protocol import manifest
from hlmat_bench.runs.suites.measures import Measure
from hlmat_bench.runs.suites.results import SCHEMA, CellResult, TableResult
from hlmat_bench.scores.registry import ScoreValue

DASH = "–"
_CSV_HEADERS = (
    "table", "row", "column", "run", "rule", "n", "limit", "score", "value", "low", "high", "published", "difference",
    "reason", "published_in",
)  # fmt: skip


@dataclass(frozen=True)
class TextLine:
    """A line of a table as it is shown.

    Attributes:
        row: the row's name in its first line, else empty.
        what: what the numbers are.
        cells: one per column.
    """

    row: str
    what: str
    cells: tuple[str, ...]


def lines(table: TableResult) -> list[TextLine]:
    """Return the lines of a table: per row scores, published numbers, differences and the number of samples."""
    found: list[TextLine] = []
    for row in table.table.rows:
        block = list(_block([table.cells[row.name][column.name] for column in table.table.columns]))
        found += [TextLine(row.name if n == 0 else "", what, cells) for n, (what, cells) in enumerate(block)]
    return found


def _block(cells: Sequence[CellResult]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names of the lines of a row, and their cells."""
    for number in range(max(len(cell.cell.measures) for cell in cells)):
        titles = {_title(cell, number) for cell in cells if len(cell.cell.measures) > number}
        what = titles.pop() if len(titles) == 1 else "measured"
        yield what, tuple(_value(cell, number) for cell in cells)
    if any(cell.cell.published is not None for cell in cells):
        yield "as published", tuple(_plain(cell.cell.published) for cell in cells)
    if any(cell.difference is not None for cell in cells):
        yield "difference", tuple(_difference(cell) for cell in cells)
    if any(cell.cell.measures for cell in cells):
        yield "n", tuple(_samples(cell) for cell in cells)


def _title(cell: CellResult, number: int) -> str:
    title = cell.cell.measures[number].title
    return f"gain in {title}" if cell.cell.minus else title


def _value(cell: CellResult, number: int) -> str:
    if number >= len(cell.values):
        return DASH if cell.cell.run else ""
    shown = cell.values[number]
    return DASH if shown is None else _with_interval(shown, cell.cell.measures[number], sign=bool(cell.cell.minus))


def _with_interval(shown: ScoreValue, measure: Measure, *, sign: bool) -> str:
    form = f"{'+' if sign else ''}.{measure.digits}f"
    interval = "" if shown.low is None else f" [{shown.low:{form}}, {shown.high:{form}}]"
    return f"{shown.value:{form}}{interval}"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _difference(cell: CellResult) -> str:
    return "" if cell.difference is None else f"{cell.difference:+.{cell.cell.measures[0].digits}f}"


def _samples(cell: CellResult) -> str:
    if cell.n is None or cell.cell.run is None:
        return DASH if cell.cell.run else ""
    count = str(cell.n) if cell.masks is None else f"{cell.n}, {cell.masks} masks"
    return f"{count} (limit {cell.cell.run.limit})" if cell.cell.run.limit else count


def markdown(title: str, tables: Sequence[TableResult], notes: Sequence[str]) -> str:
    """Return all tables as a page of Markdown."""
    parts = [f"# {escape_markdown(title)}"]
    for table in tables:
        headers = ["", "", *(escape_markdown(column.name) for column in table.table.columns)]
        rows = [headers, ["---", "---", *["---:"] * len(table.table.columns)]]
        rows += [[escape_markdown(line.row), escape_markdown(line.what), *line.cells] for line in lines(table)]
        parts.append(f"## {escape_markdown(table.table.title)}")
        parts.append("\n".join(map(markdown_line, rows)))
        parts += [escape_markdown(sentence) for sentence in (*table.caption, *reasons(table))]
    return "\n\n".join([*parts, *(escape_markdown(note) for note in notes)]) + "\n"


def latex(title: str, tables: Sequence[TableResult], notes: Sequence[str]) -> str:
    r"""Return all tables as LaTeX, for a document with ``\usepackage{booktabs}``."""
    parts = [f"% {' '.join(text.split())}" for text in (title, *notes)]
    parts.append(BOOKTABS)
    for table in tables:
        names = [column.name for column in table.table.columns]
        caption = [table.table.title + ".", *table.caption]
        parts += [
            r"\begin{table*}",
            r"\centering",
            rf"\caption{{{escape_latex(' '.join(caption))}}}",
            *tabular(
                f"ll{'r' * len(names)}", ["", "", *names], [(line.row, line.what, *line.cells) for line in lines(table)]
            ),
            r"\end{table*}",
        ]
    return "\n".join(parts) + "\n"


def csv_text(tables: Sequence[TableResult]) -> str:
    """Return all cells as CSV (RFC 4180), a line per score, numbers unrounded."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _CSV_HEADERS)
    writer.writeheader()
    for table in tables:
        for cell in _cells(table):
            writer.writerows({"table": table.table.name, **line} for line in _csv_lines(cell))
    return file.getvalue()


def _csv_lines(cell: CellResult) -> Iterator[dict[str, Any]]:
    value = _cell_json(cell)
    scores = value.pop("scores")
    compared = value.pop("published"), value.pop("difference")
    facts = {key: value[key] for key in ("row", "column", "run", "rule", "n", "limit", "reason", "published_in")}
    if not scores:
        yield facts | {"published": compared[0]}
    for number, (name, score) in enumerate(scores.items()):
        first = dict(zip(("published", "difference"), compared, strict=True)) if number == 0 else {}
        low, high = (score or {}).get("ci") or (None, None)
        yield facts | {"score": name, "value": score and score["value"], "low": low, "high": high} | first


def as_json(title: str, tables: Sequence[TableResult], notes: Sequence[str]) -> dict[str, Any]:
    """Return all tables as a dict of JSON values of schema ``hlmat-suite-table/1``."""
    return {
        "schema": SCHEMA,
        "title": title,
        "tables": [
            {
                "name": table.table.name,
                "title": table.table.title,
                "published": _one_or_several(table.table.published),
                "caption": list(table.caption),
                "cells": [_cell_json(cell) for cell in _cells(table)],
            }
            for table in tables
        ],
        "notes": list(notes),
    }


def _one_or_several(names: Sequence[str]) -> str | list[str] | None:
    return list(names) if len(names) > 1 else next(iter(names), None)


def _cell_json(cell: CellResult) -> dict[str, Any]:
    run, measures = cell.cell.run, cell.cell.measures
    values = cell.values or (None,) * len(measures)
    return {
        "row": cell.cell.row,
        "column": cell.cell.column,
        "run": run.name if run else None,
        "minus": cell.cell.minus.name if cell.cell.minus else None,
        "rule": cell.rule,
        "n": cell.n,
        "masks": cell.masks,
        "limit": run.limit if run else None,
        "scores": {measure.name: _score_json(value) for measure, value in zip(measures, values, strict=True)},
        "published": cell.cell.published,
        "published_in": cell.cell.source,
        "difference": cell.difference,
        "failed_requests": cell.failed,
        "reason": cell.reason,
    }


def _score_json(shown: ScoreValue | None) -> Mapping[str, Any] | None:
    if shown is None:
        return None
    return {"value": shown.value, "ci": None if shown.low is None else [shown.low, shown.high]}


def _cells(table: TableResult) -> Iterator[CellResult]:
    for row in table.cells.values():
        yield from row.values()


def reasons(table: TableResult) -> list[str]:
    """Return the distinct reasons for missing numbers, with their cells."""
    reasons: dict[str, list[str]] = {}
    for cell in _cells(table):
        if cell.reason is not None:
            reasons.setdefault(cell.reason, []).append(f"{cell.cell.row} / {cell.cell.column}")
    return [f"{DASH} {'; '.join(cells)}: {reason}" for reason, cells in reasons.items()]


def write_tables(folder: Path, title: str, tables: Sequence[TableResult], notes: Sequence[str]) -> list[Path]:
    """Write table.md, table.csv, table.tex and table.json.

    Raises:
        UsageError: when they cannot be written.
    """
    texts = {
        "table.md": markdown(title, tables, notes),
        "table.csv": csv_text(tables),
        "table.tex": latex(title, tables, notes),
    }
    try:
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out.") from error
    manifest.write_json(folder / "table.json", as_json(title, tables, notes))
    return [folder / name for name in (*texts, "table.json")]
