"""Measure how time and memory grow with the number of episodes, and how many workers one driver can serve.

    python -m benchmarks.scale [--sizes 1000,10000,100000] [--stages run,resume,...] [--folder DIR]
    python -m benchmarks.scale --long 60000
    python -m benchmarks.scale --workers-simulated N [--sizes 20000]

Each stage is a command in a process of its own. Pictures, masks and records are generated from a few distinct ones.
Records are of 512x768 pixels with seven clicks; what is played is small, so that the harness is measured and not the
reading of images.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.manifest import MANIFEST, write_json
from hlmat_bench.protocol.records import EPISODES, Episode, read_episodes, to_record
from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry
from hlmat_bench.runs.episode_log import Finished
from hlmat_bench.runs.measures import MEASURES
from hlmat_bench.runs.opening import digests_of
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.shards import select_samples
from hlmat_bench.runs.writer import RunWriter

BUDGET, OBJECTS, ENTRIES = 7, 32, 1000
LARGE, SMALL = (512, 768), (48, 72)
STAGES = ("run", "resume", "score from masks", "score", "report", "merge", "build")
#: A segmenter that answers at once: its masks are drawn when it is loaded.
SEGMENTER = """
import numpy as np

class Still:
    name = "still"
    accepts_box = False

    def spec(self):
        return {}

    def open(self, image):
        return Session(image.shape[:2])

class Session:
    def __init__(self, size):
        rows, columns = np.ogrid[: size[0], : size[1]]
        self.distance = np.hypot(rows / size[0] - 0.5, columns / size[1] - 0.5)

    def predict(self, clicks, box=None):
        return self.distance < 0.05 + 0.03 * len(clicks)

SEGMENTERS = {"still": Still}
"""


class Cost(NamedTuple):
    """What a stage took: seconds on the clock, and the largest memory of one of its processes in MB."""

    seconds: float
    memory: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--stages", default=",".join(STAGES))
    parser.add_argument("--folder", type=Path, help="where the generated files are put; default: a temporary folder")
    parser.add_argument("--long", type=int, help="episodes of one long run, of which speed and memory are printed")
    parser.add_argument("--workers-simulated", type=int, help="number of processes that feed one driver")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.sizes.split(",")]
    with tempfile.TemporaryDirectory(dir=arguments.folder, ignore_cleanup_errors=True) as place:
        folder = Path(place)
        if arguments.long is not None:
            _play_long(folder, arguments.long)
        elif arguments.workers_simulated is not None:
            _saturate(folder, arguments.workers_simulated, sizes[-1])
        else:
            _print_table(folder, sizes, arguments.stages.split(","))


def _print_table(folder: Path, sizes: Sequence[int], stages: Sequence[str]) -> None:
    costs: dict[str, list[Cost]] = {stage: [] for stage in stages}
    for size in sizes:
        place = folder / str(size)
        for stage, cost in _measured(place, size, stages):
            costs[stage].append(cost)
            print(f"{stage:17}{size:8}{cost.seconds:9.2f} s{1000 * cost.seconds / size:9.3f} ms{cost.memory:8.0f} MB")
            sys.stdout.flush()
        shutil.rmtree(place)
    print("\nmemory and time of a size over those of the size before it:")
    for stage, found in costs.items():
        pairs = pairwise(found)
        print(f"{stage:17}", *(f"{b.seconds / a.seconds:8.1f}x time {b.memory / a.memory:5.1f}x MB" for a, b in pairs))


def _measured(folder: Path, size: int, stages: Sequence[str]) -> Iterator[tuple[str, Cost]]:
    if "run" in stages:
        small = Task(folder / "small", size, SMALL)
        yield "run", command("run", *small.options, "--out", str(folder / "played"))
        shutil.rmtree(folder / "small")
    if {"resume", "score from masks", "score", "report", "merge"}.intersection(stages):
        task = Task(folder / "large", size, LARGE)
        out = folder / "run"
        task.write_run(out)
        actions: dict[str, Callable[[], Cost]] = {
            "score from masks": lambda: command("score", str(out)),
            "score": lambda: command("score", str(out)),
            "resume": lambda: command("run", *task.options, "--out", str(out)),
            "report": lambda: command("report", str(out), "--no-images"),
            "merge": lambda: command("merge", *task.write_shards(out), "--out", str(folder / "merged")),
        }
        for stage, action in actions.items():
            if stage in stages:
                yield stage, action()
    if "build" in stages:
        entries = max(1, ENTRIES * size // 100_000)  # of a size, as many entries as there are in the largest: 1,000
        board = _board(folder / "board", entries)
        yield "build", command("leaderboard", "build", str(board), "--out", str(folder / "site"))


def command(*words: str) -> Cost:
    """Run the command line in a process of its own and return what it took.

    Raises:
        RuntimeError: when it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "hlmat_bench", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"hlmat-bench {words[0]} ended with exit code {process.returncode}.")
    return Cost(time.perf_counter() - started, usage.ru_maxrss / 1024)


