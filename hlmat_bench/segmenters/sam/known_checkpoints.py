"""Recognises the network of a checkpoint file of the families around SAM, by the names of its tensors.

Sources of the names: facebookresearch/segment-anything, sam2 and sam3, SysCV/sam-hq, ChaoningZhang/MobileSAM,
yformer/EfficientSAM, mit-han-lab/efficientvit, facebookresearch/EdgeTAM and mae, OpenGVLab/SAM-Med2D,
uncbiag/SimpleClick, SamsungLabs/ritm_interactive_segmentation, ultralytics/ultralytics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hlmat_bench.segmenters.sam.families import SAM, SAM_2, SAM_HQ, VARIANTS, Family

SAM_1, SIMPLECLICK = "a SAM", "a SimpleClick"
"""Values of `Known.what` for the two networks that are read from their authors' files."""

_TensorNames = Mapping[str, Any]


class Known(NamedTuple):
    """A recognised file.

    Attributes:
        what: its content, e.g. ``the original file of a SAM-HQ``.
        advice: a sentence that says what to use instead.
    """

    what: str
    advice: str


def describe(state: Any, *, other_than: str) -> Known | None:
    """Return the network that the tensors of a checkpoint belong to; None where it is not known.

    Args:
        state: tensors by name, unwrapped; for any other value, the answer is None.
        other_than: the wanted network, ``SAM_1`` or ``SIMPLECLICK``; for this one, the answer is None, too.
    """
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        return None
    for beginnings, known in _RULES:
        if all(any(name.startswith(beginning) for name in state) for beginning in beginnings):
            found = known(state)
            return None if found.what == other_than else found
    return None


def _width(state: _TensorNames, name: str) -> int:
    """Return the length of a bias, the number of channels of an image encoder's first block; 0 without this bias."""
    return next(iter(getattr(state.get(name), "shape", ())), 0)


def _blocks(state: _TensorNames, encoder: str) -> int:
    return sum(name.startswith(encoder) and name.endswith(".attn.qkv.bias") for name in state)


def _name(family: Family, size: tuple[int, int], occlusion: bool | None = None) -> str:
    """Return the option that loads a variant, e.g. ``samhq_b,pretrained=syscv-community/sam-hq-vit-base``."""
    fitting = [variant for variant in VARIANTS.values() if variant.family is family and variant.hub_id]
    alike = [variant for variant in fitting if variant.size == size and variant.occlusion in (None, occlusion)]
    if alike:
        return f"{alike[0].name},pretrained={alike[0].hub_id}"
    return f"{family.any},pretrained=FOLDER, a folder that transformers saved"


def _vit(state: _TensorNames) -> tuple[int, int]:
    return _width(state, "image_encoder.patch_embed.proj.bias"), _blocks(state, "image_encoder.blocks.")


def _sam(state: _TensorNames) -> Known:
    size = _vit(state)
    name = next((v.name for v in VARIANTS.values() if v.family is SAM and v.size == size), "sam_b, sam_l or sam_h")
    return Known(SAM_1, f"Give it as checkpoint= of {name}.")


def _sam_hq(state: _TensorNames) -> Known:
    return Known("the original file of a SAM-HQ", f"Take the segmenter {_name(SAM_HQ, _vit(state))}.")


def _sam_2(state: _TensorNames) -> Known:
    newer = "no_obj_embed_spatial" in state
    trunk = "image_encoder.trunk."
    size = _width(state, f"{trunk}patch_embed.proj.bias"), _blocks(state, f"{trunk}blocks.")
    what = f"the original file of a SAM 2{'.1' if newer else ''}"
    return Known(what, f"Take the segmenter {_name(SAM_2, size, newer)}.")


def _of_transformers(state: _TensorNames) -> Known:
    return Known(
        "the tensors of a network of transformers without its configuration",
        "Give the folder that holds this file and its config.json as pretrained=.",
    )


def _fixed(what: str, advice: str) -> Callable[[_TensorNames], Known]:
    return lambda state: Known(what, advice)


_NOT_READ = "It cannot be run here: take sam_b, or a smaller network such as edgetam or sam2.1_t."
_SAM_3 = _fixed("the original file of a SAM 3", f"Take the segmenter sam3,pretrained={VARIANTS['sam3'].hub_id}.")
_BACKBONE = "It contains no segmenter: take the weights of a whole one, such as sam_b."

# Beginnings of tensor names, all of which a file must have, and its network; the first rule that fits counts, so the
# rules of networks that contain the tensors of others come first.
_RULES: tuple[tuple[tuple[str, ...], Callable[[_TensorNames], Known]], ...] = (
    (("sam_mask_decoder.hf_token",), _fixed("the original file of an HQ-SAM 2", _NOT_READ)),
    (("image_encoder.patch_embed.seq.", "mask_decoder.hf_token"), _fixed("a Light HQ-SAM", _NOT_READ)),
    (("image_encoder.", "mask_decoder.hf_token"), _sam_hq),
    (("hf_token.", "hf_mlp."), _fixed("the mask decoder of a SAM-HQ alone", "Take the weights of the whole SAM-HQ.")),
    (
        ("image_encoder.trunk.body.",),
        _fixed(
            "the original file of an EdgeTAM", f"Take the segmenter edgetam,pretrained={VARIANTS['edgetam'].hub_id}."
        ),
    ),
    (("image_encoder.trunk.pos_embed_window",), _sam_2),
    (("image_encoder.trunk.", "memory_attention."), _fixed("a SAM 2 with another image encoder", _NOT_READ)),
    (("detector.", "tracker."), _SAM_3),
    (("detector.backbone.vision_backbone.",), _SAM_3),
    (("mask_decoder.final_output_upscaling_layers.",), _fixed("an EfficientSAM", _NOT_READ)),
    (("image_encoder.patch_embed.seq.", "mask_decoder."), _fixed("a MobileSAM", _NOT_READ)),
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
