"""SegAgent's evaluation files (https://github.com/aim-uofa/SegAgent, ``evaltools``).

``{"data": [{"image_name", "height", "width", "gt_ann": {"caption", "segmentation"}}]}``. Every caption is a sample,
whatever the image's suffix and however many there are. An integer name is a COCO image id. A name without a dot is
that of a JPEG file. A list of captions that begins with ``Unknown`` stands for the object that the file is named
after: its name without two digits and ``.jpg``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from hlmat_bench.samples import Sample
from hlmat_bench.sources.files import DataPath, FileSettings, FileSource, Pixels
from hlmat_bench.sources.place import Place, inside
from hlmat_bench.sources.problems import BadAnnotation
from hlmat_bench.sources.reading import read_json, take, take_id, take_texts
from hlmat_bench.sources.shapes import Segmentation

_UNKNOWN = "Unknown"
_NUMBER_AND_SUFFIX = len("00.jpg")


class SegAgentSettings(FileSettings):
    """The settings of this layout.

    Attributes:
        annotations: the JSON file.
        images: the folder that image names start from.
        coco_name: the name of an image that is given as an integer: a format string with ``{id}`` and, for data
            sets with a folder per thousand images, ``{thousand}``.
    """

    kind: Literal["segagent"]
    annotations: DataPath
    images: DataPath
    coco_name: str = "mscoco/images/train2014/COCO_train2014_{id:012d}.jpg"

    @field_validator("coco_name")
    @classmethod
    def _formats(cls, value: str) -> str:
        try:
            value.format(id=1, thousand=0)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"it is no format string of {{id}} and {{thousand}} ({error})") from error
        return value

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.annotations, self.images]

    def open(self, place: Place) -> FileSource:
        """See `SourceSettings.open`."""
        annotations, images = (place.existing(name) for name in self.needed())
        return FileSource(place, self._samples(annotations, images, place.task), self, "caption")

    def _samples(self, path: Path, images: Path, task: str) -> Iterator[Sample]:
        for number, item in enumerate(take(read_json(path), "data", list, str(path))):
            where = f"Entry {number} of {path}"
            name = self._image_name(item, where)
            truth = take(item, "gt_ann", dict, where)
            size = (take(item, "height", int, where), take(item, "width", int, where))
            if not truth.get("segmentation"):
                raise BadAnnotation(f"{where} has no segmentation; add one or remove the entry.")
            key = Pixels(inside(images, name, where), Segmentation.pack(truth["segmentation"], size))
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
