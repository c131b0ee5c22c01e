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
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from subprocess import DEVNULL, Popen

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
    "from hlmat_bench.runs.measuring import measure_from; measure_from(sys.argv[2])"
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
    path, how, kept = folder / EPISODES, Measuring(budget, rule), [folder / MEASURES]
    digests = [_digest(line) for line in whole_lines(path)]
    with ExitStack() as stack:
        known = stack.enter_context(Measures(kept, how.key))
        if missing := sum(digest not in known for digest in digests):
            if not _can_be_written(kept[0]):
                kept.append(Path(stack.enter_context(tempfile.TemporaryDirectory())) / MEASURES)
            _measure(path, kept, how, missing)
            known = stack.enter_context(Measures(kept, how.key))
        found = [sample for digest in digests if (sample := known.find(digest)) is not None]
        if len({sample.sample_id for sample in found}) < len(digests):
            return list(_read(path, known, how))
    return found


def _read(path: Path, known: Measures, how: Measuring) -> Iterator[EpisodeScores]:
    """Yield the numbers of all episodes, where some are not known.

    Raises:
        UsageError: says what is wrong with a line.
    """
    for line, value in read_values(path):
        yield known.find(line_digest(line)) or how.scores(Episode.from_json(value))


def _digest(line: bytes) -> str:
    """Return the digest of a line; nothing where it is damaged, so that no measure is found for it."""
    try:
        return line_digest(line)
    except (ValueError, RecursionError):
        return ""


def _measure(path: Path, kept: Sequence[Path], how: Measuring, missing: int) -> None:
    """Measure episodes in as many processes as there are cores, or in this one where there are too few for that.

    Args:
        path: the episodes.jsonl.
        kept: the files of measures; what is measured is appended to the last one.
        how: how they are measured.
        missing: how many are not measured yet.
    """
    count = min(cores(), missing // _FEWEST)
    modules = sorted({score.of.__module__ for score in further().values() if score.of is not None})
    if count < 2 or "__main__" in modules or not sys.executable or getattr(sys, "frozen", False):
        _measure_part(path, kept, how)
        return
    # Plain processes and not `multiprocessing`: that runs a user's script again in each process, which breaks a script
    # that does not guard its main part, or copies this process with all its threads and their locks.
    asked = {"modules": modules, "path": str(path), "kept": [str(each) for each in kept], "how": asdict(how)}
    with ExitStack() as stack:
        processes = []
        for number in range(count):
            order = json.dumps({**asked, "part": [number, count]})
            process = Popen([sys.executable, "-c", _PROCESS, json.dumps(sys.path), order], stderr=DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        codes = [process.wait() for process in processes]
    if any(codes):
        log.warning("A process that measured episodes ended early; what it left is measured in this one.")
        _measure_part(path, kept, how)


def measure_from(order: str) -> None:
    """Do what another process asks for: see `_measure`."""
    import cv2

    cv2.setNumThreads(1)  # the other cores are busy with the other parts
    asked = json.loads(order)
    for module in asked["modules"]:
        importlib.import_module(module)  # it declares scores
    _measure_part(
        Path(asked["path"]), [Path(each) for each in asked["kept"]], Measuring(**asked["how"]), *asked["part"]
    )


def _measure_part(path: Path, kept: Sequence[Path], how: Measuring, part: int = 0, parts: int = 1) -> None:
    """Measure the episodes of a part that are not measured yet; one that cannot be measured is left out.

    The digest of an episode decides which part it belongs to, so that processes agree while others append measures.
    """
    with (
        contextlib.suppress(OSError),
        contextlib.closing(MeasuresLog(kept[-1])) as writer,
        Measures(kept, how.key) as known,
    ):
        for line in whole_lines(path):
            digest = _digest(line)
            if digest and digest not in known and int(digest[:8], 16) % parts == part:
                writer.append(_measured_line(line, how))


def _measured_line(line: bytes, how: Measuring) -> bytes:
    """Return the line of measures of an episode; nothing where it is no episode, which `measured` then says."""
    try:
        return how.line(line, Episode.from_json(json.loads(line))) or b""
    except (UsageError, ValueError, RecursionError):
        return b""


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
