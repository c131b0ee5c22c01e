"""Playing the runs of a suite one after the other; one that cannot be played does not stop the others."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import redact
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import manifest, plugins
from hlmat_bench.runs.run import run as play_run
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.sealed_scores import SCORES
from hlmat_bench.runs.suites.expansion import Plan, Wanted

STATE = "suite.json"
STATE_SCHEMA = "hlmat-suite-run/1"


@dataclass(frozen=True)
class Means:
    """What all runs of a suite are played with; see `hlmat_bench.runs.run.run`.

    Attributes:
        out: the folder of the suite; each run has its own in it.
    """

    out: Path
    data_root: Path | None = None
    seed: int = 0
    concurrency: int | None = None
    batch_size: int | None = None
    catalog: Path | None = None
    embedding_cache: Path | None = None
    argv: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
        run: where it is; None where it could not be played.
        reason: why it could not, as a sentence.
    """

    run: Run | None
    reason: str | None = None


class Watcher(Protocol):
    """Is told how far a suite is."""

    def begins(self, name: str) -> None:
        """A run begins, or goes on."""

    def counts(self, runs: tuple[int, int], samples: tuple[int, int]) -> None:
        """So many runs of all, and samples of all, are done. How many samples a run has is known once it begins."""


@dataclass
class _Tally:
    """How far the suite is."""

    totals: dict[str, int]
    watcher: Watcher
    runs: int = 0
    samples: dict[str, int] = field(default_factory=dict)

    def update(self, name: str) -> Callable[[int, int], None]:
        """The progress of a run."""

        def progress(done: int, total: int) -> None:
            self.samples[name], self.totals[name] = done, total
            self.report()

        return progress

    def ended(self, name: str, samples: int | None) -> None:
        """A run is done; without samples, it could not be played."""
        self.runs += samples is not None
        self.samples[name] = samples or 0
        if samples is not None:
            self.totals[name] = samples
        self.report()

    def report(self) -> None:
        counted = sum(self.samples.values()), sum(self.totals.values())
        self.watcher.counts((self.runs, len(self.totals)), counted)


def play_suite(plan: Plan, means: Means, watcher: Watcher) -> dict[str, Outcome]:
    """Play what is not yet done, and say what became of each run, by its folder's name.

    Raises:
        UsageError: when the suite's folder cannot be written.
    """
    state = _State(means.out, plan)
    tally = _Tally({wanted.name: _expected(wanted) for wanted in plan.runs}, watcher)
    outcomes: dict[str, Outcome] = {}
    tally.report()
    for wanted in plan.runs:
        made = state.finished(wanted, means)
        if made is None:
            watcher.begins(wanted.name)
            outcomes[wanted.name] = _outcome(wanted, means, outcomes, tally.update(wanted.name))
            made = outcomes[wanted.name].run
            if made is not None:
                state.note(wanted, means)
        else:
            outcomes[wanted.name] = Outcome(made)
        tally.ended(wanted.name, made.scores()["n"] if made else None)
    return outcomes


def _outcome(
    wanted: Wanted, means: Means, outcomes: Mapping[str, Outcome], progress: Callable[[int, int], None]
) -> Outcome:
    if wanted.boxes is not None and (why := outcomes[wanted.boxes.name].reason) is not None:
        return Outcome(None, why)
    try:
        if (lacking := load_task(wanted.task).missing(means.data_root)) is not None:
            return Outcome(None, f"The task {wanted.task} {lacking}.")
        return Outcome(_play(wanted, means, progress))
    except UsageError as error:
        return Outcome(None, str(error))


def _play(wanted: Wanted, means: Means, progress: Callable[[int, int], None]) -> Run:
    cached = plugins.takes("segmenter", plugins.parse_spec(wanted.segmenter)[0], "embedding_cache")
    return play_run(
        wanted.model,
        wanted.task,
        wanted.segmenter,
        strategy=wanted.strategy,
        budget=wanted.budget,
        initial=wanted.initial_of(means.out),
        out=means.out / wanted.name,
        limit=wanted.limit,
        seed=means.seed,
        data_root=means.data_root,
        concurrency=means.concurrency,
        batch_size=means.batch_size,
        catalog=means.catalog,
        embedding_cache=means.embedding_cache if cached else None,
        settings=wanted.settings,
        argv=means.argv,
        progress=progress,
    )


def _expected(wanted: Wanted) -> int:
    """How many samples a run will have, as far as its task's file says."""
    try:
        published = load_task(wanted.task).expected.expressions
    except UsageError:
        published = None
    known = [number for number in (published, wanted.limit) if number is not None]
    return min(known, default=0)


class _State:
    """``suite.json`` in the suite's folder: which runs are finished, so that they are not opened again.

    Raises:
        UsageError: when the folder cannot be written, or holds another suite.
    """

    def __init__(self, out: Path, plan: Plan) -> None:
        self._path = out / STATE
        self._value: dict[str, Any] = {"schema": STATE_SCHEMA, "suite": plan.suite.name, "finished": {}}
        try:
            out.mkdir(parents=True, exist_ok=True)
            found = json.loads(self._path.read_bytes()) if self._path.exists() else self._value
        except OSError as error:
            raise UsageError(f"{out} cannot be written ({error.strerror}); choose another --out.") from error
        except ValueError as error:
            raise UsageError(f"{self._path} is damaged; remove it and run the same command again.") from error
        if not isinstance(found, dict) or any(found.get(key) != self._value[key] for key in ("schema", "suite")):
            raise UsageError(f"{self._path} is of another suite; choose another --out.")
        self._value = found

    def finished(self, wanted: Wanted, means: Means) -> Run | None:
        """The run, where it is finished and was asked for in the same way."""
        folder = means.out / wanted.name
        if self._value["finished"].get(wanted.name) != _request(wanted, means) or not (folder / SCORES).exists():
            return None
        made = Run(folder)
        return made if made.finished() and not made.scores()["failures"]["episodes"] else None

    def note(self, wanted: Wanted, means: Means) -> None:
        """Write down that a run is finished."""
        self._value["finished"][wanted.name] = _request(wanted, means)
        manifest.write_json(self._path, self._value)


def _request(wanted: Wanted, means: Means) -> dict[str, Any]:
    """What a finished run depends on, as JSON; keys and tokens are blotted out."""
    return {
        "model": redact(wanted.model),
        "task": wanted.task,
        "segmenter": wanted.segmenter,
        "strategy": wanted.strategy,
        "initial": wanted.initial_of(Path()),
        "budget": wanted.budget,
        "limit": wanted.limit,
        "settings": json.loads(json.dumps(wanted.settings, default=str)),
        "seed": means.seed,
        "data_root": None if means.data_root is None else os.fspath(means.data_root),
    }
