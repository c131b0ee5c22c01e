"""Reads the authors' own files of SAM-HQ, SAM 2 and 2.1, SAM 3 and EdgeTAM into the networks of transformers.

A file is taken when each of its tensors has a place in the network, with its shape, and no place stays empty. Tensors
that only follow objects through videos, and the detector of SAM 3, are left out.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.sam import known_checkpoints
from hlmat_bench.segmenters.sam import original_names as names
from hlmat_bench.segmenters.sam.families import EDGETAM, SAM_2, SAM_3, SAM_HQ, Family, Variant, alike
from hlmat_bench.segmenters.sam.known_checkpoints import Known
from hlmat_bench.segmenters.sam.transformers import LoadedModel

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
Shapes: TypeAlias = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Format:
    """How the files of a family become a network of transformers.

    Attributes:
        rules: the names in transformers.
        left_out: the beginnings of tensors that the network for images lacks; None where all are needed.
        changes: what is done to the renamed tensors.
        config: returns the arguments of the configuration for a file's tensors, None where the network's numbers are
            not known.
    """

    rules: names.Rules
    left_out: str | None
    changes: tuple[Callable[[Tensors], Tensors], ...]
    config: Callable[[names.Tensors], dict[str, Any] | None]


def load(variant: Variant, checkpoint: str) -> LoadedModel:
    """Return the network of a file of the authors.

    Args:
        variant: the variant to load; one without a size loads any official size of the family.
        checkpoint: the file, as torch or safetensors wrote it.

    Raises:
        UsageError: when the file does not exist, is damaged, or holds anything but this variant.
    """
    file = weights.checkpoint_file(checkpoint, what=variant.family.name, source=variant.source)
    state, wrapping = weights.unwrapped(weights.load(file))
    known = checked(state, variant, file)
    made = _FORMATS[variant.family]
    written = made.config(state)
    if written is None:
        raise UsageError(f"{file} is {known.what} of no official size, which cannot be read. {variant.source}")
    library = importlib.import_module("transformers")  # parts of it are not typed
    model = getattr(library, variant.family.model)
    with weights.reading(str(file), variant.source):  # numbers in a file may contradict each other
        config = getattr(library, variant.family.config)(**written)
        places = _places(model, config)
    tensors = _fitted(state, made, places, f"{file} looks like {known.what}, but")
    del state
    network = model.from_pretrained(
        None, config=config, state_dict=tensors, dtype="float32", attn_implementation="sdpa"
    )
    return LoadedModel(network, file, wrapping, known.what)


def checked(state: Any, variant: Variant, file: Path) -> Known:
    """Return what the tensors of a file belong to; raise `UsageError` unless it is the wanted variant."""
    known = known_checkpoints.describe(state)
    if known is None:
        raise UsageError(f"{file} is not a checkpoint of {variant.family.name} that is known here. {variant.source}")
    if known.family is not variant.family:
        raise UsageError(f"{file} is not a checkpoint of {variant.family.name}: it is {known.what}. {known.advice}")
    if variant.size is not None and variant not in (fitting := alike(known.family, known.size, known.occlusion)):
        instead = " or ".join(other.name for other in fitting) or known.family.any
        raise UsageError(f"{file} is {known.what} other than {variant.name}: name the segmenter {instead}.")
    return known


def _fitted(state: names.Tensors, made: _Format, expected: Shapes, complaint: str) -> Tensors:
    """Return the tensors of a file by their names in transformers, as float32.

    Args:
        complaint: the beginning of the sentence about tensors that do not fit.

    Raises:
        UsageError: when a tensor has no place or another shape, or a place stays empty.
    """
    kept = {name: tensor for name, tensor in state.items() if not (made.left_out and re.match(made.left_out, name))}
    renamed = names.renamed(kept, made.rules)
    original = dict(zip(renamed, kept, strict=False))
    odd = [] if len(renamed) == len(kept) else ["two tensors for one place"]
    for change in made.changes:
        renamed = change(renamed)
    check_fit(shapes(renamed), expected, complaint, odd, original)
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in renamed.items()}


def check_fit(
    found: Shapes, expected: Shapes, complaint: str, odd: Sequence[str] = (), original: Mapping[str, str] | None = None
) -> None:
    """Raise `UsageError` unless a file holds exactly the expected tensors.

    Args:
        found: the shapes of the file's tensors, by the names in the network.
        expected: the shapes of the network's tensors.
        complaint: the beginning of the sentence about tensors that do not fit.
        odd: what did not fit before.
        original: the names in the file by the names in the network, where they differ.
    """
    differing = (name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if not (odd := [*odd, *sorted(differing)]):
        return
    first = (original or {}).get(odd[0], odd[0])
    raise UsageError(
        f"{complaint} {len(odd)} of its tensors are missing, left over or of another shape, for example {first}."
    )


def shapes(tensors: names.Tensors) -> Shapes:
    """Return the shapes of tensors by their names."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _places(model: Any, config: Any) -> Shapes:
    import torch

    with torch.device("meta"):
        return shapes(model(config).state_dict())


