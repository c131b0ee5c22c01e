"""Records of runs, and entries of the leaderboard."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import hlmat_bench
from hlmat_bench.reports.build import report
from hlmat_bench.reports.leaderboard.entry import read_entry
from hlmat_bench.reports.leaderboard.site import build
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.runs import episode_log, replay_result
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.training import SnapshotRewards, snapshots
from tests.fuzz.mutations import JSON, LINES
from tests.fuzz.target import Target, as_json, own_folder
from tests.support.boards import DECLARED


@functools.cache
def _played() -> Path:
    """Return the folder of a small run."""
    folder = own_folder("played")
    hlmat_bench.run("random", "hres_synth", "graphcut", out=folder, budget=2, limit=3)
    return folder


def _run_file(name: str) -> Callable[[bytes], None]:
    """Return a reader of a run folder in which one file holds the input."""

    def read(data: bytes) -> None:
        shutil.rmtree(own_folder("run"))
        folder = own_folder("run")
        for path in _played().iterdir():
            if path.is_file() and path.suffix in (".json", ".jsonl"):
                (folder / path.name).write_bytes(path.read_bytes())
        (folder / name).write_bytes(data)
        for use in (_scores, _reported, _continued):
            use(folder)

    return read


def _scores(folder: Path) -> None:
    run = Run(folder)
    run.finished()
    run.score()
    run.to_dataframe()
    replay_result.load(folder)


def _continued(folder: Path) -> None:
    """Read what a run that continues reads."""
    ids = list(episode_log.recorded(folder))
    episode_log.EpisodeLog(folder, ids).close()
    episode_log.set_aside(folder, ids[:1])


def _reported(folder: Path) -> None:
    make_entry(Run(folder), DECLARED)
    report([folder], out=folder / "report")


def _manifests() -> list[bytes]:
    return [(_played() / "run.json").read_bytes()]


def _episodes() -> list[bytes]:
    """Return a log with digests, and one without, which says more where it is changed."""
    log = (_played() / "episodes.jsonl").read_bytes()
    values = [json.loads(line) for line in log.splitlines()]
    return [log, LINES.dump([{key: part for key, part in value.items() if key != "digest"} for value in values])]


_REPLAY = {
    "schema": "hlmat-replay/1",
    "episodes_sha256": "0" * 64,
    "tolerance": 0.0,
    "masks": 2,
    "largest": 0.1,
    "differing": [{"sample_id": "a", "t": 1, "share": 0.1}],
    "regrets": {"a": {"1": 0.5}},
}


def _entry(data: bytes) -> None:
    board = own_folder("board")
    (board / "entries").mkdir(exist_ok=True)
    path = board / "entries" / "x.json"
    path.write_bytes(data)
    read_entry(path)
    build(board, board / "site")


def _entries() -> list[bytes]:
    made = make_entry(Run(_played()), DECLARED).model_dump()
    return [json.dumps(made | {"id": "x"}).encode()]


def _states() -> list[bytes]:
    """Return states of a data set, as a trainer reads them, at a first and at a later step."""
    return [state.to_json().encode() for state in list(snapshots(Run(_played())))[:2]]


def _state(data: bytes) -> None:
    SnapshotRewards(own_files=False).play(data.decode("utf-8", "replace"), "Positive point: (500, 500)")


TARGETS = (
    Target("manifests", _run_file("run.json"), _manifests, JSON),
    Target("episodes", _run_file("episodes.jsonl"), _episodes, LINES),
    Target("replays", _run_file("replay.json"), as_json(_REPLAY), JSON),
    Target("entries", _entry, _entries, JSON),
    Target("states", _state, _states, JSON),
)
