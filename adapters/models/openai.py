"""Any model behind an OpenAI-compatible chat completions API: vendors' services, vLLM, SGLang, Ollama, ...

Requests are those of https://platform.openai.com/docs/api-reference/chat: one user message of an image, as a data
URL, and the prompt. They go through the aiohttp transport of the openai package, which alone of its transports keeps
hundreds of requests under way, and not through its typed client, which takes longer for a request than all the rest; a
request that failed is asked again by `hlmat_bench.retries`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import json
import os
import time
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from hlmat_bench import chat, images, local
from hlmat_bench.errors import HlmatError, RequestFailed, TryAgain, UsageError
from hlmat_bench.framing import Resize
from hlmat_bench.interfaces import Image, Reply, Request
from hlmat_bench.points import PointFormat
from hlmat_bench.prices import find as find_price
from hlmat_bench.retries import persist, retry_after
from hlmat_bench.throttle import Throttle

if TYPE_CHECKING:
    import httpx2

_OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0
_PAYERS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
_IMAGE = "{image}"
_SHORTEST_SECRET = 6  # in a reply; servers without keys are given words like "none"
# Syntaxes whose tags are special tokens in many checkpoints. vLLM, SGLang and LMDeploy drop these unless told not to:
# https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, `skip_special_tokens`.
_TAGS = ("point", "points", "box", "det", "loc")
_PASSING = (408, 409, 429)

# Error codes of https://platform.openai.com/docs/guides/error-codes that no later request can escape.
_FATAL = {
    "insufficient_quota": "add credit to the account, or name another key with key_env=",
    "unsupported_parameter": "name it in leave_out=, or take max_tokens_param=max_completion_tokens",
    "unsupported_value": "leave that parameter out with leave_out=, e.g. leave_out=temperature",
}
# Error codes of a prompt that the service does not let through:
# https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter, https://platform.openai.com/docs/guides/images
_FILTERED = ("content_filter", "content_policy_violation")


def missing(name: str) -> str | None:
    """What a model behind an API lacks here; None when it lacks nothing. Keys and servers are not looked at."""
    return local.missing_packages("openai", "aiohttp")


class OpenAIModel:
    """A model on a server that speaks OpenAI's chat completions.

    Args:
        model: its name on the server.
        points: how it writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        base_url: of the server; by default the environment's OPENAI_BASE_URL, else OpenAI's own.
        api_key: by default from the environment.
        key_env: the environment variable that holds the key.
        image_format: ``jpeg`` or ``png``.
        quality: of a JPEG, 1 to 100.
        subsampling: of a JPEG's colours: ``444``, ``422`` or ``420``.
        detail: how closely the service looks at the image (``low``, ``high``, ...); None: its default.
        concurrency: most requests under way at once; fewer while the server refuses that many.
        timeout: seconds that the server may be silent.
        deadline: seconds for a request with all its repetitions.
        retries: of a request that failed.
        max_tokens_param: what the server calls the limit of a reply's length: ``max_tokens`` or
            ``max_completion_tokens``.
        leave_out: fields of a request that the server does not take, joined by ``+``: ``temperature+seed``. Where
            coordinates stand between tags, ``skip_special_tokens`` is one of them.
        reasoning_effort: for models that think before they answer.
        deterministic: at temperature 0 the same question gets the same answer, so it need not be asked twice.
        prices: a file of prices, as `hlmat_bench.prices.find` reads it; None: our own.
        name: what to call it in tables; by default ``model``.

    Attributes:
        price: of its tokens; None where unknown.
        seeded: a request names its seed.

    Raises:
        UsageError: when an option or the key is missing or makes no sense.
    """

    def __init__(
        self,
        model: str | None = None,
        points: str | PointFormat | None = None,
        resize: str = "none",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_env: str = "OPENAI_API_KEY",
        image_format: images.Format = "jpeg",
        quality: int = 95,
        subsampling: str | int = "444",
        detail: str | None = None,
        concurrency: int = 8,
        timeout: float = 120.0,
        deadline: float = 600.0,
        retries: int = 6,
        max_tokens_param: str = "max_tokens",
        leave_out: str = "",
        reasoning_effort: str | None = None,
        deterministic: bool = True,
        prices: str | None = None,
        name: str | None = None,
    ) -> None:
        if model is None or points is None:
            raise UsageError(
                "openai needs model= and points=, the way the model writes coordinates: for example "
                "openai,model=gpt-4o,points=xypixel."
            )
        local.require("openai", "aiohttp")
        self.model, self.name, self.concurrency = str(model), str(name or model), concurrency
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.resize = Resize.named(resize)
        self.price = find_price(self.model, prices)
        self._url = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_URL
        self._host = _host(self._url)
        self._address, self._login = _split(self._url)
        self._key_env = key_env
        self._key = _key(api_key, key_env, self._url)
        self._image = images.settings(image_format, quality, subsampling)
        self._detail = detail
        self._timeout, self._deadline, self._retries = timeout, deadline, retries
        self._max_tokens_param, self._reasoning_effort = max_tokens_param, reasoning_effort
        self._leave_out = sorted(set(filter(None, leave_out.split("+"))))
        self.deterministic = deterministic and "temperature" not in self._leave_out
        self.seeded = "seed" not in self._leave_out
        self._keep_tags = self.points.syntax in _TAGS and self._url != _OPENAI_URL
        self._reached = False
        self._threads = ThreadPoolExecutor(max(os.cpu_count() or 1, 2), "encode")
        self._throttle = Throttle()
        self._client: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def spec(self) -> dict[str, Any]:
        """What the answers depend on, without key and path: server, model, image encoding, request fields."""
        return {
            "adapter": "openai",
            "model": self.model,
            "host": self._host,
            "image": {**self._image, "detail": self._detail},
            "max_tokens_param": self._max_tokens_param,
            "leave_out": self._leave_out,
            "reasoning_effort": self._reasoning_effort,
            "versions": {"openai": importlib.metadata.version("openai")},
        }

    async def reply(self, request: Request) -> list[Reply]:
        """See `hlmat_bench.interfaces.Model.reply`; a server that gives fewer than ``n`` choices is asked again.

        Raises:
            UsageError: when the server is not there, at the first request or any more.
        """
        start = time.perf_counter()
        if not self._reached:
            await self._reach()
        client = self._connected()
        url = await asyncio.get_running_loop().run_in_executor(self._threads, self._data_url, request.image)
        replies: list[Reply] = []
        while len(replies) < request.n:
            wanted = request.n - len(replies)
            ask = partial(self._ask, client, self._body(request, url, wanted), wanted)
            try:
                replies += await persist(ask, throttle=self._throttle, retries=self._retries, deadline=self._deadline)
            except RequestFailed:
                await self._reach()  # that a server is gone is no fault of this request
                raise
        seconds = (time.perf_counter() - start) / request.n
        return [replace(reply, seconds=seconds) for reply in replies]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _data_url(self, image: Image) -> bytes:
        data = images.encode(image, **self._image)
        return f"data:{images.MEDIA_TYPES[self._image['format']]};base64,".encode() + base64.b64encode(data)

    def _body(self, request: Request, url: bytes, wanted: int) -> bytes:
        """The body of a request for the last so many of its replies.

        The image, most of the body, is put in as it is: writing it as JSON would take longer than all the rest.
        """
        picture = {"url": _IMAGE} if self._detail is None else {"url": _IMAGE, "detail": self._detail}
        content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": request.prompt}]
        decoding: dict[str, Any] = {
            "model": self.model,
            "temperature": request.temperature,
            "seed": request.seed + request.n - wanted,
            self._max_tokens_param: request.max_tokens,
        }
        if wanted > 1:
            decoding["n"] = wanted
        if self._keep_tags:
            decoding["skip_special_tokens"] = False
        if self._reasoning_effort is not None:
            decoding["reasoning_effort"] = self._reasoning_effort
        taken = {name: value for name, value in decoding.items() if name not in self._leave_out}
        head, tail = json.dumps({"messages": [{"role": "user", "content": content}], **taken}).split(_IMAGE, 1)
        return b"".join((head.encode(), url, tail.encode()))

    async def _ask(self, client: httpx2.AsyncClient, body: bytes, wanted: int) -> list[Reply]:
        """One attempt: at most so many replies.

        Raises:
            RequestFailed, UsageError: without the key in it.
        """
        import aiohttp
        import httpx2

        failure: HlmatError
        try:
            response = await client.post(f"{self._address.rstrip('/')}/chat/completions", content=body)
            if response.is_success:
                replies = chat.read(response.content, wanted, self.price)
                return [replace(reply, text=self._without_secrets(reply.text, _SHORTEST_SECRET)) for reply in replies]
            refusal = chat.read_error(response.content)
            if refusal.code in _FILTERED:
                return [Reply("", finish="content_filter")] * wanted
            failure = self._explained(response.status_code, refusal, response.headers)
        except httpx2.TimeoutException as error:
            failure = TryAgain(self._silence(error))
        except (httpx2.HTTPError, aiohttp.ClientError):
            failure = TryAgain(f"the connection to {self._host} broke")
        except TryAgain as error:
            failure = TryAgain(f"{self._host}: {self._clean(str(error))}")
        raise failure  # outside of the handlers: the cause would carry the request and its key

    def _connected(self) -> httpx2.AsyncClient:
        """The client of the running event loop."""
        import openai

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop, self._throttle = loop, Throttle()
            timeout = openai.Timeout(self._timeout, connect=_CONNECT_SECONDS)
            self._client = openai.DefaultAioHttpClient(timeout=timeout, follow_redirects=False, headers=self._headers())
        return self._client

    def _headers(self) -> dict[str, str]:
        """Who asks: https://platform.openai.com/docs/api-reference/authentication."""
        login = {"Authorization": f"Bearer {self._key}"} if self._key else self._login
        payers = {header: os.environ.get(variable) for header, variable in _PAYERS.items()}
        return {"Content-Type": "application/json", **login, **{name: who for name, who in payers.items() if who}}

    async def _reach(self) -> None:
        """Tell a server that is not there from one that is busy or broken.

        Raises:
            UsageError: when nothing answers at its address.
        """
        parts = urlsplit(self._url)
        if parts.scheme not in urllib.request.getproxies():
            port = parts.port or (443 if parts.scheme == "https" else 80)
            try:
                connection = asyncio.open_connection(self._host, port)
                _, writer = await asyncio.wait_for(connection, _CONNECT_SECONDS)
            except (OSError, TimeoutError):
                raise UsageError(
                    f"There is no server at {self._host}:{port}; start it, or name its address with base_url=."
                ) from None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        self._reached = True

    def _silence(self, error: BaseException) -> str:
        """A timeout in our words; the transport also calls a connection so that the server closed."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, TimeoutError):
                return f"{self._host} did not answer within {self._timeout:g} seconds"
            cause = cause.__cause__
        return f"the connection to {self._host} broke"

    def _explained(self, status: int, error: chat.Refusal, headers: Mapping[str, str]) -> HlmatError:
        """A status that says no, in our words; the key is blotted out."""
        said = f"{self._host} says (HTTP {status}): {self._clean(error.message)}"
        if status in (401, 403):
            return UsageError(f"{said}; set {self._key_env} to a key that may use {self.model!r}.")
        if status == 404 or status < 400:
            return UsageError(f"{said}; check model={self.model} and base_url=.")
        if error.code in _FATAL:
            return UsageError(f"{said}; {_FATAL[error.code]}.")
        if status in _PASSING or status >= 500:
            return TryAgain(said, after=retry_after(headers), too_many=status == 429)
        return RequestFailed(said)

    def _clean(self, text: str) -> str:
        """One short line without the key."""
        return " ".join(self._without_secrets(text).split())[:200].rstrip(".")

    def _without_secrets(self, text: str, shortest: int = 1) -> str:
        """A text in which the key is blotted out, and so is a password in the address."""
        parts = urlsplit(self._url)
        login = self._login.get("Authorization", "").removeprefix("Basic ")
        for secret in (self._key, parts.password, login):
            if secret and len(secret) >= shortest:
                text = text.replace(secret, "***")
        return text


def _host(url: str) -> str:
    """The host of an address.

    Raises:
        UsageError: when it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("base_url= must look like http://localhost:8000/v1.")
    return parts.hostname


def _split(url: str) -> tuple[str, dict[str, str]]:
    """An address without user and password, and the header that stands for them (RFC 7617)."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    header = {"Authorization": f"Basic {base64.b64encode(unquote(user).encode()).decode()}"} if at else {}
    return parts._replace(netloc=host).geturl(), header


def _key(given: str | None, variable: str, url: str) -> str | None:
    """The key; a server other than OpenAI's may want none."""
    key = given or os.environ.get(variable)
    if not key and url == _OPENAI_URL:
        raise UsageError(f"openai needs a key: set {variable}, or name another variable with key_env=.")
    return str(key) if key else None


MODELS = {"openai": OpenAIModel}
