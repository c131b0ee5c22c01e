"""Keeps the images of evaluation splits out of training data: found by COCO's number, by file name and by pixels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Source
from hlmat_bench.core.types import Image
from hlmat_bench.data.overlap import Hash, ImageIndex, SharedImage, coco_id, images_of, perceptual_hash
from hlmat_bench.data.tasks import groups, load_task

GROUPS = ("res", "hres", "hres_extra", "reason", "gres")
"""The groups of the tasks whose images are protected: refCOCO/+/g val and test, DIS-VD and DIS-TE, ThinObject-5K test,
COIFT, HRSOD, ReasonSeg val and test, gRefCOCO val and test."""


@dataclass(frozen=True, slots=True)
class ProtectedTask:
    """A task whose images must not be trained on.

    Attributes:
        name: the task's name.
        index: its images.
        hashed: some of them are compared by what they look like, too.
        unreadable: how many of them could not be read, and are compared by their names alone.
    """

    name: str
    index: ImageIndex
    hashed: bool = True
    unreadable: int = 0


@dataclass
class Guard:
    """Looks for images among those of protected tasks.

    Attributes:
        tasks: the protected tasks whose data are there.
        absent: the protected tasks whose data are not, by name, with what is missing.
        partly: the protected tasks of which only a part is there, by name, with how much.
        pixels: also compare what images look like.
        found: the images that were found, by name, with the task that has them.
    """

    tasks: Sequence[ProtectedTask] = ()
    absent: dict[str, str] = field(default_factory=dict)
    partly: dict[str, str] = field(default_factory=dict)
    pixels: bool = True
    found: dict[str, tuple[str, SharedImage]] = field(default_factory=dict)
    _verdicts: dict[tuple[str, str], bool] = field(default_factory=dict)

    def allows(self, where: str, sample: Sample, image: Callable[[], Image]) -> bool:
        """Tell whether no protected task has an image; what is found is kept in `found`.

        Args:
            where: the task of the sample.
            sample: a sample of the image.
            image: reads the image, uint8 (H, W, 3) RGB; called at most once per image.
        """
        key = (where, sample.image_id)
        if key not in self._verdicts:
            match = self._find(sample, image)
            if match is not None:
                self.found[f"{where}: {sample.image}"] = match
            self._verdicts[key] = match is None
        return self._verdicts[key]

    def describe(self) -> dict[str, Any]:
        """Return what an export's manifest says of the comparison."""
        dropped = [
            {"image": name, "task": task, "other": same.other, "found_by": same.why}
            for name, (task, same) in self.found.items()
        ]
        unreadable = {task.name: task.unreadable for task in self.tasks if task.unreadable}
        return {
            "compared": [task.name for task in self.tasks],
            "not_compared": self.absent,
            "compared_in_part": self.partly,
            "unreadable": unreadable,
            "pixels": self.pixels,
            "images": dropped,
        }

    def _find(self, sample: Sample, image: Callable[[], Image]) -> tuple[str, SharedImage] | None:
        for hashed in self._hashes(image):
            for task in self.tasks:
                if (same := task.index.find(sample, hashed)) is not None:
                    return task.name, same
        return None

    def _hashes(self, image: Callable[[], Image]) -> Iterator[Hash | None]:
        """Give None, for a comparison by name, and then the image's hash."""
        yield None
        if any(task.hashed for task in self.tasks):
            yield perceptual_hash(image())


def open_guard(
    data_root: str | os.PathLike[str] | None,
    *,
    pixels: bool = True,
    names: Sequence[str] | None = None,
    among_coco: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Guard:
    """Read the images of the protected tasks whose data are there.

    Args:
        data_root: the folder that holds the data sets; None: HLMAT_DATA.
        pixels: also compare what images look like, for which all are read; else names alone.
        names: the protected tasks; None: those of `GROUPS`.
        among_coco: all images that will be looked for are COCO's by their names: numbers tell them from other images
            of COCO, so that these need not be read.
        progress: called with (images read, images in total).
    """
    there, absent, partly = dict[str, Source](), dict[str, str](), dict[str, str]()
    for name in protected_names() if names is None else names:
        task = load_task(name)
        lacking = task.missing(data_root)
        try:
            if lacking is None:
                source = there[task.name] = task.source(data_root)
                samples, expected = len(source.samples()), task.expected.expressions
                if expected is not None and samples < expected:
                    partly[task.name] = f"{samples:,} of {expected:,} samples"
            else:
                absent[task.name] = lacking
        except UsageError as error:
            absent[task.name] = str(error)
    total = sum(len(images_of(source)) for source in there.values())
    hasher = _Hasher(total, pixels, among_coco, progress)
    return Guard([hasher.read(name, source) for name, source in there.items()], absent, partly, pixels)


def protected_names() -> list[str]:
    """Return the names of the tasks of `GROUPS`."""
    known = groups()
    return [name for group in GROUPS for name in known.get(group, ())]


class _Hasher:
    """Hashes the images of tasks. Those of COCO are hashed once: several tasks have the same.

    Args:
        total: how many images there are.
        pixels: whether images are hashed at all.
        among_coco: whether those of COCO are not.
        progress: see `open_guard`.
    """

    def __init__(self, total: int, pixels: bool, among_coco: bool, progress: Callable[[int, int], None] | None) -> None:
        self._total, self._pixels, self._among_coco, self._progress = total, pixels, among_coco, progress
        self._done = 0
        self._known: dict[int, Hash] = {}

    def read(self, name: str, source: Source) -> ProtectedTask:
        """Return a task with the index of its images."""
        hashed, unreadable = [], 0
        for sample in images_of(source):
            try:
                hashed.append((sample, self._hash(source, sample)))
            except UsageError:  # a subset of a data set still protects what it names
                hashed.append((sample, None))
                unreadable += 1
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
        some = any(found is not None for _, found in hashed)
        return ProtectedTask(name, ImageIndex(hashed), some, unreadable)

    def _hash(self, source: Source, sample: Sample) -> Hash | None:
        if not self._pixels:
            return None
        number = coco_id(sample.image)
        if number is not None and self._among_coco:
            return None
        if number is not None and number in self._known:
            return self._known[number]
        found = perceptual_hash(source.image(sample))
        if number is not None:
            self._known[number] = found
        return found
