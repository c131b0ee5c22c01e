"""Images that two tasks share: by COCO's number, by file name, or because they look the same.

Training on an image that a benchmark tests on makes its numbers worthless, and sets are made of each other: refCOCO,
refCOCO+ and refCOCOg divide the same photographs differently, GrabCut and Berkeley share some.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.types import Image

Reason: TypeAlias = Literal["COCO id", "file name", "pixels"]
Hash: TypeAlias = NDArray[np.uint8]

MOST_DIFFERING = 38
"""Of the 255 bits of two hashes. JPEGs of quality 30, resized and gray copies of 90 photographs differ in up to 6 bits,
and no two different photographs in fewer than 97."""
_SIDE, _KEPT = 64, 16
_COCO = re.compile(r"(?:COCO_(?:train|val|test)2014_)?0*(\d{1,12})\.jpe?g", re.IGNORECASE)
_COCO_DIGITS = 12
_WITHOUT_MEANING = re.compile(r"\d{1,6}|im(?:age|g)?[_ -]?\d*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SharedImage:
    """An image that two tasks have.

    Attributes:
        one, other: its file name in each.
        why: how that was found.
    """

    one: str
    other: str
    why: Reason


def coco_id(name: str) -> int | None:
    """Return the number of one of COCO's images by its file name; None for other names.

    >>> coco_id("COCO_train2014_000000000036.jpg"), coco_id("000000000036.jpg"), coco_id("36.jpg")
    (36, 36, None)
    """
    match = _COCO.fullmatch(name.rpartition("/")[2])
    if match is None:
        return None
    written = name.rpartition("/")[2].partition(".")[0].rpartition("_")[2]
    return int(match[1]) if len(written) == _COCO_DIGITS else None


def perceptual_hash(image: Image) -> Hash:
    """Return a hash, uint8 (32,), that changes little where an image is compressed or resized.

    It is pHash: which of the 255 lowest frequencies of the gray image's cosine transform are above their median
    (Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010; https://www.phash.org).

    Args:
        image: uint8 (H, W, 3) RGB.
    """
    gray = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    frequencies = cv2.dct(gray.astype(np.float32))[:_KEPT, :_KEPT].reshape(-1)[1:]
    return np.packbits(frequencies > np.median(frequencies))


def images_of(source: Source) -> list[Sample]:
    """Return a sample for each image of a source, in their order."""
    return list({sample.image_id: sample for sample in reversed(source.samples())}.values())[::-1]


class ImageIndex:
    """Images, in which those of others are looked for.

    Args:
        images: a sample for each image, with its hash, or None to compare its name alone.
    """

    def __init__(self, images: Iterable[tuple[Sample, Hash | None]]) -> None:
        self._ids: dict[int | None, str] = {}
        self._stems: dict[str, str] = {}
        self._names: list[str] = []
        hashes: list[Hash] = []
        for sample, hashed in images:
            self._ids.setdefault(coco_id(sample.image), sample.image)
            self._stems.setdefault(_stem(sample.image), sample.image)
            if hashed is not None:
                self._names.append(sample.image)
                hashes.append(hashed)
        self._hashes = np.array(hashes, np.uint8).view(np.uint64)

    def find(self, sample: Sample, hashed: Hash | None = None) -> SharedImage | None:
        """Return where an image stands here, too; None where it does not."""
        if (number := coco_id(sample.image)) is not None and number in self._ids:
            return SharedImage(sample.image, self._ids[number], "COCO id")
        if (stem := _stem(sample.image)) and stem in self._stems:
            return SharedImage(sample.image, self._stems[stem], "file name")
        if hashed is None or not self._names:
            return None
        differing = np.bitwise_count(self._hashes ^ hashed.view(np.uint64)).sum(axis=1)
        nearest = int(differing.argmin())
        if differing[nearest] > MOST_DIFFERING:
            return None
        return SharedImage(sample.image, self._names[nearest], "pixels")


def shared_images(
    one: Source, other: Source, *, pixels: bool = True, progress: Callable[[int, int], None] | None = None
) -> list[SharedImage]:
    """Return the images of a source that another has, too, in their order.

    Args:
        one: the source.
        other: the other one.
        pixels: also compare what images look like, for which all are read; else names alone.
        progress: called with (images done, images in total).
    """
    mine, theirs = images_of(one), images_of(other)
    total, done = len(mine) + len(theirs), itertools.count(1)

    def hashed(source: Source, sample: Sample) -> Hash | None:
        found = perceptual_hash(source.image(sample)) if pixels else None
        if progress is not None:
            progress(next(done), total)
        return found

    index = ImageIndex((sample, hashed(other, sample)) for sample in theirs)
    return [same for sample in mine if (same := index.find(sample, hashed(one, sample))) is not None]


def _stem(name: str) -> str:
    """Return a file's name without folder and suffix, in small letters; empty where it is a mere number or the like."""
    stem = name.rpartition("/")[2].rpartition(".")[0].casefold()
    return "" if _WITHOUT_MEANING.fullmatch(stem) else stem
