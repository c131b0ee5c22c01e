"""Ceilings and floors: all reference policies on a task with a segmenter, kept where a report on a run finds them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.interfaces import Segmenter
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.protocol.settings import digest
from hlmat_bench.runs.executors import LocalExecutor, Progress, play_runs
from hlmat_bench.runs.opening import make_segmenter, path_text
from hlmat_bench.runs.plan import RunSpec
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.stopping import CALL_SECONDS
from hlmat_bench.runs.writer import RunWriter

#: Where the runs of all reference policies are kept by default.
FOLDER = Path("runs") / "ceilings"
#: The settings on which replies of reference policies depend; ``no_target`` is in a manifest only where it is true.
_PROTOCOL = ("id", "budget", "initial", "no_target")


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
    call_timeout: float = CALL_SECONDS,
    lock: bool = True,
    settings: Mapping[str, Any] | None = None,
    argv: Sequence[str] = (),
    progress: Progress | None = None,
) -> dict[str, Run]:
    """Play a task with every reference policy in one pass over the images, so that each image is encoded once.

    The run of each policy is the same as that of `hlmat_bench.runs.run.run`, and continues where it stopped. All are in
    ``OUT/TASK__SEGMENTER__FINGERPRINT``. ``gt-box`` plays where the segmenter takes boxes.

    Args:
        task, segmenter, budget, initial, limit, seed, data_root, concurrency, embedding_cache, call_timeout, lock,
            settings, argv, progress: see `hlmat_bench.runs.run.run`.
        out: the folder of all ceilings.

    Returns:
        The runs by the names of the policies.

    Raises:
        UsageError: for what the caller can correct; finished episodes are kept.
    """
    spec = RunSpec(
        model="oracle",
        task=task,
        segmenter=segmenter,
        budget=budget,
        initial=initial,
        limit=limit,
        seed=seed,
        data_root=path_text(data_root),
        embedding_cache=path_text(embedding_cache),
        settings=dict(settings or {}),
    )
    data, tool = spec.open_data(), make_segmenter(spec.segmenter, spec.embedding_cache)
    setups, writers = [], []
    for player in players(tool):
        setup = replace(spec, model=player).open(data=data, segmenter=tool)
        document = setup.manifest(argv)
        setups.append(setup)
        writers.append(RunWriter.of(folder(document, Path(out)) / player, setup, document, lock=lock))
    executor = LocalExecutor(setups, concurrency, call_timeout=call_timeout)
    return {run.folder.name: run for run in play_runs(writers, executor, progress)}


def players(segmenter: Segmenter) -> list[str]:
    """Return the names of the reference policies that can play with a segmenter."""
    return [name for name in REFERENCES if segmenter.accepts_box or name != "gt-box"]


def find(document: Mapping[str, Any], root: str | os.PathLike[str] = FOLDER) -> dict[str, Run]:
    """Return the finished ceilings and floors with which a run may be compared, by the names of the policies.

    They have the run's data, segmenter, budget, initial state and seed. They have all of its samples, and may have
    more: where the run has a shard or a smaller limit, only those of the run's samples count.

    Args:
        document: the run's manifest.
        root: the folder of all ceilings.

    Raises:
        UsageError: when a manifest there is damaged.
    """
    place = folder(document, Path(root))
    there = [Run(place / player) for player in REFERENCES if (place / player / manifest.MANIFEST).exists()]
    return {run.folder.name: run for run in there if run.manifest["finished"] and _covers(run.manifest, document)}


def near(document: Mapping[str, Any], place: Path) -> Iterator[Run]:
    """Yield the finished runs of reference policies that lie in a folder and fit a run, apart from their samples.

    A run is recognised by its manifest, whatever its folder is called. Folders whose manifest cannot be read are
    passed over: they may belong to anything else.

    Args:
        document: the run's manifest.
        place: the folder; runs may lie in it, or one folder deeper.
    """
    for path in sorted([*place.glob(f"*/{manifest.MANIFEST}"), *place.glob(f"*/*/{manifest.MANIFEST}")]):
        with contextlib.suppress(UsageError):
            run = Run(path.parent)
            alike = run.manifest["finished"] and _alike(run.manifest) == _alike(document)
            if alike and _plays_as_reference(run.manifest):
                yield run


def _plays_as_reference(document: Mapping[str, Any]) -> bool:
    model, strategy = document["model"], document["protocol"].get("strategy", "greedy")
    return model.get("kind") == "reference" and model["name"] in REFERENCES and strategy == "greedy"


def folder(document: Mapping[str, Any], root: Path) -> Path:
    """Return the folder of the ceilings for a run with this manifest."""
    parts = document["task"]["name"], document["segmenter"]["name"], digest(_alike(document))[:12]
    return root / "__".join(re.sub(r"[^\w.=-]+", "-", part).strip("-.") for part in parts)


def _alike(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything that episodes of reference policies depend on, except which samples are played."""
    return {
        "task": [document["task"]["digest"], document["task"].get("masks")],
        "segmenter": document["segmenter"],
        "protocol": {key: value for key, value in document["protocol"].items() if key in _PROTOCOL},
        "seed": document["seed"],
    }


def _covers(ceiling: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Tell whether a ceiling is of the same kind and has all samples of the run."""
    if _alike(ceiling) != _alike(document):
        return False
    limit, wanted = ceiling["limit"], document["limit"]
    return limit is None or (document["shard"] is None and wanted is not None and wanted <= limit)
