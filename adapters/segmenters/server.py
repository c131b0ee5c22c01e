"""A segmenter that runs in a server (`hlmat-bench serve-segmenter`), with the masks that it gives in this process.

Every request carries all predictions that lead to the mask, so that it may be asked twice, by a client whose connection
broke, or of a server that has forgotten the image, and still gives the same mask. A mask to start from is sent once for
each time that the image is opened.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from hlmat_bench.clicks import Click
from hlmat_bench.core import images, masks
from hlmat_bench.core.errors import RequestFailed, TryAgain, UsageError
from hlmat_bench.core.types import Box, Image, Mask
from hlmat_bench.models.api import retries, waiting_times
from hlmat_bench.segmenters.server.requests import PROTOCOL

T = TypeVar("T")
Calls: TypeAlias = tuple[dict[str, Any], ...]

_CONNECT_SECONDS = 10.0


class _UnknownSession(Exception):
    """The server does not know the session, or does not know it any more."""


class ServedSegmenter:
    """The segmenter of a server. Its name, spec and masks are those of the segmenter without a server.

    Args:
        url: the address of the server.
        patience: seconds that a prediction may take, with all waiting for a server that is busy or restarted.

    Raises:
        UsageError: when no segmenter server answers there, or an option makes no sense.
    """

    def __init__(self, *, url: str = "http://127.0.0.1:8765", patience: float = 600.0) -> None:
        if not isinstance(patience, int | float) or not patience > 0:
            raise UsageError(f"patience={patience} is not a number of seconds; the default is 600.")
        self._server = _Server(str(url), patience)
        self._description = self._server.describe()
        self.name: str = self._description["name"]
        self.accepts_box: bool = self._description["accepts_box"]
        self.accepts_mask: bool = self._description.get("accepts_mask", False)

    def spec(self) -> dict[str, Any]:
        """See `hlmat_bench.protocol.interfaces.Segmenter.spec`; the server's place is no part of it."""
        return dict(self._description["spec"])

    def open(self, image: Image) -> ServedSession:
        """See `hlmat_bench.protocol.interfaces.Segmenter.open`.

        Raises:
            UsageError: when the server refuses the image, is gone, or serves another segmenter by now.
        """
        opened = _OpenImage(self._server, images.encode(image, "png"), self._description)
        return (BatchServedSession if opened.batches else ServedSession)(opened, image.shape[:2])


class ServedSession:
    """An image opened in a server. Its state is the predictions that led there from the start mask, if there is one."""

    def __init__(self, opened: _OpenImage, size: tuple[int, ...]) -> None:
        self._opened, self._size = opened, size
        self._calls: Calls = ()

    def start_from(self, mask: Mask) -> None:
        """See `hlmat_bench.protocol.interfaces.RefiningSession.start_from`.

        Raises:
            UsageError: when the mask has another shape than the image, or as `predict`.
        """
        given = masks.of_shape(mask, self._size)
        if given.any():
            self._opened.start_from(masks.encode(given))

    def predict(self, clicks: Sequence[Click], box: Box | None = None) -> Mask:
        """See `hlmat_bench.protocol.interfaces.Session.predict`.

        Raises:
            UsageError: when the server refuses the clicks, fails, or is gone for longer than the patience lasts.
        """
        calls = (*self._calls, _call(clicks, box))
        mask = self._mask(self._opened.ask("predict", {"calls": calls})["mask"])
        self._calls = calls
        return mask

    def snapshot(self) -> Calls:
        """Return the predictions so far."""
        return self._calls

    def restore(self, state: Calls) -> None:
        """See `hlmat_bench.protocol.interfaces.Session.restore`; the server goes there with the next prediction."""
        self._calls = state

    def _mask(self, rle: dict[str, Any]) -> Mask:
        return masks.of_shape(masks.decode(rle), self._size)


class BatchServedSession(ServedSession):
    """A session of a segmenter that decodes several candidates in one pass."""

    def predict_each(self, candidates: Sequence[Sequence[Click]], box: Box | None = None) -> list[Mask]:
        """See `hlmat_bench.protocol.interfaces.BatchSession.predict_each`; raises as `predict`."""
        if not candidates:
            return []
        asked = {"calls": self._calls, "candidates": [_call(clicks, box) for clicks in candidates]}
        return [self._mask(rle) for rle in self._opened.ask("predict_each", asked)["masks"]]


