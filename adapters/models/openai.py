"""Models behind an OpenAI-compatible chat completions API: services of vendors, vLLM, SGLang, Ollama, ...

The requests follow https://platform.openai.com/docs/api-reference/chat: one user message with an image, as a data URL,
and the prompt. `hlmat_bench.models.api.client` sends them, `hlmat_bench.models.api.chat` reads the responses,
`hlmat_bench.models.api.decisions` decides what a refusal means, and `hlmat_bench.models.api.retries` repeats requests.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import json
import os
import re
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from hlmat_bench.core import images
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device
from hlmat_bench.core.types import Image
from hlmat_bench.models.api import chat, decisions
from hlmat_bench.models.api.address import environment_headers, header_value
from hlmat_bench.models.api.client import ApiClient
from hlmat_bench.models.api.prices import find as find_price
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import Resize
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Reply, Request

_NEEDED = (
    "openai needs model= and points=, the way the model writes coordinates: for example "
    "openai,model=gpt-4o,points=xypixel."
)
_OPENAI_URL = "https://api.openai.com/v1"
_PAYERS = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
_IMAGE = "{image}"
_SHORTEST_SECRET = 6  # in a reply; servers without keys are given words like "none"


def missing(name: str) -> str | None:
    """Return what is missing on this machine, in words; None if nothing is. Keys and servers are not checked."""
    return device.missing_packages("openai", "aiohttp")


class OpenAIModel:
    """A model on a server with OpenAI's chat completions API.

    Args:
        model: name of the model on the server.
        points: how the model writes coordinates, a name that `PointFormat.named` knows.
        resize: how the image is changed before it is sent, a name that `Resize.named` knows.
        base_url: address of the server; by default the environment variable OPENAI_BASE_URL, else OpenAI's service.
        api_key: the key; by default that of the environment variable ``key_env``.
        key_env: name of the environment variable with the key.
        key_header: name of the header for the key; in ``Authorization`` the word ``Bearer`` precedes the key.
        headers: further headers, ``Name:Value`` joined by ``+``.
        stream: ask for the response as a stream of events, for servers that support nothing else.
        image_format: ``jpeg`` or ``png``.
        quality: quality of a JPEG, 1 to 100.
        subsampling: chroma subsampling of a JPEG: ``444``, ``422`` or ``420``.
        detail: the service's level of detail for the image (``low``, ``high``, ...); None: its default.
        concurrency: most requests in flight; fewer after the server has refused.
        timeout: seconds that the server may be silent.
        deadline: seconds for a request with all its repetitions.
        retries: most repetitions of a failed request; after "too many requests" it is repeated until the deadline.
        max_tokens_param: the server's name for the limit of a reply's length: ``max_tokens`` or
            ``max_completion_tokens``.
        leave_out: fields of a request that the server does not accept, joined by ``+``: ``temperature+seed``. If
            the point format has tags, requests also have the field ``skip_special_tokens``.
        reasoning_effort: how much the model reasons before it answers, for services with this field.
        deterministic: True if the same request gets the same reply at temperature 0, so that replies can be cached.
        prices: a file of prices, see `hlmat_bench.models.api.prices.find`; None: the project's file.
        name: name of the model in tables; by default ``model``.

    Attributes:
        price: price of the model's tokens; None if unknown.
        seeded: True if requests contain their seed.

    Raises:
        UsageError: when an option or the key is missing or invalid.
    """

    timed = True

    def __init__(
        self,
        model: str | None = None,
        points: str | PointFormat | None = None,
        resize: str = "none",
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        key_env: str = "OPENAI_API_KEY",
        key_header: str = "Authorization",
        headers: str | None = None,
        stream: bool = False,
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
            raise UsageError(_NEEDED)
        device.require("openai", "aiohttp")
        self.model, self.name, self.concurrency = str(model), str(name or model), concurrency
        self.points = points if isinstance(points, PointFormat) else PointFormat.named(points)
        self.resize = Resize.named(resize)
        self.price = find_price(self.model, prices)
        url = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI_URL
        key = _key(api_key, key_env, url)
        self._header_names, sent = _headers(headers, key, key_header)
        self._client = ApiClient(
            url,
            option="base_url",
            path="/chat/completions",
            headers=sent,
            secrets=_secrets(key, sent),
            advice=_advice(self.model, key_env, url),
            timeout=timeout,
            deadline=deadline,
            retries=retries,
        )
        self._image = images.settings(image_format, quality, subsampling)
        self._detail = detail
        self._stream = stream
        self._max_tokens_param, self._reasoning_effort = max_tokens_param, reasoning_effort
        self._leave_out = sorted(set(filter(None, leave_out.split("+"))))
        self.deterministic = deterministic and "temperature" not in self._leave_out
        self.seeded = "seed" not in self._leave_out
        # vLLM, SGLang and LMDeploy drop special tokens unless told not to:
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, `skip_special_tokens`.
        self._keep_tags = SYNTAXES[self.points.syntax].tags and url != _OPENAI_URL
        self._threads = ThreadPoolExecutor(max(os.cpu_count() or 1, 2), "encode")

    def spec(self) -> dict[str, Any]:
        """Return what the replies depend on, for the manifest, without key and path.

        That is the server, the model, the encoding of images and the fields of requests.
        """
        return {
            "adapter": "openai",
            "model": self.model,
            "host": self._client.host,
            "image": {**self._image, "detail": self._detail},
            "max_tokens_param": self._max_tokens_param,
            "leave_out": self._leave_out,
            "reasoning_effort": self._reasoning_effort,
            **({"headers": self._header_names} if self._header_names else {}),
            "versions": {"openai": importlib.metadata.version("openai")},
        }

    async def reply(self, request: Request) -> list[Reply]:
        """Answer one request, see `hlmat_bench.protocol.interfaces.Model.reply`.

        If the server returns fewer than ``n`` choices, it is asked for the rest.

        Raises:
            RequestFailed, UsageError: see `ApiClient.ask`; no error contains the key.
        """
        start = time.perf_counter()
        url = await asyncio.get_running_loop().run_in_executor(self._threads, self._data_url, request.image)
        replies: list[Reply] = []
        while len(replies) < request.n:
            replies += await self._ask(request, url, request.n - len(replies))
        seconds = (time.perf_counter() - start) / request.n
        return [replace(reply, seconds=seconds) for reply in replies]

    async def close(self) -> None:
        """Close the connections; a later request opens new ones."""
        await self._client.close()

    def _data_url(self, image: Image) -> bytes:
        data = images.encode(image, **self._image)
        return f"data:{images.MEDIA_TYPES[self._image['format']]};base64,".encode() + base64.b64encode(data)

    def _fields(self, request: Request, wanted: int) -> dict[str, Any]:
        """Return the fields of a request for its last ``wanted`` replies, without the messages."""
        fields: dict[str, Any] = {
            "model": self.model,
            "temperature": request.temperature,
            "seed": request.seed + request.n - wanted,
            self._max_tokens_param: request.max_tokens,
        }
        if wanted > 1:
            fields["n"] = wanted
        if self._keep_tags:
            fields["skip_special_tokens"] = False
        if self._reasoning_effort is not None:
            fields["reasoning_effort"] = self._reasoning_effort
        if self._stream:
            fields |= {"stream": True, "stream_options": {"include_usage": True}}
        return {name: value for name, value in fields.items() if name not in self._leave_out}

    def _body(self, request: Request, url: bytes, fields: Mapping[str, Any]) -> bytes:
        """Return the body of a request as bytes."""
        # The image is most of the body. It is inserted as it is, because to encode it as JSON would take more time than
        # everything else.
        picture = {"url": _IMAGE} if self._detail is None else {"url": _IMAGE, "detail": self._detail}
        content = [{"type": "image_url", "image_url": picture}, {"type": "text", "text": request.prompt}]
        head, tail = json.dumps({"messages": [{"role": "user", "content": content}], **fields}).split(_IMAGE, 1)
        return b"".join((head.encode(), url, tail.encode()))

    async def _ask(self, request: Request, url: bytes, wanted: int) -> list[Reply]:
        """Ask for the last ``wanted`` replies of a request; return none if the request must be sent without a field."""
        fields = self._fields(request, wanted)
        names = fields.keys() - {"model"} | (set() if self._detail is None else {"detail"})
        try:
            return await self._client.ask(self._body(request, url, fields), partial(self._read, wanted=wanted), names)
        except decisions.Withheld:
            return [Reply("", finish="content_filter")] * wanted
        except decisions.FieldRefused as error:
            if error.field != "skip_special_tokens":
                raise
        self._keep_tags = False  # the user has not asked for this field, so all further requests leave it out
        return []

    def _read(self, body: bytes, wanted: int) -> list[Reply]:
        replies = chat.read(body, wanted, self.price)
        return [replace(reply, text=self._client.without_secrets(reply.text, _SHORTEST_SECRET)) for reply in replies]


def _key(given: str | None, variable: str, url: str) -> str | None:
    """Return the key; None if there is none and the server is not OpenAI's service.

    Raises:
        UsageError: when OpenAI's service has no key, or a header cannot hold the key.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", variable):
        raise UsageError("key_env= takes the name of an environment variable that holds the key, not the key.")
    key = header_value(str(given), "The key in api_key=") if given else None
    key = key or header_value(os.environ.get(variable, ""), f"The key in {variable}")
    if not key and url == _OPENAI_URL:
        raise UsageError(f"openai needs a key: set {variable}, or name another variable with key_env=.")
    return key or None


