"""Suites: from the YAML file to runs and cells, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.data.tasks import load_task
from hlmat_bench.models.catalog import Catalog
from hlmat_bench.runs.opening import settings_for, split_settings
from hlmat_bench.runs.suites import listing
from hlmat_bench.runs.suites.definition import load_suite, suite_names
from hlmat_bench.runs.suites.expansion import Changes, expand

GRID: dict[str, Any] = {
    "schema": "hlmat-suite/1",
    "name": "grid",
    "title": "A grid",
    "models": {"good": "oracle", "bad": "random"},
    "segmenters": {"tool": "graphcut"},
    "tables": [
        {
            "name": "t",
            "title": "T",
            "runs": {"task": "hres_synth", "segmenter": "tool", "score": "miou", "settings": {"overlay.alpha": 0.4}},
            "rows": [{"name": "Good", "model": "good"}, {"name": "Bad one", "model": "bad", "budget": 3}],
            "columns": [{"name": "A"}, {"name": "B", "settings": {"overlay.color": "blue"}}],
        }
    ],
}


def write(folder: Path, **changes: Any) -> str:
    """Make a suite's file: the grid with other fields."""
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}, sort_keys=False))
    return str(path)


def table(**changes: Any) -> list[dict[str, Any]]:
    return [{**GRID["tables"][0], **changes}]


def test_a_cell_is_its_table_under_its_row_under_its_column(tmp_path: Path) -> None:
    plan = expand(load_suite(write(tmp_path)))
    assert [run.name for run in plan.runs] == ["t__good__a", "t__good__b", "t__bad-one__a", "t__bad-one__b"]
    assert [run.model for run in plan.runs] == ["oracle", "oracle", "random", "random"]
    assert [run.budget for run in plan.runs] == [None, None, 3, 3]
    assert [run.settings for run in plan.runs] == [
        {"overlay.alpha": 0.4},
        {"overlay.alpha": 0.4, "overlay.color": "blue"},
    ] * 2
    assert [(cell.row, cell.column, cell.run) for cell in plan.cells["t"]] == list(
        zip(["Good", "Good", "Bad one", "Bad one"], "ABAB", plan.runs, strict=True)
    )


def test_what_is_the_same_run_is_played_once(tmp_path: Path) -> None:
    """The task's budget is 7, the mask green; saying so makes no other run. Another order of options neither."""
    same = [
        {"name": "said", "model": "good", "budget": 7},
        {"name": "unsaid", "model": "good"},
        {"name": "green", "model": "good", "settings": {"overlay.color": "green"}},
        {"name": "rgb", "model": "good", "settings": {"overlay.color": [0, 255, 0]}, "strategy": "greedy"},
    ]
    other = [
        {"name": "limited", "model": "good", "limit": 3},
        {"name": "other budget", "model": "good", "budget": 6},
        {"name": "other strategy", "model": "good", "strategy": "prm", "settings": {"prm": "oracle"}},
        {"name": "other data", "model": "good", "settings": {"data.count": 9}},
        {"name": "other format", "model": "good", "settings": {"points": "xy1000"}},
        {"name": "other model", "model": "bad"},
    ]
    tables = table(rows=same + other, columns=[{"name": "A"}])
    plan = expand(load_suite(write(tmp_path, tables=tables)))
    first = [cell.run for cell in plan.cells["t"]][: len(same)]
    assert {run.name for run in first if run} == {"t__said__a"}
    assert len(plan.runs) == 1 + len(other)


def test_tables_of_one_suite_share_runs(tmp_path: Path) -> None:
    second = {**GRID["tables"][0], "name": "u"}
    plan = expand(load_suite(write(tmp_path, tables=[*GRID["tables"], second])))
    assert len(plan.runs) == 4
    assert [cell.run for cell in plan.cells["u"]] == [cell.run for cell in plan.cells["t"]]


def test_a_suite_may_include_ours_and_shares_their_runs(tmp_path: Path) -> None:
    """The oracle on hres_synth is a run of the smoke suite, too, when it is as small."""
    tables = table(rows=[{"name": "R", "model": "good", "limit": 12, "settings": {"overlay.alpha": 0.5}}])
    tables[0]["columns"] = [{"name": "A"}]
    alone = expand(load_suite("smoke"))
    plan = expand(load_suite(write(tmp_path, tables=tables, include=["smoke"])))
    assert [run.name for run in plan.runs] == [run.name for run in alone.runs]
    assert [*plan.cells] == [*alone.cells, "t"]
    assert plan.cells["t"][0].run == alone.runs[0]
    with pytest.raises(UsageError, match="no suite called 'smokey'. Did you mean smoke?"):
        expand(load_suite(write(tmp_path, include=["smokey"])))
    with pytest.raises(UsageError, match="Two tables of the suite are called table1"):
        expand(load_suite(write(tmp_path, tables=table(name="table1"), include=["smoke"])))


