"""Writing episodes.jsonl: whole lines, in the samples' order, durable.

Episodes end in any order. One that ends before its turn is kept in ``episodes.early.jsonl`` until those before it are
written, so that nothing that was computed is lost by a kill and the file is the same however episodes overlapped.
Episodes that are to be played again move to ``history.jsonl``, lines that were damaged to ``episodes.damaged``.
"""

from __future__ import annotations

import errno
import logging
import os
import queue
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import HlmatError, PluginFailed, UsageError
from hlmat_bench.core.plain_files import replaced
from hlmat_bench.protocol.log_lines import Damaged, read_values, whole_lines
from hlmat_bench.protocol.records import EPISODES, Episode, to_record
from hlmat_bench.runs.measures import MEASURES, Heads, MeasuresLog
from hlmat_bench.runs.measuring import Measuring

EARLY = "episodes.early.jsonl"
HISTORY = "history.jsonl"
DAMAGED = "episodes.damaged"
_SYNC_SECONDS = 0.3

log = logging.getLogger("hlmat_bench")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a run folder says of a finished sample.

    Attributes:
        stop: why its episode ended.
        data: the digests of the data it was played on, as in `Episode`.
        early: it stands in episodes.early.jsonl alone.
    """

    stop: str
    data: Mapping[str, str] = field(default_factory=dict)
    early: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished episode, ready to be written.

    Attributes:
        sample_id: the sample.
        recorded: what the run folder says of it.
        line: its line of episodes.jsonl.
        measure: its line of measures.jsonl; None where it was not measured.
        failure: of a plug-in, which ended the episode with ``error``; None where none failed.
    """

    sample_id: str
    recorded: Recorded
    line: bytes
    measure: bytes | None = None
    failure: PluginFailed | None = None

    @classmethod
    def of(cls, episode: Episode, how: Measuring | None = None, failure: HlmatError | None = None) -> Finished:
        """Return an episode as it is written. Call it in a worker thread: measuring takes some milliseconds.

        Args:
            episode: the episode.
            how: how it is measured; None: it is measured when its run is scored.
            failure: what ended it with ``error``, if anything did.

        Raises:
            UsageError: when it holds what JSON does not know.
        """
        try:
            line = to_record(episode)
        except (ValueError, TypeError) as error:
            raise UsageError(f"The episode of the sample {episode.sample_id} cannot be written: {error}.") from error
        measure = None if how is None else how.line(line, episode)
        of_plugin = failure if isinstance(failure, PluginFailed) else None
        return cls(episode.sample_id, Recorded(episode.stop, episode.data), line, measure, of_plugin)


def recorded(folder: Path) -> dict[str, Recorded]:
    """Return what stands in a run folder, by sample id; the caller holds its `RunLock`.

    Unfinished last lines are cut off, and lines that are damaged are set aside with a warning, so that their samples
    are played again.

    Raises:
        UsageError: when a sample stands twice in one file.
    """
    found: dict[str, Recorded] = {}
    damaged = False
    known = Heads(folder).find
    for path in (folder / EPISODES, folder / EARLY):
        for key, _, value in _whole_lines(path, damaged=True, known=known):
            if isinstance(value, Damaged):
                damaged = True
                said = "%s of %s is damaged; its sample is played again, and the line is kept in %s."
                log.warning(said, value, path, DAMAGED)
            elif key not in found:
                early = path.name == EARLY
                found[key] = Recorded(str(value.get("stop")), value.get("data") or {}, early)
    if damaged:
        _move(folder, lambda _, value: isinstance(value, Damaged), folder / DAMAGED)
        return recorded(folder)
    return found


