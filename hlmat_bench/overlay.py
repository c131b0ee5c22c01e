"""Paints the mask over the image, as the model sees it.

A painted pixel is ``image * (1 - alpha) + color * alpha``, computed in float64 and truncated to an integer, exactly
as in the reference implementation (``evaltools/visual_utils.py`` of https://github.com/aim-uofa/SegAgent).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from hlmat_bench.core import images, masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image

Color: TypeAlias = tuple[int, int, int]

GREEN: Color = (0, 255, 0)


class Overlay:
    """One image to be painted with many masks; the tinted image is computed once.

    Args:
        image: uint8 (H, W, 3) RGB. It is not copied; do not change it while the overlay is in use.
        color: RGB, each 0..255.
        alpha: opacity of the colour, from 0 (invisible) to 1 (hides the image).

    Raises:
        UsageError: when ``image``, ``color`` or ``alpha`` is invalid.
    """

    def __init__(self, image: Image, color: Color = GREEN, alpha: float = 0.5) -> None:
        import cv2

        _check(image, color, alpha)
        levels = np.arange(256)[:, None] * (1 - alpha) + np.array(color) * alpha
        self._image = np.ascontiguousarray(image)
        self._copy_to = cv2.copyTo
        self._tinted = cv2.LUT(self._image, levels.astype(np.uint8).reshape(1, 256, 3))

    def paint(self, mask: ArrayLike, *, out: Image | None = None) -> Image:
        """Return the image, tinted where the mask is True.

        Args:
            mask: bool (H, W).
            out: array to write the result to and to return, uint8 (H, W, 3), C-contiguous; None for a new array.

        Returns:
            uint8 (H, W, 3) RGB.

        Raises:
            UsageError: when the mask is not of the image's size.
        """
        pixels = masks.of_shape(mask, self._image.shape[:2])
        painted = np.empty_like(self._image) if out is None else out
        np.copyto(painted, self._image)
        self._copy_to(self._tinted, pixels.view(np.uint8), painted)
        return painted


def paint(image: Image, mask: ArrayLike, *, color: Color = GREEN, alpha: float = 0.5) -> Image:
    """Return the image, tinted where the mask is True. To paint one image often, keep an `Overlay`.

    Args:
        image: uint8 (H, W, 3) RGB.
        mask: bool (H, W).
        color: RGB, each 0..255.
        alpha: opacity of the colour, from 0 to 1.

    Returns:
        A new uint8 array (H, W, 3), RGB.

    Raises:
        UsageError: when an argument is invalid.
    """
    return Overlay(image, color, alpha).paint(mask)


def _check(image: Image, color: Color, alpha: float) -> None:
    images.check(image)
    if len(color) != 3 or not all(0 <= level <= 255 for level in color):
        raise UsageError(f"A colour is three numbers from 0 to 255 (red, green, blue), not {color}.")
    if not 0 <= alpha <= 1:
        raise UsageError(f"The overlay's alpha is from 0 to 1, not {alpha}.")
