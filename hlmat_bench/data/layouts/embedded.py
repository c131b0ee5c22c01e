"""Images and masks in the cells of a parquet file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.data.layouts.parquet_table import ParquetTable
from hlmat_bench.data.layouts.problems import BadAnnotation, MissingFile

_BYTES = "bytes"
"""The field of an image's structure with the file's bytes, as the library datasets writes it
(https://huggingface.co/docs/datasets/about_dataset_features#image-feature)."""


@dataclass(frozen=True, slots=True)
class EmbeddedFile:
    """A file whose bytes are a cell: it is read as if it lay on the disk, and has the digest that it would have there.

    Attributes:
        table: the rows.
        column: the column, of bytes or of structures with a field ``bytes``.
        row: the number of the row in the table.
        name: the file's name in records.
    """

    table: ParquetTable
    column: str
    row: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.table.where(self.row)}, column {self.column})"

    def is_file(self) -> bool:
        """Return whether the cell holds anything."""
        return self._value() is not None

    def read_bytes(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            MissingFile: when the cell is empty.
            BadAnnotation: when the parquet file is damaged.
        """
        value = self._value()
        if value is None:
            raise self.missing()
        return value

    def open(self) -> BinaryIO:
        """Return the file as an open stream; see `read_bytes`."""
        return io.BytesIO(self.read_bytes())

    def missing(self) -> MissingFile:
        """Return the error for an empty cell."""
        return MissingFile(f"{self.table.where(self.row)} has nothing in the column {self.column}; get the file again.")

    def _value(self) -> bytes | None:
        value = self.table.cell(self.column, self.row).as_py()
        found = value.get(_BYTES) if isinstance(value, dict) else value
        return found if isinstance(found, bytes) else None


def array_of(table: ParquetTable, column: str, row: int) -> NDArray[Any]:
    """Return a mask that a cell holds as a list of rows of pixels, (H, W); true and false become 255 and 0.

    Raises:
        MissingFile: when the cell is empty.
        BadAnnotation: when the rows differ in length, or hold something else than numbers or true and false.
    """
    cell = table.cell(column, row)
    where = f"{table.where(row)} has in the column {column}"
    if not cell.is_valid or not len(cell):
        raise MissingFile(f"{where} no mask; get the file again.")
    rows = cell.values
    widths = np.diff(rows.offsets.to_numpy())
    pixels = rows.flatten()
    if rows.null_count or pixels.null_count or not widths[0] or (widths != widths[0]).any():
        raise BadAnnotation(f"{where} a mask whose rows of pixels differ in length; get the file again.")
    values: NDArray[Any] = pixels.to_numpy(zero_copy_only=False).reshape(len(rows), -1)
    return values * np.uint8(255) if values.dtype == bool else values
