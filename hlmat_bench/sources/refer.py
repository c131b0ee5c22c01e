"""The layout of refCOCO, refCOCO+ and refCOCOg (https://github.com/lichengunc/refer).

A list of references, as a pickle or JSON, names an object by the id of an annotation in COCO's ``instances.json``.
The field ``file_name`` of a reference is not that of the image; the image is found by its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from hlmat_bench import unpickle
from hlmat_bench.samples import Sample
from hlmat_bench.sources.files import DataPath, FileSettings, FileSource, Pixels
from hlmat_bench.sources.instances import Id, Instances
from hlmat_bench.sources.place import Place
from hlmat_bench.sources.problems import BadAnnotation
from hlmat_bench.sources.reading import read_json, take, take_id


class ReferSettings(FileSettings):
    """The settings of this layout.

    Attributes:
        refs: the references: ``refs(unc).p``, or the same as ``.json``.
        instances: the annotations, in COCO's format.
        images: the folder of the images.
        split: which references: ``val``, ``testA``, ...
        sentence: ``sent`` is the cleaned sentence, ``raw`` what the annotator wrote.
    """

    kind: Literal["refer"]
    refs: DataPath
    instances: DataPath
    images: DataPath
    split: str
    sentence: Literal["sent", "raw"] = "sent"

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.refs, self.instances, self.images]

    def open(self, place: Place) -> FileSource:
        """See `SourceSettings.open`."""
        refs, instances, images = (place.existing(name) for name in self.needed())
        chosen = _of_split(refs, self.split)
        samples = self._samples(chosen, refs.name, Instances(instances, images), place.task)
        return FileSource(place, samples, self, self.sentence)

    def _samples(self, refs: Sequence[Any], file: str, instances: Instances, task: str) -> Iterator[Sample]:
        wanted = {take_id(ref, "ann_id", f"A reference of {file}") for ref in refs}
        objects = {ident: item for ident, item in instances.annotations() if ident in wanted}
        for ref in refs:
            ref_id = str(take_id(ref, "ref_id", f"A reference of {file}"))
            where = f"The reference {ref_id} of {file}"
            image_id, image = instances.image_of(ref, where)
            item = _object_of(ref, objects, where)
            key = Pixels(image.path, instances.shape(item, f"The annotation {ref['ann_id']}"))
            for number, sentence in enumerate(take(ref, "sentences", list, where)):
                yield Sample(
                    id=f"{task}/{ref_id}/{number}",
                    image=image.name,
                    image_id=str(image_id),
                    expression=take(sentence, self.sentence, str, f"{where}, sentence {number},"),
                    ref_id=ref_id,
                    key=key,
                )


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
    """The annotation that a reference names; it must be of the same image."""
    item = objects.get(ref["ann_id"])
    if item is None or item.get("image_id") != ref["image_id"]:
        raise BadAnnotation(
            f"{where} names the annotation {ref['ann_id']}, which the instances do not hold for its image; "
            "get both files again."
        )
    return item
