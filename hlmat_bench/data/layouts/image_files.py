"""Reading images and mask files, by default shown as their orientation tag says."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError

from hlmat_bench.core.cache import Cache
from hlmat_bench.core.types import Image, Size
from hlmat_bench.data.layouts.embedded import EmbeddedFile
from hlmat_bench.data.layouts.problems import Unreadable

DataFile: TypeAlias = Path | EmbeddedFile
"""A file on the disk, or in a cell of a table."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Of the files that count as images, in small letters."""
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read, as Pillow names them, whatever the file's name says. Pillow reads more, and starts another
program for some (https://pillow.readthedocs.io/en/stable/handbook/image-file-formats.html#eps)."""
MAX_PIXELS = 25_000_000
"""Larger images and masks are refused before they are decoded, unless the settings say otherwise.

Decoding takes up to 8 bytes a pixel, 200 MB, and twice that of a WebP or a progressive JPEG, so their bound is half.
"""
_ONE_CHANNEL = ("1", "L", "P", "I;16", "I;16B")
"""The modes of Pillow (https://pillow.readthedocs.io/en/stable/handbook/concepts.html#modes) with one integer of 0 and
more for each pixel."""
_STRIP = 2**17
"""How many pixels are copied at once."""

Resize: TypeAlias = Literal["refuse", "nearest", "crop"]

_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)
"""The values of the EXIF tag Orientation that swap width and height (EXIF 2.32, section 4.6.4)."""
_UNTURN = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}
"""What undoes each value of the tag."""


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """How the files of a data set are read.

    Attributes:
        turned: whether images and masks are shown as their orientation tag says; else as they are stored.
        resize: what becomes of a mask of another size than its image; see `masks.fitted`.
        max_pixels: larger images are refused.
    """

    turned: bool = True
    resize: Resize = "refuse"
    max_pixels: int = MAX_PIXELS


