"""Sections of the scores as tables: the click diagnostics, and whatever a kind of task adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hlmat_bench.pages.templates import number, percent
from hlmat_bench.pages.text import clean
from hlmat_bench.reporting.words import CLICKS, WORTH

_SHARES = ("rate", "inside", "overshoot", "worsened", "accuracy", "precision", "recall")


class Table(NamedTuple):
    """A table.

    Attributes:
        name: what stands above it; empty for nothing.
        headers: of the columns; empty where the rows are names with values.
        rows: as texts.
    """

    name: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def click_tables(clicks: Mapping[str, Any]) -> list[Table]:
    """The click diagnostics: all clicks, the parts of them that were told apart, and the steps."""
    alone = [(CLICKS[name], shown(name, clicks[name], clicks)) for name in CLICKS if name in clicks]
    for name in ("invalid", "finish"):
        words = {"invalid": "Invalid", "finish": "Reply ended by"}[name]
        alone += [(f"{words}: {_words(reason)}", f"{count:,}") for reason, count in clicks.get(name, {}).items()]
    parts = [(name, clicks[name]) for name in ("localisation", "refinement", "positive", "negative") if name in clicks]
    steps = [(f"step {part['t']}", part) for part in clicks.get("by_step", [])]
    found = [Table("", [], alone)]
    for name, rows in (("Kinds of clicks", [("all", clicks), *parts]), ("Clicks by step", steps)):
        if len(rows) > 1:
            found.append(Table(name, ["", *WORTH.values()], [_worth(label, part) for label, part in rows]))
    return found


def tables(values: Mapping[str, Any]) -> list[Table]:
    """A section that no page knows by name: its numbers, then a table for each of its lists."""
    found = [Table("", [], list(_flat(values)))]
    for name, rows in _lists(values):
        headers = [key for key in rows[0] if not key.endswith("_ci")]
        found.append(Table(_words(name), [_words(key) for key in headers], [_row(headers, row) for row in rows]))
    return found


def shown(name: str, value: Any, beside: Mapping[str, Any] | None = None) -> str:
    """A value as text, with its interval where one stands beside it."""
    ends = (beside or {}).get(f"{name}_ci")
    if value is None:
        return "not computed"
    if isinstance(value, float):
        text = percent(value) if name.endswith(_SHARES) and ends is None else number(value)
        return text if ends is None else f"{text} [{number(ends[0])}, {number(ends[1])}]"
    return f"{value:,}" if isinstance(value, int) else clean(str(value))


def _worth(label: str, part: Mapping[str, Any]) -> list[str]:
    return [label, *("–" if part.get(name) is None else shown(name, part[name]) for name in WORTH)]


def _flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        name = before + _words(key)
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif not isinstance(value, list):
            yield name, shown(key, value, values)


def _lists(values: Mapping[str, Any]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
            yield key, value


def _row(headers: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    return [shown(key, row.get(key), row) for key in headers]


def _words(name: str) -> str:
    return clean(name.replace("_", " "), 60)
