"""Build SAMs of the later families with few random weights in the format of transformers; public in `testing`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hlmat_bench.core.networks.device import seeded

SamFamily: TypeAlias = Literal["samhq", "sam2", "sam3", "edgetam"]

_WIDTH = 32
_DECODER = {"hidden_size": _WIDTH, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": _WIDTH}


def tiny_sam_of(folder: Path, family: SamFamily, *, seed: int = 0) -> Path:
    """Write a SAM of one of the later families with 60,000 to 400,000 random weights.

    Args:
        folder: folder of the checkpoint; it is created if it does not exist.
        family: the family; the input size is 128 pixels for ``samhq``, ``sam2`` and ``edgetam``, 112 for ``sam3``.
        seed: seed of the weights.

    Returns:
        The folder.
    """
    import torch

    with seeded(seed):
        model = _BUILDERS[family]()
        for parameter in model.parameters():  # many are initialised as 0 or 1
            parameter.data += 0.15 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def _transformers() -> Any:
    return importlib.import_module("transformers")  # parts of it are not typed


def _samhq() -> Any:
    hf = _transformers()
    config = hf.SamHQConfig(
        vision_config={
            "hidden_size": _WIDTH,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "global_attn_indexes": [1, 2],
            "image_size": 128,
            "window_size": 3,
            "output_channels": _WIDTH,
            "num_pos_feats": _WIDTH // 2,
        },
        prompt_encoder_config={"hidden_size": _WIDTH, "image_size": 128},
        mask_decoder_config={**_DECODER, "vit_dim": _WIDTH},
    )
    return hf.SamHQModel(config)


def _pyramid(side: int, patch: int) -> list[list[int]]:
    """Return the sizes of the three feature maps that the decoder reads, from fine to coarse."""
    return [[side // patch * scale] * 2 for scale in (4, 2, 1)]


def _prompts(side: int, patch: int) -> dict[str, int]:
    return {"hidden_size": _WIDTH, "image_size": side, "patch_size": patch}


def _sam2() -> Any:
    hf = _transformers()
    backbone = hf.Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 24, 32],
        num_attention_heads_per_stage=[1, 2, 3, 4],
        window_size_per_stage=[4, 4, 4, 4],
        window_positional_embedding_background_size=[4, 4],
        global_attention_blocks=[3],
    )
    vision = hf.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[32, 24, 16, 8],
        backbone_feature_sizes=_pyramid(128, 16),
        fpn_hidden_size=_WIDTH,
    )
    config = hf.Sam2Config(
        vision_config=vision, prompt_encoder_config=_prompts(128, 16), mask_decoder_config=dict(_DECODER)
    )
    return hf.Sam2Model(config)


def _sam3() -> Any:
    hf = _transformers()
    backbone = hf.Sam3ViTConfig(
        hidden_size=_WIDTH,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=112,
        pretrain_image_size=56,
        window_size=4,
        global_attn_indexes=[1],
    )
    vision = hf.Sam3VisionConfig(
        backbone_config=backbone, fpn_hidden_size=_WIDTH, backbone_feature_sizes=_pyramid(112, 14)
    )
    config = hf.Sam3TrackerConfig(
        vision_config=vision, prompt_encoder_config=_prompts(112, 14), mask_decoder_config=dict(_DECODER)
    )
    return hf.Sam3TrackerModel(config)


def _edgetam() -> Any:
    hf = _transformers()
    backbone = hf.TimmWrapperConfig(
        architecture="test_convnext", model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    )
    vision = hf.EdgeTamVisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 48, 32, 24],
        backbone_feature_sizes=_pyramid(128, 16),
        fpn_hidden_size=_WIDTH,
    )
    config = hf.EdgeTamConfig(
        vision_config=vision, prompt_encoder_config=_prompts(128, 16), mask_decoder_config=dict(_DECODER)
    )
    return hf.EdgeTamModel(config)


_BUILDERS: dict[SamFamily, Callable[[], Any]] = {"samhq": _samhq, "sam2": _sam2, "sam3": _sam3, "edgetam": _edgetam}
