"""The layout ``grefcoco``, of gRefCOCO (https://github.com/henghuiding/gRefCOCO, grefer.py at 41a8f00).

It is the layout ``refer``, except that ``ann_id`` of a reference is a list, and that ``[-1]`` stands for nothing: the
expression refers to no object of the image. Several annotations are one ground truth, their union, without those of
crowds. A reference without a sentence is no sample: the published file has some, and its authors advise to skip them
(https://github.com/henghuiding/gRefCOCO/issues/8).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from hlmat_bench.data.layouts.coco_file import Id, Instances, ListedImage
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource
from hlmat_bench.data.layouts.json_csv import take_id
from hlmat_bench.data.layouts.layout_settings import DataPath
from hlmat_bench.data.layouts.problems import BadAnnotation, Doubt
from hlmat_bench.data.layouts.refer import NO_OBJECT, Referent, ReferSettings, of_split
from hlmat_bench.data.layouts.targets import NoObject, Union

_TARGETS = "targets"
"""The tag that says how many objects an expression refers to."""


class GRefCocoSettings(ReferSettings):
    """The settings of this layout."""

    refs: DataPath = Field(description="The file of the references: grefs(unc).json, or its content as a pickle, .p.")

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        path = place.file(self.refs)
        refs = of_split(path, self.split)
        instances = Instances(place.file(self.instances), place.folder(self.images))
        spoken = [ref for ref in refs if ref.get("sentences") != []]
        silent = [
            Doubt("references without a sentence", f"The reference {ref.get('ref_id')} of {path.name} has none.")
            for ref in refs
            if ref.get("sentences") == []
        ]
        return FileSource(place, self.samples(spoken, path.name, instances, place.task), self, self.sentence, silent)

    def targets(self, ref: Any, file: str) -> list[Id]:
        """See `ReferSettings.targets`; no annotation where the reference is to nothing."""
        where = f"The reference {ref.get('ref_id')} of {file}"
        given = ref.get("ann_id")
        named = given if isinstance(given, list) else [given]
        empty = named == [NO_OBJECT]
        if ref.get("no_target") not in (None, empty) or not named or (NO_OBJECT in named and not empty):
            raise BadAnnotation(
                f"{where} should name annotations, or [{NO_OBJECT}] where it refers to no object, in ann_id, and "
                "no_target should agree with it; get the file again."
            )
        return [] if empty else [take_id({"ann_id": ident}, "ann_id", where) for ident in named]

    def referent(self, items: Sequence[Any], image: ListedImage, instances: Instances) -> Referent | None:
        """See `ReferSettings.referent`."""
        if not items:
            return Referent(NoObject(image.size), {_TARGETS: "none"})
        objects = {item["id"]: item for item in items if not item.get("iscrowd")}
        if not objects:
            return None
        shapes = tuple(instances.shape(item, f"The annotation {ident}") for ident, item in objects.items())
        if len(shapes) == 1:
            return Referent(shapes[0], {_TARGETS: "one"})
        return Referent(Union(shapes), {_TARGETS: "several"})


LAYOUTS = {"grefcoco": GRefCocoSettings}
