"""The level *replayed*: the masks once more, from the recorded clicks, by the same segmenter on the same data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from hlmat_bench import masks
from hlmat_bench.board.entry import SURROUNDINGS, Entry, lasting
from hlmat_bench.board.findings import Finding, at, differences
from hlmat_bench.engine import Progress
from hlmat_bench.interfaces import Segmenter
from hlmat_bench.records import Episode
from hlmat_bench.replay import ReplayedStep, replayed, tolerance
from hlmat_bench.runs import Run
from hlmat_bench.samples import Sample, Source
from hlmat_bench.shards import select_samples


def check(
    entry: Entry, run: Run, source: Source, segmenter: Segmenter, progress: Progress | None = None
) -> Iterator[Finding]:
    """Where the data, the segmenter or its masks are others than those of the run.

    Args:
        entry: it agrees with the run.
        run: the episodes.
        source: the task's data.
        segmenter: the one that the manifest names.
        progress: called with (episodes done, episodes in all).
    """
    spec = {"name": segmenter.name, **segmenter.spec()}
    samples = {sample.id: sample for sample in select_samples(source.samples(), None, entry.manifest.limit)}
    found = [
        *differences(entry.manifest.task.digest, source.digest(), "manifest.task.digest"),
        *differences(lasting(entry.manifest.segmenter), lasting(spec), "manifest.segmenter"),
        *_others(entry.samples.id, list(samples)),
    ]
    if found:
        yield from found
        return

    def faithful() -> Iterator[Episode]:
        """The episodes whose truth and expression are the data's."""
        for number, episode in enumerate(run.episodes(), 1):
            others = _data(episode, samples[episode.sample_id], source)
            found.extend(others)
            if not others:
                yield episode
            if progress is not None:
                progress(number, len(samples))

    found += _masks(replayed(faithful(), segmenter, source), tolerance(entry.manifest.segmenter))
    yield from found


def notes(entry: Entry, run: Run, segmenter: Segmenter) -> Iterator[str]:
    """What a reader should know of a replay: other surroundings, and what was taken as it is recorded."""
    spec, recorded = segmenter.spec(), entry.manifest.segmenter
    changed = [str(each) for key in SURROUNDINGS for each in differences(recorded.get(key), spec.get(key), key)]
    if changed:
        yield f"replayed in other surroundings: {'; '.join(changed)}"
    if any(_given(episode) for episode in run.episodes()):
        yield "the masks that the episodes begin with were taken as they are recorded"


def _given(episode: Episode) -> bool:
    return episode.initial["mask"] is not None and episode.initial.get("box") is None


def _others(played: Sequence[str], wanted: Sequence[str]) -> Iterator[Finding]:
    """The first place where other samples were played than the task has."""
    for one, other in zip_longest(played, wanted):
        if one != other:
            yield Finding("samples", f"{len(played)} were played and the task has {len(wanted)}; {other or one} is off")
            return


def _data(episode: Episode, sample: Sample, source: Source) -> list[Finding]:
    """Whether the ground truth and the expression of a record are the data's."""
    truth = source.truth(sample)
    ignore = None if truth.ignore is None else masks.encode(truth.ignore)
    actual = {"gt": masks.encode(truth.mask), "ignore": ignore, "expression": sample.expression}
    names = [name for name, value in actual.items() if getattr(episode, name) != value]
    return [Finding(at(sample.id, None, name), "is another one than the data's") for name in names]


def _masks(steps: Iterable[ReplayedStep], share: float) -> list[Finding]:
    """Of each episode the first mask that differs in more than a share of its pixels; those after it depend on it."""
    first: dict[str, Finding] = {}
    for step in steps:
        if step.differing > share:
            size = step.mask.size
            problem = f"{round(step.differing * size)} of {size} pixels are others than the segmenter's"
            sample = step.episode.sample_id
            first.setdefault(sample, Finding(at(sample, step.t, "mask"), f"{problem}; {int(share * size)} may be"))
    return list(first.values())
