"""The layout ``reasonseg``, of ReasonSeg (https://github.com/dvlab-research/LISA, utils/data_processing.py at 3cb2d43).

A folder has an annotation file X.json for each image X.jpg: ``text``, a list of expressions; ``is_sentence``, whether
they are sentences (long queries) or phrases (short ones); and ``shapes``, polygons with labels. A shape with the label
``flag`` (in any case) is not used, one whose label contains ``ignore`` (in any case) covers pixels that no score
counts, and all others are the object. Shapes are painted from the largest to the smallest, each with its outline, so
that small ones lie on top. Some of the files are not UTF-8 but cp1252.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Sample, Truth
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.data_root import DataRoot
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut, Pixels
from hlmat_bench.data.layouts.image_files import AS_USUAL, ReadSettings
from hlmat_bench.data.layouts.json_csv import parse_json, take, take_texts
from hlmat_bench.data.layouts.layout_settings import DataPath, FileSettings
from hlmat_bench.data.layouts.masks import check_polygon, is_number
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_IMAGE, _ANNOTATION = ".jpg", ".json"
_UNUSED, _IGNORED = "flag", "ignore"
_QUERY = "query"
"""The tag that says whether the expressions are phrases (short) or sentences (long)."""


class ReasonSegSettings(FileSettings):
    """The settings of this layout."""

    folder: DataPath = Field(description="The folder of the images X.jpg and their annotations X.json.")
    texts: Literal["all", "first"] = Field(
        "all", description="Which of an image's expressions are samples; LISA's evaluation takes the first."
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.folder]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        return FileSource(place, self._samples(place.folder(self.folder), place.task), self, "text")

    def _samples(self, folder: Path, task: str) -> Iterator[Sample | LeftOut]:
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        for stem in sorted({path.stem for path in files if path.suffix in (_IMAGE, _ANNOTATION)}):
            try:
                yield from self._of(folder / f"{stem}{_IMAGE}", folder / f"{stem}{_ANNOTATION}", task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def _of(self, image: Path, annotation: Path, task: str) -> Iterator[Sample]:
        if not plain_files.is_file(annotation):
            raise Unannotated(f"{image} has no annotation file {annotation.name}; get it, or remove the image.")
        record, where = parse_json(_text_of(annotation), str(annotation)), str(annotation)
        texts = take_texts(record, "text", where)
        if not isinstance(record.get("is_sentence"), bool):
            raise BadAnnotation(f"{where} should have true or false 'is_sentence'; correct the annotation.")
        tags = {_QUERY: "long" if record["is_sentence"] else "short"}
        key = Pixels(image, Painting.pack(take(record, "shapes", list, where), where))
        for number, text in enumerate(texts if self.texts == "all" else texts[:1]):
            yield Sample(f"{task}/{image.stem}/{number}", image.name, image.name, text.strip(), image.stem, tags, key)


def _text_of(path: Path) -> str:
    """Return the text of a file in UTF-8, or else in cp1252."""
    try:
        data = plain_files.read_bytes(path)
        plain_files.check_format(data, str(path))
    except UsageError as error:
        raise BadAnnotation(str(error)) from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise BadAnnotation(f"{path} is text neither in UTF-8 nor in cp1252; get the file again.")


@dataclass(frozen=True, slots=True)
class Painting:
    """The shapes of an annotation file, which are painted when the size of the image is known; see `TruthShape`.

    Attributes:
        packed: a JSON list of ``[ignored, [x0, y0, x1, y1, ...]]`` in the order of the file, in pixels, as compact
            UTF-8 text.
    """

    packed: bytes

    @classmethod
    def pack(cls, shapes: list[Any], where: str) -> Painting:
        """Pack the field ``shapes`` of an annotation file.

        Raises:
            BadAnnotation: when one of them has no label or no points.
        """
        used = []
        for number, shape in enumerate(shapes):
            label = take(shape, "label", str, f"Shape {number} of {where}").lower()
            if label != _UNUSED:
                points = take(shape, "points", list, f"Shape {number} of {where}")
                used.append([_IGNORED in label, _flat(points, f"Shape {number} of {where}")])
        return cls(json.dumps(used, separators=(",", ":")).encode())

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        shapes = [(ignored, _points(polygon, size, where)) for ignored, polygon in json.loads(self.packed)]
        areas = [int(_painted(np.zeros(size, np.uint8), points, 1).sum()) for _, points in shapes]
        values = np.zeros(size, np.uint8)
        # LISA reverses np.argsort(areas): of two of one area, the first in the file is on top. That sort is not stable
        # on every processor (numpy has several), so LISA's masks of such shapes differ between machines; these do not.
        for place in np.argsort(areas, kind="stable")[::-1]:
            ignored, points = shapes[place]
            _painted(values, points, 2 if ignored else 1)
        hidden = values == 2
        return Truth(values == 1, hidden if hidden.any() else None)

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """Do nothing: the annotation does not say the size of its image."""

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        return self.packed

    def files(self) -> tuple[Path, ...]:
        """Return no file, because the annotation files are read when the source is opened."""
        return ()


def _flat(points: list[Any], where: str) -> list[Any]:
    """Return points [[x, y], ...] as [x, y, ...], after a check of their form."""
    if not points or not all(
        isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points
    ):
        raise BadAnnotation(f"{where} should have a list of points [x, y]; correct the annotation.")
    return [number for point in points for number in point]


def _points(polygon: list[Any], size: Size, where: str) -> NDArray[np.int32]:
    """Return a polygon as points, int32 (points, 2), x before y; fractions are cut off, as LISA does."""
    check_polygon(polygon, size, where)
    return np.array(polygon).astype(np.int32).reshape(-1, 2)


def _painted(values: NDArray[np.uint8], points: NDArray[np.int32], value: int) -> NDArray[np.uint8]:
    """Paint a polygon and its outline, one pixel wide, into an array (H, W), and return it."""
    import cv2

    cv2.polylines(values, [points], isClosed=True, color=value, thickness=1)
    cv2.fillPoly(values, [points], color=value)
    return values


LAYOUTS = {"reasonseg": ReasonSegSettings}