class _OpenImage:
    """An image that is open in a server. It is opened again when the server has lost it.

    Args:
        server: the server.
        png: the image as a PNG file.
        description: the description of the segmenter that is expected there.
    """

    def __init__(self, server: _Server, png: bytes, description: dict[str, Any]) -> None:
        self._server, self._png, self._description = server, png, description
        self._name = ""
        self._start: masks.RLE | None = None
        self.batches: bool = server.insist(self._open)["batches"]

    def start_from(self, mask: masks.RLE) -> None:
        """Let the session, and each later session that replaces it, start from a mask."""
        self.ask("start_from", {"mask": mask})
        self._start = mask

    def ask(self, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to ``start_from``, ``predict`` or ``predict_each``."""

        def once() -> dict[str, Any]:
            try:
                if not self._name:
                    self._open()
                return self._server.ask("POST", f"sessions/{self._name}/{what}", json=body)
            except _UnknownSession:
                self._name = ""
                raise TryAgain("it has lost the session", after=0.0) from None

        return self._server.insist(once)

    def _open(self) -> dict[str, Any]:
        headers = {"Content-Type": images.MEDIA_TYPES["png"]}
        answer = self._server.ask("POST", "sessions", content=self._png, headers=headers)
        if answer["segmenter"] != self._description:
            raise UsageError(
                f"The server at {self._server.url} serves another segmenter than when this began; start it with the "
                "same options again."
            )
        if self._start is not None:
            self._server.ask("POST", f"sessions/{answer['session']}/start_from", json={"mask": self._start})
        self._name = answer["session"]
        return answer


class _Server:
    """Send requests to a server. Safe to use from several threads.

    Args:
        url: the address of the server.
        patience: see `ServedSegmenter`.
    """

    def __init__(self, url: str, patience: float) -> None:
        import httpx2

        self.url, self._patience = url.rstrip("/"), patience
        try:
            self._client = httpx2.Client(
                base_url=f"{self.url}/v1/",
                timeout=httpx2.Timeout(patience, connect=_CONNECT_SECONDS),
                limits=httpx2.Limits(max_connections=None),
                trust_env=False,  # no proxy stands between a run and its segmenter
            )
        except httpx2.InvalidURL as error:
            raise UsageError(f"url={url} is not a URL ({error}); it looks like http://127.0.0.1:8765.") from error
        weakref.finalize(self, self._client.close)

    def describe(self) -> dict[str, Any]:
        """Return what the server says of its segmenter.

        Raises:
            UsageError: when there is no segmenter server.
        """
        try:
            answer = self.ask("GET", "spec", timeout=_CONNECT_SECONDS)
        except (TryAgain, _UnknownSession) as error:
            raise UsageError(
                f"There is no segmenter server at {self.url}: {error}; start one with `hlmat-bench serve-segmenter`."
            ) from error
        if answer.get("protocol") != PROTOCOL:
            raise UsageError(
                f"The server at {self.url} speaks {answer.get('protocol')}, not {PROTOCOL}; use one version of "
                "hlmat-bench on both sides."
            )
        return answer

    def insist(self, ask: Callable[[], T]) -> T:
        """Return what ``ask`` returns, and ask again while the server is busy, gone, or has lost the session.

        Raises:
            UsageError: when the patience is over.
        """
        try:
            return retries.insist(ask, deadline=self._patience)
        except RequestFailed as error:
            raise UsageError(
                f"The segmenter server at {self.url} gave no answer for {self._patience:g} seconds: {error}; "
                "start the server again, then start the same command again."
            ) from error

    def ask(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        """Return the JSON object that answers one request.

        Raises:
            TryAgain: when there is no answer, or the server has too much to do.
            _UnknownSession: when the session is unknown.
            UsageError: for any other refusal.
        """
        import httpx2

        try:
            response = self._client.request(method, path, **content)
        except httpx2.TransportError as error:
            raise TryAgain(str(error) or type(error).__name__) from error
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if response.is_success and isinstance(answer, dict):
            return answer
        refusal = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(refusal, dict):
            raise UsageError(f"What answers at {self.url} (status {response.status_code}) is not a segmenter server.")
        if response.status_code == 503:
            after = waiting_times.retry_after(response.headers)
            raise TryAgain(str(refusal.get("message")), after=after, too_many=True)
        if refusal.get("code") == "unknown_session":
            raise _UnknownSession
        raise UsageError(f"The segmenter server at {self.url} refused: {refusal.get('message')}")


def _call(clicks: Sequence[Click], box: Box | None) -> dict[str, Any]:
    """Return one prediction as JSON."""
    return {
        "clicks": [[bool(click.positive), int(click.x), int(click.y)] for click in clicks],
        "box": None if box is None else [int(edge) for edge in box],
    }


SEGMENTERS = {"server": ServedSegmenter}
