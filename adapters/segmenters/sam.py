"""The Segment Anything Models as interactive segmenters: SAM, SAM-HQ, SAM 2 and 2.1, SAM 3, EdgeTAM, MobileSAM,
EfficientSAM.

All run through transformers, with its own files (``pretrained=``) or those of the authors (``checkpoint=``); the
authors' files of SAM run through the package segment-anything, with the same masks, and so does MobileSAM's;
EfficientSAM's run through code of this project.
`hlmat_bench.segmenters.sam.segmenter` has their common code, `hlmat_bench.segmenters.sam.families` their differences.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import device as local
from hlmat_bench.protocol.interfaces import Facts
from hlmat_bench.segmenters.sam import official, original_files
from hlmat_bench.segmenters.sam.families import EFFICIENT_SAM, MOBILE_SAM, SAM, VARIANTS, Family, Variant
from hlmat_bench.segmenters.sam.official import VIT_B, VIT_H, VIT_L, OfficialNetwork, SamArchitecture
from hlmat_bench.segmenters.sam.segmenter import SamSegmenter
from hlmat_bench.segmenters.sam.transformers import TransformersNetwork, from_pretrained

if TYPE_CHECKING:
    import torch

_OFFICIAL = ("torch", "torchvision", "segment_anything")
_TRANSFORMERS = ("torch", "transformers", "safetensors")


def missing(name: str) -> str | None:
    """Return a sentence that names missing packages of a segmenter; None when it can run. SAM can run in two ways."""
    family = VARIANTS[name].family
    if family is SAM:
        return local.missing_packages(*_OFFICIAL) and local.missing_packages(*_TRANSFORMERS)
    return local.missing_packages(*_needed(family))


def _needed(family: Family) -> tuple[str, ...]:
    """Return the packages that a family other than SAM needs."""
    if family is EFFICIENT_SAM:
        return _OFFICIAL
    return (*_OFFICIAL, "timm") if family is MOBILE_SAM else (*_TRANSFORMERS, *family.needs)


class Sam(SamSegmenter):
    """The segmenters ``sam_b``, ``sam_l``, ``sam_h``, and ``sam`` for any SAM that transformers can load.

    Args:
        architecture: the architecture; None to take it from the ``pretrained`` folder.
        checkpoint: an official ``.pth`` file.
        pretrained: instead of ``checkpoint``, a folder that transformers saved, or a Hugging Face id.
        device: ``auto`` takes the accelerator if there is one.
        dtype: number type of the image encoder; prompts and masks are always computed in float32.
        feedback: whether the logits of the last mask are an input of the next prediction.
        cache_mb: size of the cache of image features on the device, in megabytes (2^20 bytes).
        embedding_cache: a folder for a cache of image features on disk; None for no such cache.
        embedding_cache_gb: the largest size of this folder, in gigabytes (2^30 bytes).

    Raises:
        UsageError: when a package is missing, or the weights are missing, damaged or of another size.
    """

    def __init__(
        self,
        architecture: SamArchitecture | None,
        *,
        checkpoint: str | None = None,
        pretrained: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        feedback: bool = True,
        cache_mb: int = 1024,
        embedding_cache: str | None = None,
        embedding_cache_gb: float = 20,
    ) -> None:
        variant = architecture.variant if architecture else VARIANTS["sam"]
        _check_choice(variant.name, architecture, checkpoint, pretrained)
        _check_options(feedback, cache_mb, embedding_cache, embedding_cache_gb)
        local.require(*(_OFFICIAL if checkpoint else _TRANSFORMERS))
        where = local.device(device), local.dtype(dtype)
        network: OfficialNetwork | TransformersNetwork
        with local.computing(variant.name):
            if architecture and checkpoint:
                network = official.load(architecture, checkpoint, *where)
            else:
                advice = architecture.source if architecture else None
                network = TransformersNetwork(SAM, from_pretrained(variant, str(pretrained), advice), *where)
        super().__init__(
            variant.name,
            network,
            feedback=feedback,
            cache_mb=cache_mb,
            embedding_cache=embedding_cache,
            embedding_cache_gb=embedding_cache_gb,
        )


class LaterSam(SamSegmenter):
    """A SAM of a later family.

    Args:
        variant: the variant to load.
        pretrained: a folder that transformers saved, or a Hugging Face id.
        checkpoint: instead of ``pretrained``, a file of the authors.
        device, dtype, feedback, cache_mb, embedding_cache, embedding_cache_gb: see `Sam`.

    Raises:
        UsageError: when a package is missing, or the weights are missing, damaged or those of another network.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        pretrained: str | None = None,
        checkpoint: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        feedback: bool = True,
        cache_mb: int = 1024,
        embedding_cache: str | None = None,
        embedding_cache_gb: float = 20,
    ) -> None:
        if checkpoint and pretrained:
            raise UsageError(f"{variant.name} takes checkpoint= or pretrained=, not both.")
        if not (checkpoint or pretrained):
            raise UsageError(f"{variant.name} needs its weights. {variant.source}")
        _check_options(feedback, cache_mb, embedding_cache, embedding_cache_gb)
        local.require(*_needed(variant.family))
        with local.computing(variant.name):
            network = _network(variant, checkpoint, pretrained, local.device(device), local.dtype(dtype))
        super().__init__(
            variant.name,
            network,
            feedback=feedback,
            cache_mb=cache_mb,
            embedding_cache=embedding_cache,
            embedding_cache_gb=embedding_cache_gb,
        )


