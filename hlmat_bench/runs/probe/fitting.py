"""Which reading explains the answers: errors under each, and what cannot be told apart from the best.

Errors are fractions of the original image's diagonal. A place is (x, y) relative to the original image.
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
from hlmat_bench.runs.probe.hypotheses import SENT, Floats, Reading, View, candidates, in_order

NEAR = 0.05
"""An answer is explained by a reading that puts it this near to the marker's middle."""

_GROSS = 0.1
"""A larger error counts as this one: how far a gross miss is off says nothing of the convention."""

_APART = 3.5
"""Two readings are told apart when the answers lean to one of them by so many standard errors."""


@dataclass(frozen=True)
class Data:
    """The answers that hold two numbers.

    Attributes:
        numbers: (N, 2), as they were written.
        targets: (N, 2), the middles of the markers, relative to the original image.
        views: the N images.
    """

    numbers: Floats
    targets: Floats
    views: Sequence[View]

    def misses(self, places: Floats) -> Floats:
        """From the targets to places, (..., N, 2), in diagonals."""
        return (places - self.targets) * self.spans

    def errors(self, places: Floats) -> Floats:
        """Distances from the targets to places, (..., N), in diagonals."""
        distances: Floats = np.linalg.norm(self.misses(places), axis=-1)
        return distances

    @cached_property
    def spans(self) -> Floats:
        """Width and height of the images in their diagonals, (N, 2)."""
        sides = np.array([view.size[::-1] for view in self.views], dtype=float)
        spans: Floats = sides / np.linalg.norm(sides, axis=1, keepdims=True)
        return spans


@dataclass(frozen=True, slots=True)
class Offset:
    """A constant shift of all answers.

    Attributes:
        x, y: to the right and down.
        unit: ``%`` of the image's width and height, or ``px`` of the image as it was sent.
    """

    x: float
    y: float
    unit: Literal["%", "px"]

    def __str__(self) -> str:
        return f"({self.x:+.1f}, {self.y:+.1f}) {'pixels' if self.unit == 'px' else '% of width and height'}"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A reading, perhaps with an error of the model in it.

    Attributes:
        reading: how the numbers are meant.
        places: where the answers point, (N, 2).
        offset: a constant shift that is taken off.
        factors: what the numbers are multiples of: of what the reading counts, across and down.
    """

    reading: Reading
    places: Floats
    offset: Offset | None = None
    factors: tuple[float, float] | None = None


def costs(data: Data, hypotheses: Sequence[Hypothesis]) -> Floats:
    """The mean error of each, (H,), where a gross miss counts as one of `_GROSS`."""
    means: Floats = np.minimum(data.errors(_places(hypotheses)), _GROSS).mean(axis=1)
    return means


def choose(
    data: Data, hypotheses: Sequence[Hypothesis], preferred: Callable[[Hypothesis], bool]
) -> tuple[Hypothesis, list[Hypothesis]]:
    """The best hypothesis, or a preferred one that cannot be told apart from it; and all that cannot be."""
    best = hypotheses[int(costs(data, hypotheses).argmin())]
    apart = told_apart(data, best, hypotheses)
    alike = [other for other, differs in zip(hypotheses, apart, strict=True) if not differs]
    return next(filter(preferred, alike), best), alike


def told_apart(data: Data, best: Hypothesis, others: Sequence[Hypothesis]) -> NDArray[np.bool_]:
    """Whether the answers speak against other hypotheses, (H,).

    The misses of another one are projected on the way from the best one's places to its own. If it were true, they
    would be scattered around zero as the best one's are; they are not, if their sum exceeds that by `_APART` standard
    errors. The standard error allows for a scatter that differs between images (White 1980, doi:10.2307/1912934).
    """
    own, misses = data.misses(best.places), data.misses(_places(others))
    near = (np.linalg.norm(own, axis=1) <= _GROSS) | (np.linalg.norm(misses, axis=2) <= _GROSS)
    way = np.where(near[:, :, None], misses - own, 0.0)
    close = own[np.linalg.norm(own, axis=1) <= _GROSS]
    scatter = 1.4826 * float(np.median(np.abs(close))) if len(close) else 0.0
    pooled, per_image = scatter * np.linalg.norm(way, axis=(1, 2)), np.linalg.norm((own * way).sum(axis=2), axis=1)
    apart: NDArray[np.bool_] = (misses * way).sum(axis=(1, 2)) > _APART * np.maximum(pooled, per_image)
    return apart


def _places(hypotheses: Sequence[Hypothesis]) -> Floats:
    return np.stack([hypothesis.places for hypothesis in hypotheses])


def named(data: Data, declared: Reading, rules: Iterable[str] = ()) -> list[Hypothesis]:
    """Every reading as it is, the declared one first."""
    readings, places = candidates(declared, data.numbers, data.views, rules)
    return [Hypothesis(reading, where) for reading, where in zip(readings, places, strict=True)]


def shifted(data: Data, hypotheses: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Each with the median shift taken off: one in parts of the image, one in pixels of the image as it was sent."""
    sides = SENT.lay(data.views).sides
    places = _places(hypotheses)
    parts = np.median(places - data.targets, axis=1)
    pixels = np.median((places - data.targets) * sides, axis=1)
    found = []
    for one, part, pixel in zip(hypotheses, parts, pixels, strict=True):
        as_part, as_pixels = Offset(*_xy(part * 100), "%"), Offset(*_xy(pixel), "px")
        found.append(Hypothesis(one.reading, one.places - part, as_part))
        found.append(Hypothesis(one.reading, one.places - pixel / sides, as_pixels))
    return found


