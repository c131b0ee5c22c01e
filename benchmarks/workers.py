"""What workers gain and what they cost: two against one on work that keeps a core busy, and the driver's own time.

    python benchmarks/workers.py [--episodes 120] [--rounds 3]

The first table plays `oracle` with `graphcut` on `hres_synth`, one episode at a time in each worker. The speed counts
from the first finished episode to the last, so that the start of Ray is left out. The second plays episodes that cost
next to nothing, and says how much processor time of the driver an episode takes, and of a run without workers.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import ray

import hlmat_bench

_NOTHING = '''
import numpy as np

class Nothing:
    """Answers at once with an empty mask."""
    name, accepts_box = "nothing", False
    def spec(self): return {}
    def open(self, image): return Session(image)

class Session:
    def __init__(self, image): self.mask = np.zeros(image.shape[:2], bool)
    def predict(self, clicks, box=None): return self.mask
    def snapshot(self): return None
    def restore(self, state): pass

SEGMENTERS = {"nothing": Nothing}
'''


class Clock:
    """Takes the wall time and the processor time of this process at each finished episode."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.own: list[float] = []

    def __call__(self, done: int, total: int) -> None:
        """See `hlmat_bench.runs.executors.Progress`."""
        if done:
            self.wall.append(time.perf_counter())
            self.own.append(time.process_time())

    def per_second(self) -> float:
        """Return episodes per second, from the first to the last."""
        return (len(self.wall) - 1) / (self.wall[-1] - self.wall[0])

    def own_milliseconds(self) -> float:
        """Return this process's processor time per episode."""
        return 1000 * (self.own[-1] - self.own[0]) / (len(self.own) - 1)


def _played(model: str, segmenter: str, episodes: int, **how: Any) -> Clock:
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        hlmat_bench.run(model, "hres_synth", segmenter, out=Path(folder) / "run", limit=episodes, progress=clock, **how)
    return clock


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=120, help="of each run of the first table")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; their medians are printed")
    options = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, configure_logging=False, log_to_driver=False)
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for workers, found in speeds.items():
            clock = _played("oracle", "graphcut", options.episodes, workers=workers, concurrency=1)
            found.append(clock.per_second())
    one, two = (statistics.median(found) for found in speeds.values())
    print(f"1 worker   {one:6.2f} episodes/s")
    print(f"2 workers  {two:6.2f} episodes/s, {100 * two / (2 * one):.0f} % of twice as many")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "nothing.py").write_text(_NOTHING)
        tool = str(Path(folder) / "nothing.py")
        count = 10 * options.episodes
        with_workers = _played("center", tool, count, workers=1).own_milliseconds()
        without = _played("center", tool, count).own_milliseconds()
    print(f"driver     {with_workers:6.2f} ms of processor time an episode with a worker")
    print(f"           {without:6.2f} ms in a run without workers, playing included")
    ray.shutdown()


if __name__ == "__main__":
    main()
