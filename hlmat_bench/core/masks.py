"""Masks: COCO run-length encoding, and masks packed to one bit per pixel.

Run-length encodings (RLE) follow the COCO API (https://github.com/cocodataset/cocoapi): runs of the mask read
column by column, beginning with a run of zeros. ``counts`` is the compressed string that pycocotools writes, or a
list of run lengths. An RLE from a file is not trusted: it is checked before pycocotools, which is written in C,
reads it.

A packed mask is a ``uint8`` array of shape (H, ceil(W / 8)): pixel x of a row is bit x % 8 of byte x // 8, and
bits beyond the last pixel are zero. An aligned mask is an array of ``uint64`` words in which every row ends with at
least one zero bit, so that a run of pixels never continues from one row into the next.

Packed masks are there for speed. Measured on one core: an IoU at 640x480 and 2048x1536 pixels takes 0.011 and 0.080 ms
(with numpy on bool 0.024 and 0.247), a boundary IoU 0.081 and 0.49 ms (with `cv2.erode` 0.129 and 5.2), all scores of
300 episodes of 7 clicks 0.9 and 7 s (1.05 and 21). The search for the next click builds on them, too.
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

MAX_PIXELS = 100_000_000
"""Larger masks are refused: a few bytes of RLE could otherwise ask for any amount of memory. Decoding takes 2 bytes a
pixel."""

# The alphabet of compressed counts: 5 bits a character from "0" on, plus 32 where the number has more characters.
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
    """Return arrays as masks: bool, C-contiguous, True where nonzero; an array that already is one is not copied.

    Raises:
        UsageError: when an array does not have two dimensions, has no pixels, or when the shapes differ.
    """
    masks = [_binary(np.asarray(array)) for array in arrays]
    shapes = {mask.shape for mask in masks}
    if len(shapes) > 1:
        raise UsageError(
            f"Masks of one image must have one shape, not {sorted(shapes)}; resize them to the image first."
        )
    return masks


def of_shape(mask: ArrayLike, shape: tuple[int, ...]) -> Mask:
    """Return an array as a mask, like `binary`, after a check that it has the given shape (H, W).

    Raises:
        UsageError: when the array is no mask or has another shape.
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
    """Return the box (x0, y0, x1, y1) around what is nonzero in (H, W), x1 and y1 exclusive; None if all is zero."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def encode(mask: ArrayLike) -> RLE:
    """Return the RLE of a mask of shape (H, W): bool, or numbers that are nonzero on the object.

    Raises:
        UsageError: when ``mask`` is no mask.
    """
    import cv2
    from pycocotools import mask as coco

    (pixels,) = binary(mask)
    # OpenCV's blockwise transpose is several times faster than numpy's copy to Fortran order.
    rle = coco.encode(cv2.transpose(pixels.view(np.uint8)).T)
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode(rle: Mapping[str, Any]) -> Mask:
    """Return the mask of an RLE, bool (H, W).

    Args:
        rle: ``size`` is [height, width]; ``counts`` a compressed str or bytes, or a list of run lengths.

    Raises:
        UsageError: when ``rle`` is no valid RLE or has more than `MAX_PIXELS` pixels.
    """
    import cv2
    from pycocotools import mask as coco

    columns = coco.decode(compress(rle)).T
    return cv2.transpose(columns).view(np.bool_)  # type: ignore[no-any-return]


def area(rle: Mapping[str, Any]) -> int:
    """Return the number of pixels in the mask of an RLE.

    Raises:
        UsageError: as `decode`.
    """
    return int(runs_of(rle)[1::2].sum())


def intersection_union(
    first: Mapping[str, Any], second: Mapping[str, Any], *, ignore: Mapping[str, Any] | None = None
) -> tuple[int, int]:
    """Return the areas, in pixels, of the intersection and the union of two RLEs, without decoding them.

    Args:
        first: one mask.
        second: the other, of the same size.
        ignore: pixels that count in neither area.

    Raises:
        UsageError: when an RLE is invalid (see `decode`) or when the sizes differ.
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
    """Check an RLE and return it with compressed counts; counts that already are compressed stay as they are.

    Raises:
        UsageError: as `decode`.
    """
    from pycocotools import mask as coco

    runs, counts, (height, width) = runs_of(rle), rle["counts"], rle["size"]
    # A run of length 0 is harmless, but pycocotools does not expect it.
    if not runs[1:].all():
        bits = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
        return encode(bits.reshape(width, height).T)
    if not isinstance(counts, str | bytes):
        counts = coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)["counts"]
    text = counts if isinstance(counts, str) else counts.decode("ascii")
    return {"size": [height, width], "counts": text}


