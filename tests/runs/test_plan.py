"""A run named by JSON values alone: another process opens the same run, and another executor plays it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hlmat_bench
from hlmat_bench.protocol.records import Episode
from hlmat_bench.runs.episode_log import Finished
from hlmat_bench.runs.executors import play_runs
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.writer import RunWriter
from tests.support.episodes import timeless

SPEC = RunSpec("oracle,misplaced=0.3", "hres_synth", budget=3, limit=4, seed=7, settings={"history": True})

#: Plays the samples on its command line and prints their episodes: what a worker on another machine does.
WORKER = """
import asyncio, json, sys
from concurrent.futures import ThreadPoolExecutor
from hlmat_bench.runs.plan import RunSpec

spec, *wanted = json.loads(sys.argv[1])
setup = RunSpec.from_json(spec).open()
samples = [sample for sample in setup.data.samples if sample.id in wanted]

with ThreadPoolExecutor(2) as pool:
    for sample in samples:
        print(asyncio.run(setup.play(sample, None, pool, pool)).line.decode(), end="")
"""


class ProcessExecutor:
    """Plays every second sample in another process, which knows the run by its spec alone."""

    def play(self, writers: Sequence[RunWriter], report: Callable[[], None]) -> None:
        [writer] = writers
        wanted = [sample.id for sample in writer.todo()]
        with ThreadPoolExecutor(2) as pool:
            for episodes in pool.map(lambda part: _played(SPEC, part), (wanted[::2], wanted[1::2])):
                for episode in episodes:
                    writer.append(Finished.of(episode), writer.begin())
                    report()


def _played(spec: RunSpec, wanted: Sequence[str]) -> list[Episode]:
    words = [sys.executable, "-c", WORKER, json.dumps([spec.to_json(), *wanted])]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return [Episode.from_json(json.loads(line)) for line in said.splitlines()]


def test_an_executor_with_processes_of_its_own_plays_the_same_run(tmp_path: Path) -> None:
    here = hlmat_bench.run(
        "oracle,misplaced=0.3", "hres_synth", budget=3, limit=4, seed=7, settings={"history": True}, out=tmp_path / "a"
    )
    setup = RunSpec.from_json(json.loads(json.dumps(SPEC.to_json()))).open()
    told: list[tuple[int, int]] = []
    writer = RunWriter.of(tmp_path / "b", setup, setup.manifest())
    [there] = play_runs([writer], ProcessExecutor(), lambda done, total: told.append((done, total)))
    assert timeless(there) == timeless(here)
    assert there.scores()["selection"] == here.scores()["selection"]
    fingerprints = {run.manifest["protocol_fingerprint"] for run in (here, there)}
    assert len(fingerprints) == 1
    assert there.finished()
    assert told == [(done, 4) for done in range(5)]
