"""What is to be downloaded for tasks, told before it begins: from where, how much, under which licence."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.plain_files import exists, is_file
from hlmat_bench.core.samples import Source
from hlmat_bench.data.fetch.entries import FetchEntry
from hlmat_bench.data.fetch.remotes import Remotes
from hlmat_bench.data.fetch.staging import Staging
from hlmat_bench.data.layouts.file_source import FileSource


class _Counts(Protocol):
    @property
    def images(self) -> int | None: ...


class Fetchable(Protocol):
    """A task, as far as fetching needs it; see `hlmat_bench.data.tasks.Task`."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def fetch(self) -> tuple[FetchEntry, ...]:
        """The files that make up its data."""
        ...

    @property
    def licence(self) -> str:
        """The licence of its data."""
        ...

    @property
    def citation(self) -> str:
        """The citation of its data."""
        ...

    @property
    def how_to_get(self) -> str:
        """How to get what cannot be fetched."""
        ...

    @property
    def expected(self) -> _Counts:
        """The published counts."""
        ...

    def missing(self, data_root: Path | None = None) -> str | None:
        """Return what is missing, in a few words."""
        ...

    def source(self, data_root: Path | None = None) -> Source:
        """Open its data."""
        ...


@dataclass(frozen=True)
class Part:
    """One download.

    Attributes:
        entries: entries of task files; several where one archive is unpacked in several ways.
        size: in bytes; None where no server says it.
        there: bytes that an earlier attempt left.
    """

    entries: tuple[FetchEntry, ...]
    size: int | None
    there: int

    @property
    def instead(self) -> tuple[FetchEntry, ...]:
        """What is fetched where none of the addresses gives a usable file."""
        return tuple(dict.fromkeys(other for entry in self.entries for other in entry.instead))

    @property
    def left(self) -> int | None:
        """The bytes that are not there yet; None where that is not known."""
        return None if self.size is None else max(self.size - self.there, 0)

    @property
    def to_write(self) -> int:
        """The bytes that the disk must have room for, as far as they are known."""
        unpacked = sum(entry.unpacked or 0 for entry in self.entries)
        if not unpacked and self.entries[0].unpack:
            unpacked = self.size or 0  # images and masks are compressed already
        return (self.left or 0) + unpacked

    def lines(self) -> list[str]:
        """Return what is downloaded, in lines."""
        first = self.entries[0]
        left = f", {size_words(self.there)} of it there already" if self.there else ""
        places = " and ".join(dict.fromkeys(name for entry in self.entries for name in entry.gives()))
        how = "unpacked to" if first.unpack else "to"
        return [
            f"  {first.name}: {size_words(self.size)}{left}, {how} {places}",
            *(f"    {'or ' if number else ''}from {address}" for number, address in enumerate(first.addresses)),
            *(f"    or else {one.name}, to {', '.join(one.gives())}, from {one.addresses[0]}" for one in self.instead),
        ]


@dataclass(frozen=True)
class Images:
    """The images that a task's samples name.

    Attributes:
        task: the task.
        entry: where they come from.
        number: how many are to be downloaded; None where that is not known before the annotations are there.
    """

    task: Fetchable
    entry: FetchEntry
    number: int | None

    @property
    def left(self) -> int | None:
        """The bytes that are not there yet; None where that is not known."""
        return self.number * self.entry.size if self.number and self.entry.size else None

    @property
    def to_write(self) -> int:
        """The bytes that the disk must have room for, as far as they are known."""
        return (self.number or 0) * (self.entry.size or 0)

    def lines(self) -> list[str]:
        """Return what is downloaded, in lines."""
        number = "the images" if self.number is None else f"{self.number:,} image{'s' * (self.number != 1)}"
        size = f"about {size_words(self.to_write)}" if self.to_write else "size unknown"
        return [
            f"  {number} that {self.task.name} names: {size}, to {self.entry.to}",
            *(f"    {'or ' if number else ''}from {address}" for number, address in enumerate(self.entry.addresses)),
        ]


