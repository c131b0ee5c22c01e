"""A permutation test of whether answers depend on the markers' positions, whatever the convention is."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.points import Order
from hlmat_bench.runs.probe.fitting import NEAR, Data
from hlmat_bench.runs.probe.hypotheses import SENT, Floats, in_order

Orders: TypeAlias = NDArray[np.intp]

_PERMUTATIONS = 499
_CHANCE = 0.005


def depends_on_marker(data: Data, places: Floats, seed: int = 0) -> bool:
    """Test whether answers depend on the markers' positions: one of two statistics has p < 0.005.

    Two statistics are compared with their values after the markers' relative positions are permuted among the
    questions:

    - the largest share of answers, over all conventions, that are near their marker;
    - the largest rank correlation of the numbers with the positions, which also detects unknown conventions.

    Args:
        data: the answers.
        places: positions of the answers under R conventions, (R, N, 2), as fractions of the image's sides.
        seed: seed of the permutations.
    """
    # Under independence every order of the targets is equally likely, so the rank of the true order (row 0) among all
    # is uniform, and the share of orders that reach its statistic is a valid p-value. That holds although each
    # statistic is a maximum over conventions, because the same maximum is taken for every order.
    count = len(data.targets)
    generator = np.random.Generator(np.random.PCG64(seed))
    exchanged = generator.permuted(np.tile(np.arange(count), (_PERMUTATIONS, 1)), axis=1)
    orders = np.vstack([np.arange(count), exchanged])
    return any(_rank_of_first(values) < _CHANCE for values in (_near(data, places, orders), _correlated(data, orders)))


def _rank_of_first(values: Floats) -> float:
    """Return the share of values that are at least as large as the first one, which is included."""
    return float((values >= values[0] - 1e-12).mean())


def _near(data: Data, places: Floats, orders: Orders) -> Floats:
    """Return for each order of the targets (P, N) the largest share of near answers over all conventions, (P,)."""
    targets = data.targets[:, None] * data.spans
    # The distances of all answers to all targets are computed once; each order then only picks N of the N x N pairs.
    ways = (places * data.spans)[:, None] - targets  # (R, target, answer, 2)
    near = ((ways**2).sum(axis=-1) < NEAR**2).astype(np.float32)
    answers = np.arange(len(data.targets))[:, None]
    return near[:, orders.T, answers].mean(axis=1).max(axis=0)  # type: ignore[no-any-return]


def _correlated(data: Data, orders: Orders) -> Floats:
    """Return for each order of the targets the largest absolute rank correlation, averaged over both axes, (P,)."""
    targets = _ranks(_centred(data.targets, data))[orders]
    return np.abs(np.einsum("sna,pna->psa", _ranked_numbers(data), targets)).mean(axis=-1).max(axis=-1)  # type: ignore[no-any-return]


def _ranked_numbers(data: Data) -> Floats:
    """Return ranks of the numbers in both axis orders, unchanged and divided by the image's sides, (4, N, 2)."""
    sides = SENT.layout(data.images).sides
    orders: tuple[Order, ...] = ("xy", "yx")
    series = [in_order(data.numbers, order) / divisor for order in orders for divisor in (np.ones(2), sides)]
    return np.stack([_ranks(_centred(values, data)) for values in series])


def _centred(values: Floats, data: Data) -> Floats:
    """Subtract from each value the mean over images of the same size, (N, 2)."""
    # Without this, numbers that depend only on the image's size, such as its centre in pixels, would be correlated
    # with targets whose mean differs between sizes by chance.
    known = list(dict.fromkeys(data.images))
    member = np.array([[image == other for other in known] for image in data.images], dtype=float)
    means = (member.T @ values) / member.sum(axis=0)[:, None]
    centred: Floats = values - member @ means
    return centred


def _ranks(values: Floats) -> Floats:
    """Return the ranks within each column, with mean ranks for ties, scaled to mean 0 and Euclidean norm 1."""
    ranks = np.empty_like(values, dtype=float)
    for column in range(values.shape[1]):
        _, inverse, counts = np.unique(values[:, column].round(9), return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ranks -= ranks.mean(axis=0)
    lengths = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(lengths > 1e-9, lengths, np.inf)
