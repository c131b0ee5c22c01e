"""The data that lie on this machine: of each task, which layout was found where, and whether it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import exists
from hlmat_bench.core.samples import Source
from hlmat_bench.data.layouts.data_root import place_of
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.places import Place
from hlmat_bench.data.tasks import Task

State: TypeAlias = Literal["complete", "incomplete", "unreadable", "absent"]


@dataclass(frozen=True, slots=True)
class Holding:
    """What lies here of a task's data.

    Attributes:
        state: ``complete``: the published number of samples is there with all their files. ``incomplete``: samples or
            files are missing. ``unreadable``: the annotations cannot be read. ``absent``: a needed part is missing.
        layout: the layout that was found; of absent data, the first one that is known.
        words: what is there or missing.
    """

    state: State
    layout: str
    words: str


def holding(task: Task, data_root: str | os.PathLike[str] | None) -> Holding:
    """Look for a task's data, read its annotations, and see whether the files of its samples exist; read no pixels.

    Args:
        task: the task.
        data_root: see `Task.source`.
    """
    if (lacking := task.missing(data_root)) is not None:
        return Holding("absent", task.sources[0].kind, lacking)
    layout = task.place(data_root).settings.kind
    try:
        return _counted(task, layout, task.source(data_root))
    except UsageError as error:
        return Holding("unreadable", layout, str(error))


def _counted(task: Task, layout: str, source: Source) -> Holding:
    there, published = len(source.samples()), task.expected.expressions
    differs = task.reads_files and published not in (None, there)
    absent = source.absent() if isinstance(source, FileSource) else 0
    words = f"{there:,} of {published:,} samples" if differs else f"{there:,} samples"
    if absent:
        words += f", {absent:,} {'file' if absent == 1 else 'files'} missing"
    return Holding("incomplete" if differs or absent else "complete", layout, words)


def parts(place: Place) -> Iterator[tuple[str, Path, bool]]:
    """Yield the settings of a place that are paths, their path, and whether it exists."""
    for name, value in place.settings.model_dump(exclude_none=True).items():
        if place.settings.is_path(name):
            path = place_of(place.root, value)
            yield name, path, exists(path)
