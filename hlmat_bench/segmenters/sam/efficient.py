"""EfficientSAM: a SAM with a plain ViT, and with an encoder of prompts and a mask decoder of its own.

Xiong et al., arXiv 2312.00863. Reimplements https://github.com/yformer/EfficientSAM (Apache-2.0), commit d525f62:
``efficient_sam/efficient_sam.py``, ``efficient_sam_encoder.py``, ``efficient_sam_decoder.py`` and
``two_way_transformer.py``, with parts of the package segment-anything that are the same there. Modules have the names
that they have in the original, so that the names of a checkpoint's tensors fit. Importing this module imports torch.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from segment_anything.modeling.transformer import Attention
from torch import Tensor, nn
from torch.nn.functional import pad

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.networks import weights
from hlmat_bench.segmenters.plain_vit import Block, PatchEmbedding, positions
from hlmat_bench.segmenters.sam import original_files
from hlmat_bench.segmenters.sam.families import EFFICIENT_SAM, Variant
from hlmat_bench.segmenters.sam.official import Features, Prompt

# The numbers of all sizes, from `build_efficient_sam`. A file does not show the side and the heads.
_PATCH, _PRETRAINED_GRID, _HEAD = 16, 14, 64
_WIDTH, _HEADS, _HIDDEN, _MASKS = 256, 8, 2048, 4
_POINTS = EFFICIENT_SAM.most_points or 0


class EfficientSamNetwork:
    """An EfficientSAM with its weights; see `hlmat_bench.segmenters.sam.official.Network`.

    Only the image encoder runs in ``dtype``. The network knows no negative clicks and no earlier mask: it takes every
    click of a prompt as positive, and the prompt's logits have no influence.
    """

    library = "segment-anything"
    family = EFFICIENT_SAM
    square = EFFICIENT_SAM.square(EFFICIENT_SAM.side)
    mask_side = 4 * EFFICIENT_SAM.side // _PATCH

    def __init__(
        self, network: EfficientSam, files: Path, wrapping: str, original: str, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.files, self.wrapping, self.original, self.device, self.dtype = files, wrapping, original, device, dtype
        self._network = network.eval().to(device)
        self._network.image_encoder.to(dtype)

    def encode(self, pixels: Tensor) -> Features:
        """See `hlmat_bench.segmenters.sam.official.Network.encode`."""
        return Features({"image_embeddings": self._network.image_encoder(pixels.to(self.dtype)).float()})

    def decode(self, features: Features, prompt: Prompt) -> tuple[Tensor, Tensor]:
        """See `hlmat_bench.segmenters.sam.official.Network.decode`."""
        prompts, grid = self._network.prompt_encoder(prompt.points, prompt.boxes)
        logits, scores = self._network.mask_decoder(**features.arguments, grid=grid, prompts=prompts)
        return logits, scores


class EfficientSam(nn.Module):
    """The whole network.

    Args:
        width: channels of the image encoder, a multiple of 64.
        depth: number of its blocks.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.image_encoder = ImageEncoder(width, depth)
        self.prompt_encoder = PromptEncoder()
        self.mask_decoder = MaskDecoder()


class ImageEncoder(nn.Module):
    """A ViT whose blocks attend to the whole image, and SAM's neck: (B, 3, S, S) to (B, 256, S / 16, S / 16).

    There is no norm after the last block. The checkpoint has the position of a class token, which is not used.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(width, _PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, _PRETRAINED_GRID**2 + 1, width))
        self.blocks = nn.ModuleList(Block(width, width // _HEAD) for _ in range(depth))
        self.neck = nn.Sequential(
            nn.Conv2d(width, _WIDTH, 1, bias=False),
            LayerNorm2d(_WIDTH),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False),
            LayerNorm2d(_WIDTH),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images."""
        tokens = self.patch_embed(images)
        tokens = tokens + positions(self.pos_embed, tokens.shape[1:3])
        sequence = tokens.flatten(1, 2)
        for block in self.blocks:
            sequence = block(sequence)
        features: Tensor = self.neck(sequence.view(tokens.shape).permute(0, 3, 1, 2))
        return features


