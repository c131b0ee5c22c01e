"""Reads and checks the official checkpoints of SimpleClick.

A file contains ``{"config": {...}, "state_dict": {...}}``. The config has the arguments of the original's class, with
its loss as a pickled object; this object is replaced by a stand-in, so no code in the file runs. Source of sizes and
file names: `models/iter_mask/` and the README of https://github.com/uncbiag/SimpleClick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.sam.known_checkpoints import SIMPLECLICK, Known, describe

if TYPE_CHECKING:
    import torch

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of pixels from 0 to 1, per channel in RGB."""

WINDOW = 224
"""Side of an attention window in pixels; the backbones were pretrained on inputs of this size."""

_UNUSED = ("backbone.cls_token", "backbone.fc_norm.", "backbone.head.", "head.up_conv1.", "head.up_conv2.")
_LARGEST = 1 << 16
NamedTensors: TypeAlias = "Mapping[str, torch.Tensor]"


class Official(NamedTuple):
    """A size of SimpleClick that its authors publish.

    Attributes:
        width: channels of its ViT.
        depth: number of blocks of its ViT.
        file: the name of an official checkpoint.
    """

    width: int
    depth: int
    file: str


OFFICIAL = {
    "simpleclick_xtiny": Official(160, 8, "sbd_vit_xtiny.pth"),
    "simpleclick_b": Official(768, 12, "cocolvis_vit_base.pth"),
    "simpleclick_l": Official(1024, 24, "cocolvis_vit_large.pth"),
    "simpleclick_h": Official(1280, 32, "cocolvis_vit_huge.pth"),
}


@dataclass(frozen=True, slots=True)
class SimpleClickArchitecture:
    """The numbers that define a SimpleClick network.

    Attributes:
        width: channels of the ViT.
        depth: number of its blocks.
        heads: number of its attention heads.
        patch: side of a patch, in pixels.
        grid: side of the images it was trained with, in patches.
        pyramid: channels of the four levels, finest first.
        channels: channels of the head.
        radius: radius of the discs that mark clicks, in pixels of the network's input.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    pyramid: tuple[int, int, int, int]
    channels: int
    radius: int = 5

    @property
    def group(self) -> int:
        """The period, in blocks, of the blocks that attend to the whole image."""
        return 6 if self.depth == 12 else self.depth // 4

    @property
    def official(self) -> str | None:
        """The segmenter's name, e.g. ``simpleclick_l``, for weights of an official size."""
        size = self.width, self.depth
        return next((name for name, official in OFFICIAL.items() if size == official[:2]), None)


def source(name: str) -> str:
    """Return a sentence that says where to get the weights of a segmenter and how to name their path."""
    file = OFFICIAL[name].file if name in OFFICIAL else "a checkpoint"
    return (
        f"Download {file} (the models linked from github.com/uncbiag/SimpleClick) and name it as "
        f"{name},checkpoint=PATH."
    )


class Contents(NamedTuple):
    """The contents of a checkpoint.

    Attributes:
        architecture: the architecture in the file's config.
        tensors: the tensors by name, without those that are never used.
        wrapping: the wrapping of the tensors, see `hlmat_bench.core.networks.weights.unwrapped`.
    """

    architecture: SimpleClickArchitecture
    tensors: NamedTensors
    wrapping: str


