"""Write the data of pages as JSON, as CSV, and as JSON in scripts, which a page opened from a file can load."""

from __future__ import annotations

import json
from typing import Any

from hlmat_bench.core.tables import csv_text as csv_text


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Write a value as JSON with sorted keys, so that equal values give equal texts.

    Raises:
        ValueError: when a number is not finite.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False, indent=indent, separators=separators)


def script(key: str, text: str) -> str:
    """Return a script that gives a JSON text to the page under a key: ``HL.put("s0", "...")``, in ASCII.

    A page that is opened from a file cannot fetch data or import modules, but it can load such scripts.
    """
    return f"HL.put({json.dumps(key)}, {json.dumps(text)});\n"
