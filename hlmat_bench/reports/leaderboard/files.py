"""Reading JSON files that strangers submit: small, regular, plain JSON, or refused before anything is built from them.

Nothing is ever unpacked or executed: a compressed file is no JSON.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from hlmat_bench.core.errors import UsageError

MAX_BYTES = 4 * 2**20
"""The largest file. An entry of 10,834 samples and 7 clicks has 1.5 MB."""

MAX_DEPTH, MAX_VALUES, MAX_TEXT, MAX_NUMBER = 12, 20_000, 20_000, 2**53


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object in a file from a stranger.

    Raises:
        UsageError: for a link, anything but a regular file, more than `MAX_BYTES`, and what is no JSON object: among
            that, NaN and infinities, a key that stands twice, and text that is no UTF-8.
    """
    data = _bytes(path)
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)
    except RecursionError:
        raise UsageError(f"{path.name} is nested too deeply; an entry is a flat JSON object.") from None
    except ValueError as error:
        raise UsageError(f"{path.name} is no JSON: {_cut(str(error).partition(';')[0])}.") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path.name} is no JSON object.")
    return value


def check_bounded(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the JSON value, when its depth, number of values, texts and numbers are within the limits.

    Raises:
        ValueError: says which limit is exceeded.
    """
    waiting: list[tuple[Any, int]] = [(value, 0)]
    seen = 0
    while waiting:
        item, depth = waiting.pop()
        seen += 1
        if depth > MAX_DEPTH or seen > MAX_VALUES:
            raise ValueError(f"nested deeper than {MAX_DEPTH} or more than {MAX_VALUES} values")
        if isinstance(item, Mapping):
            waiting += [(part, depth + 1) for pair in item.items() for part in pair]
        elif isinstance(item, list):
            waiting += [(part, depth + 1) for part in item]
        else:
            _check_scalar(item)
    return value


def _check_scalar(item: Any) -> None:
    if isinstance(item, str):
        if len(item) > MAX_TEXT:
            raise ValueError(f"a text longer than {MAX_TEXT} characters")
        if not item.isascii():
            item.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    elif isinstance(item, int | float):
        if abs(item) > MAX_NUMBER or not math.isfinite(item):  # a huge int fits no float
            raise ValueError("a number that is not finite or beyond 2**53")
    elif item is not None:
        raise ValueError(f"{type(item).__name__} is no JSON")


def _bytes(path: Path) -> bytes:
    """Read the whole file, never more than the limit; neither a link nor a pipe is opened."""
    try:
        before = path.lstat()
        if not stat.S_ISREG(before.st_mode):
            raise UsageError(f"{path.name} is no regular file; links are not followed.")
        if before.st_size > MAX_BYTES:
            raise UsageError(f"{path.name} has {before.st_size} bytes; at most {MAX_BYTES} are taken.")
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path.name} has more than {MAX_BYTES} bytes.")
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return value


def _cut(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."
