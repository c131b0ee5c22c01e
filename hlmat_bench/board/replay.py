"""The level *replayed*: the masks once more, from the recorded clicks, by the same segmenter on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from hlmat_bench import masks
from hlmat_bench.board.entry import SURROUNDINGS, Entry, lasting
from hlmat_bench.board.findings import Finding, at, differences
from hlmat_bench.clicks import Click
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Box, Mask, Segmenter, Session
from hlmat_bench.records import Episode
from hlmat_bench.runs import Run
from hlmat_bench.samples import Sample, Source
from hlmat_bench.shards import select_samples

NETWORK_TOLERANCE = 1e-4
"""The share of pixels by which a network's mask may differ: other devices and versions add up in another order."""


def tolerance(spec: Mapping[str, Any]) -> float:
    """The share of an image's pixels by which a mask may differ from the record: none, but for networks."""
    return NETWORK_TOLERANCE if "weights_sha256" in spec else 0.0


def check(
    entry: Entry, run: Run, source: Source, segmenter: Segmenter, progress: Callable[[int, int], None] | None = None
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
    recorded = entry.manifest.segmenter
    found = [
        *differences(entry.manifest.task.digest, source.digest(), "manifest.task.digest"),
        *differences(lasting(recorded), lasting(spec), "manifest.segmenter"),
    ]
    samples = select_samples(source.samples(), None, entry.manifest.limit)
    found += _others(entry.samples.id, [sample.id for sample in samples])
    if found:
        yield from found
        return
    for number, (episode, sample) in enumerate(zip(run.episodes(), samples, strict=True), 1):
        yield from _episode(episode, sample, source, segmenter, tolerance(recorded))
        if progress is not None:
            progress(number, len(samples))


def _others(played: Sequence[str], wanted: Sequence[str]) -> Iterator[Finding]:
    """The first place where other samples were played than the task has."""
    for one, other in zip_longest(played, wanted):
        if one != other:
            yield Finding("samples", f"{len(played)} were played and the task has {len(wanted)}; {other or one} is off")
            return


def changed_surroundings(entry: Entry, segmenter: Segmenter) -> str | None:
    """Which versions or device are others than those of the run, as a sentence; None when all are the same."""
    spec = segmenter.spec()
    changed = [
        str(each) for key in SURROUNDINGS for each in differences(entry.manifest.segmenter.get(key), spec.get(key), key)
    ]
    return f"replayed in other surroundings: {'; '.join(changed)}" if changed else None


def _episode(episode: Episode, sample: Sample, source: Source, segmenter: Segmenter, share: float) -> Iterator[Finding]:
    """The first thing that differs in an episode: what comes after it depends on it."""
    truth, image = source.truth(sample), source.image(sample)
    for name, recorded, actual in (("gt", episode.gt, truth.mask), ("ignore", episode.ignore, truth.ignore)):
        if (recorded is None) != (actual is None) or (actual is not None and recorded != masks.encode(actual)):
            yield Finding(at(episode.sample_id, None, name), "is another mask than the data's")
            return
    if episode.expression != sample.expression:
        yield Finding(at(episode.sample_id, None, "expression"), "is another one than the data's")
        return
    for t, mask in enumerate(_replayed(episode, segmenter.open(image))):
        recorded_mask = episode.mask_at(t)
        expected = np.zeros(episode.size, bool) if recorded_mask is None else masks.decode(recorded_mask)
        differing = int(np.count_nonzero(mask != expected))
        if differing > share * mask.size:
            yield Finding(
                at(episode.sample_id, t, "mask"),
                f"{differing} of {mask.size} pixels differ from what {segmenter.name} makes of the clicks; "
                f"{int(share * mask.size)} may",
            )
            return


def _replayed(episode: Episode, session: Session) -> Iterator[Mask]:
    """The mask of the initial state, and after each step."""
    box: Box | None = None
    clicks: list[Click] = []
    mask: Mask = np.zeros(episode.size, bool)
    if episode.initial.get("box") is not None:
        box = _box(episode.initial["box"])
        mask = session.predict(clicks, box)
    elif episode.initial["mask"] is not None:
        raise UsageError(
            f"The run starts from given masks ({episode.initial['kind']}), which cannot be replayed; the level of such "
            "a run ends at recomputed."
        )
    yield mask
    for step in episode.steps:
        box = box if step.action.box is None else step.action.box
        if step.action.kind == "click":
            clicks.append(step.action.click)
        if step.action.kind in ("click", "box"):
            mask = session.predict(clicks, box)
        yield mask


def _box(values: list[int]) -> Box:
    x0, y0, x1, y1 = values
    return x0, y0, x1, y1
