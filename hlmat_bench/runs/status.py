"""What a run does now and how far it is: read from its folder alone, without its lock, from any process or machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hlmat_bench.protocol import manifest
from hlmat_bench.runs import heartbeat
from hlmat_bench.runs.tally import RunTally

STATUS_SCHEMA = "hlmat-status/1"
#: Seconds without a new heartbeat after which a run of another machine counts as silent.
PATIENCE = 5 * heartbeat.SECONDS
_POLL_SECONDS = 0.25


class StatusReader:
    """Looks at a run folder, as often as wanted; each look reads only what was added.

    Args:
        folder: the run folder.
        patience: seconds without a new heartbeat after which a run counts as silent, where only time can tell.

    Raises:
        UsageError: when it is no run folder.
    """

    def __init__(self, folder: Path, *, patience: float = PATIENCE) -> None:
        self._folder, self._patience = folder, patience
        self._tally = RunTally(folder, manifest.read(folder))
        self._beat: heartbeat.Beat | None = None
        self._changed: float | None = None  # when the heartbeat was last seen to change, by this process's clock

    def look(self) -> dict[str, Any]:
        """Return the status of the run, as JSON values of schema ``hlmat-status/1``; docs/files.md lists the keys.

        A run of another machine is watched until its next heartbeat, at most for the patience.

        Raises:
            UsageError: when the folder is gone or cannot be read.
        """
        self._take_beat(time.monotonic())
        began = time.monotonic()
        self._tally.update()
        numbers = self._tally.numbers(interval=True)
        state = self._state(began)
        document = manifest.read(self._folder)
        if state in ("finished", "stopped", None):
            state = _at_rest(document, numbers["done"], self._beat)
        return self._described(document, state, numbers)

    def _state(self, began: float) -> str | None:
        """Return what the run does by its heartbeat, ``killed`` or ``silent``; None without a heartbeat."""
        while True:
            self._take_beat(time.monotonic())
            beat = self._beat
            if beat is None or beat.state in ("finished", "stopped"):
                return None if beat is None else beat.state
            living = heartbeat.lives(beat)
            if living is False and heartbeat.read(self._folder) == beat:  # it has not ended in this moment
                return "killed"
            now = time.monotonic()
            if living or (self._changed is not None and now - self._changed < self._patience):
                return beat.state
            if living is None and now - began > self._patience:
                return "silent"
            time.sleep(_POLL_SECONDS)

    def _take_beat(self, now: float) -> None:
        beat = heartbeat.read(self._folder)
        if self._beat is not None and beat is not None and beat != self._beat:
            self._changed = now
        self._beat = beat or self._beat

    def _described(self, document: Mapping[str, Any], state: str, numbers: dict[str, Any]) -> dict[str, Any]:
        beat, total = self._beat, document.get("samples")
        active = beat if state in ("playing", "scoring") else None
        speed = active and active.per_second
        return {
            "schema": STATUS_SCHEMA,
            "run": str(self._folder),
            "model": document["model"]["name"],
            "task": document["task"]["name"],
            "segmenter": document["segmenter"]["name"],
            "state": state,
            "why": beat.why if beat is not None and state == "stopped" else None,
            "news": beat and beat.updated,
            "started": beat and beat.started,
            "total": total,
            "per_second": speed,
            "seconds_left": max(total - numbers["done"], 0) / speed if speed and total is not None else None,
            "seconds_since_episode": active and active.seconds_since_episode,
            "workers": active.workers if active else 0,
            "requests": beat and beat.requests,
            **numbers,
        }


def _at_rest(document: Mapping[str, Any], done: int, beat: heartbeat.Beat | None) -> str:
    """Return the state of a run that no process plays as far as is known: the manifest says whether it is complete."""
    if document["finished"] is not None and document.get("samples") in (None, done):
        return "finished"
    return "unknown" if beat is None else "stopped"