class Task:
    """A task of generated pictures, two samples each, and what is played on it.

    Args:
        folder: where it is written.
        size: the number of samples.
        shape: (height, width) of the pictures.
    """

    def __init__(self, folder: Path, size: int, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape
        generator = np.random.default_rng(0)
        self.objects = [_states(generator, shape) for _ in range(OBJECTS)]
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True)
        for number, states in enumerate(self.objects):
            cv2.imwrite(str(folder / "masks" / f"{number}.png"), masks.decode(states[-1]).astype(np.uint8) * 255)
        picture = folder / "picture.png"
        cv2.imwrite(str(picture), np.full((*shape, 3), 128, np.uint8))
        for number in range((size + 1) // 2):
            (folder / "images" / f"{number}.png").hardlink_to(picture)
        rows = [f"{n // 2}.png,{n % OBJECTS}.png,the object number {n},{n}" for n in range(size)]
        (folder / "expressions.csv").write_text("image,mask,expression,id\n" + "\n".join(rows) + "\n")
        (folder / "many.yaml").write_text(
            f"name: many\nsource: {{kind: table}}\nprotocol: {{budget: {BUDGET}}}\ntitle: Many samples\n"
        )
        (folder / "still.py").write_text(SEGMENTER)
        clicks = [f"Positive point: ({3 + 5 * t}, {7 + 3 * t})" for t in range(BUDGET)]
        (folder / "replies.json").write_text(json.dumps(clicks))

    @property
    def spec(self) -> RunSpec:
        """Return the run that `options` name."""
        model, task, segmenter = self.options[1::2]
        return RunSpec(model, task, segmenter)

    @property
    def options(self) -> list[str]:
        """Return the options of ``hlmat-bench run``."""
        model = f"scripted,file={self.folder / 'replies.json'},points=pixel"
        task, segmenter = str(self.folder / "many.yaml"), str(self.folder / "still.py")
        return ["--model", model, "--task", task, "--segmenter", segmenter]

    def write_run(self, out: Path) -> None:
        """Write a finished run of the task, with records that are generated and not played."""
        setup = self.spec.open()
        out.mkdir()
        write_json(out / MANIFEST, setup.manifest() | {"finished": manifest.now()})
        with (out / EPISODES).open("wb") as file:
            file.writelines(to_record(episode) for episode in self.episodes(setup))

    def episodes(self, setup: RunSetup) -> Iterator[Episode]:
        """Yield an episode of each sample."""
        generator = np.random.default_rng(1)
        height, width = self.shape
        for number, sample in enumerate(setup.data.samples):
            states, skill = self.objects[number % OBJECTS], int(generator.integers(3, BUDGET + 2))
            ious = [masks.area(state) / masks.area(states[-1]) for state in states]  # each is a part of the object
            steps = [
                {
                    "t": t,
                    "raw": "Positive point",
                    "action": {
                        "kind": "click",
                        "positive": True,
                        "x": int(generator.integers(width)),
                        "y": int(generator.integers(height)),
                    },
                    "predicted_iou": None,
                    "mask": states[min(t, skill)],
                    "iou": ious[min(t, skill)],
                    "seconds": {"model": 0.7, "segmenter": 0.05, "harness": 0.004},
                    "tokens": {"in": 355, "out": 12},
                }
                for t in range(1, BUDGET + 1)
            ]
            yield Episode.from_json(
                {
                    "schema": "hlmat-episode/1",
                    "sample_id": sample.id,
                    "image": sample.image,
                    "image_id": sample.image_id,
                    "ref_id": sample.ref_id,
                    "expression": sample.expression,
                    "size": list(self.shape),
                    "gt": states[-1],
                    "ignore": None,
                    "initial": {"kind": "empty", "mask": None, "iou": 0.0},
                    "steps": steps,
                    "selected": {"final": BUDGET, "self": BUDGET, "best": BUDGET},
                    "stop": "budget",
                    "error": None,
                    "data": dict(digests_of(setup.data.source, sample)),
                }
            )

    def write_shards(self, out: Path) -> list[str]:
        """Write a run as its two shards and return their folders."""
        samples = self.spec.open_data().samples
        folders = []
        for part in (1, 2):
            folder = out.with_name(f"shard-{part}")
            chosen = {sample.id for sample in select_samples(samples, f"{part}/2", None)}
            folder.mkdir()
            document = manifest.read(out) | {"shard": f"{part}/2", "samples": len(chosen)}
            write_json(folder / MANIFEST, document)
            with (out / EPISODES).open("rb") as lines, (folder / EPISODES).open("wb") as file:
                file.writelines(line for line, sample in zip(lines, samples, strict=True) if sample.id in chosen)
            if (out / MEASURES).exists():
                shutil.copyfile(out / MEASURES, folder / MEASURES)
            folders.append(str(folder))
        return folders


def _states(generator: np.random.Generator, shape: tuple[int, int]) -> list[masks.RLE]:
    """Draw an object with a ragged edge as masks that come closer to it step by step; the last one is the object."""
    height, width = shape
    noise = cv2.resize(generator.random((60, 90), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.ogrid[:height, :width]
    y, x, radius = height * generator.uniform(0.3, 0.7), width * generator.uniform(0.3, 0.7), height * 0.2
    distance = np.hypot(rows - y, 0.8 * (columns - x)) + 0.08 * height * noise
    return [masks.encode(distance < radius * (0.4 + 0.6 * t / (BUDGET + 1)) + 2) for t in range(BUDGET + 2)]


def _board(folder: Path, count: int) -> Path:
    """Write a leaderboard with a number of entries, of runs of 200 samples."""
    task = Task(folder.with_name("board-task"), 200, LARGE)
    out = folder.with_name("board-run")
    task.write_run(out)
    document = manifest.read(out)
    write_json(out / MANIFEST, document | {"model": {**document["model"], "kind": "model"}})
    made = make_entry(Run(out), Declaration("Example Lab", "Nothing.", True, date="2026-01-02")).model_dump()
    (folder / "entries").mkdir(parents=True)
    for number in range(count):
        value = made | {"id": f"entry-{number}", "title": f"Model {number}"}
        write_json(folder / "entries" / f"entry-{number}.json", value)
    return folder


def _play_long(folder: Path, count: int) -> None:
    """Play a run in one process, and print episodes per second and memory of each tenth."""
    task = Task(folder / "task", count, SMALL)
    code = "import sys; from benchmarks.scale import play_long; play_long(*sys.argv[1:])"
    subprocess.run([sys.executable, "-c", code, *task.options[1::2], str(folder / "out")], check=True)


def play_long(model: str, task: str, segmenter: str, out: str) -> None:
    """Play a run, and print episodes per second of processor time and of the clock, and memory, of each tenth."""
    import hlmat_bench

    marks: list[tuple[float, float, float]] = []

    def note(done: int, total: int) -> None:
        if 10 * done >= total * len(marks):
            marks.append((time.perf_counter(), time.process_time(), _memory()))

    hlmat_bench.run(model, task, segmenter, out=out, progress=note)
    tenth = len(Run(out).samples()) / 10
    print("tenth  episodes/s  per second of processor time  memory at its end")
    for number, (before, after) in enumerate(pairwise(marks), 1):
        clock, processor = after[0] - before[0], after[1] - before[1]
        print(f"{number:5}{tenth / clock:12.1f}{tenth / processor:30.1f}{after[2]:16.1f} MB")


def _memory() -> float:
    """Return the memory of this process now, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _saturate(folder: Path, workers: int, count: int) -> None:
    """Feed a writer from processes that have their episodes ready, and print how many it takes per second."""
    task = Task(folder / "task", count, LARGE)
    task.write_run(folder / "made")
    setup = task.spec.open()
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue(4 * workers)
    ready: Any = context.Barrier(workers + 1)
    processes = [
        context.Process(target=_hand_over, args=(task.spec, folder / "made", number, workers, queue, ready))
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    started, used = time.perf_counter(), time.process_time()
    with RunWriter.of(folder / "out", setup, setup.manifest()) as writer:
        for _ in range(count):
            writer.append(queue.get(), writer.begin())
        writer.end()
        writer.close_files()
        clock, processor = time.perf_counter() - started, time.process_time() - used
    for process in processes:
        process.join()
    size = (folder / "out" / EPISODES).stat().st_size / count
    print(f"{workers} simulated workers, {count} episodes of {size / 1000:.1f} kB: {count / clock:.0f} episodes/s")
    print(f"the driver's processor time: {1000 * processor / count:.3f} ms per episode, so that a core of its own ")
    print(f"takes {count / processor:.0f} episodes/s; memory {_memory():.0f} MB")


def _hand_over(spec: RunSpec, made: Path, number: int, workers: int, queue: Any, ready: Any) -> None:
    """Hand over the episodes of one simulated worker, as fast as they are taken."""
    how = spec.open().measuring
    mine = [episode for n, episode in enumerate(read_episodes(made / EPISODES)) if n % workers == number]
    first = Finished.of(mine[0], how)  # a measure of the right length; it is not read
    finished = [replace(Finished.of(episode), measure=first.measure) for episode in mine]
    ready.wait()
    for episode in finished:
        queue.put(episode)


if __name__ == "__main__":
    main()
