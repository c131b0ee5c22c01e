"""Reading images and mask files. Both are shown as their orientation tag says."""

from __future__ import annotations

import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps

from hlmat_bench.interfaces import Image, Size
from hlmat_bench.sources.problems import Unreadable

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Of the files that count as images, in small letters."""

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""The values of the EXIF tag Orientation that swap width and height (EXIF 2.32, section 4.6.4)."""


def read_image(path: Path) -> Image:
    """An image file, EXIF orientation applied, uint8 (H, W, 3) RGB; an alpha channel is dropped.

    Raises:
        Unreadable: when the file is no complete image.
    """
    with _opened(path) as file:
        return np.array(ImageOps.exif_transpose(file).convert("RGB"))


def read_size(path: Path) -> Size:
    """The (height, width) that `read_image` would give, mostly from the file's header alone.

    Raises:
        Unreadable: when the file is no image.
    """
    with _opened(path) as file:
        if file.format == "TIFF":  # Pillow turns these while it decodes them.
            width, height = ImageOps.exif_transpose(file).size
            return height, width
        width, height = file.size
        turned = file.getexif().get(_ORIENTATION) in _TURNED
    return (width, height) if turned else (height, width)


def read_values(path: Path) -> NDArray[Any]:
    """The values of a mask file, (H, W) or (H, W, channels); palette entries become their colours.

    Raises:
        Unreadable: when the file is no complete image.
    """
    with _opened(path) as file:
        file = ImageOps.exif_transpose(file)
        modes = {"1": "L", "P": "RGB", "PA": "RGBA"}
        return np.array(file.convert(modes[file.mode]) if file.mode in modes else file)


@contextmanager
def _opened(path: Path) -> Iterator[Pillow.Image]:
    try:
        with Pillow.open(path) as file:
            yield file
    except Pillow.DecompressionBombError as error:
        raise Unreadable(f"The image {path} is too large to be read ({error}); make it smaller.") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise Unreadable(f"The image {path} cannot be read ({error}); get the file again.") from error


class ImageReader:
    """Reads images and keeps the last few: the samples of one image follow each other. Safe in threads.

    Args:
        keep: how many decoded images stay in memory.
    """

    def __init__(self, keep: int = 3) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._images: OrderedDict[Path, Future[Image]] = OrderedDict()
        self._sizes: dict[Path, Size] = {}

    def image(self, path: Path) -> Image:
        """A copy of an image, which is decoded once even when several threads ask at the same time.

        Raises:
            Unreadable: see `read_image`.
        """
        with self._lock:
            future = self._images.get(path)
            fresh = future is None
            if future is None:
                future = self._images[path] = Future()
            self._images.move_to_end(path)
            while len(self._images) > self._keep:
                self._images.popitem(last=False)
        if fresh:
            self._fill(future, path)
        return future.result().copy()

    def size(self, path: Path) -> Size:
        """The (height, width) of an image; see `read_size`."""
        known = self._sizes.get(path)
        if known is None:
            known = self._sizes[path] = read_size(path)
        return known

    def _fill(self, future: Future[Image], path: Path) -> None:
        try:
            image = read_image(path)
        except BaseException as error:
            with self._lock:
                self._images.pop(path, None)
            future.set_exception(error)
            raise
        self._sizes[path] = (image.shape[0], image.shape[1])
        future.set_result(image)
