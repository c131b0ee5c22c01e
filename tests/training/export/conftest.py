"""Trajectory sets to export, and the way back from an answer to a mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.actions import Action, parse
from hlmat_bench.core import masks
from hlmat_bench.core.types import Mask
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.records import Episode
from hlmat_bench.protocol.segmentation import SegmentationState
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import DiscSegmenter
from hlmat_bench.training.export.exporting import export
from hlmat_bench.training.export.recorded import RecordedRun

SIZE = (60, 80)

Exporter = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def rollouts(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Play a model's run, of which half of the clicks are misplaced."""
    out = tmp_path_factory.mktemp("rollouts")
    return hlmat_bench.run("oracle,misplaced=0.5", task, tool, out=out, budget=4, argv=["--task", task])


@pytest.fixture(scope="session")
def generated(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a set of the annotator, which begins with an empty mask."""
    out = tmp_path_factory.mktemp("generated")
    return hlmat_bench.run("oracle", task, tool, out=out, strategy="annotate", budget=4, argv=["--task", task])


@pytest.fixture(scope="session")
def improved(rollouts: Run, task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make the set that is improved from the model's run."""
    out, how = tmp_path_factory.mktemp("improved"), f"improve={rollouts.folder}"
    return hlmat_bench.run("oracle", task, tool, out=out, strategy=how, budget=8, argv=["--task", task])


@pytest.fixture
def exported(tmp_path: Path) -> Exporter:
    """Export runs to the folder ``export``; no task is protected."""

    def exported(*runs: Run, settings: Any, protected: Any = (), **named: Any) -> dict[str, Any]:
        folders = [run.folder for run in runs]
        return export(folders, tmp_path / "export", settings, protected=protected, **named)

    return exported


class Replayed:
    """Plays answers again from the states of a run, on its segmenter."""

    def __init__(self, run: Run, recorded: RecordedRun) -> None:
        self.episodes: dict[str, Episode] = {episode.sample_id: episode for episode in run.episodes()}
        self._recorded = recorded

    def expected(self, sample_id: str, step: int) -> Mask:
        """Return the recorded mask after a step."""
        recorded = self.episodes[sample_id].mask_at(step)
        assert recorded is not None
        return masks.decode(recorded)

    def mask(self, sample_id: str, step: int, action: Action) -> Mask:
        """Return the mask of an action in the state before a step."""
        episode = self.episodes[sample_id]
        state = SegmentationState(self._recorded.image(episode), DiscSegmenter())
        if episode.initial["mask"] is not None:
            state.start_from(masks.decode(episode.initial["mask"]))
        for before in episode.steps[: step - 1]:
            if before.action.kind in ("click", "box"):
                state.apply(before.action)
        if action.kind == "click":
            state.apply(action)
        return state.mask

    def check(self, sample_id: str, step: int, answer: str, points: str = "xy1000") -> None:
        """Check that an answer leads to the recorded mask."""
        action = parse(answer, PointFormat.named(points), SIZE)
        assert action.kind == "click"
        assert (self.mask(sample_id, step, action) == self.expected(sample_id, step)).all()


@pytest.fixture(scope="session")
def replayed(generated: Run, task: str) -> Replayed:
    """Plays answers of an export of `generated`."""
    from hlmat_bench.training.export.asking import AskingSettings

    return Replayed(generated, RecordedRun(generated.folder, AskingSettings()))
