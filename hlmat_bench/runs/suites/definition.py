"""What a suite is: a YAML file of schema ``hlmat-suite/1`` with tables, each a grid of rows and columns of runs.

Ours lie in the content folder ``tasks/suites/``; a user's own is named by its path. ``docs/suites.md`` describes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hlmat_bench.core import files
from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError, unknown
from hlmat_bench.core.validation import Strict, validated
from hlmat_bench.runs.suites.measures import Measure

_LIST_HINT = "`hlmat-bench suites` lists them."


class Part(Strict):
    """Part of the description of a run. A cell's run is that of its table, under its row's, under its column's.

    Attributes:
        model, segmenter: names of the suite's `Suite.models` and `Suite.segmenters`.
        task: a task's name, or the path of its YAML file.
        strategy, budget, limit: as of `hlmat_bench.runs.run.run`.
        initial: the state before the first click.
        boxes: instead of it: the boxes of another run, which is played first. It has this one's model, task, segmenter
            and limit, unless these parts say otherwise.
        settings: settings of the protocol, of the data, and ``points``.
        score: what the cell shows, the first being compared with what is published: see `Measure`.
        minus: a row of the table: the cell shows how much more mIoU its run has than that of this row.
    """

    model: str | None = None
    task: str | None = None
    segmenter: str | None = None
    strategy: str | None = None
    initial: str | None = None
    boxes: Part | None = None
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
    def _one_initial_state(self) -> Part:
        if self.boxes is not None and self.initial is not None:
            raise ValueError("boxes: and initial: are two initial states; leave one out")
        return self

    def under(self, over: Part) -> Part:
        """This part with what another one says instead; settings are replaced one by one."""
        given = {name: getattr(over, name) for name in Part.model_fields if name in over.model_fields_set}
        if given.keys() & {"boxes", "initial"}:
            given = {"boxes": None, "initial": None} | given
        merged = {name: getattr(self, name) for name in Part.model_fields} | given
        return Part.model_construct(**merged | {"settings": {**self.settings, **over.settings}})


class Line(Part):
    """A row or column of a table.

    Attributes:
        name: what it is called, in the table and where published numbers are looked up.
        play: False: only published numbers are shown.
    """

    name: str = Field(min_length=1)
    play: bool = True


class Table(Strict):
    """A grid of cells.

    Attributes:
        name: a short name, part of its runs' folders.
        title: what stands above it.
        published: the file and the table with published numbers: ``segagent/table1``.
        runs: what all its runs have in common.
        rows, columns: what tells them apart.
        notes: sentences that a reader needs.
    """

    name: str = Field(pattern=r"^[\w.-]+$")
    title: str
    published: str | None = Field(None, pattern=r"^[\w.-]+/[\w.-]+$")
    runs: Part = Part()
    rows: tuple[Line, ...] = Field(min_length=1)
    columns: tuple[Line, ...] = Field(min_length=1)
    notes: tuple[str, ...] = ()

    def cells(self) -> Iterator[tuple[Line, Line, Part]]:
        """Row, column and the whole description of the run, row by row; cells that are not played are left out."""
        for row in self.rows:
            for column in self.columns:
                if row.play and column.play:
                    yield row, column, self.part(row, column)

    def part(self, row: Line, column: Line) -> Part:
        """The whole description of a cell's run."""
        return self.runs.under(row).under(column)


class Suite(Strict):
    """A suite, as its YAML file describes it.

    Attributes:
        name: of our files, the file's name.
        title: one line for lists.
        include: suites of ours whose tables come first; what those include is not looked at.
        models: what ``--model`` takes, by the names that the tables use; a user may replace each.
        segmenters: the same of ``--segmenter``.
        tables: what is played and shown.
        notes: sentences that a reader of all tables needs.
    """

    schema_: Literal["hlmat-suite/1"] = Field(alias="schema")
    name: str = Field(pattern=r"^\w[\w.+-]*$")
    title: str
    include: tuple[str, ...] = ()
    models: dict[str, str] = Field(default_factory=dict)
    segmenters: dict[str, str] = Field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits_together(self) -> Suite:
        for table in self.tables:
            _check_names(table)
            for row, column, part in table.cells():
                where = f"the cell {row.name} / {column.name} of {table.name}"
                for needed in ("model", "task", "segmenter", "score"):
                    if not getattr(part, needed):
                        raise ValueError(f"{where} has no {needed}")
                for each in (part, part.under(part.boxes or Part())):
                    _check_known(where, "model", each.model, self.models)
                    _check_known(where, "segmenter", each.segmenter, self.segmenters)
                if part.minus not in (None, *(line.name for line in table.rows if line.play)):
                    raise ValueError(f"{where} is compared with {part.minus}, which is no row that is played")
                if part.minus is not None and part.score != ("miou",):
                    raise ValueError(f"{where} is a gain, which is one of miou alone")
        return self

    def whole(self) -> Suite:
        """This suite with the tables of those that it includes.

        Raises:
            UsageError: when there is no such suite of ours.
        """
        parts = [_shipped(name) for name in self.include]
        models = {name: spec for part in (*parts, self) for name, spec in part.models.items()}
        segmenters = {name: spec for part in (*parts, self) for name, spec in part.segmenters.items()}
        tables = tuple(table for part in (*parts, self) for table in part.tables)
        notes = tuple(dict.fromkeys(note for part in (*parts, self) for note in part.notes))
        changes = {"models": models, "segmenters": segmenters, "tables": tables, "notes": notes, "include": ()}
        return self.model_copy(update=changes)


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^\w.=+-]+", "-", name).strip("-.").lower()


def _check_names(table: Table) -> None:
    for lines in (table.rows, table.columns):
        slugs = [slug(line.name) for line in lines]
        if twice := [line.name for line in lines if slugs.count(slug(line.name)) > 1]:
            raise ValueError(f"the table {table.name} calls two rows or columns {twice[0]}")


def _check_known(where: str, kind: str, name: str | None, known: Mapping[str, str]) -> None:
    if name is not None and name not in known:
        raise ValueError(f"{where} has the {kind} {name}, which is not among {kind}s: {', '.join(known)}")


def suite_names() -> list[str]:
    """The names of all suites of ours."""
    return sorted(path.stem for path in (folder("tasks") / "suites").glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """The suite of that name, or of the YAML file of that path.

    Raises:
        UsageError: when there is none, or the file does not describe one.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return _read(Path(name))
    return _shipped(name)


def _shipped(name: str) -> Suite:
    if name not in suite_names():
        raise unknown("suite", name, suite_names(), _LIST_HINT)
    return _read(folder("tasks") / "suites" / f"{name}.yaml")


def _read(path: Path) -> Suite:
    return validated(Suite, files.read(path, "suite file"), f"the suite file {path}")
