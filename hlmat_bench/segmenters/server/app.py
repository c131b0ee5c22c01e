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
    PROTOCOL,
    PredictBody,
    PredictEachBody,
    Refused,
    StartFromBody,
    check_calls,
    read_json,
    read_mask,
    read_png,
)
from hlmat_bench.segmenters.server.sessions import Opened, Sessions

T = TypeVar("T")

_GOODBYE_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a server.

    Attributes:
        threads: predictions and encoder passes at the same time.
        queue: how many more may wait; the next one is answered with 503.
        sessions: open images; the one that was unused longest makes room for a new one.
        idle: seconds after which an unused session is dropped.
        megapixels: size of the largest image.
    """

    threads: int = 1
    queue: int = 64
    sessions: int = 64
    idle: float = 600.0
    megapixels: float = 64.0

    @property
    def pixels(self) -> int:
        """Return the number of pixels of the largest image."""
        return int(self.megapixels * 1e6)


class Service:
    """Answer the requests.

    Args:
        segmenter: the segmenter that is served.
        limits: the limits of the server.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits) -> None:
        self.segmenter, self.limits = segmenter, limits
        self.sessions = Sessions(limits.sessions, limits.idle)
        self._threads = ThreadPoolExecutor(limits.threads, "segmenter")
        self._free = limits.threads + limits.queue
        self.description = {
            "protocol": PROTOCOL,
            "name": segmenter.name,
            "accepts_box": segmenter.accepts_box,
            "accepts_mask": accepts_mask(segmenter),
            "spec": segmenter.spec(),
        }

    async def describe(self, request: Request) -> Response:
        """Answer ``GET /v1/spec``."""
        return JSONResponse(self.description)

    async def open(self, request: Request) -> Response:
        """Answer ``POST /v1/sessions`` with a PNG file."""
        most = 4 * self.limits.pixels + (1 << 20)  # pixels that cannot be compressed, and some more
        body = await _body(request, most)
        image = await asyncio.to_thread(read_png, body, self.limits.pixels)
        size = image.shape[0], image.shape[1]
        opened = await self._work(lambda: Opened(self.segmenter.open(image), size))
        answer = {"session": self.sessions.add(opened), "batches": opened.batches, "segmenter": self.description}
        return JSONResponse(answer, 201)

    async def start_from(self, request: Request) -> Response:
        """Answer ``POST /v1/sessions/ID/start_from``."""
        opened = self._opened(request)
        if not accepts_mask(self.segmenter):
            raise Refused(422, "no_masks", f"{self.segmenter.name} cannot start from a mask.")
        asked = read_json(await _body(request, MOST_JSON_BYTES), StartFromBody)
        mask = await asyncio.to_thread(read_mask, asked.mask, opened.size)
        return JSONResponse({"mask": await self._work(lambda: opened.start_from(mask))})

    async def predict(self, request: Request) -> Response:
        """Answer ``POST /v1/sessions/ID/predict``."""
        opened = self._opened(request)
        asked = read_json(await _body(request, MOST_JSON_BYTES), PredictBody)
        check_calls(asked.calls, opened.size, accepts_box=self.segmenter.accepts_box)
        return JSONResponse({"mask": await self._work(lambda: opened.predict(asked.calls))})

    async def predict_each(self, request: Request) -> Response:
        """Answer ``POST /v1/sessions/ID/predict_each``."""
        opened = self._opened(request)
        if not opened.batches:
            raise Refused(422, "no_batches", f"{self.segmenter.name} decodes one candidate at a time; use predict.")
        asked = read_json(await _body(request, MOST_JSON_BYTES), PredictEachBody)
        check_calls((*asked.calls, *asked.candidates), opened.size, accepts_box=self.segmenter.accepts_box)
        if len({candidate.box for candidate in asked.candidates}) > 1:
            raise Refused(422, "bad_request", "All candidates must have one box.")
        found = await self._work(lambda: opened.predict_each(asked.calls, asked.candidates))
        return JSONResponse({"masks": found})

    async def close(self, request: Request) -> Response:
        """Answer ``DELETE /v1/sessions/ID``."""
        if not self.sessions.drop(request.path_params["name"]):
            raise _unknown_session()
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def running(self, app: Starlette) -> AsyncIterator[None]:
        """Let sessions expire from the server's start to its end, also while there are no requests."""

        async def expire() -> None:
            while True:
                await asyncio.sleep(min(self.limits.idle, 30.0))
                self.sessions.expire()

        sweeper = asyncio.create_task(expire())
        try:
            yield
        finally:
            sweeper.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _work(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns in a thread; refuse it with 503 when too much is waiting."""
        if self._free == 0:
            message = "Too many requests are waiting; try again a second later."
            raise Refused(503, "overloaded", message, {"Retry-After": "1"})
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1

    def _opened(self, request: Request) -> Opened:
        opened = self.sessions.get(request.path_params["name"])
        if opened is None:
            raise _unknown_session()
        return opened


def make_app(segmenter: Segmenter, limits: Limits | None = None) -> Starlette:
    """Return the server as an ASGI application; ``app.state.service`` is its `Service`."""
    service = Service(segmenter, limits or Limits())
    routes = [
        Route("/spec", service.describe),
        Route("/sessions", service.open, methods=["POST"]),
        Route("/sessions/{name}/start_from", service.start_from, methods=["POST"]),
        Route("/sessions/{name}/predict", service.predict, methods=["POST"]),
        Route("/sessions/{name}/predict_each", service.predict_each, methods=["POST"]),
        Route("/sessions/{name}", service.close, methods=["DELETE"]),
    ]
    handlers: dict[Any, Any] = dict.fromkeys(
        (Refused, UsageError, HTTPException, ClientDisconnect, Exception), _refusal
    )
    app = Starlette(routes=[Mount("/v1", routes=routes)], exception_handlers=handlers, lifespan=service.running)
    app.state.service = service
    return app


def serve(
    segmenter: Segmenter, host: str, port: int, limits: Limits, *, ready: Callable[[str], None] = lambda url: None
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        segmenter: the segmenter that is served.
        host: name or address of the interface to listen on.
        port: the port to listen on; 0 takes a free one.
        limits: the limits of the server.
        ready: called with the server's URL, once clients can connect.

    Raises:
        UsageError: when it cannot listen there.
    """
    listen(make_app(segmenter, limits), host, port, ready)


def listen(app: Any, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve an ASGI application until SIGINT or SIGTERM; the arguments and errors are those of `serve`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        message = f"The server cannot listen on {host}, port {port} ({error}); choose another --port."
        raise UsageError(message) from error
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=_GOODBYE_SECONDS)
    with listener, contextlib.suppress(KeyboardInterrupt):
        shown = f"[{host}]" if family == socket.AF_INET6 else host
        ready(f"http://{shown}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listener])


async def _body(request: Request, most: int) -> bytes:
    """Return the body of a request; refuse one that says or turns out to be larger than ``most`` bytes.

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


async def _refusal(request: Request, error: Exception) -> Response:
    """Return the answer to a request that failed; of an unforeseen error the framework logs the traceback."""
    headers = None
    match error:
        case Refused():
            status, code, message, headers = error.status, error.code, str(error), error.headers
        case UsageError():
            status, code, message = 422, "refused_by_segmenter", str(error)
        case HTTPException():
            status, code = error.status_code, "no_such_request"
            message = f"{request.method} {request.url.path}: {error.detail}."
        case ClientDisconnect():
            return Response(status_code=400)  # there is no client that could read it
        case _:
            status, code = 500, "failed"
            message = f"The segmenter failed ({type(error).__name__}); the server's log says more."
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)
