"""Any model behind an OpenAI-compatible chat completions API: vendors' services, vLLM, SGLang, Ollama, ...

Requests are those of https://platform.openai.com/docs/api-reference/chat: one user message of an image, as a data
URL, and the prompt. The client's own retries cover rate limits (with Retry-After), server errors and broken
connections.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import os
import time
import urllib.request
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hlmat_bench import images, local
from hlmat_bench.errors import HlmatError, RequestFailed, UsageError
from hlmat_bench.framing import Resize
from hlmat_bench.interfaces import Image, Reply, Request
from hlmat_bench.points import PointFormat

if TYPE_CHECKING:
    import openai

_OPENAI_URL = "https://api.openai.com/v1"
_CONNECT_SECONDS = 10.0

# Error codes of https://platform.openai.com/docs/guides/error-codes that no later request can escape.
_FATAL = {
    "insufficient_quota": "add credit to the account, or name another key with key_env=",
    "unsupported_parameter": "name it in leave_out=, or take max_tokens_param=max_completion_tokens",
    "unsupported_value": "leave that parameter out with leave_out=, e.g. leave_out=temperature",
}


def missing(name: str) -> str | None:
    """What a model behind an API lacks here; None when it lacks nothing. Keys and servers are not looked at."""
    return local.missing_packages("openai")


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
        concurrency: most requests under way at once.
        timeout: seconds that the server may be silent.
        retries: of a request that failed.
        max_tokens_param: what the server calls the limit of a reply's length: ``max_tokens`` or
            ``max_completion_tokens``.
        leave_out: fields of a request that the server does not take, joined by ``+``: ``temperature+seed``.
        reasoning_effort: for models that think before they answer.
        deterministic: at temperature 0 the same question gets the same answer, so it need not be asked twice.
        name: what to call it in tables; by default ``model``.

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
        retries: int = 6,
        max_tokens_param: str = "max_tokens",
        leave_out: str = "",
        reasoning_effort: str | None = None,
        deterministic: bool = True,
        name: str | None = None,
    ) -> None:
        if model is None or points is None:
            raise UsageError(
                "openai needs model= and points=, the way the model writes coordinates: for example "
                "openai,model=gpt-4o,points=xypixel."
            )
        local.require("openai")
        self.model, self.name, self.concurrency = str(model), str(name or model), concurrency
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.resize = Resize.named(resize)
        self._url = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_URL
        self._host = _host(self._url)
        self._key_env = key_env
        self._key = _key(api_key, key_env, self._url)
        self._image = images.settings(image_format, quality, subsampling)
        self._detail = detail
        self._timeout, self._retries = timeout, retries
        self._max_tokens_param, self._reasoning_effort = max_tokens_param, reasoning_effort
        self._leave_out = sorted(set(filter(None, leave_out.split("+"))))
        self.deterministic = deterministic and "temperature" not in self._leave_out
        self._reached = False
        self._client: openai.AsyncOpenAI | None = None
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
        """See `hlmat_bench.interfaces.Model.reply`; a server that gives fewer than ``n`` choices is asked again."""
        start = time.perf_counter()
        await self._reach()
        url = await asyncio.to_thread(self._data_url, request.image)
        replies: list[Reply] = []
        while len(replies) < request.n:
            answer = await self._complete(self._fields(request, url, done=len(replies)))
            replies += self._read(answer)[: request.n - len(replies)]
        seconds = (time.perf_counter() - start) / request.n
        return [Reply(reply.text, reply.tokens_in, reply.tokens_out, seconds) for reply in replies]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _data_url(self, image: Image) -> str:
        data = images.encode(image, **self._image)
        return f"data:{images.MEDIA_TYPES[self._image['format']]};base64,{base64.b64encode(data).decode()}"

    def _fields(self, request: Request, url: str, *, done: int) -> dict[str, Any]:
        """The body of a request for the replies that are not yet there."""
        picture = {"url": url} if self._detail is None else {"url": url, "detail": self._detail}
        content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": request.prompt}]
        fields: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "temperature": request.temperature,
            "seed": request.seed + done,
            self._max_tokens_param: request.max_tokens,
        }
        if request.n - done > 1:
            fields["n"] = request.n - done
        if self._reasoning_effort is not None:
            fields["reasoning_effort"] = self._reasoning_effort
        return {name: value for name, value in fields.items() if name not in self._leave_out}

    async def _complete(self, fields: dict[str, Any]) -> Any:
        """The server's answer, whatever it is.

        Raises:
            RequestFailed, UsageError: without the key in it.
        """
        import openai

        try:
            return await self._connected().chat.completions.create(**fields)
        except openai.OpenAIError as error:
            failure = self._explained(error)
        except ValueError:
            failure = RequestFailed(f"{self._host} answered with invalid JSON")
        raise failure  # outside of the handlers: the cause would carry the request and its key

    def _connected(self) -> openai.AsyncOpenAI:
        """The client of the running event loop."""
        import openai

        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._loop = loop
            self._client = openai.AsyncOpenAI(
                api_key=self._key or "no-key",
                base_url=self._url,
                timeout=openai.Timeout(self._timeout, connect=_CONNECT_SECONDS),
                max_retries=self._retries,
            )
        return self._client

    async def _reach(self) -> None:
        """Once, before the first request: tell a server that is not there from one that is busy.

        Raises:
            UsageError: when nothing answers at its address.
        """
        if self._reached:
            return
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

    def _explained(self, error: openai.OpenAIError) -> HlmatError:
        """The error of the client library in our words; the key is blotted out."""
        import openai

        if isinstance(error, openai.APITimeoutError):
            return RequestFailed(f"{self._host} did not answer within {self._timeout:g} seconds")
        if isinstance(error, openai.APIConnectionError):
            return RequestFailed(f"the connection to {self._host} broke")
        if not isinstance(error, openai.APIStatusError):
            return RequestFailed(f"{self._host} answered with something that is no chat completion")
        message = error.message.removeprefix(f"Error code: {error.status_code} - ")
        said = f"{self._host} says (HTTP {error.status_code}): {self._clean(message)}"
        if error.status_code in (401, 403):
            return UsageError(f"{said}; set {self._key_env} to a key that may use {self.model!r}.")
        if error.status_code == 404:
            return UsageError(f"{said}; check model={self.model} and base_url=.")
        if error.code in _FATAL:
            return UsageError(f"{said}; {_FATAL[error.code]}.")
        return RequestFailed(said)

    def _clean(self, text: str) -> str:
        """One short line without the key."""
        if self._key:
            text = text.replace(self._key, "***")
        return " ".join(text.split())[:200].rstrip(".")

    def _read(self, answer: Any) -> list[Reply]:
        """The replies in a response; the client library does not validate it.

        Raises:
            RequestFailed: when it is no chat completion, or one without text.
        """
        choices = getattr(answer, "choices", None)
        if not isinstance(choices, list) or not choices:
            error = getattr(answer, "error", None)
            said = f": {self._clean(str(error))}" if error else ""
            raise RequestFailed(f"{self._host} answered without a choice{said}")
        texts = [_text(choice) for choice in choices]
        if None in texts:
            raise RequestFailed(f"{self._host} answered with a choice without text")
        usage = getattr(answer, "usage", None)
        tokens_in, tokens_out = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        shares = [None] * len(texts) if tokens_out is None else _shares(tokens_out, len(texts))
        return [Reply(str(text), tokens_in, share) for text, share in zip(texts, shares, strict=True)]


def _host(url: str) -> str:
    """The host of an address.

    Raises:
        UsageError: when it is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError("base_url= must look like http://localhost:8000/v1.")
    return parts.hostname


def _key(given: str | None, variable: str, url: str) -> str | None:
    """The key; a server other than OpenAI's may want none."""
    key = given or os.environ.get(variable)
    if not key and url == _OPENAI_URL:
        raise UsageError(f"openai needs a key: set {variable}, or name another variable with key_env=.")
    return str(key) if key else None


def _text(choice: Any) -> str | None:
    """What the model wrote, or why it refuses; None where it is neither."""
    message = getattr(choice, "message", None)
    for field in ("content", "refusal"):
        if isinstance(text := getattr(message, field, None), str):
            return text
    return None


def _count(usage: Any, name: str) -> int | None:
    value = getattr(usage, name, None)
    return value if isinstance(value, int) else None


def _shares(total: int, parts: int) -> Sequence[int]:
    """A total in whole parts as equal as possible, larger ones first."""
    return [total // parts + (i < total % parts) for i in range(parts)]


MODELS = {"openai": OpenAIModel}
