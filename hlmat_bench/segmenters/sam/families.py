"""The families of Segment Anything Models: their common properties, their sizes, and the sources of their weights.

Sources: Kirillov et al., arXiv 2304.02643 (SAM); Ke et al., arXiv 2306.01567 (SAM-HQ); Ravi et al., arXiv 2408.00714
(SAM 2); Carion et al., arXiv 2511.16719 (SAM 3); Zhou et al., arXiv 2501.07256 (EdgeTAM);
Zhang et al., arXiv 2306.14289 (MobileSAM). How images are prepared and
masks brought to full size: the image processors of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hlmat_bench.segmenters.sam.preprocessing import IMAGENET_MEAN, IMAGENET_STD, InputSquare

_HALF = (127.5, 127.5, 127.5)


@dataclass(frozen=True, slots=True)
class Family:
    """The common properties of the SAMs of one family.

    Attributes:
        name: the name of the family, e.g. ``"SAM 2"``.
        any: the name of the segmenter that takes every size of the family.
        model: the network's class in transformers; empty where it has none.
        config: the class of its configuration.
        repository: where the authors' own files are linked from.
        types: the ``model_type`` of the checkpoints that the class reads; checkpoints for videos contain the network
            for images, too.
        licence: the licence of the public weights.
        gated: whether the hub requires users to accept the licence before a download.
        side: side of the square that is the network's input, in pixels, in the public checkpoints.
        stretched, mean, std: see `hlmat_bench.segmenters.sam.preprocessing.InputSquare`.
        bound: logits that are fed back are first clipped to [-bound, bound]; None for no clipping.
        corrected: what is not as its library computes it, as part of the spec; empty where nothing is.
        needs: required packages, other than torch, transformers and safetensors.
    """

    name: str
    any: str
    model: str
    config: str
    repository: str
    types: tuple[str, ...]
    licence: str
    gated: bool = False
    side: int = 1024
    stretched: bool = True
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    bound: float | None = 32.0
    corrected: str = ""
    needs: tuple[str, ...] = ("torchvision",)

    def square(self, side: int) -> InputSquare:
        """Return the preprocessing for a network whose input is a square of ``side`` pixels.

        Pillow resizes images for SAM, as in the original code, so that both code paths give the same masks; torchvision
        resizes them for the other families, as in transformers.
        """
        return InputSquare(
            side, self.stretched, "pillow" if "pillow" in self.needs else "torchvision", self.mean, self.std
        )


# The predictors of SAM 2 (sam2/sam2_image_predictor.py), and of SAM 3 and EdgeTAM after it, clip the logits that they
# return at 32; those of SAM and SAM-HQ do not.
SAM = Family(
    "SAM",
    "sam",
    "SamModel",
    "SamConfig",
    "github.com/facebookresearch/segment-anything",
    ("sam",),
    "Apache-2.0",
    stretched=False,
    bound=None,
    needs=("pillow",),
)
SAM_HQ = Family(
    "SAM-HQ",
    "samhq",
    "SamHQModel",
    "SamHQConfig",
    "github.com/SysCV/sam-hq",
    ("sam_hq",),
    "Apache-2.0",
    stretched=False,
    bound=None,
    corrected="image features in the mask decoder",
)
SAM_2 = Family(
    "SAM 2", "sam2", "Sam2Model", "Sam2Config", "github.com/facebookresearch/sam2", ("sam2", "sam2_video"), "Apache-2.0"
)
SAM_3 = Family(
    "SAM 3",
    "sam3",
    "Sam3TrackerModel",
    "Sam3TrackerConfig",
    "github.com/facebookresearch/sam3",
    ("sam3_tracker", "sam3_video"),
    "SAM License",
    gated=True,
    side=1008,
    mean=_HALF,
    std=_HALF,
)
EDGETAM = Family(
    "EdgeTAM",
    "edgetam",
    "EdgeTamModel",
    "EdgeTamConfig",
    "github.com/facebookresearch/EdgeTAM",
    ("edgetam", "edgetam_video"),
    "Apache-2.0",
    needs=("torchvision", "timm"),
)
MOBILE_SAM = Family(
    "MobileSAM",
    "mobilesam",
    "",
    "",
    "github.com/ChaoningZhang/MobileSAM",
    (),
    "Apache-2.0",
    stretched=False,
    bound=None,
    needs=("pillow", "timm"),
)
FAMILIES = (SAM, SAM_HQ, SAM_2, SAM_3, EDGETAM)


@dataclass(frozen=True, slots=True)
class Variant:
    """One segmenter: a family and one of its sizes.

    Attributes:
        name: the name of the segmenter.
        family: its family.
        hub_id: the id of the weights on the Hugging Face hub; empty where there are several.
        size: channels of the image encoder's first block, and the number of its blocks; None for any size.
        occlusion: the checkpoint's ``enable_occlusion_spatial_embedding``, which distinguishes SAM 2.1 from SAM 2,
            because their networks for images have the same architecture. None for either.
        file: the name of the authors' own file; empty where there are several.
    """

    name: str
    family: Family
    hub_id: str = ""
    size: tuple[int, int] | None = None
    occlusion: bool | None = None
    file: str = ""

    @property
    def source(self) -> str:
        """A sentence that says where to get the weights and how to name them."""
        terms = " (once you accepted its licence there)" if self.family.gated else ""
        hub = f", or {self.hub_id} on the Hugging Face hub{terms}" if self.hub_id else ""
        file = f"the authors' file {self.file}" if self.file else "a file of the authors"
        if not self.family.model:
            return f"Name {file} (linked from {self.family.repository}), as checkpoint=."
        return (
            f"Name a folder of {self.family.name} weights that transformers saved{hub}, as pretrained=; or {file} "
            f"(linked from {self.family.repository}), as checkpoint=."
        )


def _hiera(letter: str, word: str, size: tuple[int, int]) -> tuple[Variant, ...]:
    """Return the variants SAM 2 and SAM 2.1 of one size."""
    return tuple(
        Variant(
            f"{release}_{letter}",
            SAM_2,
            f"facebook/{release}-hiera-{word}",
            size,
            occlusion=release == "sam2.1",
            file=f"{release}_hiera_{word.replace('-', '_')}.pt",
        )
        for release in ("sam2", "sam2.1")
    )


VARIANTS: Mapping[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("sam_b", SAM, "facebook/sam-vit-base", (768, 12), file="sam_vit_b_01ec64.pth"),
        Variant("sam_l", SAM, "facebook/sam-vit-large", (1024, 24), file="sam_vit_l_0b3195.pth"),
        Variant("sam_h", SAM, "facebook/sam-vit-huge", (1280, 32), file="sam_vit_h_4b8939.pth"),
        Variant("sam", SAM),
        Variant("samhq_b", SAM_HQ, "syscv-community/sam-hq-vit-base", (768, 12), file="sam_hq_vit_b.pth"),
        Variant("samhq_l", SAM_HQ, "syscv-community/sam-hq-vit-large", (1024, 24), file="sam_hq_vit_l.pth"),
        Variant("samhq_h", SAM_HQ, "syscv-community/sam-hq-vit-huge", (1280, 32), file="sam_hq_vit_h.pth"),
        Variant("samhq", SAM_HQ),
        *_hiera("t", "tiny", (96, 12)),
        *_hiera("s", "small", (96, 16)),
        *_hiera("b", "base-plus", (112, 24)),
        *_hiera("l", "large", (144, 48)),
        Variant("sam2", SAM_2),
        Variant("sam3", SAM_3, "facebook/sam3", file="sam3.pt"),
        Variant("edgetam", EDGETAM, "yonigozlan/EdgeTAM-hf", file="edgetam.pt"),
        Variant("mobilesam", MOBILE_SAM, file="mobile_sam.pt"),
    )
}


def alike(family: Family, size: tuple[int, int] | None, occlusion: bool | None = None) -> list[Variant]:
    """Return the variants of a family with one size and release; those of every release where ``occlusion`` is None."""
    named = [variant for variant in VARIANTS.values() if variant.family is family and variant.file]
    return [v for v in named if v.size == size and (occlusion is None or v.occlusion in (None, occlusion))]


def encoder_size(config: Any) -> tuple[int, int] | None:
    """Return the `Variant.size` of a configuration of transformers; None where the family has one size."""
    vision = config.vision_config
    if hasattr(vision, "num_hidden_layers"):
        return vision.hidden_size, vision.num_hidden_layers
    backbone = vision.backbone_config
    if hasattr(backbone, "blocks_per_stage"):
        return backbone.embed_dim_per_stage[0], sum(backbone.blocks_per_stage)
    return None
