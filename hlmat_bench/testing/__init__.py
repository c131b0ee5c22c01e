"""Deterministic replacements for tests: models, a model server, and checkpoints with random weights.

    def answer(request, image, prompt):
        return "Positive point: (500, 500)"

    with ChatServer(answer) as server:
        hlmat_bench.run(model=f"openai,model=fake,points=xy1000,base_url={server.base_url}", ...)

All of them work without a network.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np

from hlmat_bench.core.types import Image
from hlmat_bench.testing.discs import DiscSegmenter, DiscSession
from hlmat_bench.testing.marker_finder import MarkerFinder
from hlmat_bench.testing.tiny.sam import TINY_SAM, TinySam, tiny_sam
from hlmat_bench.testing.tiny.sam_families import SamFamily, tiny_sam_of
from hlmat_bench.testing.tiny.simpleclick import TINY_SIMPLECLICK, tiny_simpleclick
from hlmat_bench.testing.tiny.vlm import tiny_vlm
from hlmat_bench.testing.tiny.vlm_families import GROUNDING_TOKENS, Family

__all__ = [
    "GROUNDING_TOKENS",
    "TINY_SAM",
    "TINY_SIMPLECLICK",
    "Answer",
    "Asked",
    "ChatServer",
    "DiscSegmenter",
    "DiscSession",
    "Failure",
    "Family",
    "MarkerFinder",
    "SamFamily",
    "TinySam",
    "completion",
    "tiny_sam",
    "tiny_sam_of",
    "tiny_simpleclick",
    "tiny_vlm",
]


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure for a `ChatServer` to return in place of a completion.

    Attributes:
        status: the HTTP status.
        body: body of the response; a lone surrogate is written as a byte that is no UTF-8. None: an error object in the
            form of OpenAI's servers.
        content_type: content type of the body.
        headers: further headers, e.g. ``{"Retry-After": "1"}``.
        code: the ``code`` of the error object.
        drop: True: close the connection without a response.
        reset: True: reset the connection without a response.
        cut: True: close the connection after half of the body.
        hang: seconds to wait before the failure.
    """

    status: int = 500
    body: str | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    code: str | None = None
    drop: bool = False
    reset: bool = False
    cut: bool = False
    hang: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that a `ChatServer` received.

    Attributes:
        body: JSON object of the request.
        headers: headers by name in lower case.
        image: decoded image of the message, uint8 (H, W, 3) RGB; None without one.
        data: bytes of the image file.
        media_type: media type of the image file, e.g. ``image/jpeg``.
        prompt: text of the message.
        path: path of the request, with the query.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    image: Image | None
    data: bytes
    media_type: str
    prompt: str
    path: str = ""


Answer: TypeAlias = "str | Sequence[str] | Mapping[str, Any] | Failure"


class ChatServer:
    """An OpenAI-compatible server on the loopback interface; a context manager.

    Args:
        answer: function of the request's JSON object, the decoded image and the prompt, called in one thread per
            request. It returns one text for all choices, a list of texts, the whole JSON body of the response, or a
            `Failure`.
        models: known model names; other names get status 404. Empty: all names are known.
        key: the expected key; other keys get status 401, and the error repeats them. None: no key is needed.
        tls: context with a certificate, for HTTPS. None: plain HTTP.

    Attributes:
        asked: the requests so far.
        stopping: set when the server stops; ends the waiting of `Failure.hang`.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any], Image | None, str], Answer],
        *,
        models: Sequence[str] = (),
        key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answer = answer
        self.models = models
        self.key = key
        self.asked: list[Asked] = []
        self.stopping = threading.Event()
        self._scheme = "http" if tls is None else "https"
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        """The address of the API, for a client's ``base_url``."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def completion(texts: Sequence[str], model: str = "fake", prompt: str = "") -> dict[str, Any]:
    """Return the JSON body of a chat completion with one choice per text; tokens are counted as words."""
    tokens_in, tokens_out = len(prompt.split()), sum(len(text.split()) for text in texts)
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [
            {"index": i, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            for i, text in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, chat: ChatServer, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.chat, self.tls = chat, tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake in the thread of the connection, so that a slow client does not block the others."""
        secured = request if self.tls is None else self.tls.wrap_socket(request, server_side=True)
        super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close the connection."""
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Write nothing to the terminal."""

    def do_POST(self) -> None:
        chat = self.server.chat
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = replace(_read(body, {name.lower(): value for name, value in self.headers.items()}), path=self.path)
        chat.asked.append(asked)
        answer = self._refusal(asked) or chat.answer(body, asked.image, asked.prompt)
        if isinstance(answer, Failure):
            self._fail(answer)
            return
        if isinstance(answer, str):
            answer = [answer] * (body.get("n") or 1)
        if not isinstance(answer, Mapping):
            answer = completion(answer, body["model"], asked.prompt)
        self._send(200, json.dumps(answer), "application/json", {})

    def _refusal(self, asked: Asked) -> Failure | None:
        chat, model = self.server.chat, asked.body.get("model")
        key = asked.headers.get("authorization", "").removeprefix("Bearer ")
        if not self.path.partition("?")[0].endswith("/chat/completions"):
            return Failure(404, _error(f"Invalid URL {self.path}"))
        if chat.key is not None and key != chat.key:
            return Failure(401, _error(f"Incorrect API key provided: {key}.", "invalid_api_key"))
        if chat.models and model not in chat.models:
            return Failure(404, _error(f"The model {model!r} does not exist.", "model_not_found"))
        return None

    def _fail(self, failure: Failure) -> None:
        self.server.chat.stopping.wait(failure.hang)
        if failure.reset:  # closing with a linger time of 0 sends a reset (socket(7)); the server would close in order
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
        if failure.drop or failure.reset:
            self.close_connection = True
            return
        body = _error("a failure for a test", failure.code) if failure.body is None else failure.body
        self._send(failure.status, body, failure.content_type, failure.headers, cut=failure.cut)

    def _send(
        self, status: int, body: str, content_type: str, headers: Mapping[str, str], *, cut: bool = False
    ) -> None:
        data = body.encode(errors="surrogateescape")
        self.send_response(status)
        described = {"Content-Type": content_type, "Content-Length": str(len(data))}
        for name, value in {**headers, **described}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut


def _error(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "test", "param": None, "code": code}})


def _read(body: dict[str, Any], headers: dict[str, str]) -> Asked:
    """Read the image and the text of the last message of a request."""
    from PIL import Image as Pillow

    content = body["messages"][-1]["content"]
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    prompt = "".join(part["text"] for part in parts if part["type"] == "text")
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    if not urls:
        return Asked(body, headers, None, b"", "", prompt)
    head, _, encoded = urls[-1].partition(";base64,")
    data = base64.b64decode(encoded, validate=True)
    image = np.array(Pillow.open(io.BytesIO(data)).convert("RGB"))
    return Asked(body, headers, image, data, head.removeprefix("data:"), prompt)
