"""A model for lmms-eval, as a user's package brings one: its clicks depend on every pixel and word it gets."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms
from lmms_eval.models.registry_v2 import ModelManifest

CALLS: list[int] = []
DECODING: list[dict[str, Any]] = []


def say(image: Any, prompt: str) -> str:
    assert image.mode == "RGB"
    number = zlib.crc32(prompt.encode(), zlib.crc32(np.asarray(image).tobytes()))
    if number % 17 == 0:
        return "I cannot see it."
    sign = "Positive" if number % 3 else "Negative"
    return f"{sign} point: ({number % 997}, {number // 1000 % 997})"


class SimpleClicker(lmms):
    """Fails, as lmms-eval's API models do, where the prompt holds the words `fails`."""

    is_simple = True

    def __init__(
        self, pretrained: str = "", batch_size: int = 1, fails: str = "", log: str = "", api_key: str = ""
    ) -> None:
        super().__init__()
        self._fails, self._log, self._key = fails, log, api_key

    def generate_until(self, requests: Any) -> list[Any]:
        CALLS.append(len(requests))
        return [self._answer(*self._seen(request.args)) for request in requests]

    def _seen(self, args: tuple[Any, ...]) -> tuple[Any, str]:
        prompt, decoding, doc_to_visual, doc_id, task, split = args
        DECODING.append(decoding)
        [image] = doc_to_visual(self.task_dict[task][split][doc_id])
        return image, prompt

    def _answer(self, image: Any, prompt: str) -> Any:
        if self._log:
            with Path(self._log).open("a") as file:
                file.write("asked\n")
        if self._fails and self._fails in prompt:
            return f"[LMMS_EVAL_REQUEST_FAILED after 3 retries] Incorrect API key provided: {self._key}."
        return say(image, prompt)

    def loglikelihood(self, requests: Any) -> Any:
        raise NotImplementedError

    def generate_until_multi_round(self, requests: Any) -> Any:
        raise NotImplementedError


class ChatClicker(SimpleClicker):
    is_simple = False

    def _seen(self, args: tuple[Any, ...]) -> tuple[Any, str]:
        prompt, doc_to_messages, decoding, doc_id, task, split = args
        DECODING.append(decoding)
        [message] = doc_to_messages(self.task_dict[task][split][doc_id])
        image, text = message["content"]
        assert (message["role"], text["text"]) == ("user", prompt)
        return image["url"], prompt

    def _answer(self, image: Any, prompt: str) -> Any:
        return GenerationResult(super()._answer(image, prompt), TokenCounts(input_tokens=7, output_tokens=5))


MODELS = [
    ModelManifest(
        "clicker", simple_class_path="lmms_clicker.SimpleClicker", chat_class_path="lmms_clicker.ChatClicker"
    ),
    ModelManifest("needs_more", simple_class_path="lmms_clicker_with_more.Clicker"),
]
