"""Ceilings and floors: all reference players on a task with a segmenter, kept where a report on a run finds them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.data import check as data_check
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.reference import POLICIES
from hlmat_bench.protocol.settings import digest
from hlmat_bench.runs import kinds
from hlmat_bench.runs.engine import Contest, Progress
from hlmat_bench.runs.run import (
    Planned,
    describe,
    make_segmenter,
    play_planned,
    rules_of,
    split_settings,
    task_spec,
)
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.shards import select_samples

#: Where they are kept by default.
FOLDER = Path("runs") / "ceilings"


def play(
    task: str,
    segmenter: str = "graphcut",
    *,
    budget: int | None = None,
    initial: str | None = None,
    out: str | os.PathLike[str] = FOLDER,
    limit: int | None = None,
    seed: int = 0,
    data_root: str | os.PathLike[str] | None = None,
    concurrency: int | None = None,
    embedding_cache: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Run]:
    """Play a task with every reference player in one pass over the images, each image encoded once.

    Each player's run is the one that `hlmat_bench.runs.run.run` makes of it, and continues where it stopped. They lie
    side by side in ``OUT/TASK__SEGMENTER__FINGERPRINT``. ``gt-box`` plays where the segmenter takes boxes.

    Args:
        task, segmenter, budget, initial, limit, seed, data_root, concurrency, embedding_cache, settings, argv,
            progress: see `hlmat_bench.runs.run.run`.
        out: the folder of all ceilings.

    Returns:
        The runs by the players' names.

    Raises:
        UsageError: for what the caller can mend; finished episodes are kept.
    """
    protocol, data, points = split_settings(settings or {})
    definition = load_task(task)
    source = definition.source(data_root or os.environ.get("HLMAT_DATA"), seed=seed, overrides=data)
    samples = select_samples(source.samples(), None, limit)
    data_check.look(source, samples)
    tool, spec = make_segmenter(segmenter, embedding_cache), task_spec(definition, source)
    planned = []
    for player in players(tool):
        choice = Catalog.load().choose(player)
        rules = rules_of(choice, definition, protocol | {"initial": initial}, budget)
        manner = kinds.manner(definition, rules, source, source.samples(), samples)
        contest = Contest(choice, tool, rules, points, seed, manner)
        document = describe(contest, spec, argv=argv, limit=limit, shard=None, samples=len(samples))
        planned.append(Planned(folder(document, Path(out)) / player, contest, document))
    made = play_planned(planned, source, samples, concurrency=concurrency, progress=progress)
    return {run.folder.name: run for run in made}


def players(segmenter: Segmenter) -> list[str]:
    """The reference players that can play with a segmenter."""
    return [name for name in POLICIES if segmenter.accepts_box or name != "gt-box"]


def find(document: Mapping[str, Any], root: str | os.PathLike[str] = FOLDER) -> dict[str, Run]:
    """The finished ceilings and floors that a run may be read beside, by the players' names.

    They have the run's data, segmenter, budget, initial state and seed. They have all of its samples, and may have
    more: where the run has a shard or a smaller limit, only those of the run's samples count.

    Args:
        document: the run's manifest.
        root: the folder of all ceilings.

    Raises:
        UsageError: when a manifest there is damaged.
    """
    place = folder(document, Path(root))
    there = [Run(place / player) for player in POLICIES if (place / player / manifest.MANIFEST).exists()]
    return {run.folder.name: run for run in there if run.manifest["finished"] and _covers(run.manifest, document)}


def folder(document: Mapping[str, Any], root: Path) -> Path:
    """Where the ceilings for a run of this manifest are."""
    parts = document["task"]["name"], document["segmenter"]["name"], digest(_alike(document))[:12]
    return root / "__".join(re.sub(r"[^\w.=-]+", "-", part).strip("-.") for part in parts)


def _alike(document: Mapping[str, Any]) -> dict[str, Any]:
    """All that the episodes of reference players depend on, but which samples are played."""
    return {
        "task": [document["task"]["digest"], document["task"].get("masks")],
        "segmenter": document["segmenter"],
        "protocol": {key: document["protocol"][key] for key in ("id", "budget", "initial")},
        "seed": document["seed"],
    }


def _covers(ceiling: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether it is of the same kind and has all samples of the run."""
    if _alike(ceiling) != _alike(document):
        return False
    limit, wanted = ceiling["limit"], document["limit"]
    return limit is None or (document["shard"] is None and wanted is not None and wanted <= limit)
