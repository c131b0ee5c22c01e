"""Builds hlmat-tiny with random weights: a LLaVA of 1.5 million parameters, its tokenizer and its processor.

The image tower is CLIP's, the language model Llama's, both with 4 layers of width 128. A picture of 128 x 128 pixels
becomes 64 tokens. The text stands before the picture, so that the picture's tokens already know what is asked.

A number of an answer is one token: the horizontal position is ``510, ``, the vertical one ``320)``, in steps of 10 per
mille, and a predicted IoU is ``74``. With ``digits`` each digit is a token of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from hlmat_bench.data.synth.kinds import SOLID_KINDS
from hlmat_bench.data.synth.styles import PLAIN

SIDE, PATCH, WIDTH, STEP = 128, 16, 128, 10
"""Side of the picture and of a patch in pixels, the width of all layers, and the step of coordinates in per mille."""

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<answer>")
ANSWER = ("Current IOU: ", ", Positive point: (", ", Negative point: (", ", Finish")
_WORDS = (
    "the of two smaller larger smallest largest leftmost rightmost topmost lowest second from left right to above "
    "below closest"
)
_MARKERS = "centre small circle square triangle star"  # What `hlmat-bench probe` asks for.
# Between its blanks a prompt has words; an answer has the pieces above, and numbers with what follows them.
_PIECES = Regex(r"Current IOU: |, (?:Positive|Negative) point: \(|, Finish|\d+(?:, (?=\d)|\))?|<[a-z/]+>|[^\s,\d]+")
_DIGITS = Regex(r"Current IOU: |, (?:Positive|Negative) point: \(|, Finish|\d|, (?=\d)|\)|<[a-z/]+>|[^\s,\d]+")

# What is asked stands before the picture, whatever their order in the conversation is.
CHAT_TEMPLATE = (
    "<s>{% for message in messages if message['role'] == 'user' %}{% for part in message['content'] "
    "if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}<image>{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def words() -> list[str]:
    """Return all words of the expressions of `synth_easy` and of `hlmat-bench probe`."""
    names = [name for kind in SOLID_KINDS for name in (kind.noun, kind.plural)]
    return list(dict.fromkeys([*_WORDS.split(), *_MARKERS.split(), *PLAIN.colours, *names]))


def numbers() -> list[str]:
    """Return the tokens of numbers: predicted IoUs, horizontal and vertical positions."""
    steps = range(0, 1001, STEP)
    return [*map(str, range(101)), *[f"{n}, " for n in steps], *[f"{n})" for n in steps]]


def build_processor(*, digits: bool = False) -> Any:
    """Return the processor: tokenizer, image processor and chat template."""
    pieces = [*map(str, range(10)), ", ", ")"] if digits else numbers()
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *ANSWER, *words(), *pieces])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(_DIGITS if digits else _PIECES, "removed", invert=True)
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>", "<answer>"],
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    pixels = CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    return LlavaProcessor(
        image_processor=pixels,
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def build_model(processor: Any, seed: int) -> Any:
    """Return the model with random weights that depend on the seed alone."""
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    shared = {"hidden_size": WIDTH, "num_hidden_layers": 4, "num_attention_heads": 4}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            **shared, intermediate_size=3 * WIDTH, image_size=SIDE, patch_size=PATCH, projection_dim=WIDTH
        ),
        text_config=LlamaConfig(
            **shared,
            intermediate_size=2 * WIDTH,
            vocab_size=len(tokenizer),
            max_position_embeddings=128,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
