"""Reading a YAML file that a user wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hlmat_bench.errors import UsageError


def read(path: Path, what: str) -> Any:
    """The value in a YAML file.

    Args:
        path: the file.
        what: what it is, for the errors, e.g. ``"task file"``.

    Raises:
        UsageError: when it is not there, or is no readable YAML.
    """
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"There is no {what} {path}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"The {what} {path} is no readable YAML ({' '.join(str(error).split())}).") from error