class PromptEncoder(nn.Module):
    """Turns a box and clicks into six tokens. What is missing to six is filled with points outside the image.

    The decoder attends to the filling, too, as it did when it was trained.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pe_layer = PositionEmbeddingRandom(_WIDTH // 2)
        self.invalid_points = nn.Embedding(1, _WIDTH)
        self.point_embeddings = nn.Embedding(1, _WIDTH)
        self.bbox_top_left_embeddings = nn.Embedding(1, _WIDTH)
        self.bbox_bottom_right_embeddings = nn.Embedding(1, _WIDTH)

    def forward(self, points: Tensor | None, boxes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the tokens of K prompts, and the positions of the image's features.

        Args:
            points: positive clicks as (x, y) in pixels of the input, float32 (K, N, 2), or None. With the two corners
                of a box, there are at most six points.
            boxes: float32 (K, 4) as (x0, y0, x1, y1), or None.

        Returns:
            Tokens, float32 (K, 6, 256), and positions, float32 (1, 256, height, width).
        """
        places, kinds = [], []
        if boxes is not None:
            places.append(boxes.view(-1, 2, 2))
            kinds += [self.bbox_top_left_embeddings.weight, self.bbox_bottom_right_embeddings.weight]
        if points is not None:
            places.append(points)
            kinds += [self.point_embeddings.weight] * points.shape[1]
        missing = _POINTS - len(kinds)
        kinds += [self.invalid_points.weight] * missing
        side = EFFICIENT_SAM.side
        centres = pad(torch.cat(places, dim=1), (0, 0, 0, missing), value=-1.0) + 0.5  # of the pixels
        tokens = self.pe_layer.forward_with_coords(centres, (side, side)) + torch.cat(kinds)
        return tokens, self.pe_layer((side // _PATCH, side // _PATCH))[None]


class MaskDecoder(nn.Module):
    """Decodes masks from the features of an image and the tokens of prompts.

    Of the four masks that the weights can decode, the first is not used: it is meant for prompts with one answer, and
    the original returns only the other three.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transformer = TwoWayTransformer()
        self.iou_token = nn.Embedding(1, _WIDTH)
        self.mask_tokens = nn.Embedding(_MASKS, _WIDTH)
        coarse, fine = _WIDTH // 4, _WIDTH // 8
        self.final_output_upscaling_layers = nn.ModuleList(
            (
                nn.Sequential(nn.ConvTranspose2d(_WIDTH, coarse, 2, 2), nn.GroupNorm(1, coarse), nn.GELU()),
                nn.Sequential(nn.ConvTranspose2d(coarse, fine, 2, 2), nn.Identity(), nn.GELU()),
            )
        )
        self.output_hypernetworks_mlps = nn.ModuleList(Perceptron(_WIDTH, 2, fine) for _ in range(_MASKS))
        self.iou_prediction_head = Perceptron(_WIDTH, 2, _MASKS)

    def forward(self, image_embeddings: Tensor, grid: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """Return three masks for each of K prompts, and their scores.

        Args:
            image_embeddings: features of one image, float32 (1, 256, height, width).
            grid: their positions, float32 (1, 256, height, width).
            prompts: float32 (K, N, 256).

        Returns:
            Logits, float32 (K, 3, 4 * height, 4 * width), and predicted IoUs, float32 (K, 3).
        """
        count, shape = len(prompts), image_embeddings.shape
        own = torch.cat((self.iou_token.weight, self.mask_tokens.weight)).expand(count, -1, -1)
        features, places = (x.flatten(2).transpose(1, 2).expand(count, -1, -1) for x in (image_embeddings, grid))
        tokens, features = self.transformer(torch.cat((own, prompts), dim=1), features, places)
        upscaled = features.transpose(1, 2).reshape(count, *shape[1:])
        for layer in self.final_output_upscaling_layers:
            upscaled = layer(upscaled)
        wanted = range(1, _MASKS)
        mixtures = torch.stack([self.output_hypernetworks_mlps[mask](tokens[:, 1 + mask]) for mask in wanted], dim=1)
        logits = (mixtures @ upscaled.flatten(2)).view(count, len(wanted), *upscaled.shape[2:])
        return logits, self.iou_prediction_head(tokens[:, 0])[:, 1:]


class TwoWayTransformer(nn.Module):
    """Two layers between tokens and features, and an attention from the tokens to the features at the end.

    It differs from SAM's: the first self-attention has a residual, and in the second layer the tokens that went in are
    added to the tokens themselves, not only to queries and keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer() for _ in range(2))
        self.final_attn_token_to_image = Attention(_WIDTH, _HEADS, downsample_rate=2)
        self.norm_final_attn = nn.LayerNorm(_WIDTH)

    def forward(self, given: Tensor, features: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new tokens, (K, N, 256), and the new features of the image, (K, M, 256).

        Args:
            given: the tokens, (K, N, 256).
            features: features of the image, (K, M, 256).
            places: their positions, (K, M, 256).
        """
        tokens = given
        for number, layer in enumerate(self.layers):
            tokens, features = layer(tokens + given if number else tokens, features, given, places)
        attended = self.final_attn_token_to_image(q=tokens + given, k=features + places, v=features)
        return self.norm_final_attn(tokens + attended), features


class TwoWayLayer(nn.Module):
    """Attention among tokens, from tokens to the image, a perceptron, and attention from the image to the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.self_attn = Attention(_WIDTH, _HEADS)
        self.norm1 = nn.LayerNorm(_WIDTH)
        self.cross_attn_token_to_image = Attention(_WIDTH, _HEADS, downsample_rate=2)
        self.norm2 = nn.LayerNorm(_WIDTH)
        self.mlp = Perceptron(_HIDDEN, 1, _WIDTH)
        self.norm3 = nn.LayerNorm(_WIDTH)
        self.cross_attn_image_to_token = Attention(_WIDTH, _HEADS, downsample_rate=2)
        self.norm4 = nn.LayerNorm(_WIDTH)

    def forward(self, tokens: Tensor, features: Tensor, given: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new tokens and the new features; see `TwoWayTransformer.forward`."""
        tokens = self.norm1(tokens + self.self_attn(q=tokens, k=tokens, v=tokens))
        located = features + places
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(q=tokens + given, k=located, v=features))
        tokens = self.norm3(tokens + self.mlp(tokens))
        features = self.norm4(features + self.cross_attn_image_to_token(q=located, k=tokens + given, v=tokens))
        return tokens, features


class Perceptron(nn.Module):
    """Some hidden layers with GELUs, and a linear one: (..., 256) to (..., out)."""

    def __init__(self, hidden: int, layers: int, out: int) -> None:
        super().__init__()
        widths = [_WIDTH, *[hidden] * layers]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), nn.GELU()) for before, after in itertools.pairwise(widths)
        )
        self.fc = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, (..., out)."""
        for layer in self.layers:
            x = layer(x)
        result: Tensor = self.fc(x)
        return result


def load(variant: Variant, checkpoint: str, device: torch.device, dtype: torch.dtype) -> EfficientSamNetwork:
    """Return the network of one of the authors' files, or of one of another size with the same tensors.

    Raises:
        UsageError: when the file does not exist, is damaged, or holds anything but this variant.
    """
    file = weights.checkpoint_file(checkpoint, what=variant.family.name, source=variant.source)
    state, wrapping = weights.unwrapped(weights.load(file))
    known = original_files.checked(state, variant, file)
    width, depth = known.size or (0, 0)
    if not width or width % _HEAD:
        raise UsageError(f"{file} is {known.what} of no official size, which cannot be read. {variant.source}")
    with torch.device("meta"):
        network = EfficientSam(width, depth)
    found, expected = original_files.shapes(state), original_files.shapes(network.state_dict())
    original_files.check_fit(found, expected, f"{file} looks like {known.what}, but")
    network.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    return EfficientSamNetwork(network, file, wrapping, known.what, device, dtype)
