"""A reader of foreign input, for hypothesis and for atheris, and what readers share.

A reader gives a value or raises one of its errors (`UsageError` for files), in one line. Whatever else it raises, a
hang, or more than 200 MB is a finding.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hlmat_bench.core.errors import MOST_LETTERS, UsageError
from tests.fuzz.mutations import Form


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: of the target and of its folder in corpus/.
        read: gives these bytes to the reader.
        seeds: returns valid inputs.
        form: how the inputs are structured; None where they are only bytes or text.
        errors: what the reader may raise.
    """

    name: str
    read: Callable[[bytes], object]
    seeds: Callable[[], Sequence[bytes]]
    form: Form | None = None
    errors: tuple[type[Exception], ...] = (UsageError,)

    def __call__(self, data: bytes) -> None:
        """Read an input; raise what is a finding."""
        try:
            self.read(data)
        except self.errors as error:
            said = str(error)
            assert "\n" not in said, said
            assert len(said) <= MOST_LETTERS, said[:200]


@functools.cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="hlmat-fuzz-")


def own_folder(name: str) -> Path:
    """Return a folder of this process, which is removed at its end."""
    folder = Path(_temporary().name) / name
    folder.mkdir(exist_ok=True)
    return folder


def put(name: str, data: bytes) -> Path:
    path = own_folder("files") / name
    path.write_bytes(data)
    return path


def as_text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def parsed(data: bytes) -> Any:
    """Return a JSON value; None for what is not JSON, which these readers are never given."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def as_json(*values: Any) -> Callable[[], list[bytes]]:
    return lambda: [json.dumps(value).encode() for value in values]


def as_yaml(*values: Any) -> list[bytes]:
    return [yaml.safe_dump(value).encode() for value in values]
