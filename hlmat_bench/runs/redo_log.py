"""The list ``redone`` of run.json: which episodes of a run were played again, when and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hlmat_bench.protocol import manifest

KEY = "redone"


@dataclass(frozen=True, slots=True)
class Again:
    """The samples that a call plays again, and nothing else.

    Attributes:
        samples: their ids.
        why: how they were chosen, for the manifest.
        episodes: how many were chosen; ``samples`` may also hold what an earlier call has left.
    """

    samples: frozenset[str]
    why: str
    episodes: int


def begin(document: dict[str, Any], again: Again) -> None:
    """Note that episodes are about to be set aside; a call that was killed and continues is noted once."""
    if (entry := unfinished(document, again.why)) is None:
        entry = {"why": again.why, "episodes": 0, "started": manifest.now(), "moved": False, "finished": None}
        document[KEY] = [*_entries(document), entry]
    if not entry["moved"]:
        entry["episodes"] = again.episodes


def moved(document: dict[str, Any]) -> None:
    """Note that the episodes of the entries stand in history.jsonl."""
    for entry in _entries(document):
        entry["moved"] = True


def end(document: dict[str, Any]) -> None:
    """Note that everything that was set aside is played."""
    for entry in _entries(document):
        entry["finished"] = entry["finished"] or manifest.now()


def unfinished(document: dict[str, Any], why: str) -> dict[str, Any] | None:
    """Return the entry of a call with this reason that did not end; None where there is none."""
    found = [entry for entry in _entries(document) if entry["why"] == why and entry["finished"] is None]
    return found[-1] if found else None


def _entries(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the entries; what another program wrote in their place is none."""
    found = document.get(KEY)
    keys = {"why", "episodes", "started", "moved", "finished"}
    return (
        [entry for entry in found if isinstance(entry, dict) and entry.keys() >= keys]
        if isinstance(found, list)
        else []
    )
