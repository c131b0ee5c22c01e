"""The folder under the data root in which downloads are kept until they are complete."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from hlmat_bench.data.fetch.entries import FetchEntry

FOLDER = ".hlmat-fetch"
"""Its name, under the data root."""


class Staging:
    """The folder of one download.

    What is half downloaded or half unpacked lies here, so that it cannot be taken for data; what is complete is renamed
    to its place.

    Args:
        root: the data root.
        entry: the entry; entries with the same addresses share a folder.
    """

    def __init__(self, root: Path, entry: FetchEntry) -> None:
        identity = json.dumps([entry.addresses, entry.size, entry.sha256])
        self.folder = root / FOLDER / hashlib.sha256(identity.encode()).hexdigest()[:16]
        self.archive = self.folder / "archive" / entry.name

    def content(self, entry: FetchEntry) -> Path:
        """Return the folder of the files that an entry puts into its folder ``to``."""
        number = hashlib.sha256(entry.model_dump_json().encode()).hexdigest()[:8]
        return self.folder / f"content-{number}"

    def bytes_there(self) -> int:
        """Return the size of what earlier attempts downloaded, whole files and parts."""
        if self.archive.parent.is_dir():
            return sum(path.stat().st_size for path in self.archive.parent.iterdir() if path.suffix != ".json")
        files = self.folder.rglob("*") if self.folder.is_dir() else ()
        return sum(path.stat().st_size for path in files if path.is_file() and not path.name.endswith(".part.json"))

    def remove(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.folder, ignore_errors=True)
