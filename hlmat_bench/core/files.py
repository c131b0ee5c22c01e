"""Reads a YAML file that a user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlmat_bench.core import plain_files
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import cut

_MAX_BYTES = 2**20
"""The parser reads about 100 kB a second."""
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


def read(path: Path, what: str) -> Any:
    """Return the value in a YAML file; dates stay text.

    Args:
        path: the file.
        what: the kind of file, for error messages, e.g. ``"task file"``.

    Raises:
        UsageError: when the file does not exist or is no valid YAML.
    """
    import yaml

    if not plain_files.exists(path):
        raise UsageError(f"There is no {what} {cut(str(path))}; correct its name.")

    class Loader(yaml.SafeLoader):
        """Reads plain values. Dates stay text: no field holds a date, and 2024-13-45 would be an error."""

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag != _TIMESTAMP]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return yaml.load(_text(path), Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = cut(" ".join(str(error).split()))
        raise UsageError(f"The {what} {path} is not readable YAML ({why}); correct it.") from error


def _text(path: Path) -> str:
    return plain_files.read_text(path, _MAX_BYTES)
