"""measures.jsonl: what was measured of each episode, so that scores need not be computed from the masks again.

A line holds the numbers of one episode (`EpisodeScores`), the SHA-256 of the episode's line in episodes.jsonl, and the
SHA-256 of itself. Only a line whose digests agree is used, and only with the code that wrote it; every other episode is
measured again. So the file may be deleted, cut or damaged at any time without changing a score. Entries of leaderboards
and their verification never read it: they measure from the masks.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import IO, Annotated, Any, BinaryIO, NamedTuple, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from hlmat_bench import scores
from hlmat_bench.core import masks, truth
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.validation import exact
from hlmat_bench.protocol.records import EPISODES, Episode, line_digest, read_values, to_line
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.episodes import score_episode
from hlmat_bench.scores.registry import Score, further

MEASURES = "measures.jsonl"
#: What `Heads` tells of an episode, as in `Episode`.
HEAD = frozenset({"sample_id", "image_id", "stop", "data"})
_SCHEMA = "hlmat-measures/1"
#: A process of its own takes as long to start as it takes to measure this many episodes.
_FEWEST = 200
#: Where the digests stand in a line, which begins {"check":"...","episode":"...","key":"...",
_CHECK = slice(10, 74)
_BODY = _CHECK.stop + 2
_EPISODE = slice(_BODY + 11, _BODY + 75)
_KEY = slice(_EPISODE.stop + 9, _EPISODE.stop + 73)
#: What a process of its own is started with: it finds the modules that this one finds.
_PROCESS = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hlmat_bench.runs.measures import measure_from; measure_from(sys.stdin)"
)

T = TypeVar("T")

log = logging.getLogger("hlmat_bench")


@dataclass(frozen=True, slots=True)
class Measuring:
    """How episodes are measured; see `score_episode`.

    Attributes:
        budget: clicks per episode.
        rule: the selection rule whose mask is the answer.
    """

    budget: int
    rule: str

    @property
    def key(self) -> str:
        """Return a digest (hex) of all that decides the numbers of an episode, the code included."""
        return _key(self.budget, self.rule, tuple(further().values()))

    def scores(self, episode: Episode) -> EpisodeScores:
        """Measure an episode from its masks.

        Raises:
            UsageError: as `score_episode`.
        """
        return score_episode(episode, self.budget, rule=self.rule, boundary=True)

    def line(self, line: bytes, episode: Episode) -> bytes | None:
        """Measure an episode and return its line for measures.jsonl; None where it cannot be measured or written.

        Whoever asks for its scores is told why. So nothing raises here, where an episode was just played and paid.

        Args:
            line: its line of episodes.jsonl.
            episode: the episode in it.
        """
        try:
            measure = _Measure(line_digest(line), self.key, dict(episode.data), self.scores(episode))
            body = to_line(_MEASURE.dump_python(measure, mode="json"))
        except Exception:  # noqa: BLE001  (further scores are other people's code)
            return None
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
        for path in (folder / MEASURES for folder in folders if (folder / MEASURES).is_file()):
            with path.open("rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        target.append(line)
    finally:
        target.close()


def measured(folder: Path, budget: int, rule: str) -> list[EpisodeScores]:
    """Return the episodes of a run folder in numbers, in the order of their lines.

    Those that were not measured yet are measured now, many of them in several processes, and kept in measures.jsonl
    where the folder can be written.

    Args:
        folder: the run folder.
        budget, rule: see `Measuring`.

    Raises:
        UsageError: when a line is no episode, or a sample stands twice; as `score_episode`.
    """
    path, how = folder / EPISODES, Measuring(budget, rule)
    lines = list(_places(path)) if path.exists() else []
    with ExitStack() as stack:
        known = stack.enter_context(Measures([folder / MEASURES], how.key))
        if missing := [place for place in lines if place.digest not in known]:
            spare = Path(stack.enter_context(tempfile.TemporaryDirectory())) / MEASURES
            target = folder / MEASURES if _can_be_written(folder / MEASURES) else spare
            _measure(Part(str(path), missing, str(target), budget, rule))
            known = stack.enter_context(Measures([folder / MEASURES, spare], how.key))
        found = [known.find(place.digest) or _scores(path, place, how) for place in lines]
    if len({sample.sample_id for sample in found}) < len(found):
        _check(path)
    return found


def _scores(path: Path, place: Place, how: Measuring) -> EpisodeScores:
    """Measure one episode.

    Raises:
        UsageError: when the line is damaged or no episode.
    """
    if not place.digest:
        _check(path)
    try:
        value = json.loads(_line(path, place))
    except (ValueError, RecursionError):
        _check(path)
        raise
    return how.scores(Episode.from_json(value))


def _check(path: Path) -> None:
    """Read all lines, so that what is wrong with one is said with its number."""
    for _ in read_values(path):
        pass


class Place(NamedTuple):
    """A line of a file: its digest, and where it stands, in bytes."""

    digest: str
    start: int
    length: int


def _places(path: Path) -> Iterator[Place]:
    """Yield the complete lines of a file."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield Place(_digest(line), start, len(line))
            start += len(line)


