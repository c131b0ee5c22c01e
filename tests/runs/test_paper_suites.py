"""The suites of the paper: their files, the published numbers, and a whole play with a stand-in model."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import pytest

from hlmat_bench.data.published import published_table
from hlmat_bench.data.tasks import load_task, task_names
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.reference import REFERENCES
from hlmat_bench.protocol.strategies import STRATEGIES
from hlmat_bench.runs.opening import settings_for, split_settings
from hlmat_bench.runs.suites.definition import load_suite, suite_names
from hlmat_bench.runs.suites.expansion import Changes, Plan, expand

PAPER = ["paper-fig3", "paper-fig4", *(f"paper-table{number}" for number in range(1, 7))]

#: Typed from the paper by hand: table, row, column, number as printed.
PRINTED = [
    ("table1", "MAttNet", "refCOCO val", 56.51),
    ("table1", "LAVT", "refCOCO+ testB", 55.1),
    ("table1", "PolyFormer-L", "refCOCO val", 76.94),
    ("table1", "X-Decoder", "refCOCOg val", 64.6),
    ("table1", "X-Decoder", "refCOCO val", None),
    ("table1", "SEEM", "refCOCOg test", None),
    ("table1", "LISA (SAM)", "refCOCOg test", 70.6),
    ("table1", "SAM4MLLM (Qwen)", "refCOCO testA", 80.9),
    ("table1", "Qwen box + SAM", "refCOCO testA", 75.20),
    ("table1", "Qwen box + SAM", "refCOCOg val", 66.93),
    ("table1", "SegAgent-LLaVA + SAM", "refCOCO val", 79.20),
    ("table1", "SegAgent-LLaVA + SAM", "refCOCO+ testA", 76.68),
    ("table1", "SegAgent-Qwen + SAM", "refCOCO+ testB", 65.75),
    ("table1", "SegAgent-LLaVA + SimpleClick", "refCOCO+ val", 66.73),
    ("table1", "SegAgent-Qwen + SimpleClick", "refCOCOg test", 75.20),
    ("table2", "without PRM", "7", 68.22),
    ("table2", "with PRM", "5", 75.21),
    ("table2", "with PRM", "1", 71.53),
    ("table3", "SegAgent-Qwen", "MSE", 193.98),
    ("table3", "SegAgent-LLaVA", "Spearman", 0.90),
    ("table4", "mIoU", "Blue", 0.750),
    ("table5", "refCOCO+ val", "Self box", 70.50),
    ("table5", "refCOCOg test", "No box", 73.13),
    ("table6", "mIoU", "[0, 1000)", 0.747),
    ("figure4", "Fixed steps", "ThinObject5K", 71.45),
    ("figure4", "Fixed steps, trained with StaR+", "ThinObject5K", 86.57),
    ("figure4", "PRM stop, gain over fixed steps", "DIS5K", 2.36),
    ("figure4", "Tree search, gain over PRM stop", "ThinObject5K", 10.59),
]


def test_the_suites_are_there() -> None:
    assert suite_names() == ["paper", *PAPER, "segnext", "smoke", "tiny"]


@pytest.mark.parametrize(("name", "row", "column", "number"), PRINTED)
def test_published_numbers_are_those_printed(name: str, row: str, column: str, number: float | None) -> None:
    publication, table = published_table(f"segagent/{name}")
    assert row in table.rows
    assert column in table.columns
    scale = 100 if name in ("table4", "table6") else 1
    assert table.value(row, column) == (None if number is None else pytest.approx(number * scale, abs=1e-9))
    assert publication.url.endswith("2503.08625")
    assert table.caveat


@pytest.mark.shared
def test_published_numbers_are_in_the_papers_text(shared: Path) -> None:
    """Every row of the tables, as a line of the text."""
    text = (shared / "paper" / "segagent_arxiv_2503.08625.txt").read_text()
    lines = [{float(word) for word in re.findall(r"\d+\.\d+", line)} for line in text.splitlines()]
    for name in [f"table{number}" for number in range(1, 7)] + ["figure4"]:
        table = published_table(f"segagent/{name}")[1]
        for row in table.rows.values():
            numbers = {number for number in row if number is not None}
            assert any(numbers <= line for line in lines), (name, numbers)


@pytest.mark.parametrize("name", [*PAPER, "segnext", "smoke", "tiny"])
def test_every_run_of_a_suite_has_valid_parts(name: str) -> None:
    plan = expand(load_suite(name))
    assert plan.runs
    catalog, segmenters = Catalog.load(), plugins.available("segmenter")
    for run in plan.runs:
        choice = catalog.choose(run.model)
        assert choice.entry in catalog.models or choice.plugin in REFERENCES
        assert plugins.parse_spec(run.segmenter)[0] in segmenters
        task = load_task(run.task)
        protocol, data, points = split_settings(run.settings)
        initial = "box-from=x" if run.boxes else run.initial
        rules = settings_for(choice, task, protocol | {"strategy": run.strategy, "initial": initial}, run.budget)
        assert rules.strategy in (["predict"] if task.kind == "filtering" else STRATEGIES)
        assert run.strategy in (None, rules.strategy)
        assert not data
        assert points is None or PointFormat.named(points)
    assert {run.task for run in plan.runs} <= set(task_names())


@pytest.mark.parametrize("name", [*PAPER, "segnext"])
def test_every_number_of_a_published_table_is_shown(name: str) -> None:
    """A misspelt row or column would lose its numbers without a word."""
    plan = expand(load_suite(name))
    for table in plan.suite.tables:
        wanted: dict[tuple[str, str], float | None] = {}
        for source in reversed(table.published):  # the first one that has a number counts
            published = published_table(source)[1]
            cells = [(row, column) for row in published.rows for column in published.columns]
            wanted |= {cell: number for cell in cells if (number := published.value(*cell)) is not None}
        shown = {(cell.row, cell.column): cell.published for cell in plan.cells[table.name]}
        if table.published:
            assert wanted == {place: number for place, number in shown.items() if number is not None}


def settings(plan: Plan, row: str, column: str) -> Any:
    [cells] = plan.cells.values()
    [run] = [cell.run for cell in cells if (cell.row, cell.column) == (row, column)]
    return run


def test_they_ask_for_what_the_paper_varies() -> None:
    steps = expand(load_suite("paper-table2"))
    assert [run.budget for run in steps.runs] == [1, 3, 5, 7] * 2
    assert [run.strategy for run in steps.runs] == [None] * 4 + ["prm"] * 4
    colours = expand(load_suite("paper-table4"))
    assert [run.settings for run in colours.runs if run.boxes] == [
        {"overlay.color": colour} for colour in ("green", "blue", "red")
    ]
    actions = expand(load_suite("paper-table5"))
    none, qwen, own = (settings(actions, "refCOCO val", column) for column in ("No box", "Qwen box", "Self box"))
    assert (none.initial, own.initial, none.boxes, own.boxes) == ("empty", "model-box", None, None)
    assert (qwen.boxes.model, qwen.boxes.strategy, qwen.boxes.task) == ("qwen-vl-chat", "box-only", "res_refcoco_val")
    decimals, integers = (run for run in expand(load_suite("paper-table6")).runs if run.boxes)
    assert PointFormat.named(Catalog.load().choose(decimals.model).options["points"]).unit == "0-1"
    assert PointFormat.named(integers.settings["points"]).unit == "0-1000"
    complexity = expand(load_suite("paper-fig3"))
    assert {(run.model, run.budget) for run in complexity.runs} == {("oracle", 20)}
    assert len(complexity.runs) == 10
    search = expand(load_suite("paper-fig4"))
    assert [run.strategy for run in search.runs] == [None] * 2 + ["prm"] * 2 + ["tree"] * 2


def test_table_1_takes_its_boxes_from_its_own_baseline() -> None:
    plan = expand(load_suite("paper-table1"))
    assert len(plan.runs) == 5 * 8
    boxes = settings(plan, "Qwen box + SAM", "refCOCO+ testA")
    assert settings(plan, "SegAgent-LLaVA + SAM", "refCOCO+ testA").boxes is boxes
    assert settings(plan, "SegAgent-Qwen + SAM", "refCOCO+ testA").boxes is boxes
    assert settings(plan, "SegAgent-Qwen + SimpleClick", "refCOCO+ testA").boxes is None


def test_the_commands_of_the_docs_name_the_parts_that_the_suites_have() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "paper.md").read_text()
    parts, commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    values = dict(re.findall(r'^(\w+)="(.*)"$', parts, re.MULTILINE))
    seen = []
    for command in commands.splitlines():
        if command:
            words = shlex.split(Template(command).substitute(values), comments=True)
            assert words[:2] == ["hlmat-bench", "suite"]
            given = dict.fromkeys(("--model", "--segmenter", "--data-root", "--embedding-cache"), ())
            for option, value in zip(words[3::2], words[4::2], strict=True):
                given[option] = (*given[option], value)
            plan = expand(load_suite(words[2]), Changes(given["--model"], given["--segmenter"]))
            replaced = {pair.partition("=")[0] for option in ("--model", "--segmenter") for pair in given[option]}
            needed = {*plan.suite.models, *plan.suite.segmenters}
            assert replaced == (set() if words[2] == "smoke" else needed - {"oracle"})
            seen.append(words[2])
    assert sorted(seen) == [name for name in suite_names() if name not in ("segnext", "tiny")]