def read(name: str, file: Path) -> Contents:
    """Read and check a checkpoint.

    Args:
        name: the segmenter that needs it: ``simpleclick``, or one of `OFFICIAL`.
        file: the checkpoint.

    Raises:
        UsageError: when the checkpoint is damaged, would run code, is no SimpleClick, computes something else than the
            published ones, or has another official size than the name says.
    """
    content = weights.load(file, inert=("isegm.",))
    if not isinstance(content, dict) or not {"config", "state_dict"} <= content.keys():
        known = _known(weights.unwrapped(content).tensors)
        why = f"it is {known.what}. {known.advice}" if known else f"it holds no config and state_dict. {source(name)}"
        raise UsageError(f"{file} is not a checkpoint of SimpleClick: {why}")
    state, wrapping = weights.unwrapped(content["state_dict"])
    if known := _known(state):
        raise UsageError(f"{file} is not a checkpoint of SimpleClick: it is {known.what}. {known.advice}")
    try:
        tensors = _used(state)
        architecture = _architecture(content["config"], tensors)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UsageError(f"{file} is not a SimpleClick that can run here: {_reason(error)}. {source(name)}") from error
    found = architecture.official
    if name in OFFICIAL and found not in (None, name):
        raise UsageError(f"{file} holds the weights of {found}, not of {name}: name the segmenter {found}.")
    return Contents(architecture, tensors, wrapping)


def _known(state: Any) -> Known | None:
    """Return the other network that tensors belong to; None for SimpleClick or an unknown network."""
    known = describe(state)
    return None if known and known.what == SIMPLECLICK else known


def check_fit(tensors: NamedTensors, expected: NamedTensors, file: Path, name: str) -> None:
    """Raise `UsageError` unless the tensors have the names and shapes of the network's parameters."""
    found = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    wanted = {key: tuple(tensor.shape) for key, tensor in expected.items()}
    odd = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if odd:
        raise UsageError(
            f"{file} does not fit its own config: {len(odd)} tensors differ, for example {odd[0]}. {source(name)}"
        )


def _used(state: Any) -> NamedTensors:
    """Return the tensors that the network uses, after a check that all are dense and of floating point numbers."""
    import torch

    used = {name: tensor for name, tensor in state.items() if not name.startswith(_UNUSED)}
    for name, tensor in used.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or not _is_dense(tensor):
            raise ValueError(f"{name} holds no weights")
    return used


def _is_dense(tensor: torch.Tensor) -> bool:
    import torch

    return tensor.layout == torch.strided and not tensor.is_meta


def _architecture(config: Any, tensors: NamedTensors) -> SimpleClickArchitecture:
    """Return the architecture in a config, after a check of everything in it that changes the computation."""
    given = {name: parameter["value"] for name, parameter in config["params"].items()}
    backbone, neck, head = (given[part] for part in ("backbone_params", "neck_params", "head_params"))
    _require("random_split", given.get("random_split", False), False)
    _require("use_disks", given["use_disks"], True)
    _require("norm_mean_std", [[*row] for row in given.get("norm_mean_std", (MEAN, STD))], [[*MEAN], [*STD]])
    _require("align_corners", head["align_corners"], False)
    _require("upsample", head["upsample"], "x1")
    patch, side = _side(backbone["patch_size"]), _side(backbone["img_size"])
    depth, heads, width = (_count(backbone[key]) for key in ("depth", "num_heads", "embed_dim"))
    _require("number of blocks", sum(name.endswith(".attn.qkv.weight") for name in tensors), depth)
    _require("depth modulo 4", depth % 4, 0)
    _require("embed_dim modulo num_heads", width % heads, 0)
    _require(f"{WINDOW} modulo patch_size", WINDOW % patch, 0)
    first, second, third, fourth = map(_count, neck["out_dims"])
    return SimpleClickArchitecture(
        width=width,
        depth=depth,
        heads=heads,
        patch=patch,
        grid=side // patch,
        pyramid=(first, second, third, fourth),
        channels=_count(head["channels"]),
        radius=_count(given["norm_radius"]),
    )


def _require(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise ValueError(f"its {what} is {found}, not {wanted}")


def _count(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < _LARGEST:
        raise ValueError(f"a size in its config is {value!r}")
    return value


def _side(size: Any) -> int:
    """Return the side length of a square of size (height, width)."""
    height, width = map(_count, size)
    _require("height", height, width)
    return width


def _reason(error: Exception) -> str:
    text = f"its config lacks {error}" if isinstance(error, KeyError) else str(error)
    return " ".join(text.split())[:200].rstrip(". ")
