"""Measure quality and speed of the embedded segmenter with oracle clicks on real photos.

    python benchmarks/graphcut.py --data-root DIR [--budget 20] [--workers 2]

For every available data set: number of clicks to 85 and 90 % IoU (the budget if it is not reached), final mIoU, and the
largest decrease of mIoU from one click to the next. Then the time of a click at 640x480 on one core, and the memory for
an image of 12 megapixels. Targets: GrabCut NoC@85 3.2, Berkeley NoC@90 10.0, decrease 0.02, 150 ms, 300 MB.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Image
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import plugins
from hlmat_bench.scores import noc

TASKS = ("grabcut", "berkeley", "davis", "coco_mval")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print(f"{'task':10} {'n':>4} {'NoC@85':>7} {'NoC@90':>7} {'mIoU':>6} {'fall':>7}")
    for task in TASKS:
        try:
            count = len(load_task(task).source(arguments.data_root).samples())
        except UsageError as error:
            print(f"{task:10} {error}")
            continue
        with ProcessPoolExecutor(arguments.workers) as pool:
            one = partial(_curve, task, arguments.data_root, arguments.budget)
            curves = np.array(list(pool.map(one, range(count))))
        _print(task, curves, arguments.budget)
    _print_speed()


def _print(task: str, curves: np.ndarray, budget: int) -> None:
    means = [noc(curves, threshold, budget).mean for threshold in (0.85, 0.9)]
    mean = curves.mean(axis=0)
    fall = -np.diff(mean).min()
    print(f"{task:10} {len(curves):4} {means[0]:7.2f} {means[1]:7.2f} {mean[-1]:6.3f} {fall:7.4f}", flush=True)


def _curve(task: str, data_root: Path, budget: int, number: int) -> list[float]:
    """Return the IoU after each oracle click on one sample."""
    source = load_task(task).source(data_root)
    sample = source.samples()[number]
    truth = source.truth(sample)
    session = plugins.make("segmenter", "graphcut").open(source.image(sample))
    scored = CachedTruth(truth.mask, truth.ignore)
    mask, clicks, curve = np.zeros(truth.mask.shape, bool), list[Click](), list[float]()
    for _ in range(budget):
        click = next_click(truth.mask, mask, ignore=truth.ignore, clicked=clicks)
        if click is not None:
            clicks.append(click)
            mask = session.predict(clicks)
        curve.append(scored.iou(mask))
    return curve


def _scene(height: int, width: int) -> tuple[Image, np.ndarray]:
    """Draw a wheel with spokes on a textured ground."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width]
    y, x = (rows - height / 2) / height, (columns - width / 2) / height
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    wheel = ((radius < 0.42) & (radius > 0.34)) | (radius < 0.08) | ((np.cos(8 * angle) > 0.9) & (radius < 0.4))
    ground = 90 + 60 * np.sin(20 * x) * np.cos(14 * y)
    image = np.where(wheel, 170, ground)[..., None] + generator.normal(0, 10, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), wheel


def _print_speed() -> None:
    import cv2

    cv2.setNumThreads(1)
    image, wheel = _scene(480, 640)
    seconds = _times(image, wheel)
    print(f"a click at 640x480, one core: median {1000 * statistics.median(seconds):.0f} ms, ", end="")
    print(f"slowest {1000 * max(seconds):.0f} ms")
    large = image.repeat(7, axis=0)[:3000].repeat(7, axis=1)[:, :4000].copy()
    before = _peak()
    seconds = _times(large, np.zeros((3000, 4000), bool), clicks=5, play=False)
    print(f"at 4000x3000: median {1000 * statistics.median(seconds):.0f} ms, memory {_peak() - before:.0f} MB more")


def _times(image: Image, gt: np.ndarray, clicks: int = 20, *, play: bool = True) -> list[float]:
    """Return the seconds of each click: oracle clicks, or fixed ones, so that the oracle's memory is not measured."""
    session = plugins.make("segmenter", "graphcut").open(image)
    height, width = gt.shape
    fixed = [Click(True, width // 2, height // 2 - height * n // 12) for n in range(clicks)]
    mask, done, seconds = np.zeros(gt.shape, bool), list[Click](), list[float]()
    for number in range(clicks):
        click = next_click(gt, mask, clicked=done) if play else fixed[number]
        if click is None:
            break
        done.append(click)
        started = time.perf_counter()
        mask = session.predict(done)
        seconds.append(time.perf_counter() - started)
    return seconds


def _peak() -> float:
    """Return the most memory this process has had, in MB (2^20 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
