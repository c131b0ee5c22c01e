"""A model in a program of its own, in any environment, that exchanges JSON lines over standard input and output.

Format: docs/workers.md. The worker starts with the adapter, is restarted when it crashes or hangs, and ends with the
run.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hlmat_bench.core import images
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.models.worker.messages import ErrorMessage, Hello, ReplyMessage, generate, read, wanted
from hlmat_bench.models.worker.process import WorkerLost, WorkerProcess
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request

_EXAMPLE = 'command,run="conda run -n old python worker.py",points=xy1000'


def missing(name: str) -> str | None:
    """Return what is missing on this machine, in words; None if nothing is."""
    return None if os.name == "posix" else "command needs Linux or macOS."


class CommandModel:
    """A model in a program that answers messages.

    Args:
        run: the program and its arguments, as in a shell, but without variables or patterns.
        points: how the model writes coordinates, a name that `PointFormat.named` knows; None: the worker names it.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        batch_size: most requests per message.
        timeout: most seconds until a message is answered.
        load_timeout: most seconds until the worker has loaded the model.
        restarts: most restarts without an answer between them; if the worker is lost once more, the run ends.
        cwd: the folder to run the program in; by default the current folder.
        log: file for the worker's standard error; by default a new one in the folder for temporary files.
        image_format: ``png`` or ``jpeg``.
        quality: quality of a JPEG, 1 to 100.
        subsampling: chroma subsampling of a JPEG: ``444``, ``422`` or ``420``.
        name: name of the model in tables; by default the name that the worker gives.

    Attributes:
        log: file with the worker's standard error.

    Raises:
        UsageError: when an option is missing or invalid, or the worker cannot be started.
    """

    timed = True

    def __init__(
        self,
        run: str | None = None,
        points: str | PointFormat | None = None,
        resize: str = "none",
        *,
        batch_size: int = 8,
        timeout: float = 300.0,
        load_timeout: float = 1800.0,
        restarts: int = 3,
        cwd: str | None = None,
        log: str | None = None,
        image_format: images.Format = "png",
        quality: int = 95,
        subsampling: str | int = "444",
        name: str | None = None,
    ) -> None:
        self._command, self._cwd = _words(run), _folder(cwd)
        declared = PointFormat.named(points) if isinstance(points, str) else points
        self.resize = Resize.named(resize)
        self._image = images.settings(image_format, quality, subsampling)
        _check_numbers(batch_size=batch_size, timeout=timeout, load_timeout=load_timeout)
        self.batch_size = batch_size
        self._timeout, self._load_timeout, self._restarts = timeout, load_timeout, restarts
        self.log = Path(str(log)) if log else _new_log()
        self._one_at_a_time, self._starting = threading.Lock(), threading.Lock()
        self._ids = itertools.count(1)
        self._losses = 0
        self._closed = False
        self._worker: WorkerProcess | None = None
        with contextlib.ExitStack() as undo:
            undo.callback(self._end)
            self._hello = self._loaded()
            self.points = _agreed(declared, self._hello)
            undo.pop_all()
        self.name = str(name or self._hello.name)
        self.deterministic = self._hello.deterministic

    def spec(self) -> dict[str, Any]:
        """Return what the replies depend on: what the worker says of itself and the image encoding, not the command."""
        return {
            "adapter": "command",
            "worker": self._hello.model_dump(include={"name", "version", "weights", "deterministic"}),
            "image": self._image,
        }

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        return (await asyncio.to_thread(self.reply_batch, [request]))[0]

    def reply_batch(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """Return for each request, in order, its ``n`` replies; at temperature 0 they are one reply, n times.

        A request that was alone when the worker was lost is asked once again. A batch is not: it is asked for in
        parts, by `hlmat_bench.runs.batching.RequestBatcher`, and what does not fit into memory together may fit alone.

        Raises:
            RequestFailed: when the worker reports that a request failed, or it was lost while it had them.
            UsageError: when the worker reports a fatal error, or was lost too often.
        """
        try:
            with self._one_at_a_time:
                try:
                    return self._ask(requests)
                except WorkerLost:
                    if len(requests) > 1:
                        raise
                    return self._ask(requests)
        except RequestFailed as error:
            error.advice = f"look into the worker's log {self.log}, and try the worker alone with one request"
            raise

    async def close(self) -> None:
        """End the worker; a request in flight fails."""
        await asyncio.to_thread(self._close)

    def _ask(self, requests: Sequence[Request]) -> list[list[Reply]]:
        """Send all requests in one message, and return their replies.

        Raises:
            RequestFailed, UsageError: see `reply_batch`.
        """
        batch = {next(self._ids): request for request in requests}
        start = time.perf_counter()
        try:
            worker = self._running()
            with worker.within(self._timeout):
                worker.send(generate(batch, partial(images.encode, **self._image)))
                answers = _collect(worker, batch)
        except WorkerLost as error:
            self._count_loss(error)
            raise
        except UsageError:
            self._end()
            raise
        self._losses = 0
        seconds = (time.perf_counter() - start) / max(sum(map(wanted, requests)), 1)
        return [_replies(answers[number], request, seconds) for number, request in batch.items()]

    def _loaded(self) -> Hello:
        """Start the worker for the first time, and return its first message.

        Raises:
            UsageError: when it does not start.
        """
        try:
            return self._greeted(self._start())
        except WorkerLost as error:
            raise self._hopeless("The worker did not start", error) from error

    def _running(self) -> WorkerProcess:
        """Return the worker; restart it if it was lost.

        Raises:
            UsageError: when the new worker describes itself in another way than the first.
        """
        worker = self._worker
        if worker is not None:
            return worker
        worker = self._start()
        hello = self._greeted(worker)
        if hello != self._hello:
            raise UsageError(
                f"After a restart the worker describes another model: {hello} instead of {self._hello}; a worker must "
                "always load the same model."
            )
        return worker

    def _start(self) -> WorkerProcess:
        with self._starting:
            if self._closed:
                raise RequestFailed("the worker was closed")
            try:
                self._worker = WorkerProcess(self._command, self._cwd, self.log)
            except OSError as error:
                raise UsageError(
                    f"The worker cannot be started: {error.strerror}: {error.filename}; check run=, cwd= and log=."
                ) from error
            return self._worker

    def _greeted(self, worker: WorkerProcess) -> Hello:
        """Wait for the first message of a worker, which it sends when its model is loaded.

        Raises:
            UsageError: when the worker reports an error instead.
            WorkerLost: when it sends anything else, or nothing in time.
        """
        with worker.within(self._load_timeout):
            message = read(worker.receive())
        if isinstance(message, Hello):
            return message
        if isinstance(message, ErrorMessage):
            raise UsageError(f"The worker says: {message.said}.")
        raise WorkerLost("the worker answered before its message hello")

    def _count_loss(self, error: WorkerLost) -> None:
        self._losses += 1
        try:
            if self._losses > self._restarts:
                raise self._hopeless(f"The worker was lost {self._losses} times in a row", error) from error
        finally:
            self._end()

    def _hopeless(self, what: str, error: WorkerLost) -> UsageError:
        words = self._worker.last_words() if self._worker else ""
        said = f"it last printed: {words}" if words else "it printed nothing"
        return UsageError(f"{what}: {error}; {said} (all of it is in {self.log}).")

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()

    def _close(self) -> None:
        with self._starting:
            self._closed = True
        self._end()


def _collect(worker: WorkerProcess, batch: dict[int, Request]) -> dict[int, list[Reply] | RequestFailed]:
    """Receive the worker's answers to all requests of a batch, and return them by the request's number.

    Raises:
        WorkerLost: when an answer is missing, or has the wrong form.
        UsageError: when the worker reports a fatal error.
    """
    answers: dict[int, list[Reply] | RequestFailed] = {}
    while len(answers) < len(batch):
        message = read(worker.receive())
        if isinstance(message, ErrorMessage) and message.fatal:
            raise UsageError(f"The worker says: {message.said}.")
        if isinstance(message, Hello) or message.id not in batch or message.id in answers:
            raise WorkerLost(f"the worker sent a {message.type} that answers no open request")
        if isinstance(message, ReplyMessage):
            answers[message.id] = message.replies(wanted(batch[message.id]))
        else:
            answers[message.id] = RequestFailed(f"the worker says: {message.said}")
    return answers


def _replies(answer: list[Reply] | RequestFailed, request: Request, seconds: float) -> list[Reply]:
    if isinstance(answer, RequestFailed):
        raise answer
    timed = [replace(reply, seconds=seconds) for reply in answer]
    return timed if request.temperature > 0 else timed * request.n


def _words(run: str | None) -> list[str]:
    """Split a command line into the program and its arguments.

    Raises:
        UsageError: when it is missing, empty or malformed.
    """
    if run is None:
        raise UsageError(f"command needs run=, the program that serves the model: for example {_EXAMPLE}.")
    try:
        words = shlex.split(str(run))
    except ValueError as error:
        raise UsageError(f"run={run} is not a command line: {error}.") from error
    if not words:
        raise UsageError(f"run= is empty; name the program that serves the model: for example {_EXAMPLE}.")
    if Path(words[0]).name == "conda" and words[1:2] == ["run"]:
        # Otherwise conda keeps the output back: https://docs.conda.io/projects/conda/en/stable/commands/run.html
        words.insert(2, "--no-capture-output")
    return words


def _check_numbers(**options: float) -> None:
    for name, value in options.items():
        if not isinstance(value, (int, float)) or value <= 0:
            raise UsageError(f"{name}={value} must be a number above 0.")


def _folder(cwd: str | None) -> str | None:
    if cwd is not None and not Path(str(cwd)).is_dir():
        raise UsageError(f"There is no folder {cwd} to run the worker in; check cwd=.")
    return None if cwd is None else str(cwd)


def _new_log() -> Path:
    handle, path = tempfile.mkstemp(prefix="hlmat-worker-", suffix=".log")
    os.close(handle)
    return Path(path)


def _agreed(declared: PointFormat | None, hello: Hello) -> PointFormat:
    """Return the point format that the user or the worker names.

    Raises:
        UsageError: when neither names one, or they name different ones.
    """
    own = None if hello.points is None else PointFormat.named(hello.points)
    form = declared or own
    if form is None:
        raise UsageError(f"command needs points=, the way the model writes coordinates: for example {_EXAMPLE}.")
    if own is not None and replace(own, name=form.name) != form:
        raise UsageError(f"The worker writes points as {hello.points}; leave out points={form.name}, or correct it.")
    return form


MODELS = {"command": CommandModel}