def _headers(given: str | None, key: str | None, key_header: str) -> tuple[list[str], dict[str, str]]:
    """Return the names of the user's own headers, and all headers of a request with their values.

    Source: https://platform.openai.com/docs/api-reference/authentication.

    Raises:
        UsageError: when a header does not have the form ``Name:Value``.
    """
    own: dict[str, str] = {}
    for part in re.split(r"\+(?=[\w-]+:)", given) if given else []:
        name, colon, value = part.partition(":")
        if not colon or not re.fullmatch(r"[\w-]+", name.strip(), re.ASCII):
            raise UsageError("headers= must look like Name:Value, several of them joined by +.")
        own[name.strip()] = header_value(value, f"The header {name.strip()} in headers=")
    if not re.fullmatch(r"[\w-]+", key_header, re.ASCII):
        raise UsageError("key_header= takes the name of a header, such as api-key.")
    login = {} if key is None else {key_header: f"Bearer {key}" if key_header.lower() == "authorization" else key}
    return sorted(own), {**login, **environment_headers(_PAYERS), **own}


def _secrets(key: str | None, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words that no message may show: the key, and all but very short values of headers."""
    words = (word for value in headers.values() for word in (value, value.rpartition(" ")[2]))
    return tuple(filter(None, (key, *(word for word in words if len(word) >= _SHORTEST_SECRET))))


def _advice(model: str, key_env: str, url: str) -> dict[str, str]:
    """Return advice that replaces entries of `hlmat_bench.models.api.refusals.ADVICE` for this adapter."""
    versioned = re.search(r"//[^?#]*/v\d", url)
    hint = "" if versioned else "; most servers want it to end in /v1, e.g. http://localhost:8000/v1"
    return {
        "key": f"set {key_env} to a key that may use {model!r}",
        "model": f"check model={model} and base_url=",
        "path": f"check model={model} and base_url={hint}",
    }


MODELS = {"openai": OpenAIModel}
