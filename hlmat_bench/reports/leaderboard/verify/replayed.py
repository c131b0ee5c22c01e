"""The level *replayed*: the masks once more, from the recorded clicks, by the same segmenter on the same data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import numpy as np

from hlmat_bench.core import masks
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.data.perturbations import Imperfect
from hlmat_bench.data.tasks import Task
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.records import Episode
from hlmat_bench.reports.leaderboard.entry import SURROUNDINGS, BoardEntry, lasting
from hlmat_bench.reports.leaderboard.verify.findings import Mismatch, at, differences
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.replay import ReplayedStep, replayed, tolerance
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.shards import select_samples
from hlmat_bench.runs.task_kinds import generated_masks

#: By the initial states that take something from elsewhere: what is taken, which nobody can make again here.
_TAKEN = {"box-from": "boxes", "mask-from": "masks", "masks": "masks"}


def check(
    entry: BoardEntry,
    run: Run,
    task: Task,
    source: Source,
    segmenter: Segmenter,
    progress: Progress | None = None,
) -> Iterator[Mismatch]:
    """Yield where the data, the segmenter or its masks differ from those of the run.

    Args:
        entry: it agrees with the run.
        run: the episodes.
        task: the manifest's.
        source: its data.
        segmenter: the one that the manifest names.
        progress: called with (episodes done, episodes in all).
    """
    spec = {"name": segmenter.name, **segmenter.spec()}
    every = source.samples()
    samples = {sample.id: sample for sample in select_samples(every, None, entry.manifest.limit)}
    found = [
        *differences(entry.manifest.task.digest, source.digest(), "manifest.task.digest"),
        *differences(entry.manifest.task.masks, task.masks_made().get("masks"), "manifest.task.masks"),
        *differences(lasting(entry.manifest.segmenter), lasting(spec), "manifest.segmenter"),
        *_others(entry.samples.id, list(samples)),
    ]
    if found:
        yield from found
        return

    share, generated = tolerance(entry.manifest.segmenter), generated_masks(task, source, every)

    def faithful() -> Iterator[Episode]:
        """Yield the episodes whose truth and expression are the data's, and whose given mask is the task's."""
        for number, episode in enumerate(run.episodes(), 1):
            sample = samples[episode.sample_id]
            others = _data(episode, sample, source)
            if not others and (making := generated.get(episode.initial["kind"])) is not None:
                made = making.mask(sample, source.image(sample), source.truth(sample), segmenter)
                others = list(_beginning(episode, made, share))
            found.extend(others)
            if not others:
                yield episode
            if progress is not None:
                progress(number, len(samples))

    found += _masks(replayed(faithful(), segmenter, source), share)
    yield from found


def notes(entry: BoardEntry, segmenter: Segmenter) -> Iterator[str]:
    """Yield caveats of a replay: another device or version, and inputs taken from the record instead of recomputed."""
    spec, recorded = segmenter.spec(), entry.manifest.segmenter
    changed = [str(each) for key in SURROUNDINGS for each in differences(recorded.get(key), spec.get(key), key)]
    if changed:
        yield f"replayed in other surroundings: {'; '.join(changed)}"
    kind = entry.manifest.protocol["initial"].partition("=")[0]
    if kind in _TAKEN:
        yield f"the {_TAKEN[kind]} that the episodes begin with were taken as they are recorded"
    if failed := entry.scores.clicks.invalid.get("api"):
        yield f"requests that failed: {failed}, by the record alone"


def _others(played: Sequence[str], wanted: Sequence[str]) -> Iterator[Mismatch]:
    """Yield the first place where the samples that were played differ from those of the task."""
    for one, other in zip_longest(played, wanted):
        if one != other:
            yield Mismatch(
                "samples", f"{len(played)} were played and the task has {len(wanted)}; {other or one} is off"
            )
            return


def _data(episode: Episode, sample: Sample, source: Source) -> list[Mismatch]:
    """Compare the ground truth and the expression of a record with the data's."""
    truth = source.truth(sample)
    ignore = None if truth.ignore is None else masks.encode(truth.ignore)
    actual = {"gt": masks.encode(truth.mask), "ignore": ignore, "expression": sample.expression}
    names = [name for name, value in actual.items() if getattr(episode, name) != value]
    return [Mismatch(at(sample.id, None, name), "is another one than the data's") for name in names]


def _beginning(episode: Episode, made: Imperfect, share: float) -> Iterator[Mismatch]:
    """Compare the mask that an episode begins with to the imperfect mask that its task makes."""
    recorded = masks.of_shape(masks.decode(episode.initial["mask"]), episode.size)
    yield from _differing(float(np.mean(recorded != made.mask)), share, episode, 0, "task's")
    said = {key: episode.initial.get(key) for key in made.record()}
    yield from differences(said, made.record(), at(episode.sample_id, 0, "initial"))


def _masks(steps: Iterable[ReplayedStep], share: float) -> list[Mismatch]:
    """Return, per episode, the first mask that differs in more than a share of its pixels; later ones depend on it."""
    first: dict[str, Mismatch] = {}
    for step in steps:
        for finding in _differing(step.differing, share, step.episode, step.t, "segmenter's"):
            first.setdefault(step.episode.sample_id, finding)
    return list(first.values())


def _differing(found: float, share: float, episode: Episode, t: int, whose: str) -> Iterator[Mismatch]:
    """Yield a finding where a larger share of a mask's pixels differs than may."""
    if found > share:
        size = episode.size[0] * episode.size[1]
        problem = f"{round(found * size)} of {size} pixels are others than the {whose}; {int(share * size)} may be"
        yield Mismatch(at(episode.sample_id, t, "mask"), problem)
