"""Ceilings and floors beside a run: the reference policies on the run's own samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.runs import ceilings
from hlmat_bench.runs.measuring import measured
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.episodes import SHOWN_THRESHOLDS, EpisodeScores, ScoreTable
from hlmat_bench.scores.no_target import accuracies


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference policy on the samples of a run.

    Attributes:
        name: the player's.
        kind: ``ceiling`` or ``floor``.
        curve: mIoU after t = 0..budget clicks.
        miou, ciou: of the final masks.
        noc: per threshold the mean number of clicks, a miss counting the budget.
        accuracies: N-acc and T-acc, None where no sample has a target; None where all have.
        samples: its episodes by sample.
    """

    name: str
    kind: str
    curve: Sequence[float]
    miou: float
    ciou: float
    noc: Mapping[str, float]
    accuracies: tuple[float | None, float | None] | None
    samples: Mapping[str, EpisodeScores]


def find(entrant: Entrant, root: str | os.PathLike[str] | None) -> list[Reference]:
    """Return the reference policies there are for a run; those that have not all of its samples are left out.

    Args:
        entrant: the run.
        root: the folder of all ceilings; None: ``runs/ceilings``, or the folder ``ceilings`` beside the run's.

    Raises:
        UsageError: when a file there is damaged.
    """
    places = [Path(root)] if root is not None else [ceilings.FOLDER, entrant.run.folder.resolve().parent / "ceilings"]
    for place in places:
        found = ceilings.find(entrant.run.manifest, place)
        made = [_reference(name, run, entrant) for name, run in found.items()]
        if any(made):
            return [reference for reference in made if reference is not None]
    return []


def _reference(name: str, run: Run, entrant: Entrant) -> Reference | None:
    wanted, budget = {sample.sample_id for sample in entrant.samples}, entrant.budget
    found = measured(run.folder, budget, "final")
    played = {sample.sample_id: sample for sample in found if sample.sample_id in wanted}
    if len(played) < len(wanted):
        return None
    table = ScoreTable(list(played.values()))
    final = table.at([sample.answer for sample in played.values()])
    noc = {q: table.noc(float(q), budget)["mean"].value for q in SHOWN_THRESHOLDS}
    curve = table.iou.mean(axis=0).tolist()
    right = accuracies(list(played.values())) if "no_target" in entrant.scores else None
    return Reference(name, REFERENCES[name].bound, curve, final["miou"].value, final["ciou"].value, noc, right, played)
