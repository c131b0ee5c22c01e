"""Turns the rows of a parquet data set into samples, by the meaning of its columns."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlmat_bench.core.samples import Sample
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.data_root import inside
from hlmat_bench.data.layouts.embedded import EmbeddedFile
from hlmat_bench.data.layouts.file_source import LeftOut, Pixels
from hlmat_bench.data.layouts.image_files import DataFile
from hlmat_bench.data.layouts.json_csv import parse_json, take, take_id, take_texts
from hlmat_bench.data.layouts.masks import MaskFile, MaskRule, Segmentation, TruthShape
from hlmat_bench.data.layouts.parquet_schemas import Columns
from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.layouts.parquet_truths import MaskCell, SegmentationOnImage
from hlmat_bench.data.layouts.problems import BadAnnotation, Doubt, Unannotated

_COCO_NAME = re.compile(r"(COCO_\w+_\d{12})_\d+(\.\w+)", re.ASCII)
"""The field ``file_name`` of a reference: the image's name with the number of an object in it."""
_OFF = 2
"""Boxes that are farther apart, in pixels, differ: a polygon's box is exact."""
_BYTES, _PATH = "bytes", "path"


@dataclass(frozen=True, slots=True)
class RowSettings:
    """How rows become samples.

    Attributes:
        columns: the meaning of the columns.
        rule: the rule for the values of masks.
        images: the folder that paths of images start from; None where images are embedded.
        masks: the folder that paths of masks start from; None where masks are embedded.
        coco_names: see `parquet_schemas.Schema`.
        leave_crowds: whether rows of crowds are left out.
        only: a column and the value that chosen rows have in it; None for all rows.
    """

    columns: Columns
    rule: MaskRule
    images: Path | None = None
    masks: Path | None = None
    coco_names: bool = False
    leave_crowds: bool = False
    only: tuple[str, str] | None = None


