"""Checkpoints with few and random weights, in the formats of real ones, made offline; public in `testing`."""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hlmat_bench.sam_networks import Architecture, build

Family: TypeAlias = Literal["qwen2_5_vl", "llava"]

GROUNDING_TOKENS = ("<ref>", "</ref>", "<box>", "</box>")
"""Special tokens of every tiny vision-language model, as Qwen-VL has them."""

TINY_SAM = Architecture(
    "tiny",
    width=32,
    depth=2,
    heads=2,
    global_attention=(1,),
    input_size=128,
    window=3,
    prompt_width=32,
    decoder_mlp=64,
    decoder_heads=4,
    score_hidden=32,
)
"""What `tiny_sam` builds."""

_QWEN_TOKENS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAVA_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_PLACEHOLDERS: dict[Family, list[str]] = {"qwen2_5_vl": ["<|image_pad|>", "<|video_pad|>"], "llava": ["<image>"]}
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64}


def tiny_vlm(
    folder: Path,
    family: Family = "qwen2_5_vl",
    *,
    says: Sequence[str] = (),
    chat_template: bool = True,
    seed: int = 0,
) -> Path:
    """A vision-language checkpoint of about 100,000 random weights, as transformers saves one.

    Args:
        folder: where it goes; made if it is not there.
        family: ``qwen2_5_vl`` (images of any size, M-RoPE) or ``llava`` (CLIP and Llama).
        says: pieces of text, all different: the weights are set so that every reply is these pieces and the
            end of the turn. Each becomes one token. Empty: replies are random characters that depend on the
            image and the prompt.
        chat_template: save a chat template with it.
        seed: of the weights.

    Returns:
        The folder.
    """
    import torch

    with _seeded(seed):
        model, processor = (_qwen if family == "qwen2_5_vl" else _llava)(says)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    tokenizer = processor.tokenizer
    if says:
        cue = "\n" if family == "qwen2_5_vl" else ":"  # what the template ends with
        tokens = map(tokenizer.convert_tokens_to_ids, says)
        _recite(model, [tokenizer.encode(cue)[-1], *tokens, tokenizer.eos_token_id])
    # Without a cache, a placeholder in a reply would ask for another image.
    model.generation_config.suppress_tokens = tokenizer.convert_tokens_to_ids(_PLACEHOLDERS[family])
    if not chat_template:
        processor.chat_template = None
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(special: Sequence[str], says: Sequence[str], **named: str) -> Any:
    """A tokenizer of the 256 bytes, the special tokens and the pieces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    hf = _transformers()

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=core, additional_special_tokens=[*special, *GROUNDING_TOKENS], **named
    )
    tokenizer.add_tokens([hf.AddedToken(piece) for piece in says if piece not in GROUNDING_TOKENS])
    return tokenizer


def _transformers() -> Any:
    return importlib.import_module("transformers")  # parts of it are not typed


def _qwen(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _tokenizer(_QWEN_TOKENS, says, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    start, vision, vision_end, image, video = tokenizer.convert_tokens_to_ids(_QWEN_TOKENS)
    config = hf.Qwen2_5_VLConfig(
        text_config={
            **_TEXT,
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
            "bos_token_id": start,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            **_VISION,
            "depth": 2,
            "num_heads": 4,
            "out_hidden_size": 32,
            "window_size": 112,
            "fullatt_block_indexes": [1],
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=vision,
        vision_end_token_id=vision_end,
    )
    images = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=16 * 28 * 28)
    processor = hf.Qwen2_5_VLProcessor(images, tokenizer, hf.Qwen2VLVideoProcessor(), chat_template=_QWEN_TEMPLATE)
    return hf.Qwen2_5_VLForConditionalGeneration(config), processor


def _llava(says: Sequence[str]) -> tuple[Any, Any]:
    hf = _transformers()
    tokenizer = _tokenizer(("<image>",), says, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            **_VISION, num_hidden_layers=2, num_attention_heads=4, image_size=56, patch_size=14
        ),
        text_config=hf.LlamaConfig(
            **_TEXT,
            vocab_size=len(tokenizer),
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_LLAVA_TEMPLATE,
    )
    return hf.LlavaForConditionalGeneration(config), processor


def _recite(model: Any, tokens: Sequence[int]) -> None:
    """Make each of the tokens be followed by the next, whatever came before."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if re.search(r"(o_proj|down_proj)\.weight$", name):  # each layer then adds nothing
                parameter.zero_()
        head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        head.zero_()
        for token, following in itertools.pairwise(tokens):
            head[following] = embeddings[token] / embeddings[token].norm()


