"""Data files of pages: JSON, CSV, and the same JSON as scripts, which a page that is opened from a file can load."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hlmat_bench.core.text import neutral


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that depends on the value alone: keys in order, no NaN.

    Raises:
        ValueError: when a number in it is not finite.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent, separators=separators)


def script(key: str, text: str) -> str:
    """A classic script that hands a JSON text to the page under a key: ``HL.put("s0", "...")``, in ASCII.

    Pages from a file can neither fetch nor import modules; they can load such scripts.
    """
    return f"HL.put({json.dumps(key)}, {json.dumps(text)});\n"


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV file; texts are neutralised, numbers are written so that they read back equal, None is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")  # so that both are quoted within a cell
    writer.writerow(headers)
    for row in rows:
        writer.writerow([neutral(cell) if isinstance(cell, str) else cell for cell in row])
    return file.getvalue()
