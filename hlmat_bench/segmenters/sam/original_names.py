"""The names that transformers gives to the tensors of the authors' own files of SAM, SAM-HQ, SAM 2, SAM 3 and EdgeTAM.

Sources: the networks in facebookresearch/segment-anything, SysCV/sam-hq (commit fb181f8), facebookresearch/sam2
(2b90b9f), facebookresearch/sam3 (99d02f2) and facebookresearch/EdgeTAM (9cc44bf), and those in transformers 5.24.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Tensors: TypeAlias = "Mapping[str, torch.Tensor]"
Rules: TypeAlias = tuple[tuple[str, str], ...]

# Rules are applied one after another, each to what the rules before it made of a name. The inner layers of an MLP of
# three are numbered from 0 in transformers, so the rule for its layer 1 comes after that for its layer 0.
_PROMPTS_AND_DECODER: Rules = (
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"point_embeddings\.", "point_embed."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"(head|mlps\.\d|hf_mlp)\.layers\.0\.", r"\1.proj_in."),
    (r"(head|mlps\.\d|hf_mlp)\.layers\.2\.", r"\1.proj_out."),
    (r"(head|mlps\.\d|hf_mlp)\.layers\.1\.", r"\1.layers.0."),
    (r"\.norm(\d|_final_attn)\.", r".layer_norm\1."),
)

SAM: Rules = (
    *_PROMPTS_AND_DECODER,
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
)

SAM_HQ: Rules = (
    *SAM,
    (r"\.hf_token\.", ".hq_token."),
    (r"\.hf_mlp\.", ".hq_mask_mlp."),
    (r"\.compress_vit_feat\.", ".compress_vit_feat_"),
    (r"\.embedding_encoder\.", ".encoder_"),
    (r"\.embedding_maskfeature\.", ".mask_"),
    (r"_(?:feat_)?0\.(\w+)$", r"_conv1.\1"),
    (r"_(?:feat_)?1\.(\w+)$", r"_norm.\1"),
    (r"_(?:feat_)?3\.(\w+)$", r"_conv2.\1"),
)

_SAM_2_DECODER: Rules = (
    *_PROMPTS_AND_DECODER,
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"\.out_proj\.", ".o_proj."),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^image_encoder\.neck\.convs\.(\d)\.conv\.", r"vision_encoder.neck.convs.\1."),
)

SAM_2: Rules = (
    *_SAM_2_DECODER,
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
)

EDGETAM: Rules = (*_SAM_2_DECODER, (r"^image_encoder\.trunk\.body\.", "vision_encoder.backbone.timm_model."))

_SAM_3_TRUNK, _SAM_3_NECK = (f"detector.backbone.vision_backbone.{part}." for part in ("trunk", "sam2_convs"))
SAM_3: Rules = (
    (r"^tracker\.", ""),
    *_SAM_2_DECODER,
    (r"\.mlp\.lin1\.", ".mlp.proj_in."),
    (r"\.mlp\.lin2\.", ".mlp.proj_out."),
    (f"^{re.escape(_SAM_3_TRUNK)}", "vision_encoder.backbone."),
    (r"backbone\.pos_embed$", "backbone.embeddings.position_embeddings"),
    (r"backbone\.patch_embed\.proj\.", "backbone.embeddings.patch_embeddings.projection."),
    (r"backbone\.ln_pre\.", "backbone.layer_norm."),
    (r"backbone\.blocks\.(\d+)\.attn\.proj\.", r"backbone.layers.\1.attention.o_proj."),
    (r"backbone\.blocks\.(\d+)\.attn\.", r"backbone.layers.\1.attention."),
    (r"backbone\.blocks\.", "backbone.layers."),
    (f"^{re.escape(_SAM_3_NECK)}", "vision_encoder.neck.fpn_layers."),
    (r"\.dconv_2x2(?:_0)?\.", ".scale_layers.0."),
    (r"\.dconv_2x2_1\.", ".scale_layers.2."),
    (r"\.conv_1x1\.", ".proj1."),
    (r"\.conv_3x3\.", ".proj2."),
)

VIDEO = (
    r"(?:tracker\.)?(?:memory_attention\.|memory_encoder\.|maskmem_backbone\.|transformer\.|spatial_perceiver\."
    r"|mask_downsample\.|obj_ptr_(?:tpos_)?proj\.|(?:maskmem_tpos_enc|no_mem_pos_enc|no_obj_ptr|no_obj_embed_spatial)$)"
)
"""The beginnings of the tensors that only follow an object through a video; the networks for images lack them."""

# Rotary positions are no weights: transformers computes them.
SAM_3_OTHER = rf"{VIDEO}|(?!{re.escape(_SAM_3_TRUNK)}|{re.escape(_SAM_3_NECK)})detector\.|.*\.attn\.freqs_cis$"
"""The beginnings of the tensors of a SAM 3 that its tracker for images lacks, those of the detector among them."""


def renamed(state: Tensors, rules: Rules) -> dict[str, torch.Tensor]:
    """Return tensors under other names; no tensor is copied.

    >>> list(renamed({"sam_mask_decoder.iou_prediction_head.layers.2.bias": 0}, SAM_2))
    ['mask_decoder.iou_prediction_head.proj_out.bias']
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    made: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        made[name] = tensor
    return made


def with_shared_positions(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Add the positions of the image's features, which the authors take from the encoder of prompts."""
    positions = state.get("prompt_encoder.shared_embedding.positional_embedding")
    return state if positions is None else state | {"shared_image_embedding.positional_embedding": positions}


def with_points_together(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Join the embeddings of points, four tensors (1, C) in the authors' files, to one tensor (4, C)."""
    import torch

    parts = [f"prompt_encoder.point_embed.{kind}.weight" for kind in range(4)]
    if not all(name in state for name in parts):
        return state
    kept = {name: tensor for name, tensor in state.items() if name not in parts}
    return kept | {"prompt_encoder.point_embed.weight": torch.cat([state[name] for name in parts])}


def with_attention_in_parts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Split the queries, keys and values of SAM 3's image encoder, and remove the position of its class token."""
    made: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if ".attention.qkv." in name:
            names = [name.replace(".qkv.", f".{part}_proj.") for part in "qkv"]
            made.update(zip(names, tensor.chunk(3), strict=True))
        elif name.endswith(".position_embeddings"):
            made[name] = tensor[:, 1:]
        else:
            made[name] = tensor
    return made
