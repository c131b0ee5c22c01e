"""A segmenter behind HTTP, for any number of runs at once. docs/segmenter-server.md describes the protocol.

Requests are read and checked in the event loop; the segmenter works in a few threads of its own. What waits for them is
bounded, and what exceeds the bound is answered with 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.interfaces import Segmenter, accepts_mask
from hlmat_bench.segmenters.server.requests import (
    MOST_JSON_BYTES,
    Predict,
    PredictEach,
    Refused,
    StartFrom,
    check_calls,
    read_json,
    read_mask,
    read_png,
)
from hlmat_bench.segmenters.server.sessions import Opened, Sessions

T = TypeVar("T")

PROTOCOL = "hlmat-segmenter/1"
_GOODBYE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """What a server allows itself and its clients.

    Attributes:
        threads: predictions and encoder passes at once.
        queue: how many more may wait; the next is answered with 503.
        sessions: open images; the one unused longest makes room for a new one.
        idle: seconds after which an unused session is dropped.
        megapixels: of the largest image.
    """

    threads: int = 1
    queue: int = 64
    sessions: int = 64
    idle: float = 600.0
    megapixels: float = 64.0

    @property
    def pixels(self) -> int:
        """Of the largest image."""
        return int(self.megapixels * 1e6)

    @property
    def image_bytes(self) -> int:
        """Of the largest image file: what pixels that cannot be compressed take, and some more."""
        return 4 * self.pixels + (1 << 20)


class Workers:
    """The threads in which the segmenter works, with a bound on what waits for them.

    Args:
        limits: of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._threads = ThreadPoolExecutor(limits.threads, "segmenter")
        self._free = limits.threads + limits.queue

    async def run(self, work: Callable[[], T]) -> T:
        """What ``work`` returns.

        Raises:
            Refused: 503 when too much is waiting.
        """
        if self._free == 0:
            raise Refused(
                503, "overloaded", "Too many requests are waiting; try again a second later.", {"Retry-After": "1"}
            )
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1

    def close(self) -> None:
        """Give the threads back; what waits is not done."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Service:
    """The answers to the requests.

    Args:
        segmenter: that is served.
        limits: of the server.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits) -> None:
        self.segmenter, self.limits = segmenter, limits
        self.sessions = Sessions(limits.sessions, limits.idle)
        self.workers = Workers(limits)
        self.description = {
            "protocol": PROTOCOL,
            "name": segmenter.name,
            "accepts_box": segmenter.accepts_box,
            "accepts_mask": accepts_mask(segmenter),
            "spec": segmenter.spec(),
        }

    async def describe(self, request: Request) -> Response:
        """``GET /v1/spec``."""
        return JSONResponse(self.description)

    async def open(self, request: Request) -> Response:
        """``POST /v1/sessions`` with a PNG file."""
        body = await _body(request, self.limits.image_bytes)
        image = await asyncio.to_thread(read_png, body, self.limits.pixels)
        opened = await self.workers.run(lambda: Opened(self.segmenter.open(image), (image.shape[0], image.shape[1])))
        answer = {"session": self.sessions.add(opened), "batches": opened.batches, "segmenter": self.description}
        return JSONResponse(answer, 201)

    async def start_from(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/start_from``."""
        opened = self._opened(request)
        if not accepts_mask(self.segmenter):
            raise Refused(422, "no_masks", f"{self.segmenter.name} cannot start from a mask.")
        asked = read_json(await _body(request, MOST_JSON_BYTES), StartFrom)
        mask = await asyncio.to_thread(read_mask, asked.mask, opened.size)
        return JSONResponse({"mask": await self.workers.run(lambda: opened.start_from(mask))})

    async def predict(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/predict``."""
        opened = self._opened(request)
        asked = read_json(await _body(request, MOST_JSON_BYTES), Predict)
        check_calls(asked.calls, opened.size, accepts_box=self.segmenter.accepts_box)
        return JSONResponse({"mask": await self.workers.run(lambda: opened.predict(asked.calls))})

    async def predict_each(self, request: Request) -> Response:
        """``POST /v1/sessions/ID/predict_each``."""
        opened = self._opened(request)
        if not opened.batches:
            raise Refused(422, "no_batches", f"{self.segmenter.name} decodes one candidate at a time; use predict.")
        asked = read_json(await _body(request, MOST_JSON_BYTES), PredictEach)
        check_calls((*asked.calls, *asked.candidates), opened.size, accepts_box=self.segmenter.accepts_box)
        if len({candidate.box for candidate in asked.candidates}) > 1:
            raise Refused(422, "bad_request", "All candidates must have one box.")
        return JSONResponse(
            {"masks": await self.workers.run(lambda: opened.predict_each(asked.calls, asked.candidates))}
        )

    async def close(self, request: Request) -> Response:
        """``DELETE /v1/sessions/ID``."""
        if not self.sessions.drop(request.path_params["name"]):
            raise _unknown_session()
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """From the server's start to its end: sessions expire also while nobody asks."""
        sweeper = asyncio.create_task(self._sweep())
        try:
            yield
        finally:
            sweeper.cancel()
            self.workers.close()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(self.limits.idle, 30.0))
            self.sessions.expire()

    def _opened(self, request: Request) -> Opened:
        opened = self.sessions.get(request.path_params["name"])
        if opened is None:
            raise _unknown_session()
        return opened


