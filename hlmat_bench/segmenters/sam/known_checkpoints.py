"""Recognises the network of a checkpoint file of the families around SAM, by the names of its tensors.

Sources of the names: facebookresearch/segment-anything, sam2 and sam3, SysCV/sam-hq, ChaoningZhang/MobileSAM,
yformer/EfficientSAM, mit-han-lab/efficientvit, facebookresearch/EdgeTAM and mae, OpenGVLab/SAM-Med2D,
uncbiag/SimpleClick, SamsungLabs/ritm_interactive_segmentation, ultralytics/ultralytics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hlmat_bench.segmenters.sam.families import EDGETAM, MOBILE_SAM, SAM, SAM_2, SAM_3, SAM_HQ, Family, alike

SIMPLECLICK = "a SimpleClick"
"""The value of `Known.what` for SimpleClick."""

_TensorNames = Mapping[str, Any]


class Known(NamedTuple):
    """A recognised file.

    Attributes:
        what: its content, e.g. ``a SAM-HQ``.
        advice: a sentence that says what to use instead.
        family: its family, where the file can be run here as ``checkpoint=`` of a SAM segmenter.
        size: the `Variant.size` of its image encoder; None where the family has one size.
        occlusion: its `Variant.occlusion`; None where the file does not show it.
    """

    what: str
    advice: str
    family: Family | None = None
    size: tuple[int, int] | None = None
    occlusion: bool | None = None


def describe(state: Any) -> Known | None:
    """Return the network that the tensors of a checkpoint belong to; None where it is not known.

    Args:
        state: tensors by name, unwrapped; for any other value, the answer is None.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        return None
    for beginnings, known in _RULES:
        if all(any(name.startswith(beginning) for name in state) for beginning in beginnings):
            return known(state)
    return None


def _width(state: _TensorNames, name: str) -> int:
    """Return the length of a bias, the number of channels of an image encoder's first block; 0 without this bias."""
    return next(iter(getattr(state.get(name), "shape", ())), 0)


def _blocks(state: _TensorNames, encoder: str) -> int:
    return sum(name.startswith(encoder) and name.endswith(".attn.qkv.bias") for name in state)


def _read(family: Family, size: tuple[int, int] | None = None, occlusion: bool | None = None, what: str = "") -> Known:
    """Return the description of a file that can be run here."""
    named = [variant.name for variant in alike(family, size, occlusion)] or [family.any]
    advice = f"Give it as checkpoint= of {' or '.join(named)}."
    return Known(what or f"a {family.name}", advice, family, size, occlusion)


def _vit(state: _TensorNames) -> tuple[int, int]:
    return _width(state, "image_encoder.patch_embed.proj.bias"), _blocks(state, "image_encoder.blocks.")


def _sam(state: _TensorNames) -> Known:
    found = _read(SAM, _vit(state))
    return (
        found if alike(SAM, found.size) else found._replace(advice="Give it as checkpoint= of sam_b, sam_l or sam_h.")
    )


def _sam_hq(state: _TensorNames) -> Known:
    return _read(SAM_HQ, _vit(state))


def _sam_2(state: _TensorNames) -> Known:
    trunk = "image_encoder.trunk."
    size = _width(state, f"{trunk}patch_embed.proj.bias"), _blocks(state, f"{trunk}blocks.")
    # Only the part for videos shows the release; files without it run as both.
    newer = "no_obj_embed_spatial" in state if any(name.startswith("memory_") for name in state) else None
    return _read(SAM_2, size, newer, what=f"a SAM 2{'.1' if newer else ''}")


def _of_transformers(state: _TensorNames) -> Known:
    return Known(
        "the tensors of a network of transformers without its configuration",
        "Give the folder that holds this file and its config.json as pretrained=.",
    )


def _fixed(what: str, advice: str) -> Callable[[_TensorNames], Known]:
    return lambda state: Known(what, advice)


_NOT_READ = "It cannot be run here: take sam_b, or a smaller network such as mobilesam or sam2.1_t."
_BACKBONE = "It contains no segmenter: take the weights of a whole one, such as sam_b."

# Beginnings of tensor names, all of which a file must have, and its network; the first rule that fits counts, so the
# rules of networks that contain the tensors of others come first.
_RULES: tuple[tuple[tuple[str, ...], Callable[[_TensorNames], Known]], ...] = (
    (("sam_mask_decoder.hf_token",), _fixed("an HQ-SAM 2", _NOT_READ)),
    (("image_encoder.patch_embed.seq.", "mask_decoder.hf_token"), _fixed("a Light HQ-SAM", _NOT_READ)),
    (("image_encoder.", "mask_decoder.hf_token"), _sam_hq),
    (("hf_token.", "hf_mlp."), _fixed("the mask decoder of a SAM-HQ alone", "Take the weights of the whole SAM-HQ.")),
    (("image_encoder.trunk.body.",), lambda state: _read(EDGETAM, what="an EdgeTAM")),
    (("image_encoder.trunk.pos_embed_window",), _sam_2),
    (("image_encoder.trunk.", "memory_attention."), _fixed("a SAM 2 with another image encoder", _NOT_READ)),
    (("detector.", "tracker."), lambda state: _read(SAM_3)),
    (
        ("detector.backbone.vision_backbone.",),
        _fixed("the detector of a SAM 3 alone", "Take the weights of the whole SAM 3."),
    ),
    (("mask_decoder.final_output_upscaling_layers.",), _fixed("an EfficientSAM", _NOT_READ)),
    (("image_encoder.patch_embed.seq.", "mask_decoder."), lambda state: _read(MOBILE_SAM)),
    (("image_encoder.backbone.input_stem.",), _fixed("an EfficientViT-SAM", _NOT_READ)),
    (("image_encoder.blocks.0.Adapter.",), _fixed("a SAM with adapter layers, such as SAM-Med2D", _NOT_READ)),
    (("vision_encoder.",), _of_transformers),
    (("tracker_model.",), _of_transformers),
    (
        ("patch_embed_coords.",),
        _fixed(SIMPLECLICK, "Give the authors' file as checkpoint= of simpleclick or simpleclick_l."),
    ),
    (
        ("maps_transform.", "feature_extractor."),
        _fixed("a RITM", "It cannot be run here: take a SimpleClick, such as simpleclick_b."),
    ),
    (("image_encoder.", "mask_decoder.", "prompt_encoder."), _sam),
    (("cls_token", "patch_embed.proj.", "blocks.0."), _fixed("a plain ViT, such as one of MAE", _BACKBONE)),
    # Its names begin with "model.", which `unwrapped` removes as a prefix.
    (("0.conv.", "1.conv."), _fixed("a YOLO or FastSAM of ultralytics", _NOT_READ)),
)
