"""Play a run's clicks again: are its masks those of its segmenter, and what would the oracle have gained?

A record holds every action, so the segmenter alone brings back every mask, without the model. `replayed` does it step
by step; `replay` does it for a whole run and keeps what it found in the run folder (`hlmat_bench.runs.replay_result`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hlmat_bench.actions import DRAWING, Action
from hlmat_bench.clicks import Oracle
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Source
from hlmat_bench.core.truth import CachedTruth
from hlmat_bench.core.types import Mask
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Segmenter, accepts_mask
from hlmat_bench.protocol.manifest import first_difference
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.segmentation import SegmentationState
from hlmat_bench.runs import reopen as run_data
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.opening import make_segmenter, split_settings
from hlmat_bench.runs.replay_result import Difference, ReplayResult, digest_of
from hlmat_bench.runs.run_folder import Run

#: The share of a mask's pixels that may differ where a network drew it: the last bits of floats depend on the batch
#: and the machine. All other segmenters give the same mask to the pixel.
NETWORK_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class ReplayedStep:
    """A step, played again.

    Attributes:
        episode: whose step it is.
        t: its number; 0 is the initial state.
        action: what was done; of an initial state, its box or nothing.
        before: the mask that it answered, bool (H, W), as it was drawn again.
        mask: the mask after it, bool (H, W), as it was drawn again.
        differing: the share of pixels in which that is not the recorded mask, 0 to 1.
        oracle: the mask after the oracle's click in its place, bool (H, W), where the action is a click and oracles
            were asked for; the oracle leaves a mask alone in which nothing is wrong.
    """

    episode: Episode
    t: int
    action: Action | None
    before: Mask
    mask: Mask
    differing: float
    oracle: Mask | None


def tolerance(segmenter: Mapping[str, Any]) -> float:
    """Return the share of a mask's pixels that may differ when the segmenter of a manifest predicts it again."""
    return NETWORK_TOLERANCE if "weights_sha256" in segmenter else 0.0