class Rows:
    """The rows of a data set.

    Args:
        table: the rows.
        settings: how they become samples.

    Raises:
        BadAnnotation: when a column holds what it cannot.
    """

    def __init__(self, table: ParquetTable, settings: RowSettings) -> None:
        self.count = 0
        self.expression = settings.columns.expression
        self._table, self._settings, self._columns = table, settings, settings.columns
        self._image_embedded = self._is_embedded(self._columns.image, settings.images, "image")
        self._mask_listed = self._columns.mask is not None and _is_pixels(table.type_of(self._columns.mask))
        if self._columns.mask is not None and not self._mask_listed:
            self._is_embedded(self._columns.mask, settings.masks, "mask")
        self._first_rows: dict[str, int] = {}
        self._objects: Counter[str] = Counter()
        self._of_object: Counter[str] = Counter()
        self._larger: list[str] = []

    def samples(self, task: str) -> Iterator[Sample | LeftOut]:
        """Yield the samples of all expressions, in the order of the rows."""
        for number, row in self._table.listed(self._listed(), self._settings.only):
            self.count += 1
            try:
                yield from self._of(number, row, task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def notes(self) -> Iterator[Doubt]:
        """Yield findings about all rows, when they were listed."""
        if self._larger:
            yield Doubt(
                "objects with more polygons than the data set holds",
                f"{self._larger[0]} and {len(self._larger) - 1:,} others have a polygon of another size than their "
                f"own box: the column {self._columns.segmentation} holds one polygon, so further parts of these "
                "objects are lost; choose a copy with whole annotations.",
            )
        twice = sum(number > 1 for number in self._objects.values())
        if twice:
            yield Doubt(
                "objects that several rows have",
                f"Several rows name the same object in the column {self._columns.image_id}, of {twice:,} objects: the "
                "data set unites several, or holds rows twice.",
            )

    def _of(self, number: int, row: dict[str, Any], task: str) -> Iterator[Sample | LeftOut]:
        where, columns = self._table.where(number), self._columns
        if columns.crowd is not None and row.get(columns.crowd) and self._settings.leave_crowds:
            yield LeftOut("crowd")
            return
        texts = take_texts(row, columns.expression, where)
        shape = self._shape(number, row, where)
        image_id, name, image = self._image(number, row, where)
        ref_id = str(take_id(row, columns.ref_id, where)) if columns.ref_id else str(number)
        tags = {name: str(row[name]) for name in _tags(columns) if row[name] is not None}
        for text, ident in zip(texts, self._names(row, where, ref_id, texts), strict=True):
            yield Sample(f"{task}/{ident}", name, image_id, text, ref_id, tags, Pixels(image, shape))

    def _names(self, row: dict[str, Any], where: str, ref_id: str, texts: Sequence[str]) -> list[str]:
        """Return the ids of a row's samples: the row's own, or numbers within the object."""
        if self._columns.id is None:
            first = self._of_object[ref_id]
            self._of_object[ref_id] += len(texts)
            return [f"{ref_id}/{first + count}" for count in range(len(texts))]
        own = str(take_id(row, self._columns.id, where))
        several = isinstance(row[self._columns.expression], list)
        return [f"{own}/{count}" if several else own for count in range(len(texts))]

    def _image(self, number: int, row: dict[str, Any], where: str) -> tuple[str, str, DataFile]:
        """Return the id of a row's image, its name, and its file.

        Rows with the same id have the same image, which is read from the first of them: it is read once, and those of
        one image may stand far apart.
        """
        columns, path = self._columns, _path(row.get(self._columns.image))
        name = str(take_id(row, columns.image_id, where)) if columns.image_id else path
        if self._settings.coco_names and name is not None:
            self._objects[name] += 1
            name = _COCO_NAME.sub(r"\1\2", name)
        if not self._image_embedded:
            assert self._settings.images is not None
            if not path:
                raise BadAnnotation(f"{where} has no path in the column {columns.image}; correct it.")
            return name or path, path, inside(self._settings.images, path, where)
        if columns.image_id and name is not None:
            number = self._first_rows.setdefault(name, number)
        name = name or str(number)
        return name, name, EmbeddedFile(self._table, columns.image, number, name)

    def _shape(self, number: int, row: dict[str, Any], where: str) -> TruthShape:
        columns, rule = self._columns, self._settings.rule
        size = _size(row, columns, where)
        if columns.mask is None:
            return self._segmentation(row, size, where)
        if self._mask_listed:
            return MaskCell(self._table, columns.mask, number, rule, size)
        if self._settings.masks is None:
            return MaskFile(EmbeddedFile(self._table, columns.mask, number, f"mask {number}"), rule)
        path = _path(row[columns.mask])
        if not path:
            raise Unannotated(f"{where} has no path in the column {columns.mask}; add one or remove the row.")
        return MaskFile(inside(self._settings.masks, path, where), rule)

    def _segmentation(self, row: dict[str, Any], size: Size | None, where: str) -> TruthShape:
        column = self._columns.segmentation
        assert column is not None
        value = _drawn(row[column], f"The column {column} of {where[0].lower() + where[1:]}")
        if not value:
            raise Unannotated(f"{where} has nothing in the column {column}; add a segmentation or remove the row.")
        bbox = row[self._columns.bbox] if self._columns.bbox else None
        if bbox and _is_smaller(value, bbox):
            self._larger.append(where)
        own = value.get("size") if isinstance(value, dict) else None
        if size is None and isinstance(own, list) and len(own) == 2 and all(isinstance(side, int) for side in own):
            size = (own[0], own[1])
        packed = Segmentation.pack({"segmentation": value, "bbox": bbox}, size or (0, 0))
        return packed if size else SegmentationOnImage(packed)

    def _listed(self) -> list[str]:
        """Return the columns that are read when samples are listed: no pixels."""
        columns, table = self._columns, self._table
        pixels = {columns.image, columns.mask}
        read = {name for name in columns.named().values() if name not in pixels} | set(_tags(columns))
        for name in filter(None, pixels):
            if _has_field(table.type_of(name), _PATH):
                read.add(f"{name}.{_PATH}")
            elif _is_text(table.type_of(name)):
                read.add(name)
        return sorted(read)

    def _is_embedded(self, column: str, folder: Path | None, what: str) -> bool:
        """Return whether a column holds the bytes of files, and not their paths in a folder."""
        kind = self._table.type_of(column)
        if folder is not None and (_is_text(kind) or _has_field(kind, _PATH)):
            return False
        if _is_bytes(kind) or _has_field(kind, _BYTES):
            return True
        if _is_text(kind):
            raise BadAnnotation(
                f"The column {column} holds paths of {what}s; name the folder that they start from with "
                f"data.{what}s=FOLDER."
            )
        raise BadAnnotation(
            f"The column {column} holds {kind}, which is no {what}: bytes of a file, a structure of bytes and path, "
            f"a path{', or a list of rows of pixels' if what == 'mask' else ''}; name another with data.{what}=COLUMN."
        )


def _tags(columns: Columns) -> list[str]:
    return [name for name in columns.tags.split("+") if name]


def _path(value: Any) -> str | None:
    path = value.get(_PATH) if isinstance(value, dict) else value
    return path if isinstance(path, str) and path else None


def _size(row: dict[str, Any], columns: Columns, where: str) -> Size | None:
    if columns.height is None or columns.width is None:
        return None
    return take(row, columns.height, int, where), take(row, columns.width, int, where)


def _drawn(value: Any, where: str) -> Any:
    """Return a segmentation as COCO's annotation files write it."""
    if isinstance(value, str):
        value = parse_json(value, where) if value.strip() else None
    if isinstance(value, dict) and "segmentation" in value:  # a whole annotation
        value = value["segmentation"]
    if isinstance(value, dict) and isinstance(value.get("counts"), bytes):
        value = {**value, "counts": value["counts"].decode("ascii", "replace")}
    if isinstance(value, list) and value and all(isinstance(number, int | float) for number in value):
        return [value]
    return value


def _is_smaller(value: Any, bbox: Any) -> bool:
    """Return whether polygons have another box than [x, y, width, height]."""
    if not isinstance(value, list) or not isinstance(bbox, list) or len(bbox) != 4:
        return False
    numbers = [number for part in value if isinstance(part, list) for number in part]
    if not numbers or not all(isinstance(number, int | float) for number in [*numbers, *bbox]):
        return False
    xs, ys = numbers[0::2], numbers[1::2] or [0]
    x, y, width, height = bbox
    ends = zip((min(xs), min(ys), max(xs), max(ys)), (x, y, x + width, y + height), strict=True)
    return any(abs(one - other) > _OFF for one, other in ends)


def _is_pixels(kind: Any) -> bool:
    from pyarrow import types

    def is_list(one: Any) -> bool:
        return bool(types.is_list(one) or types.is_large_list(one))

    if not is_list(kind) or not is_list(kind.value_type):
        return False
    inner = kind.value_type.value_type
    return bool(types.is_boolean(inner) or types.is_integer(inner) or types.is_floating(inner))


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _is_bytes(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _has_field(kind: Any, name: str) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind) and kind.get_field_index(name) >= 0)
