"""The messages between the adapter `command` and its worker, schema `hlmat-worker/1`: see docs/workers.md."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Field, TypeAdapter

from hlmat_bench.core.types import Image
from hlmat_bench.core.validation import Exact, Misfit, checked
from hlmat_bench.models.worker.process import WorkerLost
from hlmat_bench.protocol.interfaces import Reply, Request

SCHEMA = "hlmat-worker/1"
Finish: TypeAlias = Literal["stop", "length", "content_filter", "refusal"]
_Text = Annotated[str, Field(min_length=1)]


class _Message(Exact):
    model_config = ConfigDict(extra="ignore")  # a later version may say more


class Hello(_Message):
    """The worker has loaded its model.

    Attributes:
        name: name of the model, for tables.
        version: version of the worker.
        weights: identity of the model's weights: a SHA-256, or an id and a commit.
        points: how the model writes coordinates, a name that `PointFormat.named` knows; None: the user names it.
        deterministic: True if the same image and prompt always give the same reply at temperature 0.
    """

    type: Literal["hello"]
    name: _Text
    version: _Text
    weights: _Text
    points: str | None = None
    deterministic: bool = True


class ReplyMessage(_Message):
    """The replies to one request.

    Attributes:
        id: number of the request.
        texts: one text per reply.
        tokens_in: tokens of the prompt with its images; None if unknown.
        tokens_out: tokens of each text; None if unknown.
        finish: why each text ended; None if unknown.
    """

    type: Literal["reply"]
    id: int
    texts: list[str]
    tokens_in: int | None = None
    tokens_out: list[int] | None = None
    finish: list[Finish | None] | None = None

    def replies(self, count: int) -> list[Reply]:
        """Return the texts as replies, without their time.

        Raises:
            WorkerLost: when the number of texts, token counts or ends is not ``count``.
        """
        lists = {"texts": self.texts, "tokens_out": self.tokens_out, "finish": self.finish}
        for name, values in lists.items():
            if values is not None and len(values) != count:
                raise WorkerLost(f"the worker answered with {len(values)} {name} where {count} were asked for")
        unknown = [None] * count
        return [
            Reply(text, self.tokens_in, tokens, finish=finish)
            for text, tokens, finish in zip(self.texts, self.tokens_out or unknown, self.finish or unknown, strict=True)
        ]


class ErrorMessage(_Message):
    """An error of the worker.

    Attributes:
        id: number of the request that failed; None for a fatal error that is not about a request.
        message: description of the error, for the user.
        fatal: True if no request can be answered, so that the run ends.
    """

    type: Literal["error"]
    id: int | None = None
    message: str
    fatal: bool = False

    @property
    def said(self) -> str:
        """The message as one line of at most 300 characters."""
        return " ".join(self.message.split())[:300].rstrip(".")


_READER: TypeAdapter[Hello | ReplyMessage | ErrorMessage] = TypeAdapter(
    Annotated[Hello | ReplyMessage | ErrorMessage, Field(discriminator="type")]
)


def read(message: Mapping[str, Any]) -> Hello | ReplyMessage | ErrorMessage:
    """Read a message of the worker from its JSON object.

    Raises:
        WorkerLost: when it is no message of this version of the format.
    """
    if message["schema"] != SCHEMA:
        raise WorkerLost(f"the worker speaks {message['schema']!r} instead of {SCHEMA!r}")

    def lost(misfit: Misfit) -> WorkerLost:
        return WorkerLost(f"the worker broke the message format: {misfit.sentence('type')}")

    return checked(_READER.validate_python, message, lost)


def generate(batch: Mapping[int, Request], encode: Callable[[Image], bytes]) -> dict[str, Any]:
    """Return the message that asks for replies to a batch of requests.

    Args:
        batch: the requests by number.
        encode: makes the bytes of an image file.
    """
    return {
        "schema": SCHEMA,
        "type": "generate",
        "requests": [
            {
                "id": number,
                "prompt": request.prompt,
                "image": base64.b64encode(encode(request.image)).decode(),
                "n": wanted(request),
                "temperature": request.temperature,
                "max_tokens": request.max_tokens,
                "seed": request.seed,
            }
            for number, request in batch.items()
        ],
    }


def wanted(request: Request) -> int:
    """Return the number of texts to ask the worker for: at temperature 0 all replies are the same text."""
    return request.n if request.temperature > 0 else 1
