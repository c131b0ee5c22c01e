"""The small, local cut by which the segmenter ``graphcut`` answers one click."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.clicks import Click
from hlmat_bench.core.types import Image, Mask, Size
from hlmat_bench.segmenters.graphcut.min_cut import Floats, cheapest, resized

Span: TypeAlias = "slice[int, int, None]"

_LAB_LOW = np.array([0, -60, -60], np.float32)
_LAB_HIGH = np.array([100, 60, 60], np.float32)
_CERTAIN = 50.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the masks depend on, besides image and clicks. Lengths are in pixels, energies in nats per pixel.

    Attributes:
        canvas: most pixels of the image as it is worked on; larger ones are reduced.
        window: half the side of a window, in radii of the error.
        window_least: least half side.
        window_pixels: most pixels of a window as it is cut; larger ones are reduced.
        radii: how many radii of the error are tried.
        radius: the largest, as a share of the distance from the click to the mask's edge.
        shrink: the ratio of one radius to the next.
        bins: colour histogram, bins per axis of CIELAB.
        blur: standard deviation by which histograms are smoothed, in bins.
        known: weight of the colours that have the label already, against those of the disc.
        colour: bound on what a pixel's colour can say.
        inertia_first, inertia: how strongly the old mask stands, far from the first click and from later ones.
        reach_first, reach: how far a click reaches, in radii of the error.
        contrast_first, contrast: price of an outline, per pixel of its length.
        floor: the share of that price on the strongest edge.
        disc: radius of the disc whose label is believed, in radii of the error.
        disc_weight: how firmly.
        iterations: of the primal-dual algorithm, per scale.
        outline, cut, size, order: weights in the choice among the radii: mean price of the outline, its price against
            the area's root, the radius, and by how much the change is deeper than those before it.
        outlines: after a start from a given mask, so many clicks may move its whole outline; see `Outline`.
        margin: what is looked at around the mask then, in distances from the click to the mask's edge.
        apart: with such a gap between them, parts of the mask are not moved by one click, in the same.
        slacks: by how much the outline may be off, in the same: 1, and so on up to this.
        inertia_outline: how strongly the old mask stands, far from its outline.
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


class Answer(NamedTuple):
    """A labelling of a window.

    Attributes:
        score: the higher, the better it fits the click.
        soft: float32 (h, w) in [0, 1].
        labels: bool (h, w).
        depth: of the change, in pixels of the canvas.
    """

    score: float
    soft: Floats
    labels: Mask
    depth: float


class Window:
    """The surroundings of the last click, reduced where they are large, and the labellings that answer it.

    Args:
        canvas: the image, uint8 (h, w, 3) RGB.
        mask: the mask to change, bool (h, w).
        clicks: all clicks on the canvas; the last one is to be answered.
        deepest: the depth that no change should exceed, in pixels of the canvas.
        start: the mask before the first click, bool (h, w); empty where there was none.
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
        """The rows and columns to look at, around a click that is this far from the mask's edge."""
        reach = int(max(self._settings.window_least, self._settings.window * depth))
        return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)

    def _holds(self, click: Click, height: int, width: int) -> bool:
        top, left = self.rows.start, self.columns.start
        return left <= click.x < left + width and top <= click.y < top + height

    def _inside(self, click: Click, size: Size) -> Click:
        """A click in the pixels of the reduced window."""
        height, width = self._old_full.shape
        x = int((click.x - self.columns.start + 0.5) * size[1] / width)
        y = int((click.y - self.rows.start + 0.5) * size[0] / height)
        return Click(click.positive, min(size[1] - 1, x), min(size[0] - 1, y))

    def _measure(self, image: Image) -> None:
        """Colours as histogram bins, the price of an outline between neighbours, distances from the click."""
        import cv2

        lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        across, down = (np.square(np.diff(lab, axis=axis)).sum(axis=2) for axis in (1, 0))
        sharpness = 1 / (_mean(across) + _mean(down) + 1e-6)
        floor, bins = self._settings.floor, self._settings.bins
        self._across, self._down = (np.exp(-sharpness * step) + np.float32(floor) for step in (across, down))
        level = (cv2.GaussianBlur(lab, (0, 0), 0.7) - _LAB_LOW) / (_LAB_HIGH - _LAB_LOW) * bins
        level = np.clip(level.astype(np.int64), 0, bins - 1)
        self._bins = (level[..., 0] * bins + level[..., 1]) * bins + level[..., 2]
        _, x, y = self._clicks[-1]
        rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
        self._far = ((columns - x) ** 2 + (rows - y) ** 2).astype(np.float32)

    def best(self) -> Answer:
        """The labelling that answers the click best."""
        return max(self._candidates(), key=lambda answer: answer.score)

    def full_size(self, answer: Answer) -> Mask:
        """The labelling at the canvas's scale; what it does not change stays as sharp as it was."""
        import cv2

        _, soft, labels, _ = answer
        if self._scale == 1:
            return labels
        agreed = np.where(labels == (soft > 0.5), soft, labels).astype(np.float32)
        size = self._old_full.shape[::-1]
        near = cv2.dilate((labels != self._old).astype(np.uint8), np.ones((3, 3), np.uint8))
        changed = cv2.resize(near, size, interpolation=cv2.INTER_NEAREST) > 0
        fine = cv2.resize(agreed, size, interpolation=cv2.INTER_LINEAR) > 0.5
        return np.where(changed, fine, self._old_full)

    def _candidates(self) -> Iterator[Answer]:
        """The answers for each radius of the error."""
        s = self._settings
        for number in range(s.radii):
            radius = self._radius * s.radius / s.shrink**number
            if radius < 1 and number:
                return
            evidence = self._colour_evidence(radius)
            for _ in range(2 if self._first else 1):
                soft = self._cut(evidence, radius)
                labels = self._labels(soft)
                yield self._judged(soft, labels, radius)
                mine = labels if self._positive else ~labels
                evidence = self._ratio(mine + self._disc(radius).astype(np.float64), ~mine + 1e-6)

    def _disc(self, radius: float) -> Mask:
        near: Mask = self._far <= max(1.0, self._settings.disc * radius) ** 2
        return near

    def _colour_evidence(self, radius: float) -> Floats:
        """What each pixel's colour says for the label of the click, in nats, (h, w)."""
        labelled = self._old if self._positive else ~self._old
        disc = self._disc(radius)
        mine = disc / disc.sum()
        if count := labelled.sum():
            mine = mine + self._settings.known / count * labelled
        others = ~labelled * (1 - np.exp(-self._far / (2 * (1.3 * radius) ** 2))) + 1e-6
        return self._ratio(mine, others)

    def _ratio(self, mine: NDArray[Any], others: NDArray[Any]) -> Floats:
        bound = self._settings.colour
        ratio = np.log((self._histogram(mine) + 1e-5) / (self._histogram(others) + 1e-5))
        evidence: Floats = np.clip(ratio, -bound, bound)[self._bins].astype(np.float32)
        return evidence

    def _histogram(self, weights: NDArray[Any]) -> NDArray[Any]:
        """The smoothed distribution of colours under some weights (h, w), over all bins."""
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

    def _cut(self, evidence: Floats, radius: float) -> Floats:
        """The soft labelling in [0, 1] that is cheapest."""
        s = self._settings
        price = -evidence if self._positive else evidence
        stands = self._stands(radius)
        price = price + np.where(self._old, -stands, stands)
        price[self._disc(radius)] += -s.disc_weight if self._positive else s.disc_weight
        for positive, x, y in self._clicks:
            price[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = -_CERTAIN if positive else _CERTAIN
        contrast = np.float32(s.contrast_first if self._first else s.contrast)
        return cheapest(price.astype(np.float32), contrast * self._across, contrast * self._down, s.iterations)

    def _stands(self, radius: float) -> Floats:
        """What it costs to change the old label of each pixel, (h, w)."""
        s = self._settings
        inertia, reach = (s.inertia_first, s.reach_first) if self._first else (s.inertia, s.reach)
        cost: Floats = inertia * (1 - np.exp(-self._far / (2 * (reach * radius) ** 2)))
        return cost

    def _labels(self, soft: Floats) -> Mask:
        labels = soft > 0.5
        positive, x, y = self._clicks[-1]
        labels[y, x] = positive
        return anchored(labels, self._clicks, self._start) if self._whole else labels

    def _judged(self, soft: Floats, labels: Mask, radius: float) -> Answer:
        """How well a change fits its click: the click in its middle, a cheap outline, not too small nor too deep."""
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
        return Answer(score, soft, labels, deepest / self._scale)


class Outline(Window):
    """A whole mask, and labellings in which all of its outline moves.

    A mask that was given may be too large or too small all around, or shifted. What the click says of the outline next
    to it, how far it is off, is taken to hold along the whole outline, but for parts of the mask that lie apart. The
    further a pixel is from the outline, the more its old label stands, and the more its colour says what the object
    looks like.
    """

    def _region(self, mask: Mask, x: int, y: int, depth: float) -> tuple[Span, Span]:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        margin = int(self._settings.margin * depth) + 2
        top, bottom = min(y, rows[0]) - margin, max(y, rows[-1]) + margin
        left, right = min(x, columns[0]) - margin, max(x, columns[-1]) + margin
        return slice(max(0, top), bottom + 1), slice(max(0, left), right + 1)

    def _candidates(self) -> Iterator[Answer]:
        self._off = _to_outline(self._old) ** 2
        for slack in range(1, self._settings.slacks + 1):
            off = slack * self._radius
            labels = self._labels(soft := self._cut(self._colour_evidence(off), off))
            yield self._judged(soft, labels, self._radius)

    def _labels(self, soft: Floats) -> Mask:
        _, x, y = self._clicks[-1]
        part = _nearest_parts(self._old | (self._off <= (self._settings.apart / 2 * self._radius) ** 2))
        return super()._labels(np.where(part == part[y, x], soft, self._old).astype(np.float32))

    def _sure(self, off: float) -> Floats:
        """How much the old labels are believed, from 0 on an outline that is off by so many pixels to 1 far from it."""
        sure: Floats = 1 - np.exp(-self._off / (2 * off**2))
        return sure

    def _colour_evidence(self, off: float) -> Floats:
        sure = self._sure(off) + 1e-3
        disc = self._disc(self._radius)
        mine = sure * (self._old == self._positive) + 1e-6
        return self._ratio(mine / mine.sum() + disc / disc.sum(), sure * (self._old != self._positive) + 1e-6)

    def _stands(self, off: float) -> Floats:
        cost: Floats = self._settings.inertia_outline * self._sure(off)
        return cost


def _depth(mask: Mask) -> Floats:
    """Each pixel's distance to the nearest one outside the mask, around the image being outside."""
    import cv2

    padded = np.pad(mask.astype(np.uint8), 1)
    return cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1].astype(np.float32, copy=False)


def _to_outline(mask: Mask) -> Floats:
    """Each pixel's distance to the nearest one of the other label; the image's edge is no outline."""
    import cv2

    inside, outside = (cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5) for part in (mask, ~mask))
    # Without an outline OpenCV says 3.4e38, whose square is no float32; no image is a million pixels wide.
    return np.minimum(np.where(mask, inside, outside), 1e6).astype(np.float32, copy=False)


def _nearest_parts(mask: Mask) -> NDArray[np.int32]:
    """For each pixel, the number of the connected part of a mask, one that is not empty, that is nearest to it."""
    import cv2

    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    return labels.astype(np.int32, copy=False)


def anchored(mask: Mask, clicks: Sequence[Click], start: Mask) -> Mask:
    """The connected parts of a mask that hold a positive click, or something of the mask it started from."""
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
