"""Rankings: which entries may be compared, and how far they can be told apart.

A ranking holds entries on the same samples of the same data, with the same segmenter, track and budget, that begin with
nothing, with a box of their own, or all with the same masks or boxes that were given. In it each pair is compared
sample by sample: the paired 95 % interval of the difference in mIoU, by bootstrap over images. One is clearly better
where that interval does not hold 0. An entry's rank is a range: from one more than how many are clearly better, to how
many are not clearly worse.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.text import clean
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.protocol.settings import digest
from hlmat_bench.reports.leaderboard.entry import BoardEntry, TaskFacts, lasting
from hlmat_bench.reports.leaderboard.repository import Listed
from hlmat_bench.scores.intervals import bootstrap_difference

_OWN_STARTS = ("empty", "model-box", "gt-box")


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in a ranking.

    Attributes:
        rank: (best, worst) that the intervals leave open, from 1; None of a reference, which is not ranked.
        reference: why it is not ranked: ``ceiling``, ``floor`` or ``uses the ground truth``; None where it is.
    """

    listed: Listed
    rank: tuple[int, int] | None
    reference: str | None

    @property
    def entry(self) -> BoardEntry:
        """Return the entry itself."""
        return self.listed.entry


@dataclass(frozen=True, slots=True)
class Ranking:
    """Entries that may be compared.

    Attributes:
        task: of all of them.
        segmenter: its name, cleaned.
        track, budget: of all of them.
        start: the state before the first click, where it was made by another run or comes from files; else empty.
        n, n_images: samples and images.
        limit: how many samples of the task were played, from the first; None: all.
        rows: ranked ones by mIoU, then the references by mIoU.
        key: tells apart rankings that look alike but differ in the data's or the segmenter's details.
    """

    task: TaskFacts
    segmenter: str
    track: str
    budget: int
    start: str
    n: int
    n_images: int
    limit: int | None
    rows: Sequence[Row]
    key: str

    @property
    def ranked(self) -> int:
        """Return how many entries have a rank."""
        return sum(row.rank is not None for row in self.rows)


def rankings(listed: Iterable[Listed]) -> list[Ranking]:
    """Group entries by what may be compared, in the order of tasks, segmenters, tracks and budgets."""
    groups: dict[tuple[Any, ...], list[Listed]] = {}
    for each in listed:
        groups.setdefault(_comparable(each.entry), []).append(each)
    return [_ranking(groups[key], digest(key)[:8]) for key in sorted(groups)]


def reference(entry: BoardEntry) -> str | None:
    """Return why an entry is not ranked: it knows the ground truth, or nothing. None where it is ranked."""
    model, protocol = entry.manifest.model, entry.manifest.protocol
    if model.get("kind") == "reference":
        known = REFERENCES.get(str(model["name"]).partition(",")[0])
        return known.bound if known else "ceiling"
    if protocol["initial"] == "gt-box" or protocol.get("prm") in ("oracle", "noisy"):
        return "uses the ground truth"
    return None


def rank_ranges(
    values: Sequence[NDArray[np.float64]], images: Sequence[str], *, resamples: int = 2000
) -> list[tuple[int, int]]:
    """Return the range of ranks of each of k entries, from 1.

    Args:
        values: per entry its IoU of every sample, float (n,), samples in the same order.
        images: which image each sample belongs to, (n,). Of a single image nothing can be told apart.
        resamples: draws of the bootstrap.
    """
    better = np.zeros((len(values), len(values)), bool)  # [i, j]: i is clearly better than j
    for first in range(len(values) - 1 if len(set(images)) > 1 else 0):
        others = np.stack(values[first + 1 :], axis=1)
        ours = np.repeat(values[first][:, None], others.shape[1], axis=1)
        ones = np.ones_like(others)
        low, high = bootstrap_difference((ours, ones), (others, ones), images, resamples=resamples)
        better[first, first + 1 :], better[first + 1 :, first] = low > 0, high < 0
    above, below = better.sum(axis=0), better.sum(axis=1)
    return [(1 + int(a), len(values) - int(b)) for a, b in zip(above, below, strict=True)]


def _comparable(entry: BoardEntry) -> tuple[Any, ...]:
    """Return what entries of one ranking have in common; it sorts by what a reader looks for first."""
    manifest, task = entry.manifest, entry.manifest.task
    samples = sorted(zip(entry.samples.id, entry.samples.image_id, strict=True))
    return (
        task.group,
        task.name,
        manifest.segmenter["name"],
        entry.scores.track,
        entry.scores.budget,
        _start(entry),
        task.version,
        task.kind,
        task.digest,
        digest(task.masks),
        digest(lasting(manifest.segmenter)),
        digest(samples),
    )


def _start(entry: BoardEntry) -> str:
    """Return the initial state of an entry; empty where it is nothing, a box of the model, or the ground truth's."""
    initial: str = entry.manifest.protocol["initial"]
    return "" if initial in _OWN_STARTS else initial


def _ranking(listed: Sequence[Listed], key: str) -> Ranking:
    ordered = sorted(listed, key=lambda each: (-each.entry.answer.miou, each.entry.id))
    competing = [each for each in ordered if reference(each.entry) is None]
    first = ordered[0].entry
    values, images = [], []
    for each in competing:
        by_id = np.argsort(np.array(each.entry.samples.id), kind="stable")
        values.append(each.entry.samples.ious()[by_id])
        images = [each.entry.samples.image_id[n] for n in by_id]
    rows = [Row(each, rank, None) for each, rank in zip(competing, rank_ranges(values, images), strict=True)]
    rows += [Row(each, None, why) for each in ordered if (why := reference(each.entry)) is not None]
    return Ranking(
        task=first.manifest.task,
        segmenter=clean(first.manifest.segmenter["name"], 60),
        track=first.scores.track,
        budget=first.scores.budget,
        start=clean(_start(first), 40),
        n=first.scores.n,
        n_images=first.scores.n_images,
        limit=first.manifest.limit,
        rows=rows,
        key=key,
    )
