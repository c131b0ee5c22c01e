"""The lock of a run folder: only one process writes to it."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from hlmat_bench.core.errors import UsageError

LOCK = ".lock"


class _FolderLock(FileLock):
    """A class of its own: lmms-eval makes all `FileLock` objects of a path one object, which can be acquired twice."""


class RunLock:
    """Keeps a second process out of a run folder; the system releases the lock when the process dies.

    Args:
        folder: the run folder.
        used: False writes without a lock, for file systems that have none.

    Raises:
        UsageError: on entry, when another process holds the lock, or the file system has no locks that work.
    """

    def __init__(self, folder: Path, *, used: bool = True) -> None:
        self._folder, self._used = folder, used
        self._lock = _FolderLock(folder / LOCK)

    def __enter__(self) -> RunLock:
        if not self._used:
            return self
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise UsageError(
                f"Another process is writing to {self._folder}; wait for it or choose another --out."
            ) from error
        except (OSError, NotImplementedError) as error:
            raise self._without_locks() from error
        if not self._holds():
            self._lock.release()
            raise self._without_locks()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _holds(self) -> bool:
        """Check that a second attempt on the same file fails: on some network file systems every lock is granted."""
        second = _FolderLock(self._folder / LOCK)
        try:
            second.acquire(blocking=False)
        except Timeout:
            return True
        second.release()
        return False

    def _without_locks(self) -> UsageError:
        return UsageError(
            f"The file system of {self._folder} has no locks that work, so two processes could write there at once; "
            "choose --out on another disk, or make sure that only one process writes and add --no-lock."
        )
