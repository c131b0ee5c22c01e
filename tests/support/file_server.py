"""A server of files on this machine, which stands in for the world: plain HTTP, and as much of the hub's as is asked.

It serves with Range, If-Range and ETag, and misbehaves as a test says. The hub's paths and headers are those that
huggingface_hub 2.4 asks for (https://huggingface.co/docs/hub/api).
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Served:
    """What is at a path.

    Attributes:
        data: the bytes.
        etag: the ETag; empty for none.
        modified: the Last-Modified; empty for none.
        ranges: whether Range is answered with a part.
        faithful: whether If-Range is compared.
        break_at: for the next requests, the position in the file at which the connection breaks.
        hang_at: the position in the file after which nothing more comes; None for none.
        answers: answers (status, headers) of the next requests instead of the file.
        redirect: where the file is instead.
        ends: how the end of the file is told: by its length, by chunks, or only by the end of the connection.
        headers: more headers.
    """

    data: bytes = b""
    etag: str = ""
    modified: str = ""
    ranges: bool = True
    faithful: bool = True
    break_at: list[int] = field(default_factory=list)
    hang_at: int | None = None
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    redirect: str = ""
    ends: str = "length"
    headers: dict[str, str] = field(default_factory=dict)


def served(data: bytes, **changes: object) -> Served:
    """Return a file with a strong ETag."""
    return Served(data, **{"etag": f'"{hashlib.sha256(data).hexdigest()[:16]}"', **changes})  # type: ignore[arg-type]


class FileServer(ThreadingHTTPServer):
    """The server; `files` are served by path, and `asked` are the requests: method, path and headers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, Served] = {}
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""

    def add_hub(self, repo: str, files: Mapping[str, bytes], *, kind: str = "datasets", gated: bool = False) -> None:
        """Serve a repository as the hub does: its files of LFS lie elsewhere, where a redirection leads."""
        page = f"/{kind}/{repo}" if kind == "datasets" else f"/{repo}"
        info = json.dumps({"_id": "1", "id": repo, "sha": COMMIT, "siblings": []}).encode()
        self.files[f"/api/{kind}/{repo}"] = self.files[f"/api/{kind}/{repo}/revision/main"] = Served(info)
        self.files[f"/api/{kind}/{repo}/revision/{COMMIT}"] = Served(info)
        folders = {"/".join(path.split("/")[:depth]) for path in files for depth in range(path.count("/") + 1)}
        for folder in folders:
            inside = {path: data for path, data in files.items() if path.startswith(f"{folder}/" if folder else "")}
            place = f"/api/{kind}/{repo}/tree/{COMMIT}{'/' if folder else ''}{folder}"
            deep = 1 + (folder.count("/") + 1 if folder else 0)
            here = {path: data for path, data in inside.items() if len(path.split("/")) == deep}
            for key, found in ((place, here), (f"{place}?recursive", inside)):
                self.files[key] = Served(json.dumps([_listed(path, data) for path, data in found.items()]).encode())
        for path, data in files.items():
            place = f"/cdn/{hashlib.sha256(data).hexdigest()}"
            self.files.setdefault(place, served(data))
            found = Served(redirect=place, headers={"X-Repo-Commit": COMMIT})
            refused = Served(answers=[(403, {"X-Error-Code": "GatedRepo"})] * 9)
            self.files[f"{page}/resolve/{COMMIT}/{path}"] = refused if gated else found


def _listed(path: str, data: bytes) -> dict[str, object]:
    digest = hashlib.sha256(data).hexdigest()
    lfs = {"oid": digest, "size": len(data), "pointerSize": 130}
    return {"type": "file", "oid": digest[:40], "size": len(data), "path": path, "lfs": lfs}


@contextmanager
def serving() -> Iterator[FileServer]:
    server = FileServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, head: bool) -> None:
        asked = urlsplit(self.path)
        path = unquote(asked.path) + ("?recursive" if "recursive=true" in asked.query.lower() else "")
        self.server.asked.append((self.command, path, dict(self.headers)))
        file = self.server.files.get(path)
        if file is None:
            self._plain(404, {})
        elif file.answers and not head:
            self._plain(*file.answers.pop(0))
        elif file.redirect:
            self._plain(302, {"Location": file.redirect, **file.headers})
        else:
            self._file(file, head)

    def _plain(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, file: Served, head: bool) -> None:
        start = self._start(file)
        if start > 0 and start >= len(file.data):
            self._plain(416, {"Content-Range": f"bytes */{len(file.data)}"})
            return
        self.send_response(206 if start else 200)
        headers = {"ETag": file.etag, "Last-Modified": file.modified, **file.headers}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(file.data) - 1}/{len(file.data)}"
        if file.ends == "length":
            headers["Content-Length"] = str(len(file.data) - start)
        if file.ends == "chunks":
            headers["Transfer-Encoding"] = "chunked"
        if file.ends != "length":
            self.close_connection = True
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if not head:
            self._body(file, start)

    def _start(self, file: Served) -> int:
        asked = self.headers.get("Range", "")
        if not asked or not file.ranges:
            return 0
        condition = self.headers.get("If-Range")
        if file.faithful and condition and condition not in (file.etag, file.modified):
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def _body(self, file: Served, start: int) -> None:
        end = file.break_at.pop(0) if file.break_at else len(file.data)
        if file.hang_at is not None:
            self.wfile.write(file.data[start : file.hang_at])
            while file.hang_at is not None:
                time.sleep(0.05)
            self.close_connection = True
            return
        body = file.data[start:end]
        if file.ends == "chunks" and body:
            body = f"{len(body):x}\r\n".encode() + body + b"\r\n"
        self.wfile.write(body)
        if end < len(file.data):
            self.close_connection = True
        elif file.ends == "chunks":
            self.wfile.write(b"0\r\n\r\n")
