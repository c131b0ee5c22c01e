"""Measure segmenters: the gain of sharing image embeddings, the cost of a click, the clicks per second.

    python -m benchmarks.segmenters [--images 10] [--clicks 3] [--memory-images 2000]
    python -m benchmarks.segmenters --throughput SEGMENTER [SEGMENTER ...] [--episodes 32]

The first form takes a SAM ViT-B with random weights and 6 expressions per image. The reference is segment-anything's
own SamPredictor, which encodes the image for every expression. Both get the same clicks, on the accelerator where there
is one; the masks are compared. The second form prints one table, a line for each segmenter, see `_throughput`.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checkpoints import random_sam
from hlmat_bench.clicks import Click
from hlmat_bench.core.networks import device
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import BatchSession, Segmenter
from hlmat_bench.testing import tiny_sam

EXPRESSIONS = 6
CANDIDATES = 8
STEPS = 7
Episode = Sequence[Click]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--clicks", type=int, default=3, help="per episode")
    parser.add_argument("--memory-images", type=int, default=2000, help="images for the memory's slope")
    parser.add_argument("--throughput", nargs="+", metavar="SEGMENTER", help="print clicks per second of these instead")
    parser.add_argument("--episodes", type=int, default=32, help="episodes under way, for --throughput")
    options = parser.parse_args()
    if options.throughput:
        _throughput(options.throughput, options.episodes)
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = random_sam(Path(folder) / "sam_b.pth", "vit_b")
        _compare(checkpoint, options.images, options.clicks)
        first, single, each = _single_costs(plugins.make("segmenter", f"sam_b,checkpoint={checkpoint}"))
        print(
            f"first click {1000 * first:.0f} ms, a later one {1000 * single:.0f} ms: {single / first:.1%} (target 5 %)"
        )
        print(f"{CANDIDATES} candidates in one batch cost {each / single:.2f} single ones (target 2.5)")
        _memory(Path(folder), options.memory_images)


def _compare(checkpoint: Path, count: int, clicks: int) -> None:
    """Play the same episodes with the reference and this package, and print times, encoder passes, differences."""
    images = [_image(seed) for seed in range(count)]
    episodes = [(image, _clicks(image, clicks, seed)) for image in images for seed in range(EXPRESSIONS)]
    reference, theirs = _timed(lambda: _reference(checkpoint, episodes))
    segmenter = plugins.make("segmenter", f"sam_b,checkpoint={checkpoint}")
    passes = _counted(segmenter.network)
    masks, ours = _timed(lambda: [mask for image, played in episodes for mask in _played(segmenter, image, played)])
    worst = max(float((one != other).mean()) for one, other in zip(reference, masks, strict=True))
    print(f"{len(episodes)} episodes on {count} images, {clicks} clicks each")
    print(f"  segment-anything's SamPredictor   {theirs:8.1f} s")
    print(f"  ours                              {ours:8.1f} s   {theirs / ours:.1f}x sooner (target 4)")
    print(f"  encoder passes per episode        {passes.count / len(episodes):8.3f}     (target {1 / 6 * 1.02:.3f})")
    print(f"  largest share of differing pixels {worst:8.1e}")


def _throughput(names: Sequence[str], under_way: int) -> None:
    """Print the clicks per second of segmenters: of one episode after another, and of many at once in as many threads.

    An episode has 7 clicks on an image of its own, 640x480, whose encoding is part of the time.
    """
    print(
        f"| segmenter | first click | a later click | clicks/s alone | {under_way} episodes | {CANDIDATES} candidates |"
    )
    print("|---|---|---|---|---|---|")
    for name in names:
        segmenter = plugins.make("segmenter", name)
        first, single, each = _single_costs(segmenter)
        alone = _clicks_per_second(segmenter, range(min(8, under_way)), 1)
        together = _clicks_per_second(segmenter, range(8, 8 + under_way), under_way)
        candidates = f"{each / single:.2f} clicks" if each else "one by one"
        print(f"| {segmenter.name} | {1000 * first:.1f} ms | {1000 * single:.1f} ms ", end="")
        print(f"| {alone:.1f} | {together:.1f} | {candidates} |", flush=True)


def _clicks_per_second(segmenter: Segmenter, seeds: Sequence[int], threads: int) -> float:
    """Play an episode for each seed, as many at once as there are threads, and return the clicks per second."""
    episodes = [(_image(seed), _clicks(_image(seed), STEPS, seed)) for seed in seeds]
    with ThreadPoolExecutor(threads) as pool:
        return STEPS * len(seeds) / _timed(lambda: list(pool.map(lambda one: _played(segmenter, *one), episodes)))[1]


def _single_costs(segmenter: Segmenter) -> tuple[float, float, float]:
    """Return the median seconds of an image's first click, of a later one, and of candidates decoded together.

    The last is 0 for a segmenter that decodes candidates one by one.
    """
    firsts, later, together = [], [], []
    for seed in range(100, 105):
        image = _image(seed)
        clicks = _clicks(image, CANDIDATES + 1, seed)
        candidates = [[clicks[0], click] for click in clicks[1:]]
        firsts.append(_timed(partial(_played, segmenter, image, clicks[:1]))[1])
        session = segmenter.open(image)
        session.predict(clicks[:1])
        later.append(_timed(partial(session.predict, candidates[0]))[1])
        if isinstance(session, BatchSession):
            together.append(_timed(partial(session.predict_each, candidates))[1])
    return statistics.median(firsts), statistics.median(later), statistics.median(together or [0.0])


def _memory(folder: Path, count: int) -> None:
    """Measure the growth of memory over many images, with a tiny SAM and a small cache."""
    sam = tiny_sam(folder / "tiny")
    segmenter = plugins.make("segmenter", f"sam,pretrained={sam.pretrained},cache_mb=1")
    sizes = []
    for seed in range(count):
        image = _image(seed, 96, 128)
        segmenter.open(image).predict(_clicks(image, 1, seed))
        if seed >= count // 4 and seed % 50 == 0:
            sizes.append((seed, _resident()))
    seeds, resident = (np.array(values, dtype=float) for values in zip(*sizes, strict=True))
    slope = float(np.polyfit(seeds, resident, 1)[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"memory over {count} images: {slope * 1000:+.2f} MB per 1,000 images, peak {peak:.0f} MB")


class _Passes:
    """The number of passes of an encoder."""

    count = 0


def _counted(network: Any) -> _Passes:
    passes, encode = _Passes(), network.encode

    def counting(*pixels: Any) -> Any:
        passes.count += 1
        return encode(*pixels)

    network.encode = counting
    return passes


def _reference(checkpoint: Path, episodes: Sequence[tuple[Image, Episode]]) -> list[Mask]:
    """Play with SamPredictor: one encoding per episode; all clicks and the last logits per click; best of 3 masks."""
    from segment_anything import SamPredictor, sam_model_registry

    predictor = SamPredictor(sam_model_registry["vit_b"](str(checkpoint)).eval().to(device.device()))
    masks: list[Mask] = []
    for image, clicks in episodes:
        predictor.set_image(image)
        logits: Any = None
        for count in range(1, len(clicks) + 1):
            points = np.array([(click.x, click.y) for click in clicks[:count]])
            labels = np.array([int(click.positive) for click in clicks[:count]])
            three, scores, low = predictor.predict(points, labels, mask_input=logits, multimask_output=True)
            best = int(scores.argmax())
            logits = low[best : best + 1]
            masks.append(three[best])
    return masks


def _played(segmenter: Segmenter, image: Image, clicks: Episode) -> list[Mask]:
    session = segmenter.open(image)
    return [session.predict(clicks[:count]) for count in range(1, len(clicks) + 1)]


def _image(seed: int, height: int = 480, width: int = 640) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _clicks(image: Image, count: int, seed: int) -> list[Click]:
    generator = np.random.default_rng(seed)
    height, width = image.shape[:2]
    return [Click(n % 3 < 2, int(generator.integers(width)), int(generator.integers(height))) for n in range(count)]


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _resident() -> float:
    """Return the memory in use now, in MB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
