"""What changes a score changes the fingerprint, and nothing else does: over all options of a run."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.run_folder import Run
from tests.support.protocol_settings import OTHERS

#: Options of `hlmat_bench.run` by what they may change.
FINGERPRINT = {"segmenter", "strategy", "budget", "initial", "settings"}
WHAT_IS_PLAYED = {"model", "task", "limit", "shard", "data_root", "catalog", "seed"}
NOTHING = {
    "max_failures",
    "call_timeout",
    "lock",
    "out",
    "concurrency",
    "batch_size",
    "max_requests",
    "max_cost",
    "cache",
    "embedding_cache",
    "argv",
    "progress",
    "on_beat",
}
#: Where episodes are played: tests/runs/ray compares their episodes and their manifests.
WHERE = {"executor", "workers", "gpus_per_worker", "ray_address"}


class Mirror:
    """Its clicks, boxes and predictions follow from everything it is asked with: what changes that changes them."""

    name = "mirror"
    points = PointFormat.named("xy1000")
    predicts_iou = True
    concurrency = 2

    async def reply(self, request: Request) -> list[Reply]:
        return [self._say(request, draw) for draw in range(request.n)]

    def _say(self, request: Request, draw: int) -> Reply:
        asked = json.dumps([request.prompt, request.temperature, request.max_tokens, request.seed, draw]).encode()
        digest = hashlib.sha256(asked + request.image.tobytes()).digest()
        x, y, value = (1000 * part // 256 for part in digest[:3])
        box = f"<box>({x // 2},{y // 2}),({x // 2 + 300},{y // 2 + 300})</box>"
        return Reply(
            f"Current IOU: {value // 10}, Positive point: ({x}, {y}) {box}", tokens_in=1, tokens_out=1, cost=0.0
        )

    @property
    def price(self) -> str:
        return "nothing"


def _played(out: Path, task: str, tool: str, values: dict[str, Any] | None = None, **options: Any) -> Run:
    return hlmat_bench.run(
        **{
            "model": Mirror(),
            "task": task,
            "segmenter": tool,
            "limit": 4,
            "out": out,
            **_split(values or {}),
            **options,
        }
    )


def _split(values: dict[str, Any]) -> dict[str, Any]:
    named = {name: values[name] for name in ("strategy", "budget", "initial") if name in values}
    return {**named, "settings": {name: value for name, value in values.items() if name not in named}}


def _fingerprint(run: Run) -> str:
    return str(run.manifest["protocol_fingerprint"])


def _episodes(run: Run) -> list[dict[str, Any]]:
    """As on disk, without times."""
    found = [episode.to_json() for episode in run.episodes()]
    for episode in found:
        for step in episode["steps"]:
            del step["seconds"]
    return found


@pytest.mark.parametrize("name", OTHERS)
def test_every_setting_changes_the_fingerprint_and_the_episodes(
    name: str, task: str, tool: str, tmp_path: Path
) -> None:
    base, value = OTHERS[name]
    who: dict[str, Any] = {"model": "oracle"} if name.startswith("annotator.") else {}
    one, other = (
        _played(tmp_path / str(n), task, tool, values, **who) for n, values in enumerate((base, base | {name: value}))
    )
    assert _fingerprint(one) != _fingerprint(other)
    assert _episodes(one) != _episodes(other)


def test_the_point_format_and_the_segmenter_do_as_well(task: str, tool: str, tmp_path: Path) -> None:
    base = _played(tmp_path / "base", task, tool)
    others = [
        _played(tmp_path / "yx", task, tool, {"points": "yx1000"}),
        _played(tmp_path / "radius", task, f"{tool},radius=9"),
    ]
    assert len({_fingerprint(run) for run in (base, *others)}) == 3
    assert all(_episodes(run) != _episodes(base) for run in others)


@pytest.mark.slow
def test_no_other_option_changes_them(task: str, tool: str, tmp_path: Path) -> None:
    assert set(inspect.signature(hlmat_bench.run).parameters) == FINGERPRINT | WHAT_IS_PLAYED | NOTHING | WHERE
    said: list[Sequence[int]] = []
    ways: dict[str, Any] = {
        "concurrency": 3,
        "batch_size": 2,
        "max_requests": 1000,
        "max_cost": 1000.0,
        "cache": tmp_path / "cache",
        "max_failures": 3,
        "call_timeout": 60.0,
        "lock": False,
        "argv": ["hlmat-bench", "run"],
        "progress": lambda done, total: said.append((done, total)),
        "on_beat": lambda numbers: None,
    }
    assert set(ways) | {"out", "embedding_cache"} == NOTHING  # what an encoder's cache does: test_embedding_store.py
    base = _played(tmp_path / "base", task, tool)
    for name, value in ways.items():
        other = _played(tmp_path / name, task, tool, **{name: value})
        assert _fingerprint(other) == _fingerprint(base), name
        assert _episodes(other) == _episodes(base), name
    assert said[-1] == (4, 4)


@pytest.mark.slow
def test_what_is_played_is_in_the_manifest_beside_the_fingerprint(task: str, tool: str, tmp_path: Path) -> None:
    base = _played(tmp_path / "base", task, tool)
    seeded = _played(tmp_path / "seed", task, tool, seed=1)
    assert _fingerprint(seeded) == _fingerprint(base)
    assert (base.manifest["seed"], seeded.manifest["seed"]) == (0, 1)
    synthetic = _played(tmp_path / "task", "hres_synth", tool, limit=1)
    assert _fingerprint(synthetic) != _fingerprint(base)  # by the task's budget
    same_budget = _played(tmp_path / "task5", "hres_synth", tool, limit=1, budget=5)
    assert _fingerprint(same_budget) == _fingerprint(base)
    assert same_budget.manifest["task"]["digest"] != base.manifest["task"]["digest"]
