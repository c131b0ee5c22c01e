"""Downloads one file over HTTP; what a break leaves is continued later, and a file gets its name when it is whole.

Of a file NAME, the bytes so far are in NAME.part, and NAME.part.json says of which file they are: the address and its
validator (ETag or Last-Modified, https://www.rfc-editor.org/rfc/rfc9110#section-8.8). The rest is asked for with Range
and If-Range (section 13.1.5), so that a file which changed on the server is sent whole.

``http_get`` of huggingface_hub 2.4 was looked at first. It sends no If-Range and does not compare what a Range request
is answered with, so that a file which changed in between is put together of two; it does not repeat after 503 or a
connection that was reset, and does not keep a part for another process.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import is_file, replaced
from hlmat_bench.core.text import cut
from hlmat_bench.core.validation import Exact
from hlmat_bench.data.fetch.problems import AddressFailed, TryAgain, gated

if TYPE_CHECKING:
    import httpx2
    import tenacity

PATIENCE = 5
"""Attempts in a row that bring no new byte; then an address has failed."""
FIRST_WAIT = 0.5
"""The seconds before the second attempt; each further pause is twice as long, up to `LONGEST_WAIT`."""
LONGEST_WAIT = 15.0
MOST_WAIT = 120.0
"""The longest time, in seconds, that a server's Retry-After is waited for."""
SOON_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Answers of servers that may succeed later."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Progress = Callable[[int, int], object]
"""Is told bytes done, and bytes in total or 0 where that is unknown."""


@dataclass(frozen=True)
class Remote:
    """A file on a server.

    Attributes:
        url: its address.
        name: its name, relative to the folder of its entry.
        headers: sent with each request.
        size: in bytes, where it is known.
        sha256: in hexadecimal digits, where it is known.
    """

    url: str
    name: str
    headers: Mapping[str, str | None] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None


class Origin(Exact):
    """The content of NAME.part.json.

    Attributes:
        url: the address that the part comes from.
        validator: an ETag, or a date of Last-Modified; empty where the server sends none.
        total: the size of the whole file, in bytes; None where the server does not say it.
        sha256: of the whole file, as it should be.
    """

    url: str
    validator: str
    total: int | None
    sha256: str | None


class Part:
    """The bytes of a file that are already there.

    Args:
        path: the place of the whole file.
        remote: the file on the server.
    """

    def __init__(self, path: Path, remote: Remote) -> None:
        self.path, self.remote = path, remote
        self.data = path.with_name(f"{path.name}.part")
        self._about = path.with_name(f"{path.name}.part.json")
        self.origin = self._read()

    def _read(self) -> Origin | None:
        """Return where the part comes from; None where it is not known, or it is a part of another file."""
        if not (is_file(self.data) and is_file(self._about)):
            return None
        try:
            origin = Origin.model_validate_json(self._about.read_bytes())
        except (ValidationError, OSError):
            return None
        if self.remote.sha256 and origin.sha256 == self.remote.sha256:
            return origin  # the digest of the whole decides, wherever its parts come from
        return origin if origin.url == self.remote.url else None

    @property
    def size(self) -> int:
        """The number of bytes that are there."""
        return self.data.stat().st_size if self.origin else 0

    @property
    def continued_from(self) -> int:
        """The number of bytes after which the file can be continued; 0 where nothing would tell that it changed."""
        return self.size if self.origin and (self.origin.validator or self.origin.sha256) else 0

    @property
    def whole(self) -> bool:
        """Whether all bytes are there."""
        return self.origin is not None and self.size == self.origin.total

    def begin(self, origin: Origin) -> None:
        """Forget all bytes, and begin a part of a file."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.data.touch()
        with replaced(self._about, durable=False) as file:
            file.write(origin.model_dump_json().encode())
        self.origin = origin

    def discard(self) -> None:
        """Forget all bytes."""
        self._about.unlink(missing_ok=True)  # first: a part without it is never continued
        self.data.unlink(missing_ok=True)
        self.origin = None

    def finish(self) -> None:
        """Check the digest, and give the file its name.

        Raises:
            AddressFailed: when the bytes have another size or digest; they are removed.
        """
        size = self.size
        if size == 0 or self.remote.size not in (None, size):
            self.discard()
            raise AddressFailed(f"the file has {size:,} bytes" + (f", not {self.remote.size:,}" if size else ""))
        with self.data.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest() if self.remote.sha256 else None
        if digest != self.remote.sha256:
            self.discard()
            raise AddressFailed(f"the file has the SHA-256 {digest}, not {self.remote.sha256}")
        self.data.replace(self.path)
        self._about.unlink(missing_ok=True)


def client() -> httpx2.Client:
    """Return an HTTP client that follows redirections and uses the environment's proxies."""
    import httpx2

    return httpx2.Client(follow_redirects=True, timeout=httpx2.Timeout(30.0, connect=15.0))


