"""Whether answers depend on where the marker is at all: a permutation test that takes no reading for granted."""

from __future__ import annotations

import numpy as np

from hlmat_bench.points import Order
from hlmat_bench.probing.fitting import NEAR, Data
from hlmat_bench.probing.readings import SENT, Floats, in_order

_PERMUTATIONS = 499
_CHANCE = 0.005


def depends(data: Data, places: Floats, seed: int = 0) -> bool:
    """Whether chance is ruled out (p < 0.005) as the reason for what the answers have to do with the markers.

    Two statistics are compared with their values when the markers' relative positions are exchanged between the
    questions: the largest share of answers that one of the readings puts near their marker, and the largest rank
    correlation of the numbers with the positions, which also sees conventions that are no reading here.

    Args:
        data: the answers.
        places: where each of R readings puts them, (R, N, 2).
        seed: of the permutations.
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    series = _ranked_numbers(data)
    targets = _ranks(data.targets)
    near, correlated = _near(data, places, data.targets), _correlated(series, targets)
    as_near = as_correlated = 1
    for _ in range(_PERMUTATIONS):
        order = generator.permutation(len(data.targets))
        as_near += _near(data, places, data.targets[order]) >= near
        as_correlated += _correlated(series, targets[order]) >= correlated - 1e-12
    return min(as_near, as_correlated) / (_PERMUTATIONS + 1) < _CHANCE


def _near(data: Data, places: Floats, targets: Floats) -> float:
    """The share of answers that the best of the readings puts near their targets."""
    x, y = np.moveaxis((places - targets) * data.spans, -1, 0)
    return float(((x * x + y * y) < NEAR**2).mean(axis=1).max())


def _ranked_numbers(data: Data) -> Floats:
    """Ranks of the numbers, x first, in either order, as they are and divided by the image's sides: (4, N, 2)."""
    sides = SENT.sides(data.views)
    orders: tuple[Order, ...] = ("xy", "yx")
    series = [in_order(data.numbers, order) / divisor for order in orders for divisor in (np.ones(2), sides)]
    return np.stack([_ranks(values) for values in series])


def _correlated(series: Floats, targets: Floats) -> float:
    """The largest mean over both axes of the absolute rank correlation."""
    return float(np.abs((series * targets).sum(axis=1)).mean(axis=1).max())


def _ranks(values: Floats) -> Floats:
    """Ranks down each column, ties sharing their mean, shifted and scaled to a mean of 0 and a length of 1."""
    ranks = np.empty_like(values, dtype=float)
    for column in range(values.shape[1]):
        _, inverse, counts = np.unique(values[:, column].round(9), return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ranks -= ranks.mean(axis=0)
    lengths = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(lengths > 1e-9, lengths, np.inf)  # type: ignore[no-any-return]
