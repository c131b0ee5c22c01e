"""Masks: COCO run-length encoding, and masks packed to one bit per pixel.

Run-length encodings (RLE) are those of the COCO API (https://github.com/cocodataset/cocoapi): runs of the
mask read column by column, beginning with a run of zeros. ``counts`` is the compressed string that
pycocotools writes, or a list of run lengths. An RLE from a file is not trusted: it is checked before
pycocotools, which is written in C, sees it.

A packed mask is a ``uint8`` array of shape (H, ceil(W / 8)): pixel x of a row is bit x % 8 of byte x // 8, and
bits beyond the last pixel are zero. Aligned, it is in ``uint64`` words and every row ends with a zero, so that
a run of pixels that leaves a row meets one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.types import Box, Mask

Packed: TypeAlias = NDArray[np.uint8]
Words: TypeAlias = NDArray[np.uint64]

MAX_PIXELS = 2**28
"""Larger masks are refused: a few bytes of RLE could otherwise ask for any amount of memory."""

# The alphabet of compressed counts: 5 bits a character from "0" on, 32 more where the number goes on.
_COUNTS = re.compile(rb"(?:[P-o]{0,5}[0-O])+")


class RLE(TypedDict):
    """A compressed run-length encoding.

    Attributes:
        size: [height, width].
        counts: the runs, as pycocotools compresses them.
    """

    size: list[int]
    counts: str


def binary(*arrays: ArrayLike) -> list[Mask]:
    """The arrays as masks: bool, C-contiguous, where nonzero is True; nothing is copied needlessly.

    Raises:
        UsageError: when one has not two dimensions, has no pixels, or when their shapes differ.
    """
    masks = [_binary(np.asarray(array)) for array in arrays]
    shapes = {mask.shape for mask in masks}
    if len(shapes) > 1:
        raise UsageError(
            f"Masks of one image must have one shape, not {sorted(shapes)}; resize them to the image first."
        )
    return masks


def of_shape(mask: ArrayLike, shape: tuple[int, ...]) -> Mask:
    """The mask as `binary` gives it, of the shape (H, W).

    Raises:
        UsageError: when it is no mask or has another shape.
    """
    pixels = _binary(np.asarray(mask))
    if pixels.shape != shape:
        raise UsageError(f"The mask has the shape {pixels.shape}, its image {shape}; resize it to the image first.")
    return pixels


def _binary(array: NDArray[Any]) -> Mask:
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"A mask has the shape (height, width) and at least one pixel, not {array.shape}.")
    return np.ascontiguousarray(array if array.dtype == np.bool_ else array != 0)


def bounding_box(mask: Mask | Packed) -> Box | None:
    """Return (x0, y0, x1, y1) around what is not 0 in (H, W), the last row and column excluded; None for nothing."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode(mask: ArrayLike) -> RLE:
    """The RLE of a mask of shape (H, W), bool or numbers where nonzero is the object.

    Raises:
        UsageError: when it is no mask.
    """
    import cv2
    from pycocotools import mask as coco

    (pixels,) = binary(mask)
    # OpenCV's blockwise transpose is several times faster than numpy's copy to Fortran order.
    rle = coco.encode(cv2.transpose(pixels.view(np.uint8)).T)
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: Mapping[str, Any]) -> Mask:
    """The mask of an RLE, bool (H, W).

    Args:
        rle: ``size`` is [height, width]; ``counts`` a compressed str or bytes, or a list of run lengths.

    Raises:
        UsageError: when it is no valid RLE or has more than `MAX_PIXELS` pixels.
    """
    import cv2
    from pycocotools import mask as coco

    columns = coco.decode(compress(rle)).T
    return cv2.transpose(columns).view(np.bool_)  # type: ignore[no-any-return]


def area(rle: Mapping[str, Any]) -> int:
    """How many pixels the object of an RLE has.

    Raises:
        UsageError: as `decode`.
    """
    return int(runs_of(rle)[1::2].sum())


def intersection_union(
    first: Mapping[str, Any], second: Mapping[str, Any], *, ignore: Mapping[str, Any] | None = None
) -> tuple[int, int]:
    """The areas of intersection and union of two RLEs, without decoding them.

    Args:
        first: one mask.
        second: the other, of the same size.
        ignore: pixels that count in neither area.

    Raises:
        UsageError: when one is invalid (see `decode`) or when their sizes differ.
    """
    from pycocotools import mask as coco

    one, other, *hidden = (compress(rle) for rle in (first, second, ignore) if rle is not None)
    sizes = {tuple(rle["size"]) for rle in (one, other, *hidden)}
    if len(sizes) > 1:
        raise UsageError(f"Masks of one image must have one size, not {sorted(sizes)}.")

    def visible(rle: RLE) -> int:
        return int(coco.area(rle)) - sum(int(coco.area(coco.merge([rle, h], intersect=True))) for h in hidden)

    intersection = visible(coco.merge([one, other], intersect=True))
    return intersection, visible(one) + visible(other) - intersection


