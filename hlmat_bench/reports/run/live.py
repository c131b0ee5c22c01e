"""Reports of runs that are not finished: what the page says of them, and pages that follow a run to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from hlmat_bench.core.text import clean, public
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.status import StatusReader

#: Seconds between two builds of a page that follows a run.
SECONDS = 15.0
#: States of a run that no process plays any more.
ENDED = ("finished", "stopped", "killed", "unknown")
#: How long a run of another machine is waited for, which only its next heartbeat tells from a dead one.
_PATIENCE = 2.0

_WORDS = {
    "playing": "It is still playing; the same report command renews this page.",
    "scoring": "It is computing its scores; the same report command renews this page.",
    "killed": "Its process ended without finishing, so it was probably killed; the command below continues it.",
    "silent": "Nothing was heard of its process lately; it may have been killed. The command below continues it.",
}


def remark(run: Run, n: int) -> str | None:
    """Say how far a run is that is not finished, and whether it still plays; None of a finished one.

    Args:
        run: the run.
        n: how many of its episodes are on the page.
    """
    expected = run.manifest.get("samples") or n
    if run.manifest["finished"] is not None and expected == n:
        return None
    found = StatusReader(run.folder, patience=_PATIENCE).look()
    return f"This run is not finished: {n:,} of {expected:,} samples are here. {state_words(found)}"


def state_words(found: Mapping[str, Any]) -> str:
    """Say in a sentence what a run does, from its status."""
    if found["state"] == "stopped" and found["why"]:
        return f"It stopped: {clean(public(str(found['why'])), 400).rstrip('.')}. The command below continues it."
    return _WORDS.get(found["state"], "The command below continues it.")


def follow(folder: Path, write: Callable[[bool], Path], seconds: float = SECONDS) -> Iterator[tuple[Path | None, Any]]:
    """Write the page of a run again and again until the run ends; yield the page and the run's status each time.

    The page is None as long as no episode is finished. Not more than a fifth of the time is spent on building.

    Args:
        folder: the run folder.
        write: writes the page, given whether the run still plays.
        seconds: between two builds.

    Raises:
        UsageError: as `report`.
    """
    reader = StatusReader(folder)
    while True:
        began = time.monotonic()
        found = reader.look()
        ended = found["state"] in ENDED
        yield (write(not ended) if found["done"] else None), found
        if ended:
            return
        time.sleep(max(seconds, 4 * (time.monotonic() - began)))
