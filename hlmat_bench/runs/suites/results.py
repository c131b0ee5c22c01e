"""The results of a suite: what each cell shows, beside what is published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlmat_bench.data.published import published_table
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.suites.definition import SuiteTable
from hlmat_bench.runs.suites.expansion import Cell, Plan, SuiteRun
from hlmat_bench.runs.suites.measures import Measure
from hlmat_bench.runs.suites.play import Outcome, expected_samples
from hlmat_bench.scores.episodes import EpisodeScores
from hlmat_bench.scores.paired import paired_differences
from hlmat_bench.scores.registry import STANDARD, ScoreValue

SCHEMA = "hlmat-suite-table/1"


@dataclass(frozen=True)
class CellResult:
    """What a cell shows.

    Attributes:
        cell: which one.
        values: a number per measure; None where there is none.
        n: samples.
        masks: that were rated, in filtering tasks; else None.
        rule: the selection rule of the run's answer.
        failed: replies that never came because a request failed for good.
        reason: why a number is missing, as a sentence; None where none is.
    """

    cell: Cell
    values: tuple[ScoreValue | None, ...] = ()
    n: int | None = None
    masks: int | None = None
    rule: str | None = None
    failed: int = 0
    reason: str | None = None

    @property
    def difference(self) -> float | None:
        """The measured minus the published number; None where one is missing."""
        first = self.values[0] if self.values else None
        return None if first is None or self.cell.published is None else first.value - self.cell.published


@dataclass(frozen=True)
class TableResult:
    """A table with its numbers.

    Attributes:
        table: which one.
        cells: by row, then by column.
        caption: sentences below it.
    """

    table: SuiteTable
    cells: Mapping[str, Mapping[str, CellResult]]
    caption: Sequence[str]


def results(plan: Plan, outcomes: Mapping[str, Outcome]) -> list[TableResult]:
    """Return all tables of a suite with their numbers."""
    return [_table(table, plan, outcomes) for table in plan.suite.tables]


def missing(tables: Sequence[TableResult]) -> bool:
    """Tell whether a cell that should show a number shows none."""
    return any(cell.reason for table in tables for row in table.cells.values() for cell in row.values())


def _table(table: SuiteTable, plan: Plan, outcomes: Mapping[str, Outcome]) -> TableResult:
    made: dict[str, dict[str, CellResult]] = {}
    for cell in plan.cells[table.name]:
        made.setdefault(cell.row, {})[cell.column] = _result(cell, outcomes)
    cells = [result for row in made.values() for result in row.values()]
    return TableResult(table, made, [*_how_much(cells), *_sources(table), *table.notes])


def _how_much(cells: Sequence[CellResult]) -> list[str]:
    """Say what a reader must know before comparing: limits, failed requests."""
    limits = sorted({cell.cell.run.limit for cell in cells if cell.cell.run and cell.cell.run.limit})
    failed = sum(cell.failed for cell in cells)
    sentences = []
    if limits:
        first = " or ".join(str(limit) for limit in limits)
        sentences.append(
            f"A MINIATURE: of each task only the first samples were played, {first} at most. It is not a result."
        )
    sentences += _incomplete(cells)
    if failed:
        sentences.append(f"{failed} requests failed for good; their episodes count with the mask they had.")
    return sentences


def _incomplete(cells: Sequence[CellResult]) -> list[str]:
    """Name the tasks of which another number of samples was played than there is, without a limit."""
    runs = {(cell.cell.run.task, cell.n): cell.cell.run for cell in cells if cell.cell.run and cell.n}
    parts = [
        f"{n} of the {whole} samples of {task}"
        for (task, n), run in sorted(runs.items(), key=lambda item: item[0])
        if not run.limit and (whole := expected_samples(run)) not in (0, n)
    ]
    return [f"The data is not whole: {'; '.join(parts)} were played. Published numbers are of all."] if parts else []


def _sources(table: SuiteTable) -> list[str]:
    found = [published_table(name) for name in table.published]
    return [
        f"Published: {publication.source}, {publication.url}. {shown.title}. {' '.join(shown.caveat.split())}"
        for publication, shown in found
    ]


def _result(cell: Cell, outcomes: Mapping[str, Outcome]) -> CellResult:
    if cell.run is None:
        return CellResult(cell)
    for wanted in (cell.run, cell.minus):
        if wanted is not None and (why := outcomes[wanted.name].reason) is not None:
            return CellResult(cell, (None,) * len(cell.measures), reason=why)
    run = _run(cell.run, outcomes)
    scores, rule = run.scores(), _rule(run)
    if cell.minus is None:
        values = tuple(measure.of(scores, rule) for measure in cell.measures)
    else:
        values = (_gain(run, _run(cell.minus, outcomes)),)
    lacking = [measure.title for measure, value in zip(cell.measures, values, strict=True) if value is None]
    why = f"The run {cell.run.name} has no {lacking[0]}." if lacking else None
    masks = (scores["filtering"] or {}).get("n_masks")
    return CellResult(cell, values, scores["n"], masks, rule, _failed(scores), why)


def _run(wanted: SuiteRun, outcomes: Mapping[str, Outcome]) -> Run:
    run = outcomes[wanted.name].run
    assert run is not None
    return run


def _rule(run: Run) -> str:
    return answer_rule(run.manifest["protocol"])


def _failed(scores: Mapping[str, Any]) -> int:
    return int(scores["clicks"]["invalid"].get("api", 0))


def _gain(run: Run, other: Run) -> ScoreValue | None:
    """Return how much more mIoU a run has than another one, in points, on the samples of both."""
    ours, theirs = _samples(run), _samples(other)
    both = [sample for sample in ours if sample in theirs]
    if not both:
        return None
    budget = run.manifest["protocol"]["budget"]
    sides = [ours[name] for name in both], [theirs[name] for name in both]
    found = paired_differences([STANDARD["miou"]], *sides, (budget, budget))["miou"]
    return None if found is None else found.times(Measure.named("miou").scale)


def _samples(run: Run) -> dict[str, EpisodeScores]:
    """Return a run's episodes in numbers, by sample."""
    return {sample.sample_id: sample for sample in run.samples()}