def download(
    remote: Remote, path: Path, http: httpx2.Client, progress: Progress, stop: threading.Event | None = None
) -> None:
    """Download a file, or the rest of it.

    Args:
        remote: the file on the server.
        path: its place; it is there after the call, and whole.
        http: the client.
        progress: is told the bytes that are there.
        stop: ends the download at the next piece when it is set; the part is kept.

    Raises:
        AddressFailed: when the address gives no usable file. What an interrupted connection brought is kept.
        UsageError: when the file cannot be written.
    """
    import tenacity

    part, stop = Part(path, remote), stop or threading.Event()
    fruitless, most = 0, part.size

    def is_over(state: tenacity.RetryCallState) -> bool:
        nonlocal fruitless, most
        fruitless = 0 if part.size > most else fruitless + 1
        most = max(most, part.size)
        return fruitless >= PATIENCE or stop.is_set()

    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(TryAgain),
        stop=is_over,
        wait=pause,
        sleep=tenacity.sleep_using_event(stop),
        reraise=True,
    )
    try:
        again(_attempt, part, http, progress, stop)
        part.finish()
    except OSError as error:
        raise UsageError(
            f"{cut(str(path))} cannot be written ({error.strerror or error}); what was downloaded is kept, so free "
            "some space or correct the rights, and run the same command again."
        ) from error


