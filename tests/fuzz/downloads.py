"""Readers of what is downloaded: archives, and what is kept of a broken download."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from pathlib import Path

from hlmat_bench.data.fetch.download import Part, Remote
from hlmat_bench.data.fetch.problems import AddressFailed
from hlmat_bench.data.fetch.unpack import unpack
from tests.fuzz.mutations import JSON
from tests.fuzz.target import Target, as_json, own_folder, put

FILES = {"a/im/1.png": b"one" * 50, "a/im/b/é.png": b"two", "a/gt/1.png": b"", "a/read.me": b"text"}
PATTERNS = ["im/*", "gt/*"]
_ORIGIN = {"url": "https://a.org/b", "validator": '"1"', "total": 9, "sha256": None}


def _zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for name, data in FILES.items():
                archive.writestr(name, data)
        made.append(buffer.getvalue())
    return made


def _tars() -> list[bytes]:
    made = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
            for name, data in FILES.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        made.append(buffer.getvalue())
    return [*made, gzip.compress(made[2], mtime=0)]


def _unpack(data: bytes) -> None:
    """Unpack an archive; a file outside of the folder is a finding."""
    place = own_folder("unpacked")
    shutil.rmtree(place)
    inside = place / "deep" / "to"
    inside.mkdir(parents=True)
    try:
        unpack(put("archive", data), PATTERNS, inside)
    finally:
        outside = [path for path in place.rglob("*") if not path.is_dir() and inside not in path.parents]
        special = [path for path in place.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
        assert outside + special == []


def _part(data: bytes) -> int:
    path = put("a.part.json", data).with_name("a")
    put("a.part", b"12345")
    return Part(Path(path), Remote("https://a.org/b", "a")).continued_from


TARGETS = (
    Target("zips", _unpack, _zips, errors=(AddressFailed,)),
    Target("tars", _unpack, _tars, errors=(AddressFailed,)),
    Target("parts", _part, as_json(_ORIGIN), JSON),
)
