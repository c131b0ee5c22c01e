"""Segmenter servers in threads of the test, and clients of them."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import numpy as np
import uvicorn
from PIL import Image as Pillow

from hlmat_bench.clicks import Click
from hlmat_bench.protocol import plugins
from hlmat_bench.segmenters.server.app import Limits, Service, make_app


@dataclass
class Served:
    """A server under way: where it is, its inside, and the statuses that it has answered with."""

    url: str
    port: int
    service: Service
    statuses: list[int] = field(default_factory=list)

    def client(self, patience: float = 60.0) -> Any:
        return plugins.build("segmenter", "server", {"url": self.url, "patience": patience})

    def post(self, path: str, **content: Any) -> httpx2.Response:
        return httpx2.post(f"{self.url}/v1/{path}", timeout=30, trust_env=False, **content)

    def open(self, image: np.ndarray) -> str:
        answer = self.post("sessions", content=png(image))
        assert answer.status_code == 201
        return str(answer.json()["session"])

    def expire(self) -> None:
        """Let all sessions expire, as if nobody had asked for long."""
        sessions = self.service.sessions
        sessions.idle, idle = -1.0, sessions.idle
        sessions.expire()
        sessions.idle = idle


@contextlib.contextmanager
def served(segmenter: Any, port: int = 0, **limits: Any) -> Iterator[Served]:
    app = make_app(segmenter, Limits(**limits))
    listener = socket.create_server(("127.0.0.1", port))
    number = listener.getsockname()[1]
    made = Served(f"http://127.0.0.1:{number}", number, app.state.service)

    async def recorded(scope: Any, receive: Any, send: Any) -> None:
        async def record(message: Any) -> None:
            if message["type"] == "http.response.start":
                made.statuses.append(message["status"])
            await send(message)

        await app(scope, receive, record)

    server = uvicorn.Server(uvicorn.Config(recorded, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield made
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def png(image: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Pillow.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, "PNG")
    return buffer.getvalue()


def picture(seed: int = 0, height: int = 60, width: int = 100) -> np.ndarray:
    image = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    image[height // 3 : height // 2, width // 3 : width // 2] = 20 + seed
    return image


def clicks_on(image: np.ndarray, count: int, seed: int = 0) -> list[Click]:
    generator, (height, width) = np.random.default_rng(seed), image.shape[:2]
    return [
        Click(bool(generator.integers(2)) or not number, *(int(generator.integers(side)) for side in (width, height)))
        for number in range(count)
    ]
