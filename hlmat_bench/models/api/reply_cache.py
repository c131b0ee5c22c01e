"""Keep replies on disk, so that a request to a model is sent, and paid, only once.

The cache is one SQLite file: it stays intact if a process is killed, several runs and processes can share it, and
SQLite is part of Python.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Model, Reply, Request, close, traits
from hlmat_bench.protocol.settings import digest

T = TypeVar("T")

_FILE = "replies.sqlite"
_WAIT_SECONDS = 60.0


class CachedModel:
    """A model whose replies are kept on disk; failed requests are not kept.

    Replies are kept only if the same request would get the same replies again: at temperature 0 if the model is
    ``deterministic``, above 0 if it uses the request's seed (attribute ``seeded``, default True).

    Args:
        model: answers the requests that are not in the cache.
        spec: identity of the model, with everything that its replies depend on.
        folder: folder of the cache; several runs may use it.
    """

    def __init__(self, model: Model, spec: dict[str, Any], folder: Path) -> None:
        self._model, self._spec, self._traits = model, digest(spec), traits(model)
        self.name, self.points = model.name, model.points
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reply-cache")

    async def reply(self, request: Request) -> list[Reply]:
        """Return kept replies, with their tokens and cost, or ask; see `hlmat_bench.protocol.interfaces.Model.reply`.

        Raises:
            UsageError: when the cache cannot be read or written.
        """
        repeatable = self._traits.deterministic if request.temperature == 0 else self._traits.seeded
        if not repeatable:
            return await self._model.reply(request)
        key, kept = await self._in_thread(lambda: self._look_up(request))
        if kept is not None:
            return kept
        replies = await self._model.reply(request)
        await self._in_thread(lambda: self._keep(key, replies))
        return replies

    async def close(self) -> None:
        """Close the file and the model; the cache cannot be used afterwards."""
        if "_database" in vars(self):
            await self._in_thread(self._database.close)
        self._thread.shutdown()
        await close(self._model)

    @cached_property
    def _database(self) -> sqlite3.Connection:
        """Open the file; only in the cache's own thread, as SQLite wants."""
        self._folder.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._folder / _FILE, timeout=_WAIT_SECONDS, isolation_level=None)
        database.execute("PRAGMA journal_mode = WAL")  # several processes read while one writes
        database.execute("PRAGMA synchronous = NORMAL")
        columns = "key TEXT PRIMARY KEY, replies TEXT NOT NULL"
        database.execute(f"CREATE TABLE IF NOT EXISTS replies ({columns}) WITHOUT ROWID")
        return database

    def key(self, request: Request) -> str:
        """Return the SHA-256 (hex) over the model's identity, the image's pixels, the prompt and the decoding."""
        image = hashlib.sha256(np.ascontiguousarray(request.image).data).hexdigest()
        asked = {name: getattr(request, name) for name in ("prompt", "n", "temperature", "max_tokens", "seed")}
        return digest({"model": self._spec, "image": image, "shape": list(request.image.shape), **asked})

    def _look_up(self, request: Request) -> tuple[str, list[Reply] | None]:
        key = self.key(request)
        row = self._database.execute("SELECT replies FROM replies WHERE key = ?", (key,)).fetchone()
        return key, None if row is None else [Reply(**value) for value in json.loads(row[0])]

    def _keep(self, key: str, replies: list[Reply]) -> None:
        values = json.dumps([to_json(reply) for reply in replies])
        self._database.execute("INSERT OR REPLACE INTO replies VALUES (?, ?)", (key, values))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, function)

    def _guarded(self, function: Callable[[], T]) -> T:
        try:
            return function()
        except (OSError, sqlite3.Error, ValueError, TypeError) as error:
            raise UsageError(
                f"The cache in {self._folder} cannot be used ({error}); choose another --cache, or remove its {_FILE}."
            ) from error


def to_json(reply: Reply) -> dict[str, Any]:
    """Return the fields of a reply with time 0: its time does not hold for a kept reply."""
    return {name: getattr(reply, name) for name in Reply.__slots__} | {"seconds": 0.0}
