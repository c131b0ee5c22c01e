"""Measure the overhead of the harness: the start of the command line, and the recording of an episode.

    python benchmarks/overhead.py [--episodes 2000]

Prints the wall times of ``hlmat-bench --help`` and of an empty Python program, the time for which appending an episode
blocks the event loop, and the longest time from an append until the episode's line is on disk.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hlmat_bench.actions import Action
from hlmat_bench.core import masks
from hlmat_bench.protocol.records import EPISODES, Episode, Step, select
from hlmat_bench.runs.episode_log import EpisodeLog, Finished


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--episodes", type=int, default=2000)
    episodes = parser.parse_args().episodes
    print(f"hlmat-bench --help    {1000 * _median_run(['-m', 'hlmat_bench', '--help']):8.1f} ms   (target 200)")
    print(f"bare interpreter      {1000 * _median_run(['-c', 'pass']):8.1f} ms")
    append, delay = _append(episodes)
    print(f"append, median        {1e6 * statistics.median(append):8.1f} us   (target 50)")
    print(f"append, 99th percent  {1e6 * float(np.percentile(append, 99)):8.1f} us")
    print(f"until on disk, worst  {1000 * delay:8.1f} ms   (target 1000)")


def _median_run(words: list[str], rounds: int = 9) -> float:
    """Return the median wall time of a Python process in seconds, after a first one that warms the file cache."""
    seconds = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _append(count: int) -> tuple[list[float], float]:
    """Return the seconds of each append, at 200 episodes per second, and the longest delay until a line is written."""
    made = _episode("s/0")
    names = [f"s/{number}" for number in range(count)]
    seconds: list[float] = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        log = EpisodeLog(Path(folder), names)
        for name in names:
            episode = _renamed(made, name)
            started = time.perf_counter()
            log.append(Finished.of(episode))
            seconds.append(time.perf_counter() - started)
            if len(seconds) % 100 == 0:
                worst = max(worst, _until_written(Path(folder) / EPISODES, len(seconds)))
            time.sleep(0.005)
        log.close()
    return seconds, worst


def _until_written(path: Path, lines: int) -> float:
    started = time.perf_counter()
    while path.read_bytes().count(b"\n") < lines:
        time.sleep(0.001)
    return time.perf_counter() - started


def _episode(name: str) -> Episode:
    """Return an episode of seven steps at 640x480 with ragged masks, about 20 kB as JSON."""
    generator = np.random.default_rng(0)
    noise = generator.random((480, 640))
    rows, columns = np.ogrid[:480, :640]
    disc = ((rows - 240) ** 2 + (columns - 320) ** 2) / 40_000
    steps = []
    for t in range(1, 8):
        mask = disc + noise * 0.05 < t / 7
        steps.append(
            Step(t, "Positive point: (500, 500)", Action("click", True, 320 + t, 240), masks.encode(mask), t / 7,
                 {"model": 0.7, "segmenter": 0.05, "harness": 0.004}, {"in": 355, "out": 12})
        )  # fmt: skip
    initial = {"kind": "empty", "mask": None, "iou": 0.0}
    gt = steps[-1].mask
    selected = select(steps, initial)
    return Episode(name, "a.jpg", "1", "1", "the disc", (480, 640), gt, None, initial, steps, selected, "budget")


def _renamed(episode: Episode, name: str) -> Episode:
    return Episode.from_json(episode.to_json() | {"sample_id": name})


if __name__ == "__main__":
    main()
