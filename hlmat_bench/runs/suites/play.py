"""Play the runs of a suite one after the other; a run that cannot be played does not stop the others."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import redact
from hlmat_bench.data.tasks import load_task
from hlmat_bench.protocol import manifest, plugins
from hlmat_bench.runs.executors import Progress
from hlmat_bench.runs.heartbeat import OnBeat
from hlmat_bench.runs.run import run as play_run
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.sealed_scores import SCORES
from hlmat_bench.runs.stopping import CALL_SECONDS
from hlmat_bench.runs.suites.expansion import Plan, SuiteRun

STATE = "suite.json"
STATE_SCHEMA = "hlmat-suite-run/1"


@dataclass(frozen=True)
class PlayOptions:
    """Options of all runs of a suite; see `hlmat_bench.runs.run.run`.

    Attributes:
        out: folder of the suite, with one folder per run.
    """

    out: Path
    data_root: Path | None = None
    seed: int = 0
    concurrency: int | None = None
    batch_size: int | None = None
    catalog: Path | None = None
    embedding_cache: Path | None = None
    argv: Sequence[str] = ()
    call_timeout: float = CALL_SECONDS
    lock: bool = True


@dataclass(frozen=True)
class Outcome:
    """The result of a run.

    Attributes:
        run: the run; None if it could not be played.
        reason: a sentence that says why it could not be played; None if it was.
    """

    run: Run | None
    reason: str | None = None


class Watcher(Protocol):
    """An interface to show the progress of a suite."""

    def begins(self, name: str) -> None:
        """Show that a run starts or continues."""

    def counts(self, runs: tuple[int, int], samples: tuple[int, int]) -> None:
        """Show (finished, all) runs and samples; the number of all samples is exact once every run has started."""

    def plays(self, done: int, total: int) -> None:
        """Show how many samples of the run that began last are done."""

    def beats(self, numbers: Mapping[str, Any]) -> None:
        """Show the numbers of this run so far; see `hlmat_bench.runs.run.run`, ``on_beat``."""

    def ends(self, run: Run) -> None:
        """Show the scores of this run."""


@dataclass
class _Tally:
    """The progress of a suite: the number of finished runs, and of finished and all samples by run."""

    totals: dict[str, int]
    watcher: Watcher
    runs: int = 0
    samples: dict[str, int] = field(default_factory=dict)

    def update(self, name: str) -> Progress:
        """Return the progress callback for a run."""

        def progress(done: int, total: int) -> None:
            self.samples[name], self.totals[name] = done, total
            self.watcher.plays(done, total)
            self.report()

        return progress

    def ended(self, name: str, samples: int | None) -> None:
        """Count a finished run with its number of samples; None: it could not be played."""
        self.runs += samples is not None
        self.samples[name] = samples or 0
        if samples is not None:
            self.totals[name] = samples
        self.report()

    def report(self) -> None:
        counted = sum(self.samples.values()), sum(self.totals.values())
        self.watcher.counts((self.runs, len(self.totals)), counted)


def play_suite(plan: Plan, options: PlayOptions, watcher: Watcher) -> dict[str, Outcome]:
    """Play the runs that are not finished yet, and return the outcome of every run by its folder's name.

    Raises:
        UsageError: when the suite's folder cannot be written.
    """
    state = _State(options.out, plan)
    tally = _Tally({run.name: expected_samples(run) for run in plan.runs}, watcher)
    outcomes: dict[str, Outcome] = {}
    tally.report()
    for run in plan.runs:
        made = state.finished(run, options)
        if made is None:
            watcher.begins(run.name)
            outcomes[run.name] = _outcome(run, options, outcomes, tally.update(run.name), watcher.beats)
            made = outcomes[run.name].run
            if made is not None:
                watcher.ends(made)
                state.note(run, options)
        else:
            outcomes[run.name] = Outcome(made)
        tally.ended(run.name, made.scores()["n"] if made else None)
    return outcomes


def _outcome(
    run: SuiteRun, options: PlayOptions, outcomes: Mapping[str, Outcome], progress: Progress, on_beat: OnBeat
) -> Outcome:
    if run.boxes is not None and (why := outcomes[run.boxes.name].reason) is not None:
        return Outcome(None, why)
    try:
        if (lacking := load_task(run.task).missing(options.data_root)) is not None:
            return Outcome(None, f"The task {run.task} {lacking}.")
        return Outcome(_play(run, options, progress, on_beat))
    except UsageError as error:
        return Outcome(None, str(error))


def _play(run: SuiteRun, options: PlayOptions, progress: Progress, on_beat: OnBeat) -> Run:
    cached = plugins.takes("segmenter", plugins.parse_spec(run.segmenter)[0], "embedding_cache")
    return play_run(
        run.model,
        run.task,
        run.segmenter,
        strategy=run.strategy,
        budget=run.budget,
        initial=run.initial_of(options.out),
        out=options.out / run.name,
        limit=run.limit,
        seed=options.seed,
        data_root=options.data_root,
        concurrency=options.concurrency,
        batch_size=options.batch_size,
        catalog=options.catalog,
        embedding_cache=options.embedding_cache if cached else None,
        call_timeout=options.call_timeout,
        lock=options.lock,
        settings=run.settings,
        argv=options.argv,
        progress=progress,
        on_beat=on_beat,
    )


def expected_samples(run: SuiteRun) -> int:
    """Return the number of samples of a run, if the task's file or the limit says it; else 0."""
    try:
        published = load_task(run.task).expected.expressions
    except UsageError:
        published = None
    known = [number for number in (published, run.limit) if number is not None]
    return min(known, default=0)


class _State:
    """The file ``suite.json`` in the suite's folder, which lists finished runs, so that they are not played again.

    Raises:
        UsageError: when the folder cannot be written, or belongs to another suite.
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
            raise UsageError(f"{self._path} belongs to another suite; choose another --out.")
        self._value = found

    def finished(self, run: SuiteRun, options: PlayOptions) -> Run | None:
        """Return the run if it is finished and its options have not changed, else None."""
        folder = options.out / run.name
        if self._value["finished"].get(run.name) != _request(run, options) or not (folder / SCORES).exists():
            return None
        made = Run(folder)
        return made if made.finished() and not made.scores()["failures"]["episodes"] else None

    def note(self, run: SuiteRun, options: PlayOptions) -> None:
        """Record that a run is finished."""
        self._value["finished"][run.name] = _request(run, options)
        manifest.write_json(self._path, self._value)


def _request(run: SuiteRun, options: PlayOptions) -> dict[str, Any]:
    """Return everything that a run depends on, as JSON values, without keys and tokens."""
    return {
        "model": redact(run.model),
        "task": run.task,
        "segmenter": run.segmenter,
        "strategy": run.strategy,
        "initial": run.initial_of(Path()),
        "budget": run.budget,
        "limit": run.limit,
        "settings": json.loads(json.dumps(run.settings, default=str)),
        "seed": options.seed,
        "data_root": None if options.data_root is None else os.fspath(options.data_root),
    }
