"""The parts of plain ViTs, the image encoders of SimpleClick and of EfficientSAM.

Modules have the names that they have in both originals, so that the names of a checkpoint's tensors fit. Importing this
module imports torch.
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from hlmat_bench.core.types import Size


class PatchEmbedding(nn.Module):
    """Embedding of square patches with three channels, (B, 3, H, W) to (B, height, width, C)."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, image: Tensor) -> Tensor:
        """Return the tokens, (B, height, width, C)."""
        tokens: Tensor = self.proj(image)
        return tokens.permute(0, 2, 3, 1)


class Block(nn.Module):
    """Attention among all tokens of a sequence, then a perceptron; (B, N, C) to (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the new tokens, (B, N, C)."""
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class Attention(nn.Module):
    """Self-attention with several heads, (B, N, C) to (B, N, C)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self._heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended tokens, (B, N, C)."""
        batch, count, _ = x.shape
        query, key, value = self.qkv(x).view(batch, count, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
        gathered = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        result: Tensor = self.proj(gathered)
        return result


class Perceptron(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the transformed features, (..., C)."""
        result: Tensor = self.fc2(gelu(self.fc1(x)))
        return result


def positions(embedding: Tensor, grid: Size) -> Tensor:
    """Interpolate position embeddings, bicubically, to another number of patches.

    Args:
        embedding: (1, 1 + n * n, C); the first one belongs to a class token and is dropped.
        grid: (height, width) in patches.

    Returns:
        (1, height, width, C).
    """
    side = math.isqrt(embedding.shape[1] - 1)
    square = embedding[:, 1:].reshape(1, side, side, -1)
    if grid == (side, side):
        return square
    channels_first = square.permute(0, 3, 1, 2).float()
    resized = interpolate(channels_first, grid, mode="bicubic", align_corners=False)
    return resized.permute(0, 2, 3, 1).to(embedding.dtype)
