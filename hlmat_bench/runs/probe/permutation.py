"""Whether answers depend on where the marker is at all: a permutation test that takes no reading for granted."""

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


def depends(data: Data, places: Floats, seed: int = 0) -> bool:
    """Whether chance is ruled out (p < 0.005) as the reason for what the answers have to do with the markers.

    Two statistics are compared with their values when the markers' relative positions are exchanged between the
    questions: the largest share of answers that one of the readings puts near their marker, and the largest rank
    correlation of the numbers with the positions, which also sees conventions that are no reading here. The
    correlation is one within images of a size: answers that differ between images alone, as the middle of each does,
    have none.

    Args:
        data: the answers.
        places: where each of R readings puts them, (R, N, 2).
        seed: of the permutations.
    """
    count = len(data.targets)
    generator = np.random.Generator(np.random.PCG64(seed))
    exchanged = generator.permuted(np.tile(np.arange(count), (_PERMUTATIONS, 1)), axis=1)
    orders = np.vstack([np.arange(count), exchanged])
    return any(_rank_of_first(values) < _CHANCE for values in (_near(data, places, orders), _correlated(data, orders)))


def _rank_of_first(values: Floats) -> float:
    """The share of values that are as large as the first one, itself included."""
    return float((values >= values[0] - 1e-12).mean())


def _near(data: Data, places: Floats, orders: Orders) -> Floats:
    """For each order of the targets, the share of answers that the best reading puts near theirs."""
    targets = data.targets[:, None] * data.spans
    ways = (places * data.spans)[:, None] - targets  # (R, target, answer, 2)
    near = ((ways**2).sum(axis=-1) < NEAR**2).astype(np.float32)
    answers = np.arange(len(data.targets))[:, None]
    return near[:, orders.T, answers].mean(axis=1).max(axis=0)  # type: ignore[no-any-return]


def _correlated(data: Data, orders: Orders) -> Floats:
    """For each order of the targets, the largest mean over both axes of the absolute rank correlation."""
    targets = _ranks(_centred(data.targets, data))[orders]
    return np.abs(np.einsum("sna,pna->psa", _ranked_numbers(data), targets)).mean(axis=-1).max(axis=-1)  # type: ignore[no-any-return]


def _ranked_numbers(data: Data) -> Floats:
    """Ranks of the numbers, x first, in either order, as they are and divided by the image's sides: (4, N, 2)."""
    sides = SENT.lay(data.views).sides
    orders: tuple[Order, ...] = ("xy", "yx")
    series = [in_order(data.numbers, order) / divisor for order in orders for divisor in (np.ones(2), sides)]
    return np.stack([_ranks(_centred(values, data)) for values in series])


def _centred(values: Floats, data: Data) -> Floats:
    """Values less their mean over the images of the same size, (N, 2)."""
    known = list(dict.fromkeys(data.views))
    member = np.array([[view == other for other in known] for view in data.views], dtype=float)
    means = (member.T @ values) / member.sum(axis=0)[:, None]
    centred: Floats = values - member @ means
    return centred


def _ranks(values: Floats) -> Floats:
    """Ranks down each column, ties sharing their mean, shifted and scaled to a mean of 0 and a length of 1."""
    ranks = np.empty_like(values, dtype=float)
    for column in range(values.shape[1]):
        _, inverse, counts = np.unique(values[:, column].round(9), return_inverse=True, return_counts=True)
        ranks[:, column] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ranks -= ranks.mean(axis=0)
    lengths = np.linalg.norm(ranks, axis=0)
    return ranks / np.where(lengths > 1e-9, lengths, np.inf)