def compress(rle: Mapping[str, Any]) -> RLE:
    """The RLE with compressed counts, checked; what already is a valid compressed RLE stays as it is.

    Raises:
        UsageError: as `decode`.
    """
    from pycocotools import mask as coco

    runs, counts, (height, width) = runs_of(rle), rle["counts"], rle["size"]
    if not runs[1:].all():  # A run of no pixels is harmless, but not what pycocotools reckons with.
        bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return encode(bits.reshape(width, height).T)
    if not isinstance(counts, str | bytes):
        counts = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)["counts"]
    text = counts if isinstance(counts, str) else counts.decode("ascii")
    return {"size": [height, width], "counts": text}


def runs_of(rle: Mapping[str, Any]) -> NDArray[np.int64]:
    """The run lengths of an RLE, checked: none is negative and together they are the whole mask.

    They alternate between pixels outside the object, first, and inside, read column by column; int64.

    Raises:
        UsageError: as `decode`.
    """
    height, width = _size(rle.get("size"))
    counts = rle.get("counts")
    if isinstance(counts, str | bytes):
        runs = _decompressed(counts)
    elif isinstance(counts, Sequence) and all(type(n) is int and 0 <= n <= MAX_PIXELS for n in counts):
        runs = np.array(counts, dtype=np.int64)
    else:
        raise UsageError("The counts of an RLE are a compressed string or a list of run lengths.")
    if (runs < 0).any() or int(runs.sum()) != height * width:
        raise UsageError(f"The counts of an RLE do not fill its size [{height}, {width}]; write the mask again.")
    return runs


def _size(size: Any) -> tuple[int, int]:
    """Height and width, checked: neither is 0 and the mask is not too large."""
    if isinstance(size, Sequence) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        height, width = size
        if height * width <= MAX_PIXELS:
            return height, width
    raise UsageError(f"The size of an RLE is [height, width] of at most {MAX_PIXELS} pixels, not {size!r}.")


def _decompressed(counts: str | bytes) -> NDArray[np.int64]:
    """The run lengths in compressed counts; they may be wrong in value, but not in form.

    The format is that of ``rleToString`` in the COCO API's maskApi.c: signed numbers in groups of 5 bits,
    the lowest first; from the fourth number on, each is the difference to the one two places before.
    """
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if _COUNTS.fullmatch(data) is None:
        raise UsageError("The counts of an RLE are no string that pycocotools wrote; write the mask again.")
    groups = np.frombuffer(data, dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(groups < 32)
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    places = np.arange(len(groups)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((groups & 31) << (5 * places), starts)
    numbers -= ((groups[ends] & 16) << 1) << (5 * (lengths - 1))  # The highest bit is the sign.
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers


def pack(mask: Mask) -> Packed:
    """A mask of shape (H, W), bool, with 8 pixels in a byte, the leftmost lowest: uint8 (H, ceil(W / 8))."""
    height, width = mask.shape
    if width % 8:
        return np.packbits(mask, axis=1, bitorder="little")
    return np.packbits(mask.reshape(-1), bitorder="little").reshape(height, width // 8)  # steadily faster


def unpack(packed: Packed, width: int) -> Mask:
    """The mask of shape (H, width), bool, that was packed."""
    return np.unpackbits(packed, axis=1, count=width, bitorder="little").view(np.bool_)


def count(packed: Packed) -> int:
    """How many pixels of a packed mask are set."""
    import cv2

    return int(cv2.norm(packed, cv2.NORM_HAMMING))


def count_differing(first: Packed, second: Packed) -> int:
    """How many pixels are set in one of two packed masks of one shape, but not in the other."""
    import cv2

    return int(cv2.norm(first, second, cv2.NORM_HAMMING))


def align(packed: Packed) -> Words:
    """A packed mask in 64-bit words, at least one bit at the end of each row being zero: uint64 (H, words)."""
    height, columns = packed.shape
    aligned = np.zeros((height, (columns // 8 + 1) * 8), dtype=np.uint8)
    aligned[:, :columns] = packed
    return aligned.view("<u8")


def shift(words: Words, pixels: int) -> Words:
    """The aligned mask, moved left by so many pixels (right, where negative); zeros come in.

    Pixels that leave a row come into the row before or after it: the rows are one long run of bits.
    """
    whole, bits = divmod(abs(pixels), 64)
    source, moved = words.reshape(-1), np.zeros_like(words)
    length = max(source.size - whole, 0)
    low, high = np.uint64(bits), np.uint64(64 - bits)
    if pixels >= 0:
        source, target = source[whole:], moved.reshape(-1)[:length]
        np.right_shift(source, low, out=target)
        if bits:
            target[:-1] |= source[1:] << high
    else:
        source, target = source[:length], moved.reshape(-1)[whole:]
        np.left_shift(source, low, out=target)
        if bits:
            target[1:] |= source[:-1] >> high
    return moved


def erode(words: Words, radius: int) -> Words:
    """The pixels whose whole square of 2 * radius + 1 pixels is set; all masks aligned.

    Pixels outside the image are not set. The square is built from ever larger ones, so the time grows with
    the logarithm of the radius.
    """
    side, reached, result = 2 * radius + 1, 1, words.copy()
    while reached < side:  # Each pixel now says whether the `reached` pixels from it on are set.
        step = min(reached, side - reached)
        result &= shift(result, step)
        result[:-step] &= result[step:]
        result[-step:] = 0
        reached += step
    result = shift(result, -radius)
    result[radius:] = result[: max(len(result) - radius, 0)].copy()
    result[:radius] = 0
    return result