def make_app(segmenter: Segmenter, limits: Limits | None = None) -> Starlette:
    """The server as an ASGI application; ``app.state.service`` is its `Service`."""
    service = Service(segmenter, limits or Limits())
    routes = [
        Route("/spec", service.describe),
        Route("/sessions", service.open, methods=["POST"]),
        Route("/sessions/{name}/start_from", service.start_from, methods=["POST"]),
        Route("/sessions/{name}/predict", service.predict, methods=["POST"]),
        Route("/sessions/{name}/predict_each", service.predict_each, methods=["POST"]),
        Route("/sessions/{name}", service.close, methods=["DELETE"]),
    ]
    handlers: dict[Any, Any] = {
        Refused: _refused,
        UsageError: _refused_by_segmenter,
        HTTPException: _no_such_request,
        ClientDisconnect: _gone,
        Exception: _failed,
    }
    app = Starlette(routes=[Mount("/v1", routes=routes)], exception_handlers=handlers, lifespan=service.running)
    app.state.service = service
    return app


def serve(
    segmenter: Segmenter, host: str, port: int, limits: Limits, *, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        segmenter: what is served.
        host: name or address of the interface that is listened on.
        port: that is listened on; 0 takes a free one.
        limits: of the server.
        ready: called with the server's URL, once clients can connect.

    Raises:
        UsageError: when it cannot listen there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"The server cannot listen on {host}, port {port} ({error}); choose another --port."
        ) from error
    config = uvicorn.Config(
        make_app(segmenter, limits), log_level="warning", timeout_graceful_shutdown=_GOODBYE_SECONDS
    )
    with listener, contextlib.suppress(KeyboardInterrupt):
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        ready(f"http://{shown}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


async def _body(request: Request, most: int) -> bytes:
    """The body, unless it says or turns out to be larger than ``most`` bytes.

    A refusal leaves the connection open: what the client still sends is dropped as it comes. Closing it then would
    reset it, and the client could lose the answer that it has not read yet.
    """
    too_large = Refused(413, "too_large", f"The body is larger than {most >> 20} MiB, the most this server takes.")
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


def _unknown_session() -> Refused:
    return Refused(404, "unknown_session", "There is no such session here (any more); open the image again.")


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


async def _refused(request: Request, error: Refused) -> Response:
    return _error(error.status, error.code, error.message, error.headers)


async def _refused_by_segmenter(request: Request, error: UsageError) -> Response:
    return _error(422, "refused_by_segmenter", str(error))


async def _no_such_request(request: Request, error: HTTPException) -> Response:
    return _error(error.status_code, "no_such_request", f"{request.method} {request.url.path}: {error.detail}.")


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _failed(request: Request, error: Exception) -> Response:
    """The framework logs the error with its traceback."""
    return _error(500, "failed", f"The segmenter failed ({type(error).__name__}); the server's log says more.")
