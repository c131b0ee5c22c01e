"""The results of runs as tables for the terminal, one for each kind of task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from hlmat_bench.cli import console
from hlmat_bench.cli.console import with_interval
from hlmat_bench.protocol.settings import headline
from hlmat_bench.scores.failures import left_out_words

if TYPE_CHECKING:
    from hlmat_bench.runs.run_folder import Run

Scores: TypeAlias = Mapping[str, Any]


class Columns(NamedTuple):
    """What a table shows of a run, beside its name.

    Attributes:
        headers: of the columns.
        cells: (scores, the selection rule whose mask is the run's answer) -> texts.
    """

    headers: Sequence[str]
    cells: Callable[[Scores, str], list[str]]


def print_scores(first: str, runs: Sequence[tuple[str, Run]]) -> None:
    """Print the results of runs, each with its 95 % interval.

    Args:
        first: the header of the names.
        runs: by name.
    """
    for kind, columns in COLUMNS.items():
        chosen = [(name, run) for name, run in runs if run.manifest["task"]["kind"] == kind]
        extra = [column for column in (_FAILED, _LEFT_OUT) if any(column.cell(run) for _, run in chosen)]
        headers = (first, *columns.headers, *(column.header for column in extra))
        rows = [
            [
                name,
                *columns.cells(run.scores(), headline(run.manifest["protocol"])),
                *(c.cell(run) or "0" for c in extra),
            ]
            for name, run in chosen
        ]
        if rows:
            console.table(headers, rows, right=range(1, len(headers)))


def failed(run: Run) -> int:
    """Return how many episodes of a run failed because the model could not be asked."""
    return int(run.scores()["failures"]["episodes"])


def _failed_cell(run: Run) -> str:
    found = run.scores()["failures"]
    return f"{found['episodes']} ({found['share']:.1%})" if found["episodes"] else ""


def _left_out_cell(run: Run) -> str:
    return left_out_words(run.manifest)


def _segmentation(scores: Scores, rule: str) -> list[str]:
    taken, noc = scores["selection"][rule], scores["noc"]
    return [
        str(scores["n"]),
        with_interval(taken["miou"], taken["miou_ci"], 3),
        with_interval(taken["ciou"], taken["ciou_ci"], 3),
        with_interval(noc["0.80"]["mean"], noc["0.80"]["ci"], 2),
        with_interval(noc["0.85"]["mean"], noc["0.85"]["ci"], 2),
    ]


def _refinement(scores: Scores, rule: str) -> list[str]:
    found = scores["refinement"]
    taken = found[rule]
    return [
        str(scores["n"]),
        with_interval(found["initial_miou"], found["initial_miou_ci"], 3),
        with_interval(taken["miou"], taken["miou_ci"], 3),
        with_interval(taken["gain"], taken["gain_ci"], 3),
        with_interval(taken["worsened"], taken["worsened_ci"], 3),
        with_interval(found["noc"]["0.85"]["mean"], found["noc"]["0.85"]["ci"], 2),
    ]


def _filtering(scores: Scores, rule: str) -> list[str]:
    found = scores["filtering"]
    return [
        str(found["n_masks"]),
        *(with_interval(found[name], found[f"{name}_ci"], 2) for name in ("mae", "mse")),
        *(
            "none" if found[name] is None else with_interval(found[name], found[f"{name}_ci"], 3)
            for name in ("pearson", "spearman")
        ),
        str(found["unparsable"]),
    ]


class ExtraColumn(NamedTuple):
    """A column that stands in a table only where it says something of one of its runs.

    Attributes:
        header: of the column.
        cell: run -> text; empty where there is nothing to say.
    """

    header: str
    cell: Callable[[Run], str]


_FAILED = ExtraColumn("failed", _failed_cell)
_LEFT_OUT = ExtraColumn("left out", _left_out_cell)

#: By the kind of a task.
COLUMNS: dict[str, Columns] = {
    "segmentation": Columns(("n", "mIoU", "cIoU", "NoC@80", "NoC@85"), _segmentation),
    "refinement": Columns(("n", "initial mIoU", "mIoU", "gain", "worsened", "NoC@85"), _refinement),
    "filtering": Columns(("masks", "MAE", "MSE", "Pearson", "Spearman", "unparsable"), _filtering),
}
