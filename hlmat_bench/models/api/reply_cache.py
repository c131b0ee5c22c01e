"""Replies on disk, so that the same question to the same model is asked, and paid, once.

They are in one SQLite file, which survives a kill and can be shared by runs and processes.
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
from hlmat_bench.protocol.interfaces import Model, Reply, Request
from hlmat_bench.protocol.settings import digest

T = TypeVar("T")

_FILE = "replies.sqlite"
_WAIT_SECONDS = 60.0


class CachedModel:
    """Keep the replies of a model; failed requests are not kept.

    A request is kept if its repetition would get the same replies: at temperature 0, of a model that is
    ``deterministic``; above, of one that heeds the seed (attribute ``seeded``, default True).

    Args:
        model: the model that is asked when the cache has no reply.
        spec: the model's identity, with all that its replies depend on.
        folder: the folder of the cache; it may be shared.
    """

    def __init__(self, model: Model, spec: dict[str, Any], folder: Path) -> None:
        self._model, self._spec = model, digest(spec)
        self.name, self.points = model.name, model.points
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reply-cache")

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.protocol.interfaces.Model.reply`; a kept reply has the tokens and the cost it had.

        Raises:
            UsageError: when the cache cannot be read or written.
        """
        repeatable = getattr(self._model, "deterministic" if request.temperature == 0 else "seeded", True)
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
        if (close := getattr(self._model, "close", None)) is not None:
            await close()

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
        """Return the SHA-256 (hex) of the model, the image's pixels, the prompt and the decoding."""
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
    """Return the fields of a reply with 0 seconds, as it takes another time to read a kept one."""
    return {name: getattr(reply, name) for name in Reply.__slots__} | {"seconds": 0.0}
