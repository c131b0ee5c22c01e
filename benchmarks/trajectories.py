"""How fast trajectories are made, with a segmenter that costs next to nothing, and how much memory they take.

    python -m benchmarks.trajectories [--episodes 10000] [--workers 0]

Each trajectory has 7 clicks on an image of 640 x 480 pixels. The segmenter draws discs. The ratio is to a run of the
oracle, which asks the segmenter once for each click and compares nothing before it clicks. Memory is the process's
greatest resident size, after a tenth of the trajectories and at the end.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import hlmat_bench

DISCS = """
import cv2
import numpy as np

class Discs:
    \"\"\"Draws a disc at each click, in order.\"\"\"
    name, accepts_box = "discs", False
    def spec(self): return {}
    def open(self, image): return Session(image.shape[:2])

class Session:
    def __init__(self, size): self.size = size
    def predict(self, clicks, box=None):
        mask = np.zeros(self.size, np.uint8)
        for click in clicks: cv2.circle(mask, (click.x, click.y), 25, int(click.positive), -1)
        return mask.astype(bool)
    def snapshot(self): return None
    def restore(self, state): pass

SEGMENTERS = {"discs": Discs}
"""
HEIGHT, WIDTH, CLICKS, OBJECTS = 480, 640, 7, 20


def write_task(folder: Path, episodes: int) -> Path:
    """Write a task of ``episodes`` samples, 20 on each of its images, whose objects have several arms."""
    generator = np.random.default_rng(0)
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    lines = ["image,mask,expression"]
    for number in range(-(-episodes // OBJECTS)):
        rough = generator.integers(0, 256, (12, 16, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number}.jpg"), cv2.resize(rough, (WIDTH, HEIGHT)))
        for part in range(OBJECTS):
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            center = generator.integers((200, 150), (WIDTH - 200, HEIGHT - 150))
            for angle in generator.uniform(0, 2 * np.pi, 6):
                end = center + 130 * np.array([np.cos(angle), np.sin(angle)])
                cv2.line(mask, tuple(map(int, center)), tuple(map(int, end)), 255, 45)
            cv2.imwrite(str(folder / "masks" / f"{number}_{part}.png"), mask)
            lines.append(f"{number}.jpg,{number}_{part}.png,object {part}")
    (folder / "expressions.csv").write_text("\n".join(lines[: episodes + 1]) + "\n")
    task = folder / "task.yaml"
    task.write_text(f"name: arms\nsource: {{kind: table}}\nprotocol: {{budget: {CLICKS}}}\n")
    return task


class Memory:
    """Takes the process's greatest resident size, in megabytes, when a tenth is done."""

    tenth = 0.0

    def __call__(self, done: int, total: int) -> None:
        """See `hlmat_bench.runs.executors.Progress`."""
        if not self.tenth and done >= total / 10:
            self.tenth = self.now()

    def now(self) -> float:
        """Return it as it is now."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Make trajectories, play the oracle, and print both times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=0, help="0: all in this process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        task, tool, memory = write_task(folder, options.episodes), folder / "discs.py", Memory()
        tool.write_text(DISCS)
        seconds, steps = {}, {}
        for strategy in ("annotate", "greedy"):
            began = time.perf_counter()
            run = hlmat_bench.run(
                "oracle",
                str(task),
                str(tool),
                strategy=strategy,
                out=folder / strategy,
                workers=options.workers or None,
                progress=memory,
            )
            seconds[strategy] = time.perf_counter() - began
            steps[strategy] = sum(len(episode.steps) for episode in run.episodes()) / options.episodes
            print(f"{strategy}: {seconds[strategy]:.1f} s, {options.episodes / seconds[strategy]:.1f} episodes/s, "
                  f"{steps[strategy]:.2f} clicks each, memory {memory.tenth:.0f} -> {memory.now():.0f} MB")  # fmt: skip
        print(f"time per episode, trajectories : oracle = {seconds['annotate'] / seconds['greedy']:.2f}")


if __name__ == "__main__":
    main()
