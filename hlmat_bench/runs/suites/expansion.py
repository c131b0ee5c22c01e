"""Expand a suite into the runs to play, without duplicates, and the cells that show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.text import redact
from hlmat_bench.data.published import published_number
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.settings import applying, setting_names
from hlmat_bench.runs import task_kinds
from hlmat_bench.runs.opening import settings_for, split_settings
from hlmat_bench.runs.suites.definition import Line, RunFields, Suite, SuiteTable, slug
from hlmat_bench.runs.suites.measures import Measure


@dataclass(frozen=True)
class SuiteRun:
    """A run of a suite.

    Attributes:
        name: name of the run's folder.
        model, task, segmenter, strategy, initial, budget, limit, settings: see `hlmat_bench.runs.run.run`.
        boxes: the run whose boxes are the initial state, or None.
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
    boxes: SuiteRun | None = None

    def initial_of(self, out: Path) -> str | None:
        """Return the value of ``--initial``, if ``out`` is the folder of all runs of the suite."""
        return self.initial if self.boxes is None else f"box-from={out / self.boxes.name}"


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        row, column: names of its row and column.
        run: the run that the cell shows; None if nothing is played.
        minus: the run whose mIoU is subtracted, or None.
        measures: the scores that the cell shows.
        published: the published number, in the first measure's unit, or None.
        source: the table of published numbers that it is from, or None.
    """

    row: str
    column: str
    run: SuiteRun | None = None
    minus: SuiteRun | None = None
    measures: tuple[Measure, ...] = ()
    published: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Plan:
    """An expanded suite.

    Attributes:
        suite: the suite with the tables of those that it includes.
        runs: all different runs; a run precedes those that take boxes from it.
        cells: the cells by the table's name, row by row.
        replaced: sentences on the models, segmenters and tasks that the user has replaced.
    """

    suite: Suite
    runs: Sequence[SuiteRun]
    cells: Mapping[str, Sequence[Cell]]
    replaced: Sequence[str] = ()

    def notes(self) -> list[str]:
        """Return the notes for all tables."""
        return [*self.suite.notes, *self.replaced]


@dataclass(frozen=True)
class Changes:
    """A user's replacements in a suite.

    Attributes:
        models, segmenters, tasks: replacements in the form ``NAME=SPEC``.
        rows: the names of the rows that are played; of all others, only published numbers are shown. None: all rows.
        limit: replaces the limit of every run.
        settings: replace settings of every run to which they apply.
        catalog: a file with more models.
    """

    models: Sequence[str] = ()
    segmenters: Sequence[str] = ()
    tasks: Sequence[str] = ()
    limit: int | None = None
    rows: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    catalog: Path | None = None


def expand(suite: Suite, changes: Changes | None = None) -> Plan:
    """Return the runs and cells of a suite.

    Raises:
        UsageError: when a change names a model, segmenter, task or row that the suite does not have, or an unknown
            setting.
    """
    return _Expansion(suite.whole(), changes or Changes()).plan()


class _Expansion:
    """The state of an expansion: specs by name, and the runs found so far by their identity."""

    def __init__(self, suite: Suite, changes: Changes) -> None:
        _check_settings(changes.settings)
        _check_rows(changes.rows, suite)
        used = {
            fields.task: str(fields.task) for table in suite.tables for _, _, fields in table.cells() if fields.task
        }
        self.suite, self.changes = suite, changes
        self.models = _replaced("model", suite.models, changes.models)
        self.segmenters = _replaced("segmenter", suite.segmenters, changes.segmenters)
        self.tasks = _replaced("task", used, changes.tasks)
        self.catalog = Catalog.load(changes.catalog)
        self.runs: dict[str, SuiteRun] = {}

    def plan(self) -> Plan:
        cells = {table.name: [*self._cells(table)] for table in self.suite.tables}
        pairs = (*self.changes.models, *self.changes.segmenters, *self.changes.tasks)
        names = [f"{name} is {redact(spec)} here." for name, _, spec in (pair.partition("=") for pair in pairs)]
        _check_names([table.name for table in self.suite.tables])
        return Plan(self.suite, list(self.runs.values()), cells, names)

    def _cells(self, table: SuiteTable) -> list[Cell]:
        cells = []
        for row in table.rows:
            for column in table.columns:
                number, source = published_number(table.published, row.name, column.name) or (None, None)
                played = row.play and column.play and self._is_chosen(row)
                made = self._played(table, row, column) if played else Cell(row.name, column.name)
                cells.append(replace(made, published=number, source=source))
        return cells

    def _is_chosen(self, row: Line) -> bool:
        return not self.changes.rows or row.name in self.changes.rows

    def _played(self, table: SuiteTable, row: Line, column: Line) -> Cell:
        fields = table.fields_of(row, column)
        minus = None
        if fields.minus is not None:
            [other] = [line for line in table.rows if line.name == fields.minus]
            minus = self._run(table.fields_of(other, column), _folder(table, other, column))
        run = self._run(fields, _folder(table, row, column))
        return Cell(row.name, column.name, run, minus, tuple(Measure.named(name) for name in fields.score))

    def _run(self, fields: RunFields, name: str) -> SuiteRun:
        """Return the run with these fields; if an equal run exists under another name, return that."""
        assert fields.model and fields.task and fields.segmenter
        boxes = None
        if fields.boxes is not None:
            alike = RunFields(model=fields.model, task=fields.task, segmenter=fields.segmenter, limit=fields.limit)
            boxes = self._run(alike.under(fields.boxes), f"{name}__boxes")
        wanted = SuiteRun(
            name=name,
            model=self.models[fields.model],
            task=self.tasks[fields.task],
            segmenter=self.segmenters[fields.segmenter],
            strategy=fields.strategy,
            initial=fields.initial,
            budget=fields.budget,
            limit=self.changes.limit or fields.limit,
            settings={**fields.settings, **self._changed(fields)},
            boxes=boxes,
        )
        return self.runs.setdefault(_identity(wanted, self.catalog), wanted)

    def _changed(self, fields: RunFields) -> dict[str, Any]:
        """Return the user's settings that apply to the run's strategy and initial state."""
        own = {
            "strategy": _strategy(fields, self.tasks[str(fields.task)]),
            "initial": fields.initial,
            **fields.settings,
        }
        return applying(self.changes.settings, own)


def _strategy(fields: RunFields, task: str) -> str:
    """Return the strategy of a run; by default that of the task's kind."""
    try:
        usual = task_kinds.DEFAULTS[load_task(task).kind]
    except UsageError:  # The run cannot be played; the error is reported when it starts.
        usual = {}
    return fields.strategy or str(usual.get("strategy", "greedy"))


