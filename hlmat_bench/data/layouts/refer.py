"""The layout ``refer``, of refCOCO, refCOCO+ and refCOCOg (https://github.com/lichengunc/refer).

A reference in a list, a pickle or JSON, names an object by the id of an annotation in COCO's ``instances.json``.
The field ``file_name`` of a reference is not the image's file name, so the image is found by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hlmat_bench.core import unpickle
from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.coco_file import Id, Instances, ListedImage
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.json_csv import UniqueIds, read_json, take, take_id
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.masks import Segmentation
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_NO_OBJECT = -1
"""The annotation of gRefCOCO's references to nothing (https://github.com/henghuiding/gRefCOCO, grefer.py)."""


class ReferSettings(FileSettings):
    """The settings of this layout. A reference to a crowd is a sample, as in the published counts."""

    refs: DataPath = Field(description="The file of the references: refs(unc).p, or its content as .json.")
    instances: DataPath = Field(description="The file of the annotations, in COCO's format.")
    images: DataPath = Field(description="The folder of the images.")
    split: str = Field(description="Which references: val, testA, ...")
    sentence: Literal["sent", "raw"] = Field(
        "sent", description="The expression: the cleaned sentence (sent), or what the annotator wrote (raw)."
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.refs, self.instances, self.images]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        refs = place.file(self.refs)
        chosen = _of_split(refs, self.split)
        instances = Instances(place.file(self.instances), place.folder(self.images))
        return FileSource(place, self._samples(chosen, refs.name, instances, place.task), self, self.sentence)

    def _samples(self, refs: Sequence[Any], file: str, instances: Instances, task: str) -> Iterator[Sample | LeftOut]:
        wanted = {_annotation_of(ref, file) for ref in refs}
        objects = dict(instances.annotations(wanted))
        seen = UniqueIds(f"references of {file} in the split {self.split}")
        for ref in refs:
            ref_id = take_id(ref, "ref_id", f"A reference of {file}")
            seen.add(ref_id)
            try:
                yield from self._of(ref, f"The reference {ref_id} of {file}", objects, instances, task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(
        self, ref: Any, where: str, objects: dict[Id, Any], instances: Instances, task: str
    ) -> Iterator[Sample | LeftOut]:
        image_id, image = instances.image_of(ref, where)
        item = _object_of(ref, objects, where)
        if item.get("iscrowd") and "crowd" in self.kinds_left_out():
            yield LeftOut("crowd")
            return
        shape = instances.shape(item, f"The annotation {ref['ann_id']}")
        yield from reference_samples(task, ref, where, image_id, image, shape, self.sentence)


def reference_samples(
    task: str, ref: Any, where: str, image_id: Id, image: ListedImage, shape: Segmentation, sentence: str
) -> Iterator[Sample]:
    """Yield a sample for each sentence of a reference.

    Args:
        task: the task's name.
        ref: the reference, with its fields ``ref_id`` and ``sentences``.
        where: the name of the reference in messages.
        image_id: the image's id.
        image: its image.
        shape: its ground truth.
        sentence: the field of a sentence that is the expression.

    Raises:
        Unannotated: when it has no sentence.
        BadAnnotation: when a field is missing.
    """
    sentences = take(ref, "sentences", list, where)
    if not sentences:
        raise Unannotated(f"{where} has no sentence; add one or remove the reference.")
    key = Pixels(image.path, shape)
    for number, item in enumerate(sentences):
        yield Sample(
            id=f"{task}/{ref['ref_id']}/{number}",
            image=image.name,
            image_id=str(image_id),
            expression=take(item, sentence, str, f"{where}, sentence {number},"),
            ref_id=str(ref["ref_id"]),
            key=key,
        )


def _annotation_of(ref: Any, file: str) -> Id:
    """Return the id of the annotation that a reference names."""
    named = ref.get("ann_id")
    if isinstance(named, list) or named == _NO_OBJECT or ref.get("no_target"):
        raise BadAnnotation(
            f"{file} is in the format of gRefCOCO, in which a reference names no object or several; gRefCOCO is not "
            "read by this layout yet, so choose another data set or leave these references out of the file."
        )
    return take_id(ref, "ann_id", f"A reference of {file}")


def _of_split(path: Path, split: str) -> list[Any]:
    refs = read_json(path) if path.suffix.lower() == ".json" else unpickle.load(path)
    if not isinstance(refs, list):
        raise BadAnnotation(f"{path} should hold a list of references; get the file again.")
    splits = [take(ref, "split", str, f"A reference of {path}") for ref in refs]
    chosen = [ref for ref, name in zip(refs, splits, strict=True) if name == split]
    if not chosen:
        there = ", ".join(sorted(set(splits))) or "none"
        raise BadAnnotation(f"{path} has no references of the split {split!r}; its splits are: {there}.")
    return chosen


def _object_of(ref: Any, objects: dict[Id, Any], where: str) -> Any:
    """Return the annotation that a reference names; it must be of the same image."""
    item = objects.get(ref["ann_id"])
    if item is None or item.get("image_id") != ref["image_id"]:
        raise BadAnnotation(
            f"{where} names the annotation {ref['ann_id']}, which the instances do not hold for its image; "
            "get both files again."
        )
    return item


LAYOUTS = {"refer": ReferSettings}
