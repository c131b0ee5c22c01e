"""Compare the speed of the numeric primitives with that of the public reference implementations.

    python benchmarks/primitives.py [--sizes ABCD] [--json FILE]

Both implementations are measured alternately in this process; the ratio is the median over the rounds. First it is
checked that they give the same result. The inputs are generated from seeds. See benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from pycocotools import mask as coco

from hlmat_bench.clicks import Click, Oracle
from hlmat_bench.core import images, masks
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Image, Mask
from hlmat_bench.overlay import GREEN, Overlay
from hlmat_bench.scores import boundary_width
from hlmat_bench.scores.intervals import bootstrap

SIZES = {"A": (480, 640), "B": (1024, 1024), "C": (1536, 2048), "D": (3000, 4000)}
ROUNDS = {"A": 25, "B": 15, "C": 9, "D": 7}
TARGETS: dict[str, dict[str, float]] = {
    "overlay": {"A": 40, "B": 40, "C": 40, "D": 40},
    "next click": {"A": 4, "B": 7, "C": 7, "D": 15},
    "IoU": {"A": 8, "C": 15, "D": 15},
    "boundary IoU": {"A": 2.5, "D": 8},
    "RLE": {"A": 1.8, "B": 1.8, "C": 1.8, "D": 1.8},
    "oracle step": {"A": 3, "B": 3, "C": 4.5, "D": 6},
}
NEVER_SLOWER = 1.0
BOOTSTRAP_TARGET = 100.0
Score = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds."""

    size: str
    operation: str
    reference_ms: float
    ours_ms: float
    ratio: float
    target: float | None


@dataclass(frozen=True)
class Scene:
    """An image, an object, a mask with many kinds of errors, and the ground truth as int32, as the reference has it."""

    image: Image
    gt: Mask
    mask: Mask
    labels: NDArray[np.int32]


# The reference implementations, in plain numpy, OpenCV, Pillow and pycocotools.


def reference_overlay(image: Image, mask: Mask) -> Image:
    """Blend image and colour in float64, channel by channel."""
    tint = np.zeros_like(image)
    tint[mask > 0] = GREEN
    painted = image.copy()
    for channel in range(3):
        blend = image[..., channel] * 0.5 + tint[..., channel] * 0.5
        painted[..., channel] = np.where(mask > 0, blend, image[..., channel])
    return painted


def reference_click(gt: Mask, counted: Mask, mask: Mask, free: Mask) -> Click:
    """Find the next click by two distance transforms of the padded image, as in RITM."""
    depths = []
    for region in (gt & ~mask, ~gt & mask):
        padded = np.pad(region & counted, 1).astype(np.uint8)
        depths.append(cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1] * free)
    deepest = [depth.max() for depth in depths]
    positive = bool(deepest[0] > deepest[1])
    y, x = np.where(depths[not positive] == deepest[not positive])
    return Click(positive, int(x[0]), int(y[0]))


def reference_iou(labels: NDArray[np.int32], mask: Mask) -> float:
    """Sum logical operations; label -1 is ignored."""
    gt, counted = labels == 1, labels != -1
    intersection = np.logical_and(np.logical_and(mask, gt), counted).sum()
    union = np.logical_and(np.logical_or(mask, gt), counted).sum()
    return float(intersection / union)


def reference_boundary_iou(gt: Mask, mask: Mask) -> float:
    """Compute the boundary IoU by repeated erosions with a 3 x 3 kernel (Cheng et al. 2021)."""
    height, width = gt.shape
    bands = []
    for each in (gt.astype(np.uint8), mask.astype(np.uint8)):
        padded = cv2.copyMakeBorder(each, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=boundary_width((height, width)))
        bands.append(each - eroded[1 : height + 1, 1 : width + 1])
    intersection, union = ((bands[0] * bands[1]) > 0).sum(), ((bands[0] + bands[1]) > 0).sum()
    return float(intersection / union)


def reference_rle(mask: Mask) -> dict[str, Any]:
    """Copy to Fortran order, then encode."""
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": rle["size"], "counts": rle["counts"].decode("ascii")}


def reference_jpeg(image: Image) -> bytes:
    """Encode an image with Pillow, quality 95, no chroma subsampling."""
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


# Inputs.


def ellipse(shape: tuple[int, int], y: float, x: float, ry: float, rx: float) -> Mask:
    """Draw a filled ellipse; centre and radii are shares of height and width."""
    height, width = shape
    rows, columns = np.ogrid[:height, :width]
    inside: Mask = ((rows / height - y) / ry) ** 2 + ((columns / width - x) / rx) ** 2 < 1
    return inside


