"""Find entries of one run: a run that is submitted twice is ranked once.

Two entries are of one run when all their episodes have the same digest, or nearly all of their steps have the same
marks: a mark covers what was asked, answered, clicked and masked, with the tokens (see `digests`). Models that differ
rarely have a step in common; oracles with 30 and 35 % of their clicks misplaced have 82 % in common.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.reports.leaderboard.digests import MARK
from hlmat_bench.reports.leaderboard.entry import BoardEntry

MOST = 0.9
"""Entries with a larger share of equal steps are of one run."""

_LOOKED_AT = 256
"""How many samples are compared, spread evenly: two runs that share most steps do so everywhere."""


def originals(entries: Sequence[BoardEntry]) -> list[int | None]:
    """Return for each entry of a ranking which one of them it repeats, None of the first of a run.

    The first is the one that was submitted first; of one day, the one whose id is first.
    """
    order = sorted(range(len(entries)), key=lambda n: (entries[n].submitted, entries[n].id))
    found: list[int | None] = [None] * len(entries)
    by_digest: dict[str, int] = {}
    firsts: list[int] = []
    steps: NDArray[np.uint32] | None = None  # of the first entries of their runs, (entries, samples, budget)
    for number in order:
        entry = entries[number]
        own = _steps(entry)
        steps = np.zeros((len(entries), *own.shape), np.uint32) if steps is None else steps
        shares = _shares(own, steps[: len(firsts)])
        alike = firsts[int(shares.argmax())] if firsts and shares.max() > MOST else None
        found[number] = by_digest.get(entry.episodes_sha256, alike)
        if found[number] is None:
            by_digest[entry.episodes_sha256] = number
            steps[len(firsts)] = own
            firsts.append(number)
    return found


def share_of_equal_steps(first: BoardEntry, second: BoardEntry) -> float:
    """Return which share of the steps of two entries on the same samples is the same; 0 where there is no step."""
    ours, theirs = _steps(first), _steps(second)
    return float(_shares(ours, theirs[None])[0]) if ours.shape == theirs.shape else 0.0


def is_same_run(first: BoardEntry, second: BoardEntry) -> bool:
    """Tell whether two entries are of one run."""
    return first.episodes_sha256 == second.episodes_sha256 or share_of_equal_steps(first, second) > MOST


def _steps(entry: BoardEntry) -> NDArray[np.uint32]:
    """Return the marks of the steps of some samples, ordered by id: uint32 (samples, budget), 0 where there is none."""
    samples, budget = entry.samples, entry.scores.budget
    order = sorted(range(len(samples.id)), key=samples.id.__getitem__)
    chosen = [order[n] for n in np.linspace(0, len(order) - 1, min(len(order), _LOOKED_AT)).astype(int)]
    marks = np.zeros((len(chosen), budget), np.uint32)
    for place, number in enumerate(chosen):
        text = samples.marks[number]
        found = [int(text[at : at + MARK], 16) for at in range(MARK, len(text), MARK)][:budget]
        marks[place, : len(found)] = found
    return marks


def _shares(ours: NDArray[np.uint32], others: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Return the share of equal steps of one entry, (n, t), with each of k others, (k, n, t): float64 (k,)."""
    taken = (ours > 0) | (others > 0)
    equal = (ours == others) & taken
    shares: NDArray[np.float64] = equal.sum(axis=(1, 2)) / np.maximum(taken.sum(axis=(1, 2)), 1)
    return shares
