"""The layout ``parquet``: data sets in parquet files, above all those of the Hugging Face hub.

Images and masks are embedded, or files beside. What the columns mean is known of three schemas by their names (see
`hlmat_bench.data.layouts.parquet_schemas`, which says what each of them cannot hold), or said by the settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from hlmat_bench.core.plain_files import is_file
from hlmat_bench.core.samples import Sample
from hlmat_bench.data.layouts.copies import Copy, identified
from hlmat_bench.data.layouts.data_root import DataRoot, place_of
from hlmat_bench.data.layouts.file_source import FileSource, LeftOut
from hlmat_bench.data.layouts.layout_settings import DataPath, OptionalPath
from hlmat_bench.data.layouts.mask_folder import MaskFileSettings
from hlmat_bench.data.layouts.parquet_references import SPLIT, ReferenceRows
from hlmat_bench.data.layouts.parquet_rows import Rows, RowSettings
from hlmat_bench.data.layouts.parquet_schemas import REFERENCES, Columns, Schema, columns_of, schema_of
from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.layouts.problems import BadAnnotation

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<total>\d{5})(?:-[0-9a-f]+)?", re.ASCII)
"""The stem of a file as the library datasets names it (https://huggingface.co/docs/hub/datasets-file-names-and-splits)."""
_SUFFIX = ".parquet"
_COLUMNS = tuple(Columns.__dataclass_fields__)


class ParquetSettings(MaskFileSettings):
    """The settings of this layout. A column that is not named is found by the names that are usual."""

    files: DataPath = Field("data", description="A parquet file, or a folder of such files and of folders with them.")
    split: str | None = Field(
        None,
        description="Of a folder, the files whose names begin with it (val-00000-of-00004.parquet) or that lie in a "
        "folder of this name; with split_column, the rows that hold it.",
    )
    images: OptionalPath = Field(None, description="The folder of the images, where they are not embedded.")
    masks: OptionalPath = Field(None, description="The folder of the masks, where a column holds their paths.")
    image: str | None = Field(None, description="The column of the images: bytes, a structure with bytes, or a path.")
    expression: str | None = Field(None, description="The column of the expressions: texts, or lists of texts.")
    mask: str | None = Field(
        None, description="The column of the masks: bytes of an image, a path, or a list of rows of pixels."
    )
    segmentation: str | None = Field(
        None, description="The column of the segmentations: polygons or run lengths, as lists, structures or JSON."
    )
    bbox: str | None = Field(None, description="The column of boxes [x, y, width, height] to compare with polygons.")
    image_id: str | None = Field(
        None, description="The column that names images; rows with the same name have the same image."
    )
    id: str | None = Field(None, description="The column with an id of its own for each row.")
    ref_id: str | None = Field(None, description="The column that names objects; several rows may have one.")
    crowd: str | None = Field(None, description="The column that says whether an object is a crowd.")
    height: str | None = Field(None, description="The column of the heights of images.")
    width: str | None = Field(None, description="The column of the widths of images.")
    split_column: str | None = Field(None, description="The column that holds the split of a row.")
    tags: str = Field("", description="Columns by which scores are grouped, joined by +.")
    sentence: Literal["sent", "raw"] = Field(
        "sent", description="Of references of refCOCO: the cleaned sentence (sent), or what the annotator wrote (raw)."
    )

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.files, *filter(None, (self.images, self.masks))]

    def open(self, place: DataRoot) -> FileSource:
        """See `SourceSettings.open`."""
        paths = _files(place, self.files)
        given = {name: value for name in _COLUMNS if (value := getattr(self, name))}
        splits = _splits(paths)
        first = splits.get(str(self.split), paths)[0]
        schema = schema_of(ParquetTable([first]).columns, given)
        if schema is not REFERENCES and self.split_column is None:
            paths = _of_split(splits, self.split, self.files)
        if place_of(place.root, self.files).is_dir():
            _check_whole(paths)
        table = ParquetTable(paths)
        rows = self._references(table, place) if schema is REFERENCES else self._rows(table, schema, given, place)
        about: dict[str, Any] = {"schema": schema.name}

        def samples() -> Iterator[Sample | LeftOut]:
            expressions = 0
            for sample in rows.samples(place.task):
                expressions += isinstance(sample, Sample)
                yield sample
            split = self.split or next((name for name, own in splits.items() if own == paths), None)
            found = identified(schema.name, place.named(self.files), split, rows.count, expressions)
            if found and not given:
                about["copy"] = _named(found, place.task)

        return FileSource(place, samples(), self, rows.expression, rows.notes(), about)

    def _references(self, table: ParquetTable, place: DataRoot) -> ReferenceRows:
        if self.images is None:
            raise BadAnnotation(
                "The data set holds the references of refCOCO without images; name the folder of COCO's train2014 "
                "images with data.images=FOLDER."
            )
        leave_crowds = "crowd" in self.kinds_left_out()
        only = _rows_of(table, SPLIT, self.split)
        return ReferenceRows(table, only, place.folder(self.images), self.sentence, leave_crowds)

    def _rows(self, table: ParquetTable, schema: Schema, given: dict[str, str], place: DataRoot) -> Rows:
        columns = columns_of(schema, given, table)
        settings = RowSettings(
            columns,
            self.rule(),
            None if self.images is None else place.folder(self.images),
            None if self.masks is None else place.folder(self.masks),
            schema.coco_names,
            "crowd" in self.kinds_left_out(),
            None if self.split_column is None else _rows_of(table, self.split_column, self.split),
        )
        return Rows(table, settings)


