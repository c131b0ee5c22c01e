"""Verifying an entry: how far its numbers can be traced back, from its form to the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.hub_tasks import hub_task_of
from hlmat_bench.data.tasks import load_task
from hlmat_bench.reports.leaderboard.entry import BoardEntry
from hlmat_bench.reports.leaderboard.verify import recomputed, replayed, rerun, schema_level
from hlmat_bench.reports.leaderboard.verify.findings import Mismatch, Verdict
from hlmat_bench.runs.opening import make_segmenter
from hlmat_bench.runs.run_folder import Run

MAX_FINDINGS = 20
"""How many findings are reported; of a wrong file nearly everything is wrong."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What there is to verify an entry with; each adds a level.

    Attributes:
        run: the run's folder.
        segmenter: the segmenter with options, as ``--segmenter`` takes it.
        model: the model with options, to be asked again.
        scratch: a folder for the run of the model that is asked again.
        task: the task's file, where it is no built-in task.
        data_root: the folder under which the data sets lie.
        progress: called with (episodes done, episodes in all) while masks are made.
    """

    run: Path | None = None
    segmenter: str | None = None
    model: str | None = None
    scratch: Path | None = None
    task: str = ""
    data_root: Path | None = None
    progress: Callable[[int, int], None] | None = None


def verify(entry: BoardEntry, evidence: Evidence) -> Verdict:
    """Return the strongest level that can be shown with what is given; none when a check on the way fails.

    Raises:
        UsageError: when something that was given to verify with cannot be used, or something before it is missing.
    """
    _check_complete(evidence)
    found = _first(schema_level.check(entry))
    if found or evidence.run is None:
        return Verdict(None if found else "schema", found)
    run = Run(evidence.run)
    found = _first(recomputed.check(entry, run))
    if found or evidence.segmenter is None:
        return Verdict(None if found else "recomputed", found)
    return _replayed(entry, run, evidence, evidence.segmenter)


def _replayed(entry: BoardEntry, run: Run, evidence: Evidence, named: str) -> Verdict:
    manifest = entry.manifest
    segmenter = make_segmenter(named)
    task_name = evidence.task or hub_task_of(manifest.task.name, manifest.task.source) or manifest.task.name
    task = load_task(task_name)
    source = task.source(evidence.data_root, seed=manifest.seed)
    found = _first(replayed.check(entry, run, task, source, segmenter, evidence.progress))
    notes = list(replayed.notes(entry, segmenter))
    if found or evidence.model is None or evidence.scratch is None:
        return Verdict(None if found else "replayed", found, notes)
    again = rerun.play(
        entry,
        evidence.model,
        named,
        evidence.scratch,
        task=task_name,
        data_root=evidence.data_root,
        progress=evidence.progress,
    )
    found = _first(rerun.check(entry, again))
    return Verdict(None if found else "rerun", found, [*notes, rerun.same_episodes(entry, again)])


def _check_complete(evidence: Evidence) -> None:
    if evidence.segmenter is not None and evidence.run is None:
        raise UsageError("To replay the masks, give the run as well: --run RUN.")
    if evidence.model is not None and evidence.segmenter is None:
        raise UsageError("To run the model again, give the run and the segmenter as well: --run RUN --segmenter NAME.")


def _first(findings: Iterator[Mismatch]) -> list[Mismatch]:
    """Return at most `MAX_FINDINGS` of the findings."""
    return list(islice(findings, MAX_FINDINGS))
