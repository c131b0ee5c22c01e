"""The heartbeat of a run: a small file in the run folder that says, about every 2 seconds, what its process does.

Who can read the folder can follow the run, also from another machine that shares the disk
(`hlmat_bench.runs.status`).
The file is replaced as a whole. A heartbeat that cannot be written disturbs no run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeAlias

from pydantic import TypeAdapter

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import replaced
from hlmat_bench.core.text import redact
from hlmat_bench.models.api.limits import UsageMeter
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.log_lines import to_line
from hlmat_bench.runs.tally import RunTally

HEARTBEAT = ".status.json"
HEARTBEAT_SCHEMA: Literal["hlmat-heartbeat/1"] = "hlmat-heartbeat/1"
#: Seconds between two heartbeats.
SECONDS = 2.0
#: How many heartbeats the speed is measured over: the last 5 minutes.
_SPEED_BEATS = 150

State: TypeAlias = Literal["playing", "scoring", "finished", "stopped"]
#: Is called with the numbers of `RunTally.numbers` and of the heartbeat, from a thread of its own.
OnBeat: TypeAlias = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Process:
    """What finds a process again on the same machine, without the machine's name.

    Attributes:
        machine: a digest of the id that Linux gives to each start of a machine, and of the process's namespace: a
            container has its own.
        pid: the number of the process.
        born: the clock tick at which it was started.
    """

    machine: str
    pid: int
    born: int


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat, as the file holds it.

    Attributes:
        schema: `HEARTBEAT_SCHEMA`.
        beat: its number in this call.
        updated: when it was written, by the calendar clock of that machine.
        clock: the same by `time.monotonic`, a clock that all processes of a machine share and that cannot be set.
        process: who wrote it; None where the system does not tell.
        state: what the run does.
        why: why it stopped, a sentence.
        started: when this call began.
        begun, done, total: how many samples were done when this call began, are done now, and there are.
        per_second: episodes per second in the last 5 minutes; None before the first.
        seconds_since_episode: how long ago the last episode ended, or the call began.
        workers: how many workers live.
        requests: how many requests this call has sent to a model behind an API.
    """

    schema: Literal["hlmat-heartbeat/1"]
    beat: int
    updated: str
    clock: float
    process: Process | None
    state: State
    why: str | None
    started: str
    begun: int
    done: int
    total: int
    per_second: float | None
    seconds_since_episode: float
    workers: int
    requests: int


class RunProgress(Protocol):
    """What a heartbeat reads of a run: a part of the `RunWriter`."""

    folder: Path
    meter: UsageMeter
    count: int
    workers: int


class Heartbeat:
    """Writes the heartbeat of a run, from its entry as a context manager to its end.

    Args:
        run: whose folder it is.
        document: its manifest.
        on_beat: is called with the numbers of the run after a heartbeat; or None.

    Attributes:
        state: what the run's process does; set it to ``finished`` where the run is.
    """

    def __init__(self, run: RunProgress, document: Mapping[str, Any], on_beat: OnBeat | None = None) -> None:
        self.state: State = "playing"
        self._run, self._total, self._on_beat = run, int(document["samples"]), on_beat
        self._tally = RunTally(run.folder, document)
        self._begun, self._beats, self._told = run.count, 0, False
        self._started, self._process = manifest.now(), _this_process()
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), run.count)], maxlen=_SPEED_BEATS)
        self._last_episode = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_end, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._write(None)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        if self.state != "finished":
            self.state = "stopped"
        beat = self._write(None if self.state == "finished" or error is None else _sentence(error))
        if self._told:  # all but the last episodes are counted
            self._tell(beat)

    def _beat_until_end(self) -> None:
        told = took = 0.0
        while not self._end.wait(SECONDS):
            began = time.monotonic()
            beat = self._write(None)
            # At most a fiftieth of the time is spent on counting, however many episodes there are.
            if self._on_beat is not None and began - told >= 50 * took:
                self._tell(beat, self._end.is_set)
                told, took = began, time.monotonic() - began
                self._told = not self._end.is_set()

    def _tell(self, beat: Beat, ended: Callable[[], bool] = lambda: False) -> None:
        """Call ``on_beat`` with the numbers; some episodes that the heartbeat counts may not be on disk yet."""
        if self._on_beat is not None:
            with contextlib.suppress(UsageError):
                self._tally.update(ended)
            numbers = {**self._tally.numbers(), "replies": self._tally.replies}
            self._on_beat({**numbers, **dataclasses.asdict(beat)})

    def _write(self, why: str | None) -> Beat:
        """Replace the file, and return what it says."""
        now, count = time.monotonic(), self._run.count
        if count != self._seen[-1][1]:
            self._last_episode = now
        self._seen.append((now, count))
        since, before = self._seen[0]
        self._beats += 1
        beat = Beat(
            schema=HEARTBEAT_SCHEMA,
            beat=self._beats,
            updated=manifest.now(),
            clock=now,
            process=self._process,
            state=self.state,
            why=why,
            started=self._started,
            begun=self._begun,
            done=count,
            total=self._total,
            per_second=(count - before) / (now - since) if count > before else None,
            seconds_since_episode=round(now - self._last_episode, 1),
            workers=self._run.workers,
            requests=self._run.meter.requests,
        )
        # A full disk ends the run where an episode cannot be written.
        with contextlib.suppress(OSError), replaced(self._run.folder / HEARTBEAT, durable=False) as file:
            file.write(to_line(dataclasses.asdict(beat)))
        return beat


def read(folder: Path) -> Beat | None:
    """Return the last heartbeat of a run folder; None where there is none that can be read."""
    try:
        return _adapter().validate_json((folder / HEARTBEAT).read_bytes())
    except (OSError, ValueError):
        return None


@cache
def _adapter() -> TypeAdapter[Beat]:
    return TypeAdapter(Beat)


def _this_process() -> Process | None:
    """Return what finds this process again; None where the system does not tell."""
    born, machine = _born(os.getpid()), _machine()
    return None if machine is None or born is None else Process(machine, os.getpid(), born)


def lives(beat: Beat) -> bool | None:
    """Tell whether the process of a heartbeat lives and wrote it a moment ago; None where only time can tell.

    No calendar clock is asked: those of two machines differ, and may jump.
    """
    if beat.process is None or beat.process.machine != _machine():
        return None
    if _born(beat.process.pid) != beat.process.born:
        return False
    return True if 0 <= time.monotonic() - beat.clock < 5 * SECONDS else None


def _machine() -> str | None:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:  # not Linux
        return None
    return hashlib.sha256(f"{boot}{namespace}".encode()).hexdigest()[:16]


def _born(pid: int) -> int | None:
    """Return the clock tick at which a process was started (proc(5), /proc/PID/stat, field 22); None: it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if state in (b"Z", b"X") else int(fields[18])
    except (OSError, ValueError, IndexError):
        return None


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the keyboard"
    return redact(" ".join(str(error).split())[:1000]) or type(error).__name__
