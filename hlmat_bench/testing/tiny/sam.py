"""Build a SAM with few random weights in the formats of real checkpoints; public in `testing`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.networks.device import seeded
from hlmat_bench.segmenters.sam.official import SamArchitecture, build
from hlmat_bench.segmenters.sam.original_names import SAM, renamed, with_shared_positions
from hlmat_bench.testing.tiny import transformers

TINY_SAM = SamArchitecture(
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
"""The architecture of `tiny_sam`."""


@dataclass(frozen=True, slots=True)
class TinySam:
    """A SAM with random weights in two formats.

    Attributes:
        checkpoint: a ``.pth`` file in the format of the official checkpoints, with the architecture `TINY_SAM`.
        pretrained: a folder in the format of transformers, with the same weights.
    """

    checkpoint: Path
    pretrained: Path


def tiny_sam(folder: Path, *, seed: int = 0) -> TinySam:
    """Write a SAM with about 100,000 random weights in both formats that the SAM segmenters read.

    Args:
        folder: folder of the checkpoints; it is created if it does not exist.
        seed: seed of the weights.
    """
    import torch

    with seeded(seed):
        sam = build(TINY_SAM)
        for parameter in sam.parameters():  # many are initialised as 0 or 1
            parameter.data += 0.05 * torch.randn_like(parameter)
        model = transformers().SamModel(_sam_config(TINY_SAM))
    tiny = TinySam(folder / "sam_tiny.pth", folder / "sam_tiny")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(sam.state_dict(), tiny.checkpoint)
    model.load_state_dict(with_shared_positions(renamed(sam.state_dict(), SAM)))
    model.save_pretrained(tiny.pretrained)
    return tiny


def _sam_config(a: SamArchitecture) -> Any:
    return transformers().SamConfig(
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
