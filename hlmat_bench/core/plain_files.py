"""Reads and replaces whole files: reads only plain files of a bounded size, and text only as UTF-8."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import cut

MAX_TEXT = 2**28
"""The maximum size, in bytes, of a table, a list or a settings file."""
MAX_ANNOTATIONS = 2**32
"""The maximum size, in bytes, of an annotation file; the largest of LVIS has 1.1 GB."""

_FORMATS = {
    b"PAR1": (
        "a parquet file",
        "convert it to JSON with pandas.read_parquet(FILE).to_json(NEW, orient='records') and name the new file, "
        "or read it with the layout parquet",
    ),
    b"ARROW1": ("an Arrow file", "convert it to JSON with pandas.read_feather(FILE).to_json(NEW, orient='records')"),
    b"PK\x03\x04": ("a ZIP or Excel file", "unpack it, or save the sheet as CSV in UTF-8, and name that file"),
    b"\xd0\xcf\x11\xe0": ("an Excel file", "save the sheet as CSV in UTF-8 and name that file"),
    b"\x1f\x8b": ("a gzip file", "unpack it and name the unpacked file"),
    b"\x89HDF": ("an HDF5 file", "convert it to JSON and name the new file"),
    b"\x93NUMPY": ("a numpy file", "convert it to JSON with numpy.load(FILE).tolist() and name the new file"),
    b"SQLite format 3": ("an SQLite database", "export it as CSV or JSON and name the new file"),
    b"%PDF": ("a PDF file", "name the file of the data instead"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the file itself", "get the file with `git lfs pull`"),
}
"""The first bytes of other formats (https://en.wikipedia.org/wiki/List_of_file_signatures), with name and advice."""
_HEAD = 4096


def read_bytes(path: Path, most: int = MAX_TEXT) -> bytes:
    """Return the content of a plain file of at most ``most`` bytes.

    Raises:
        UsageError: when the path does not exist, is a folder, a pipe or a device, is larger, or cannot be read.
    """
    try:
        check_plain(path)
        if path.stat().st_size > most:
            raise UsageError(f"{path} is larger than {most:,} bytes, the most that is read; make it smaller.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{cut(str(path))} cannot be read ({error.strerror}); correct its name or rights.") from error


def check_plain(path: Path) -> None:
    """Raise `UsageError` when a path is no plain file: a pipe or a device could be read without an end."""
    if not path.is_file():
        raise UsageError(f"{cut(str(path))} {_instead_of_a_file(path)}; name a plain file.")


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """Return the text of a UTF-8 file, without its byte order mark; see `read_bytes`.

    Raises:
        UsageError: when the file is no UTF-8 text; the sentence says what it seems to be and how to convert it.
    """
    data = read_bytes(path, most)
    check_format(data, str(path))
    encoding = _other_encoding(data)
    if encoding:
        raise UsageError(f"{path} is not UTF-8 text: it looks like {encoding}; save it as UTF-8.")
    return data.decode("utf-8-sig")


def check_format(data: bytes, name: str) -> None:
    """Raise `UsageError` when a file begins with the signature of a format that is not supported."""
    for start, (kind, advice) in _FORMATS.items():
        if data.startswith(start):
            raise UsageError(f"{name} is {kind}; {advice}.")


@contextmanager
def replaced(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Write a file that takes the place of an older one when it is whole: a reader sees the old one or the new one.

    Args:
        path: the file.
        durable: wait until the disk has it, so that the new file survives when the machine loses its power.

    Raises:
        OSError: when it cannot be written.
    """
    draft = path.with_name(path.name + ".draft")
    with draft.open("wb") as file:
        yield file
        if durable:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)


def is_file(path: Path) -> bool:
    """Return whether a path is a plain file; False where the system refuses the path, e.g. because it is too long."""
    try:
        return path.is_file()
    except OSError:
        return False


def exists(path: Path) -> bool:
    """Return whether a path is a file or a folder; False where the system refuses it, as `is_file`."""
    try:
        return path.exists()
    except OSError:
        return False


def _instead_of_a_file(path: Path) -> str:
    if path.is_dir():
        return "is a folder"
    return "is a pipe or a device" if path.exists() else "does not exist"


def _other_encoding(data: bytes) -> str:
    """Return the name of the encoding that a text seems to have; empty where it is UTF-8."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    if b"\0" in data[:_HEAD]:
        return "UTF-16" if re.match(rb"(?:\0[^\0]|[^\0]\0)", data) else "a binary file"
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError:
        # In a western European text, single accented letters stand between ASCII letters; in other one-byte or two-byte
        # encodings, whole words are above 127.
        runs = re.findall(rb"[\x80-\xff]+", data)
        western = 2 * len(runs) > sum(map(len, runs))
        return "cp1252, the usual encoding of Windows" if western else "another encoding"
    return ""
