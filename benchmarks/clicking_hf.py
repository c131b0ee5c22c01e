"""The model ``./benchmarks/clicking_hf.py``: `hf` with random weights, whose replies are replaced by random clicks.

Random weights write no clicks, so a run would never use its segmenter. Here the network generates its reply as ever, to
the last token, and then its text is replaced: what a run takes is that of a model that writes as many tokens.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Reply, Request


def clicking(pretrained: str, batch_size: int = 32, device: str = "auto") -> Any:
    """Return a model of the adapter `hf` that writes random clicks; the arguments are those of `hf`."""
    model = plugins.find("model", "hf").factory(pretrained, "xy1000", batch_size=batch_size, device=device)
    generate = model.reply_batch

    def reply_batch(requests: Sequence[Request]) -> list[list[Reply]]:
        answers = generate(requests)
        return [
            [
                replace(reply, text=_click(f"{request.sample_id} {request.t} {draw}"))
                for draw, reply in enumerate(replies)
            ]
            for request, replies in zip(requests, answers, strict=True)
        ]

    model.reply_batch, model.name = reply_batch, "clicking-hf"
    return model


def _click(seed: str) -> str:
    generator = random.Random(seed)
    return f"Positive point: ({generator.randrange(1000)}, {generator.randrange(1000)})"


MODELS = {"clicking-hf": clicking}
