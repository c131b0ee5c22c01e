"""Measure how many replies per second the reward functions of `hlmat_bench.training` take in one process.

    python benchmarks/training.py [--images 100] [--replies 8]

A run of seven random clicks an image is played on images of 640 x 480 pixels with a segmenter that draws a rectangle at
each click, and a snapshot is taken before each step. Then replies are scored: one to each snapshot, which brings each
state back, and several to each, as GRPO draws a group of completions for one prompt. Beside them stands what a session
alone takes for a step. The ratio is that to the target of 500 replies per second.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import hlmat_bench
from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Box, Image, Mask
from hlmat_bench.training import SessionSettings, SnapshotRewards, snapshots

TARGET = 500.0
HEIGHT, WIDTH = 480, 640


class Rectangles:
    """A segmenter that fills or clears a rectangle at each click."""

    name = "rectangles"
    accepts_box = False

    def spec(self) -> dict[str, Any]:
        """Return nothing, see `hlmat_bench.interfaces.Segmenter`."""
        return {}

    def open(self, image: Image) -> RectangleSession:
        """Open an image, uint8 (H, W, 3) RGB."""
        return RectangleSession(image)


class RectangleSession:
    """An image opened in `Rectangles`."""

    def __init__(self, image: Image) -> None:
        self.size = image.shape[:2]

    def predict(self, clicks: Iterable[Click], box: Box | None = None) -> Mask:
        """Return the mask, bool (H, W)."""
        mask = np.zeros(self.size, bool)
        for positive, x, y in clicks:
            mask[max(y - 40, 0) : y + 40, max(x - 60, 0) : x + 60] = positive
        return mask

    def snapshot(self) -> None:
        """Return nothing: the mask depends on the clicks alone."""

    def restore(self, state: object) -> None:
        """Do nothing."""


SEGMENTERS = {"rectangles": Rectangles}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--replies", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        task = _task(Path(folder), options.images)
        run = hlmat_bench.run("random", task, __file__, budget=7, out=Path(folder) / "run")
        states = [state.to_json() for state in snapshots(run, task=task, segmenter=__file__)]
        print(f"{len(states)} snapshots of {options.images} images of {WIDTH} x {HEIGHT}")
        generator = np.random.default_rng(0)
        said = [f"Positive point: ({x}, {y})" for x, y in generator.integers(0, 640, (len(states), 2)).tolist()]
        one = [(state, reply) for state, reply in zip(states, said, strict=True)]
        rewards = SnapshotRewards(own_files=True)
        _report("one reply to each state", len(one), lambda: [rewards.play(*each) for each in one])
        group = [(state, reply) for state, reply in one for _ in range(options.replies)]
        _report(f"{options.replies} replies to each state", len(group), lambda: [rewards.play(*each) for each in group])
        few = [(states[number % 200], said[number % len(said)]) for number in range(4000)]
        _report("replies to states that are kept", len(few), lambda: [rewards.play(*each) for each in few])
        _report("steps of sessions", 7 * options.images, lambda: _play(task, said, options.images))


def _task(folder: Path, count: int) -> str:
    """Write images with an object each, and return their task file."""
    generator = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir()
    lines = ["image,mask,expression"]
    for number in range(count):
        image = cv2.resize(generator.integers(0, 256, (48, 64, 3), np.uint8), (WIDTH, HEIGHT))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        x, y = generator.integers(0, 400), generator.integers(0, 300)
        mask[y : y + 120, x : x + 180] = 255
        cv2.imwrite(str(folder / "images" / f"{number}.jpg"), image)
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        lines.append(f"{number}.jpg,{number}.png,thing {number}")
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    (folder / "task.yaml").write_text("name: rectangles\nsource: {kind: table}\n")
    return str(folder / "task.yaml")


def _play(task: str, said: list[str], count: int) -> None:
    pool = SessionSettings(task=task, segmenter=__file__, points="xypixel").shared()
    for number in range(count):
        session = pool.open(number)
        for reply in said[7 * number : 7 * number + 7]:
            session.request()
            session.step(reply)


def _report(what: str, count: int, work: Callable[[], object]) -> None:
    """Print how many replies there were per second of the clock and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    rates = f"{count / wall:8.0f} /s {count / processor:8.0f} /s of processor"
    print(f"{what:30} {rates} {count / wall / TARGET:6.2f} x target")


if __name__ == "__main__":
    main()
