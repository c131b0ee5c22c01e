"""Measure hlmat-tiny: the milliseconds of an answer on one core, and the episodes per second of many at once.

    python -m benchmarks.tiny [--model hlmat-tiny] [--episodes 48] [--rounds 3]

Answers are to scenes of `synth_easy`, one request at a time, with the process bound to one core (Linux). Episodes of 7
clicks are played one at a time and 16 at a time by turns, with the segmenter graphcut and with one that costs nothing;
a ratio is the median over the rounds. The CPU time of an episode says what the machine's cores limit: no ratio can be
larger than CPU time one at a time / CPU time of 16, times the number of cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import hlmat_bench
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol.interfaces import Request

TASK, CLICKS, MANY = "synth_easy", 7, 16
FREE = "from hlmat_bench.testing import DiscSegmenter\nSEGMENTERS = {'free': DiscSegmenter}\n"
"""A file with a segmenter that draws discs."""


def main() -> None:
    """Measure and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None, allow_abbrev=False)
    parser.add_argument("--model", default="hlmat-tiny", help="an entry of the catalogue that both adapters run")
    parser.add_argument("--episodes", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print("| adapter | one answer on one core, ms: median | 95 % of them below |\n|---|---|---|")
    for adapter in ("onnx", "hf"):
        with _one_core():
            times = sorted(_answers(f"{given.model},adapter={adapter}", 100))
        print(f"| {adapter} | {statistics.median(times):.1f} | {times[95 * len(times) // 100]:.1f} |", flush=True)
    print(f"\n| adapter | segmenter | one at a time, episodes/s | {MANY} at a time | ratio | CPU ms of an episode |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        free = Path(folder) / "free.py"
        free.write_text(FREE)
        for adapter in ("onnx", "hf"):
            for name, segmenter in (("graphcut", "graphcut"), ("free", str(free))):
                play = _Episodes(f"{given.model},adapter={adapter}", segmenter, given.episodes, Path(folder))
                pairs = [(play.timed(1), play.timed(MANY)) for _ in range(given.rounds)]
                one, many = (_medians(times) for times in zip(*pairs, strict=True))
                ratio = statistics.median(slow.wall / fast.wall for slow, fast in pairs)
                rates = f"{1 / one.wall:.1f} | {1 / many.wall:.1f} | {ratio:.1f}"
                print(f"| {adapter} | {name} | {rates} | {one.cpu * 1000:.0f}, {many.cpu * 1000:.0f} |", flush=True)


class _Times(NamedTuple):
    """Seconds of an episode."""

    wall: float
    cpu: float


def _medians(times: Sequence[_Times]) -> _Times:
    return _Times(*map(statistics.median, zip(*times, strict=True)))


@contextmanager
def _one_core() -> Iterator[None]:
    """Bind this process, with the threads that it starts, to one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _answers(spec: str, count: int) -> Iterator[float]:
    """Give the milliseconds of each answer, after ten that are not measured."""
    choice = Catalog.load().choose(spec)
    model: Any = choice.make()
    source = load_task(TASK).source()
    for number, sample in enumerate(source.samples()[: count + 10]):
        image = model.resize.apply(source.image(sample))
        request = Request(image, str(choice.settings["prompt"]).format(expression=sample.expression))
        start = time.perf_counter()
        model.reply_batch([request])
        if number >= 10:
            yield (time.perf_counter() - start) * 1000


class _Episodes:
    """Runs with one loaded model; the first one, which is not measured, warms up what all of them use."""

    def __init__(self, spec: str, segmenter: str, episodes: int, folder: Path) -> None:
        choice = Catalog.load().choose(spec)
        self._model, self._settings = choice.make(), dict(choice.settings)
        self._segmenter, self._episodes, self._folder = segmenter, episodes, folder
        self.timed(MANY)

    def timed(self, concurrency: int) -> _Times:
        """Return the seconds per episode of a run, with its beginning and its end."""
        with tempfile.TemporaryDirectory(dir=self._folder) as out:
            wall, cpu = time.perf_counter(), time.process_time()
            hlmat_bench.run(
                self._model,
                TASK,
                self._segmenter,
                budget=CLICKS,
                limit=self._episodes,
                concurrency=concurrency,
                batch_size=concurrency,
                settings=self._settings,
                out=out,
            )
            taken = time.perf_counter() - wall, time.process_time() - cpu
            return _Times(*(seconds / self._episodes for seconds in taken))


if __name__ == "__main__":
    main()
