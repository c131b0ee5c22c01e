"""What oracle clicks make of a spoilt mask, against oracle clicks from nothing: a segmenter that starts from masks.

    python benchmarks/start_masks.py [--segmenter graphcut] [--samples 60] [--budget 7] [--workers 2]

Samples of hres_synth, evenly spread. For every way to spoil the ground truth, by about a third of the object's depth:
mIoU of the start mask and after each click, the difference to the start from nothing after the last click with its
95 % interval over the samples, and the samples that ended below their start mask.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import cv2
import numpy as np

from hlmat_bench import plugins
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.interfaces import Mask, RefiningSession
from hlmat_bench.scores import CachedTruth
from hlmat_bench.tasks import load_task

WAYS = ("nothing", "eroded", "dilated", "shifted", "part missing", "coarse polygon", "square added")
DEPTH = 0.35


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--segmenter", default="graphcut")
    parser.add_argument("--samples", type=int, default=60)
    parser.add_argument("--budget", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    total = len(load_task("hres_synth").source().samples())
    numbers = np.linspace(0, total - 1, arguments.samples).astype(int)
    with ProcessPoolExecutor(arguments.workers) as pool:
        curves = np.array(list(pool.map(partial(_curves, arguments.segmenter, arguments.budget), numbers)))
    for place, way in enumerate(WAYS):
        mine = curves[:, place]
        gain = mine[:, -1] - curves[:, 0, -1]
        interval = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
        means = " ".join(f"{value:.3f}" for value in mine.mean(axis=0))
        below = int((mine[:, -1] < mine[:, 0]).sum())
        print(f"{way:14} {means}   against nothing {gain.mean():+.3f} ± {interval:.3f}, {below} below their start")


def _curves(segmenter: str, budget: int, number: int) -> list[list[float]]:
    """For each way, the IoU of the start mask and after each oracle click."""
    cv2.setNumThreads(1)
    source = load_task("hres_synth").source()
    sample = source.samples()[number]
    image, truth = source.image(sample), source.truth(sample)
    scored, curves = CachedTruth(truth.mask, truth.ignore), []
    for way in WAYS:
        mask = spoilt(truth.mask, way, np.random.default_rng(number))
        session = plugins.make("segmenter", segmenter).open(image)
        assert isinstance(session, RefiningSession)
        session.start_from(mask)
        clicks, curve = list[Click](), [scored.iou(mask)]
        for _ in range(budget):
            click = next_click(truth.mask, mask, ignore=truth.ignore, clicked=clicks)
            if click is not None:
                clicks.append(click)
                mask = session.predict(clicks)
            curve.append(scored.iou(mask))
        curves.append(curve)
    return curves


def spoilt(gt: Mask, way: str, generator: np.random.Generator) -> Mask:
    """The ground truth, bool (H, W), spoilt in one of `WAYS`."""
    inside, outside = (_distance(part) for part in (gt, ~gt))
    off = max(1.0, DEPTH * float(inside.max()))
    rows, columns = np.nonzero(gt)
    chosen = int(generator.integers(len(rows)))
    y, x = int(rows[chosen]), int(columns[chosen])
    if way == "eroded":
        return inside > off
    if way == "dilated":
        return outside <= off
    if way == "shifted":
        angle = generator.uniform(0, 2 * np.pi)
        move = np.array([[1, 0, off * np.cos(angle)], [0, 1, off * np.sin(angle)]], np.float32)
        moved: Mask = cv2.warpAffine(gt.astype(np.uint8), move, gt.shape[::-1]) > 0
        return moved
    if way == "part missing":
        away = np.hypot(*np.ogrid[-y : gt.shape[0] - y, -x : gt.shape[1] - x])
        far: Mask = away > np.quantile(away[gt], DEPTH)
        return gt & far
    if way == "coarse polygon":
        return _coarse(gt, off)
    spoilt = np.zeros_like(gt) if way == "nothing" else gt.copy()
    if way == "square added":
        half = int(np.sqrt(gt.sum()) / 2) + 1
        spoilt[max(0, y - half) : y + half, max(0, x - half) : x + half] = True
    return spoilt


def _distance(mask: Mask) -> np.ndarray:
    """Each pixel's distance to the nearest one outside the mask."""
    return cv2.distanceTransform(np.pad(mask.astype(np.uint8), 1, mode="edge"), cv2.DIST_L2, 5)[1:-1, 1:-1]


def _coarse(gt: Mask, off: float) -> Mask:
    """The outer outlines as polygons that stay within so many pixels of them, filled."""
    outlines, _ = cv2.findContours(gt.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(gt.shape, np.uint8)
    cv2.fillPoly(filled, [cv2.approxPolyDP(outline, off, closed=True) for outline in outlines], 1)
    return filled > 0


if __name__ == "__main__":
    main()
