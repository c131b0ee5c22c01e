from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core import images
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.protocol.interfaces import Request
from hlmat_bench.protocol.plugins import make

Answer = Callable[[dict[str, Any]], tuple[int, bytes]]


class _Endpoint(ThreadingHTTPServer):
    answer: Answer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/point?token=canary-4711"


class _Handler(BaseHTTPRequestHandler):
    server: _Endpoint

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, body = self.server.answer(question)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[_Endpoint]:
    server = _Endpoint(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_what_is_asked_and_what_is_answered(endpoint: _Endpoint) -> None:
    asked = []

    def answer(question: dict[str, Any]) -> tuple[int, bytes]:
        asked.append(question)
        return 200, json.dumps({"texts": ["a", "b"]}).encode()

    endpoint.answer = answer
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    request = Request(image, "Where?", n=2, temperature=0.5, max_tokens=9, seed=3)
    replies = asyncio.run(make("model", f"http,url={endpoint.url},points=xy1000").reply(request))
    assert [reply.text for reply in replies] == ["a", "b"]
    [question] = asked
    assert (images.decode(base64.b64decode(question.pop("image"))) == image).all()
    assert question == {"prompt": "Where?", "n": 2, "temperature": 0.5, "max_tokens": 9, "seed": 3}


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b'{"texts": ["Positive point: (1, 1)"]}'),
        (200, b"<html>"),
        (200, b"\xff\xfe"),
        (200, b"[1]"),
        (200, b'{"texts": []}'),
        (200, b'{"texts": [5]}'),
        (200, b'{"text": "x"}'),
    ],
)
def test_what_is_no_answer_is_recorded_without_the_token(
    endpoint: _Endpoint, status: int, body: bytes, boxes: Path, tool: str, tmp_path: Path
) -> None:
    """The first episode is answered and the other two fail; where none is answered, the run ends."""
    model = f"http,url={endpoint.url},points=xy1000,retries=0"
    words = {"out": tmp_path / "run", "limit": 3, "argv": ["run", "--model", model], "concurrency": 1}
    endpoint.answer = lambda question: (status, body)
    with pytest.raises(RequestFailed, match=r"did not answer \{\"texts|HTTP 500"):
        asyncio.run(make("model", model).reply(Request(np.zeros((5, 7, 3), np.uint8), "Where?")))
    with pytest.raises(UsageError, match="first 3 requests to http failed alike") as caught:
        hlmat_bench.run(model, str(boxes / "boxes.yaml"), tool, **words)
    assert "canary" not in str(caught.value)
    good = [(200, b'{"texts": ["Finish"]}')]
    endpoint.answer = lambda question: good.pop() if good else (status, body)
    run = hlmat_bench.run(model, str(boxes / "boxes.yaml"), tool, **words)
    assert [episode.stop for episode in run.episodes()] == ["stop", "error", "error"]
    assert all(b"canary-4711" not in path.read_bytes() for path in run.folder.iterdir())


def test_no_server_is_one_sentence_without_the_token() -> None:
    model = make("model", "http,url=http://127.0.0.1:9/?token=canary-4711,points=xy1000")
    with pytest.raises(UsageError, match="no server at 127.0.0.1") as caught:
        asyncio.run(model.reply(Request(np.zeros((5, 7, 3), np.uint8), "Where?")))
    assert "canary" not in str(caught.value)
    with pytest.raises(UsageError, match="url= must look like"):
        make("model", "http,url=localhost,points=xy1000")
