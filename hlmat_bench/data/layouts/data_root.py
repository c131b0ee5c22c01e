"""Finds a task's files under the data root, and explains what to do when they are missing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from hlmat_bench.core.plain_files import exists, is_file
from hlmat_bench.core.text import cut
from hlmat_bench.data.layouts import hub_cache
from hlmat_bench.data.layouts.json_csv import same
from hlmat_bench.data.layouts.problems import BadAnnotation, MissingFile, valid_name

_MOST_FOLDERS = 100


@dataclass(frozen=True, slots=True)
class DataRoot:
    """The folder of a task's data.

    Attributes:
        task: the task's name, the first part of every sample's id.
        root: the folder to which paths of the task are relative.
        how_to_get: how a user gets the data, as the end of a sentence.
        seed: the run's seed; only synthetic data depends on it.
    """

    task: str
    root: Path
    how_to_get: str = ""
    seed: int = 0

    def file(self, name: str) -> Path:
        """Return the path of a file under the root.

        Raises:
            MissingFile: when it does not exist.
            BadAnnotation: when it is a folder, a pipe or a device.
        """
        path = self._existing(name)
        if not is_file(path):
            raise BadAnnotation(
                f"{self.shown(path)} of the task {self.task} is not a plain file; name the file itself."
            )
        return path

    def folder(self, name: str) -> Path:
        """Return the path of a folder under the root.

        Raises:
            MissingFile: when it does not exist.
            BadAnnotation: when it is no folder.
        """
        path = self._existing(name)
        if not path.is_dir():
            raise BadAnnotation(f"{self.shown(path)} of the task {self.task} is a file; name the folder that holds it.")
        return path

    def _existing(self, name: str) -> Path:
        path = place_of(self.root, name)
        if not name.isascii() and not exists(path):
            path = _found(self.root, path)
        if not exists(path):
            raise self.missing(path)
        return path

    def missing(self, path: Path, sample: str = "") -> MissingFile:
        """Return the error for a missing file, which says who needs it and how to get it."""
        name, who = valid_name(self.shown(path)), f"The sample {sample}" if sample else f"The task {self.task}"
        shown = cut(name if name.isprintable() else repr(name))
        advice = self.how_to_get or "correct the path, or give the folder that holds it with --data-root"
        near = _alike(path)
        if near:
            advice = f"there is {near}, so correct the name"
        if self.shown(path) != str(path):
            return MissingFile(f"{who} needs {shown}, which is not under {cut(str(self.root))}: {advice}.")
        return MissingFile(f"{who} needs {shown}, which does not exist: {advice}.")

    def named(self, name: str) -> str:
        """Return the name of a place in the form for a manifest; see `shown`."""
        return hub_cache.named(name) if name.startswith(hub_cache.PREFIX) else self.shown(self.root / name)

    def shown(self, path: Path) -> str:
        """Return a path in the form for a manifest: relative to the root, or else only its last part."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return path.name


def place_of(root: Path, name: str) -> Path:
    """Return the path of a place under the root, or of ``hub:OWNER/REPO/PATH`` in the cache of the hub."""
    if name.startswith(hub_cache.PREFIX):
        return hub_cache.cached(name) or root / name
    return root / name


def inside(folder: Path, name: str, where: str) -> Path:
    """Return the path of the file that an annotation names, under a folder.

    Where no file has exactly this name, blanks around it are removed, and names are compared in Unicode's NFC.

    Raises:
        BadAnnotation: when the name leads out of the folder.
    """
    path = _under(folder, name, where)
    if name != name.strip() and not is_file(path):
        path = _under(folder, name.strip(), where)
    if not name.isascii() and not is_file(path):
        path = _found(folder, path)
    return path


def _under(folder: Path, name: str, where: str) -> Path:
    if (path := _joined(folder, name)) is None:
        raise BadAnnotation(f"{where} names the file {cut(name)!r}, which is not inside the image folder; correct it.")
    return path


@lru_cache(maxsize=2**17)  # several samples have one image; of 60,000 samples this saves a second
def _joined(folder: Path, name: str) -> Path | None:
    """Return the path of a name under a folder; None where it leads out of it."""
    parts = PurePosixPath(name.replace("\\", "/"))
    return None if not name or parts.is_absolute() or ".." in parts.parts else folder / parts


def _found(folder: Path, path: Path) -> Path:
    """Return the file whose name equals that of a path in Unicode's NFC, or else the path."""
    place = folder
    for part in path.relative_to(folder).parts:
        try:
            place = place / _names(place, place.stat().st_mtime_ns).get(same(part), part)
        except OSError:
            return path
    return place


@lru_cache(maxsize=64)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """Return the names in a folder by their NFC form; ``changed`` is the folder's time, so that a new file is seen."""
    return {same(path.name): path.name for path in folder.iterdir()}


def _alike(path: Path) -> str:
    """Return a file that differs from a path only in capital letters or suffix, or is one folder deeper.

    The name is relative to the path's folder; empty where there is no such file.
    """
    try:
        names = [*_names(path.parent, path.parent.stat().st_mtime_ns).values()]
    except OSError:
        return ""
    alike = [name for name in names if name.lower() == path.name.lower()]
    alike += [name for name in names if Path(name).stem.lower() == path.stem.lower()]
    alike += [f"{name}/{path.name}" for name in names[:_MOST_FOLDERS] if is_file(path.parent / name / path.name)]
    return valid_name(next(iter(alike), ""))
