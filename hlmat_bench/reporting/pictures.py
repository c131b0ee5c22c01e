"""The images of a report: thumbnails and full pictures, made from pixels alone, so that no metadata comes along."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as Pillow

from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import Image
from hlmat_bench.pages.site import Site
from hlmat_bench.plugins import scalar
from hlmat_bench.samples import Sample, Source
from hlmat_bench.tasks import load_task

THUMBNAIL = 160
"""Longest side of a thumbnail, in pixels."""
FULL = 2048
"""Longest side of a full picture; larger ones are made smaller, and masks stay as they are."""


def open_source(document: Mapping[str, Any], data_root: str | os.PathLike[str] | None, task: str | None) -> Source:
    """The data that a run was played on.

    Args:
        document: its manifest.
        data_root: the folder under which data sets lie.
        task: the task's YAML file, where the run's command line does not name it any more.

    Raises:
        UsageError: when the data is not there, or is other data than the run's.
    """
    name, words = document["task"]["name"], document["argv"]
    definition = load_task(task or _own_file(words) or name)
    source = definition.source(data_root, seed=document["seed"], overrides=_overrides(words))
    if source.digest() != document["task"]["digest"]:
        raise UsageError(
            f"The data of {name} here is not what the run was played on; give its folder with --data-root."
        )
    return source


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
        UsageError: when an image is missing.
    """
    known = {sample.id: sample for sample in source.samples()}
    numbers: dict[str, int] = {}
    first: list[Sample] = []
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
    """The files of each sample's image, in order; some are made ahead, on all cores."""
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
    return _encoded(_within(full, THUMBNAIL), "WEBP", quality=78, method=1), _encoded(full, "JPEG", quality=88)


def _within(image: Image, side: int) -> Image:
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(image: Image, format: str, **parameters: int) -> bytes:
    data = io.BytesIO()
    Pillow.fromarray(image).save(data, format, **parameters)
    return data.getvalue()


def _own_file(words: Sequence[str]) -> str | None:
    """The task's YAML file on a command line; None where it names one of ours.

    Raises:
        UsageError: when there is no such file.
    """
    named = [word for before, word in pairwise(words) if before == "--task"]
    own = [word for word in named if word.endswith((".yaml", ".yml"))]
    if len(own) != 1 or len(named) != 1:
        return None
    if not Path(own[0]).exists():
        raise UsageError(f"The run's task file {own[0]} is not there; give it with --task.")
    return own[0]


def _overrides(words: Sequence[str]) -> dict[str, Any]:
    """The settings of the data on a command line."""
    given = [word for before, word in pairwise(words) if before == "--set"]
    pairs = [word.removeprefix("data.").partition("=") for word in given if word.startswith("data.")]
    return {key: scalar(value) for key, _, value in pairs}
