"""The tables of a suite: numbers computed by hand, and names that each form must not take for its own signs."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlmat_bench.actions import Action
from hlmat_bench.core import masks
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.tables import escape_latex, escape_markdown
from hlmat_bench.protocol import manifest
from hlmat_bench.protocol.records import Episode, Step
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.suites.definition import Line, Suite, SuiteTable
from hlmat_bench.runs.suites.expansion import Cell, Plan, SuiteRun
from hlmat_bench.runs.suites.export import (
    as_json,
    csv_text,
    latex,
    markdown,
    write_tables,
)
from hlmat_bench.runs.suites.measures import Measure
from hlmat_bench.runs.suites.play import Outcome
from hlmat_bench.runs.suites.results import missing, results

NASTY = r"50% | A_b & $c$ {#} ~^ \x <b> *d* `e` [f](g)"


def mask(columns: int) -> Any:
    """Of ten pixels in a row, the first so many."""
    row = np.zeros((1, 10), bool)
    row[0, :columns] = True
    return masks.encode(row)


def episode(number: int, ious: list[int], best: int) -> Episode:
    """Make an episode: the object is ten pixels wide, ``ious`` are tenths, ``best`` what was predicted."""
    steps = [
        Step(
            t=t, raw="", action=Action("click", positive=True, x=0, y=0, predicted_iou=None), mask=mask(width),
            iou=width / 10, seconds={"model": 0.0, "segmenter": 0.0, "harness": 0.0}, tokens={"in": 1, "out": 1},
        )
        for t, width in enumerate(ious, 1)
    ]  # fmt: skip
    return Episode(
        sample_id=str(number), image="i", image_id=str(number), ref_id=None, expression="x", size=(1, 10), gt=mask(10),
        ignore=None, initial={"kind": "empty", "mask": None, "iou": 0.0}, steps=steps,
        selected={"final": len(ious), "self": best, "best": 1}, stop="budget",
    )  # fmt: skip


def run(folder: Path, episodes: list[Episode], **more: Any) -> Run:
    folder.mkdir(parents=True)
    protocol = {"budget": 2, "track": "point", "strategy": "greedy", "initial": "empty", "max_tokens": 9, **more}
    document = manifest.build(
        argv=[], model={"name": "m"}, task={"name": "t", "digest": "d"}, segmenter={"name": "s"}, protocol=protocol,
        points={"name": "xy1000", "unit": "0-1000"}, resize="none", seed=0, limit=None, shard=None, samples=2,
    )  # fmt: skip
    (folder / "run.json").write_text(json.dumps(document))
    (folder / "episodes.jsonl").write_text("".join(json.dumps(each.to_json()) + "\n" for each in episodes))
    return Run(folder)


def wanted(name: str, limit: int | None) -> SuiteRun:
    return SuiteRun(name, "m", "t", "s", None, None, None, limit, {})


def made(tmp_path: Path, row: str = "Ours", limit: int | None = None) -> tuple[Plan, dict[str, Outcome]]:
    """Greedy ends at IoUs 0.5 and 0.7; the search selects 0.6 and 0.9; a third run could not be played."""
    first = run(tmp_path / "first", [episode(1, [2, 5], 1), episode(2, [9, 7], 1)], prm=None)
    second = run(tmp_path / "second", [episode(1, [6, 1], 1), episode(2, [1, 9], 2)], prm="reply")
    runs = [wanted(name, limit) for name in ("first", "second", "third")]
    lines = [Line(name=name) for name in (row, "Gain", "Absent")]
    columns = (Line(name="A"), Line(name="B"))
    table = SuiteTable(name="t", title="T & co", rows=tuple(lines), columns=columns)
    suite = Suite.model_validate({"schema": "hlmat-suite/1", "name": "s", "title": "S"})
    miou, ciou, noc = (Measure.named(name) for name in ("miou", "ciou", "noc@80"))
    cells = [
        Cell(row, "A", runs[0], None, (miou, ciou), 59.5),
        Cell(row, "B", runs[1], None, (miou, ciou), 80.25),
        Cell("Gain", "A", runs[1], runs[0], (miou,)),
        Cell("Gain", "B"),
        Cell("Absent", "A", runs[2], None, (noc,), 3.0),
        Cell("Absent", "B", runs[0], None, (noc,)),
    ]
    plan = Plan(suite.model_copy(update={"tables": (table,)}), runs, {"t": cells})
    reason = "The task t needs x_y under z."
    return plan, {"first": Outcome(first), "second": Outcome(second), "third": Outcome(None, reason)}


def test_the_numbers_are_those_computed_by_hand(tmp_path: Path) -> None:
    """NoC@80 of the first run: sample 1 misses (2 clicks), 2 needs 1. The gain is (0.6 - 0.5 + 0.9 - 0.7) / 2."""
    tables = results(*made(tmp_path))
    cells = tables[0].cells
    first, second = cells["Ours"]["A"], cells["Ours"]["B"]
    assert [value.value for value in first.values if value] == pytest.approx([60.0, 60.0])
    assert first.difference == pytest.approx(0.5)
    assert [value.value for value in second.values if value] == pytest.approx([75.0, 75.0])
    assert second.difference == pytest.approx(-5.25)
    [gain] = cells["Gain"]["A"].values
    assert gain is not None
    assert gain.value == pytest.approx(15.0)
    assert (gain.low, gain.high) == pytest.approx((10.0, 20.0))  # two images: a draw has one of them twice, or both
    [noc] = cells["Absent"]["B"].values
    assert noc is not None
    assert noc.value == pytest.approx(1.5)
    assert cells["Absent"]["A"].values == (None,)
    assert missing(tables)


def test_the_page_shows_them(tmp_path: Path) -> None:
    page = markdown("S", results(*made(tmp_path, limit=2)), ["m is x here."])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert rows == [
        ["", "", "A", "B"],
        ["---", "---", "---:", "---:"],
        ["Ours", "mIoU", "60.00 [50.00, 70.00]", "75.00 [60.00, 90.00]"],
        ["", "cIoU", "60.00 [50.00, 70.00]", "75.00 [60.00, 90.00]"],
        ["", "as published", "59.5", "80.25"],
        ["", "difference", "+0.50", "-5.25"],
        ["", "n", "2 (limit 2)", "2 (limit 2)"],
        ["Gain", "gain in mIoU", "+15.00 [+10.00, +20.00]", ""],
        ["", "n", "2 (limit 2)", ""],
        ["Absent", "NoC@80", "–", "1.50 [1.00, 2.00]"],
        ["", "as published", "3", ""],
        ["", "n", "–", "2 (limit 2)"],
    ]
    assert "A MINIATURE: of each task only the first samples were played, 2 at most" in page
    assert r"– Absent / A: The task t needs x\_y under z." in page
    assert "m is x here." in page


def test_without_a_limit_it_is_no_miniature(tmp_path: Path) -> None:
    page = markdown("S", results(*made(tmp_path)), [])
    assert "MINIATURE" not in page
    assert "limit" not in page


def test_csv_holds_any_name_and_all_digits(tmp_path: Path) -> None:
    name = NASTY + ' "quoted", and\na second line'
    rows = list(csv.DictReader(io.StringIO(csv_text(results(*made(tmp_path, row=name))), newline="")))
    assert {row["row"] for row in rows} == {name, "Gain", "Absent"}
    [ours] = [row for row in rows if (row["row"], row["column"], row["score"]) == (name, "A", "miou")]
    assert float(ours["value"]) == pytest.approx(60, abs=1e-12)
    assert (ours["published"], ours["n"], ours["rule"], ours["run"]) == ("59.5", "2", "final", "first")
    [absent] = [row for row in rows if row["row"] == "Absent" and row["column"] == "A"]
    assert (absent["value"], absent["published"]) == ("", "3.0")
    assert absent["reason"].startswith("The task t needs")


def test_json_holds_what_the_csv_holds(tmp_path: Path) -> None:
    value = as_json("S", results(*made(tmp_path, limit=2)), [])
    assert value["schema"] == "hlmat-suite-table/1"
    cells = {(cell["row"], cell["column"]): cell for cell in value["tables"][0]["cells"]}
    assert cells["Ours", "B"]["scores"]["miou"]["value"] == pytest.approx(75)
    assert cells["Ours", "B"]["rule"] == "self"
    assert cells["Gain", "A"]["minus"] == "first"
    assert cells["Absent", "A"]["scores"] == {"noc@80": None}
    assert {cell["limit"] for cell in cells.values()} == {2, None}
    json.dumps(value, allow_nan=False)


def test_latex_takes_no_name_for_its_own_signs(tmp_path: Path) -> None:
    text = latex("S", results(*made(tmp_path, row=NASTY)), [])
    [line] = [line for line in text.splitlines() if line.startswith("50")]
    cells = re.split(r"(?<!\\)&", line)
    assert len(cells) == 4
    assert cells[0].strip() == (
        r"50\% | A\_b \& \$c\$ \{\#\} \textasciitilde{}\textasciicircum{} \textbackslash{}x \textless{}b\textgreater{} "
        r"*d* `e` [f](g)"
    )
    assert r"\caption{T \& co." in text
    assert r"$+$0.50" in text
    assert r"$-$5.25" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert r"\begin{tabular}{llrr}" in text
    shielded = latex("S", results(*made(tmp_path / "2", row="[1ex] more")), [])
    assert "\n{}[1ex] more & mIoU" in shielded  # else it would be an argument of the line break before it


def test_markdown_takes_no_name_for_its_own_signs(tmp_path: Path) -> None:
    assert escape_markdown(NASTY) == r"50% \| A\_b & $c$ {\#} ~^ \\x \<b\> \*d\* \`e\` \[f\](g)"
    page = markdown("S", results(*made(tmp_path, row=NASTY + "\nx")), [])
    [line] = [line for line in page.splitlines() if line.startswith("| 50%")]
    assert len(re.split(r"(?<!\\)\|", line)) == 6
    assert escape_latex("–") == "--"


def test_they_are_written(tmp_path: Path) -> None:
    tables = results(*made(tmp_path / "runs"))
    files = write_tables(tmp_path, "S", tables, [])
    assert [file.name for file in files] == ["table.md", "table.csv", "table.tex", "table.json"]
    assert (tmp_path / "table.md").read_text() == markdown("S", tables, [])
    assert json.loads((tmp_path / "table.json").read_text()) == as_json("S", tables, [])


def test_scores_by_name() -> None:
    scores = {
        "selection": {
            rule: {"miou": value, "miou_ci": [0.0, 0.5]}
            for rule, value in (("final", 0.0), ("self", 0.1), ("best", 0.2))
        },
        "noc": {"0.85": {"mean": 3.5, "ci": [3, 4]}},
        "curve": [{"t": 0, "miou": 0.0, "miou_ci": [0, 0]}, {"t": 1, "miou": 0.4, "miou_ci": [0.3, 0.5]}],
        "auc": 0.25,
        "filtering": None,
    }  # fmt: skip

    def shown(name: str, rule: str = "final") -> Any:
        return Measure.named(name).of(scores, rule)

    assert [shown("miou", "self"), shown("best.miou"), shown("miou@1")] == [(10, 0, 50), (20, 0, 50), (40, 30, 50)]
    assert shown("noc@85") == (3.5, 3, 4)
    assert shown("auc") == (25, None, None)
    assert shown("miou@2") is shown("filtering.mae") is shown("noc@80") is None
    for wrong in ("iou", "noc@70", "worst.miou", "filtering.rmse", "miou@"):
        with pytest.raises(UsageError, match="There is no score called"):
            Measure.named(wrong)
