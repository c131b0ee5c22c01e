"""Asking the openai adapter once, for its tests."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import HlmatError
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Model, Reply, Request
from hlmat_bench.testing import Answer, ChatServer

PLUGIN = folder("adapters") / "models" / "openai.py"
OpenAIModel = plugins.find("model", str(PLUGIN)).factory
KEY = "sk-canary-0123456789"
SAYS = "Positive point: (500, 500)"


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Make a smooth image with a thin green line, which chroma subsampling would smear."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 2, y * 2, 128 + 0 * x], axis=2).astype(np.uint8)
    image[:, width // 2] = (0, 255, 0)
    return image


def request(**changes: Any) -> Request:
    return Request(**{"image": picture(), "prompt": "where is the cat", "seed": 7, **changes})


def ask(server: ChatServer, wanted: Request | None = None, **options: Any) -> list[Reply]:
    model = OpenAIModel("fake", "xy1000", base_url=server.base_url, **{"api_key": KEY, **options})
    assert isinstance(model, Model)
    return reply_once(model, wanted)


def reply_once(model: Any, wanted: Request | None = None) -> list[Reply]:
    async def once() -> list[Reply]:
        try:
            replies: list[Reply] = await model.reply(wanted or request())
            return replies
        finally:
            await model.close()

    return asyncio.run(once())


def sequence(*answers: Answer) -> Callable[..., Answer]:
    """Answers one after the other, then the last again and again."""
    left = list(answers)
    return lambda *_: left.pop(0) if len(left) > 1 else left[0]


def check_secrecy(error: HlmatError) -> None:
    shown = "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
    assert KEY not in shown
    assert "\n" not in str(error)
    assert len(str(error)) < 400
    assert error.__cause__ is None
    assert error.__context__ is None
