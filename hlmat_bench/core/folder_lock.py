"""A lock that keeps a second process out of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from hlmat_bench.core.errors import UsageError


class _FolderLock(FileLock):
    """A class of its own: lmms-eval makes all `FileLock` objects of a path one object, which can be acquired twice."""


class FolderLock:
    """Keeps a second process out of a folder; the system releases the lock when the process dies.

    Args:
        folder: the folder, for messages.
        file: the file that is locked.
        option: the option of the command line that names the folder, for messages.
        used: False writes without a lock, for file systems that have none.
        waits: is called when another process holds the lock, which is then waited for; None: that is an error.

    Raises:
        UsageError: on entry, when another process holds the lock and ``waits`` is None, or the file system has no locks
            that work.
    """

    def __init__(
        self,
        folder: Path,
        file: Path,
        *,
        option: str = "--out",
        used: bool = True,
        waits: Callable[[], object] | None = None,
    ) -> None:
        self._folder, self._file, self._option, self._used, self._waits = folder, file, option, used, waits
        self._lock = _FolderLock(file)

    def __enter__(self) -> FolderLock:
        if not self._used:
            return self
        try:
            self._acquire()
        except (OSError, NotImplementedError) as error:
            raise self._without_locks() from error
        if not self._holds():
            self._lock.release()
            raise self._without_locks()
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _acquire(self) -> None:
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            if self._waits is None:
                raise UsageError(
                    f"Another process is writing to {self._folder}; wait for it or choose another {self._option}."
                ) from error
            self._waits()
            self._lock.acquire(poll_interval=0.2)

    def _holds(self) -> bool:
        """Check that a second attempt on the same file fails: on some network file systems every lock is granted."""
        second = _FolderLock(self._file)
        try:
            second.acquire(blocking=False)
        except Timeout:
            return True
        second.release()
        return False

    def _without_locks(self) -> UsageError:
        return UsageError(
            f"The file system of {self._folder} has no locks that work, so two processes could write there at once; "
            f"choose {self._option} on another disk, or make sure that only one process writes and add --no-lock."
        )
