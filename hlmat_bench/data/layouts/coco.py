"""The layout ``coco``: a COCO-style annotation file in which every annotation has a segmentation and an expression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.coco_file import Id, Instances
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.json_csv import take_id, take_texts
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_CATEGORY = "category"


class CocoSettings(FileSettings):
    """The settings of this layout. Annotations of crowds (``iscrowd``) are regions, not objects, and never samples."""

    annotations: DataPath = Field(description="The JSON file of the annotations.")
    images: DataPath = Field(description="The folder of the images.")
    field: str = Field(
        "caption",
        description="The annotation's field that holds the expression or a list of them; category: the name of its "
        "category.",
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.annotations, self.images]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        instances = Instances(place.file(self.annotations), place.folder(self.images))
        return FileSource(place, self._samples(instances, place.task), self, self.field)

    def _samples(self, instances: Instances, task: str) -> Iterator[Sample | LeftOut]:
        categories = instances.categories() if self.field == _CATEGORY else {}
        for ident, item in instances.annotations():
            if item.get("iscrowd"):
                yield LeftOut("crowd")
                continue
            try:
                yield from self._of(ident, item, instances, categories, task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(self, ident: Id, item: Any, instances: Instances, categories: dict[Id, str], task: str) -> Iterator[Sample]:
        where = f"The annotation {ident}"
        image_id, image = instances.image_of(item, where)
        key = Pixels(image.path, instances.shape(item, where))
        for number, expression in enumerate(self._expressions(item, categories, where)):
            yield Sample(f"{task}/{ident}/{number}", image.name, str(image_id), expression, str(ident), key=key)

    def _expressions(self, item: Any, categories: dict[Id, str], where: str) -> list[str]:
        if self.field != _CATEGORY:
            return take_texts(item, self.field, where)
        category = take_id(item, "category_id", where)
        if category not in categories:
            raise BadAnnotation(f"{where} has the category {category}, which the file does not list; add it.")
        return [categories[category]]


LAYOUTS = {"coco": CocoSettings}