def reopened(
    document: Mapping[str, Any],
    *,
    segmenter: str | None = None,
    task: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> tuple[Segmenter, Source]:
    """Open the segmenter and the data of a run again, and compare them with its manifest.

    Args:
        document: the manifest.
        segmenter: a name with options, or a file; None: the manifest's name.
        task, data_root, data: see `hlmat_bench.runs.reopen.reopened`.

    Raises:
        UsageError: when one of them is not there or is not the run's.
    """
    recorded = document["segmenter"]
    if segmenter is None and recorded["name"] not in plugins.available("segmenter"):
        raise UsageError(f"The run's segmenter {recorded['name']} is not a name here; give its file with --segmenter.")
    tool = make_segmenter(segmenter or recorded["name"])
    if (spec := {"name": tool.name, **plugins.spec_of(tool, "segmenter")}) != recorded:
        what, before, after = first_difference("segmenter", recorded, spec)
        raise UsageError(
            f"This is not the run's segmenter ({what} is {before} in its manifest and {after} here); name it with its "
            "options by --segmenter."
        )
    return tool, run_data.reopened(document, task=task, data_root=data_root, data=data)


def replayed(
    episodes: Iterable[Episode], segmenter: Segmenter, source: Source, *, oracle: bool = False
) -> Iterator[ReplayedStep]:
    """Play the recorded actions again, in their order.

    Args:
        episodes: the records, all or some.
        segmenter: the run's.
        source: of the run's samples.
        oracle: also try the oracle's click in the place of each click.

    Yields:
        Each step, and before an episode's first one its initial state (t = 0) where that is not empty.

    Raises:
        UsageError: when an episode cannot be played again here.
    """
    open_ = _opener(segmenter, source)
    for episode in episodes:
        yield from _replayed(episode, open_(episode), oracle)


def _opener(segmenter: Segmenter, source: Source) -> Callable[[Episode], SegmentationState]:
    """Return a function that opens an episode's image in the segmenter, if the episode can be played again."""
    samples = {sample.id: sample for sample in source.samples()}

    def opened(episode: Episode) -> SegmentationState:
        if (sample := samples.get(episode.sample_id)) is None:
            raise UsageError(
                f"The sample {episode.sample_id} is not in the data; give the run's --task and --data-root."
            )
        if any(step.action.kind == "predict" for step in episode.steps):
            raise UsageError(f"The episode {sample.id} has no clicks to replay: its task is about given masks.")
        if _begins_with_mask(episode) and not accepts_mask(segmenter):
            raise UsageError(
                f"The episode {sample.id} begins with a given mask and cannot be replayed: {segmenter.name} cannot "
                "start from one."
            )
        image = source.image(sample)
        if image.shape[:2] != episode.size:
            raise UsageError(
                f"The image of {sample.id} is {image.shape[:2]} here and {episode.size} in the record; replay with the "
                "images of the run."
            )
        return SegmentationState(image, segmenter)

    return opened


def _begins_with_mask(episode: Episode) -> bool:
    """Tell whether the initial state is a mask that no box led to."""
    return episode.initial["mask"] is not None and not episode.initial.get("box")


def _replayed(episode: Episode, state: SegmentationState, oracle: bool) -> Iterator[ReplayedStep]:
    annotator = Oracle(*_truth(episode)) if oracle else None
    for t, action, recorded in _states(episode):
        before, tried = state.mask, None
        if action is None:
            state.start_from(masks.decode(recorded))
        elif action.kind in DRAWING:
            if annotator and action.kind == "click":
                click = annotator.next_click(before, clicked=state.clicks)
                tried = before if click is None else state.try_each([Action("click", *click)])[0]
            state.apply(action)
        differing = float(np.mean(masks.of_shape(masks.decode(recorded), episode.size) != state.mask))
        yield ReplayedStep(episode, t, action, before, state.mask, differing, tried)


def _truth(episode: Episode) -> tuple[Mask, Mask | None]:
    """Return the object's mask, and the mask of ignored pixels or None."""
    return masks.decode(episode.gt), None if episode.ignore is None else masks.decode(episode.ignore)


def _states(episode: Episode) -> Iterator[tuple[int, Action | None, masks.RLE]]:
    """Yield number, action and recorded mask of the initial state, where it has a mask, and of each step."""
    if (mask := episode.initial["mask"]) is not None:
        box = None if _begins_with_mask(episode) else tuple(episode.initial["box"])
        yield 0, Action("box", box=box) if box else None, mask
    for step in episode.steps:
        yield step.t, step.action, step.mask


def replay(run: Run, segmenter: Segmenter, source: Source, *, progress: Progress | None = None) -> ReplayResult:
    """Play a whole run again, compare all its masks, compute the regret of every click, and keep that in its folder.

    Args:
        run: the run.
        segmenter, source: see `reopened`.
        progress: called with (episodes done, episodes in all).

    Raises:
        UsageError: when an episode cannot be played again here.
    """
    found = ReplayResult(digest_of(run.folder), tolerance(run.manifest["segmenter"]))
    open_, episodes = _opener(segmenter, source), list(run.episodes())

    def examined(episode: Episode) -> tuple[list[Difference], dict[int, float]]:
        truth, differences, regrets = CachedTruth(*_truth(episode)), [], {}
        for step in _replayed(episode, open_(episode), oracle=True):
            differences.append(Difference(episode.sample_id, step.t, step.differing))
            if step.oracle is not None:
                regrets[step.t] = truth.iou(step.oracle) - truth.iou(step.mask)
        return differences, regrets

    with ExitStack() as stack:
        pool = ThreadPoolExecutor(os.cpu_count(), "replay")
        stack.callback(pool.shutdown, cancel_futures=True)
        for number, (differences, regrets) in enumerate(pool.map(examined, episodes)):
            if progress:
                progress(number + 1, len(episodes))
            found.add(episodes[number].sample_id, differences, regrets)
    found.save(run.folder)
    return found


def replay_folder(
    folder: Path,
    segmenter: str | None = None,
    task: str | None = None,
    data_root: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ReplayResult:
    """`reopened` and `replay` for a run folder.

    Raises:
        UsageError: as they do, and for a setting that is none of the data (``data.``).
    """
    run = Run(folder)
    protocol, data, points = split_settings(settings or {})
    if protocol or points:
        raise UsageError("A replay keeps the run's protocol; --set takes settings of the data alone, data.NAME=VALUE.")
    tool, source = reopened(run.manifest, segmenter=segmenter, task=task, data_root=data_root, data=data)
    return replay(run, tool, source, progress=progress)
