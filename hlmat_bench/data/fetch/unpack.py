"""Unpacks chosen files of an archive from elsewhere: only plain files, only inside a folder, and only so much.

Formats: ZIP (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT) and tar (POSIX.1-2017, pax), the latter also
compressed with gzip, bzip2 or xz. The libraries' own functions that unpack whole archives are not used: what they
write depends on an archive's names and types, which are checked here first.
"""

from __future__ import annotations

import bz2
import errno
import filecmp
import gzip
import lzma
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from hlmat_bench.core.text import cut
from hlmat_bench.data.fetch.problems import AddressFailed
from hlmat_bench.data.layouts.problems import valid_name

MOST_FILES = 1_000_000
"""The most members of an archive; ThinObject-5K, DIS5K and COCO's train2014 have fewer than 200,000."""
MOST_RATIO = 100
"""How many times larger than the archive its content may be; annotations in JSON shrink to about a tenth."""
ALWAYS_ALLOWED = 2**26
"""The size of the content, in bytes, that is allowed whatever the ratio."""
MOST_AT_ONCE = 2**22
"""The most bytes that reading a tar archive's own headers may ask for: names and comments are shorter."""
_CHUNK = 2**20
_MOST_PARTS = 64
_COMPRESSIONS: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # a compression that zipfile does not know
    RuntimeError,  # a password
    ValueError,  # numbers and names that make no sense
    OverflowError,
    IndexError,
)
_DAMAGE = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)
"""The numbers of an `OSError` that an archive causes, not the disk: damaged data of gzip and bzip2, bad names."""
_LEFTOVERS = {"__MACOSX", ".DS_Store", "Thumbs.db"}


@dataclass(frozen=True)
class _Member:
    """A member of an archive.

    Attributes:
        name: as the archive has it.
        size: in bytes, as the archive says.
        kind: ``file``, ``folder``, or in words what else it is.
        open: opens the bytes of a file.
        position: how far the archive is read with it, in bytes.
    """

    name: str
    size: int
    kind: str
    open: Callable[[], IO[bytes]]
    position: int = 0


