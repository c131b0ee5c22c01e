"""Writing episodes.jsonl: whole lines, in the samples' order, durable, never rewritten.

Episodes end in any order. One that ends before its turn is kept in ``episodes.early.jsonl`` until those before it are
written, so that nothing that was computed is lost by a kill and the file is the same however episodes overlapped.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from hlmat_bench.errors import UsageError
from hlmat_bench.records import EPISODES, Episode

EARLY = "episodes.early.jsonl"
_SYNC_SECONDS = 0.3


class RunLock:
    """Keeps a second process out of a run folder; the system gives it back when the process dies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / ".lock")

    def __enter__(self) -> RunLock:
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise UsageError(
                f"Another process is writing to {self._folder}; wait for it or choose another --out."
            ) from error
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()


def written_ids(folder: Path) -> set[str]:
    """The samples that are done: their episodes stand in the run folder. Half-written lines are cut off."""
    return {key for name in (EPISODES, EARLY) for key, _ in _whole_lines(folder / name)}


class EpisodeLog:
    """Appends episodes from the event loop without ever blocking it; a thread of its own writes.

    Args:
        folder: the run folder; the caller holds its `RunLock`.
        order: the ids of all samples of the run, in their order.

    Raises:
        UsageError: when the files of an earlier run are damaged or cannot be written.
    """

    def __init__(self, folder: Path, order: Iterable[str]) -> None:
        self._folder = folder
        done = {key for key, _ in _whole_lines(folder / EPISODES)}
        early = {key: line for key, line in _whole_lines(folder / EARLY) if key not in done}
        self._ready: dict[str, bytes] = early
        self._expected = deque(key for key in order if key not in done)
        self._queue: queue.SimpleQueue[Episode | None] = queue.SimpleQueue()
        self._error: OSError | None = None
        self._main = _open(folder / EPISODES)
        self._early = _open(folder / EARLY)
        self._unsynced: set[int] = set()
        self._drain()
        self._thread = threading.Thread(target=self._run, name="episode-log", daemon=True)
        self._thread.start()

    def append(self, episode: Episode) -> None:
        """Hand an episode over; it is on disk within a second.

        Raises:
            UsageError: when an earlier episode could not be written (a full disk).
        """
        self._raise_error()
        self._queue.put(episode)

    def close(self) -> None:
        """Write what is left and close the files.

        Raises:
            UsageError: when an episode could not be written.
        """
        self._queue.put(None)
        self._thread.join()
        os.close(self._main)
        os.close(self._early)
        if not self._ready and self._error is None:
            (self._folder / EARLY).unlink(missing_ok=True)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise UsageError(
                f"Writing to {self._folder} failed ({self._error.strerror}); what was written is kept: make room and "
                "run the same command again."
            ) from self._error

    def _run(self) -> None:
        synced = time.monotonic()
        open_for_more = True
        while open_for_more:
            try:
                item = self._queue.get(timeout=_SYNC_SECONDS)
                open_for_more = item is not None
                if item is not None and self._error is None:
                    self._take(item)
            except queue.Empty:
                pass
            except OSError as error:
                self._error = error
            if self._unsynced and (not open_for_more or time.monotonic() - synced > _SYNC_SECONDS):
                self._sync()
                synced = time.monotonic()

    def _take(self, episode: Episode) -> None:
        line = json.dumps(episode.to_json(), ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"
        self._ready[episode.sample_id] = line.encode()
        if self._expected and self._expected[0] != episode.sample_id:
            self._write(self._early, self._ready[episode.sample_id])
        self._drain()

    def _drain(self) -> None:
        """Write every episode whose turn it is."""
        lines = []
        while self._expected and self._expected[0] in self._ready:
            lines.append(self._ready.pop(self._expected.popleft()))
        if lines:
            self._write(self._main, b"".join(lines))
        if lines and not self._ready and os.fstat(self._early).st_size:
            os.fsync(self._main)
            os.ftruncate(self._early, 0)

    def _write(self, file: int, data: bytes) -> None:
        self._unsynced.add(file)
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]

    def _sync(self) -> None:
        try:
            for file in self._unsynced:
                os.fsync(file)
        except OSError as error:
            self._error = self._error or error
        self._unsynced.clear()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error


def _whole_lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """The complete lines of a log with their sample ids; a torn last line is cut off the file."""
    if not path.exists():
        return
    whole = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                yield json.loads(line)["sample_id"], line
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"Line {number} of {path} is damaged; remove that line and run again.") from error
            whole += len(line)
    if whole < path.stat().st_size:
        os.truncate(path, whole)