def test_a_setting_goes_to_the_runs_that_have_a_use_for_it(tmp_path: Path) -> None:
    rows = [{"name": name, "model": "good", "strategy": name} for name in ("greedy", "prm", "tree")]
    rows.append({"name": "filter", "model": "good", "task": "filter_hres_synth"})
    given = {"prm": "ask", "prm_prompt": "?", "candidates": 3, "stop.epsilon": 0.1, "max_tokens": 9}
    plan = expand(
        load_suite(write(tmp_path, tables=table(rows=rows, columns=[{"name": "A"}]))), Changes(settings=given)
    )
    assert [{*run.settings} - {"overlay.alpha"} for run in plan.runs] == [
        {"max_tokens"},
        {"max_tokens", "prm", "prm_prompt", "stop.epsilon"},
        {*given},
        {"max_tokens", "prm", "prm_prompt"},
    ]


def test_the_list_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HLMAT_DATA", raising=False)
    rows = {name: (title, int(runs), missing) for name, runs, missing, title in listing.rows()}
    assert rows["smoke"] == ("All tables in miniature, with parts that are embedded", 14, "nothing")
    assert rows["paper-table3"][2] == "4 of 4 parts"
    named = CliRunner().invoke(app, ["suites", "paper-table3"]).stdout.rpartition("missing here:\n")[2]
    names = ["filter_refcoco_val", "sam_h", "segagent-qwen", "segagent-llava"]
    assert [line.split()[0] for line in named.splitlines()] == names
    assert rows["paper"][1] < sum(runs for name, (_, runs, _) in rows.items() if name not in ("paper", "smoke"))
    listed = CliRunner().invoke(app, ["suites"])
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1 : 1 + len(rows)]] == suite_names()
    page = CliRunner().invoke(app, ["suites", "paper-fig4"]).stdout
    assert "--segmenter simpleclick_l=simpleclick_l" in page
    assert "simpleclick_l needs weights: --segmenter simpleclick_l=simpleclick_l,checkpoint=FILE" in page
    assert "figure4__prm-stop__dis5k" in page


def test_boxes_come_from_a_run_of_the_same_samples_that_is_played_before(tmp_path: Path) -> None:
    boxes = {"model": "bad", "strategy": "box-only"}
    columns = [
        {"name": "theirs", "boxes": boxes, "settings": {"overlay.color": "blue"}},
        {"name": "same box", "boxes": boxes, "limit": 4},
        {"name": "none", "initial": "empty"},
    ]
    tables = table(rows=[{"name": "R", "model": "good"}], columns=columns)
    plan = expand(load_suite(write(tmp_path, tables=tables)), Changes(limit=4))
    names = [run.name for run in plan.runs]
    assert names == ["t__r__theirs__boxes", "t__r__theirs", "t__r__same-box", "t__r__none"]
    boxed = plan.runs[0]
    assert (boxed.model, boxed.strategy, boxed.limit, boxed.settings) == ("random", "box-only", 4, {})
    assert [run.initial_of(Path("o")) for run in plan.runs[1:]] == [f"box-from=o/{names[0]}"] * 2 + ["empty"]


def test_a_row_takes_the_place_of_an_initial_state(tmp_path: Path) -> None:
    """Where the table has boxes and the row has an initial state, or the other way round, the row's counts."""
    boxes = {"model": "bad", "strategy": "box-only"}
    rows = [{"name": "R", "initial": "gt-box"}, {"name": "S"}]
    runs = {**GRID["tables"][0]["runs"], "model": "good", "boxes": boxes}
    plan = expand(load_suite(write(tmp_path, tables=table(runs=runs, rows=rows, columns=[{"name": "A"}]))))
    assert [(run.name, run.initial, run.boxes is not None) for run in plan.runs] == [
        ("t__r__a", "gt-box", False),
        ("t__s__a__boxes", None, False),
        ("t__s__a", None, True),
    ]


def test_a_user_puts_others_in_place_of_parts(tmp_path: Path) -> None:
    changes = Changes(
        ["good=openai,model=x,base_url=http://h/v1", "bad=center"],
        ["tool=sam_h,checkpoint=a=b.pth"],
        ["hres_synth=./mine.yaml"],
        limit=2,
        settings={"overlay.alpha": 0.9},
    )
    plan = expand(load_suite(write(tmp_path)), changes)
    assert [run.model for run in plan.runs[1:3]] == ["openai,model=x,base_url=http://h/v1", "center"]
    assert {run.segmenter for run in plan.runs} == {"sam_h,checkpoint=a=b.pth"}
    assert {run.task for run in plan.runs} == {"./mine.yaml"}
    assert {run.limit for run in plan.runs} == {2}
    assert {run.settings["overlay.alpha"] for run in plan.runs} == {0.9}
    assert "good is openai,model=x,base_url=http://h/v1 here." in plan.notes()
    secret = expand(load_suite(write(tmp_path)), Changes(["good=openai,key=sk-1"]))
    assert "sk-1" not in " ".join(secret.notes())


