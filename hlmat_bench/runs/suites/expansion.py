"""From a suite to its runs and cells: what is to be played, each run once, and which cell shows which run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.text import redact
from hlmat_bench.data.published import published_table
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.settings import applying, setting_names
from hlmat_bench.runs import task_kinds
from hlmat_bench.runs.plan import settings_for, split_settings
from hlmat_bench.runs.suites.definition import Line, Part, Suite, Table, slug
from hlmat_bench.runs.suites.measures import Measure


@dataclass(frozen=True)
class Wanted:
    """A run of a suite.

    Attributes:
        name: of its folder.
        model, task, segmenter, strategy, initial, budget, limit, settings: as of `hlmat_bench.runs.run.run`.
        boxes: the run whose boxes are its initial state; or None.
    """

    name: str
    model: str
    task: str
    segmenter: str
    strategy: str | None
    initial: str | None
    budget: int | None
    limit: int | None
    settings: Mapping[str, Any]
    boxes: Wanted | None = None

    def initial_of(self, out: Path) -> str | None:
        """What ``--initial`` takes, where the runs lie in this folder."""
        return self.initial if self.boxes is None else f"box-from={out / self.boxes.name}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        row, column: their names.
        run: what it shows; None where nothing is played.
        minus: the run that it is compared with; or None.
        measures: what it shows of it.
        published: the published number, in the first measure's unit; None where there is none.
    """

    row: str
    column: str
    run: Wanted | None = None
    minus: Wanted | None = None
    measures: tuple[Measure, ...] = ()
    published: float | None = None


@dataclass(frozen=True)
class Plan:
    """A suite, expanded.

    Attributes:
        suite: the whole of it.
        runs: each once, those that others take boxes from before them.
        cells: by the table's name, row by row.
        replaced: what the user put in place of the suite's parts, as sentences.
    """

    suite: Suite
    runs: Sequence[Wanted]
    cells: Mapping[str, Sequence[Cell]]
    replaced: Sequence[str] = ()

    def notes(self) -> list[str]:
        """What holds for all tables."""
        return [*self.suite.notes, *self.replaced]


@dataclass(frozen=True)
class Changes:
    """What a user puts in place of a suite's parts.

    Attributes:
        models, segmenters, tasks: ``NAME=SPEC`` each.
        limit: in place of every run's.
        settings: over every run's that has a use for them.
        catalog: a file with more models.
    """

    models: Sequence[str] = ()
    segmenters: Sequence[str] = ()
    tasks: Sequence[str] = ()
    limit: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    catalog: Path | None = None


def expand(suite: Suite, changes: Changes | None = None) -> Plan:
    """The runs and cells of a suite.

    Raises:
        UsageError: when a change names no part of the suite.
    """
    return _Expansion(suite.whole(), changes or Changes()).plan()


