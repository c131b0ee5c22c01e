"""The definition of suites: YAML files of schema ``hlmat-suite/1`` with tables, whose cells are runs.

The project's suites are in the content folder ``tasks/suites/``; a user gives the path of another. See
``docs/suites.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.runs.suites.measures import Measure

_LIST_HINT = "`hlmat-bench suites` lists them."


class RunFields(Strict):
    """Part of the description of a run. A cell's run is that of its table, under its row's, under its column's.

    Attributes:
        model, segmenter: keys of `Suite.models` and `Suite.segmenters`.
        task: name of a task, or path of its YAML file.
        strategy, budget, limit: see `hlmat_bench.runs.run.run`.
        initial: the state before the first click.
        boxes: take the initial boxes from another run, which is played first. These fields describe it; model, task,
            segmenter and limit are by default those of this run. It excludes ``initial``.
        settings: settings of the protocol and of the data, and ``points``.
        score: the scores that the cell shows, see `Measure`; the first one is compared with the published number.
        minus: name of a row of the table: the cell shows the mIoU of its run minus that of this row's run.
    """

    model: str | None = None
    task: str | None = None
    segmenter: str | None = None
    strategy: str | None = None
    initial: str | None = None
    boxes: RunFields | None = None
    budget: int | None = Field(None, ge=1)
    limit: int | None = Field(None, ge=1)
    settings: dict[str, Any] = Field(default_factory=dict)
    score: tuple[str, ...] = ()
    minus: str | None = None

    @field_validator("score", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("score")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            try:
                Measure.named(name)
            except UsageError as error:
                raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _one_initial_state(self) -> RunFields:
        if self.boxes is not None and self.initial is not None:
            raise ValueError("boxes: and initial: are two initial states; leave one out")
        return self

    def under(self, over: RunFields) -> RunFields:
        """Return these fields, replaced by those that are set in ``over``; settings are replaced one by one."""
        given = {name: getattr(over, name) for name in RunFields.model_fields if name in over.model_fields_set}
        if given.keys() & {"boxes", "initial"}:
            given = {"boxes": None, "initial": None} | given
        merged = {name: getattr(self, name) for name in RunFields.model_fields} | given
        return RunFields.model_construct(**merged | {"settings": {**self.settings, **over.settings}})


class Line(RunFields):
    """A row or column of a table.

    Attributes:
        name: name of the row or column, in the table and among the published numbers.
        play: False: show only published numbers.
    """

    name: str = Field(min_length=1)
    play: bool = True


class SuiteTable(Strict):
    """A grid of cells.

    Attributes:
        name: a short name, part of the folder names of its runs.
        title: heading of the table.
        published: files and tables with published numbers, such as ``segagent/table1``; a cell has that of the first
            table with a number for it.
        runs: fields of all runs of the table.
        rows, columns: fields of the runs in a row or column; a column's take precedence over a row's.
        notes: notes for readers.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    title: str
    published: tuple[Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")], ...] = ()
    runs: RunFields = RunFields()
    rows: tuple[Line, ...] = Field(min_length=1)
    columns: tuple[Line, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    @field_validator("published", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    def cells(self) -> Iterator[tuple[Line, Line, RunFields]]:
        """Yield row, column and all fields of the run for each cell that is played, row by row."""
        for row in self.rows:
            for column in self.columns:
                if row.play and column.play:
                    yield row, column, self.fields_of(row, column)

    def fields_of(self, row: Line, column: Line) -> RunFields:
        """Return all fields of a cell's run."""
        return self.runs.under(row).under(column)


class Suite(Strict):
    """A suite, as its YAML file describes it.

    Attributes:
        name: name of the suite; for those of the project the name of the file.
        title: one line for lists.
        include: suites of the project whose tables precede those of this suite; their own ``include`` is ignored.
        models: values of ``--model`` by the names in the tables; a user can replace them.
        segmenters: values of ``--segmenter`` by the names in the tables; a user can replace them.
        tables: the tables to play and show.
        notes: notes for readers of all tables.
    """

    schema_: Literal["hlmat-suite/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^\w[\w.+-]*$")
    title: str
    include: tuple[str, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)
    segmenters: dict[str, str] = Field(default_factory=dict)
    tables: tuple[SuiteTable, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Suite:
        for table in self.tables:
            _check_names(table)
            for row, column, fields in table.cells():
                where = f"the cell {row.name} / {column.name} of {table.name}"
                for needed in ("model", "task", "segmenter", "score"):
                    if not getattr(fields, needed):
                        raise ValueError(f"{where} has no {needed}")
                for each in (fields, fields.under(fields.boxes or RunFields())):
                    _check_known(where, "model", each.model, self.models)
                    _check_known(where, "segmenter", each.segmenter, self.segmenters)
                if fields.minus not in (None, *(line.name for line in table.rows if line.play)):
                    raise ValueError(f"{where} has minus: {fields.minus}, and no row of this name is played")
                if fields.minus is not None and fields.score != ("miou",):
                    raise ValueError(f"{where} has minus:, so its score: must be miou alone")
        return self

    def whole(self) -> Suite:
        """Return this suite with the tables, models, segmenters and notes of the suites that it includes.

        Raises:
            UsageError: when the project has no suite of an included name.
        """
        parts = [_built_in(name) for name in self.include]
        models = {name: spec for suite in (*parts, self) for name, spec in suite.models.items()}
        segmenters = {name: spec for suite in (*parts, self) for name, spec in suite.segmenters.items()}
        tables = tuple(table for suite in (*parts, self) for table in suite.tables)
        notes = tuple(dict.fromkeys(note for suite in (*parts, self) for note in suite.notes))
        changes = {"models": models, "segmenters": segmenters, "tables": tables, "notes": notes, "include": ()}
        return self.model_copy(update=changes)


def slug(name: str) -> str:
    """Return a name in a form for file names, in lower case."""
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.").lower()


def _check_names(table: SuiteTable) -> None:
    for lines in (table.rows, table.columns):
        slugs = [slug(line.name) for line in lines]
        if twice := [line.name for line in lines if slugs.count(slug(line.name)) > 1]:
            raise ValueError(f"the table {table.name} calls two rows or columns {twice[0]}")


def _check_known(where: str, kind: str, name: str | None, known: Mapping[str, str]) -> None:
    if name is not None and name not in known:
        raise ValueError(f"{where} has the {kind} {name}, which is not among {kind}s: {', '.join(known)}")


def suite_names() -> list[str]:
    """Return the names of the project's suites, sorted."""
    return sorted(path.stem for path in (folder("tasks") / "suites").glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """Load a suite by the name of a project's suite, or by the path of a YAML file.

    Raises:
        UsageError: when there is no such suite, or the file does not follow the schema.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return _read(Path(name))
    return _built_in(name)


def _built_in(name: str) -> Suite:
    if name not in suite_names():
        raise unknown("suite", name, suite_names(), _LIST_HINT)
    return _read(folder("tasks") / "suites" / f"{name}.yaml")


def _read(path: Path) -> Suite:
    return validated(Suite, files.read(path, "suite file"), f"the suite file {path}")
