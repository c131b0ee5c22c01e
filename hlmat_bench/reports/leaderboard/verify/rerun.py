"""The level *rerun*: the model is asked again, everything else as the manifest has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hlmat_bench.reports.leaderboard.entry import BoardEntry, Samples
from hlmat_bench.reports.leaderboard.submission import Tally
from hlmat_bench.reports.leaderboard.verify.findings import Mismatch, differences
from hlmat_bench.runs import run as runs
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.episodes import GroundTruth, states_of
from hlmat_bench.scores.intervals import bootstrap_difference


def play(
    entry: BoardEntry,
    model: str,
    segmenter: str,
    out: Path,
    *,
    task: str = "",
    data_root: Path | None = None,
    progress: Progress | None = None,
) -> Run:
    """Play the entry's run once more.

    Args:
        entry: whose manifest gives the settings.
        model: the model with options, as ``--model`` takes it; the manifest has neither keys nor folders.
        segmenter: the segmenter with options.
        out: the new run's folder.
        task: the task's file, where it is no built-in task.
        data_root: the folder under which the data sets lie.
        progress: called with (episodes done, episodes in all).

    Raises:
        UsageError: as `hlmat_bench.run`.
    """
    manifest = entry.manifest
    protocol = {key: value for key, value in _flat(manifest.protocol).items() if key != "id"}
    named = {key: protocol.pop(key) for key in ("strategy", "budget", "initial")}
    return runs.run(
        model,
        task or manifest.task.name,
        segmenter,
        **named,
        out=out,
        limit=manifest.limit,
        seed=manifest.seed,
        data_root=data_root,
        settings=protocol,
        progress=progress,
    )


def check(entry: BoardEntry, again: Run) -> Iterator[Mismatch]:
    """Check that the new run had the same settings and samples, and that its mIoU does not differ.

    A model need not give the same replies twice: its sampling, its server and its device may vary. So what is asked is
    that the paired 95 % interval of the difference in mIoU, clustered by image, holds 0.
    """
    yield from differences(
        entry.manifest.protocol_fingerprint, again.manifest["protocol_fingerprint"], "manifest.protocol_fingerprint"
    )
    samples, new = entry.samples, _samples(entry, again)
    if samples.id != new.id:
        yield Mismatch("samples", "the model was asked about others this time")
        return
    ones = np.ones(len(samples.id))
    low, high = bootstrap_difference((new.ious(), ones), (samples.ious(), ones), samples.image_id)
    if not low[0] <= 0 <= high[0]:
        yield Mismatch(
            "scores.selection.miou",
            f"asked again, the model's mIoU differs by {float(np.mean(new.ious() - samples.ious())):+.4f} "
            f"(95 % interval {low[0]:+.4f} to {high[0]:+.4f})",
        )


def same_episodes(entry: BoardEntry, again: Run) -> str:
    """Say how many episodes were the same to the last mask and reply."""
    pairs = zip(entry.samples.marks, _samples(entry, again).marks, strict=False)
    return f"{sum(said == found for said, found in pairs)} of {len(entry.samples.id)} episodes were the same again"


def _samples(entry: BoardEntry, run: Run) -> Samples:
    tally = Tally(entry.manifest.selection)
    for episode in run.episodes():
        truth = GroundTruth(episode)
        tally.add(episode, [state.areas for state in states_of(episode, truth)], truth.counted)
    return Samples.model_validate(tally.columns())


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"overlay": {"alpha": 0.5}}`` as ``{"overlay.alpha": 0.5}``."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= (
            {f"{key}.{inner}": part for inner, part in value.items()} if isinstance(value, Mapping) else {key: value}
        )
    return flat
