"""MobileSAM: a SAM with the TinyViT of timm as its image encoder (Zhang et al., arXiv 2306.14289).

The rest is the package segment-anything, as in the original. Source of names and numbers:
``mobile_sam/modeling/tiny_vit_sam.py`` of https://github.com/ChaoningZhang/MobileSAM, commit 34bbbfd.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import TinyVit
from torch import nn

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.sam import known_checkpoints
from hlmat_bench.segmenters.sam.families import MOBILE_SAM, Variant
from hlmat_bench.segmenters.sam.official import VIT_B, OfficialNetwork, build
from hlmat_bench.segmenters.sam.original_names import renamed

_WIDTH = 320  # channels of the TinyViT's last stage

_NAMES = (
    (r"^(image_encoder\.patch_embed)\.seq\.0\.", r"\1.conv1."),
    (r"^(image_encoder\.patch_embed)\.seq\.2\.", r"\1.conv2."),
    # In timm, what joins patches is at the beginning of a stage, in the original at the end of the stage before.
    (r"^image_encoder\.layers\.0\.downsample\.", "image_encoder.stages.1.downsample."),
    (r"^image_encoder\.layers\.1\.downsample\.", "image_encoder.stages.2.downsample."),
    (r"^image_encoder\.layers\.2\.downsample\.", "image_encoder.stages.3.downsample."),
    (r"^image_encoder\.layers\.", "image_encoder.stages."),
    (r"^(image_encoder\.\w+\..*)\.c\.weight$", r"\1.conv.weight"),
    (r"^image_encoder\.(?!neck\.)", "image_encoder.vit."),
)

# The beginnings of the tensors of TinyViT's classifier, which no mask depends on.
_CLASSIFIER = r"image_encoder\.(?:norm_head|head)\."


class MobileEncoder(nn.Module):
    """Turns images (N, 3, S, S) into features (N, 256, S / 16, S / 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = TinyVit(
            num_classes=0,
            embed_dims=(64, 128, 160, _WIDTH),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        del self.vit.head
        last: Any = self.vit.stages[3]
        last.downsample.conv2.conv.stride = (1, 1)  # features of 1/16 of the image, not of 1/32
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTH, 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features of images."""
        features: torch.Tensor = self.neck(self.vit.stages(self.vit.patch_embed(images)))
        return features


def load(variant: Variant, checkpoint: str, device: torch.device, dtype: torch.dtype) -> OfficialNetwork:
    """Return the network of the authors' file ``mobile_sam.pt``.

    Raises:
        UsageError: when the file does not exist, is damaged, or holds anything but a MobileSAM.
    """
    file = weights.checkpoint_file(checkpoint, what=variant.family.name, source=variant.source)
    state, wrapping = weights.unwrapped(weights.load(file))
    known = known_checkpoints.describe(state)
    if known is None or known.family is not MOBILE_SAM:
        other = f"it is {known.what}. {known.advice}" if known else variant.source
        raise UsageError(f"{file} is no checkpoint of MobileSAM: {other}")
    network = build(VIT_B, MobileEncoder())
    kept = {name: tensor for name, tensor in state.items() if not re.match(_CLASSIFIER, name)}
    tensors = renamed(kept, _NAMES)
    _check_fit(tensors, network.state_dict(), file)
    network.load_state_dict(tensors)
    return OfficialNetwork(MOBILE_SAM, network, file, wrapping, device, dtype)


def _check_fit(tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], file: Path) -> None:
    found, wanted = ({name: t.shape for name, t in group.items()} for group in (tensors, expected))
    odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if odd:
        raise UsageError(
            f"{file} looks like a MobileSAM, but {len(odd)} of its tensors are missing, left over or of another shape, "
            f"for example {odd[0]}."
        )