def pause(state: tenacity.RetryCallState) -> float:
    """Return the seconds to wait before the next attempt."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.after if isinstance(error, TryAgain) else None
    if asked is not None:
        return min(asked, MOST_WAIT)
    return min(FIRST_WAIT * 2.0 ** min(state.attempt_number - 1, 10), LONGEST_WAIT)


def _attempt(part: Part, http: httpx2.Client, progress: Progress, stop: threading.Event) -> None:
    """Ask for the file, or for the rest of a part of it, and write what comes."""
    import httpx2

    if part.whole:
        return
    # Bytes as they are stored: a range of a compressed transfer would be a range of something else.
    headers = {key: value for key, value in part.remote.headers.items() if value} | {"Accept-Encoding": "identity"}
    if part.origin and part.continued_from:
        headers["Range"] = f"bytes={part.continued_from}-"
        if part.remote.sha256 is None:  # else the digest of the whole tells, and a mirror may have another validator
            headers["If-Range"] = part.origin.validator
    try:
        with http.stream("GET", part.remote.url, headers=headers) as response:
            _check(response, part)
            _receive(response, part, progress, stop)
    except (httpx2.TransportError, httpx2.StreamError) as error:
        if isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError):
            raise AddressFailed(_words(error)) from error
        raise TryAgain(_words(error)) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise AddressFailed(_words(error)) from error


def _check(response: httpx2.Response, part: Part) -> None:
    """Compare an answer with what was asked; begin a new part where the whole file is sent."""
    status, headers = response.status_code, response.headers
    if status == 206 and part.origin:
        if _continues(headers, part):
            return
        part.discard()
        raise TryAgain("the server sends another part than it was asked for", after=0)
    if status == 416 and part.origin:
        part.discard()
        raise TryAgain("the server has no such part of the file", after=0)
    if status in SOON_AGAIN:
        raise TryAgain(f"the server answers with HTTP {status}", retry_after(headers.get("Retry-After")))
    if status != 200:
        raise AddressFailed(_refusal(response))
    _check_kind(headers, part.remote)
    total, known = _length(headers), part.remote.size
    if total is not None and known is not None and total != known:
        raise AddressFailed(f"the file there has {total:,} bytes, not {known:,}")
    ends_by_itself = total is not None or "chunked" in headers.get("Transfer-Encoding", "")
    if not ends_by_itself and known is None and part.remote.sha256 is None:
        raise AddressFailed("the server does not say how long the file is, so that a break would not be noticed")
    part.begin(
        Origin(url=part.remote.url, validator=_validator(headers), total=total or known, sha256=part.remote.sha256)
    )


def _continues(headers: httpx2.Headers, part: Part) -> bool:
    """Return whether an answer to a Range request continues the part."""
    found = _RANGE.fullmatch(headers.get("Content-Range", ""))
    origin = part.origin
    if found is None or origin is None or int(found[1]) != part.size:
        return False
    if found[2] != "*" and origin.total not in (None, int(found[2])):
        return False
    sent = _validator(headers)
    return part.remote.sha256 is not None or not sent or sent == origin.validator


def _check_kind(headers: httpx2.Headers, remote: Remote) -> None:
    kind, name = headers.get("Content-Type", ""), remote.name.lower()
    if kind.startswith("text/html") and not name.endswith((".html", ".htm")):
        raise AddressFailed("the server answers with a web page instead of the file")
    encoding = headers.get("Content-Encoding", "identity")
    if encoding not in ("", "identity") and not name.endswith((".gz", ".tgz")):
        raise AddressFailed(f"the server sends the file in the encoding {cut(encoding, 40)}, which was not asked for")


def _receive(response: httpx2.Response, part: Part, progress: Progress, stop: threading.Event) -> None:
    total = part.origin.total if part.origin else None
    done = part.size
    progress(done, total or 0)
    with part.data.open("ab", buffering=0) as file:
        # Raw: some servers call the compression of a .tgz file one of the transfer. Without a size of pieces: what is
        # collected for a piece is lost when the connection breaks.
        for piece in response.iter_raw():
            if total is not None and done + len(piece) > total:
                part.discard()
                raise AddressFailed(f"the server sends more than the {total:,} bytes of the file")
            _write(file, piece)
            done += len(piece)
            progress(done, total or 0)
            if stop.is_set():
                raise AddressFailed("the download was stopped")
    if total is not None and done < total:
        raise TryAgain(f"the connection ended after {done:,} of {total:,} bytes")


def _write(file: Any, piece: bytes) -> None:
    """Write all bytes: a file without a buffer may take fewer than it is given."""
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _validator(headers: httpx2.Headers) -> str:
    """Return what identifies the state of a file for If-Range: a strong ETag, or else the time of its last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _length(headers: httpx2.Headers) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a server asks to wait: a number of them, or a date.

    >>> retry_after("7"), retry_after("soon"), retry_after(None)
    (7.0, None, None)
    """
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def _refusal(response: httpx2.Response) -> str:
    status = response.status_code
    if response.headers.get("X-Error-Code") == "GatedRepo":
        return gated(str(response.request.url.path).partition("/resolve/")[0].lstrip("/"))
    words = {401: ": it asks for a password or token", 403: ": it forbids the download", 404: ": there is no such file"}
    return f"the server answers with HTTP {status}{words.get(status, '')}"


def _words(error: Exception) -> str:
    first = str(error).strip().splitlines()[:1]
    return cut(f"{type(error).__name__}: {first[0]}" if first else type(error).__name__).rstrip(".")
