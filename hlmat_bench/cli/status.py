"""The command ``status``: what a run does now and how far it is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlmat_bench.runs.stopping import Stopped

if TYPE_CHECKING:
    from hlmat_bench.runs.status import StatusReader

#: Seconds between two looks of ``--watch``, and between two lines where there is no terminal.
_SECONDS, _LINE_SECONDS = 2.0, 10.0
_STATES = {
    "playing": "plays",
    "scoring": "computes its scores",
    "finished": "is finished",
    "stopped": "stopped",
    "killed": "was killed",
    "silent": "gives no news",
    "unknown": "is not finished",
}
_ENDED = ("finished", "stopped", "killed", "unknown")


def status(
    run: Annotated[Path, typer.Argument(help="Run folder; also of a run that plays on another machine.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat until the run ends.")] = False,
) -> None:
    """Show how far a run is, without disturbing it. Shows its speed, mIoU so far, failures and cost, too."""
    from hlmat_bench.cli import console
    from hlmat_bench.runs.status import StatusReader

    reader = StatusReader(run)
    if not watch:
        found = reader.look()
        console.say(json.dumps(found, ensure_ascii=False) if as_json else _text(found))
        return
    try:
        _watch(reader, as_json)
    except Stopped:
        raise typer.Exit from None


def _looks(reader: StatusReader, seconds: float) -> Iterator[dict[str, Any]]:
    """Look at a run until it ends; not more than a fifth of the time is spent on looking."""
    while True:
        began = time.monotonic()
        found = reader.look()
        yield found
        if found["state"] in _ENDED:
            return
        time.sleep(max(seconds, 4 * (time.monotonic() - began)))


def _watch(reader: StatusReader, as_json: bool) -> None:
    from hlmat_bench.cli import console

    if as_json or not console.is_terminal():
        for found in _looks(reader, _SECONDS if as_json else _LINE_SECONDS):
            ended = found["state"] in _ENDED
            console.say(json.dumps(found, ensure_ascii=False) if as_json else (_text if ended else _line)(found))
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=console.stdout(), auto_refresh=False) as live:
        for found in _looks(reader, _SECONDS):
            live.update(Text(_text(found)), refresh=True)


def _text(found: Mapping[str, Any]) -> str:
    """Return a status in a few lines; texts of models and servers are made harmless for a terminal."""
    from hlmat_bench.cli.console import run_words
    from hlmat_bench.core.text import clean

    lines = [f"{found['run']}: {clean(found['model'])} on {clean(found['task'])} with {clean(found['segmenter'])}"]
    lines += [_state(found), _counts(found)]
    if words := run_words(found):
        lines.append(f"so far: {words}" if found["state"] != "finished" else words)
    if found["miou"] is not None:
        lines[-1] += " (mIoU of the recorded IoUs)"
    lines += [f"failed {count} times: {clean(reason)}" for reason, count in found["failures"]["reasons"].items()]
    if found["invalid"]:
        invalid = [f"{count} {clean(reason)}" for reason, count in found["invalid"].items()]
        lines.append(f"invalid replies: {', '.join(invalid)}")
    return "\n".join(lines)


def _state(found: Mapping[str, Any]) -> str:
    from hlmat_bench.cli.console import duration
    from hlmat_bench.core.text import clean

    words = f"It {_STATES[found['state']]}"
    if found["state"] == "stopped" and found["why"]:
        return f"{words}: {clean(found['why'], 1000)}"
    if found["state"] in ("killed", "silent"):
        news = f"; the last news is of {clean(found['news'])} by the clock of its machine"
        doubt = (
            ", so it was killed, or its machine hangs or cannot reach this disk" if found["state"] == "silent" else ""
        )
        return f"{words}{doubt}{news}. The same command continues it."
    if found["state"] == "unknown":
        return f"{words}, and nothing tells whether a process plays it: the folder holds no heartbeat."
    waits = found["seconds_since_episode"] or 0
    return f"{words}, and no episode has ended for {duration(waits)}." if waits >= 60 else f"{words}."


def _line(found: Mapping[str, Any]) -> str:
    """Return a status in one line."""
    from hlmat_bench.cli.console import run_words

    return ", ".join(part for part in (_counts(found), run_words(found)) if part)


def _counts(found: Mapping[str, Any]) -> str:
    from hlmat_bench.cli.console import duration

    total = "" if found["total"] is None else f" of {found['total']}"
    left = f", about {duration(found['seconds_left'])} left" if found["seconds_left"] else ""
    return f"{found['done']}{total} episodes{left}"
