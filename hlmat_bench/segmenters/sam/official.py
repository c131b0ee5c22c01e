"""The interface of the networks of the SAM segmenters, and the official network of SAM.

The networks of transformers are in `hlmat_bench.segmenters.sam.transformers`. Source of all numbers: ``build_sam.py``
of the package segment-anything (Kirillov et al., arXiv 2304.02643).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.sam import known_checkpoints
from hlmat_bench.segmenters.sam.families import SAM, VARIANTS, Family, Variant
from hlmat_bench.segmenters.sam.preprocessing import IMAGENET_MEAN, IMAGENET_STD, InputSquare

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class SamArchitecture:
    """The numbers that define a SAM; the defaults are those of all official ones.

    Attributes:
        name: the name of the image encoder, e.g. ``"vit_b"``.
        width: channels of the image encoder.
        depth: number of its blocks.
        heads: number of its attention heads.
        global_attention: indices of its blocks that attend to the whole image; the others attend in windows.
        file: the name of the official checkpoint; empty where there is none.
        input_size: longer side of the resized image, in pixels.
        window: side of an attention window, in patches of 16 pixels.
        prompt_width: channels of embeddings, prompts and mask decoder.
        decoder_mlp: hidden channels in the mask decoder's transformer.
        decoder_heads: number of its attention heads.
        score_hidden: hidden channels of the head that predicts a mask's IoU.
    """

    name: str
    width: int
    depth: int
    heads: int
    global_attention: tuple[int, ...]
    file: str = ""
    input_size: int = 1024
    window: int = 14
    prompt_width: int = 256
    decoder_mlp: int = 2048
    decoder_heads: int = 8
    score_hidden: int = 256

    @property
    def segmenter(self) -> str:
        """The name of the segmenter, e.g. ``"sam_b"``."""
        return f"sam_{self.name.removeprefix('vit_')}"

    @property
    def variant(self) -> Variant:
        """The variant of transformers with the same network."""
        return VARIANTS.get(self.segmenter) or Variant(self.segmenter, SAM, size=(self.width, self.depth))

    @property
    def source(self) -> str:
        """A sentence that says where to get the weights and how to name their path."""
        if not self.file:
            return "Name them as checkpoint=PATH or pretrained=FOLDER."
        return (
            f"Download {self.file} (linked from github.com/facebookresearch/segment-anything) and name it "
            f"as checkpoint=PATH, or name {self.variant.hub_id} or a folder with its files as pretrained=."
        )


VIT_B = SamArchitecture("vit_b", 768, 12, 12, (2, 5, 8, 11), "sam_vit_b_01ec64.pth")
VIT_L = SamArchitecture("vit_l", 1024, 24, 16, (5, 11, 17, 23), "sam_vit_l_0b3195.pth")
VIT_H = SamArchitecture("vit_h", 1280, 32, 16, (7, 15, 23, 31), "sam_vit_h_4b8939.pth")
_SEGMENTERS = {(a.width, a.depth): a.segmenter for a in (VIT_B, VIT_L, VIT_H)}


@dataclass(frozen=True, slots=True)
class Features:
    """The output of the image encoder for an image: tensors on the device.

    Attributes:
        arguments: the tensors by the name of the decoder's argument; some are lists, from fine to coarse.
    """

    arguments: dict[str, torch.Tensor | list[torch.Tensor]]

    @property
    def nbytes(self) -> int:
        """The memory of all tensors, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return all tensors by name; a tensor of a list is named by the list's name, a dot and its index."""
        named: dict[str, torch.Tensor] = {}
        for name, value in self.arguments.items():
            if isinstance(value, list):
                named.update({f"{name}.{place}": tensor for place, tensor in enumerate(value)})
            else:
                named[name] = value
        return named

    @staticmethod
    def of(tensors: Mapping[str, torch.Tensor]) -> Features:
        """Return features from tensors by name: the inverse of `tensors`."""
        arguments: dict[str, torch.Tensor | list[torch.Tensor]] = {}
        lists: dict[str, dict[int, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            name, dot, place = key.partition(".")
            if dot:
                lists.setdefault(name, {})[int(place)] = tensor
            else:
                arguments[name] = tensor
        return Features(arguments | {name: [held[i] for i in sorted(held)] for name, held in lists.items()})


@dataclass(frozen=True, slots=True)
class Prompt:
    """The input of the mask decoder: K prompts with the same number of clicks, decoded in one batch.

    Attributes:
        points: float32 (K, N, 2) as (x, y), or None without clicks.
        labels: int (K, N): 1 for a positive click, 0 for a negative one; or None without clicks.
        boxes: float32 (K, 4) as (x0, y0, x1, y1), or None.
        logits: logits of an earlier mask, used for all K prompts, float32 (1, 1, L, L); or None.
    """

    points: torch.Tensor | None
    labels: torch.Tensor | None
    boxes: torch.Tensor | None
    logits: torch.Tensor | None


class Network(Protocol):
    """One implementation of a SAM.

    Coordinates are in pixels of the network's input, a square of S x S pixels. Its masks have L x L pixels, four per
    patch of the image encoder along a side: 256 for S = 1024, and 288 for SAM 3's 1008.

    Attributes:
        family: its family.
        library: the installed package whose code runs.
        square: the preprocessing of images.
        mask_side: L.
        files: the checkpoint's file or folder.
        wrapping: the wrapping of its tensors, see `hlmat_bench.core.networks.weights.unwrapped`.
        original: what the authors' own file holds, where it is read into a network of another package; else empty.
        device: the device that it runs on.
        dtype: number type of the image encoder.
    """

    family: Family
    library: str
    square: InputSquare
    mask_side: int
    files: Path
    wrapping: str
    original: str
    device: torch.device
    dtype: torch.dtype

    def encode(self, pixels: torch.Tensor) -> Features:
        """Return the features of an image, float32 (1, 3, S, S) from `InputSquare.pixels`, on the device."""
        ...

    def decode(self, features: Features, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Return three masks for every one of the K prompts, and their scores.

        Returns:
            Logits, float32 (K, 3, L, L), and predicted IoUs, float32 (K, 3).
        """
        ...


class OfficialNetwork:
    """A network of the package segment-anything with its weights. Only the image encoder runs in ``dtype``.

    Args:
        family: its family.
        sam: the network.
        files: the checkpoint's file.
        wrapping: the wrapping of its tensors.
        device: the device that it runs on.
        dtype: number type of the image encoder.
    """

    library = "segment-anything"
    original = ""

    def __init__(
        self, family: Family, sam: Any, files: Path, wrapping: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.family, self.files, self.wrapping, self.device, self.dtype = family, files, wrapping, device, dtype
        self._sam = sam.eval().to(device)
        self._sam.image_encoder.to(dtype)
        self.square = family.square(sam.prompt_encoder.input_image_size[0])
        self.mask_side: int = self._sam.prompt_encoder.mask_input_size[0]
        self._positions = self._sam.prompt_encoder.get_dense_pe().detach()

    def encode(self, pixels: torch.Tensor) -> Features:
        """See `Network.encode`."""
        return Features({"image_embeddings": self._sam.image_encoder(pixels.to(self.dtype)).float()})

    def decode(self, features: Features, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Network.decode`."""
        points = None if prompt.points is None else (prompt.points, prompt.labels)
        sparse, dense = self._sam.prompt_encoder(points=points, boxes=prompt.boxes, masks=prompt.logits)
        logits, scores = self._sam.mask_decoder(
            **features.arguments,
            image_pe=self._positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return logits, scores


def load(architecture: SamArchitecture, file: str, device: torch.device, dtype: torch.dtype) -> OfficialNetwork:
    """Return SAM with the weights of one of its authors' files.

    Raises:
        UsageError: when the file does not exist, is damaged, or holds anything but this SAM.
    """
    path = weights.checkpoint_file(file, what=f"SAM {architecture.name}", source=architecture.source)
    state, wrapping = weights.unwrapped(weights.load(path))
    if (known := known_checkpoints.describe(state)) and known.family is not SAM:
        raise UsageError(f"{path} is not a checkpoint of SAM {architecture.name}: it is {known.what}. {known.advice}")
    sam = build(architecture)
    _check_state(state, sam.state_dict(), architecture, path)
    sam.load_state_dict(state)
    return OfficialNetwork(SAM, sam, path, wrapping, device, dtype)


def build(architecture: SamArchitecture, encoder: Any = None) -> Any:
    """Return the official network with random weights, with its own image encoder or another one."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling import Sam as Official

    a, patch = architecture, 16
    grid = a.input_size // patch
    return Official(
        image_encoder=encoder
        or ImageEncoderViT(
            img_size=a.input_size,
            patch_size=patch,
            embed_dim=a.width,
            depth=a.depth,
            num_heads=a.heads,
            mlp_ratio=4,
            out_chans=a.prompt_width,
            qkv_bias=True,
            norm_layer=functools.partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=a.window,
            global_attn_indexes=a.global_attention,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=a.prompt_width,
            image_embedding_size=(grid, grid),
            input_image_size=(a.input_size, a.input_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=a.prompt_width, mlp_dim=a.decoder_mlp, num_heads=a.decoder_heads
            ),
            transformer_dim=a.prompt_width,
            iou_head_depth=3,
            iou_head_hidden_dim=a.score_hidden,
        ),
        pixel_mean=list(IMAGENET_MEAN),
        pixel_std=list(IMAGENET_STD),
    )


def _check_state(state: Any, expected: Mapping[str, Any], architecture: SamArchitecture, file: Path) -> None:
    """Raise `UsageError` unless a loaded checkpoint contains exactly the expected tensors."""
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and hasattr(value, "shape") for name, value in state.items()
    ):
        raise UsageError(f"{file} is not a checkpoint of SAM {architecture.name}. {architecture.source}")
    found = {name: tuple(value.shape) for name, value in state.items()}
    wanted = {name: tuple(value.shape) for name, value in expected.items()}
    if found == wanted:
        return
    width = (*found.get("image_encoder.patch_embed.proj.bias", ()), 0)[0]
    depth = sum(name.endswith(".attn.qkv.bias") for name in found)
    other = _SEGMENTERS.get((width, depth), architecture.segmenter)
    if other != architecture.segmenter:
        raise UsageError(f"{file} holds a SAM of another size than {architecture.name}: name the segmenter {other}.")
    odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    raise UsageError(
        f"{file} does not fit SAM {architecture.name}: {len(odd)} tensors differ, for example {odd[0]}. "
        f"{architecture.source}"
    )
