"""Rows and single cells of parquet files (https://parquet.apache.org/docs/file-format/), read a few at a time."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hlmat_bench.core.cache import Cache
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import check_format, check_plain
from hlmat_bench.core.text import cut
from hlmat_bench.data.layouts.problems import BadAnnotation

_LISTED = 512
"""How many rows are listed at once."""
_BUFFER = 2**18
"""How many bytes of a column are read from the disk at once; without a buffer, pyarrow reads all of a row group."""
_BATCH = 2**21
"""About how many bytes of cells are decoded at once."""
_MOST_ROWS = 256
_KEPT = 2**25
"""The most bytes of decoded cells that are kept, because episodes that run at once ask for neighbouring rows."""
_CURSORS = 2
"""How many positions are kept open, in the column of images and in that of masks; each holds a page of its column,
which may be as large as a row group."""
_MOST_BYTES = 2**31
"""The most bytes of a row group, because a column may be one page, which is decompressed whole."""
_MOST_RATIO, _SMALL = 1000, 2**26
"""A row group of more than `_SMALL` bytes in a file of less than a thousandth of them is refused: a bomb."""
_MAGIC = b"PAR1"
_MOST_FOOTER = 2**27
"""The most bytes of a text, or entries of a list, in a file's footer."""


class _Part(NamedTuple):
    """One of the files: its metadata, and for each of its row groups the number of its first row in the whole table."""

    path: Path
    metadata: Any
    starts: tuple[int, ...]


@dataclass(slots=True)
class _Cursor:
    """A position in a column of a row group: the batches from ``number`` on."""

    batches: Iterator[Any]
    number: int = 0


class ParquetTable:
    """The rows of parquet files, one file after the other. Safe to use from several threads.

    Args:
        paths: the files, at least one.

    Raises:
        BadAnnotation: when one cannot be read, or has other columns than the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.rows = 0
        self._parts: list[_Part] = []
        for path in paths:
            self._parts.append(self._part(path))
        with _reading(paths[0]):
            self._schema = self._parts[0].metadata.schema.to_arrow_schema()
        self.columns: tuple[str, ...] = tuple(self._schema.names)
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise BadAnnotation(f"{paths[0].name} has the column {twice[0]!r} twice; remove or rename one of them.")
        self._starts = [start for part in self._parts for start in part.starts]
        self._groups = [(part, group) for part in self._parts for group in range(len(part.starts))]
        self._lock = threading.Lock()
        self._kept: Cache[tuple[str, int, int], Any] = Cache(_KEPT, lambda batch: int(batch.nbytes))
        self._cursors: OrderedDict[tuple[str, int], _Cursor] = OrderedDict()

    def type_of(self, column: str) -> Any:
        """Return the pyarrow type of a column; that of its values where it is encoded by a dictionary."""
        from pyarrow import types

        kind = self._schema.field(column).type
        return kind.value_type if types.is_dictionary(kind) else kind

    def where(self, row: int) -> str:
        """Return the name of a row for a message, counted from 1 in its own file."""
        part = self._groups[bisect_right(self._starts, row) - 1][0]
        return f"Row {row - part.starts[0] + 1} of {part.path.name}"

    def listed(
        self, columns: Sequence[str], only: tuple[str, str] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the number and the cells of rows, in their order.

        Args:
            columns: the columns to read; ``name.field`` reads one field of a structure.
            only: a column and the value that it has in the rows that are wanted; None for all rows.

        Raises:
            BadAnnotation: when a file is damaged or lacks a column.
        """
        for number, (part, group) in enumerate(self._groups):
            if only is not None and only[1] not in self._texts(part, group, only[0]):
                continue  # The train split's annotations are never parsed for those of val.
            row = self._starts[number]
            for batch in _batches(part, group, columns, _LISTED):
                with _reading(part.path):
                    cells = {name: _python(batch.column(name)) for name in batch.schema.names}
                for index in range(batch.num_rows):
                    values = {name: column[index] for name, column in cells.items()}
                    if only is None or values[only[0]] == only[1]:
                        yield row + index, values
                row += batch.num_rows

    def values_of(self, column: str) -> set[str]:
        """Return the different texts of a column."""
        return {text for part, group in self._groups for text in self._texts(part, group, column)}

    def cell(self, column: str, row: int) -> Any:
        """Return the value of one cell, as a pyarrow scalar.

        Cells are decoded in batches of neighbouring rows. Rows that are asked for about in their order are read once.

        Raises:
            BadAnnotation: when the file is damaged.
        """
        number = bisect_right(self._starts, row) - 1
        part, group = self._groups[number]
        size = _batch_size(part, group, self.type_of(column))
        batch, index = divmod(row - self._starts[number], size)
        with self._lock, _reading(part.path):
            return self._kept.get((column, number, batch), lambda: self._read(column, number, batch, size))[index]

    def _read(self, column: str, number: int, batch: int, size: int) -> Any:
        """Decode a batch of a row group; those before it that were not yet read are kept as well."""
        part, group = self._groups[number]
        cursor = self._cursors.pop((column, number), None)
        if cursor is None or cursor.number > batch:
            cursor = _Cursor(_batches(part, group, [column], size))
        found = None
        while cursor.number <= batch:
            found = _whole(next(cursor.batches, None), column, part)
            if cursor.number < batch:
                self._kept.get((column, number, cursor.number), lambda value=found: value)  # type: ignore[misc]
            cursor.number += 1
        if cursor.number * size < part.metadata.row_group(group).num_rows:
            self._cursors[column, number] = cursor
        if len(self._cursors) > _CURSORS:
            self._cursors.popitem(last=False)
        return found

    def _part(self, path: Path) -> _Part:
        metadata = _metadata(path)
        if (
            self._parts
            and metadata.schema.to_arrow_schema().names != self._parts[0].metadata.schema.to_arrow_schema().names
        ):
            raise BadAnnotation(
                f"{path.name} and {self._parts[0].path.name} have different columns; name the files of one data set."
            )
        starts = []
        for group in range(metadata.num_row_groups):
            starts.append(self.rows)
            self.rows += metadata.row_group(group).num_rows
        return _Part(path, metadata, tuple(starts))

    def _texts(self, part: _Part, group: int, column: str) -> set[str]:
        found: set[str] = set()
        for batch in _batches(part, group, [column], 2**14):
            with _reading(part.path):
                found |= {str(value) for value in batch.column(column).unique().to_pylist() if value is not None}
        return found