def _identity(wanted: SuiteRun, catalog: Catalog) -> str:
    """Return a text that is equal for equal runs. Defaults are filled in, so a default that is written out is equal."""
    protocol, data, points = split_settings(wanted.settings)
    given = protocol | {"strategy": wanted.strategy, "initial": wanted.initial}
    try:
        made = settings_for(catalog.choose(wanted.model), load_task(wanted.task), given, wanted.budget)
        settings = made.model_dump(mode="json")
    except UsageError:  # The run cannot be played; the error is reported when it starts.
        settings = given | {"budget": wanted.budget}
    boxes = _identity(wanted.boxes, catalog) if wanted.boxes else None
    return json.dumps(
        [wanted.model, wanted.task, plugins.parse_spec(wanted.segmenter), wanted.limit, settings, data, points, boxes],
        sort_keys=True,
        default=str,
    )


def _folder(table: SuiteTable, row: Line, column: Line) -> str:
    return "__".join((table.name, slug(row.name), slug(column.name)))


def _replaced(kind: str, names: Mapping[str, str], pairs: Sequence[str]) -> dict[str, str]:
    """Return the specs by name, with the user's replacements in the form ``NAME=SPEC``."""
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
    """Raise UsageError if two tables have the same name, because their runs would share folders."""
    if twice := [name for name in tables if tables.count(name) > 1]:
        raise UsageError(f"Two tables of the suite are called {twice[0]}; give one another name.")


def _check_rows(rows: Sequence[str], suite: Suite) -> None:
    """Raise UsageError for a row that no table plays."""
    known = list(dict.fromkeys(row.name for table in suite.tables for row in table.rows if row.play))
    for name in rows:
        if name not in known:
            raise unknown("row of the suite that is played", name, known, f"Such rows are {', '.join(known)}.")


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Raise UsageError for an unknown setting."""
    known = [*setting_names(), "points"]
    for name in settings:
        if name not in known and not name.startswith("data."):
            raise unknown("setting", name, known, f"Settings are {', '.join(known)}.")