def runs_of(rle: Mapping[str, Any]) -> NDArray[np.int64]:
    """Return the run lengths of an RLE, int64, after a check that none is negative and that they sum to H * W.

    Runs of pixels outside and inside the object alternate, outside first, read column by column.

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
    """Return height and width after a check that neither is 0 and that the mask is not too large."""
    if isinstance(size, Sequence) and len(size) == 2 and all(type(n) is int and n > 0 for n in size):
        height, width = size
        if height * width <= MAX_PIXELS:
            return height, width
    raise UsageError(f"The size of an RLE is [height, width] of at most {MAX_PIXELS} pixels, not {size!r}.")


def _decompressed(counts: str | bytes) -> NDArray[np.int64]:
    """Return the run lengths in compressed counts; their form is checked here, their values are not.

    ``rleToString`` in maskApi.c of the COCO API defines the format: signed numbers in groups of 5 bits, the lowest
    first; from the fourth number on, a number is the difference to the run two places before.
    """
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if _COUNTS.fullmatch(data) is None:
        raise UsageError("The counts of an RLE are not a string that pycocotools wrote; write the mask again.")
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
    """Pack a mask (bool (H, W)) into bytes of 8 pixels, the leftmost in the lowest bit: uint8 (H, ceil(W / 8))."""
    height, width = mask.shape
    if width % 8:
        return np.packbits(mask, axis=1, bitorder="little")
    # One long row is packed faster than many short ones.
    return np.packbits(mask.reshape(-1), bitorder="little").reshape(height, width // 8)


def count(packed: Packed) -> int:
    """Return how many pixels of a packed mask are set."""
    import cv2

    return int(cv2.norm(packed, cv2.NORM_HAMMING))


def count_differing(first: Packed, second: Packed) -> int:
    """Return how many pixels are set in exactly one of two packed masks of the same shape."""
    import cv2

    return int(cv2.norm(first, second, cv2.NORM_HAMMING))


def align(packed: Packed) -> Words:
    """Return a packed mask in 64-bit words, uint64 (H, words), with at least one zero bit at the end of every row."""
    height, columns = packed.shape
    aligned = np.zeros((height, (columns // 8 + 1) * 8), dtype=np.uint8)
    aligned[:, :columns] = packed
    return aligned.view("<u8")


def shift(words: Words, pixels: int) -> Words:
    """Return an aligned mask moved left by ``pixels`` (right, where negative); zeros fill the free places.

    Pixels that leave a row enter the row before or after it, because the rows are one long run of bits.
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
    """Erode an aligned mask by a square with a side of 2 * radius + 1 pixels; return an aligned mask.

    A pixel stays set where the whole square around it is set; pixels outside the image are not set. The square is
    built in passes that at most double its side, so the time grows with the logarithm of the radius.
    """
    side, reached, result = 2 * radius + 1, 1, words.copy()
    # Before every pass, a pixel is set when the square of side `reached`, with this pixel at its top left, is set in
    # the input. No run leaves its row, because an aligned row ends with a zero.
    while reached < side:
        step = min(reached, side - reached)
        result &= shift(result, step)
        result[:-step] &= result[step:]
        result[-step:] = 0
        reached += step
    # The squares begin at their top left pixel: move the result to their centres.
    result = shift(result, -radius)
    result[radius:] = result[: max(len(result) - radius, 0)].copy()
    result[:radius] = 0
    return result