def unpack(
    archive: Path,
    patterns: Sequence[str],
    to: Path,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Unpack the files of an archive that fit a pattern.

    Args:
        archive: a plain file.
        patterns: see `entries.FetchEntry.unpack`.
        to: the folder to write to; it holds nothing else.
        progress: is told how far the archive was read, and its size, in bytes.

    Raises:
        AddressFailed: when the archive is damaged, has too much in it or nothing that fits a pattern, or when what fits
            is no plain file, leads out of the folder, or is there twice with different content.
        OSError: when a file cannot be written.
    """
    size = archive.stat().st_size
    room = max(MOST_RATIO * size, ALWAYS_ALLOWED)
    seen: set[str] = set()
    with _damage_named(archive):
        for number, member in enumerate(_members(archive), start=1):
            # What an archive says of sizes is believed only where it speaks against it: `_copy` counts again.
            room -= member.size
            if number > MOST_FILES or room < 0 or member.size < 0:
                raise AddressFailed(
                    f"{archive.name} unpacks to more than {MOST_RATIO} times its size or to more than {MOST_FILES:,} "
                    "files, which no data set does"
                )
            fitting = _fitting(member, patterns)
            if fitting is not None:
                seen.add(fitting[0])
                _write(member, to.joinpath(*fitting[1]), archive.name)
            progress(min(member.position, size), size)
    for pattern in patterns:
        if pattern not in seen:
            raise AddressFailed(f"{archive.name} has no file that fits {pattern}")


def _fitting(member: _Member, patterns: Sequence[str]) -> tuple[str, tuple[str, ...]] | None:
    """Return the pattern that a member fits, and the place for it as parts of a path; None where it fits none."""
    if member.kind == "folder":
        return None
    parts = [part for part in member.name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or _LEFTOVERS & set(parts) or parts[-1].startswith("._"):
        return None
    for start in range(min(len(parts), _MOST_PARTS)):
        rest = "/".join(parts[start:])
        found = next((pattern for pattern in patterns if fnmatchcase(rest, pattern)), None)
        if found is not None:
            _check_safe(member, parts)
            return found, tuple(parts[start:])
    return None


def _check_safe(member: _Member, parts: Sequence[str]) -> None:
    shown = cut(ascii(valid_name(member.name)))
    if member.kind != "file":
        raise AddressFailed(f"its member {shown} is {member.kind}, which is not unpacked")
    leads_out = member.name[:1] in ("/", "\\") or ".." in parts or re.match(r"[A-Za-z]:", member.name)
    if leads_out or "\0" in member.name or len(parts) > _MOST_PARTS:
        raise AddressFailed(f"its member {shown} leads out of the folder that it is unpacked to")


def _write(member: _Member, path: Path, archive: str) -> None:
    """Write a member; one that is there already, also under a name in other capital letters, must be the same."""
    draft = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, draft.open("xb") as target:
            _copy(source, target, member)
    except (FileExistsError, NotADirectoryError) as error:
        raise AddressFailed(f"{archive} has a file and a folder of one name, or two files of one name") from error
    if path.exists() and (path.is_dir() or not filecmp.cmp(draft, path, shallow=False)):
        raise AddressFailed(f"{archive} has two different files called {cut(ascii(valid_name(member.name)))}")
    draft.replace(path)


def _copy(source: IO[bytes], target: BinaryIO, member: _Member) -> None:
    left = member.size
    while piece := source.read(_CHUNK):
        left -= len(piece)
        if left < 0:
            raise AddressFailed(f"its member {cut(ascii(valid_name(member.name)))} is larger than the archive says")
        target.write(piece)
    if left:
        raise AddressFailed(f"its member {cut(ascii(valid_name(member.name)))} ends too early")


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _DAMAGE:
            raise
        words = cut(" ".join(str(error).split())) or type(error).__name__
        raise AddressFailed(f"{archive.name} cannot be unpacked ({words})") from error


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as file:
        head = file.read(6)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield from _of_zip(archive)
            return
        opener = next((found for magic, found in _COMPRESSIONS.items() if head.startswith(magic)), None)
        file.seek(0)
        for member in _of_tar(cast(BinaryIO, opener(file)) if opener else file):
            yield replace(member, position=file.tell())


def _of_zip(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            end = info.header_offset + info.compress_size
            yield _Member(_zip_name(info), info.file_size, _zip_kind(info), partial(opened.open, info), end)


def _zip_name(info: zipfile.ZipInfo) -> str:
    """Return a name; without the mark of UTF-8 it is read as UTF-8 where it is valid, and else as code page 437."""
    name = info.orig_filename
    if info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if info.orig_filename.endswith(("/", "\\")):
        return "folder"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind in (0, stat.S_IFREG):
        return "file"
    return "folder" if kind == stat.S_IFDIR else "a link" if kind == stat.S_IFLNK else "a device or pipe"


def _of_tar(file: BinaryIO) -> Iterator[_Member]:
    with tarfile.open(fileobj=cast(Any, _Careful(file)), mode="r:") as opened:
        while (info := opened.next()) is not None:
            # A list of all members is of no use here, and 1,000,000 take a gigabyte.
            cast(Any, opened).members.clear()
            yield _Member(info.name, info.size, _tar_kind(info), partial(_of_member, opened, info))


def _of_member(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    return cast(IO[bytes], opened.extractfile(info))


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issparse():
        return "a sparse file"
    if info.isreg():
        return "file"
    return "folder" if info.isdir() else "a link" if info.issym() or info.islnk() else "a device or pipe"


class _Careful:
    """A file for tarfile, which reads a header of any size that an archive names into memory.

    Args:
        file: a file that can be read and sought.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        """Read bytes, see ``io.RawIOBase.read``."""
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError("a header is too long")
        return self._file.read(size)
