"""Reads annotation files: JSON, tables, and single fields of their contents."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.layouts.problems import BadAnnotation, Unannotated

_T = TypeVar("_T")
_NAMES = {dict: "an object", list: "a list", str: "a string", int: "an integer"}
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
TAG = "tag:"
"""The prefix of the columns of tags; the name of the tag after it keeps its capital letters."""


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Raises:
        BadAnnotation: when the file cannot be read, is no plain file or is not UTF-8.
    """
    try:
        return plain_files.read_text(path, plain_files.MAX_ANNOTATIONS)
    except UsageError as error:
        raise BadAnnotation(str(error)) from error


def read_json(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        BadAnnotation: when the file cannot be read or is no JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Return the value of JSON text; ``where`` is the name of the text in error messages.

    Raises:
        BadAnnotation: when the text is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnnotation(f"{where} is not valid JSON ({error}); get the file again.") from error


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A CSV file.

    Attributes:
        columns: the header's names, in lower case and without blanks around them; no two are equal.
        rows: the cells by these names, as they are in the file.
        separator: the name of the separator between cells, e.g. ``"commas"``.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, str]]
    separator: str


def read_csv(path: Path) -> CsvTable:
    """Read a CSV file with a header.

    The separator is the first of comma, semicolon, tab and bar that the header contains. A column without a name, such
    as the index that pandas writes, is left out; empty cells are empty strings.

    Raises:
        BadAnnotation: when the file cannot be read, has no header or two equal columns, or a row has more or fewer
            cells.
    """
    text = read_text(path)
    header, _, rest = text.partition("\n")
    if re.fullmatch(r"sep=.\r?", header):  # Excel writes it before the header.
        text, header = rest, rest.partition("\n")[0]
    separator = next((one for one in _SEPARATORS if one in header), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [_column(name) for name in next(reader, [])]
        rows = [_row(columns, cells, f"Line {reader.line_num} of {path}", separator) for cells in reader if cells]
    except csv.Error as error:
        raise BadAnnotation(f"Line {reader.line_num} of {path} is not valid CSV ({error}); correct it.") from error
    if not columns:
        raise BadAnnotation(f"{path} is empty; its first line names the columns.")
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise BadAnnotation(f"{path} has the column {twice[0]!r} twice; remove or rename one of them.")
    return CsvTable(tuple(filter(None, columns)), rows, _SEPARATORS[separator])


def _column(name: str) -> str:
    name = name.strip()
    return TAG + name[len(TAG) :] if name.lower().startswith(TAG) else name.lower()


def _row(columns: list[str], cells: list[str], where: str, separator: str) -> dict[str, str]:
    if len(cells) != len(columns):
        raise BadAnnotation(
            f"{where} has another number of cells than the header ({len(cells)}, not {len(columns)}); quote cells with "
            f"{_SEPARATORS[separator]} in them."
        )
    return {name: cell for name, cell in zip(columns, cells, strict=True) if name}


class UniqueIds:
    """Refuses repeated ids; the integer 1 and the text "1" are the same id.

    Args:
        what: the things that have the ids, in the plural and with their file.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first: dict[str, int] = {}

    def add(self, ident: int | str) -> None:
        """Add the next id.

        Raises:
            BadAnnotation: when an earlier thing has this id.
        """
        number = len(self._first)
        first = self._first.setdefault(str(ident), number)
        if first != number:
            raise BadAnnotation(
                f"Two of the {self._what} have the id {ident}: number {first + 1} and number {number + 1}; give each "
                "an id of its own."
            )


def same(name: str) -> str:
    """Return a name in Unicode's NFC, in which names are compared, because macOS writes file names decomposed."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def take(record: Any, key: str, kind: type[_T], where: str) -> _T:
    """Return a field of a record.

    Args:
        record: the value that should be an object with this field.
        key: the field's name.
        kind: the type that the field should have.
        where: the name of the record in error messages.

    Raises:
        BadAnnotation: when the record is no object, or the field is missing or of another type.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadAnnotation(f"{where} should have {_NAMES.get(kind, kind.__name__)} {key!r}; correct the annotation.")
    return value


def take_id(record: Any, key: str, where: str) -> int | str:
    """Return an identifier, integer or string; see `take`."""
    value = record.get(key) if isinstance(record, Mapping) else None
    if isinstance(value, str) and value:
        return value
    return take(record, key, int, where)


def take_texts(record: Any, key: str, where: str) -> list[str]:
    """Return a string, or a list of strings, as a list; see `take`.

    Raises:
        Unannotated: when there is no text.
        BadAnnotation: when the field has another type.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    texts = [value] if isinstance(value, str) else value
    if texts in (None, "", [""], []):
        raise Unannotated(f"{where} should have a string or a list of strings {key!r}; correct the annotation.")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadAnnotation(f"{where} should have a string or a list of strings {key!r}; correct the annotation.")
    return texts