def test_rows_that_are_not_chosen_show_published_numbers_only(tmp_path: Path) -> None:
    rows = [{"name": "SAM ViT-B", "model": "good"}, {"name": "mine", "model": "bad"}, {"name": "RITM", "play": False}]
    tables = table(rows=rows, columns=[{"name": "5-mIoU"}, {"name": "NoC@90"}])
    tables[0]["published"] = ["segnext/davis_sam", "segnext/davis_curves"]
    plan = expand(load_suite(write(tmp_path, tables=tables)), Changes(rows=["mine"]))
    assert [run.name for run in plan.runs] == ["t__mine__5-miou"]  # both columns show this run
    assert [(cell.row, cell.run is not None, cell.published, cell.source) for cell in plan.cells["t"]] == [
        ("SAM ViT-B", False, pytest.approx(90.946778), "segnext/davis_curves"),
        ("SAM ViT-B", False, pytest.approx(5.147826), "segnext/davis_sam"),
        ("mine", True, None, None),
        ("mine", True, None, None),
        ("RITM", False, pytest.approx(89.82617), "segnext/davis_curves"),
        ("RITM", False, None, None),
    ]
    with pytest.raises(UsageError, match="called 'RITM'"):
        expand(load_suite(write(tmp_path, tables=tables)), Changes(rows=["RITM"]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"schema": "hlmat-suite/2"}, "is 'hlmat-suite/2', which does not fit: it should be 'hlmat-suite/1'"),
        ({"tables": table(published=["segagent"])}, "published"),
        ({"tabels": []}, "called 'tabels'. Did you mean tables"),
        ({"tables": table(rows=[{"name": "R", "modell": "good"}])}, "called 'modell'. Did you mean model?"),
        ({"tables": table(rows=[{"name": "R", "model": "goof"}])}, "goof, which is not among models: good, bad"),
        ({"tables": table(rows=[{"name": "R", "model": "good", "segmenter": "x"}])}, "not among segmenters: tool"),
        ({"tables": table(rows=[{"name": "R"}])}, "the cell R / A of t has no model"),
        ({"tables": table(rows=[{"name": "R", "model": "good", "score": "moiu"}])}, "no score called 'moiu'"),
        ({"tables": table(rows=[{"name": "R", "model": "good", "budget": 0}])}, "budget"),
        ({"tables": table(rows=[{"name": "R", "model": "good", "minus": "S"}])}, "no row of this name is played"),
        ({"tables": table(rows=[{"name": "R.", "model": "good"}, {"name": "r", "model": "bad"}])}, "calls two rows"),
        (
            {"tables": table(rows=[{"name": "R", "model": "good", "initial": "empty", "boxes": {"model": "bad"}}])},
            "two initial states",
        ),
        ({"tables": table(rows=[{"name": "R", "model": "good", "boxes": {"model": "x"}}])}, "the model x"),
        (
            {"tables": table(rows=[{"name": "R", "model": "good", "score": "ciou", "minus": "R"}])},
            "has minus:, so its score: must be miou alone",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_named_with_what_is_wrong(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=r"grid\.yaml") as error:
        load_suite(write(tmp_path, **changes))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(models=["goood=oracle"]), "no model of the suite called 'goood'. Did you mean good?"),
        (Changes(models=["oracle"]), "--model takes NAME=MODEL here, not 'oracle'; names are good, bad"),
        (Changes(segmenters=["tool="]), "--segmenter takes NAME=SEGMENTER"),
        (Changes(tasks=["res=x"]), "no task of the suite called 'res'"),
        (Changes(rows=["God"]), "no row of the suite that is played called 'God'. Did you mean Good?"),
        (Changes(settings={"overlay.colour": "red"}), "no setting called 'overlay.colour'. Did you mean overlay.color"),
    ],
)
def test_a_change_that_names_nothing_is_refused(tmp_path: Path, changes: Changes, words: str) -> None:
    with pytest.raises(UsageError) as error:
        expand(load_suite(write(tmp_path)), changes)
    assert words in str(error.value)


def test_a_suite_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no suite called 'paper-table9'. Did you mean"):
        load_suite("paper-table9")
    with pytest.raises(UsageError, match="There is no suite file"):
        load_suite("./nowhere.yaml")


def test_the_example_of_the_docs_is_a_suite(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "suites.md").read_text()
    [example] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "boxes.yaml").write_text(example)
    plan = expand(load_suite(str(tmp_path / "boxes.yaml")))
    assert len(plan.runs) == 2 * 4 + 2
    for run in plan.runs:
        protocol, _, _ = split_settings(run.settings)
        given = protocol | {"strategy": run.strategy, "initial": "box-from=x" if run.boxes else run.initial}
        settings_for(Catalog.load().choose(run.model), load_task(run.task), given, run.budget)
        assert run.budget == (12 if run.task == "hres_dis" and run.strategy != "box-only" else None)
