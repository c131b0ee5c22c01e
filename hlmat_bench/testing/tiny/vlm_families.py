"""The families of vision-language models that `tiny_vlm` builds, with the parts of their real checkpoints.

``qwen2_5_vl`` and ``qwen3_vl`` take images of any size (M-RoPE; the latter with DeepStack), ``llava`` (1.5) square
crops of the centre, ``llava_onevision``, ``internvl`` and ``smolvlm`` tiles whose number depends on the image,
``gemma3`` squares, with sliding attention and bidirectional attention among image tokens. The layers are few and
narrow and the images small; classes, tokens and the order of a prompt are those of the real models.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

Family: TypeAlias = Literal["qwen2_5_vl", "qwen3_vl", "llava", "llava_onevision", "internvl", "gemma3", "smolvlm"]

GROUNDING_TOKENS = ("<ref>", "</ref>", "<box>", "</box>")
"""Special tokens of every tiny vision-language model, those of Qwen-VL."""

_TILE = 56  # side of the image of a vision tower with fixed size, in pixels
_PATCH = 14
_PATCHES = (_TILE // _PATCH) ** 2  # of a tile
_POOLED = _PATCHES // 4  # tokens of a tile in models that merge 2 x 2 patches
_SQUARE = {"height": _TILE, "width": _TILE}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64}
_QWEN_VISION: dict[str, Any] = {**_VISION, "depth": 2, "num_heads": 4, "out_hidden_size": 32}
_TOWER: dict[str, Any] = {
    **_VISION,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": _TILE,
    "patch_size": _PATCH,
}
_MROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
_QWEN_TOKENS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def _transformers() -> Any:
    return importlib.import_module("transformers")  # parts of it are not typed


def _tokenizer(
    special: Sequence[str], says: Sequence[str], *, roles: Mapping[str, str] | None = None, **named: str
) -> Any:
    """Return a tokenizer with the 256 bytes, the special tokens and the pieces.

    Args:
        special: special tokens for images and turns.
        says: pieces of text that become one token each.
        roles: attributes that the family's processor needs, e.g. ``{"boi_token": "<start_of_image>"}``.
        named: attributes of every tokenizer, e.g. ``eos_token="</s>"``.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    hf = _transformers()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        extra_special_tokens=[*special, *GROUNDING_TOKENS],
        model_specific_special_tokens=dict(roles or {}),
        **named,
    )
    tokenizer.add_tokens([hf.AddedToken(piece) for piece in says if piece not in GROUNDING_TOKENS])
    return tokenizer


def _text(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """Return the configuration of a language model for the vocabulary of a tokenizer."""
    ends = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {**_TEXT, "vocab_size": len(tokenizer), **{end: getattr(tokenizer, end) for end in ends}, **more}


def _template(*, turn: str, image: str, end: str, cue: str) -> str:
    """Return a chat template from the texts that open a turn, stand for an image, end a turn and ask for a reply."""
    return (
        f"{{% for m in messages %}}{turn}{{% for c in m['content'] %}}{{% if c['type'] == 'image' %}}{image}"
        f"{{% else %}}{{{{ c['text'] }}}}{{% endif %}}{{% endfor %}}{end}{{% endfor %}}"
        f"{{% if add_generation_prompt %}}{cue}{{% endif %}}"
    )


def _chatml(image: str) -> str:
    return _template(
        turn="<|im_start|>{{ m['role'] }}\n", image=image, end="<|im_end|>\n", cue="<|im_start|>assistant\n"
    )


def _qwen_tokenizer(says: Sequence[str]) -> tuple[Any, dict[str, int]]:
    """Return the tokenizer of both Qwen-VL families, and the token ids by their names in the configurations."""
    tokenizer = _tokenizer(
        _QWEN_TOKENS, says, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    return tokenizer, dict(zip(names, tokenizer.convert_tokens_to_ids(_QWEN_TOKENS[1:]), strict=True))


def _qwen2_5_vl(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer, tokens = _qwen_tokenizer(says)
    config = hf.Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters=_MROPE),
        vision_config={**_QWEN_VISION, "window_size": 112, "fullatt_block_indexes": [1]},
        **tokens,
    )
    images = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=16 * 28 * 28)
    template = _chatml("<|vision_start|><|image_pad|><|vision_end|>")
    processor = hf.Qwen2_5_VLProcessor(images, tokenizer, hf.Qwen2VLVideoProcessor(), chat_template=template)
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer, tokens = _qwen_tokenizer(says)
    config = hf.Qwen3VLConfig(
        text_config=_text(tokenizer, head_dim=8, rope_parameters={**_MROPE, "mrope_interleaved": True}),
        vision_config={**_QWEN_VISION, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        **tokens,
    )
    images = hf.Qwen2VLImageProcessor(patch_size=16, min_pixels=32 * 32, max_pixels=16 * 32 * 32)
    template = _chatml("<|vision_start|><|image_pad|><|vision_end|>")
    processor = hf.Qwen3VLProcessor(images, tokenizer, hf.Qwen3VLVideoProcessor(), chat_template=template)
    return hf.Qwen3VLForConditionalGeneration(config), processor


def _llava(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _tokenizer(("<image>",), says, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**_TOWER),
        text_config=hf.LlamaConfig(**_text(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": _TILE}, crop_size=_SQUARE),
        tokenizer,
        patch_size=_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_template(turn="{{ m['role'] | upper }}: ", image="<image>\n", end=" ", cue="ASSISTANT:"),
    )
    return hf.LlavaForConditionalGeneration(config), processor


def _llava_onevision(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    special = ("<|im_start|>", "<image>", "<video>")
    tokenizer = _tokenizer(special, says, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    grids = [[_TILE * rows, _TILE * columns] for rows in range(1, 4) for columns in range(1, 4)]
    image, video = tokenizer.convert_tokens_to_ids(special[1:])
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_TOWER, vision_use_head=False),
        text_config=hf.Qwen2Config(**_text(tokenizer)),
        image_token_index=image,
        video_token_index=video,
        image_grid_pinpoints=grids,
        vision_aspect_ratio="anyres_max_4",
    )
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=_SQUARE, image_grid_pinpoints=grids),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=_SQUARE),
        num_image_tokens=_PATCHES,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_4",
        chat_template=_chatml("<image>\n"),
    )
    return hf.LlavaOnevisionForConditionalGeneration(config), processor