def _of_sam_hq(state: names.Tensors) -> dict[str, Any] | None:
    """Return the configuration of a SAM-HQ, all of which but the heads of its decoder can be seen in the shapes."""
    blocks = "image_encoder.blocks."
    try:
        _, side, _, width = state["image_encoder.pos_embed"].shape
        patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
        reach = [shape[0] for shape in _numbered(state, blocks, ".attn.rel_pos_h")]
        head = state[f"{blocks}0.attn.rel_pos_h"].shape[1]
        prompt_width, score_hidden = (
            state[f"mask_decoder.{part}"].shape[1]
            for part in ("iou_token.weight", "iou_prediction_head.layers.2.weight")
        )
        encoder_mlp = state[f"{blocks}0.mlp.lin1.weight"].shape[0]
        decoder_mlp = state["mask_decoder.transformer.layers.0.mlp.lin1.weight"].shape[0]
    except (KeyError, ValueError, IndexError):
        return None
    everywhere = [block for block, length in enumerate(reach) if length == 2 * side - 1]
    windows = {length for length in reach if length != 2 * side - 1} or {27}
    if len(windows) != 1 or not head or not patch:
        return None
    prompts = {"hidden_size": prompt_width, "image_size": side * patch, "patch_size": patch}
    return {
        "vision_config": {
            "hidden_size": width,
            "num_hidden_layers": len(reach),
            "num_attention_heads": width // head,
            "global_attn_indexes": everywhere,
            "window_size": (windows.pop() + 1) // 2,
            "mlp_dim": encoder_mlp,
            "output_channels": prompt_width,
            "num_pos_feats": prompt_width // 2,
            "image_size": side * patch,
            "patch_size": patch,
        },
        "prompt_encoder_config": prompts,
        "mask_decoder_config": {
            "hidden_size": prompt_width,
            "mlp_dim": decoder_mlp,
            "iou_head_hidden_dim": score_hidden,
            "vit_dim": width,
            "layer_norm_eps": 1e-5,  # as in `transformers._from_pretrained`
        },
    }


def _numbered(state: names.Tensors, before: str, after: str) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors ``before0after``, ``before1after`` and so on."""
    found: list[tuple[int, ...]] = []
    while (tensor := state.get(f"{before}{len(found)}{after}")) is not None:
        found.append(tuple(tensor.shape))
    return found


@dataclass(frozen=True, slots=True)
class _Hiera:
    """The numbers of an image encoder of SAM 2 that its tensors do not show.

    Source: the files ``sam2/configs/sam2.1/*.yaml`` of facebookresearch/sam2; those of SAM 2 are the same.
    """

    blocks: tuple[int, int, int, int]
    heads: int
    everywhere: tuple[int, int, int]
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    background: int = 7


_HIERA = {
    (96, 12): _Hiera((1, 2, 7, 2), 1, (5, 7, 9)),
    (96, 16): _Hiera((1, 2, 11, 2), 1, (7, 10, 13)),
    (112, 24): _Hiera((2, 3, 16, 3), 2, (12, 16, 20), background=14),
    (144, 48): _Hiera((2, 6, 36, 4), 2, (23, 33, 43), windows=(8, 4, 16, 8)),
}


def _of_sam_2(state: names.Tensors) -> dict[str, Any] | None:
    known = known_checkpoints.describe(state)
    size = known.size if known else None
    if size not in _HIERA:
        return None
    hiera, widths = _HIERA[size], [size[0] * scale for scale in (1, 2, 4, 8)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": widths[0],
        "num_attention_heads": hiera.heads,
        "blocks_per_stage": list(hiera.blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [hiera.heads * scale for scale in (1, 2, 4, 8)],
        "window_size_per_stage": list(hiera.windows),
        "global_attention_blocks": list(hiera.everywhere),
        "window_positional_embedding_background_size": [hiera.background] * 2,
    }
    return {"vision_config": {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}}


def _of_edgetam(state: names.Tensors) -> dict[str, Any]:
    """Return the configuration of an EdgeTAM; its encoder is named in ``sam2/configs/edgetam.yaml`` of EdgeTAM."""
    arguments = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    backbone = {
        "model_type": "timm_wrapper",
        "architecture": "repvit_m1.dist_in1k",
        "model_args": arguments,
        "num_classes": 1000,  # of the classifier, which is not built
    }
    return {"vision_config": {"backbone_config": backbone}}


def _of_sam_3(state: names.Tensors) -> dict[str, Any]:
    """Return no arguments: the defaults of transformers are those of the one SAM 3."""
    return {}


_SAM_2_CHANGES = (names.with_points_together, names.with_shared_positions)
_FORMATS: Mapping[Family, _Format] = {
    SAM_HQ: _Format(names.SAM_HQ, None, (names.with_shared_positions,), _of_sam_hq),
    SAM_2: _Format(names.SAM_2, names.VIDEO, _SAM_2_CHANGES, _of_sam_2),
    EDGETAM: _Format(names.EDGETAM, names.VIDEO, _SAM_2_CHANGES, _of_edgetam),
    SAM_3: _Format(names.SAM_3, names.SAM_3_OTHER, (names.with_attention_in_parts, *_SAM_2_CHANGES), _of_sam_3),
}