AS_USUAL = ReadSettings()


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says before its pixels are decoded.

    Attributes:
        size: (height, width), as `read_image` gives them.
        orientation: the EXIF tag; 1 where there is none.
    """

    size: Size
    orientation: int

    @property
    def stored(self) -> Size:
        """(height, width) of the pixels as they are stored, where the image is shown as its tag says."""
        return self.size[::-1] if self.orientation in _TURNED else self.size


def read_image(path: DataFile, how: ReadSettings = AS_USUAL) -> Image:
    """Read an image file as uint8 (H, W, 3) RGB.

    An alpha channel is dropped. Integers of 16 bits are divided by 256, floats of 0 to 1 multiplied by 255.

    Raises:
        Unreadable: when the file is no complete image, or its values fit neither.
    """
    with _opened(path, how) as file:
        return _rgb(_shown(file, path, how), path)


def read_header(path: DataFile, how: ReadSettings = AS_USUAL) -> Header:
    """Read what `Header` holds, without decoding the file where its format allows that.

    Raises:
        Unreadable: when the file is no image.
    """
    with _opened(path, how) as file:
        orientation = _orientation(file, path)
        if file.format == "TIFF" and orientation != 1:  # Pillow turns these while it decodes them.
            width, height = _shown(file, path, how).size
            return Header((height, width), orientation)
        width, height = file.size
        swapped = how.turned and orientation in _TURNED
        return Header((width, height) if swapped else (height, width), orientation)


def read_values(path: DataFile, how: ReadSettings = AS_USUAL) -> NDArray[Any]:
    """Read the values of a mask file, (H, W) or (H, W, channels).

    Palette entries become their colours, and a transparent colour becomes an alpha channel.

    Raises:
        Unreadable: when the file is no complete image.
    """
    with _opened(path, how) as file:
        transparent = "transparency" in file.info
        modes = {"1": "L", "P": "RGBA" if transparent else "RGB", "PA": "RGBA"}
        modes |= {"L": "LA", "RGB": "RGBA"} if transparent else {}
        shown = _shown(file, path, how)
        return _joined(_strips(shown, modes.get(shown.mode)), shown.height)


def read_indices(path: DataFile, how: ReadSettings = AS_USUAL) -> NDArray[Any]:
    """Read the palette indices of an image file, or its gray values where it has no palette: integers, (H, W).

    Raises:
        Unreadable: when the file is no complete image, or is coloured without a palette.
    """
    with _opened(path, how) as file:
        shown = _shown(file, path, how)
        if shown.mode not in _ONE_CHANNEL:
            raise Unreadable(
                f"The label map {path} has colours (Pillow calls them {shown.mode}); save it as a PNG with a "
                "palette or in gray, so that each pixel is the number of its object."
            )
        return _joined(_strips(shown, "L" if shown.mode == "1" else None), shown.height)


def _orientation(file: Pillow.Image, path: DataFile) -> int:
    # A PNG may have its EXIF behind its pixels, so Pillow decodes them first; this is needless for most.
    early = file.format == "PNG" and "exif" not in file.info and not _has_exif(path)
    found = (Pillow.Image.getexif(file) if early else file.getexif()).get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _has_exif(path: DataFile) -> bool:
    """Tell whether a PNG has a chunk eXIf anywhere (https://www.w3.org/TR/png-3/#5Chunk-layout); read no pixels."""
    with _stream(path) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            if head[4:] == b"eXIf":
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    return False


def _stream(path: DataFile) -> BinaryIO:
    return path.open("rb", buffering=0) if isinstance(path, Path) else path.open()


def _shown(file: Pillow.Image, path: DataFile, how: ReadSettings) -> Pillow.Image:
    if how.turned:
        ImageOps.exif_transpose(file, in_place=True)
        return file
    orientation = _orientation(file, path)
    if file.format != "TIFF" or orientation == 1:
        return file
    file.load()  # Pillow turns a TIFF while it decodes it, and forgets the tag.
    return file.transpose(_UNTURN[orientation])


def _rgb(file: Pillow.Image, path: DataFile) -> Image:
    if file.mode == "F" or file.mode == "I" or file.mode.startswith("I;"):
        gray = _joined(_eight_bits(file, path), file.height)
        return np.repeat(gray[:, :, None], 3, axis=2)
    return _joined(_strips(file, "RGB"), file.height)


def _strips(file: Pillow.Image, mode: str | None = None) -> Iterator[NDArray[Any]]:
    """Yield the pixels of a few rows at a time, in a mode of Pillow; None is the file's own.

    Pillow's own way from an image to an array holds several copies of all pixels.
    """
    rows = max(1, _STRIP // file.width)
    for top in range(0, file.height, rows):
        strip = file.crop((0, top, file.width, min(top + rows, file.height)))
        yield np.asarray(strip if mode is None or strip.mode == mode else strip.convert(mode))


def _joined(strips: Iterable[NDArray[Any]], height: int) -> NDArray[Any]:
    """Return strips from top to bottom as one array, (height, W) or (height, W, channels)."""
    whole, top = np.empty(0), 0
    for strip in strips:
        if top == 0:
            whole = np.empty((height, *strip.shape[1:]), strip.dtype)
        whole[top : top + len(strip)] = strip
        top += len(strip)
    return whole


def _eight_bits(file: Pillow.Image, path: DataFile) -> Iterator[NDArray[np.uint8]]:
    """Yield strips of gray values of 16 or 32 bits as uint8; Pillow's own conversion clips them at 255."""
    ends = np.array([(strip.min(), strip.max()) for strip in _strips(file)])
    low, high = ends.min(), ends.max()
    if ends.dtype.kind == "f" and low >= 0 and high <= 1:  # False for NaN.
        yield from (np.rint(strip * 255).astype(np.uint8) for strip in _strips(file))
    elif ends.dtype.kind != "f" and low >= 0 and (255 < high < 2**16 or high == 0):
        yield from ((strip >> 8).astype(np.uint8) for strip in _strips(file))
    else:
        kind = "floats" if ends.dtype.kind == "f" else "integers of more than 8 bits"
        raise Unreadable(
            f"The image {path} holds {kind} from {low:g} to {high:g}; save it with 8 bits (0 to 255), with 16 bits "
            "(0 to 65535) or as floats of 0 to 1."
        )


@contextmanager
def _opened(path: DataFile, how: ReadSettings) -> Iterator[Pillow.Image]:
    try:
        given = path if isinstance(path, Path) else path.open()
        with _without_pillows_bound(), Pillow.open(given, formats=FORMATS) as file:
            _check_size(file, path, how.max_pixels)
            yield file
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error) as error:
        other = ", or save it as an ordinary PNG or JPEG" if isinstance(error, UnidentifiedImageError) else ""
        raise Unreadable(f"The image {path} cannot be read ({error}); get the file again{other}.") from error


def _check_size(file: Pillow.Image, path: DataFile, most: int) -> None:
    width, height = file.size
    halved = file.format == "WEBP" or "progressive" in file.info
    if width * height > (most // 2 if halved else most):
        half = f" (half of it for a {'WebP' if file.format == 'WEBP' else 'progressive JPEG'})" if halved else ""
        raise Unreadable(
            f"The image {path} has {width} x {height} pixels, more than {most:,}{half}; make it smaller, or raise the "
            "bound of its data set with --set data.max_pixels=NUMBER."
        )


_bound = threading.Lock()
_lifted: list[int | None] = []
"""Pillow's bound, once for every file that is open."""


@contextmanager
def _without_pillows_bound() -> Iterator[None]:
    """Lift Pillow's bound on pixels, which warns from 89 megapixels on and cannot be set for one file alone."""
    with _bound:
        _lifted.append(Pillow.MAX_IMAGE_PIXELS)
        Pillow.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _bound:
            Pillow.MAX_IMAGE_PIXELS = _lifted[0] if len(_lifted) == 1 else None
            _lifted.pop()


class ImageReader:
    """Read images and keep the last few: the samples of one image follow each other. Safe to use from several threads.

    Args:
        keep: how many decoded images stay in memory.
        how: how files are read.
    """

    def __init__(self, keep: int = 3, how: ReadSettings = AS_USUAL) -> None:
        self._how = how
        self._images: Cache[DataFile, Image] = Cache(keep)
        self._headers: dict[DataFile, Header] = {}

    def image(self, path: DataFile) -> Image:
        """Return a copy of an image, which is decoded once even if several threads ask at the same time.

        Raises:
            Unreadable: see `read_image`.
        """
        return self._images.get(path, lambda: self._decoded(path)).copy()

    def size(self, path: DataFile) -> Size:
        """Return the (height, width) of an image; see `read_header`."""
        return self.header(path).size

    def header(self, path: DataFile) -> Header:
        """Return what an image's file says before its pixels; see `read_header`."""
        if path not in self._headers:
            self._headers[path] = read_header(path, self._how)
        return self._headers[path]

    def _decoded(self, path: DataFile) -> Image:
        with _opened(path, self._how) as file:
            orientation = _orientation(file, path)  # before the pixels: decoding a TIFF forgets it
            image = _rgb(_shown(file, path, self._how), path)
        self._headers[path] = Header((image.shape[0], image.shape[1]), orientation)
        return image
