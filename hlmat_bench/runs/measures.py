"""measures.jsonl: what was measured of each episode, so that scores need not be computed from the masks again.

A line holds the numbers of one episode (`EpisodeScores`), the SHA-256 of the episode's line in episodes.jsonl, and the
SHA-256 of itself. Only a line whose digests agree is used, and only with the code that wrote it; every other episode is
measured again (`hlmat_bench.runs.measuring`). So the file may be deleted, cut or damaged at any time without changing a
score. Entries of leaderboards and their verification never read it: they measure from the masks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from hlmat_bench.core.validation import exact
from hlmat_bench.protocol.log_lines import to_line, whole_lines
from hlmat_bench.protocol.records import Episode
from hlmat_bench.scores.episode_scores import EpisodeScores

MEASURES = "measures.jsonl"
#: What `Heads` tells of an episode, as in `Episode`.
HEAD = frozenset({"sample_id", "image_id", "stop", "data"})
#: Where the digests stand in a line, which begins {"check":"...","episode":"...","key":"...",
_CHECK = slice(10, 74)
_BODY = _CHECK.stop + 2
_EPISODE = slice(_BODY + 11, _BODY + 75)
_KEY = slice(_EPISODE.stop + 9, _EPISODE.stop + 73)

T = TypeVar("T")


@exact
@dataclass(frozen=True, slots=True)
class _Measure:
    """A line of measures.jsonl."""

    episode: str
    key: str
    data: dict[str, str]
    scores: EpisodeScores
    check: Annotated[str, Field(exclude=True)] = ""


class _HeadScores(TypedDict):
    sample_id: str
    image_id: str
    stop: str


class _Head(TypedDict):
    data: dict[str, str]
    scores: _HeadScores


_MEASURE = TypeAdapter(_Measure)
_HEAD = TypeAdapter(_Head)


def to_measure(digest: str, key: str, episode: Episode, scores: EpisodeScores) -> bytes:
    """Return a line of measures.jsonl.

    Args:
        digest: `line_digest` of the episode's line.
        key: `Measuring.key` of the numbers.
        episode: the episode.
        scores: its numbers.

    Raises:
        ValueError, TypeError: as `to_line`.
    """
    measure = _Measure(digest, key, dict(episode.data), scores)
    body = to_line(_MEASURE.dump_python(measure, mode="json"))
    return b'{"check":"%s",%s' % (hashlib.sha256(body).hexdigest().encode(), body[1:])


class Measures:
    """Measures in files, found by the digests of the episodes' lines.

    Args:
        paths: the files; those that do not exist, or cannot be read, hold none.
        key: only those with this `Measuring.key` are used.
    """

    def __init__(self, paths: Iterable[Path], key: str) -> None:
        self._places: dict[str, tuple[BinaryIO, int, int]] = {}
        self._files = ExitStack()
        for path in paths:
            try:
                file = self._files.enter_context(path.open("rb"))
            except OSError:
                continue
            start = 0
            for line in file:
                if line[_KEY] == key.encode() and _is_whole(line):
                    self._places[_episode(line)] = (file, start, len(line))
                start += len(line)

    def __enter__(self) -> Measures:
        return self

    def __exit__(self, *exception: object) -> None:
        self._files.close()

    def __contains__(self, digest: str) -> bool:
        return digest in self._places

    def find(self, digest: str) -> EpisodeScores | None:
        """Return the numbers of an episode; None where there are none that fit."""
        if (place := self._places.get(digest)) is None:
            return None
        file, start, length = place
        file.seek(start)
        found = _parsed(file.read(length), _MEASURE)
        return None if found is None else found.scores


class Heads:
    """What a run that continues must know of its episodes, from what was measured of them.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._found: dict[str, dict[str, Any]] = {}
        try:
            with (folder / MEASURES).open("rb") as file:
                for line in file:
                    if _is_whole(line) and (head := _parsed(line, _HEAD)) is not None:
                        self._found[_episode(line)] = {**head["scores"], "data": head["data"]}
        except OSError:
            return

    def find(self, digest: str) -> dict[str, Any] | None:
        """Return `HEAD` of the episode whose line has this digest; None where it was not measured."""
        return self._found.get(digest)


class MeasuresLog:
    """Appends to a file of measures.

    What is lost is measured again: so nothing waits until the disk has it.

    Args:
        path: the file.

    Raises:
        OSError: when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a+b", buffering=0)
        if size := self._file.seek(0, os.SEEK_END):
            self._file.seek(size - 1)
            if self._file.read(1) != b"\n":  # a kill cut off a line: it stays one of its own
                self.append(b"\n")

    def append(self, lines: bytes) -> None:
        """Append whole lines in one piece, so that several processes can write to the file.

        Raises:
            OSError: when they cannot be written.
        """
        view = memoryview(lines)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def join(folders: Sequence[Path], out: Path) -> None:
    """Append what was measured in some run folders to the measures of another one.

    Raises:
        OSError: when they cannot be written.
    """
    target = MeasuresLog(out / MEASURES)
    try:
        for folder in folders:
            for line in whole_lines(folder / MEASURES):
                target.append(line)
    finally:
        target.close()


def _episode(line: bytes) -> str:
    return line[_EPISODE].decode("ascii", "replace")


def _is_whole(line: bytes) -> bool:
    """Tell whether a line of measures.jsonl is as it was written."""
    check = hashlib.sha256(b"{")
    check.update(memoryview(line)[_BODY:])
    return line[_CHECK] == check.hexdigest().encode()


def _parsed(line: bytes, kind: TypeAdapter[T]) -> T | None:
    """Return what a line of measures.jsonl holds; None where it is of another schema."""
    try:
        return kind.validate_json(line)
    except ValidationError:
        return None