@dataclass(frozen=True, slots=True)
class TinySam:
    """One SAM with random weights in both formats.

    Attributes:
        checkpoint: a ``.pth`` file in the format of the official ones, of the architecture `TINY_SAM`.
        pretrained: a folder as transformers saves it, with the same weights.
    """

    checkpoint: Path
    pretrained: Path


def tiny_sam(folder: Path, *, seed: int = 0) -> TinySam:
    """A SAM of about 100,000 random weights, in both formats that the SAM segmenters read."""
    import torch

    with _seeded(seed):
        sam = build(TINY_SAM)
        for parameter in sam.parameters():  # many are made as 0 or 1
            parameter.data += 0.05 * torch.randn_like(parameter)
        model = _transformers().SamModel(_sam_config(TINY_SAM))
    tiny = TinySam(folder / "sam_tiny.pth", folder / "sam_tiny")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(sam.state_dict(), tiny.checkpoint)
    model.load_state_dict(_renamed(sam.state_dict()))
    model.save_pretrained(tiny.pretrained)
    return tiny


def _sam_config(a: Architecture) -> Any:
    return _transformers().SamConfig(
        vision_config={
            "hidden_size": a.width,
            "num_hidden_layers": a.depth,
            "num_attention_heads": a.heads,
            "global_attn_indexes": list(a.global_attention),
            "image_size": a.input_size,
            "window_size": a.window,
            "output_channels": a.prompt_width,
            "num_pos_feats": a.prompt_width // 2,
        },
        prompt_encoder_config={"hidden_size": a.prompt_width, "image_size": a.input_size},
        mask_decoder_config={
            "hidden_size": a.prompt_width,
            "mlp_dim": a.decoder_mlp,
            "num_attention_heads": a.decoder_heads,
            "iou_head_hidden_dim": a.score_hidden,
        },
    )


# What transformers calls the parts of the official network.
_SAM_NAMES = (
    (r"^image_encoder", "vision_encoder"),
    (r"patch_embed\.proj", "patch_embed.projection"),
    (r"\.blocks\.", ".layers."),
    (r"neck\.0", "neck.conv1"),
    (r"neck\.1", "neck.layer_norm1"),
    (r"neck\.2", "neck.conv2"),
    (r"neck\.3", "neck.layer_norm2"),
    (r"\.norm(\d)", r".layer_norm\1"),
    (r"norm_final_attn", "layer_norm_final_attn"),
    (r"mask_downscaling\.0", "mask_embed.conv1"),
    (r"mask_downscaling\.1", "mask_embed.layer_norm1"),
    (r"mask_downscaling\.3", "mask_embed.conv2"),
    (r"mask_downscaling\.4", "mask_embed.layer_norm2"),
    (r"mask_downscaling\.6", "mask_embed.conv3"),
    (r"point_embeddings", "point_embed"),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"(head|mlps\.\d)\.layers\.0", r"\1.proj_in"),
    (r"(head|mlps\.\d)\.layers\.2", r"\1.proj_out"),
    (r"(head|mlps\.\d)\.layers\.1", r"\1.layers.0"),
)


def _renamed(state: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in _SAM_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = tensor
    shared = "shared_embedding.positional_embedding"
    renamed[f"shared_image_{shared.removeprefix('shared_')}"] = renamed[f"prompt_encoder.{shared}"]
    return renamed


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch from this seed; the generator outside is left as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
