"""A model behind a plain HTTP endpoint: one POST per question, JSON both ways.

It is asked ``{"image": base64 PNG, "prompt": str, "n": int, "temperature": float, "max_tokens": int, "seed": int}`` and
answers ``{"texts": [str, ...]}``, one text per reply.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace
from functools import partial
from typing import Any

from hlmat_bench import api_errors, images, local
from hlmat_bench.api_client import ApiClient
from hlmat_bench.errors import RequestFailed, TryAgain
from hlmat_bench.framing import Resize
from hlmat_bench.interfaces import Reply, Request
from hlmat_bench.points import PointFormat
from hlmat_bench.retries import persist

DECODING = ("prompt", "n", "temperature", "max_tokens", "seed")
_PATH = "check url="
_ADVICE = {
    **dict.fromkeys(("model", "path", "stream"), _PATH),
    "key": "check url=, and the login or the token in it",
    "size": "take a smaller resize=",
    "image": "look into the log of the server",
    "scheme": "write https:// in url=",
    "busy": "take a lower --concurrency, or a longer deadline=",
}


class HttpModel:
    """See the top of the file.

    Args:
        url: where to POST.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        name: what to call it in tables.
        timeout: seconds that the server may be silent.
        deadline: seconds for a request with all its repetitions.
        retries: of a request that failed; one that was refused because of too many is asked until the deadline.

    Raises:
        UsageError: when the address is none.
    """

    def __init__(
        self,
        url: str,
        points: str,
        resize: str = "none",
        name: str = "http",
        timeout: float = 120,
        deadline: float = 600,
        retries: int = 6,
    ) -> None:
        local.require("openai", "aiohttp")
        self.name, self.points, self.resize = name, PointFormat.named(points), Resize.named(resize)
        self._deadline, self._retries = deadline, retries
        self._client = ApiClient(url, option="url", timeout=timeout)

    def spec(self) -> dict[str, Any]:
        """What the answers depend on, as far as it is known here."""
        return {"adapter": "http", "image": {"format": "png"}}

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.interfaces.Model.reply`."""
        start = time.perf_counter()
        await self._client.reach()
        image = await asyncio.to_thread(images.encode, request.image, "png")
        question = {name: getattr(request, name) for name in DECODING} | {"image": base64.b64encode(image).decode()}
        ask = partial(self._ask, json.dumps(question).encode(), request.n)
        try:
            replies = await persist(
                ask, throttle=self._client.throttle(), retries=self._retries, deadline=self._deadline
            )
        except RequestFailed:
            await self._client.reach(again=True)
            raise
        seconds = (time.perf_counter() - start) / request.n
        return [replace(reply, seconds=seconds) for reply in replies]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._client.close()

    async def _ask(self, body: bytes, wanted: int) -> list[Reply]:
        """One attempt.

        Raises:
            RequestFailed, UsageError: without the secrets of the address in it.
        """
        response = await self._client.post(body)
        answer = _object(response.content) if response.is_success else None
        texts = answer.get("texts") if answer is not None else None
        if isinstance(texts, list) and len(texts) == wanted and all(isinstance(text, str) for text in texts):
            return [Reply(text) for text in texts]
        if response.is_success and not (answer or {}).get("error"):
            raise TryAgain(
                f"{self._client.host} did not answer with a JSON object of texts, one per reply, but "
                f"{self._client.clean(response.text)!r:.80}",
                advice="check url=, and that the server answers {'texts': [...]}",
            )
        asked = api_errors.Asked(_ADVICE, frozenset(), self._deadline, self._client.shown)
        decision = api_errors.decide(response.status_code, response.headers, response.content, asked)
        if decision.fate == "withheld":
            return [Reply("", finish="content_filter")] * wanted
        raise decision.error(self._client.host, self._client.clean)


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


MODELS = {"http": HttpModel}