def stretched(data: Data) -> list[Hypothesis]:
    """The numbers as any multiples, one per axis, of pixels or of parts of the image."""
    found = []
    for base in _bases():
        exact, numbers = _written(base, data), in_order(data.numbers, base.order)
        factors = np.array([_ratio(exact[:, axis], numbers[:, axis]) for axis in (0, 1)])
        found.append(_undone(base, data, factors, np.zeros(2)))
    return found


def straight(data: Data) -> list[Hypothesis]:
    """The numbers as any multiples with any shift: the straight line of Theil and Sen through each axis."""
    found = []
    for base in _bases():
        exact, numbers = _written(base, data), in_order(data.numbers, base.order)
        slopes = np.array([_slope(exact[:, axis], numbers[:, axis]) for axis in (0, 1)])
        found.append(_undone(base, data, slopes, np.median(numbers - slopes * exact, axis=0)))
    return found


def _bases() -> list[Reading]:
    orders: tuple[Order, ...] = ("xy", "yx")
    return [Reading(order, limit, SENT) for order in orders for limit in (1.0, None)]


def _written(base: Reading, data: Data) -> Floats:
    """What the base counts at the targets, (N, 2), x first."""
    layout = base.canvas.lay(data.views)
    parts = (data.targets - layout.upper_left) / (layout.lower_right - layout.upper_left)
    return parts if base.limit is not None else parts * layout.sides


def _undone(base: Reading, data: Data, factors: Floats, shift: Floats) -> Hypothesis:
    """The numbers without a factor and a shift, read by the base."""
    safe = np.where(np.abs(factors) < 1e-9, np.inf, factors)
    numbers = (in_order(data.numbers, base.order) - shift) / safe
    places = base.places(in_order(numbers, base.order), data.views)
    offset = None
    if shift.any():
        parts = shift / safe
        offset = Offset(*_xy(parts), "px") if base.limit is None else Offset(*_xy(parts * 100), "%")
    return Hypothesis(base, places, offset, _xy(factors))


def _xy(pair: Floats) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def _ratio(exact: Floats, numbers: Floats) -> float:
    """The k that makes the sum of ``|numbers - k * exact|`` smallest: a weighted median of their ratios."""
    usable = np.abs(exact) > 1e-9
    ratios, weights = numbers[usable] / exact[usable], np.abs(exact[usable])
    if not len(ratios):
        return 0.0
    order = np.argsort(ratios)
    middle = np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)
    return float(ratios[order][middle])


def _slope(exact: Floats, numbers: Floats) -> float:
    """The median slope between any two answers."""
    pairs = np.array(list(combinations(range(len(exact)), 2)))
    run = exact[pairs[:, 0]] - exact[pairs[:, 1]]
    rise = numbers[pairs[:, 0]] - numbers[pairs[:, 1]]
    usable = np.abs(run) > 0.02 * float(np.ptp(exact))
    return float(np.median(rise[usable] / run[usable])) if usable.any() else 0.0
