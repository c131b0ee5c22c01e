"""The local minimum cut with which the segmenter ``graphcut`` responds to one click."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Image, Mask, Size
from hlmat_bench.segmenters.graphcut.min_cut import FloatMap, cheapest, resized

Span: TypeAlias = "slice[int, int, None]"

_LAB_LOW = np.array([0, -60, -60], np.float32)
_LAB_HIGH = np.array([100, 60, 60], np.float32)
_CERTAIN = 50.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of the algorithm. Lengths are in pixels, energies in nats per pixel.

    A "distance" below is that from the click to the mask's edge, from which the radius of the error is estimated.

    Attributes:
        canvas: the largest number of pixels of the image that is processed; a larger image is reduced.
        window: half the side of a window, in distances.
        window_least: the smallest half side.
        window_pixels: the largest number of pixels of the window that is cut; a larger one is reduced.
        radii: how many radii of the error are tried.
        radius: the largest radius, as a fraction of the distance.
        shrink: the ratio of a radius to the next smaller one.
        bins: bins of the colour histogram per axis of CIELAB.
        blur: standard deviation of the Gaussian that smooths histograms, in bins.
        known: weight of the colours that already have the click's label, relative to those of the disc.
        colour: the largest absolute evidence of a pixel's colour.
        inertia_first, inertia: cost of changing the old mask, far from the first click and far from later clicks.
        reach_first, reach: the range of a first and of a later click, in radii of the error.
        contrast_first, contrast: cost of an outline per pixel of its length, for a first and for a later click.
        floor: the fraction of this cost that remains on the strongest edge.
        disc: radius of the disc that is expected to have the click's label, in radii of the error.
        disc_weight: cost of the other label inside the disc.
        iterations: iterations of the primal-dual algorithm per scale.
        outline, cut, size, order: weights of the choice among the radii: the mean cost of the outline, its cost
            relative to the root of the area, the radius, and how much deeper the change is than those before it.
        outlines: after a start from a given mask, the number of first clicks that may move its whole outline; see
            `Outline`.
        margin: margin around the mask in which its outline may move, in distances.
        apart: parts of the mask with this gap between them are not moved by one click, in distances.
        slacks: the outline may be wrong by 1, 2, ... up to this many distances.
        inertia_outline: cost of changing the old mask, far from its outline.
    """

    canvas: int = 1_000_000
    window: float = 8.0
    window_least: int = 40
    window_pixels: int = 20_000
    radii: int = 5
    radius: float = 0.95
    shrink: float = 1.5
    bins: int = 24
    blur: float = 0.8
    known: float = 1.0
    colour: float = 2.5
    inertia_first: float = 3.0
    inertia: float = 3.0
    reach_first: float = 2.5
    reach: float = 4.0
    contrast_first: float = 12.0
    contrast: float = 25.0
    floor: float = 0.02
    disc: float = 0.75
    disc_weight: float = 3.0
    iterations: int = 60
    outline: float = 2.0
    cut: float = 0.25
    size: float = 0.2
    order: float = 0.5
    outlines: int = 3
    margin: float = 4.0
    apart: float = 4.0
    slacks: int = 2
    inertia_outline: float = 3.0


class Labelling(NamedTuple):
    """A labelling of a window in response to a click.

    Attributes:
        score: how well the labelling fits the click; higher is better.
        soft: soft labels, float32 (h, w) in [0, 1].
        labels: binary labels, bool (h, w).
        depth: depth of the change, in pixels of the canvas.
    """

    score: float
    soft: FloatMap
    labels: Mask
    depth: float