def lines(shape: tuple[int, int], rng: np.random.Generator, count: int) -> Mask:
    """Return thin straight lines, bool (H, W)."""
    canvas = np.zeros(shape, np.uint8)
    ends = (rng.random((count, 2, 2)) * (shape[1], shape[0])).astype(int)
    for start, end in ends:
        cv2.line(canvas, start.tolist(), end.tolist(), 1, max(1, shape[0] // 200))
    return canvas > 0


def photo(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Draw a picture with detail at every scale, like a photograph."""
    picture = np.zeros((*shape, 3), np.float32)
    for octave in range(1, 10):
        noise = rng.standard_normal((2**octave, 2**octave, 3)).astype(np.float32)
        picture += cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC) * (60 / 1.6**octave)
    picture += 3 * rng.standard_normal(picture.shape).astype(np.float32)
    return np.clip(picture + 128, 0, 255).astype(np.uint8)


def scene(shape: tuple[int, int], seed: int = 0) -> Scene:
    """Draw an object with thin parts, and a mask that is shifted, misses parts, has false ones and speckle."""
    rng = np.random.default_rng(seed)
    body = ellipse(shape, 0.5, 0.5, 0.36, 0.28)
    gt = body | (lines(shape, rng, 12) & ellipse(shape, 0.5, 0.5, 0.46, 0.46))
    mask = ellipse(shape, 0.52, 0.51, 0.34, 0.28)
    for _ in range(6):
        y, x, radius = rng.random(), rng.random(), rng.uniform(0.02, 0.07)
        mask ^= ellipse(shape, y, x, radius, radius)
    mask ^= rng.random(shape) < 0.0005
    return Scene(photo(shape, rng), gt, mask, gt.astype(np.int32))


def error_patterns(made: Scene) -> Iterator[tuple[str, Mask, Mask]]:
    """Yield (name, ground truth, mask) of patterns on which the oracle must not be slower than the reference."""
    rng = np.random.default_rng(1)
    gt, columns = made.gt, np.arange(made.gt.shape[1])
    empty, full = np.zeros_like(gt), np.ones_like(gt)
    yield "sparse speckle", gt, gt ^ (rng.random(gt.shape) < 0.0005)
    yield "noise", gt, rng.random(gt.shape) < 0.5
    yield "shifted", gt, np.roll(gt, 5, axis=1)
    yield "empty mask", gt, empty
    yield "full mask", gt, full
    yield "everything wrong", gt, ~gt
    yield "everything missed", full, empty
    for width in (1, 8, 40):
        yield f"comb of {width} px", np.broadcast_to(columns // width % 2 == 0, gt.shape).copy(), empty


# Measuring.


def compare(size: str, operation: str, reference: Score, ours: Score, rounds: int, target: float | None) -> Row:
    """Measure both implementations alternately, and return the row of the table."""
    reference()
    ours()
    seconds = [(timed(reference), timed(ours)) for _ in range(rounds)]
    theirs, mine = zip(*seconds, strict=True)
    ratio = statistics.median(a / b for a, b in seconds)
    return Row(size, operation, 1e3 * statistics.median(theirs), 1e3 * statistics.median(mine), ratio, target)


def timed(function: Score) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def operations(made: Scene) -> Iterator[tuple[str, Score, Score]]:
    """Yield (name, reference, own function) of each primitive, after a check that both give the same result."""
    gt, mask, labels = made.gt, made.mask, made.labels
    counted, free = np.ones_like(gt), np.ones_like(gt)
    overlay, oracle, truth = Overlay(made.image), Oracle(gt), CachedTruth(gt)
    canvas = np.empty_like(made.image)  # an episode also paints into the same memory at every step

    def reference_step() -> None:
        reference_jpeg(reference_overlay(made.image, mask))
        reference_click(gt, counted, mask, free)
        reference_iou(labels, mask)
        reference_rle(mask)

    def step() -> None:
        images.encode(overlay.paint(mask, out=canvas))
        oracle.next_click(mask)
        truth.iou(mask)
        masks.encode(mask)

    assert np.array_equal(reference_overlay(made.image, mask), overlay.paint(mask))
    yield "overlay", lambda: reference_overlay(made.image, mask), lambda: overlay.paint(mask, out=canvas)
    assert reference_click(gt, counted, mask, free) == oracle.next_click(mask)
    yield "next click", lambda: reference_click(gt, counted, mask, free), lambda: oracle.next_click(mask)
    assert reference_iou(labels, mask) == truth.iou(mask)
    yield "IoU", lambda: reference_iou(labels, mask), lambda: truth.iou(mask)
    assert reference_boundary_iou(gt, mask) == truth.boundary_iou(mask)
    yield "boundary IoU", lambda: reference_boundary_iou(gt, mask), lambda: truth.boundary_iou(mask)
    assert reference_rle(mask) == masks.encode(mask)
    yield "RLE", lambda: reference_rle(mask), lambda: masks.encode(mask)
    yield "oracle step", reference_step, step


def measure_size(size: str) -> Iterator[Row]:
    """Yield all rows of one image size."""
    made = scene(SIZES[size])
    for operation, reference, ours in operations(made):
        yield compare(size, operation, reference, ours, ROUNDS[size], TARGETS[operation].get(size))
    free = np.ones_like(made.gt)
    for name, gt, mask in error_patterns(made):
        oracle = Oracle(gt)

        def reference(gt: Mask = gt, mask: Mask = mask) -> Click:
            return reference_click(gt, free, mask, free)

        def ours(oracle: Oracle = oracle, mask: Mask = mask) -> Click | None:
            return oracle.next_click(mask)

        yield compare(size, f"next click: {name}", reference, ours, 3, NEVER_SLOWER)


def measure_bootstrap(samples: int = 30_000, pictures: int = 4_000, resamples: int = 2_000) -> tuple[Row, float]:
    """Return the interval of mIoU and cIoU, and the most memory it takes, in MB."""
    rng = np.random.default_rng(0)
    clusters = rng.integers(pictures, size=samples)
    union = rng.integers(1_000, 100_000, samples)
    intersection = (union * rng.random(samples)).astype(np.int64)
    above = np.stack([intersection / union, intersection], axis=1)
    below = np.stack([np.ones(samples), union], axis=1)

    def ours(count: int = resamples) -> None:
        bootstrap(above, below, clusters, resamples=count)

    share = 100
    draw = naive_draws(clusters.tolist(), (intersection / union).tolist(), intersection.tolist(), union.tolist())
    row = compare("-", "bootstrap", lambda: [draw() for _ in range(resamples // share)], ours, 5, BOOTSTRAP_TARGET)
    row = Row(row.size, row.operation, row.reference_ms * share, row.ours_ms, row.ratio * share, row.target)
    tracemalloc.start()
    ours(200)
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return row, peak


def naive_draws(clusters: list[int], ious: list[float], inner: list[int], union: list[int]) -> Score:
    """Return a function that draws one resample of images in plain Python and computes both scores."""
    members: dict[int, list[int]] = {}
    for sample, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(sample)
    groups, rng = list(members.values()), random.Random(0)

    def draw() -> tuple[float, float]:
        drawn = [sample for group in rng.choices(groups, k=len(groups)) for sample in group]
        mean = sum([ious[sample] for sample in drawn]) / len(drawn)
        return mean, sum([inner[sample] for sample in drawn]) / sum([union[sample] for sample in drawn])

    return draw


def line(row: Row) -> str:
    """Return a row of the table."""
    target, mark = "", ""
    if row.target is not None:
        target, mark = f"{row.target:g}", "" if row.ratio >= row.target else "  below"
    digits = 0 if row.reference_ms >= 1000 else 3 - max(0, int(math.log10(max(row.reference_ms, 1))))
    times = f"{row.reference_ms:12.{digits}f} {row.ours_ms:10.3f}"
    return f"{row.size:4} {row.operation:30} {times} {row.ratio:8.1f} {target:>7}{mark}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", default="ABCD", help="which of A 640x480, B 1024x1024, C 2048x1536, D 4000x3000")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    print(f"{'size':4} {'operation':30} {'reference ms':>12} {'ours ms':>10} {'ratio':>8} {'target':>7}")
    rows = []
    for size in arguments.sizes:
        for row in measure_size(size):
            rows.append(row)
            print(line(row), flush=True)
    row, peak = measure_bootstrap()
    rows.append(row)
    print(line(row))
    print(f"The bootstrap takes at most {peak:.1f} MB of memory (target 20).")
    if arguments.json:
        report = {"opencv": cv2.__version__, "numpy": np.__version__, "bootstrap_mb": peak}
        report |= {"rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
