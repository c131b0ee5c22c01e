"""SHA-256 digests of files, kept in memory while the file system says that a file is unchanged."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

_known: dict[Path, tuple[tuple[int, ...], str]] = {}
_lock = threading.Lock()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's bytes.

    The file is read again only when its size, a time or its number (inode) changed since this process last read it.

    Raises:
        OSError: when the file cannot be read.
    """
    stat = path.stat()
    # The change time (ctime) differs even where a tool restored the old modification time.
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    with _lock:
        known = _known.get(path)
    if known is not None and known[0] == state:
        return known[1]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with _lock:
        _known[path] = (state, digest)
    return digest
