"""The results of runs as tables, one for each kind of task: for the terminal, and as LaTeX, Markdown or CSV."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from hlmat_bench.cli import console
from hlmat_bench.core.tables import TextTable, csv_text
from hlmat_bench.protocol.settings import answer_rule
from hlmat_bench.scores.failures import left_out_words
from hlmat_bench.scores.registry import TABLES, Score, columns

if TYPE_CHECKING:
    from hlmat_bench.runs.run_folder import Run

_CSV_HEADERS = ("run", "task", "score", "value", "low", "high", "never", "n")


class Column(NamedTuple):
    """A column of a table of runs.

    Attributes:
        header: of the column.
        cell: run -> text; empty where there is nothing to say.
    """

    header: str
    cell: Callable[[Run], str]


def print_scores(first: str, runs: Sequence[tuple[str, Run]]) -> None:
    """Print the results of runs in per cent, with their 95 % intervals: a table for each kind of task.

    Args:
        first: the header of the names.
        runs: by name.
    """
    for table in tables(first, runs):
        console.results(table.headers, table.rows)


def exported(runs: Sequence[tuple[str, Run]], ending: str) -> str:
    """Return the results of runs in one of `core.tables.FORMATS`.

    CSV has a row per run and score, unrounded, in the units of scores.json.
    """
    if ending == "csv":
        return csv_text(_CSV_HEADERS, _csv_rows(runs))
    return "\n".join(table.text(ending) for table in tables("run", runs))


def tables(first: str, runs: Sequence[tuple[str, Run]]) -> Iterator[TextTable]:
    """Yield the table of each kind of task; for the arguments see `print_scores`."""
    for kind in TABLES["terminal"]:
        chosen = [(name, run) for name, run in runs if run.manifest["task"]["kind"] == kind]
        shown = [
            *_columns(kind, [run for _, run in chosen]),
            *(one for one in (_FAILED, _LEFT_OUT) if any(one.cell(run) for _, run in chosen)),
        ]
        rows = [[name, *(column.cell(run) or "0" for column in shown)] for name, run in chosen]
        if rows:
            yield TextTable([first, *(column.header for column in shown)], rows)


def _csv_rows(runs: Sequence[tuple[str, Run]]) -> Iterator[list[str | float | int | None]]:
    for name, run in runs:
        scores, rule = run.scores(), answer_rule(run.manifest["protocol"])
        for score in columns("terminal", run.manifest["task"]["kind"], [scores]):
            numbers = score.read(scores, rule) or (None, None, None)
            yield [name, run.manifest["task"]["name"], score.key, *numbers, score.missed(scores), scores["n"]]


def failed(run: Run) -> int:
    """Return how many episodes of a run failed because the model could not be asked."""
    return int(run.scores()["failures"]["episodes"])


def _columns(kind: str, runs: Sequence[Run]) -> list[Column]:
    """Return the columns of a kind of task: the number of samples or masks, then what the registry of scores has."""
    shown = columns("terminal", kind, (run.scores() for run in runs))
    scores = [column for score in shown for column in _score_columns(score, runs)]
    if kind != "filtering":
        return [Column("n", lambda run: str(run.scores()["n"])), *scores]
    masks, unparsable = (partial(_rated, key) for key in ("n_masks", "unparsable"))
    return [Column("masks", masks), *scores, Column("unparsable", unparsable)]


def _score_columns(score: Score, runs: Sequence[Run]) -> list[Column]:
    """Return the column of a score, and for a number of clicks one of the samples that never reach the threshold."""
    found = [Column(score.title, partial(_cell, score))]
    if any(score.missed(run.scores()) is not None for run in runs):
        threshold = score.title.rpartition("@")[2]
        found.append(Column(f"never {threshold} %", lambda run: str(score.missed(run.scores()))))
    return found


def _cell(score: Score, run: Run) -> str:
    return score.with_interval(score.read(run.scores(), answer_rule(run.manifest["protocol"])))


def _rated(key: str, run: Run) -> str:
    return str(run.scores()["filtering"][key])


def _failed_cell(run: Run) -> str:
    found = run.scores()["failures"]
    return f"{found['episodes']} ({console.percent(found['share'])} %)" if found["episodes"] else ""


_FAILED = Column("failed", _failed_cell)
_LEFT_OUT = Column("left out", lambda run: left_out_words(run.manifest))
