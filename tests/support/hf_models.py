"""What the tests of the hf adapter share: the adapter, questions, and a naive decoder to compare with."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from hlmat_bench.core.content import folder
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import Reply, Request

PLUGIN = folder("adapters") / "models" / "hf.py"
HfModel = plugins.find("model", str(PLUGIN)).factory

_CHATML = "<|im_start|>user\n{image}{{prompt}}<|im_end|>\n<|im_start|>assistant\n"
# What the templates of the tiny checkpoints come to, written out; Gemma's tokenizer adds <bos> itself.
WRITTEN = {
    "qwen2_5_vl": _CHATML.format(image="<|vision_start|><|image_pad|><|vision_end|>"),
    "qwen3_vl": _CHATML.format(image="<|vision_start|><|image_pad|><|vision_end|>"),
    "llava": "USER: <image>\n{prompt} ASSISTANT:",
    "llava_onevision": _CHATML.format(image="<image>\n"),
    "internvl": _CHATML.format(image="<IMG_CONTEXT>\n"),
    "gemma3": "<start_of_turn>user\n<start_of_image>{prompt}<end_of_turn>\n<start_of_turn>model\n",
    "smolvlm": "<|im_start|>User:<image>{prompt}<end_of_utterance>\nAssistant:",
}
# Among them very flat and very high ones, and one of a single column.
_SIZES = ((60, 100), (8, 400), (400, 8), (300, 200), (50, 1), (57, 56), (33, 90), (181, 64))


def questions(count: int = 8, **changes: Any) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(
            image=rng.integers(0, 255, (*_SIZES[i % len(_SIZES)], 3), dtype=np.uint8),
            prompt="where is the cat" + " please" * (i % 3) + str(i),
            max_tokens=8,
            seed=i,
            **changes,
        )
        for i in range(count)
    ]


def texts(answers: Sequence[Sequence[Reply]]) -> list[list[str]]:
    return [[reply.text for reply in replies] for replies in answers]


def next_logits(path: Path, family: str, request: Request, forced: Sequence[int] = ()) -> torch.Tensor:
    """Return the logits after the prompt and the forced tokens: one sequence, no padding, no cache, no generate."""
    processor, model = _plain(path)
    text = WRITTEN[family].format(prompt=request.prompt)
    inputs = dict(processor(text=[text], images=[[Pillow.fromarray(request.image)]], return_tensors="pt"))
    more = torch.tensor([list(forced)], dtype=torch.long)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], more], dim=1)
    for name, value in (("attention_mask", 1), ("mm_token_type_ids", 0), ("token_type_ids", 0)):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], torch.full_like(more, value)], dim=1)
    with torch.no_grad():
        logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, -1]
    return logits.index_fill(0, torch.tensor(model.generation_config.suppress_tokens), -torch.inf)


@functools.cache
def _plain(path: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(path, attn_implementation="eager")
    return AutoProcessor.from_pretrained(path), model
