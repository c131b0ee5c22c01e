"""Measure the cost of tree search: the segmenter's time compared with greedy play, and the size of a model's batches.

    python -m benchmarks.search [--images 3] [--budget 7] [--candidates 4]

The segmenter is SAM ViT-B with random weights. The clicks come from an oracle that misplaces a third of them, and the
reward is the true IoU, so that no model is asked. The batches are those of a model that takes half a second per batch,
with as many episodes in flight as a batch has requests.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import hlmat_bench
from benchmarks.checkpoints import random_sam
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request

BATCH = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=3)
    parser.add_argument("--budget", type=int, default=7)
    parser.add_argument("--candidates", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _segmenter(Path(folder), options.images, options.budget, options.candidates)
        _batches(Path(folder), options.budget, options.candidates)


def _segmenter(folder: Path, images: int, budget: int, candidates: int) -> None:
    checkpoint = random_sam(folder / "sam_b.pth", "vit_b")
    greedy = _seconds(folder / "greedy", checkpoint, images, budget, "greedy", {})
    tree = _seconds(
        folder / "tree",
        checkpoint,
        images,
        budget,
        "tree",
        {"prm": "oracle", "candidates": candidates, "stop.patience": budget},
    )
    print(f"{images} episodes of {budget} steps, {candidates} candidates a step")
    for name, which in (("with the encoder", slice(None)), ("clicks after the first", slice(1, None))):
        one, other = (statistics.median(sum(episode[which]) for episode in episodes) for episodes in (greedy, tree))
        print(f"  segmenter, {name:24} greedy {one:6.2f} s   tree {other:6.2f} s   {other / one:.2f}x")


def _seconds(
    out: Path, checkpoint: Path, images: int, budget: int, strategy: str, settings: dict[str, object]
) -> list[list[float]]:
    """Return the segmenter's seconds per episode and step."""
    run = hlmat_bench.run(
        "oracle,misplaced=0.33",
        "hres_synth",
        f"sam_b,checkpoint={checkpoint}",
        strategy=strategy,
        budget=budget,
        limit=images,
        concurrency=1,
        settings=settings,
        out=out,
    )
    return [[step.seconds["segmenter"] for step in episode.steps] for episode in run.episodes()]


class _Drawing:
    """A model that clicks anywhere and predicts a higher IoU for every mask; it records the sizes of its batches."""

    name = "drawing"
    points = PointFormat.named("xy1000")
    batch_size = BATCH
    predicts_iou = True

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        return self.reply_batch([request])[0]

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """Answer a batch, see `hlmat_bench.protocol.interfaces.BatchModel.reply_batch`."""
        time.sleep(0.5)
        self.batches.append(len(requests))
        return [[self._say(request, draw) for draw in range(request.n)] for request in requests]

    def _say(self, request: Request, draw: int) -> Reply:
        x, y = (request.seed + 97 * draw) % 1000, (request.seed // 1000 + 61 * draw + 13 * request.t) % 1000
        return Reply(f"Current IOU: {min(99, 5 * request.t)}, Positive point: ({x}, {y})")


def _batches(folder: Path, budget: int, candidates: int) -> None:
    model = _Drawing()
    hlmat_bench.run(
        model,
        "hres_synth",
        "graphcut",
        strategy="tree",
        budget=budget,
        limit=2 * BATCH,
        settings={"candidates": candidates},
        out=folder / "batches",
    )
    full = sum(size == BATCH for size in model.batches) / len(model.batches)
    print(
        f"model: {sum(model.batches)} requests in {len(model.batches)} batches of at most {BATCH}, "
        f"{statistics.mean(model.batches):.1f} on average, {full:.0%} full"
    )


if __name__ == "__main__":
    main()