class EfficientSam(SamSegmenter):
    """An EfficientSAM. Its network is shown the first six points, without negative clicks, and takes no mask.

    Args:
        variant: the variant to load.
        checkpoint: a file of the authors.
        device, dtype, cache_mb, embedding_cache, embedding_cache_gb: see `Sam`.

    Raises:
        UsageError: when a package is missing, or the weights are missing, damaged or those of another network.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        checkpoint: str | None = None,
        device: str = "auto",
        dtype: str = "float32",
        cache_mb: int = 1024,
        embedding_cache: str | None = None,
        embedding_cache_gb: float = 20,
    ) -> None:
        if not checkpoint:
            raise UsageError(f"{variant.name} needs its weights. {variant.source}")
        _check_options(False, cache_mb, embedding_cache, embedding_cache_gb)
        local.require(*_needed(variant.family))
        from hlmat_bench.segmenters.sam import efficient  # it imports torch

        with local.computing(variant.name):
            network = efficient.load(variant, checkpoint, local.device(device), local.dtype(dtype))
        super().__init__(
            variant.name,
            network,
            feedback=False,
            cache_mb=cache_mb,
            embedding_cache=embedding_cache,
            embedding_cache_gb=embedding_cache_gb,
        )


def _network(
    variant: Variant, checkpoint: str | None, pretrained: str | None, device: torch.device, dtype: torch.dtype
) -> OfficialNetwork | TransformersNetwork:
    if variant.family is not MOBILE_SAM:
        loaded = original_files.load(variant, checkpoint) if checkpoint else from_pretrained(variant, str(pretrained))
        return TransformersNetwork(variant.family, loaded, device, dtype)
    if not checkpoint:
        raise UsageError(f"{variant.name} takes checkpoint=, not pretrained=. {variant.source}")
    from hlmat_bench.segmenters.sam import mobile  # it imports torch

    return mobile.load(variant, checkpoint, device, dtype)


def _check_choice(
    name: str, architecture: SamArchitecture | None, checkpoint: str | None, pretrained: str | None
) -> None:
    if architecture is None and (checkpoint or not pretrained):
        raise UsageError(
            "sam takes its weights as pretrained=, a folder that transformers saved or an id like "
            "owner/name; name an official .pth file to sam_b, sam_l or sam_h."
        )
    if checkpoint and pretrained:
        raise UsageError(f"{name} takes checkpoint= or pretrained=, not both.")
    if architecture is not None and not (checkpoint or pretrained):
        raise UsageError(f"{name} needs its weights. {architecture.source}")


def _check_options(feedback: object, cache_mb: object, embedding_cache: object, embedding_cache_gb: object) -> None:
    if not isinstance(feedback, bool):
        raise UsageError(f"feedback={feedback} is neither true nor false.")
    if not isinstance(cache_mb, int) or isinstance(cache_mb, bool) or cache_mb < 0:
        raise UsageError(f"cache_mb={cache_mb} is not a number of megabytes; 0 keeps no image features.")
    if embedding_cache is not None and not isinstance(embedding_cache, str):
        raise UsageError(f"embedding_cache={embedding_cache} is not a folder.")
    size = embedding_cache_gb
    if not isinstance(size, (int, float)) or isinstance(size, bool) or not 0 < size < float("inf"):
        raise UsageError(f"embedding_cache_gb={size} is not a number of gigabytes above 0.")
    if embedding_cache is not None:
        local.require("safetensors")


SEGMENTERS = {
    **{a.segmenter: functools.partial(Sam, a) for a in (VIT_B, VIT_L, VIT_H)},
    "sam": functools.partial(Sam, None),
    **{
        v.name: functools.partial(EfficientSam if v.family is EFFICIENT_SAM else LaterSam, v)
        for v in VARIANTS.values()
        if v.family is not SAM
    },
}

FACTS = {
    variant.name: Facts(
        box=True,
        negative_clicks=variant.family.negative_clicks,
        previous_logits=variant.family.takes_mask,
        input_size=str(variant.family.side),
        licence=variant.family.licence,
        weights=variant.hub_id or variant.file or "any of the family",
        start_mask=variant.family.takes_mask,
        file=variant.file if variant.hub_id else "",
    )
    for variant in VARIANTS.values()
}
