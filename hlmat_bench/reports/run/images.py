"""The images of a report: thumbnails and full pictures, made from pixels alone, so that no metadata comes along."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
from PIL import Image as Pillow

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.types import Image
from hlmat_bench.reports.pages.site import Site

THUMBNAIL = 160
"""Longest side of a thumbnail, in pixels."""
FULL = 2048
"""Longest side of a full picture; larger ones are made smaller, and masks stay as they are."""


def write_pictures(
    site: Site, source: Source, wanted: Sequence[str], progress: Callable[[int, int], None]
) -> list[int]:
    """Write ``img/thumb/N.webp`` and ``img/full/N.jpg`` for each different image.

    Args:
        site: the folder.
        source: where the pixels come from.
        wanted: ids of samples.
        progress: called with (images done, images in all).

    Returns:
        For each sample, the number N of its image.

    Raises:
        UsageError: when an image or a sample is missing.
    """
    known = {sample.id: sample for sample in source.samples()}
    numbers: dict[str, int] = {}
    first: list[Sample] = []
    if lost := [name for name in wanted if name not in known]:
        raise UsageError(f"The sample {lost[0]} of the run is not in its data; give the run's --task and --data-root.")
    for sample in (known[name] for name in wanted):
        if sample.image not in numbers:
            numbers[sample.image] = len(first)
            first.append(sample)
    for number, (thumbnail, full) in enumerate(_each(source, first)):
        site.write(f"img/thumb/{number:05d}.webp", thumbnail)
        site.write(f"img/full/{number:05d}.jpg", full)
        progress(number + 1, len(first))
    return [numbers[known[name].image] for name in wanted]


def _each(source: Source, samples: Sequence[Sample]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the files of every sample's image, in order; some are made ahead, on all cores."""
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        rest = iter(samples)
        ahead = [pool.submit(_files, source, sample) for sample in islice(rest, 4 * threads)]
        while ahead:
            made = ahead.pop(0).result()
            ahead += [pool.submit(_files, source, sample) for sample in islice(rest, 1)]
            yield made


def _files(source: Source, sample: Sample) -> tuple[bytes, bytes]:
    image = source.image(sample)
    full = _within(image, FULL)
    return encoded(_within(full, THUMBNAIL), "WEBP", quality=78, method=1), encoded(full, "JPEG", quality=88)


def _within(image: Image, side: int) -> Image:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def encoded(image: Image, format: str, **parameters: int) -> bytes:
    """Return an image as a file, from its pixels alone."""
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, format, **parameters)
    return data.getvalue()
