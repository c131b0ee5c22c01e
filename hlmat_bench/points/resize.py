"""Resizes or pads an image before it is sent to a model, and converts positions back to original pixels.

A model that writes pixels counts those of the image after its own preprocessing. Therefore the image is resized by
the model's own rule before it is sent, so that the preprocessing has nothing left to change.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Image, Size

#: The colour of LLaVA-1.5's padding: the mean colour of CLIP's training images.
#: https://github.com/haotian-liu/LLaVA/blob/main/llava/mm_utils.py, `expand2square`.
BACKGROUND = (122, 116, 104)


class Frame(NamedTuple):
    """The geometry of the image that is sent, in its own pixels: its size, and the part that the original image fills.

    Attributes:
        sent: (height, width) of the image that is sent.
        left, top: where the original image begins.
        width, height: the size of the part that the original image fills.
    """

    sent: Size
    left: int
    top: int
    width: int
    height: int

    @staticmethod
    def whole(sent: Size) -> Frame:
        """Return the frame in which the original image fills the whole image that is sent, of size (height, width)."""
        return Frame(sent, 0, 0, sent[1], sent[0])

    def to_original(self, u: float, v: float) -> tuple[float, float]:
        """Convert a relative position (x, y; 0 to 1) in the sent image to one in the original image."""
        if (self.height, self.width) == self.sent:
            return u, v
        return (u * self.sent[1] - self.left) / self.width, (v * self.sent[0] - self.top) / self.height

    def from_original(self, u: float, v: float) -> tuple[float, float]:
        """Convert a relative position (x, y; 0 to 1) in the original image to one in the sent image."""
        if (self.height, self.width) == self.sent:
            return u, v
        return (u * self.width + self.left) / self.sent[1], (v * self.height + self.top) / self.sent[0]


@dataclass(frozen=True, slots=True)
class Resize:
    """A rule to resize or pad an image before it is sent.

    Attributes:
        name: the name of the rule in catalogues, options and manifests; see `named`.
        frame: function from the (height, width) of an image to its `Frame`.
    """

    name: str
    frame: Callable[[Size], Frame]

    @staticmethod
    def named(name: str) -> Resize:
        """Return the rule of a name.

        ``none`` leaves the image unchanged. ``smart-FACTOR-MIN-MAX`` is Qwen's smart resize, see `smart_size`.
        ``fit-`` and one or more of ``longN``, ``shortN``, ``pixelsN``, joined by dashes, makes the image smaller, never
        larger, until its longer side, its shorter side or its area in pixels is at most N. ``square`` pads the image to
        a square, with the image in the middle. ``stretch-HEIGHTxWIDTH`` gives it exactly this size, in pixels.

        Raises:
            UsageError: when there is no such rule.
        """
        if name == "none":
            return Resize(name, Frame.whole)
        if name == "square":
            return Resize(name, _square)
        if match := re.fullmatch(r"smart-(\d{1,9})-(\d{1,9})-(\d{1,9})", name):
            factor, least, most = map(int, match.groups())
            if factor > 0 and factor**2 <= most and least <= most:
                return Resize(name, lambda size: Frame.whole(smart_size(size, factor, least, most)))
        if re.fullmatch(r"fit(-(long|short|pixels)[1-9]\d{0,8})+", name):
            limits = {kind: int(number) for kind, number in re.findall(r"(long|short|pixels)(\d+)", name)}
            return Resize(name, lambda size: Frame.whole(fit_size(size, **limits)))
        if match := re.fullmatch(r"stretch-([1-9]\d{0,4})x([1-9]\d{0,4})", name):
            fixed = Frame.whole((int(match[1]), int(match[2])))
            return Resize(name, lambda size: fixed)
        raise UsageError(
            f"There is no resize rule {name!r}; there are none, square, stretch-336x336 (height and width), "
            "smart-28-3136-12845056 (factor, least and most pixels) and fit-long1568-pixels1150000 (longest side, and "
            "also short, the shorter side)."
        )

    def apply(self, image: Image) -> Image:
        """Return the image to send, uint8 (H', W', 3); the same array where the rule changes nothing.

        Args:
            image: uint8 (H, W, 3) RGB.
        """
        import cv2

        frame = self.frame((image.shape[0], image.shape[1]))
        content = image
        if (frame.height, frame.width) != image.shape[:2]:
            smaller = frame.height * frame.width < image.shape[0] * image.shape[1]
            way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            content = cv2.resize(image, (frame.width, frame.height), interpolation=way)  # type: ignore[assignment]
        if frame.sent == (frame.height, frame.width):
            return content
        padded = np.empty((*frame.sent, 3), dtype=np.uint8)
        padded[...] = BACKGROUND
        padded[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width] = content
        return padded


def smart_size(size: Size, factor: int, least: int, most: int) -> Size:
    """Return the (height, width) to which the image processors of Qwen2-VL and its successors resize an image.

    Both sides become multiples of the factor, as near to the original as the bounds of the area allow. The rule is
    ``smart_resize`` of transformers' ``image_processing_qwen2_vl.py``; applied to its own result, it changes nothing.

    Args:
        size: (height, width) of the image.
        factor: the side, in pixels, of the square that one visual token covers.
        least: the smallest area in pixels.
        most: the largest area in pixels.
    """
    height, width = size
    sides = [max(factor, round(side / factor) * factor) for side in size]
    if sides[0] * sides[1] > most:
        shrink = math.sqrt(height * width / most)
        sides = [max(factor, math.floor(side / shrink / factor) * factor) for side in size]
    elif sides[0] * sides[1] < least:
        grow = math.sqrt(least / (height * width))
        sides = [math.ceil(side * grow / factor) * factor for side in size]
    return sides[0], sides[1]


def fit_size(size: Size, *, long: int | None = None, short: int | None = None, pixels: int | None = None) -> Size:
    """Return the largest (height, width) of the same aspect ratio within the limits, never larger than the image.

    Args:
        size: (height, width) of the image.
        long: the largest longer side, in pixels.
        short: the largest shorter side, in pixels.
        pixels: the largest area, in pixels.
    """
    height, width = size
    scale = min(
        1.0,
        long / max(size) if long else 1.0,
        short / min(size) if short else 1.0,
        math.sqrt(pixels / (height * width)) if pixels else 1.0,
    )
    # 1e-9: a side that is a whole number must not lose a pixel to the rounding of floating point numbers.
    return max(1, math.floor(height * scale + 1e-9)), max(1, math.floor(width * scale + 1e-9))


def _square(size: Size) -> Frame:
    height, width = size
    side = max(size)
    return Frame((side, side), (side - width) // 2, (side - height) // 2, width, height)


UNCHANGED = Resize.named("none")