@dataclass(frozen=True)
class Plan:
    """What is to be downloaded for tasks.

    Attributes:
        root: the data root.
        tasks: the tasks.
        parts: files and archives that are not there.
        images: images that are not there, by task.
        by_hand: why data of tasks cannot be downloaded, by the task's name, as the end of a sentence.
    """

    root: Path
    tasks: tuple[Fetchable, ...]
    parts: tuple[Part, ...]
    images: tuple[Images, ...]
    by_hand: Mapping[str, str] = field(default_factory=dict)

    @property
    def downloads(self) -> tuple[Part | Images, ...]:
        """All that is to be downloaded."""
        return (*self.parts, *self.images)

    def text(self) -> str:
        """Return what is downloaded, from where, how much and under which licence, as text for a terminal."""
        lines = [f"{name} cannot be fetched by this command: {why}." for name, why in self.by_hand.items()]
        if not self.downloads:
            return "\n".join([*lines, f"Everything {'else ' if lines else ''}is there under {self.root}."])
        lines += [f"To be downloaded to {self.root}:"]
        lines += [line for one in self.downloads for line in one.lines()]
        sizes = [one.left for one in self.downloads]
        more = " and what has no known size" if None in sizes else ""
        lines += [f"In all {size_words(sum(filter(None, sizes)))} to download{more}."]
        terms: dict[tuple[str, str], list[str]] = {}
        for task in self.tasks:
            if task.name not in self.by_hand:
                terms.setdefault((task.licence, task.citation), []).append(task.name)
        for (licence, citation), names in terms.items():
            lines += [
                f"{', '.join(names)}:",
                f"  licence: {licence or 'not known'}",
                f"  cite: {citation or 'not known'}",
            ]
        return "\n".join(lines)

    def check_space(self) -> None:
        """Check that the disk has room for what is downloaded and unpacked, as far as the sizes are known.

        Raises:
            UsageError: when it has not.
        """
        needed = sum(one.to_write for one in self.downloads)
        folder = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UsageError(
                f"The disk of {self.root} has {size_words(free)} free, and {size_words(needed)} are needed; free some "
                "space, or choose another --data-root."
            )


def plan(tasks: Sequence[Fetchable], root: Path, remotes: Remotes) -> Plan:
    """Return what is to be downloaded for tasks, so that their data lies under a root.

    Args:
        tasks: the tasks.
        root: the data root.
        remotes: asks the servers.

    Raises:
        UsageError: when the data of none of the tasks can be downloaded, or the disk has too little room.
    """
    wanted: dict[tuple[str, ...], list[FetchEntry]] = {}
    images: list[Images] = []
    by_hand: dict[str, str] = {}
    for task in tasks:
        lacks = task.missing(root)
        if lacks and not task.fetch:
            by_hand[task.name] = task.how_to_get or "its task file has no section fetch"
        for entry in task.fetch:
            if entry.per_image:
                number = task.expected.images if lacks else len(absent_images(task, entry, root))
                images += [Images(task, entry, number)] if number != 0 else []
            elif lacks and not is_there(entry, root):
                group = wanted.setdefault(entry.addresses, [])
                group += [entry] if entry not in group else []
    parts = tuple(_part(entries, root, remotes) for entries in wanted.values())
    planned = Plan(root, tuple(tasks), parts, tuple(images), by_hand)
    if len(by_hand) == len(tasks) > 0:
        raise UsageError(planned.text().splitlines()[0])
    planned.check_space()
    return planned


def _part(entries: Sequence[FetchEntry], root: Path, remotes: Remotes) -> Part:
    return Part(tuple(entries), remotes.size(entries[0]), Staging(root, entries[0]).bytes_there())


def is_there(entry: FetchEntry, root: Path) -> bool:
    """Return whether all that an entry gives, or what replaces it, is there: it appears only when it is complete."""
    if all(exists(root / name) for name in entry.gives()):
        return True
    return bool(entry.instead) and all(is_there(other, root) for other in entry.instead)


def absent_images(task: Fetchable, entry: FetchEntry, root: Path) -> list[Path]:
    """Return the image files under a root that a task's samples name and that are not there.

    Raises:
        UsageError: when the annotations are missing or damaged.
    """
    source = task.source(root)
    files: Iterable[Path] = source.image_files() if isinstance(source, FileSource) else ()
    return [path for path in files if path.is_relative_to(root) and not is_file(path)]


def size_words(size: int | None) -> str:
    """Return a number of bytes in a unit that gives at least 1.

    >>> size_words(1_536_000_000), size_words(999), size_words(None)
    ('1.5 GB', '999 bytes', 'size unknown')
    """
    if size is None:
        return "size unknown"
    for unit, bytes_of in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= bytes_of:
            return f"{size / bytes_of:.1f} {unit}"
    return f"{size} bytes"
