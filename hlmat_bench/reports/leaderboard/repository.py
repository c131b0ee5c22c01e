"""The folder of a leaderboard: entries, what maintainers verified of them, and those that were withdrawn.

    DIR/entries/ID.json    hlmat-entry/1, by submitters
    DIR/verified/ID.json   hlmat-verification/1, by maintainers: `hlmat-bench leaderboard verify ... --record`
    DIR/withdrawn/ID.json  hlmat-withdrawal/1, by maintainers

A level is never what an entry says of itself: it is in a file of its own, which holds the entry's SHA-256. An entry
that is changed afterwards falls back to *schema*.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import Exact
from hlmat_bench.protocol import manifest
from hlmat_bench.reports.leaderboard.duplicates import is_same_run
from hlmat_bench.reports.leaderboard.entry import (
    BoardEntry,
    Date,
    LongText,
    Name,
    Sha256,
    ShortText,
    checked,
    read_entry,
)
from hlmat_bench.reports.leaderboard.files import read_json
from hlmat_bench.reports.leaderboard.verify import schema_level
from hlmat_bench.reports.leaderboard.verify.findings import BadgeLevel

ENTRIES, VERIFIED, WITHDRAWN = "entries", "verified", "withdrawn"


class Verification(Exact):
    """What was verified of an entry.

    Attributes:
        entry_sha256: of the entry's file, so that a changed entry loses its level.
        level: the strongest level that was shown.
        date: the day.
        version: of hlmat-bench.
        notes: what a reader should know besides.
    """

    schema_id: Literal["hlmat-verification/1"] = Field(alias="schema")
    entry_sha256: Sha256
    level: Literal["schema", "recomputed", "replayed", "rerun"]
    date: Date
    version: ShortText
    notes: Annotated[list[LongText], Field(max_length=10)]


class Withdrawal(Exact):
    """An entry that was taken back: the row stays, without numbers.

    Attributes:
        id: of the entry.
        title: the model.
        task, group: where it stood.
        date: the day.
        reason: in a sentence or two.
    """

    schema_id: Literal["hlmat-withdrawal/1"] = Field(alias="schema")
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=100)]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    task: Name
    group: Name
    date: Date
    reason: LongText


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry with what was verified of it.

    Attributes:
        verification: None, or one of another version of the file, where nothing more than its form is known.
    """

    entry: BoardEntry
    verification: Verification | None

    @property
    def level(self) -> BadgeLevel:
        """Return the strongest level that was verified."""
        return self.verification.level if self.verification else "schema"


@dataclass(frozen=True, slots=True)
class Repository:
    """Everything that a site is made of, in the order of ids."""

    listed: Sequence[Listed]
    withdrawn: Sequence[Withdrawal]


def read_repository(folder: Path) -> Repository:
    """Read the entries of a folder, without those that were withdrawn.

    Raises:
        UsageError: when there is none, or a file in it does not fit its schema or contradicts itself.
    """
    if not (folder / ENTRIES).is_dir():
        raise UsageError(f"{folder} has no folder {ENTRIES}; `hlmat-bench leaderboard init {folder}` makes one.")
    withdrawn = [
        checked(Withdrawal, read_json(path), f"{WITHDRAWN}/{path.name}") for path in _files(folder / WITHDRAWN)
    ]
    gone = {each.id for each in withdrawn}
    listed = [_listed(path) for path in _files(folder / ENTRIES) if path.stem not in gone]
    return Repository(listed, withdrawn)


def same_run(path: Path, entry: BoardEntry) -> list[BoardEntry]:
    """Return the other entries in the folder that are of the same run; files that cannot be read are passed over."""
    found = []
    for other in _files(path.parent):
        if other.name == path.name:
            continue
        try:
            read = read_entry(other)
        except UsageError:
            continue  # `build` refuses it; here another entry is verified
        if read.manifest.task.name == entry.manifest.task.name and is_same_run(read, entry):
            found.append(read)
    return found


def record(path: Path, level: BadgeLevel, notes: Sequence[str] = ()) -> Path:
    """Write what was verified of the entry in ``DIR/entries/ID.json`` to ``DIR/verified/ID.json``.

    Raises:
        UsageError: when the entry is in no repository.
    """
    out = _beside(path, VERIFIED)
    document = {
        "schema": "hlmat-verification/1",
        "entry_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "level": level,
        "date": _today(),
        "version": importlib.metadata.version("hlmat-bench"),
        "notes": [note[:2000] for note in notes],
    }
    manifest.write_json(out, document)
    return out


def withdraw(path: Path, reason: str) -> Path:
    """Take an entry, ``DIR/entries/ID.json``, back: its row stays, with the reason, its numbers go.

    Raises:
        UsageError: when it is no entry, or is in no repository.
    """
    entry = read_entry(path)
    out = _beside(path, WITHDRAWN)
    task = entry.manifest.task
    values = {"id": entry.id, "title": entry.title, "task": task.name, "group": task.group, "reason": reason}
    tombstone = {"schema": "hlmat-withdrawal/1", **values, "date": _today()}
    manifest.write_json(out, checked(Withdrawal, tombstone, "The withdrawal").model_dump())
    path.unlink()
    _beside(path, VERIFIED).unlink(missing_ok=True)
    return out


def _beside(path: Path, folder: str) -> Path:
    """Return the path of an entry's file in another folder of its repository, and make that folder."""
    if path.parent.name != ENTRIES:
        raise UsageError(f"{path} is in no folder {ENTRIES} of a leaderboard; give the entry as DIR/{ENTRIES}/ID.json.")
    out = path.parent.parent / folder / path.name
    out.parent.mkdir(exist_ok=True)
    return out


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _listed(path: Path) -> Listed:
    entry = read_entry(path)
    for finding in schema_level.check(entry):
        raise UsageError(f"{path.name} contradicts itself: {finding}.")
    beside = path.parent.parent / VERIFIED / path.name
    if not beside.exists():
        return Listed(entry, None)
    verification = checked(Verification, read_json(beside), f"{VERIFIED}/{path.name}")
    same = verification.entry_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return Listed(entry, verification if same else None)
