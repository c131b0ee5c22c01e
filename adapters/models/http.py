"""A model behind a plain HTTP endpoint: one POST per question, JSON both ways.

It is asked ``{"image": base64 PNG, "prompt": str, "n": int, "temperature": float, "max_tokens": int, "seed": int}`` and
answers ``{"texts": [str, ...]}``, one text per reply.
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from urllib.parse import urlsplit

from hlmat_bench import images
from hlmat_bench.errors import RequestFailed, UsageError
from hlmat_bench.framing import Resize
from hlmat_bench.interfaces import Reply, Request
from hlmat_bench.points import PointFormat

DECODING = ("prompt", "n", "temperature", "max_tokens", "seed")


class HttpModel:
    """See the top of the file. `url` is where to POST, `points` how the model writes coordinates."""

    def __init__(self, url: str, points: str, resize: str = "none", name: str = "http", timeout: float = 120) -> None:
        self.name, self.points, self.resize = name, PointFormat.named(points), Resize.named(resize)
        self._url, self._timeout, self._host = url, timeout, urlsplit(str(url)).hostname
        if self._host is None:
            raise UsageError("url= must look like http://localhost:8000/point.")

    def spec(self) -> dict[str, Any]:
        """What the answers depend on, as far as it is known here."""
        return {"adapter": "http", "image": {"format": "png"}}

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.interfaces.Model.reply`."""
        import httpx2

        image = await asyncio.to_thread(images.encode, request.image, "png")
        question = {name: getattr(request, name) for name in DECODING} | {"image": base64.b64encode(image).decode()}
        try:
            async with httpx2.AsyncClient(timeout=self._timeout) as client:
                answer = (await client.post(self._url, json=question)).raise_for_status().json()
        except httpx2.ConnectError as error:
            raise UsageError(f"There is no server at {self._host}; start it, or name its address with url=.") from error
        except (httpx2.HTTPError, ValueError) as error:  # its words may hold the address, and that a token
            raise RequestFailed(f"{self._host} did not answer as it should ({type(error).__name__})") from None
        texts = answer.get("texts") if isinstance(answer, dict) else None
        if not isinstance(texts, list) or len(texts) != request.n or not all(isinstance(text, str) for text in texts):
            raise RequestFailed(f"{self._host} did not answer with a list of texts, one per reply")
        return [Reply(text) for text in texts]


MODELS = {"http": HttpModel}
