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
        name: of the model, for tables.
        version: of the worker.
        weights: what identifies the model's weights: a SHA-256, or an id and a commit.
        points: how the model writes coordinates, a name that `PointFormat.named` knows; None: the user says it.
        deterministic: at temperature 0 the same image and prompt give the same reply.
    """

    type: Literal["hello"]
    name: _Text
    version: _Text
    weights: _Text
    points: str | None = None
    deterministic: bool = True


class Answer(_Message):
    """The replies to one request.

    Attributes:
        id: of the request.
        texts: as many as it asked for.
        tokens_in: prompt tokens, images included; None where unknown.
        tokens_out: tokens of each text; None where unknown.
        finish: why each text ended; None where unknown.
    """

    type: Literal["reply"]
    id: int
    texts: list[str]
    tokens_in: int | None = None
    tokens_out: list[int] | None = None
    finish: list[Finish | None] | None = None

    def replies(self, count: int) -> list[Reply]:
        """The texts as replies, without their time.

        Raises:
            WorkerLost: when there are not ``count`` of them, or not as many token counts or ends.
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


class Failure(_Message):
    """A request cannot be answered, or, when fatal, no request can.

    Attributes:
        id: of the request; None for a fatal error that has nothing to do with one.
        message: what is wrong, for the user.
        fatal: the run ends.
    """

    type: Literal["error"]
    id: int | None = None
    message: str
    fatal: bool = False

    @property
    def said(self) -> str:
        """The message as one short line."""
        return " ".join(self.message.split())[:300].rstrip(".")


_READER: TypeAdapter[Hello | Answer | Failure] = TypeAdapter(
    Annotated[Hello | Answer | Failure, Field(discriminator="type")]
)


def read(message: Mapping[str, Any]) -> Hello | Answer | Failure:
    """A message of the worker.

    Raises:
        WorkerLost: when it is none of this version of the format.
    """
    if message["schema"] != SCHEMA:
        raise WorkerLost(f"the worker speaks {message['schema']!r} instead of {SCHEMA!r}")

    def lost(misfit: Misfit) -> WorkerLost:
        return WorkerLost(f"the worker broke the message format: {misfit.sentence('type')}")

    return checked(_READER.validate_python, message, lost)


def generate(batch: Mapping[int, Request], encode: Callable[[Image], bytes]) -> dict[str, Any]:
    """The message that asks for replies to a batch of requests, by their ids; ``encode`` makes an image's file."""
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
    """How many texts the worker is asked for: at temperature 0 one stands for all."""
    return request.n if request.temperature > 0 else 1
