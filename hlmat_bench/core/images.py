"""Encodes images as JPEG or PNG bytes, for models behind an API, and decodes them."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.types import Image

Format: TypeAlias = Literal["jpeg", "png"]
Subsampling: TypeAlias = Literal["4:4:4", "4:2:2", "4:2:0"]

MEDIA_TYPES: dict[Format, str] = {"jpeg": "image/jpeg", "png": "image/png"}


def encode(image: Image, format: Format = "jpeg", *, quality: int = 95, subsampling: Subsampling = "4:4:4") -> bytes:
    """Return an image as the bytes of a JPEG or PNG file.

    The defaults keep a thin green mask visible: colour at full resolution, hardly any artefacts. PNG is
    lossless and several times larger.

    Args:
        image: uint8 (H, W, 3) RGB.
        format: ``jpeg`` or ``png``; `MEDIA_TYPES` has its media type.
        quality: quality of a JPEG, 1 to 100.
        subsampling: chroma subsampling of a JPEG.

    Raises:
        UsageError: when there is no such format, quality or subsampling, or when ``image`` is no image (see `check`).
    """
    import cv2

    check(image)
    parameters = _parameters(format, quality, subsampling)
    ok, data = cv2.imencode(f".{format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not ok:
        raise UsageError(f"An image of {image.shape} does not fit into a {format} file; make it smaller.")
    return data.tobytes()


def decode(data: bytes) -> Image:
    """Return the pixels of an image file, uint8 (H, W, 3) RGB.

    Raises:
        UsageError: when OpenCV cannot read the bytes as an image.
    """
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise UsageError("These bytes are not an image file.")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def settings(format: str, quality: int, subsampling: str | int) -> dict[str, Any]:
    """Return the keyword arguments of `encode` for a user's options, as JSON values for a model's `spec`.

    Args:
        format: ``jpeg`` or ``png``.
        quality: quality of a JPEG, 1 to 100.
        subsampling: chroma subsampling of a JPEG: ``444``, ``422`` or ``420``, with or without colons.

    Raises:
        UsageError: when there is no such format, quality or subsampling.
    """
    named = ":".join(str(subsampling).replace(":", ""))
    chosen: dict[str, Any] = {"format": format, "quality": quality, "subsampling": named}
    encode(np.zeros((1, 1, 3), dtype=np.uint8), **chosen)
    return {"format": format} if format == "png" else chosen


def check(image: Image) -> None:
    """Check that an array is an image.

    Raises:
        UsageError: when it is not uint8 (H, W, 3) with at least one pixel.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(f"An image is uint8 of shape (height, width, 3), not {image.dtype} of {image.shape}.")


def _parameters(format: str, quality: int, subsampling: str) -> list[int]:
    """Return the parameters of `cv2.imencode` as a flat list of keys and values."""
    import cv2

    factors = {
        "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
        "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    }
    if format not in MEDIA_TYPES:
        raise unknown("image format", format, MEDIA_TYPES, "There are jpeg and png.")
    if subsampling not in factors:
        raise unknown("chroma subsampling", subsampling, factors, "There are 4:4:4, 4:2:2 and 4:2:0.")
    if not 1 <= quality <= 100:
        raise UsageError(f"The quality of a JPEG is from 1 to 100, not {quality}.")
    if format == "png":
        return []
    return [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factors[subsampling]]