def _metadata(path: Path) -> Any:
    from pyarrow import parquet

    with _reading(path):
        check_plain(path)
        with path.open("rb") as file:
            head = file.read(64)
        if head[:4] != _MAGIC:
            check_format(head, path.name)
        with parquet.ParquetFile(path, **_LIMITS) as file:
            return file.metadata


_LIMITS = {"thrift_string_size_limit": _MOST_FOOTER, "thrift_container_size_limit": _MOST_FOOTER}


def _batches(part: _Part, group: int, columns: Sequence[str], size: int) -> Iterator[Any]:
    """Yield the record batches of a row group's columns, of ``size`` rows but for the last."""
    from pyarrow import parquet

    with _reading(part.path):
        _check_size(part, group)
        file = parquet.ParquetFile(part.path, metadata=part.metadata, pre_buffer=False, buffer_size=_BUFFER, **_LIMITS)
        batches = file.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False)
    while True:
        with _reading(part.path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _check_size(part: _Part, group: int) -> None:
    """Refuse a row group whose decoding would take any amount of memory.

    The sizes of its columns would say more, but for a damaged file pyarrow (26.0.1) ends the process when it is asked
    for them.
    """
    about = part.metadata.row_group(group)
    size = about.total_byte_size
    if size > _MOST_BYTES or size > max(_SMALL, _MOST_RATIO * part.path.stat().st_size):
        raise BadAnnotation(
            f"{part.path.name} has {size:,} bytes in a row group of {about.num_rows:,} rows, more than is read at "
            "once; write the file with smaller row groups."
        )


def _whole(batch: Any, column: str, part: _Part) -> Any:
    if batch is None:
        raise BadAnnotation(f"{part.path.name} ends before the rows that it announces; get the file again.")
    return batch.column(column)


def _batch_size(part: _Part, group: int, kind: Any) -> int:
    """Return how many rows of a column are decoded at once, so that they take about `_BATCH` bytes.

    A list of pixels is decoded by itself: it takes far more memory than it has bytes in the file.
    """
    from pyarrow import types

    if types.is_nested(kind) and not types.is_struct(kind):
        return 1
    about = part.metadata.row_group(group)
    return max(1, min(_MOST_ROWS, int(_BATCH * about.num_rows // max(about.total_byte_size, 1))))


def _python(array: Any) -> list[Any]:
    """Return the values of a column; numbers of 32 bits become the shortest decimals that stand for them.

    A polygon that was written with two decimals, and stored with 32 bits, is again what it was.
    """
    import pyarrow as pa

    texts, numbers = _of_type(array.type, pa.string()), _of_type(array.type, pa.float64())
    if numbers != array.type:
        array = array.cast(texts).cast(numbers)
    values: list[Any] = array.to_pylist()
    return values


def _of_type(kind: Any, new: Any) -> Any:
    """Return a type of lists in which numbers of 32 bits are replaced by another type."""
    import pyarrow as pa
    from pyarrow import types

    if types.is_float32(kind):
        return new
    if types.is_list(kind):
        return pa.list_(_of_type(kind.value_type, new))
    if types.is_fixed_size_list(kind):
        return pa.list_(_of_type(kind.value_type, new), kind.list_size)
    return pa.large_list(_of_type(kind.value_type, new)) if types.is_large_list(kind) else kind


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a sentence."""
    from pyarrow import ArrowException

    try:
        yield
    except UsageError as error:
        raise error if isinstance(error, BadAnnotation) else BadAnnotation(str(error)) from error
    except (ArrowException, OSError, ValueError, KeyError, OverflowError, MemoryError) as error:
        why = cut(" ".join(str(error).split()) or type(error).__name__)
        raise BadAnnotation(f"{path.name} cannot be read as parquet ({why}); get the file again.") from error
