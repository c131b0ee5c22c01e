"""Replies of episodes that are running, on disk until their episode is recorded: no answered question is asked twice.

A run that ends in the middle of an episode (a kill, a used-up quota, a failed request) has asked, and perhaps paid, for
replies that no record holds. They are in ``replies.jsonl`` of the run folder; the same command takes them from there.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Container, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol

from hlmat_bench.core.plain_files import replaced
from hlmat_bench.models.api.reply_cache import to_json
from hlmat_bench.protocol.interfaces import BatchModel, Model, Reply, Request, close
from hlmat_bench.protocol.log_lines import to_line, whole_lines
from hlmat_bench.runs.episode_log import writing

JOURNAL = "replies.jsonl"
#: After how many lines the file is written anew, without those whose episodes are recorded.
_MOST_LINES = 4096
#: Seconds that the end of a run waits for replies that are still awaited.
GRACE_SECONDS = 10.0


class Journal(Protocol):
    """Keeps the replies of episodes that are running."""

    def find(self, sample_id: str, key: str) -> list[Reply] | None:
        """Return the replies to a request; None where it was not answered before."""

    def add(self, sample_id: str, key: str, replies: list[Reply]) -> None:
        """Keep the replies to a request."""


class ReplyJournal:
    """The file of a run folder; used in the event loop's thread alone.

    Args:
        folder: the run folder; the caller holds its lock.
        done: the samples that are recorded.

    Raises:
        UsageError: when the file cannot be written.
    """

    def __init__(self, folder: Path, done: Container[str]) -> None:
        self._path = folder / JOURNAL
        self._live: dict[str, dict[str, list[Reply]]] = {}
        for sample, key, replies in _read(self._path):
            if sample not in done:
                self._live.setdefault(sample, {})[key] = replies
        self._lines = 0
        self._file: IO[bytes] | None = None

    def find(self, sample_id: str, key: str) -> list[Reply] | None:
        """Return the replies to a request; None where it was not answered before."""
        return self._live.get(sample_id, {}).get(key)

    def kept(self, sample_id: str) -> dict[str, list[Reply]]:
        """Return all replies about a sample, by request."""
        return dict(self._live.get(sample_id, {}))

    def add(self, sample_id: str, key: str, replies: list[Reply]) -> None:
        """Keep the replies to a request."""
        self._live.setdefault(sample_id, {})[key] = replies
        with writing(self._path):
            if self._file is None or self._lines >= _MOST_LINES:
                self._rewrite()
            else:
                self._file.write(_line(sample_id, key, replies))
                self._file.flush()
                self._lines += 1

    def forget(self, sample_id: str) -> None:
        """Drop the replies of a sample whose episode is recorded."""
        self._live.pop(sample_id, None)

    def close(self) -> None:
        """Leave the file with what is still needed, or remove it."""
        if self._file is not None:
            with suppress(OSError):  # on a full disk, the lines that are there hold all that is needed, and more
                if self._live:
                    self._rewrite()
                self._file.close()
            self._file = None
        if not self._live:
            self._path.unlink(missing_ok=True)

    def _rewrite(self) -> None:
        if self._file is not None:
            self._file.close()
        lines = [_line(sample, key, replies) for sample, kept in self._live.items() for key, replies in kept.items()]
        with replaced(self._path, durable=False) as file:
            file.writelines(lines)
        self._file, self._lines = self._path.open("ab"), 0


class JournaledModel:
    """A model whose replies a `ReplyJournal` keeps; everything else is the model's own.

    A request that was sent is paid: where the run ends meanwhile, its reply is waited for at `close`, for a while.
    """

    def __init__(self, model: Model, journal: Journal) -> None:
        self._model, self._journal = model, journal
        self.name, self.points = model.name, model.points
        self._under_way: set[asyncio.Task[list[Reply]]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`; a kept reply has the tokens and the cost it had."""
        task = asyncio.create_task(self._answered(request))
        self._under_way.add(task)
        task.add_done_callback(self._end)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for the replies that are still awaited, at most `GRACE_SECONDS`, and close the model."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
        await close(self._model)

    def _end(self, task: asyncio.Task[list[Reply]]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # of a request whose episode ended meanwhile; asyncio would report it as never retrieved

    async def _answered(self, request: Request) -> list[Reply]:
        key = _key(request)
        kept = self._journal.find(request.sample_id, key)
        if kept is not None:
            return kept
        replies = await self._model.reply(request)
        self._journal.add(request.sample_id, key, replies)
        return replies


def journaled(model: Model | None, journal: Journal) -> Model | None:
    """Return a model whose replies a journal keeps. A model that runs here, or None, is returned as it is."""
    return model if model is None or isinstance(model, BatchModel) else JournaledModel(model, journal)


def _key(request: Request) -> str:
    """Name a request within its episode: everything that tells it from the episode's other requests.

    The picture is named by the checksum of its mask: a digest of its pixels takes a fifth of the time that a whole
    request takes (benchmarks/api.py).
    """
    prompt = zlib.crc32(request.prompt.encode("utf-8", "backslashreplace"))
    parts = (request.t, request.state, prompt, request.seed, request.n, request.temperature, request.max_tokens)
    return "/".join(map(str, parts))


def _line(sample_id: str, key: str, replies: list[Reply]) -> bytes:
    return to_line({"sample_id": sample_id, "request": key, "replies": [to_json(reply) for reply in replies]})


def _read(path: Path) -> Iterator[tuple[str, str, list[Reply]]]:
    """Read the whole lines of the file; one that a kill cut off is left out."""
    for line in whole_lines(path):
        try:
            value = json.loads(line)
            yield value["sample_id"], value["request"], [Reply(**reply) for reply in value["replies"]]
        except (ValueError, KeyError, TypeError):
            continue
