"""Rankings: which entries may be compared, and how far they can be told apart.

A ranking holds entries on the same samples of the same data, with the same segmenter, track and budget, that begin with
nothing, with a box of their own, or all with the same masks or boxes that were given. In it each pair is compared
sample by sample: the paired 95 % interval of the difference in mIoU, by bootstrap over images. One is clearly better
where that interval lies above 0. An entry's rank is a range: from one more than how many are clearly better, to how
many are not clearly worse. Of entries of one run, only the first has a rank.
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
from hlmat_bench.reports.leaderboard.duplicates import originals
from hlmat_bench.reports.leaderboard.entry import BoardEntry, TaskFacts, lasting
from hlmat_bench.reports.leaderboard.paired import Difference, PairedScores
from hlmat_bench.reports.leaderboard.repository import Listed
from hlmat_bench.reports.run.result import FLOORS
from hlmat_bench.scores.paired import VERDICT_IMAGES

_OWN_STARTS = ("empty", "model-box", "gt-box")


@dataclass(frozen=True, slots=True)
class Row:
    """An entry in a ranking.

    Attributes:
        rank: (best, worst) that the intervals leave open, from 1; None of what is not ranked.
        reference: why it is not ranked: ``ceiling``, ``floor`` or ``uses the ground truth``; None of a model's run.
        repeats: the entry of the same run that was submitted before this one, which is then not ranked.
    """

    listed: Listed
    rank: tuple[int, int] | None
    reference: str | None
    repeats: BoardEntry | None = None

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
        rows: ranked ones by mIoU, then the others by mIoU.
        key: tells apart rankings that look alike but differ in the data's or the segmenter's details.
        paired: the comparison of the rows, in their order.
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
    paired: PairedScores

    @property
    def ranked(self) -> int:
        """Return how many entries have a rank."""
        return sum(row.rank is not None for row in self.rows)

    @property
    def decisive(self) -> bool:
        """Tell whether there are enough images for a verdict."""
        return self.n_images >= VERDICT_IMAGES

    @property
    def leaders(self) -> list[Row]:
        """Return the ranked rows than which no other is clearly better."""
        return [row for row in self.rows if row.rank is not None and row.rank[0] == 1]

    @property
    def oracle(self) -> Row | None:
        """Return the reference policy that clicks the middle of the largest error; None where it is not entered."""
        return self._player("oracle")

    @property
    def floor(self) -> Row | None:
        """Return the reference policy that counts as 0: the first of `FLOORS` that is entered."""
        return next((row for name in FLOORS if (row := self._player(name)) is not None), None)

    def _player(self, name: str) -> Row | None:
        found = (row for row in self.rows if row.reference in ("ceiling", "floor"))
        return next((row for row in found if row.entry.manifest.model["name"] == name), None)

    def share_of_oracle(self, miou: float) -> float | None:
        """Return how far an mIoU is on the way from the floor (0) to the oracle (1).

        It is None where one of them is missing, or the floor is not below the oracle.
        """
        floor, oracle = self.floor, self.oracle
        if floor is None or oracle is None or floor.entry.answer.miou >= oracle.entry.answer.miou:
            return None
        return (miou - floor.entry.answer.miou) / (oracle.entry.answer.miou - floor.entry.answer.miou)

    def difference(self, first: int, second: int) -> Difference:
        """Return the mIoU of a row minus that of another one, by their places in `rows`."""
        return self.paired.difference(first, second)


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


def rank_ranges(values: Sequence[NDArray[np.float64]], images: Sequence[str]) -> list[tuple[int, int]]:
    """Return the range of ranks of each of k entries, from 1; for the arguments see `PairedScores`."""
    return PairedScores(values, images).rank_ranges()


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
    by_miou = sorted(listed, key=lambda each: (-each.entry.answer.miou, each.entry.id))
    repeats = dict(zip((each.entry.id for each in by_miou), originals([each.entry for each in by_miou]), strict=True))
    competing = [each for each in by_miou if reference(each.entry) is None and repeats[each.entry.id] is None]
    ranked = {each.entry.id for each in competing}
    ordered = competing + [each for each in by_miou if each.entry.id not in ranked]
    paired = PairedScores(*_aligned([each.entry for each in ordered]))
    ranks = paired.rank_ranges(len(competing))
    rows = [
        Row(
            each,
            ranks[place] if place < len(ranks) else None,
            reference(each.entry),
            None if (earlier := repeats[each.entry.id]) is None else by_miou[earlier].entry,
        )
        for place, each in enumerate(ordered)
    ]
    first = by_miou[0].entry
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
        paired=paired,
    )


def _aligned(entries: Sequence[BoardEntry]) -> tuple[list[NDArray[np.float64]], list[str]]:
    """Return the IoUs of entries on the same samples, ordered by the samples' ids, and the samples' images."""
    values, images = [], []
    for entry in entries:
        by_id = np.argsort(np.array(entry.samples.id), kind="stable")
        values.append(entry.samples.ious()[by_id])
        images = [entry.samples.image_id[n] for n in by_id]
    return values, images
