"""The networks behind the SAM segmenters: the official code and transformers, with the same interface.

Source of all numbers: `build_sam.py` of the package segment-anything (Kirillov et al., arXiv 2304.02643).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hlmat_bench import weights
from hlmat_bench.errors import UsageError

if TYPE_CHECKING:
    import torch

MEAN = (123.675, 116.28, 103.53)
STD = (58.395, 57.12, 57.375)
"""Of pixels from 0 to 255, per channel in RGB."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers that tell one SAM from another; the defaults are those all official ones share.

    Attributes:
        name: of the image encoder, e.g. ``"vit_b"``.
        width: channels of the image encoder.
        depth: its blocks.
        heads: its attention heads.
        global_attention: which of its blocks attend to the whole image; the others attend in windows.
        file: the name of the official checkpoint; empty where there is none.
        hub_id: its name on the Hugging Face hub.
        input_size: longer side of the resized image, in pixels.
        window: side of an attention window, in patches of 16 pixels.
        prompt_width: channels of embeddings, prompts and mask decoder.
        decoder_mlp: hidden channels in the mask decoder's transformer.
        decoder_heads: its attention heads.
        score_hidden: hidden channels of the head that predicts a mask's IoU.
    """

    name: str
    width: int
    depth: int
    heads: int
    global_attention: tuple[int, ...]
    file: str = ""
    hub_id: str = ""
    input_size: int = 1024
    window: int = 14
    prompt_width: int = 256
    decoder_mlp: int = 2048
    decoder_heads: int = 8
    score_hidden: int = 256

    @property
    def source(self) -> str:
        """Where to get the weights and how to name their path, as a sentence."""
        if not self.file:
            return "Name them as checkpoint=PATH or pretrained=FOLDER."
        return (
            f"Download {self.file} (linked from github.com/facebookresearch/segment-anything) and name it "
            f"as checkpoint=PATH, or name {self.hub_id} or a folder with its files as pretrained=."
        )


VIT_B = Architecture("vit_b", 768, 12, 12, (2, 5, 8, 11), "sam_vit_b_01ec64.pth", "facebook/sam-vit-base")
VIT_L = Architecture("vit_l", 1024, 24, 16, (5, 11, 17, 23), "sam_vit_l_0b3195.pth", "facebook/sam-vit-large")
VIT_H = Architecture("vit_h", 1280, 32, 16, (7, 15, 23, 31), "sam_vit_h_4b8939.pth", "facebook/sam-vit-huge")
_NAMES = {(a.width, a.depth): a.name for a in (VIT_B, VIT_L, VIT_H)}


class Network(Protocol):
    """One implementation of SAM. Coordinates are in pixels of the resized image.

    Attributes:
        library: the distribution whose code runs.
        input_size: longer side of the resized image, in pixels: S.
        files: the checkpoint's file or folder.
    """

    library: str
    input_size: int
    files: Path

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The embedding of a normalised and padded image, float32 (1, 3, S, S)."""
        ...

    def decode(self, embedding: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """Three masks and their scores.

        Returns:
            Logits, float32 (3, S / 4, S / 4), and predicted IoUs, float32 (3,).
        """
        ...


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the mask decoder is told.

    Attributes:
        points: float32 (1, N, 2) as (x, y), or None without clicks.
        labels: int (1, N): 1 for a positive click, 0 for a negative one; or None without clicks.
        box: float32 (1, 4) as (x0, y0, x1, y1), or None.
        logits: float32 (1, 1, S / 4, S / 4), of an earlier mask, or None.
    """

    points: torch.Tensor | None
    labels: torch.Tensor | None
    box: torch.Tensor | None
    logits: torch.Tensor | None


class OfficialNetwork:
    """SAM through the package segment-anything. Only the image encoder runs in ``dtype``."""

    library = "segment-anything"

    def __init__(self, architecture: Architecture, file: str, device: torch.device, dtype: torch.dtype) -> None:
        what = f"SAM {architecture.name}"
        self.files = weights.checkpoint_file(file, what=what, source=architecture.source)
        self.input_size = architecture.input_size
        self._sam = build(architecture)
        state = weights.load(self.files)
        _check_state(state, self._sam.state_dict(), architecture, self.files)
        self._sam.load_state_dict(state)
        self._sam.eval().to(device).image_encoder.to(dtype)
        self._dtype = dtype
        self._positions = self._sam.prompt_encoder.get_dense_pe().detach()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Network.encode`."""
        embedding: torch.Tensor = self._sam.image_encoder(pixels.to(self._dtype))
        return embedding

    def decode(self, embedding: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Network.decode`."""
        points = None if prompt.points is None else (prompt.points, prompt.labels)
        sparse, dense = self._sam.prompt_encoder(points=points, boxes=prompt.box, masks=prompt.logits)
        logits, scores = self._sam.mask_decoder(
            image_embeddings=embedding.float(),
            image_pe=self._positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return logits[0], scores[0]


class TransformersNetwork:
    """SAM through transformers. Only the image encoder runs in ``dtype``."""

    library = "transformers"

    def __init__(
        self, architecture: Architecture | None, pretrained: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._model, self.files = _from_pretrained(architecture, pretrained)
        self.input_size: int = self._model.config.vision_config.image_size
        self._model.eval().to(device).vision_encoder.to(dtype)
        self._dtype = dtype
        self._positions = self._model.get_image_wide_positional_embeddings().detach()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """See `Network.encode`."""
        embedding: torch.Tensor = self._model.vision_encoder(pixels.to(self._dtype)).last_hidden_state
        return embedding

    def decode(self, embedding: torch.Tensor, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Network.decode`."""
        sparse, dense = self._model.prompt_encoder(
            input_points=None if prompt.points is None else prompt.points[None],
            input_labels=None if prompt.labels is None else prompt.labels[None],
            input_boxes=None if prompt.box is None else prompt.box[None],
            input_masks=prompt.logits,
        )
        logits, scores = self._model.mask_decoder(
            image_embeddings=embedding.float(),
            image_positional_embeddings=self._positions,
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return logits[0, 0], scores[0, 0]


def build(architecture: Architecture) -> Any:
    """The official network with random weights."""
    import torch
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling import Sam as Official

    a, patch = architecture, 16
    grid = a.input_size // patch
    return Official(
        image_encoder=ImageEncoderViT(
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
        pixel_mean=list(MEAN),
        pixel_std=list(STD),
    )


def _check_state(state: Any, expected: Mapping[str, Any], architecture: Architecture, file: Path) -> None:
    """Raise UsageError unless a loaded checkpoint holds exactly the expected tensors."""
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and hasattr(value, "shape") for name, value in state.items()
    ):
        raise UsageError(f"{file} is no checkpoint of SAM {architecture.name}. {architecture.source}")
    found = {name: tuple(value.shape) for name, value in state.items()}
    wanted = {name: tuple(value.shape) for name, value in expected.items()}
    if found == wanted:
        return
    width = (*found.get("image_encoder.patch_embed.proj.bias", ()), 0)[0]
    depth = sum(name.endswith(".attn.qkv.bias") for name in found)
    _refuse_size(_NAMES.get((width, depth)), architecture, str(file))
    odd = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    raise UsageError(
        f"{file} does not fit SAM {architecture.name}: {len(odd)} tensors differ, for example {odd[0]}. "
        f"{architecture.source}"
    )


def _refuse_size(found: str | None, wanted: Architecture, where: str) -> None:
    """Raise UsageError where the weights are those of another official size."""
    if found is not None and found != wanted.name:
        name = found.replace("vit", "sam")
        raise UsageError(f"{where} holds SAM {found}, not {wanted.name}: name the segmenter {name}.")


def _from_pretrained(architecture: Architecture | None, pretrained: str) -> tuple[Any, Path]:
    """The network and the folder its files lie in."""
    from transformers import AutoConfig, SamModel

    source = weights.pretrained_folder(pretrained) or pretrained
    advice = architecture.source if architecture else "Name a folder of SAM weights that transformers saved."
    with weights.reading(pretrained, advice):
        config = AutoConfig.from_pretrained(source)
        if config.model_type != "sam":
            raise UsageError(f"{pretrained} holds a model of type {config.model_type!r}, not a SAM. {advice}")
        if architecture:
            _check_size(config.vision_config, architecture, pretrained)
        # The original's two-way transformer keeps torch's default; transformers writes 1e-6 there.
        config.mask_decoder_config.layer_norm_eps = 1e-5
        model = weights.from_pretrained(
            SamModel, str(source), config=config, dtype="float32", attn_implementation="sdpa"
        )
        return model, weights.snapshot(str(source))


def _check_size(vision: Any, wanted: Architecture, where: str) -> None:
    """Raise UsageError when the image encoder of a configuration is of another size."""
    size = (vision.hidden_size, vision.num_hidden_layers)
    if size != (wanted.width, wanted.depth):
        _refuse_size(_NAMES.get(size), wanted, where)
        raise UsageError(f"{where} holds a SAM of another size than {wanted.name}: name the segmenter sam.")
