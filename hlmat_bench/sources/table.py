"""A user's own data: a folder of images, a folder of masks, and a table of expressions.

The table is a CSV file with the columns ``image``, ``mask`` and ``expression``. Further columns: ``id`` (unique; else
made from the mask's name), ``ref_id`` (the object; else the mask), ``ignore`` (a mask of pixels that no score counts)
and any ``tag:NAME``, by which scores are sliced.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from hlmat_bench.errors import unknown
from hlmat_bench.samples import Sample
from hlmat_bench.sources.captions import stem
from hlmat_bench.sources.files import DataPath, FileSource, Pixels
from hlmat_bench.sources.mask_folder import MaskSettings
from hlmat_bench.sources.place import Place, inside
from hlmat_bench.sources.problems import BadAnnotation
from hlmat_bench.sources.reading import read_csv
from hlmat_bench.sources.shapes import MaskFile, MaskRule

_NEEDED = ("image", "mask", "expression")
_OPTIONAL = ("id", "ref_id", "ignore")
_TAG = "tag:"


class TableSettings(MaskSettings):
    """The settings of this layout.

    Attributes:
        table: the CSV file.
        images: the folder of the images.
        masks: the folder of the masks, and of masks of ignored pixels.
    """

    kind: Literal["table"]
    table: DataPath = "expressions.csv"
    images: DataPath = "images"
    masks: DataPath = "masks"

    def needed(self) -> list[str]:
        """See `SourceSettings.needed`."""
        return [self.table, self.images, self.masks]

    def open(self, place: Place) -> FileSource:
        """See `SourceSettings.open`."""
        table, images, masks = (place.existing(name) for name in self.needed())
        rows = _read(table)
        return FileSource(place, _samples(rows, images, masks, self.rule(), place.task), self, "table")


def _read(path: Path) -> list[dict[str, str]]:
    rows = read_csv(path)
    columns = list(rows[0]) if rows else list(_NEEDED)
    absent = [name for name in _NEEDED if name not in columns]
    if absent:
        raise BadAnnotation(f"{path} needs the columns {', '.join(_NEEDED)}; it lacks {', '.join(absent)}.")
    for name in columns:
        if name not in (*_NEEDED, *_OPTIONAL) and not name.startswith(_TAG):
            raise unknown(f"column of {path}", name, (*_NEEDED, *_OPTIONAL), "Tags are columns named tag:NAME.")
    for number, row in enumerate(rows, start=1):
        empty = [name for name in _NEEDED if not row[name].strip()]
        if empty:
            raise BadAnnotation(f"Row {number} of {path} has no {empty[0]}; fill it in or remove the row.")
    return rows


def _samples(rows: list[dict[str, str]], images: Path, masks: Path, rule: MaskRule, task: str) -> Iterator[Sample]:
    seen: Counter[str] = Counter()
    shapes: dict[tuple[str, str], MaskFile] = {}
    for number, row in enumerate(rows, start=1):
        where = f"Row {number} of the table"
        ref_id = row.get("ref_id") or stem(row["mask"])
        name = row.get("id") or f"{ref_id}/{seen[ref_id]}"
        seen[ref_id] += 1
        hidden = inside(masks, row["ignore"], where) if row.get("ignore") else None
        shape = shapes.setdefault(
            (row["mask"], row.get("ignore", "")), MaskFile(inside(masks, row["mask"], where), rule, hidden)
        )
        yield Sample(
            id=f"{task}/{name}",
            image=row["image"],
            image_id=row["image"],
            expression=row["expression"],
            ref_id=ref_id,
            tags={key.removeprefix(_TAG): text for key, text in row.items() if key.startswith(_TAG) and text},
            key=Pixels(inside(images, row["image"], where), shape),
        )
