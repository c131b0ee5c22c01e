"""Ceilings and floors beside a run: the reference policies on the run's own samples."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import public
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.reports.run.loaded import Entrant
from hlmat_bench.runs import ceilings
from hlmat_bench.runs.measuring import measured
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.episodes import SHOWN_THRESHOLDS, EpisodeScores, ScoreTable
from hlmat_bench.scores.no_target import accuracies

#: The options of `hlmat-bench ceilings` that decide whether its runs fit a run, by their names in a manifest.
_OPTIONS = {
    "budget": "--budget",
    "initial": "--initial",
    "limit": "--limit",
    "seed": "--seed",
    "data_root": "--data-root",
}


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


def find(entrant: Entrant, root: str | os.PathLike[str] | None, without: Collection[Path] = ()) -> list[Reference]:
    """Return the reference policies there are for a run; those that have not all of its samples are left out.

    Runs of reference policies are recognised by their manifests, so that it does not matter where they lie: in the
    folder of all ceilings, next to the run, or in ``runs/``.

    Args:
        entrant: the run.
        root: the folder of all ceilings, or any folder with runs of reference policies; None: ``runs/ceilings``, the
            folders next to the run, and ``runs/``.
        without: folders of runs that are shown already.

    Raises:
        UsageError: when a file there is damaged, or no run in a named folder fits.
    """
    if entrant.taken is None:
        return []
    found: dict[str, Reference] = {}
    for name, run in _near(entrant, root):
        if name not in found and run.folder.resolve() not in without:
            made = _reference(name, run, entrant)
            found |= {} if made is None else {name: made}
    if root is not None and not found:
        raise UsageError(
            f"No finished reference run in {root} has the data, segmenter, budget, start and seed of "
            f"{entrant.run.folder}. This command makes them: {command(entrant)} --out {shlex.quote(str(root))}"
        )
    return [found[name] for name in REFERENCES if name in found]


def _near(entrant: Entrant, root: str | os.PathLike[str] | None) -> Iterator[tuple[str, Run]]:
    """Yield runs of reference policies that fit, the nearest first; a run may come several times."""
    document, beside = entrant.run.manifest, entrant.run.folder.resolve().parent
    kept = [Path(root)] if root is not None else [ceilings.FOLDER, beside / "ceilings"]
    for place in kept:
        yield from ceilings.find(document, place).items()
    for place in kept if root is not None else [beside, ceilings.FOLDER.parent]:
        yield from ((run.manifest["model"]["name"], run) for run in ceilings.near(document, place))


def command(entrant: Entrant) -> str:
    """Return the complete command that plays the reference policies for a run, or an empty text if it is not known."""
    return shlex.join(_words(entrant.run.manifest))


def public_command(entrant: Entrant) -> str:
    """Return that command for pages: without paths of this machine."""
    return " ".join(public(_words(entrant.run.manifest)))


def _words(document: Mapping[str, Any]) -> list[str]:
    spec = document.get("spec") or {}
    task, segmenter = spec.get("task", document["task"]["name"]), spec.get("segmenter", document["segmenter"]["name"])
    words = ["hlmat-bench", "ceilings", "--task", str(task), "--segmenter", str(segmenter)]
    known = {"budget": document["protocol"]["budget"], "limit": document["limit"], "seed": document["seed"] or None}
    known |= {name: spec.get(name) for name in ("initial", "data_root")}
    words += [word for name, value in known.items() if value is not None for word in (_OPTIONS[name], str(value))]
    return words + list(_data_settings(document))


def _data_settings(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ``--set`` options of the run that decide what is played, and not how its model is asked."""
    for name, value in ((document.get("spec") or {}).get("settings") or {}).items():
        if name.startswith("data.") or name == "no_target":
            yield from ("--set", f"{name}={value}")


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
