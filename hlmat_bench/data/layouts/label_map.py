"""The layout ``label_map``: for each image a file whose values tell its objects apart; each object is a sample.

Two data sets of interactive segmentation have it, and are read as RITM evaluates on them
(https://github.com/SamsungLabs/ritm_interactive_segmentation at b9b4460, isegm/data/datasets/{sbd,pascalvoc}.py):

- SBD: MATLAB files with the struct ``GTinst``, whose field ``Segmentation`` is the map. Every value but 0 is an object,
  and nothing is ignored.
- PASCAL VOC: PNG files with a palette, whose indices are the map; 255, the seam around objects ("void"), is ignored.
  RITM compares gray values of the palette's colours instead, in which void is 220. Sixteen and more objects of an
  image are not all told apart by them: 1 and 16, 3 and 18, 6 and 21, 9 and 24 have the same gray.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.data_root import DataRoot, inside
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.image_files import AS_USUAL, ReadSettings, read_indices
from hlmat_bench.data.layouts.json_csv import read_text
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.masks import check_fits, fitted
from hlmat_bench.data.layouts.matlab import read_matrix
from hlmat_bench.data.layouts.problems import DataProblem, MissingFile, Unreadable

MOST_OBJECTS = 4096
"""The most objects of an image: more different values are those of a picture."""
_BACKGROUND = 0
_COUNTED = 2**16


class LabelMapSettings(FileSettings):
    """The settings of this layout."""

    names: DataPath = Field(description="A text file with the name of an image on each line, without its suffix.")
    images: DataPath = Field(description="The folder of the images.")
    labels: DataPath = Field(description="The folder of the label maps, which have the names of their images.")
    image_suffix: str = Field(".jpg", description="How image files end.")
    label_suffix: str = Field(
        ".png",
        description="How label maps end. .mat: MATLAB files with the matrix GTinst.Segmentation, as SBD has; else "
        "images whose palette indices or gray values are the map.",
    )
    ignore_value: int | None = Field(
        None, ge=0, le=2**31, description="The value of pixels that no score counts; PASCAL VOC's is 255."
    )
    expression: str = Field("the object", description="The expression of every object.")

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.names, self.images, self.labels]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`; each label map is read once, to find its objects: all 2857 of SBD take 3 s."""
        return FileSource(place, self._samples(place), self, "expression")

    def _samples(self, place: DataRoot) -> Iterator[Sample | LeftOut]:
        names, images, labels = place.file(self.names), place.folder(self.images), place.folder(self.labels)
        for name in filter(None, map(str.strip, read_text(names).splitlines())):
            image = inside(images, name + self.image_suffix, names.name)
            path = inside(labels, name + self.label_suffix, names.name)
            try:
                found = self._objects(path, place, name)
            except DataProblem as error:
                yield LeftOut("missing" if isinstance(error, MissingFile) else "unreadable", error)
                continue
            for shape in found:
                part = f"{name}/{shape.value}"
                key = Pixels(image, shape)
                yield Sample(f"{place.task}/{part}", image.name, name, self.expression, part, key=key)

    def _objects(self, path: Path, place: DataRoot, name: str) -> list[LabelledObject]:
        if not is_file(path):
            raise place.missing(path, f"{place.task}/{name}")
        labels = read_labels(path, self.reading())
        height, width = labels.shape
        values = [value for value in _values(labels) if value not in (_BACKGROUND, self.ignore_value)]
        if len(values) > MOST_OBJECTS:
            raise Unreadable(f"{path} has {len(values):,} different values: it is a picture, and no label map.")
        return [LabelledObject(path, (height, width), value, self.ignore_value) for value in values]


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """A ground truth: the pixels of one value of a label map; see `TruthShape`.

    Attributes:
        path: the file of the label map.
        size: its (height, width), as it was when the samples were listed.
        value: the value of the object.
        ignore: the value of pixels that no score counts; None where there are none.
    """

    path: Path
    size: Size
    value: int
    ignore: int | None = None

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        labels = read_labels(self.path, how)
        mask = fitted(labels == self.value, size, where, how)
        ignored = None if self.ignore is None else labels == self.ignore
        return Truth(mask, fitted(ignored, size, where, how) if ignored is not None and ignored.any() else None)

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`."""
        check_fits(self.size, size, where, how)

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return f"{self.value} {self.ignore}".encode()

    def files(self) -> tuple[Path, ...]:
        """Return the file of the label map."""
        return (self.path,)


def _values(labels: NDArray[Any]) -> list[int]:
    """Return the different values of a label map. To count takes half the time of sorting, but needs memory."""
    found = np.flatnonzero(np.bincount(labels.ravel("K"))) if labels.max() < _COUNTED else np.unique(labels)
    return [int(value) for value in found]


def read_labels(path: Path, how: ReadSettings = AS_USUAL) -> NDArray[Any]:
    """Return the values of a label map, integers of 0 and more, (H, W).

    Raises:
        Unreadable: when the file is damaged, or holds other numbers.
    """
    if path.suffix.lower() != ".mat":
        return read_indices(path, how)
    labels = read_matrix(path, "GTinst", "Segmentation", how.max_pixels)
    whole = labels.dtype.kind != "f" or (np.isfinite(labels) & (labels == np.rint(labels))).all()
    if not whole or labels.min() < 0:
        raise Unreadable(f"The label map {path} has values that are not integers of 0 and more; get the file again.")
    return labels.astype(np.int64) if labels.dtype.kind == "f" or labels.dtype.itemsize > 4 else labels


LAYOUTS = {"label_map": LabelMapSettings}
