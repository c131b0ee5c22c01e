"""Reads one matrix of numbers out of a struct of a MATLAB file, as the ``.mat`` files of SBD hold their label maps.

scipy.io.loadmat reads everything that a file holds, and a file of 1 MB in which cells are nested 20,000 deep makes it
overflow the stack and end the process (scipy 1.16). So only the elements on the way to the matrix are looked at here.
The format is described in "MAT-File Format" by MathWorks, level 5.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import read_bytes
from hlmat_bench.data.layouts.problems import Unreadable

MOST_BYTES = 2**26
"""The most bytes of a file, and of all that is unpacked of it; the files of SBD have some 10 kB."""
_HEADER = 128
_LEVEL, _ORDERS = 0x0100, {b"IM": "<", b"MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_STRUCT, _FIRST_NUMERIC, _LAST_NUMERIC = 2, 6, 15


def read_matrix(path: Path, variable: str, field: str, most: int) -> NDArray[Any]:
    """Return the matrix in a field of a struct of one element, (H, W).

    Args:
        path: the file.
        variable: the name of the struct.
        field: the name of its field.
        most: the most values that the matrix may have.

    Raises:
        Unreadable: when the file is damaged, is too large, or holds no such matrix.
    """
    try:
        return _found(memoryview(read_bytes(path, MOST_BYTES)), variable, field, most)
    except UsageError as error:
        raise Unreadable(str(error)) from error
    except (ValueError, LookupError, TypeError, struct.error, zlib.error) as error:
        raise Unreadable(
            f"{path} is not a MATLAB file of level 5 with a matrix {variable}.{field} ({error}); get the file again."
        ) from error


def _found(data: memoryview, variable: str, field: str, most: int) -> NDArray[Any]:
    order = _ORDERS.get(bytes(data[126:_HEADER]), "")
    if not order or struct.unpack(f"{order}H", data[124:126]) != (_LEVEL,):
        raise ValueError("it does not begin like one")
    for kind, content in _unpacked(data[_HEADER:], order):
        if kind == _MATRIX and content and (matrix := _Matrix(content, order)).name == variable:
            return _Matrix(matrix.field(field), order).numbers(most)
    raise ValueError(f"it has no variable {variable}")


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each element, in their order.

    A small element has its size in the upper half of its first word, and at most four bytes of content. Contents are
    padded to 8 bytes, except compressed ones.
    """
    at = 0
    while at < len(data):
        (kind,) = struct.unpack_from(f"{order}I", data, at)
        if kind >> 16:
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            (size,) = struct.unpack_from(f"{order}I", data, at + 4)
            begin = at + 8
            end = begin + size + (0 if kind == _COMPRESSED else -size % 8)
        if begin + size > min(end, len(data)):
            raise ValueError("an element is cut off")
        yield kind, data[begin : begin + size]
        at = end


def _unpacked(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the elements of a file; the contents of compressed ones, `MOST_BYTES` of all together."""
    left = MOST_BYTES
    for kind, content in _elements(data, order):
        if kind != _COMPRESSED:
            yield kind, content
            continue
        unpacked = zlib.decompressobj().decompress(content, left)
        left -= len(unpacked)
        if left <= 0:
            raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
        yield from _elements(memoryview(unpacked), order)


class _Matrix:
    """An element of the type miMATRIX: a class, (rows, columns), a name, and what belongs to the class."""

    def __init__(self, content: memoryview, order: str) -> None:
        self._order, self._parts = order, _elements(content, order)
        self._class = self._integers()[0] & 0xFF
        self._shape = tuple(self._integers())
        self.name = bytes(self._part()[1]).decode("ascii")

    def field(self, name: str) -> memoryview:
        """Return the content of a field of a struct of one element."""
        if self._class != _STRUCT or self._shape != (1, 1):
            raise ValueError(f"{self.name} is not a struct of one element")
        (length,) = self._integers()
        packed = bytes(self._part()[1])
        if length <= 0 or len(packed) % length:
            raise ValueError(f"the names of the fields of {self.name} are damaged")
        names = [packed[at : at + length].split(b"\0")[0] for at in range(0, len(packed), length)]
        for _ in range(names.index(name.encode())):
            self._part()
        return self._part()[1]

    def numbers(self, most: int) -> NDArray[Any]:
        """Return the values of a matrix, in the type in which they are stored."""
        if not _FIRST_NUMERIC <= self._class <= _LAST_NUMERIC or len(self._shape) != 2:
            raise ValueError("it is not a matrix of numbers")
        height, width = self._shape
        if not 0 < height * width <= most or min(self._shape) <= 0:
            raise ValueError(f"it has {height} x {width} values, not 1 to {most:,}")
        kind, content = self._part()
        return np.frombuffer(content, f"{self._order}{_TYPES[kind]}").reshape(self._shape, order="F")

    def _part(self) -> tuple[int, memoryview]:
        if (found := next(self._parts, None)) is None:
            raise ValueError("an element is cut off")
        return found

    def _integers(self) -> list[int]:
        content = self._part()[1]
        if not content or len(content) % 4:
            raise ValueError("a size is damaged")
        return [number for (number,) in struct.iter_unpack(f"{self._order}i", content)]
