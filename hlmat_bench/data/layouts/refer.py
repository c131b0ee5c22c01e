"""The layout ``refer``, of refCOCO, refCOCO+ and refCOCOg (https://github.com/lichengunc/refer).

A reference in a list, a pickle or JSON, names an object by the id of an annotation in COCO's ``instances.json``.
The field ``file_name`` of a reference is not the image's file name, so the image is found by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
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
from hlmat_bench.data.layouts.masks import TruthShape
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

NO_OBJECT = -1
"""The annotation of gRefCOCO's references to nothing (https://github.com/henghuiding/gRefCOCO, grefer.py)."""


@dataclass(frozen=True, slots=True)
class Referent:
    """The ground truth of a reference, and the tags of its samples."""

    shape: TruthShape
    tags: Mapping[str, str] = field(default_factory=dict)


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
        chosen = of_split(refs, self.split)
        instances = Instances(place.file(self.instances), place.folder(self.images))
        return FileSource(place, self.samples(chosen, refs.name, instances, place.task), self, self.sentence)

    def samples(self, refs: Sequence[Any], file: str, instances: Instances, task: str) -> Iterator[Sample | LeftOut]:
        """Give a sample for each sentence of the references; ``file`` is the name of their file."""
        named = [self.targets(ref, file) for ref in refs]
        objects = dict(instances.annotations({ident for targets in named for ident in targets}))
        seen = UniqueIds(f"references of {file} in the split {self.split}")
        for ref, targets in zip(refs, named, strict=True):
            ref_id = take_id(ref, "ref_id", f"A reference of {file}")
            seen.add(ref_id)
            where = f"The reference {ref_id} of {file}"
            try:
                image_id, image = instances.image_of(ref, where)
                items = [_object_of(ref, ident, objects, where) for ident in targets]
                found = self.referent(items, image, instances)
                if found is None:
                    yield LeftOut("crowd")
                else:
                    yield from reference_samples(task, ref, where, image_id, image, found, self.sentence)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def targets(self, ref: Any, file: str) -> list[Id]:
        """Return the ids of the annotations that a reference of a file names.

        Raises:
            BadAnnotation: when it does not name them as in this layout.
        """
        named = ref.get("ann_id")
        if isinstance(named, list) or named == NO_OBJECT or ref.get("no_target"):
            raise BadAnnotation(
                f"{file} is in the format of gRefCOCO, in which a reference names no object or several; choose a task "
                "of the group gres, or write kind: grefcoco in your task file."
            )
        return [take_id(ref, "ann_id", f"A reference of {file}")]

    def referent(self, items: Sequence[Any], image: ListedImage, instances: Instances) -> Referent | None:
        """Return the ground truth of a reference to these annotations; None where it is left out as a crowd.

        Raises:
            Unannotated: when an annotation has no segmentation.
        """
        (item,) = items
        if item.get("iscrowd") and "crowd" in self.kinds_left_out():
            return None
        return Referent(instances.shape(item, f"The annotation {item['id']}"))


def reference_samples(
    task: str, ref: Any, where: str, image_id: Id, image: ListedImage, found: Referent, sentence: str
) -> Iterator[Sample]:
    """Yield a sample for each sentence of a reference.

    Args:
        task: the task's name.
        ref: the reference, with its fields ``ref_id`` and ``sentences``.
        where: the name of the reference in messages.
        image_id: the image's id.
        image: its image.
        found: its ground truth.
        sentence: the field of a sentence that is the expression.

    Raises:
        Unannotated: when it has no sentence.
        BadAnnotation: when a field is missing.
    """
    sentences = take(ref, "sentences", list, where)
    if not sentences:
        raise Unannotated(f"{where} has no sentence; add one or remove the reference.")
    key = Pixels(image.path, found.shape)
    for number, item in enumerate(sentences):
        yield Sample(
            id=f"{task}/{ref['ref_id']}/{number}",
            image=image.name,
            image_id=str(image_id),
            expression=take(item, sentence, str, f"{where}, sentence {number},"),
            ref_id=str(ref["ref_id"]),
            tags=found.tags,
            key=key,
        )


def of_split(path: Path, split: str) -> list[Any]:
    """Return the references of a split in a file of references.

    Raises:
        BadAnnotation: when the file is damaged, or has no reference of the split.
    """
    refs = read_json(path) if path.suffix.lower() == ".json" else unpickle.load(path)
    if not isinstance(refs, list):
        raise BadAnnotation(f"{path} should hold a list of references; get the file again.")
    splits = [take(ref, "split", str, f"A reference of {path}") for ref in refs]
    chosen = [ref for ref, name in zip(refs, splits, strict=True) if name == split]
    if not chosen:
        there = ", ".join(sorted(set(splits))) or "none"
        raise BadAnnotation(f"{path} has no references of the split {split!r}; its splits are: {there}.")
    return chosen


def _object_of(ref: Any, ident: Id, objects: Mapping[Id, Any], where: str) -> Any:
    """Return an annotation that a reference names; it must be of the same image."""
    item = objects.get(ident)
    if item is None or item.get("image_id") != ref["image_id"]:
        raise BadAnnotation(
            f"{where} names the annotation {ident}, which the instances do not hold for its image; "
            "get both files again."
        )
    return item


LAYOUTS = {"refer": ReferSettings}
