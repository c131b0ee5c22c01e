"""The lock of a run folder: only one process writes to it."""

from __future__ import annotations

from pathlib import Path

from hlmat_bench.core.folder_lock import FolderLock

LOCK = ".lock"


class RunLock(FolderLock):
    """Keeps a second process out of a run folder, see `FolderLock`.

    Args:
        folder: the run folder.
        used: False writes without a lock, for file systems that have none.
    """

    def __init__(self, folder: Path, *, used: bool = True) -> None:
        super().__init__(folder, folder / LOCK, used=used)