def _digest(line: bytes) -> str:
    """Return the digest of a line; nothing where it is damaged, so that no measure is found for it."""
    try:
        return line_digest(line)
    except (ValueError, RecursionError):
        return ""


def _line(path: Path, place: Place) -> bytes:
    with path.open("rb") as file:
        file.seek(place.start)
        return file.read(place.length)


class Part(NamedTuple):
    """Episodes to measure.

    Attributes:
        path: the episodes.jsonl.
        places: their lines in it.
        target: the file of measures to append to.
        budget, rule: see `Measuring`.
    """

    path: str
    places: Sequence[Place]
    target: str
    budget: int
    rule: str


def measure_part(part: Part) -> None:
    """Measure episodes, and append what was measured; one that cannot be measured is left out.

    Raises:
        OSError: when a file cannot be read or written.
    """
    how = Measuring(part.budget, part.rule)
    writer = MeasuresLog(Path(part.target))
    try:
        for place in part.places:
            if line := _measured_line(_line(Path(part.path), place), how):
                writer.append(line)
    finally:
        writer.close()


def _measured_line(line: bytes, how: Measuring) -> bytes | None:
    try:
        return how.line(line, Episode.from_json(json.loads(line)))
    except (UsageError, ValueError, RecursionError):
        return None  # it is no episode: `measured` says what is wrong


def _measure(part: Part) -> None:
    """Measure episodes in as many processes as there are cores, or in this one where others do not pay off."""
    count = min(_cores(), len(part.places) // _FEWEST)
    modules = sorted({score.of.__module__ for score in further().values() if score.of is not None})
    if count < 2 or "__main__" in modules or not sys.executable or getattr(sys, "frozen", False):
        with contextlib.suppress(OSError):
            measure_part(part)
        return
    # Plain processes and not `multiprocessing`: that runs a user's script again in each process, which breaks a script
    # that does not guard its main part, or copies this process with all its threads and their locks.
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            own = part._replace(places=part.places[number::count])
            order = stack.enter_context(tempfile.TemporaryFile())
            order.write(json.dumps({"modules": modules, "part": own}).encode())
            order.seek(0)
            process = Popen([sys.executable, "-c", _PROCESS, json.dumps(sys.path)], stdin=order, stderr=DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait() for process in processes]
    if any(codes):
        log.warning("A process that measured episodes ended early; what it left is measured in this one.")


def measure_from(order: IO[str]) -> None:
    """Do what another process asks for: see `_measure`."""
    import cv2

    cv2.setNumThreads(1)  # the other cores are busy with the other parts
    asked = json.load(order)
    for module in asked["modules"]:
        importlib.import_module(module)  # it declares scores
    path, places, *rest = asked["part"]
    measure_part(Part(path, [Place(*place) for place in places], *rest))


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _can_be_written(path: Path) -> bool:
    try:
        MeasuresLog(path).close()
    except OSError:
        return False
    return True


@lru_cache
def _key(budget: int, rule: str, declared: tuple[Score, ...]) -> str:
    """See `Measuring.key`. A version that is raised by hand would be forgotten once, so the code itself is named."""
    own = sorted(Path(scores.__file__).parent.glob("*.py")) + [Path(str(module.__file__)) for module in (masks, truth)]
    sources = [path.read_bytes() for path in own] + [_source(score.of) for score in declared]
    digests = [hashlib.sha256(source).hexdigest() for source in sources]
    text = json.dumps([_SCHEMA, budget, rule, [score.key for score in declared], digests])
    return hashlib.sha256(text.encode()).hexdigest()


def _source(function: object) -> bytes:
    """Return the file that defines a function, or its code where there is none, as in a notebook."""
    code = getattr(function, "__code__", None)
    if code is None:
        return repr(function).encode()  # it holds an address, so that what was measured is never used again
    path = Path(code.co_filename)
    return path.read_bytes() if path.is_file() else code.co_code + repr(code.co_consts).encode()


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
