"""The layout ``segagent``: SegAgent's evaluation files (https://github.com/aim-uofa/SegAgent, ``evaltools``).

``{"data": [{"image_name", "height", "width", "gt_ann": {"caption", "segmentation"}}]}``. All captions are samples, of
images with any suffix. An integer name is a COCO image id. A name without a dot is that of a JPEG file, without its
suffix. Where a list of captions begins with ``Unknown``, the expression is taken from the image's file name, without
the two digits and ``.jpg`` at its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any

from pydantic import Field, field_validator

from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.data_root import DataRoot, inside
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.json_csv import read_json, take, take_id, take_texts
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.masks import Segmentation
from hlmat_bench.data.layouts.problems import Unannotated

_UNKNOWN = "Unknown"
_WIDTH = re.compile(r"(?:0?\d{1,2})?d?")
_NUMBER_AND_SUFFIX = len("00.jpg")


class SegAgentSettings(FileSettings):
    """The settings of this layout."""

    annotations: DataPath = Field(description="The JSON file of the annotations.")
    images: DataPath = Field(description="The folder that the names of images start from.")
    coco_name: str = Field(
        "mscoco/images/train2014/COCO_train2014_{id:012d}.jpg",
        description="The name of an image that is given as an integer, with the fields {id} and, for data sets with a "
        "folder per thousand images, {thousand}.",
    )

    @field_validator("coco_name")
    @classmethod
    def _formats(cls, value: str) -> str:
        try:
            fields = [part[1:] for part in Formatter().parse(value) if part[1] is not None]
        except ValueError as error:
            raise ValueError(f"it is not a format string of {{id}} and {{thousand}} ({error})") from error
        for name, width, conversion in fields:
            if name not in ("id", "thousand") or conversion or not _WIDTH.fullmatch(width or ""):
                raise ValueError(
                    "its fields are {id} and {thousand}, with up to two digits of width, such as {id:012d}"
                )
        return value

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.annotations, self.images]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        annotations, images = place.file(self.annotations), place.folder(self.images)
        return FileSource(place, self._samples(annotations, images, place.task), self, "caption")

    def _samples(self, path: Path, images: Path, task: str) -> Iterator[Sample | LeftOut]:
        for number, item in enumerate(take(read_json(path), "data", list, str(path))):
            try:
                yield from self._of(number, item, f"Entry {number} of {path}", images, task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(self, number: int, item: Any, where: str, images: Path, task: str) -> Iterator[Sample | LeftOut]:
        name = self._image_name(item, where)
        truth = take(item, "gt_ann", dict, where)
        size = (take(item, "height", int, where), take(item, "width", int, where))
        if truth.get("iscrowd") and "crowd" in self.kinds_left_out():
            yield LeftOut("crowd")
            return
        if not truth.get("segmentation"):
            raise Unannotated(f"{where} has no segmentation; add one or remove the entry.")
        key = Pixels(inside(images, name, where), Segmentation.pack(truth, size))
        for count, caption in enumerate(_captions(truth, name, where)):
            yield Sample(f"{task}/{number}/{count}", name, name, caption, str(number), key=key)

    def _image_name(self, item: Any, where: str) -> str:
        name = take_id(item, "image_name", where)
        if isinstance(name, int):
            return self.coco_name.format(id=name, thousand=name // 1000)
        return name if "." in name else f"{name}.jpg"


def _captions(truth: dict[str, Any], name: str, where: str) -> list[str]:
    captions = take_texts(truth, "caption", where)
    if isinstance(truth["caption"], list) and captions[0] == _UNKNOWN:
        return [name[:-_NUMBER_AND_SUFFIX]]
    return captions


LAYOUTS = {"segagent": SegAgentSettings}
