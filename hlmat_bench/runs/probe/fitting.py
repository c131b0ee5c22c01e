"""Find the convention that explains the answers, and those that cannot be distinguished from it.

Errors are fractions of the original image's diagonal. A place is (x, y) as fractions of the original image's sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.points import Order
from hlmat_bench.runs.probe.hypotheses import SENT, Convention, Floats, SentImage, candidates, in_order

NEAR = 0.05
"""A convention explains an answer if its distance to the marker's centre is at most this."""

_GROSS = 0.1
"""Larger errors are cut to this: the size of a gross error is no evidence about the convention."""

_APART = 3.5
"""Two conventions are distinguished if the answers prefer one of them by this number of standard errors."""


@dataclass(frozen=True)
class Data:
    """The answers that contain two numbers.

    Attributes:
        numbers: (N, 2), in the order in which they were written.
        targets: (N, 2), centres of the markers, (x, y) as fractions of the original image's sides.
        images: the N images.
    """

    numbers: Floats
    targets: Floats
    images: Sequence[SentImage]

    def misses(self, places: Floats) -> Floats:
        """Return the vectors from the targets to places (..., N, 2), in diagonals."""
        return (places - self.targets) * self.spans

    def errors(self, places: Floats) -> Floats:
        """Return the distances of places (..., N, 2) from the targets, (..., N), in diagonals."""
        distances: Floats = np.linalg.norm(self.misses(places), axis=-1)
        return distances

    @cached_property
    def spans(self) -> Floats:
        """Width and height of the images in units of their diagonals, (N, 2)."""
        sides = np.array([image.size[::-1] for image in self.images], dtype=float)
        spans: Floats = sides / np.linalg.norm(sides, axis=1, keepdims=True)
        return spans


@dataclass(frozen=True, slots=True)
class Offset:
    """A constant offset of all answers.

    Attributes:
        x, y: the offset to the right and down.
        unit: ``%`` of the image's width and height, or ``px`` of the sent image.
    """

    x: float
    y: float
    unit: Literal["%", "px"]

    def __str__(self) -> str:
        return f"({self.x:+.1f}, {self.y:+.1f}) {'pixels' if self.unit == 'px' else '% of width and height'}"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A convention with an optional systematic error of the model.

    Attributes:
        convention: the meaning of the numbers.
        places: positions of the answers without that error, (N, 2).
        offset: a constant offset of the answers, or None.
        factors: (x, y), by which the numbers are larger than the convention says, or None.
    """

    convention: Convention
    places: Floats
    offset: Offset | None = None
    factors: tuple[float, float] | None = None


def costs(data: Data, hypotheses: Sequence[Hypothesis]) -> Floats:
    """Return the mean error of each hypothesis, (H,), with errors cut to `_GROSS`."""
    means: Floats = np.minimum(data.errors(_places(hypotheses)), _GROSS).mean(axis=1)
    return means


def choose(
    data: Data, hypotheses: Sequence[Hypothesis], likeness: Callable[[Hypothesis], int]
) -> tuple[Hypothesis, list[Hypothesis]]:
    """Return the hypothesis most like the declared one, of the best and those that cannot be distinguished from it.

    Also return all of the latter.
    """
    best = hypotheses[int(costs(data, hypotheses).argmin())]
    apart = told_apart(data, best, hypotheses)
    alike = [other for other, differs in zip(hypotheses, apart, strict=True) if not differs]
    return max([best, *alike], key=likeness), alike


def told_apart(data: Data, best: Hypothesis, others: Sequence[Hypothesis]) -> NDArray[np.bool_]:
    """Test whether the answers contradict other hypotheses, bool (H,).

    The misses of another hypothesis are projected on the vectors from the best hypothesis' places to its own. If it
    were true, the projections would scatter around 0. It is contradicted if their sum is more than `_APART` standard
    errors above 0. The standard error is the larger of one from all answers together and one that allows a different
    scatter for each answer (White 1980, doi:10.2307/1912934).
    """
    # Gross misses under both hypotheses are no evidence for either, so they are left out; a miss under one of them is
    # evidence. The pooled scatter is the median absolute miss, scaled by 1.4826 to the standard deviation of a normal
    # distribution: unlike the root mean square, a few gross misses do not change it.
    own, misses = data.misses(best.places), data.misses(_places(others))
    near = (np.linalg.norm(own, axis=1) <= _GROSS) | (np.linalg.norm(misses, axis=2) <= _GROSS)
    way = np.where(near[:, :, None], misses - own, 0.0)
    close = own[np.linalg.norm(own, axis=1) <= _GROSS]
    scatter = 1.4826 * float(np.median(np.abs(close))) if len(close) else 0.0
    pooled, per_answer = scatter * np.linalg.norm(way, axis=(1, 2)), np.linalg.norm((own * way).sum(axis=2), axis=1)
    apart: NDArray[np.bool_] = (misses * way).sum(axis=(1, 2)) > _APART * np.maximum(pooled, per_answer)
    return apart


def _places(hypotheses: Sequence[Hypothesis]) -> Floats:
    return np.stack([hypothesis.places for hypothesis in hypotheses])


def plain(data: Data, declared: Convention, rules: Iterable[str] = ()) -> list[Hypothesis]:
    """Return a hypothesis without an error for each convention, the declared one first."""
    conventions, places = candidates(declared, data.numbers, data.images, rules)
    return [Hypothesis(convention, where) for convention, where in zip(conventions, places, strict=True)]


def with_offset(data: Data, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Return each hypothesis without the median offset: once in % of the image, once in pixels of the sent image."""
    sides = SENT.layout(data.images).sides
    places = _places(hypotheses)
    parts = np.median(places - data.targets, axis=1)
    pixels = np.median((places - data.targets) * sides, axis=1)
    found = []
    for one, part, pixel in zip(hypotheses, parts, pixels, strict=True):
        as_part, as_pixels = Offset(*_xy(part * 100), "%"), Offset(*_xy(pixel), "px")
        found.append(Hypothesis(one.convention, one.places - part, as_part))
        found.append(Hypothesis(one.convention, one.places - pixel / sides, as_pixels))
    return found


