"""Runs of scripted models, and leaderboards made of them, for tests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hlmat_bench
from hlmat_bench.protocol.manifest import write_json
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import ChatServer
from tests.support.episodes import read_lines, write_lines

DECLARED = Declaration("Example Lab", "Nothing.", True, links=["https://example.org/paper"], date="2026-01-02")


def clicker(height: int) -> Callable[[dict[str, Any], Any, str], str]:
    """Clicks around a height of the image, where depends on what it sees; the third of ten replies is no click."""

    def answer(body: dict[str, Any], image: Any, prompt: str) -> str:
        seed = hashlib.sha256(image.tobytes() + prompt.encode()).digest()
        if seed[3] < 25:
            return "I would rather not say"
        left = 150 if "the left box" in prompt else 650
        sign = "Positive" if seed[2] < 220 else "Negative"
        return f"{sign} point: ({left + seed[0] * 200 // 256}, {height + seed[1] * 150 // 256})"

    return answer


def play(
    out: Path,
    task: str,
    tool: str,
    height: int = 260,
    *,
    budget: int = 4,
    limit: int = 16,
    extra: str = "",
    **options: Any,
) -> Run:
    """Play a run of a scripted model behind a server."""
    with ChatServer(clicker(height)) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png{extra}"
        return hlmat_bench.run(model, task, f"{tool},radius=10", out=out, budget=budget, limit=limit, **options)


def add(repository: Path, run: Run, title: str, name: str = "", **changes: Any) -> Path:
    """Put the entry of a run into a leaderboard."""
    entry = make_entry(run, replace(DECLARED, title=title, **changes), name)
    return put(repository, entry.model_dump())


def put(repository: Path, value: dict[str, Any]) -> Path:
    """Write an entry's JSON into a leaderboard."""
    (repository / "entries").mkdir(parents=True, exist_ok=True)
    path = repository / "entries" / f"{value['id']}.json"
    write_json(path, value)
    return path


def edit(run: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Change the episodes of a run folder, as a cheater would."""
    episodes = read_lines(run)
    change(episodes)
    write_lines(run, episodes)


def dumped(entry: BoardEntry) -> dict[str, Any]:
    """Return the entry as JSON values that a test may change."""
    value: dict[str, Any] = json.loads(json.dumps(entry.model_dump()))
    return value
