"""What the columns of a parquet data set mean: three schemas that are known by their columns, and a user's own.

- ``jxu124``: https://huggingface.co/datasets/jxu124/refcoco (README 9fba820), the references of refCOCO with their
  annotations as JSON; see `hlmat_bench.data.layouts.parquet_references`.
- ``lmms-lab``: https://huggingface.co/datasets/lmms-lab/RefCOCO (README e15256e). ``segmentation`` is one flat polygon
  of 32-bit floats: an object of several polygons cannot be held. ``bbox`` is [x, y, width, height]. ``file_name`` is
  that of a reference: it ends in the number of the object, so several rows have one image.
- ``ricky06662``: https://huggingface.co/datasets/Ricky06662/refcoco_testA (README e7306f3), one sentence per object,
  masks as lists of rows of true and false.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any

from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.layouts.problems import BadAnnotation

_USUAL = {
    "image": ("image", "img", "image_path"),
    "expression": ("expression", "caption", "text", "sentence", "sentences", "phrase", "query"),
    "mask": ("mask", "gt_mask"),
    "segmentation": ("segmentation", "polygon", "rle"),
}
"""The columns that are looked for, where the settings name none."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a data set by what they mean; None where there is none. See `parquet.ParquetSettings`."""

    image: str = ""
    expression: str = ""
    mask: str | None = None
    segmentation: str | None = None
    bbox: str | None = None
    image_id: str | None = None
    id: str | None = None
    ref_id: str | None = None
    crowd: str | None = None
    height: str | None = None
    width: str | None = None
    split_column: str | None = None
    tags: str = ""

    def named(self) -> dict[str, str]:
        """Return the columns that are named, without those of tags."""
        return {
            field.name: value for field in fields(self) if field.name != "tags" and (value := getattr(self, field.name))
        }


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema that is known by its columns.

    Attributes:
        name: the name in a manifest.
        marks: a data set with all these columns is of this schema.
        columns: what the columns mean; None where a reader of its own knows.
        coco_names: whether the names of images end in the number of an object, as in the references of refCOCO.
    """

    name: str
    marks: frozenset[str]
    columns: Columns | None
    coco_names: bool = False


REFERENCES = Schema(
    "jxu124",
    frozenset({"ref_id", "ann_id", "image_id", "split", "sentences", "raw_anns", "raw_image_info"}),
    None,
)
OWN = Schema("columns", frozenset(), Columns())
SCHEMAS = (
    REFERENCES,
    Schema(
        "lmms-lab",
        frozenset({"question_id", "image", "answer", "segmentation", "bbox", "file_name"}),
        Columns("image", "answer", segmentation="segmentation", bbox="bbox", image_id="file_name", crowd="iscrowd"),
        coco_names=True,
    ),
    Schema(
        "ricky06662",
        frozenset({"image", "text", "mask", "image_id", "ann_id", "img_height", "img_width"}),
        Columns("image", "text", mask="mask", image_id="image_id", height="img_height", width="img_width"),
    ),
)


def schema_of(columns: Collection[str], given: Mapping[str, Any]) -> Schema:
    """Return the schema of a data set with these columns.

    Args:
        columns: the names of the columns.
        given: the columns that the settings name; references with other columns are a user's own data set.
    """
    found = next((schema for schema in SCHEMAS if schema.marks <= set(columns)), OWN)
    return OWN if given and found.columns is None else found


def columns_of(schema: Schema, given: Mapping[str, Any], table: ParquetTable) -> Columns:
    """Return what the columns of a table mean.

    Args:
        schema: the schema; not that of references.
        given: the columns that the settings name.
        table: the rows.

    Raises:
        BadAnnotation: when the table lacks one, or there is none for the image, the expression or the ground truth.
    """
    assert schema.columns is not None
    known: dict[str, Any] = dict(schema.columns.named())
    if schema is OWN:
        known = {key: name for key, names in _USUAL.items() for name in reversed(names) if name in table.columns}
    if {"mask", "segmentation"} & given.keys():
        known.pop("mask", None)
    if "mask" in known or {"mask", "segmentation"} & given.keys():
        known.pop("segmentation", None)
    if known.get("crowd") not in table.columns:
        known.pop("crowd", None)
    columns = Columns(**{**known, **given})
    _check(columns, table)
    return columns


def _check(columns: Columns, table: ParquetTable) -> None:
    there = f"its columns are {', '.join(table.columns)}"
    for setting, name in {**columns.named(), **dict.fromkeys(filter(None, columns.tags.split("+")), "")}.items():
        wanted = name or setting
        if wanted not in table.columns:
            which = f"{setting}={wanted}" if name else f"tags={wanted}"
            raise BadAnnotation(f"The data set has no column {wanted!r}, which the setting {which} names; {there}.")
    for setting in ("image", "expression"):
        if not getattr(columns, setting):
            raise BadAnnotation(
                f"The column of the {setting} is not known; name it with data.{setting}=COLUMN: {there}."
            )
    if bool(columns.mask) == bool(columns.segmentation):
        raise BadAnnotation(
            "The column of the ground truth is not known; name one with data.mask=COLUMN (pixels) or "
            f"data.segmentation=COLUMN (polygons or run lengths): {there}."
        )
