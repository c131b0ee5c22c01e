"""The layout ``jsonl``: a file with a JSON object a line, each with an image, an expression and a segmentation.

The defaults are the fields of GSEval (https://github.com/hustvl/GroundingSuite, GroundingSuite-Eval.jsonl at ff3ea30):
``{"idx", "image_path", "class_id", "label", "caption", "box", "segmentation": {"size", "counts"}}``. A file that ends
in .json holds a list of such objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.data_root import DataRoot, inside
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.json_csv import UniqueIds, parse_json, read_json, read_text, take, take_id, take_texts
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.masks import Segmentation
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated


class JsonLinesSettings(FileSettings):
    """The settings of this layout."""

    annotations: DataPath = Field(description="The file with a JSON object a line, or, as .json, a list of objects.")
    images: DataPath = Field(description="The folder of the images.")
    prefix: str = Field(
        "", description="What the names of images begin with that is not part of the path under the folder of images."
    )
    id: str = Field("idx", description="The field that holds the object's id.")
    image: str = Field("image_path", description="The field that holds the name of the image.")
    expression: str = Field("caption", description="The field that holds the expression or a list of them.")
    segmentation: str = Field(
        "segmentation",
        description="The field that holds an RLE, or polygons if height and width are fields as well.",
    )
    tags: dict[str, str] = Field(
        default_factory=dict, description="The tags by which scores are grouped: the fields that hold them, by name."
    )
    tag_names: dict[str, str] = Field(
        default_factory=dict, description="The words that replace values of tags, by value."
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.annotations, self.images]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        path, images = place.file(self.annotations), place.folder(self.images)
        return FileSource(place, self._samples(path, images, place.task), self, self.expression)

    def _samples(self, path: Path, images: Path, task: str) -> Iterator[Sample | LeftOut]:
        seen = UniqueIds(f"objects of {path}")
        for where, record in _records(path):
            ident = take_id(record, self.id, where)
            seen.add(ident)
            try:
                yield from self._of(record, f"The object {ident} of {path.name}", images, f"{task}/{ident}")
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(self, record: Any, where: str, images: Path, ident: str) -> Iterator[Sample]:
        name = take(record, self.image, str, where)
        segmentation = record.get(self.segmentation)
        if not segmentation:
            raise Unannotated(f"{where} has no {self.segmentation!r}; add one or remove the object.")
        shape = Segmentation.pack({"segmentation": segmentation}, _size_of(record, segmentation, where))
        key = Pixels(inside(images, name.removeprefix(self.prefix), where), shape)
        tags = {tag: self._tag(record, field, where) for tag, field in self.tags.items()}
        for number, expression in enumerate(take_texts(record, self.expression, where)):
            yield Sample(f"{ident}/{number}", name, name, expression, str(record[self.id]), tags, key)

    def _tag(self, record: Any, field: str, where: str) -> str:
        value = str(take_id(record, field, where))
        return self.tag_names.get(value, value)


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Give the objects of a file, with their names in error messages."""
    if path.suffix.lower() == ".json":
        found = read_json(path)
        if not isinstance(found, list):
            raise BadAnnotation(f"{path} should hold a list of objects; one object a line needs the suffix .jsonl.")
        yield from ((f"Object {number} of {path}", record) for number, record in enumerate(found))
        return
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"Line {number} of {path}", parse_json(line, f"Line {number} of {path}")


def _size_of(record: Mapping[str, Any], segmentation: Any, where: str) -> Size:
    """Return the (height, width) of an RLE, or of the record's own fields."""
    if isinstance(segmentation, dict):
        size = take(segmentation, "size", list, f"The segmentation of {where}")
        if len(size) == 2 and all(type(side) is int for side in size):
            return size[0], size[1]
        raise BadAnnotation(f"{where} has an RLE whose size is not [height, width]; correct it.")
    return take(record, "height", int, where), take(record, "width", int, where)


LAYOUTS = {"jsonl": JsonLinesSettings}
