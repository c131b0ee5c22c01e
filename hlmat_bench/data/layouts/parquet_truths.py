"""Ground truths of rows of parquet files: lists of pixels in cells, and outlines on images of unknown size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from hlmat_bench.core.samples import Truth
from hlmat_bench.core.types import Size
from hlmat_bench.data.layouts.embedded import array_of
from hlmat_bench.data.layouts.image_files import AS_USUAL, DataFile, ReadSettings
from hlmat_bench.data.layouts.masks import MaskRule, Segmentation, check_fits, fitted
from hlmat_bench.data.layouts.parquet_table import ParquetTable


@dataclass(frozen=True, slots=True)
class MaskCell:
    """A mask as a list of rows of pixels; implements `hlmat_bench.data.layouts.masks.TruthShape`.

    Attributes:
        table: the rows of the data set.
        column: the column of the masks.
        row: the number of the row in the table.
        rule: the rule for its values; true is 255, false is 0.
        size: (height, width) as other columns say; None where none does.
    """

    table: ParquetTable
    column: str
    row: int
    rule: MaskRule
    size: Size | None = None

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        truth = self.rule.truth(self._values(), f"The mask of {where}")
        ignored = None if truth.ignore is None else fitted(truth.ignore, size, where, how)
        return Truth(fitted(truth.mask, size, where, how), ignored)

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`; where no other column says its size, it is decoded."""
        shape = self.size or self._values().shape
        check_fits(shape, size, where, how)

    def advice(self, how: ReadSettings = AS_USUAL) -> str:
        """Return `MaskRule.advice` for its values."""
        return self.rule.advice(self._values())

    def definition(self) -> bytes:
        """See `TruthShape.definition`."""
        values = self._values()
        return f"{self.rule!r} {values.shape} {values.dtype}".encode() + values.tobytes()

    def files(self) -> tuple[DataFile, ...]:
        """Return no file, because the mask is in the table."""
        return ()

    def _values(self) -> NDArray[Any]:
        return array_of(self.table, self.column, self.row)


@dataclass(frozen=True, slots=True)
class SegmentationOnImage:
    """A segmentation that was drawn on an image whose size is written nowhere but in the image's file.

    Attributes:
        drawn: the segmentation; its size has no meaning.
    """

    drawn: Segmentation

    def on(self, size: Size) -> Segmentation:
        """Return the segmentation for an image of (height, width)."""
        return replace(self.drawn, size=size)

    def truth(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> Truth:
        """See `TruthShape.truth`."""
        return self.on(size).truth(size, where, how)

    def check_size(self, size: Size, where: str, how: ReadSettings = AS_USUAL) -> None:
        """See `TruthShape.check_size`; it has the size of its image."""

    def definition(self) -> bytes:
        """See `TruthShape.definition`; `on` returns what has the size in it."""
        return self.drawn.packed

    def files(self) -> tuple[DataFile, ...]:
        """Return no file; see `Segmentation.files`."""
        return ()
