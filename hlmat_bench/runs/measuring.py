"""Measure episodes: those of a run folder that were not measured yet, many of them in several processes."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import IO, NamedTuple

from hlmat_bench import scores
from hlmat_bench.core import masks, truth
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.log_lines import line_digest, read_values, whole_lines
from hlmat_bench.protocol.records import EPISODES, Episode
from hlmat_bench.runs.machine import cores
from hlmat_bench.runs.measures import MEASURES, Measures, MeasuresLog, to_measure
from hlmat_bench.scores.episode_scores import EpisodeScores
from hlmat_bench.scores.episodes import score_episode
from hlmat_bench.scores.registry import Score, further

_SCHEMA = "hlmat-measures/1"
#: A process of its own takes as long to start as it takes to measure this many episodes.
_FEWEST = 200
#: What a process of its own is started with: it finds the modules that this one finds.
_PROCESS = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hlmat_bench.runs.measuring import measure_from; measure_from(sys.stdin)"
)

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

        It raises nothing, because the episode was just played and paid; `measured` says later what is wrong with it.

        Args:
            line: its line of episodes.jsonl.
            episode: the episode in it.
        """
        try:
            return to_measure(line_digest(line), self.key, episode, self.scores(episode))
        except Exception:  # noqa: BLE001  (further scores are other people's code)
            return None


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
    lines = list(_places(path))
    with ExitStack() as stack:
        known = stack.enter_context(Measures([folder / MEASURES], how.key))
        if missing := [place for place in lines if place.digest not in known]:
            spare = Path(stack.enter_context(tempfile.TemporaryDirectory())) / MEASURES
            target = folder / MEASURES if _can_be_written(folder / MEASURES) else spare
            _measure(_Part(str(path), missing, str(target), budget, rule))
            known = stack.enter_context(Measures([folder / MEASURES, spare], how.key))
        found = [known.find(place.digest) or _scores(path, place, how) for place in lines]
    if len({sample.sample_id for sample in found}) < len(found):
        _check(path)
    return found


def _scores(path: Path, place: _Place, how: Measuring) -> EpisodeScores:
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


class _Place(NamedTuple):
    """A line of a file: its digest, and where it stands, in bytes."""

    digest: str
    start: int
    length: int


def _places(path: Path) -> Iterator[_Place]:
    """Yield the complete lines of a file."""
    start = 0
    for line in whole_lines(path):
        yield _Place(_digest(line), start, len(line))
        start += len(line)


def _digest(line: bytes) -> str:
    """Return the digest of a line; nothing where it is damaged, so that no measure is found for it."""
    try:
        return line_digest(line)
    except (ValueError, RecursionError):
        return ""


def _line(path: Path, place: _Place) -> bytes:
    with path.open("rb") as file:
        file.seek(place.start)
        return file.read(place.length)


class _Part(NamedTuple):
    """Episodes to measure.

    Attributes:
        path: the episodes.jsonl.
        places: their lines in it.
        target: the file of measures to append to.
        budget, rule: see `Measuring`.
    """

    path: str
    places: Sequence[_Place]
    target: str
    budget: int
    rule: str


def _measure_part(part: _Part) -> None:
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


def _measure(part: _Part) -> None:
    """Measure episodes in as many processes as there are cores, or in this one where there are too few for that."""
    count = min(cores(), len(part.places) // _FEWEST)
    modules = sorted({score.of.__module__ for score in further().values() if score.of is not None})
    if count < 2 or "__main__" in modules or not sys.executable or getattr(sys, "frozen", False):
        with contextlib.suppress(OSError):
            _measure_part(part)
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
    _measure_part(_Part(path, [_Place(*place) for place in places], *rest))


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
