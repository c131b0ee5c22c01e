"""Sections of the scores as tables: the click diagnostics, and whatever a kind of task adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.templates import number, percent
from hlmat_bench.reports.run.definitions import CLICKS, WORTH
from hlmat_bench.scores.intervals import interval_key

_NAMES = {"miou": "mIoU", "noc": "NoC", "mae": "MAE", "mse": "MSE", "ci": "interval"}
_SHARES = ("rate", "inside", "overshoot", "worsened", "accuracy", "precision", "recall")


class SectionTable(NamedTuple):
    """A table.

    Attributes:
        name: what stands above it; empty for nothing.
        headers: of the columns; empty where the rows are names with values.
        rows: as texts.
    """

    name: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


def click_tables(clicks: Mapping[str, Any]) -> list[SectionTable]:
    """Return the click diagnostics: of all clicks, of kinds of clicks, and of steps."""
    alone = [(CLICKS[name], shown(name, clicks[name], clicks)) for name in CLICKS if clicks.get(name) is not None]
    for name in ("invalid", "finish"):
        words = {"invalid": "Invalid", "finish": "Reply ended by"}[name]
        alone += [(f"{words}: {_words(reason)}", f"{count:,}") for reason, count in clicks.get(name, {}).items()]
    parts = [(name, clicks[name]) for name in ("localisation", "refinement", "positive", "negative") if name in clicks]
    steps = [(f"step {part['t']}", part) for part in clicks.get("by_step", [])]
    found = [SectionTable("", [], alone)]
    for name, rows in (("Kinds of clicks", [("all", clicks), *parts]), ("Clicks by step", steps)):
        if len(rows) > 1:
            found.append(SectionTable(name, ["", *WORTH.values()], [_worth(label, part) for label, part in rows]))
    return found


def tables(values: Mapping[str, Any]) -> list[SectionTable]:
    """Return any section of the scores: its numbers, then a table for each part that has rows of one form."""
    parts = {key: found for key, value in values.items() if (found := _rows(value))}
    numbers = {key: value for key, value in values.items() if key not in parts}
    made = [SectionTable("", [], list(_flat(numbers)))]
    for name, rows in parts.items():
        headers = list(dict.fromkeys(key for _, row in rows for key in row if not key.endswith("ci")))
        cells = [[label, *(shown(key, row.get(key), row) for key in headers)] for label, row in rows]
        made.append(SectionTable(_words(name), ["", *map(_words, headers)], cells))
    return made


def shown(name: str, value: Any, beside: Mapping[str, Any] | None = None) -> str:
    """Return a value as text, with its interval where it has one."""
    ends = (beside or {}).get(interval_key(name))
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


def _rows(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return named rows of a list of objects, or of an object of objects with the same keys; else none."""
    named = list(value.items()) if isinstance(value, Mapping) else []
    if isinstance(value, list):
        named = [(str(number), row) for number, row in enumerate(value, 1)]
    if not all(isinstance(row, Mapping) for _, row in named) or len({frozenset(row) for _, row in named}) != 1:
        return []
    return [(_words(name), _row(row)) for name, row in named]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a row, with those of the final mask where it has parts; the rest is in scores.json."""
    final = row.get("final")
    inner = final if isinstance(final, Mapping) else {}
    return {key: value for key, value in {**row, **inner}.items() if not isinstance(value, Mapping)}


def _words(name: str) -> str:
    return " ".join(_NAMES.get(word, word) for word in clean(name, 60).split("_"))