def with_factors(data: Data) -> list[Hypothesis]:
    """Return hypotheses in which the numbers are pixels, or fractions of the image, times one factor per axis."""
    found = []
    for base in _bases():
        exact, numbers = _written(base, data), in_order(data.numbers, base.order)
        factors = np.array([_ratio(exact[:, axis], numbers[:, axis]) for axis in (0, 1)])
        found.append(_undone(base, data, factors, np.zeros(2)))
    return found


def with_line(data: Data) -> list[Hypothesis]:
    """Return hypotheses with one factor and one offset per axis, fitted by the Theil-Sen estimator.

    That is the median of the slopes between all pairs of answers: up to 29 % of the answers may be wrong.
    """
    found = []
    for base in _bases():
        exact, numbers = _written(base, data), in_order(data.numbers, base.order)
        slopes = np.array([_slope(exact[:, axis], numbers[:, axis]) for axis in (0, 1)])
        found.append(_undone(base, data, slopes, np.median(numbers - slopes * exact, axis=0)))
    return found


def _bases() -> list[Convention]:
    orders: tuple[Order, ...] = ("xy", "yx")
    return [Convention(order, limit, SENT) for order in orders for limit in (1.0, None)]


def _written(base: Convention, data: Data) -> Floats:
    """Return the numbers (x, y) that a model with the convention ``base`` writes for the targets, (N, 2)."""
    layout = base.canvas.layout(data.images)
    parts = (data.targets - layout.upper_left) / (layout.lower_right - layout.upper_left)
    return parts if base.limit is not None else parts * layout.sides


def _undone(base: Convention, data: Data, factors: Floats, shift: Floats) -> Hypothesis:
    """Return the hypothesis that numbers are those of ``base`` times ``factors``, (2,), plus ``shift``, (2,)."""
    safe = np.where(np.abs(factors) < 1e-9, np.inf, factors)
    numbers = (in_order(data.numbers, base.order) - shift) / safe
    places = base.places(in_order(numbers, base.order), data.images)
    offset = None
    if shift.any():
        parts = shift / safe
        offset = Offset(*_xy(parts), "px") if base.limit is None else Offset(*_xy(parts * 100), "%")
    return Hypothesis(base, places, offset, _xy(factors))


def _xy(pair: Floats) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _ratio(exact: Floats, numbers: Floats) -> float:
    """Return the k that minimises the sum of ``|numbers - k * exact|``."""
    # It is the median of the ratios, each with the weight |exact|: |numbers - k * exact| = |exact| * |ratio - k|.
    usable = np.abs(exact) > 1e-9
    ratios, weights = numbers[usable] / exact[usable], np.abs(exact[usable])
    if not len(ratios):
        return 0.0
    order = np.argsort(ratios)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(ratios[order][middle])


def _slope(exact: Floats, numbers: Floats) -> float:
    """Return the median slope between any two answers; answers at nearly the same position give no usable slope."""
    pairs = np.array(list(combinations(range(len(exact)), 2)))
    run = exact[pairs[:, 0]] - exact[pairs[:, 1]]
    rise = numbers[pairs[:, 0]] - numbers[pairs[:, 1]]
    usable = np.abs(run) > 0.02 * float(np.ptp(exact))
    return float(np.median(rise[usable] / run[usable])) if usable.any() else 0.0
