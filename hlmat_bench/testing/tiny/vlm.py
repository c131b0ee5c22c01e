"""Build vision-language checkpoints with few random weights; public in `testing`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hlmat_bench.core.networks.device import seeded
from hlmat_bench.testing.tiny.vlm_families import BUILDERS, GROUNDING_TOKENS, Family


def tiny_vlm(
    folder: Path,
    family: Family = "qwen2_5_vl",
    *,
    says: Sequence[str] = (),
    chat_template: bool = True,
    seed: int = 0,
) -> Path:
    """Write a vision-language checkpoint with about 100,000 random weights in the format of transformers.

    Args:
        folder: folder of the checkpoint; it is created if it does not exist.
        family: the model family of its architecture, processor and tokens, see `vlm_families`.
        says: pieces of text, all different: the weights are set so that every reply is these pieces and the
            end of the turn. Each piece becomes one token. Empty: replies are random characters that depend on the
            image and the prompt.
        chat_template: save a chat template with the checkpoint.
        seed: seed of the weights.

    Returns:
        The folder.
    """
    with seeded(seed):
        model, processor = BUILDERS[family](says)
        _randomize(model)
    if says:
        _recite(model, [_cue(processor), *_ids(processor, says), processor.tokenizer.eos_token_id])
    model.generation_config.suppress_tokens = _ids(processor, _never_said(processor.tokenizer))
    if not chat_template:
        processor.chat_template = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _randomize(model: Any) -> None:
    """Draw matrices so large that replies depend on the image; parameters that are vectors stay unchanged."""
    import torch

    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)


def _ids(processor: Any, tokens: Sequence[str]) -> list[int]:
    ids: list[int] = processor.tokenizer.convert_tokens_to_ids(list(tokens))
    return ids


def _never_said(tokenizer: Any) -> list[str]:
    """Return special tokens that no model may generate: those of images, of padding and of the beginning of a turn."""
    said = {tokenizer.eos_token, *GROUNDING_TOKENS}
    return [token for token in tokenizer.all_special_tokens if token not in said]


def _cue(processor: Any) -> int:
    """Return the last token of the chat template."""
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": ""}]}], add_generation_prompt=True, tokenize=False
    )
    token: int = processor.tokenizer.encode(prompt)[-1]
    return token


def _recite(model: Any, tokens: Sequence[int]) -> None:
    """Set the weights so that each of the tokens is always followed by the next."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.search(r"(o_proj|down_proj)\.weight$", name):  # so layers add nothing to the token's embedding
                parameter.zero_()
        head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        head.zero_()
        for token, following in itertools.pairwise(tokens):
            head[following] = embeddings[token] / embeddings[token].norm()
