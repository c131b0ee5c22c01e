"""Sections of the scores as tables: the click diagnostics, and whatever a kind of task adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hlmat_bench.core.text import clean
from hlmat_bench.reports.pages.templates import number, percent
from hlmat_bench.reports.run.definitions import CLICKS, WORTH
from hlmat_bench.scores.intervals import interval_key

_NAMES = {"miou": "mIoU", "noc": "NoC", "mae": "MAE", "mse": "MSE", "ci": "interval"}
#: What keys of scores.json are called on pages.
_LABELS = {
    "n": "samples",
    "initial_miou": "mIoU at the start",
    "in_band": "masks in the band that they were made for",
    "by_defect": "by defect",
    "by_band": "by IoU of the mask at the start",
    "drawn": "candidates sampled",
    "distinct": "distinct actions",
    "judged": "candidates scored",
    "unread": "unreadable scores",
    "best_taken": "steps that took the best candidate",
    "lost": "IoU lost by the choice",
    "self": "mask with the highest predicted IoU",
    "best": "best mask, chosen with the ground truth",
    "final": "last mask",
}
#: Keys of values from 0 to 1 that pages show in per cent.
_PERCENT = ("miou", "gain", "lost", "best_taken", "worsened", "regret", "iou")
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
    kinds = {
        "localisation": "first click",
        "refinement": "later clicks",
        "positive": "positive",
        "negative": "negative",
    }
    parts = [(label, clicks[name]) for name, label in kinds.items() if name in clicks]
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
    if isinstance(value, float) and name.endswith(_PERCENT):
        between = "" if ends is None else f" [{number(100 * ends[0], 1)}, {number(100 * ends[1], 1)}]"
        return f"{number(100 * value, 1)} %{between}"
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
    if name in _LABELS:
        return _LABELS[name]
    return " ".join(_NAMES.get(word, word) for word in clean(name, 60).split("_"))
