"""SHA-256 digests of files, kept in memory while the file system says that a file is unchanged."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hlmat_bench.core.cache import Cache

_digests: Cache[tuple[Path, tuple[int, ...]], str] = Cache(2**20)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes.

    The file is read again only when its size, a time or its number (inode) changed since this process last read it.

    Raises:
        OSError: when the file cannot be read.
    """

    def digest() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    stat = path.stat()
    # The change time (ctime) differs even where a tool restored the old modification time.
    return _digests.get((path, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)), digest)
