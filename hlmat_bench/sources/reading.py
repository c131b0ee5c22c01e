"""Reading annotation files: JSON, and single fields of what they hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from hlmat_bench.sources.problems import BadAnnotation

_T = TypeVar("_T")
_NAMES = {dict: "an object", list: "a list", str: "a string", int: "an integer"}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        BadAnnotation: when it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadAnnotation(f"{path} cannot be read as UTF-8 text ({error}); get the file again.") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        BadAnnotation: when it cannot be read or is no JSON.
    """
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """The value of JSON text; ``where`` is what an error calls it.

    Raises:
        BadAnnotation: when it is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadAnnotation(f"{where} is no valid JSON ({error}); get the file again.") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; empty cells are empty strings.

    Raises:
        BadAnnotation: when it cannot be read, has no header, or a row has more or fewer cells than the header.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise BadAnnotation(
                    f"Line {reader.line_num} of {path} has not as many cells as the header; quote cells with commas."
                )
            rows.append(row)
    except csv.Error as error:
        raise BadAnnotation(f"Line {reader.line_num} of {path} is no valid CSV ({error}); correct it.") from error
    if not reader.fieldnames:
        raise BadAnnotation(f"{path} is empty; its first line names the columns.")
    return rows


def take(record: Any, key: str, kind: type[_T], where: str) -> _T:
    """A field of a record.

    Args:
        record: what should be an object with that field.
        key: the field's name.
        kind: the type the field should have.
        where: what an error calls the record.

    Raises:
        BadAnnotation: when the record is no object, or the field is missing or of another type.
    """
    value = record.get(key) if isinstance(record, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BadAnnotation(f"{where} should have {_NAMES.get(kind, kind.__name__)} {key!r}; correct the annotation.")
    return value


def take_id(record: Any, key: str, where: str) -> int | str:
    """An identifier, integer or string; see `take`."""
    value = record.get(key) if isinstance(record, Mapping) else None
    if isinstance(value, str) and value:
        return value
    return take(record, key, int, where)


def take_texts(record: Any, key: str, where: str) -> list[str]:
    """A string, or a list of strings, as a list; see `take`."""
    value = record.get(key) if isinstance(record, Mapping) else None
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadAnnotation(f"{where} should have a string or a list of strings {key!r}; correct the annotation.")
    return texts