def _internvl(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    roles = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    special = ("<|im_start|>", *roles.values())
    tokenizer = _tokenizer(special, says, roles=roles, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    config = hf.InternVLConfig(
        vision_config=hf.InternVLVisionConfig(**_TOWER),
        text_config=hf.Qwen2Config(**_text(tokenizer)),
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=_POOLED,
        tie_word_embeddings=False,
    )
    processor = hf.InternVLProcessor(
        hf.GotOcr2ImageProcessor(size=_SQUARE, crop_to_patches=True, max_patches=6),
        tokenizer,
        hf.InternVLVideoProcessor(size=_SQUARE),
        image_seq_length=_POOLED,
        chat_template=_chatml("<IMG_CONTEXT>\n"),
    )
    return hf.InternVLForConditionalGeneration(config), processor


def _gemma3(says: Sequence[str]) -> tuple[Any, Any]:
    from tokenizers import processors

    hf = _transformers()
    roles = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    special = ("<start_of_turn>", *roles.values())
    tokenizer = _tokenizer(special, says, roles=roles, bos_token="<bos>", eos_token="<end_of_turn>", pad_token="<pad>")
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token_id)]
    )
    text = _text(tokenizer, head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"])
    config = hf.Gemma3Config(
        vision_config=hf.SiglipVisionConfig(**_TOWER, vision_use_head=False),
        text_config=hf.Gemma3TextConfig(**text, query_pre_attn_scalar=8, tie_word_embeddings=False),
        mm_tokens_per_image=_POOLED,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
        tie_word_embeddings=False,
    )
    turn = "{{ bos_token if loop.first }}<start_of_turn>{{ m['role'] }}\n"
    processor = hf.Gemma3Processor(
        hf.Gemma3ImageProcessor(size=_SQUARE),
        tokenizer,
        image_seq_length=_POOLED,
        chat_template=_template(
            turn=turn, image="<start_of_image>", end="<end_of_turn>\n", cue="<start_of_turn>model\n"
        ),
    )
    return hf.Gemma3ForConditionalGeneration(config), processor


def _smolvlm(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    special = ("<|im_start|>", "<image>", "<fake_token_around_image>", "<global-img>")
    tokenizer = _tokenizer(
        special, says, bos_token="<|im_start|>", eos_token="<end_of_utterance>", pad_token="<|endoftext|>"
    )
    config = hf.SmolVLMConfig(
        vision_config={**_TOWER},
        text_config=hf.LlamaConfig(**_text(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    sizes = {"size": {"longest_edge": 3 * _TILE}, "max_image_size": {"longest_edge": _TILE}}
    processor = hf.SmolVLMProcessor(
        hf.SmolVLMImageProcessor(**sizes),
        tokenizer,
        hf.SmolVLMVideoProcessor(**sizes),
        image_seq_len=_POOLED,
        chat_template=_template(
            turn="{{ '<|im_start|>' if loop.first }}{{ m['role'] | capitalize }}:",
            image="<image>",
            end="<end_of_utterance>\n",
            cue="Assistant:",
        ),
    )
    return hf.SmolVLMForConditionalGeneration(config), processor


BUILDERS: dict[Family, Callable[[Sequence[str]], tuple[Any, Any]]] = {
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen3_vl": _qwen3_vl,
    "llava": _llava,
    "llava_onevision": _llava_onevision,
    "internvl": _internvl,
    "gemma3": _gemma3,
    "smolvlm": _smolvlm,
}
"""Functions that return (model, processor) of a family, given the pieces of text that become one token each."""
