"""Where a task's files lie, and what to say when they don't."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hlmat_bench.sources.problems import BadAnnotation, MissingFile


@dataclass(frozen=True, slots=True)
class Place:
    """The folder of a task's data.

    Attributes:
        task: the task's name, the first part of every sample's id.
        root: the folder that relative paths of the task start from.
        how_to_get: how a user gets the data, as the end of a sentence.
        seed: of the run; only synthetic data depends on it.
    """

    task: str
    root: Path
    how_to_get: str = ""
    seed: int = 0

    def existing(self, name: str) -> Path:
        """The file or folder of that name under the root.

        Raises:
            MissingFile: when it is not there.
        """
        path = self.root / name
        if not path.exists():
            raise self.missing(path)
        return path

    def missing(self, path: Path, sample: str = "") -> MissingFile:
        """The error for a file that is not there: which one, who needs it, and how to get it."""
        shown, who = self.shown(path), f"The sample {sample}" if sample else f"The task {self.task}"
        advice = self.how_to_get or "correct the path, or give the folder that holds it with --data-root"
        where = f"{shown}, which is not under {self.root}" if shown != str(path) else f"{path}, which does not exist"
        return MissingFile(f"{who} needs {where}: {advice}.")

    def shown(self, path: Path) -> str:
        """A path as a manifest may show it: relative to the root, or the last part alone."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.name


def inside(folder: Path, name: str, where: str) -> Path:
    """A file that an annotation names, under a folder.

    Raises:
        BadAnnotation: when the name leads out of the folder.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    if not name or parts.is_absolute() or ".." in parts.parts:
        raise BadAnnotation(f"{where} names the file {name!r}, which is not inside the image folder; correct it.")
    return folder / parts
