"""Start a program that exchanges JSON lines, read its output, and end it with all processes that it has started.

A thread reads its standard output line by line, and its standard error goes directly into a file, so that the program
never waits because a pipe is full.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeAlias

from hlmat_bench.core.errors import RequestFailed

Message: TypeAlias = dict[str, Any]

#: The beginning of the schema of every message. A line without a JSON object with such a schema is no message.
SCHEMA_FAMILY = "hlmat-worker/"
_LONGEST_LINE = 1 << 24
_GRACE_SECONDS = 2.0


class WorkerLost(RequestFailed):
    """The process ended, was too slow or broke the message format, and will not answer any more."""


class WorkerProcess:
    """A running worker in its own process group, so that an interrupt from the keyboard does not reach it.

    `end` ends the process; so does the end of this object or of this program.

    Args:
        command: the program and its arguments.
        cwd: the folder to run the program in; None: the current folder.
        log: the file to which its standard error is appended, and all output that is no message.

    Raises:
        OSError: when the program cannot be started or the log cannot be written.
    """

    def __init__(self, command: Sequence[str], cwd: str | None, log: Path) -> None:
        self._log = log
        self._overdue: float | None = None
        self._messages: SimpleQueue[Message | None] = SimpleQueue()
        with log.open("ab") as errors:
            self._log_start = errors.tell()
            self._process = subprocess.Popen(
                command, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
            )
        self._finalizer = weakref.finalize(self, _end, self._process)
        listener = (self._process.stdout, self._messages, log)
        threading.Thread(target=_listen, args=listener, name="worker-output", daemon=True).start()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End the process if the ``with`` block takes more than this number of seconds."""
        timer = threading.Timer(seconds, self._expire, (seconds,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message as a line of ASCII.

        Raises:
            WorkerLost: when the process has ended.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # ValueError: `end` has closed the pipe
            raise WorkerLost(self._fate()) from error

    def receive(self) -> Message:
        """Wait for the next message and return it.

        Raises:
            WorkerLost: when the process has ended.
        """
        message = self._messages.get()
        if message is None:
            raise WorkerLost(self._fate())
        return message

    def end(self) -> None:
        """End the process and all processes that it has started; may be called repeatedly and from any thread."""
        self._finalizer()
        self._messages.put(None)  # the listener may still wait: a child that left the group can hold the output open

    def last_words(self, lines: int = 5, characters: int = 600) -> str:
        """Return the last lines of this process in the log, as one line of printable text."""
        try:
            with self._log.open("rb") as stream:
                size = stream.seek(0, os.SEEK_END)
                stream.seek(max(self._log_start, size - 4 * characters))
                text = stream.read().decode(errors="replace")
        except OSError:  # someone removed it
            return ""
        said = [line.strip() for line in text.splitlines() if line.strip()]
        words = " / ".join(said[-lines:])[-characters:]
        return "".join(letter if letter.isprintable() else " " for letter in words)

    def _expire(self, seconds: float) -> None:
        self._overdue = seconds
        self.end()

    def _fate(self) -> str:
        """Return in words why there will be no more messages."""
        if self._overdue is not None:
            return f"the worker did not answer within {self._overdue:g} seconds"
        try:
            code = self._process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "the worker closed its standard output"
        if code < 0:
            known = {number.value: number.name for number in signal.Signals}
            return f"the worker was ended by {known.get(-code, f'signal {-code}')}"
        return f"the worker ended with exit code {code}"


def _listen(output: IO[bytes], messages: SimpleQueue[Message | None], log: Path) -> None:
    """Put messages into the queue, and None at the end of the output; write all other lines into the log."""
    try:
        with output, log.open("ab", buffering=0) as rest:
            while line := output.readline(_LONGEST_LINE):
                message = _message(line)
                if message is None:
                    rest.write(line)
                else:
                    messages.put(message)
    finally:
        messages.put(None)


def _message(line: bytes) -> Message | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_message = isinstance(value, dict) and str(value.get("schema")).startswith(SCHEMA_FAMILY)
    return value if is_message else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process group to end, and kill the processes that remain after the grace period."""
    _signal(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # closing tries to write the rest of the buffer, and nobody reads it any more
        process.stdin.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: no permission for a group of the dead
        os.killpg(process.pid, number)