def set_aside(folder: Path, again: Container[str]) -> None:
    """Move episodes to history.jsonl, so that their samples are played again.

    Args:
        folder: the run folder; the caller holds its `RunLock`.
        again: the samples whose episodes move.
    """
    _move(folder, lambda key, _: key in again, folder / HISTORY)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Where a line stands in episodes.early.jsonl, with a checksum: another program may change the file."""

    start: int
    length: int
    checksum: int

    @classmethod
    def of(cls, line: bytes, start: int) -> _Waiting:
        return cls(start, len(line), zlib.crc32(line))

    def read(self, file: int) -> bytes:
        line = os.pread(file, self.length, self.start)
        if zlib.crc32(line) != self.checksum:
            raise OSError(errno.EIO, f"another program changed {EARLY}")
        return line


class EpisodeLog:
    """Appends episodes from the event loop without ever blocking it; a thread of its own writes.

    Args:
        folder: the run folder; the caller holds its `RunLock`.
        order: the ids of all samples of the run, in their order.
        found: what `recorded` returned, where nothing has moved since; None: episodes.jsonl is read.

    Raises:
        UsageError: when the files of an earlier run are damaged or cannot be written.
    """

    def __init__(self, folder: Path, order: Iterable[str], found: Mapping[str, Recorded] | None = None) -> None:
        self._folder = folder
        if found is None:
            done = {key for key, _, _ in _whole_lines(folder / EPISODES)}
        else:
            done = {key for key, what in found.items() if not what.early}
        self._ready, self._early_size = dict[str, _Waiting](), 0
        for key, line, _ in _whole_lines(folder / EARLY):
            if key not in done:
                self._ready[key] = _Waiting.of(line, self._early_size)
            self._early_size += len(line)
        self._expected = deque(key for key in order if key not in done)
        self._queue: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        with writing(folder):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._main, self._early = (os.open(folder / name, flags, 0o644) for name in (EPISODES, EARLY))
            self._measures = MeasuresLog(folder / MEASURES)
            self._unsynced: set[int] = set()
            self._drain()
        self._thread = threading.Thread(target=self._run, name="episode-log", daemon=True)
        self._thread.start()

    def append(self, episode: Finished) -> None:
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
        self._measures.close()
        if not self._ready and self._error is None:
            (self._folder / EARLY).unlink(missing_ok=True)
        self._raise_error()

    def _raise_error(self) -> None:
        if self._error is not None:
            with writing(self._folder):
                raise self._error

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
            except Exception as error:  # noqa: BLE001  (raised again in the thread that appends; this one must continue)
                self._error = error
            if self._unsynced and (not open_for_more or time.monotonic() - synced > _SYNC_SECONDS):
                self._sync()
                synced = time.monotonic()

    def _take(self, episode: Finished) -> None:
        if self._expected and self._expected[0] == episode.sample_id:
            self._expected.popleft()
            self._write(self._main, episode.line)
        else:
            self._write(self._early, episode.line)
            self._ready[episode.sample_id] = _Waiting.of(episode.line, self._early_size)
            self._early_size += len(episode.line)
        self._drain()
        if episode.measure is not None:
            self._measures.append(episode.measure)

    def _drain(self) -> None:
        """Write every episode whose turn it is. Those that wait are read from the disk: they may be the whole run."""
        while self._expected and self._expected[0] in self._ready:
            waiting = self._ready.pop(self._expected.popleft())
            self._write(self._main, waiting.read(self._early))
        if self._early_size and not self._ready:
            os.fsync(self._main)
            os.ftruncate(self._early, 0)
            self._early_size = 0

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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in a sentence why the system refused to write to a file or a folder of a run, e.g. because a disk is full.

    Raises:
        UsageError: for an ``OSError`` inside.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"Writing to {path} failed ({error.strerror}); what was written is kept: make room, or correct the rights "
            "of the folder, and run the same command again."
        ) from error


def _whole_lines(
    path: Path, *, damaged: bool = False, known: Callable[[str], Any] | None = None
) -> Iterator[tuple[str, bytes, Any]]:
    """Read the complete lines of a log with their sample ids and values; cut an unfinished last line off the file.

    Args:
        path: the log.
        damaged: also give damaged lines, without a sample id and with `Damaged` as their value.
        known: see `read_values`.

    Raises:
        UsageError: when a sample stands twice, or a line is damaged and they are not wanted.
    """
    if not path.exists():
        return
    whole = 0
    for line, value in read_values(path, damaged=damaged, known=known):
        yield "" if isinstance(value, Damaged) else str(value["sample_id"]), line, value
        whole += len(line)
    _cut_off(path, whole)


def _move(folder: Path, moves: Callable[[str, Any], bool], to: Path) -> None:
    """Move lines of both logs into another file, one line in memory at a time.

    A kill at any moment loses no episode: the other file is written first, episodes.jsonl is cut last. What stood
    behind the first line that moves waits in episodes.early.jsonl, as if it had ended before its turn.
    """
    with writing(folder):
        _move_lines(folder, moves, to)


def _move_lines(folder: Path, moves: Callable[[str, Any], bool], to: Path) -> None:
    kept_from, cut, samples, there = 0, False, set[str](), _whole_digests(to)
    with to.open("ab") as moved, replaced(folder / EARLY) as waiting:
        for path in (folder / EPISODES, folder / EARLY):
            for key, line, value in _whole_lines(path, damaged=True):
                if moves(key, value):
                    cut = cut or path.name == EPISODES
                    if (digest := sha256(line).digest()) not in there:  # a call that was killed may have moved it
                        there.add(digest)
                        moved.write(line)
                elif key not in samples or isinstance(value, Damaged):
                    samples.add(key)
                    if cut or path.name == EARLY:
                        waiting.write(line)
                    else:
                        kept_from += len(line)
        moved.flush()
        os.fsync(moved.fileno())
    if cut:
        os.truncate(folder / EPISODES, kept_from)


def _whole_digests(path: Path) -> set[bytes]:
    """Return the SHA-256 of the complete lines of a file, and cut an unfinished last line off it."""
    whole, digests = 0, set[bytes]()
    for line in whole_lines(path):
        digests.add(sha256(line).digest())
        whole += len(line)
    _cut_off(path, whole)
    return digests


def _cut_off(path: Path, whole: int) -> None:
    """Cut off what a file holds after its whole lines, which a kill left."""
    with writing(path):
        if path.exists() and whole < path.stat().st_size:
            os.truncate(path, whole)