class Window:
    """The surroundings of the last click, reduced where they are large, and the labellings in response to it.

    Args:
        canvas: the image, uint8 (h, w, 3) RGB.
        mask: the mask to change, bool (h, w).
        clicks: all clicks on the canvas; the mask is changed in response to the last one.
        deepest: the depth that no change should exceed, in pixels of the canvas.
        start: the mask before the first click, bool (h, w); empty where no mask was given.
        settings: see `Settings`.
    """

    def __init__(
        self, canvas: Image, mask: Mask, clicks: Sequence[Click], deepest: float, start: Mask, settings: Settings
    ) -> None:
        self._settings = settings
        self._first = len(clicks) == 1 and not start.any()
        self._positive, x, y = clicks[-1]
        depth = max(2.0, float(_depth(~mask if self._positive else mask)[y, x]))
        self.rows, self.columns = self._region(mask, x, y, depth)
        self._old_full = mask[self.rows, self.columns]
        height, width = self._old_full.shape
        self._scale = min(1.0, (settings.window_pixels / (height * width)) ** 0.5)
        size = (max(1, round(height * self._scale)), max(1, round(width * self._scale)))
        self._radius, self._deepest = depth * self._scale, deepest * self._scale
        image = resized(canvas[self.rows, self.columns], size)
        self._start = resized(start[self.rows, self.columns].astype(np.float32), size) > 0.5
        self._old = resized(self._old_full.astype(np.float32), size) > 0.5
        self._clicks = [self._inside(click, size) for click in clicks if self._holds(click, height, width)]
        self._whole = self._old_full.shape == mask.shape
        self._measure(image)

    def _region(self, mask: Mask, x: int, y: int, depth: float) -> tuple[Span, Span]:
        """Return the rows and columns of the window around a click at the distance ``depth`` from the mask's edge."""
        reach = int(max(self._settings.window_least, self._settings.window * depth))
        return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)

    def _holds(self, click: Click, height: int, width: int) -> bool:
        top, left = self.rows.start, self.columns.start
        return left <= click.x < left + width and top <= click.y < top + height

    def _inside(self, click: Click, size: Size) -> Click:
        """Return a click in pixels of the reduced window."""
        height, width = self._old_full.shape
        x = int((click.x - self.columns.start + 0.5) * size[1] / width)
        y = int((click.y - self.rows.start + 0.5) * size[0] / height)
        return Click(click.positive, min(size[1] - 1, x), min(size[0] - 1, y))

    def _measure(self, image: Image) -> None:
        """Compute histogram bins of colours, costs of an outline between neighbours, squared distances to the click."""
        import cv2

        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        across, down = (np.square(np.diff(lab, axis=axis)).sum(axis=2) for axis in (1, 0))
        # As in GrabCut, contrast is relative to the mean of the window, so that soft images have edges, too.
        sharpness = 1 / (_mean(across) + _mean(down) + 1e-6)
        floor, bins = self._settings.floor, self._settings.bins
        self._across, self._down = (np.exp(-sharpness * step) + np.float32(floor) for step in (across, down))
        level = (cv2.GaussianBlur(lab, (0, 0), 0.7) - _LAB_LOW) / (_LAB_HIGH - _LAB_LOW) * bins
        level = np.clip(level.astype(np.int64), 0, bins - 1)
        self._bins = (level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]
        _, x, y = self._clicks[-1]
        rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
        self._far = ((columns - x) ** 2 + (rows - y) ** 2).astype(np.float32)

    def best(self) -> Labelling:
        """Return the labelling with the highest score."""
        return max(self._candidates(), key=lambda answer: answer.score)

    def full_size(self, answer: Labelling) -> Mask:
        """Return the labels at the canvas's scale, bool; where nothing changes, the old mask keeps its sharpness."""
        import cv2

        _, soft, labels, _ = answer
        if self._scale == 1:
            return labels
        # Labels may differ from the soft labelling (anchored parts, the clicked pixel); there the label is decisive.
        agreed = np.where(labels == (soft > 0.5), soft, labels).astype(np.float32)
        size = self._old_full.shape[::-1]
        near = cv2.dilate((labels != self._old).astype(np.uint8), np.ones((3, 3), np.uint8))
        changed = cv2.resize(near, size, interpolation=cv2.INTER_NEAREST) > 0
        fine = cv2.resize(agreed, size, interpolation=cv2.INTER_LINEAR) > 0.5
        return np.where(changed, fine, self._old_full)

    def _candidates(self) -> Iterator[Labelling]:
        """Yield labellings for several radii of the error."""
        s = self._settings
        for number in range(s.radii):
            radius = self._radius * s.radius / s.shrink**number
            if radius < 1 and number:
                return
            evidence = self._colour_evidence(radius)
            # At the first click, only the disc shows how the object looks: cut once, learn its colours, cut again.
            for _ in range(2 if self._first else 1):
                soft = self._cut(evidence, radius)
                labels = self._labels(soft)
                yield self._judged(soft, labels, radius)
                mine = labels if self._positive else ~labels
                evidence = self._ratio(mine + self._disc(radius).astype(np.float64), ~mine + 1e-6)

    def _disc(self, radius: float) -> Mask:
        near: Mask = self._far <= max(1.0, self._settings.disc * radius) ** 2
        return near

    def _colour_evidence(self, radius: float) -> FloatMap:
        """Return the evidence of all pixels' colours for the label of the click, in nats, float32 (h, w)."""
        labelled = self._old if self._positive else ~self._old
        disc = self._disc(radius)
        mine = disc / disc.sum()
        if count := labelled.sum():
            mine = mine + self._settings.known / count * labelled
        others = ~labelled * (1 - np.exp(-self._far / (2 * (1.3 * radius) ** 2))) + 1e-6
        return self._ratio(mine, others)

    def _ratio(self, mine: NDArray[Any], others: NDArray[Any]) -> FloatMap:
        bound = self._settings.colour
        ratio = np.log((self._histogram(mine) + 1e-5) / (self._histogram(others) + 1e-5))
        evidence: FloatMap = np.clip(ratio, -bound, bound)[self._bins].astype(np.float32)
        return evidence

    def _histogram(self, weights: NDArray[Any]) -> NDArray[Any]:
        """Return the smoothed distribution of colours over all bins, for pixels with weights (h, w)."""
        import cv2

        bins = self._settings.bins
        counts: NDArray[Any] = np.bincount(self._bins.ravel(), weights.ravel(), minlength=bins**3)
        counts = counts.reshape(bins, bins, bins)
        kernel = cv2.getGaussianKernel(7, self._settings.blur)[:, 0]
        for axis in range(3):
            rows = np.ascontiguousarray(np.moveaxis(counts, axis, 0)).reshape(bins, -1)
            smooth = cv2.sepFilter2D(rows, -1, np.ones(1), kernel, borderType=cv2.BORDER_REFLECT)
            counts = np.moveaxis(smooth.reshape(bins, bins, bins), 0, axis)
        share: NDArray[Any] = counts.ravel() / counts.sum()
        return share

    def _cut(self, evidence: FloatMap, radius: float) -> FloatMap:
        """Return the soft labelling in [0, 1] of least energy."""
        s = self._settings
        price = -evidence if self._positive else evidence
        change_cost = self._change_cost(radius)
        price = price + np.where(self._old, -change_cost, change_cost)
        price[self._disc(radius)] += -s.disc_weight if self._positive else s.disc_weight
        for positive, x, y in self._clicks:
            price[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = -_CERTAIN if positive else _CERTAIN
        contrast = np.float32(s.contrast_first if self._first else s.contrast)
        return cheapest(price.astype(np.float32), contrast * self._across, contrast * self._down, s.iterations)

    def _change_cost(self, radius: float) -> FloatMap:
        """Return the cost of changing the old label, float32 (h, w)."""
        s = self._settings
        inertia, reach = (s.inertia_first, s.reach_first) if self._first else (s.inertia, s.reach)
        cost: FloatMap = inertia * (1 - np.exp(-self._far / (2 * (reach * radius) ** 2)))
        return cost

    def _labels(self, soft: FloatMap) -> Mask:
        labels = soft > 0.5
        positive, x, y = self._clicks[-1]
        labels[y, x] = positive
        return anchored(labels, self._clicks, self._start) if self._whole else labels

    def _judged(self, soft: FloatMap, labels: Mask, radius: float) -> Labelling:
        """Score a labelling: its change should have the click in its middle, a cheap outline, and a plausible size."""
        s = self._settings
        change = labels ^ self._old
        depth = _depth(change)
        _, x, y = self._clicks[-1]
        deepest = max(1.0, float(depth.max()))
        middle = np.log(max(float(depth[y, x]) / deepest, 0.02)) - s.order * np.log(max(deepest / self._deepest, 1.0))
        across = (labels[:, 1:] != labels[:, :-1]) & (change[:, 1:] | change[:, :-1])
        down = (labels[1:] != labels[:-1]) & (change[1:] | change[:-1])
        length = int(across.sum() + down.sum())
        total = float(self._across[across].sum() + self._down[down].sum())
        mean = total / length if length else 1.0
        frame = int(change[0].sum() + change[-1].sum() + change[:, 0].sum() + change[:, -1].sum())
        isolation = np.log((total + 0.5 * frame + 0.1) / (change.sum() + 1) ** 0.5)
        score = float(middle - s.outline * mean - s.cut * isolation + s.size * np.log(radius / self._radius))
        return Labelling(score, soft, labels, deepest / self._scale)


class Outline(Window):
    """A whole mask, and labellings in which its whole outline moves.

    A given mask may be too large or too small all around, or shifted. The click shows how far the outline next to it is
    wrong; the same distance is assumed along the whole outline, except for distant parts of the mask. Far from the
    outline, the old labels cost more to change, and their colours count more as examples of object and background.
    """

    def _region(self, mask: Mask, x: int, y: int, depth: float) -> tuple[Span, Span]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        margin = int(self._settings.margin * depth) + 2
        top, bottom = min(y, rows[0]) - margin, max(y, rows[-1]) + margin
        left, right = min(x, columns[0]) - margin, max(x, columns[-1]) + margin
        return slice(max(0, top), bottom + 1), slice(max(0, left), right + 1)

    def _candidates(self) -> Iterator[Labelling]:
        self._off = _to_outline(self._old) ** 2
        for slack in range(1, self._settings.slacks + 1):
            off = slack * self._radius
            labels = self._labels(soft := self._cut(self._colour_evidence(off), off))
            yield self._judged(soft, labels, self._radius)

    def _labels(self, soft: FloatMap) -> Mask:
        _, x, y = self._clicks[-1]
        part = _nearest_parts(self._old | (self._off <= (self._settings.apart / 2 * self._radius) ** 2))
        return super()._labels(np.where(part == part[y, x], soft, self._old).astype(np.float32))

    def _trust(self, off: float) -> FloatMap:
        """Return the trust in old labels, from 0 on the outline to 1 far from it; ``off`` is its error in pixels."""
        trust: FloatMap = 1 - np.exp(-self._off / (2 * off**2))
        return trust

    def _colour_evidence(self, off: float) -> FloatMap:
        trust = self._trust(off) + 1e-3
        disc = self._disc(self._radius)
        mine = trust * (self._old == self._positive) + 1e-6
        return self._ratio(mine / mine.sum() + disc / disc.sum(), trust * (self._old != self._positive) + 1e-6)

    def _change_cost(self, off: float) -> FloatMap:
        cost: FloatMap = self._settings.inertia_outline * self._trust(off)
        return cost


def _depth(mask: Mask) -> FloatMap:
    """Return the distances to the nearest pixel outside the mask; pixels beyond the image are outside."""
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32, copy=False)


def _to_outline(mask: Mask) -> FloatMap:
    """Return the distances to the nearest pixel of the other label; the image's edge is no outline."""
    import cv2

    inside, outside = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (mask, ~mask))
    # Without an outline OpenCV returns 3.4e38, whose square overflows float32; no image is a million pixels wide.
    return np.minimum(np.where(mask, inside, outside), 1e6).astype(np.float32, copy=False)


def _nearest_parts(mask: Mask) -> NDArray[np.int32]:
    """Return the number of the nearest connected part of a mask, which is not empty, for every pixel."""
    import cv2

    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return labels.astype(np.int32, copy=False)


def anchored(mask: Mask, clicks: Sequence[Click], start: Mask) -> Mask:
    """Return the connected parts of a mask that contain a positive click or a pixel of the start mask."""
    import cv2

    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, np.bool_)
    kept[[parts[click.y, click.x] for click in clicks if click.positive]] = True
    kept[parts[start]] = True
    kept[0] = False
    chosen: Mask = kept[parts]
    return chosen


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if values.size else 0.0
