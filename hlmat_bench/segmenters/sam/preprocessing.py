"""Converts images to the square input of a SAM, and masks back to the size of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.types import Image, Mask, Size

if TYPE_CHECKING:
    import torch

Resizer: TypeAlias = Literal["pillow", "torchvision", "torch"]
Enlarging: TypeAlias = Literal["bilinear", "bicubic"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""Mean and standard deviation of pixels from 0 to 255, per channel in RGB."""

SURE = 10.0
"""The logit of the pixels of a given mask; all other pixels have its negative. The value is that of Meta's SAM 2.

Source: ``_use_mask_as_output`` in
https://github.com/facebookresearch/sam2/blob/main/sam2/modeling/sam2_base.py. The first SAM states no value; micro-sam
(``micro_sam/prompt_based_segmentation.py``) uses 6.9 for it.
"""


@dataclass(frozen=True, slots=True)
class InputSquare:
    """The square of ``side`` pixels that is the input of a network.

    Attributes:
        side: height and width of the square, in pixels.
        stretched: whether an image of any shape is stretched to the whole square. Otherwise its longer side fills the
            square, and zeros fill the rest, to the right or below.
        resizer: the package that resizes the image, bilinear. Pillow and torchvision do it with antialiasing, and their
            results differ by 1 of 255; torch does it without, and does not round to whole numbers.
        mean: mean of the pixels, from 0 to 255, per channel in RGB.
        std: standard deviation of the pixels, per channel in RGB.
        enlarged: how logits are brought to the size of the image.
    """

    side: int
    stretched: bool
    resizer: Resizer
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    enlarged: Enlarging = "bilinear"

    def inner(self, size: Size) -> Size:
        """Return the (height, width) of an image inside the square, for its size (height, width) before.

        Rounded as in segment-anything, but never to 0: the original rounds the short side of a very long image to 0.
        """
        if self.stretched:
            return self.side, self.side
        # int(x + 0.5), not round(), which rounds halves to even: the original adds 0.5 and truncates.
        scale = self.side / max(size)
        return max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))

    def pixels(self, image: Image) -> torch.Tensor:
        """Return an image resized and normalised, float32 (1, 3, side, side)."""
        import torch

        height, width = self.inner((image.shape[0], image.shape[1]))
        resized = _RESIZERS[self.resizer](image, (height, width))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        normalised = (resized.float() - mean) / std
        return torch.nn.functional.pad(normalised, (0, self.side - width, 0, self.side - height))[None]

    def points(self, points: Sequence[tuple[int, int]], size: Size) -> NDArray[np.float32]:
        """Return points (x, y) of an image of size (height, width) as points of the square, float32 (N, 2)."""
        (height, width), (new_height, new_width) = size, self.inner(size)
        scale = new_width / width, new_height / height
        return (np.asarray(points, dtype=np.float64) * scale).astype(np.float32)

    def full_size(self, logits: torch.Tensor, size: Size) -> torch.Tensor:
        """Return low-resolution logits (1, 1, L, L) resized to the size (H, W) of the image."""
        from torch.nn.functional import interpolate

        if not self.stretched:
            height, width = self.inner(size)
            square = interpolate(logits, (self.side, self.side), mode="bilinear", align_corners=False)
            logits = square[..., :height, :width]
        return interpolate(logits, size, mode=self.enlarged, align_corners=False)[0, 0]

    def low_resolution(self, mask: Mask, side: int) -> torch.Tensor:
        """Return a mask (H, W) as low-resolution logits, float32 (1, 1, side, side): the inverse of `full_size`.

        The steps are those of ``add_new_mask``, in SAM 2's video predictor (same repository as `SURE`): the mask is
        resized into the square, thresholded at 0.5, and its logits are reduced. The padding is not in the mask.
        """
        import torch
        from torch.nn.functional import interpolate, pad

        height, width = self.inner((mask.shape[0], mask.shape[1]))
        pixels = torch.from_numpy(np.ascontiguousarray(mask, np.float32))[None, None]
        inside = interpolate(pixels, (height, width), mode="bilinear", align_corners=False, antialias=True) >= 0.5
        square = pad(inside.float(), (0, self.side - width, 0, self.side - height)) * 2 * SURE - SURE
        return interpolate(square, (side, side), mode="bilinear", align_corners=False, antialias=True)


def _by_pillow(image: Image, size: Size) -> torch.Tensor:
    import torch
    from PIL import Image as Pillow

    resized = Pillow.fromarray(image).resize((size[1], size[0]), Pillow.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _by_torchvision(image: Image, size: Size) -> torch.Tensor:
    import torch
    from torchvision.transforms.v2 import functional

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    resized: Any = functional.resize(pixels, list(size), antialias=True)
    tensor: torch.Tensor = resized
    return tensor


def _by_torch(image: Image, size: Size) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
    return torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)[0]


_RESIZERS: Mapping[str, Callable[[Image, Size], torch.Tensor]] = {
    "pillow": _by_pillow,
    "torchvision": _by_torchvision,
    "torch": _by_torch,
}
