"""Improving the trajectories of a model's run: how it is played, and what became of the model's clicks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import manifest
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.redo import recorded_spec
from hlmat_bench.runs.rollouts import IMPROVE, clicks_of


class ClickCounts(NamedTuple):
    """What became of a model's clicks in improved trajectories.

    Attributes:
        model: clicks of the model in the episodes that were improved.
        kept: those that stand in the improved trajectories.
        added: clicks of the annotator.
    """

    model: int
    kept: int
    added: int


def compare(rollouts: Path, improved: Path) -> ClickCounts:
    """Count the clicks of a model's run that stand in the trajectories which were improved from it.

    Args:
        rollouts: folder of the model's run.
        improved: folder of the improved trajectories.
    """
    before, after = clicks_of(rollouts), clicks_of(improved)
    pairs = [(set(before[name]), clicks) for name, clicks in after.items()]
    kept = sum(click in model for model, clicks in pairs for click in clicks)
    made = sum(map(len, after.values()))
    return ClickCounts(sum(len(before[name]) for name in after), kept, made - kept)


def spec_for(folder: Path, number: int = 1, **given: str | None) -> RunSpec:
    """Return what names the run that improves the trajectories of a run; `hlmat_bench.protocol.annotator.improve`.

    It may have twice as many clicks, so that those which were replaced leave room for those which improve the mask.

    Args:
        folder: of the model's run.
        number: of the round of improvement, for the manifest.
        given: ``task``, ``segmenter``, ``data_root``: in place of what the manifest says, where they have moved.

    Raises:
        UsageError: when there is no run, or one without clicks.
    """
    document = manifest.read(folder)
    if document["task"]["kind"] == "filtering":
        raise UsageError(
            f"The episodes of {folder} have no clicks to improve, because its task is of the kind filtering."
        )
    spec = recorded_spec(folder, document, {key: value for key, value in given.items() if value})
    return replace(
        spec,
        model="oracle",
        strategy=f"{IMPROVE}={folder},round={number}",
        budget=2 * document["protocol"]["budget"],
        initial=f"box-from={folder}" if spec.initial == "model-box" else spec.initial,
        catalog=None,
        cache=None,
        settings={key: value for key, value in spec.settings.items() if key.startswith("data.") or key == "no_target"},
    )
