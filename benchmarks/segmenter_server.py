"""Test a segmenter server with many clients, and compare every mask with that of the segmenter in this process.

    python benchmarks/segmenter_server.py [--clicks 10000] [--sessions 32] [--kills 10] [--segmenter NAME,option=value]

The server runs in its own process. Four client processes share the sessions and play episodes of 20 clicks on images
of 320 x 240. Meanwhile further clients are started and killed in the middle of an episode. Without --segmenter it is a
SAM with few random weights, whose masks depend on the previous masks.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hlmat_bench.clicks import Click
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Segmenter

_PROCESSES = 4
_EPISODE = 20
_HEIGHT, _WIDTH = 240, 320


@dataclass
class Outcome:
    """The results of clients.

    Attributes:
        wrong: number of pixels of each mask that differ from the local mask.
        seconds: time of each prediction.
    """

    wrong: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clicks", type=int, default=10_000)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--segmenter")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        segmenter = options.segmenter or _tiny_sam(Path(folder))
        command = [sys.executable, "-m", "hlmat_bench", "serve-segmenter", "--segmenter", segmenter, "--port", "0"]
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as in the clients: torch rounds by the number of threads
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread)
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[3]
            _measure(url, segmenter, options.clicks, options.sessions, options.kills)
            assert server.poll() is None, "the server ended"
        finally:
            server.terminate()
            server.wait()


def _measure(url: str, segmenter: str, clicks: int, sessions: int, kills: int) -> None:
    threads = sessions // _PROCESSES
    episodes = -(-clicks // (threads * _PROCESSES * _EPISODE))
    context = multiprocessing.get_context("spawn")
    started = time.perf_counter()
    with ProcessPoolExecutor(_PROCESSES, context) as pool:
        futures = [pool.submit(_client, url, segmenter, number, threads, episodes) for number in range(_PROCESSES)]
        killed = 0
        while killed < kills and not all(future.done() for future in futures):
            victim = context.Process(target=_client, args=(url, segmenter, 1000 + killed, 4, 1000))
            victim.start()
            time.sleep(5)
            victim.kill()
            victim.join()
            killed += 1
        outcomes = [future.result() for future in futures]
    wall, seconds = time.perf_counter() - started, [s for outcome in outcomes for s in outcome.seconds]
    print(f"sessions at once      {threads * _PROCESSES:8d}")
    print(f"clicks                {len(seconds):8d}")
    print(f"wrong masks           {sum(pixels > 0 for o in outcomes for pixels in o.wrong):8d}   (target 0)")
    print(f"most wrong pixels     {max(pixels for o in outcomes for pixels in o.wrong):8d}   (of {_HEIGHT * _WIDTH})")
    print(f"clients killed        {killed:8d}")
    print(f"clicks per second     {len(seconds) / wall:8.1f}")
    print(f"click, median         {1000 * statistics.median(seconds):8.1f} ms")
    print(f"click, 99th percent   {1000 * float(np.percentile(seconds, 99)):8.1f} ms")


def _client(url: str, segmenter: str, seed: int, threads: int, episodes: int) -> Outcome:
    """Play episodes in several threads, each with its own session."""
    import torch

    torch.set_num_threads(1)
    outcome = Outcome()
    far, local = (plugins.make("segmenter", spec) for spec in (f"server,url={url}", segmenter))
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda thread: _play(far, local, (seed, thread), episodes, outcome), range(threads)):
            pass
    return outcome


def _play(far: Segmenter, local: Segmenter, seed: tuple[int, int], episodes: int, outcome: Outcome) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(episodes):
        image = generator.integers(0, 256, (_HEIGHT // 8, _WIDTH // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        here, there, clicks = local.open(image), far.open(image), list[Click]()
        for _ in range(_EPISODE):
            clicks.append(
                Click(bool(generator.integers(2)), int(generator.integers(_WIDTH)), int(generator.integers(_HEIGHT)))
            )
            started = time.perf_counter()
            mask = there.predict(clicks)
            outcome.seconds.append(time.perf_counter() - started)
            outcome.wrong.append(int(np.count_nonzero(mask != here.predict(clicks))))


def _tiny_sam(folder: Path) -> str:
    from hlmat_bench.testing import tiny_sam

    return f"sam,pretrained={tiny_sam(folder).pretrained},device=cpu"


if __name__ == "__main__":
    main()
