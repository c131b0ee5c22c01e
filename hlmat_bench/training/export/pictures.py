"""Painted images as files: each content is written once, under the digest of its pixels."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Literal, TypeAlias

from hlmat_bench.core import images
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.types import Image

ImageFormat: TypeAlias = Literal["png", "jpg"]
IMAGES = "images"
"""The folder of painted images in an export."""


class Pictures:
    """Encodes images, and writes those that are not there yet. May be used from several threads.

    Args:
        folder: the folder of the export.
        format: ``png`` (lossless) or ``jpg``.
        quality: of a JPEG, 1 to 100; its colours have full resolution.
    """

    def __init__(self, folder: Path, format: str = "png", quality: int = 95) -> None:
        if format not in ("png", "jpg"):
            raise unknown("image format", format, ["png", "jpg"], "There are png and jpg.")
        if not 1 <= quality <= 100:
            raise UsageError(f"The quality of a JPEG is from 1 to 100, not {quality}.")
        self.folder, self.suffix, self._quality = folder, format, quality

    def encode(self, image: Image) -> bytes:
        """Return the bytes of an image file for an image, uint8 (H, W, 3) RGB."""
        return images.encode(image, "png" if self.suffix == "png" else "jpeg", quality=self._quality)

    def store(self, image: Image) -> str:
        """Write an image, uint8 (H, W, 3) RGB, unless it is there, and return its path in the export's folder.

        Raises:
            OSError: when it cannot be written.
        """
        digest = hashlib.blake2b(f"{image.shape}".encode(), digest_size=16)
        digest.update(image.tobytes())
        name = digest.hexdigest()
        path = f"{IMAGES}/{name[:2]}/{name}.{self.suffix}"
        if not (self.folder / path).exists():
            write_whole(self.folder / path, self.encode(image))
        return path


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that several threads may write at once, all with the same content; readers see it whole or not.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    draft.write_bytes(data)
    draft.replace(path)
