"""References of refCOCO in parquet files, as https://huggingface.co/datasets/jxu124/refcoco has them; no images.

A row is a reference of the refer pickle, with its annotation (``raw_anns``) and its image's entry (``raw_image_info``)
of instances.json as JSON text, so that its samples are those of the layout ``refer``. The rows of a split are those
whose column ``split`` has its name in the pickle (val, testA); the names of the files are others (validation, test).
The columns ``bbox`` (x0, y0, x1, y1), ``raw_sentences``, ``captions`` and ``global_image_id`` are not needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.coco_file import ListedImage, listed_image, shape_of
from hlmat_bench.data.layouts.data_root import inside
from hlmat_bench.data.layouts.file_source import LeftOut
from hlmat_bench.data.layouts.json_csv import UniqueIds, parse_json, take, take_id
from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.layouts.problems import BadAnnotation, Doubt, Unannotated
from hlmat_bench.data.layouts.refer import Referent, reference_samples

SPLIT = "split"
"""The column of the splits."""
_COLUMNS = ("ref_id", "ann_id", "image_id", SPLIT, "sentences", "raw_anns", "raw_image_info")
_PATH = "image_path"


class ReferenceRows:
    """The references of a split.

    Args:
        table: all rows.
        only: the column of splits, and the split.
        images: the folder of the images: that of train2014 itself, or that which ``image_path`` starts from.
        sentence: which sentence is the expression.
        leave_crowds: whether references to crowds are left out.
    """

    def __init__(
        self,
        table: ParquetTable,
        only: tuple[str, str],
        images: Path,
        sentence: Literal["sent", "raw"],
        leave_crowds: bool,
    ) -> None:
        self.count = 0
        self.expression: str = sentence
        self._table, self._only, self._images, self._sentence = table, only, images, sentence
        self._leave_crowds = leave_crowds
        self._by_path: bool | None = None

    def samples(self, task: str) -> Iterator[Sample | LeftOut]:
        """Yield the samples of all sentences, in the order of the rows."""
        seen = UniqueIds(f"references in the split {self._only[1]}")
        columns = [*_COLUMNS, *([_PATH] if _PATH in self._table.columns else [])]
        for number, row in self._table.listed(columns, self._only):
            self.count += 1
            where = self._table.where(number)
            seen.add(take_id(row, "ref_id", where))
            try:
                yield from self._of(row, where, task)
            except Unannotated as error:
                yield LeftOut("unannotated", error)

    def notes(self) -> Iterator[Doubt]:
        """Yield no finding about all rows."""
        yield from ()

    def _of(self, row: dict[str, Any], where: str, task: str) -> Iterator[Sample | LeftOut]:
        item = _json(row, "raw_anns", where)
        image_id, ann_id = take_id(row, "image_id", where), take_id(row, "ann_id", where)
        if item.get("image_id") != image_id or item.get("id") != ann_id:
            raise BadAnnotation(f"{where} has the annotation of another object in raw_anns; get the file again.")
        if item.get("iscrowd") and self._leave_crowds:
            yield LeftOut("crowd")
            return
        image = self._image(row, where)
        found = Referent(shape_of(item, image.size, f"The annotation {ann_id}"))
        yield from reference_samples(task, row, where, image_id, image, found, self._sentence)

    def _image(self, row: dict[str, Any], where: str) -> ListedImage:
        image = listed_image(_json(row, "raw_image_info", where), where, self._images)
        path = row.get(_PATH)
        if self._by_path is None and isinstance(path, str):
            self._by_path = not is_file(image.path) and is_file(inside(self._images, path, where))
        if self._by_path:
            return ListedImage(image.name, inside(self._images, take(row, _PATH, str, where), where), image.size)
        return image


def _json(row: dict[str, Any], column: str, where: str) -> dict[str, Any]:
    value = parse_json(take(row, column, str, where), f"The column {column} of {where[0].lower() + where[1:]}")
    if not isinstance(value, dict):
        raise BadAnnotation(f"{where} should have a JSON object in {column}; get the file again.")
    return value
