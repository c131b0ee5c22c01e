"""Generate replies in rows, one for each reply that is wanted, so that the batch size limits the memory whatever n is.

A sample depends on the distribution, the request's seed and the reply's number alone, never on the batch, the device or
the library that computes the network.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.protocol.interfaces import Reply, Request


class Row(NamedTuple):
    """One reply to generate: the n-th reply to the request at index ``at``."""

    at: int
    n: int
    request: Request


class Noise:
    """Gumbel noise for the rows of a batch, to be added to logits that are divided by the temperature.

    The maximum of log-probabilities with added Gumbel noise is a sample of their distribution (Gumbel 1954; Maddison et
    al., arXiv 1411.0030).
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        seeds = [hashlib.blake2b(f"{row.request.seed}/{row.n}".encode(), digest_size=7).digest() for row in rows]
        self._generators = [np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big"))) for seed in seeds]

    def draw(self, row: int, size: int) -> NDArray[np.float64]:
        """Return the noise (size,) for the next token of a row, by its index in the batch."""
        # If E is exponentially distributed, -log(E) is Gumbel noise.
        return -np.log(self._generators[row].standard_exponential(size))


def reply_in_rows(
    requests: Sequence[Request], generate: Callable[[Sequence[Row]], Sequence[Reply]]
) -> list[list[Reply]]:
    """Return for each request, in order, its ``n`` replies; at temperature 0 they are one reply, n times.

    Args:
        requests: the requests.
        generate: returns a reply for each row; all rows of a call have the same ``max_tokens``.
    """
    rows = [
        Row(at, n, request)
        for at, request in enumerate(requests)
        for n in range(request.n if request.temperature > 0 else 1)
    ]
    replies: dict[tuple[int, int], Reply] = {}
    for _, group in itertools.groupby(sorted(rows, key=_limit), key=_limit):
        same = list(group)
        replies.update({(row.at, row.n): reply for row, reply in zip(same, generate(same), strict=True)})
    return [
        [replies[at, n if request.temperature > 0 else 0] for n in range(request.n)]
        for at, request in enumerate(requests)
    ]


def _limit(row: Row) -> int:
    return row.request.max_tokens
