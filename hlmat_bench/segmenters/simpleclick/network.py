"""The network of SimpleClick (Liu et al., ICCV 2023, arXiv 2210.11006): a plain ViT, a pyramid and a small head.

Reimplements the public code, https://github.com/uncbiag/SimpleClick (MIT): `isegm/model/is_plainvit_model.py`,
`modeling/models_vit.py`, `modeling/swin_transformer.py` and `ops.py`. Modules have the same names as there, so that
the names of a checkpoint's tensors fit. Importing this module imports torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from hlmat_bench.core.types import Size
from hlmat_bench.segmenters.plain_vit import Block, PatchEmbedding, positions
from hlmat_bench.segmenters.simpleclick.checkpoints import MEAN, STD, WINDOW, SimpleClickArchitecture


class SimpleClickNetwork(nn.Module):
    """The whole network: computes logits of a new mask from image, last mask and clicks, for B images at once."""

    def __init__(self, architecture: SimpleClickArchitecture) -> None:
        super().__init__()
        self.backbone = PlainVit(architecture)
        self.patch_embed_coords = PatchEmbedding(architecture.width, architecture.patch)
        self.neck = SimpleFpn(architecture)
        self.head = Head(architecture)

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        """Return the logits of the new mask.

        Args:
            image: RGB from 0 to 1, float (B, 3, H, W); H and W are multiples of 224.
            guidance: the last mask's probabilities, and the maps of the positive and of the negative clicks (see
                `click_maps`), float (B, 3, H, W).

        Returns:
            float32 (B, 1, H, W).
        """
        mean, std = (torch.tensor(values).view(3, 1, 1).to(image) for values in (MEAN, STD))
        dtype = self.backbone.pos_embed.dtype
        clicks = self.patch_embed_coords(guidance.to(dtype))
        features = self.backbone(((image - mean) / std).to(dtype), clicks)
        logits: Tensor = self.head(self.neck(features))
        return interpolate(logits.float(), image.shape[-2:], mode="bilinear", align_corners=True)


class PlainVit(nn.Module):
    """A ViT whose blocks attend in windows, except the last block of every group, which attends to the whole image.

    There is no norm after the last block. The checkpoint has the position of a class token, which is not used.
    """

    def __init__(self, a: SimpleClickArchitecture) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(a.width, a.patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, a.grid**2 + 1, a.width))
        self.blocks = nn.ModuleList(Block(a.width, a.heads) for _ in range(a.depth))
        self._group, self._window = a.group, WINDOW // a.patch

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        """Return features of the patches, (B, C, height, width), from an image and the tokens of the clicks."""
        x = self.patch_embed(image) + clicks
        grid = (x.shape[1], x.shape[2])
        x = x + positions(self.pos_embed, grid)
        for number, block in enumerate(self.blocks, 1):
            if number % self._group:
                x = _joined(block(_windows(x, self._window)), grid, self._window)
            else:
                x = block(x.flatten(1, 2)).view(x.shape)
        features: Tensor = x.permute(0, 3, 1, 2)
        return features


class SimpleFpn(nn.Module):
    """A pyramid of features at 4, 2, 1 and 1/2 times the resolution of the patches."""

    def __init__(self, a: SimpleClickArchitecture) -> None:
        super().__init__()
        width, (first, second, third, fourth) = a.width, a.pyramid
        at_4, at_8, at_32 = max(2 * first, width // 2), max(second, width // 2), max(fourth, 2 * width)
        self.down_4 = nn.Sequential(
            nn.ConvTranspose2d(width, at_4, 2, 2),
            nn.GroupNorm(1, at_4),
            nn.GELU(),
            nn.ConvTranspose2d(at_4, at_4 // 2, 2, 2),
            nn.GroupNorm(1, at_4 // 2),
            *_projection(at_4 // 2, first),
        )
        self.down_8 = nn.Sequential(
            nn.ConvTranspose2d(width, at_8, 2, 2), nn.GroupNorm(1, at_8), *_projection(at_8, second)
        )
        self.down_16 = nn.Sequential(*_projection(width, third))
        self.down_32 = nn.Sequential(nn.Conv2d(width, at_32, 2, 2), nn.GroupNorm(1, at_32), *_projection(at_32, fourth))

    def forward(self, features: Tensor) -> list[Tensor]:
        """Return the four levels, finest first: 1/4, 1/8, 1/16 and 1/32 of the image's resolution for patches of 16."""
        return [level(features) for level in (self.down_4, self.down_8, self.down_16, self.down_32)]


class Head(nn.Module):
    """The head: computes logits from the four levels, at the resolution of the finest."""

    def __init__(self, a: SimpleClickArchitecture) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Projection(level, a.channels) for level in a.pyramid)
        self.fusion_conv = Projection(len(a.pyramid) * a.channels, a.channels)
        self.conv_seg = nn.Conv2d(a.channels, 1, 1)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Return the logits, (B, 1, height, width)."""
        size = levels[0].shape[-2:]
        same_size = [
            interpolate(conv(level), size, mode="bilinear", align_corners=False)
            for conv, level in zip(self.convs, levels, strict=True)
        ]
        logits: Tensor = self.conv_seg(self.fusion_conv(torch.cat(same_size, dim=1)))
        return logits


class Projection(nn.Module):
    """A linear layer per pixel, and a ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the projected features: (B, channels, H, W) to (B, out, H, W)."""
        return relu(self.conv(x))


def click_maps(positive: Tensor, negative: Tensor, size: Size, radius: float) -> Tensor:
    """Draw discs around the positive and the negative clicks, in one map each.

    Args:
        positive: positive clicks as (y, x) in pixels, float32 (N, 2); a click with two negative coordinates is left
            out, as in the original, which uses -1 as padding.
        negative: negative clicks, in the same form.
        size: (height, width) of the maps.
        radius: radius of a disc, in pixels.

    Returns:
        float32 (2, height, width): 1 in a disc, 0 outside.
    """
    rows, columns = (torch.arange(length, dtype=torch.float32, device=positive.device) for length in size)
    maps = torch.zeros(2, *size, device=positive.device)
    for disc_map, points in zip(maps, (positive, negative), strict=True):
        for y, x in points[points.amax(1) >= 0]:
            disc_map[((rows - y) ** 2)[:, None] + (columns - x) ** 2 <= radius**2] = 1
    return maps


def _projection(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 1), nn.GroupNorm(1, out), nn.GELU()


def _windows(x: Tensor, side: int) -> Tensor:
    """Split tokens (B, height, width, C) into windows of side * side tokens, (B * windows, side * side, C)."""
    batch, height, width, channels = x.shape
    split = x.reshape(batch, height // side, side, width // side, side, channels)
    return split.transpose(2, 3).reshape(-1, side * side, channels)


def _joined(windows: Tensor, grid: Size, side: int) -> Tensor:
    """Join windows to a grid of (height, width) tokens: the inverse of `_windows`."""
    (height, width), channels = grid, windows.shape[-1]
    split = windows.reshape(-1, height // side, width // side, side, side, channels)
    return split.transpose(2, 3).reshape(-1, height, width, channels)
