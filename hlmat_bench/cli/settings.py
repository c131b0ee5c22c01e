"""Words of the command line as values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError


def settings(pairs: list[str]) -> dict[str, Any]:
    """``key=value`` words as a dict; values are read as YAML, and ``@file`` is the file's text.

    Raises:
        UsageError: for a word of another form, or a file that cannot be read.
    """
    from hlmat_bench.protocol.plugins import scalar

    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {pair!r}.")
        values[key] = _file_text(value[1:]) if value.startswith("@") else scalar(value)
    return values


def _file_text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file {name} of a setting cannot be read: {error}.") from error
