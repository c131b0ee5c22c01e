"""Open the data of a run again, from what its manifest says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Source
from hlmat_bench.data.hub_tasks import hub_task_of
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol.plugins import scalar


def reopened(
    document: Mapping[str, Any],
    *,
    task: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
    data: Mapping[str, Any] | None = None,
) -> Source:
    """Open the data that a run was played on, and check its digest.

    Args:
        document: the manifest.
        task: a name or a task's YAML file; None: the file on the run's command line, the data set of the hub in the
            manifest, or the manifest's name.
        data_root: the folder under which the data sets lie; None: the environment's HLMAT_DATA.
        data: settings of the data, e.g. ``{"missing": "skip"}``, over those on the run's command line.

    Raises:
        UsageError: when it is not there or is not the run's.
    """
    name, words = document["task"]["name"], document["argv"]
    # A run folder may be a stranger's: a path in it leads to data, never to code.
    named = task or _own_file(words) or hub_task_of(name, document["task"].get("source")) or name
    definition = load_task(named, code=task is not None)
    overrides = {**_overrides(words), **(data or {})}
    source = definition.source(data_root, seed=document["seed"], overrides=overrides)
    if source.digest() != document["task"]["digest"]:
        raise UsageError(
            f"This is not the data of the run: names, expressions or annotations of {name} are others; give the run's "
            "--data-root and --task."
        )
    return source


def _own_file(words: Sequence[str]) -> str | None:
    """Return the task's YAML file on a command line; None where it names a built-in task.

    Raises:
        UsageError: when there is no such file.
    """
    named = _given(words, "--task")
    own = [word for word in named if word.endswith((".yaml", ".yml"))]
    if len(own) != 1 or len(named) != 1:
        return None
    if not Path(own[0]).exists():
        raise UsageError(f"The run's task file {own[0]} is not there; give it with --task.")
    return own[0]


def _overrides(words: Sequence[str]) -> dict[str, Any]:
    """Return the settings of the data on a command line."""
    given = [word for word in _given(words, "--set") if word.startswith("data.")]
    pairs = [word.removeprefix("data.").partition("=") for word in given]
    return {key: scalar(value) for key, _, value in pairs}


def _given(words: Sequence[str], option: str) -> list[str]:
    """Return the values of an option, ``--task NAME`` or ``--task=NAME``."""
    apart = [word for before, word in pairwise(words) if before == option]
    return apart + [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
