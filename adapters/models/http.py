"""A model behind a plain HTTP endpoint: one POST per request, with JSON in both directions.

A request is ``{"image": base64 PNG, "prompt": str, "n": int, "temperature": float, "max_tokens": int, "seed": int}``,
the response ``{"texts": [str, ...]}`` with one text per reply.
"""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from typing import Any

from hlmat_bench.core import images
from hlmat_bench.core.errors import RequestFailed
from hlmat_bench.models.api.client import ApiClient
from hlmat_bench.models.api.error_bodies import json_object
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.protocol.interfaces import Reply, Request

DECODING = ("prompt", "n", "temperature", "max_tokens", "seed")
ADVICE = {"key": "check the login or the token in url=", "path": "check url=", "size": "take a smaller resize="}


class HttpModel:
    """A model at the address ``url`` that writes coordinates in the format ``points``; see the top of the file."""

    def __init__(
        self, url: str, points: str, resize: str = "none", name: str = "http", timeout: float = 120, retries: int = 6
    ) -> None:
        self.name, self.points, self.resize, self.timed = name, PointFormat.named(points), Resize.named(resize), True
        self._server = ApiClient(url, option="url", advice=ADVICE, timeout=timeout, retries=retries)

    def spec(self) -> dict[str, Any]:
        """Return everything known that the replies depend on, for the manifest."""
        return {"adapter": "http", "image": {"format": "png"}}

    async def reply(self, request: Request) -> list[Reply]:
        """Ask the server, see `hlmat_bench.protocol.interfaces.Model.reply`."""
        image = await asyncio.to_thread(images.encode, request.image, "png")
        question = {name: getattr(request, name) for name in DECODING} | {"image": base64.b64encode(image).decode()}
        return await self._server.ask(json.dumps(question).encode(), partial(read, wanted=request.n))

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()


def read(body: bytes, wanted: int) -> list[Reply]:
    """Return the replies in the body of a response; raise RequestFailed if its form or number of texts is wrong."""
    texts = json_object(body).get("texts")
    if not isinstance(texts, list) or len(texts) != wanted or not all(isinstance(text, str) for text in texts):
        raise RequestFailed('it did not answer {"texts": [...]}, one text per reply', advice="check url=")
    return [Reply(text) for text in texts]


MODELS = {"http": HttpModel}