class _Expansion:
    """One expansion: the parts by name, and the runs found so far."""

    def __init__(self, suite: Suite, changes: Changes) -> None:
        _check_settings(changes.settings)
        used = {part.task: str(part.task) for table in suite.tables for _, _, part in table.cells() if part.task}
        self.suite, self.changes = suite, changes
        self.models = _replaced("model", suite.models, changes.models)
        self.segmenters = _replaced("segmenter", suite.segmenters, changes.segmenters)
        self.tasks = _replaced("task", used, changes.tasks)
        self.catalog = Catalog.load(changes.catalog)
        self.runs: dict[str, Wanted] = {}

    def plan(self) -> Plan:
        cells = {table.name: [*self._cells(table)] for table in self.suite.tables}
        pairs = (*self.changes.models, *self.changes.segmenters, *self.changes.tasks)
        names = [f"{name} is {redact(spec)} here." for name, _, spec in (pair.partition("=") for pair in pairs)]
        _check_names([table.name for table in self.suite.tables])
        return Plan(self.suite, list(self.runs.values()), cells, names)

    def _cells(self, table: Table) -> list[Cell]:
        shown = published_table(table.published)[1] if table.published else None
        cells = []
        for row in table.rows:
            for column in table.columns:
                number = shown.value(row.name, column.name) if shown else None
                played = row.play and column.play
                made = self._played(table, row, column) if played else Cell(row.name, column.name)
                cells.append(replace(made, published=number))
        return cells

    def _played(self, table: Table, row: Line, column: Line) -> Cell:
        part = table.part(row, column)
        minus = None
        if part.minus is not None:
            [other] = [line for line in table.rows if line.name == part.minus]
            minus = self._run(table.part(other, column), _folder(table, other, column))
        run = self._run(part, _folder(table, row, column))
        return Cell(row.name, column.name, run, minus, tuple(Measure.named(name) for name in part.score))

    def _run(self, part: Part, name: str) -> Wanted:
        """The run of a description, the same one for the same run under another name."""
        assert part.model and part.task and part.segmenter
        boxes = None
        if part.boxes is not None:
            alike = Part(model=part.model, task=part.task, segmenter=part.segmenter, limit=part.limit)
            boxes = self._run(alike.under(part.boxes), f"{name}__boxes")
        wanted = Wanted(
            name=name,
            model=self.models[part.model],
            task=self.tasks[part.task],
            segmenter=self.segmenters[part.segmenter],
            strategy=part.strategy,
            initial=part.initial,
            budget=part.budget,
            limit=self.changes.limit or part.limit,
            settings={**part.settings, **self._changed(part)},
            boxes=boxes,
        )
        return self.runs.setdefault(_identity(wanted, self.catalog), wanted)

    def _changed(self, part: Part) -> dict[str, Any]:
        """The user's settings, but those that the run's strategy and initial state have no use for."""
        own = {"strategy": _strategy(part, self.tasks[str(part.task)]), "initial": part.initial, **part.settings}
        return applying(self.changes.settings, own)


def _strategy(part: Part, task: str) -> str:
    """Who chooses the next action, where the description does not say: what the task's kind has."""
    try:
        usual = task_kinds.DEFAULTS[load_task(task).kind]
    except UsageError:  # It cannot be played, and says so when its turn comes.
        usual = {}
    return part.strategy or str(usual.get("strategy", "greedy"))


def _identity(wanted: Wanted, catalog: Catalog) -> str:
    """What tells runs apart: with the defaults filled in, so that saying one makes no other run."""
    protocol, data, points = split_settings(wanted.settings)
    given = protocol | {"strategy": wanted.strategy, "initial": wanted.initial}
    try:
        made = settings_for(catalog.choose(wanted.model), load_task(wanted.task), given, wanted.budget)
        rules = made.model_dump(mode="json")
    except UsageError:  # It cannot be played, and says so when its turn comes.
        rules = given | {"budget": wanted.budget}
    boxes = _identity(wanted.boxes, catalog) if wanted.boxes else None
    return json.dumps(
        [wanted.model, wanted.task, plugins.parse_spec(wanted.segmenter), wanted.limit, rules, data, points, boxes],
        sort_keys=True,
        default=str,
    )


def _folder(table: Table, row: Line, column: Line) -> str:
    return "__".join((table.name, slug(row.name), slug(column.name)))


def _replaced(kind: str, names: Mapping[str, str], pairs: Sequence[str]) -> dict[str, str]:
    """The specs by name, with those that a user gave as ``NAME=SPEC``."""
    specs = dict(names)
    for pair in pairs:
        name, equals, spec = pair.partition("=")
        if not equals or not spec:
            raise UsageError(f"--{kind} takes NAME={kind.upper()} here, not {pair!r}; names are {', '.join(names)}.")
        if name not in names:
            raise unknown(f"{kind} of the suite", name, names, f"Names are {', '.join(names)}.")
        specs[name] = spec
    return specs


def _check_names(tables: Sequence[str]) -> None:
    """Raise UsageError where two tables would have the same folders."""
    if twice := [name for name in tables if tables.count(name) > 1]:
        raise UsageError(f"Two tables of the suite are called {twice[0]}; give one another name.")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for a setting that no run takes."""
    known = [*setting_names(), "points"]
    for name in settings:
        if name not in known and not name.startswith("data."):
            raise unknown("setting", name, known, f"Settings are {', '.join(known)}.")