def _named(copies: Sequence[Copy], task: str) -> str:
    """Return the names of the copies that a data set can be.

    Raises:
        BadAnnotation: when the task's own data are the standard split, and the copy is not.
    """
    wrong = next((copy for copy in copies if copy.resembles(task) and not copy.standard), None)
    if wrong is not None:
        raise BadAnnotation(
            f"This is {wrong.name}, not the data of the task {task}: {wrong.about}. Play it under its own name: --task "
            f"{wrong.spec}."
        )
    return " or ".join(copy.name for copy in copies)


def _files(place: DataRoot, name: str) -> list[Path]:
    """Return the parquet files that a setting names, or those in the folder that it names."""
    if not place_of(place.root, name).is_dir():
        return [place.file(name)]
    base = place.folder(name)
    found = sorted(path for path in base.rglob(f"*{_SUFFIX}") if _is_shown(path.relative_to(base)) and is_file(path))
    if not found:
        advice = place.how_to_get or "name another with data.files=FOLDER"
        raise BadAnnotation(f"The folder {name} holds no file that ends in {_SUFFIX}; {advice}.")
    return found


def _is_shown(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def _splits(paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Return files by the split that their names, or that of their folder, say."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        match = _SHARD.fullmatch(path.stem)
        split = match["split"] if match else path.parent.name if path.stem.isdecimal() else path.stem
        found.setdefault(split, []).append(path)
    return found


def _check_whole(paths: Sequence[Path]) -> None:
    """Refuse the files of a folder if one is missing of those that a split was written as."""
    numbers: dict[tuple[Path, str, str], set[int]] = {}
    for path in paths:
        if match := _SHARD.fullmatch(path.stem):
            numbers.setdefault((path.parent, match["split"], match["total"]), set()).add(int(match["number"]))
    for (_, split, total), there in numbers.items():
        absent = next((number for number in range(int(total)) if number not in there), None)
        if absent is not None:
            name = f"{split}-{absent:05d}-of-{total}{_SUFFIX}"
            raise BadAnnotation(f"The file {name} is not there, but others of its split are; get the data set again.")


def _of_split(splits: dict[str, list[Path]], split: str | None, folder: str) -> list[Path]:
    if len(splits) == 1 and (split is None or folder.endswith(_SUFFIX)):
        return next(iter(splits.values()))
    if split not in splits:
        raise BadAnnotation(_no_split(split, splits))
    return splits[split]


def _rows_of(table: ParquetTable, column: str, split: str | None) -> tuple[str, str]:
    """Return a column of splits and the split that is wanted; see `ParquetTable.listed`."""
    there = table.values_of(column)
    if split is None or split not in there:
        raise BadAnnotation(_no_split(split, there))
    return column, split


def _no_split(split: str | None, there: Iterable[str]) -> str:
    names = ", ".join(sorted(there)) or "none"
    if split is None:
        return f"The data set has several splits; choose one with data.split=NAME: {names}."
    return f"The data set has no split {split!r}; choose another with data.split=NAME: its splits are {names}."


LAYOUTS = {"parquet": ParquetSettings}
