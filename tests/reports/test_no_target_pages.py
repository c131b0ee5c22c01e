"""Samples without target on pages, in entries of the leaderboard, and in comparisons."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.cli.score_tables import print_scores
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.build import report
from hlmat_bench.reports.leaderboard import site
from hlmat_bench.reports.leaderboard.entry import BoardEntry, checked
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify import recomputed, schema_level
from hlmat_bench.runs import ceilings
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.suites.measures import Measure
from tests.support import boards, browsing

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZE = (60, 80)
WORDS = ("N-acc", "T-acc", "gIoU", "no_target", "no object", "no such object")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a task of three images with a disc each; two of them also have an expression that names nothing."""
    folder = tmp_path_factory.mktemp("gres")
    lines = ["image,mask,expression,id"]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    cv2.imwrite(str(folder / "masks" / "none.png"), np.zeros(SIZE, np.uint8))
    for number in range(3):
        disc = cv2.circle(np.zeros(SIZE, np.uint8), (30 + 10 * number, 30), 12, 255, -1)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), np.dstack([disc, disc // 2, disc // 3]))
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), disc)
        lines.append(f"{number}.png,{number}.png,the disc,disc{number}")
        lines += [f"{number}.png,none.png,the second disc,none{number}"] if number else []
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    (folder / "gres.yaml").write_text(
        "name: gres\nversion: 1\ngroup: gres\nkind: segmentation\nsource: {kind: table, allow_empty: true}\n"
        "protocol: {budget: 3, no_target: true}\n"
    )
    return str(folder / "gres.yaml")


@pytest.fixture(scope="module")
def runs(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Play three models; the first draws a mask for one sample without target, sees the other, and denies a disc."""
    folder = tmp_path_factory.mktemp("played")
    replies = {
        "gres/disc0": ["Positive point: (375, 500)", "Finish"], "gres/disc1": ["No object"],
        "gres/none1": ["Positive point: (500, 500)", "Finish"],
        "gres/disc2": ["Positive point: (625, 500)", "Finish"], "gres/none2": ["No object"],
    }  # fmt: skip
    (folder / "replies.json").write_text(json.dumps(replies))
    models = {"mixed": f"scripted,file={folder / 'replies.json'}", "oracle": "oracle", "empty": "empty"}
    played = {
        name: hlmat_bench.run(model, task, f"{tool},radius=12", out=folder / name) for name, model in models.items()
    }
    ceilings.play(task, f"{tool},radius=12", out=folder / "ceilings")
    return played


@pytest.fixture(scope="module")
def page(task: str, runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report([runs["mixed"].folder], tmp_path_factory.mktemp("site") / "page", task=task)


def test_a_run_shows_all_scores_of_gres_with_floors_and_definitions(page: Path, runs: dict[str, Run]) -> None:
    text = page.read_text()
    final = runs["mixed"].scores()["no_target"]["final"]
    assert (final["n_acc"], final["t_acc"]) == (1 / 2, pytest.approx(2 / 3))
    for name, value in (("N-acc", "50.0"), ("T-acc", "66.7")):
        assert re.search(rf'<p class="label">\s*{name} <button.*?</p><p class="value">{value}', text)
    assert "2 of 5 samples have no target" in text
    for word in ("N-acc", "T-acc", "gIoU", "cIoU", "Target mIoU", "Target cIoU"):
        assert f"<strong>{word}</strong>" in text
    floors = text[text.index("<summary>Reference players on the same samples") :].partition("</table>")[0]
    row = floors[floors.index('<th scope="row">empty</th>') :].partition("</tr>")[0]
    assert row.endswith("<td>100.0</td><td>0.0</td>")
    for outcome in ("no object, seen", "no object, masked", "object denied"):
        assert f'<a href="#outcome={quote(outcome)}">{outcome}</a>' in text


def test_a_download_tells_which_samples_have_no_target(page: Path) -> None:
    with (page.parent / "data/samples.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    without = [row for row in rows if row["target"] == "0"]
    assert [row["outcome"] for row in without] == ["no object, masked", "no object, seen"]
    assert [row["union"] == "0" for row in without] == [False, True]
    found = json.loads((page.parent / "data/index.json").read_text())
    assert [found["ids"][number] for number in found["no_target"]] == ["gres/none1", "gres/none2"]


def test_a_task_without_such_samples_says_nothing_of_them(task: str, tool: str, tmp_path: Path) -> None:
    full = tmp_path / "full.yaml"
    folder = Path(task).parent
    table = (folder / "expressions.csv").read_text().splitlines()
    (tmp_path / "full.csv").write_text("\n".join(line for line in table if "none" not in line) + "\n")
    full.write_text(
        "name: full\nversion: 1\ngroup: res\nkind: segmentation\nprotocol: {budget: 2}\n"
        f"source: {{kind: table, images: {folder}/images, masks: {folder}/masks, table: full.csv}}\n"
    )
    run = hlmat_bench.run("center", str(full), tool, out=tmp_path / "run")
    assert "no_target" not in run.scores()
    entry = make_entry(run, boards.DECLARED).model_dump()
    assert "no_target" not in entry["scores"]
    assert "target" not in entry["samples"]
    report([run.folder], tmp_path / "site", task=str(full))
    texts = [(tmp_path / "site" / name).read_text() for name in ("index.html", "data/index.json", "data/samples.csv")]
    for word in WORDS:
        assert all(word not in text.replace("also gIoU", "") for text in texts), word
    assert "target" not in texts[2].splitlines()[0]


def test_the_terminal_has_both_columns(runs: dict[str, Run], capsys: pytest.CaptureFixture[str]) -> None:
    print_scores("model", list(runs.items()))
    said = capsys.readouterr().out
    assert "N-acc" in said
    assert "T-acc" in said


def test_a_suite_shows_them(runs: dict[str, Run]) -> None:
    scores = runs["mixed"].scores()
    shown = [Measure.named(name).of(scores, "final") for name in ("no_target.n_acc", "no_target.giou", "miou")]
    n_acc, giou, miou = (value.value for value in shown if value is not None)
    assert (n_acc, giou) == (50.0, miou)


def entry_of(run: Run) -> dict[str, Any]:
    return boards.dumped(make_entry(run, boards.DECLARED))


def test_an_entry_holds_them_and_verification_computes_them_again(runs: dict[str, Run]) -> None:
    value = entry_of(runs["mixed"])
    assert value["scores"]["no_target"] == runs["mixed"].scores()["no_target"]
    entry = checked(BoardEntry, value, "x")
    assert [*schema_level.check(entry), *recomputed.check(entry, runs["mixed"])] == []
    assert value["samples"]["target"][2:5:2] == [0, 0]
    value["scores"]["no_target"]["final"]["n_acc"] = 1.0
    assert any("n_acc" in str(each) for each in schema_level.check(checked(BoardEntry, value, "x")))
    found = list(recomputed.check(checked(BoardEntry, value, "x"), runs["mixed"]))
    assert ["n_acc" in str(each) for each in found] == [True]
    value["scores"]["no_target"]["self"]["giou"] = 1.0
    assert any("no_target.self.giou" in str(each) for each in schema_level.check(checked(BoardEntry, value, "x")))
    value["scores"]["no_target"]["final"]["n_acc"] = 2.0
    with pytest.raises(UsageError, match="n_acc"):
        checked(BoardEntry, value, "x")


def test_an_entry_that_was_made_before_there_were_these_scores_is_still_right(runs: dict[str, Run]) -> None:
    value = entry_of(runs["mixed"])
    del value["scores"]["no_target"], value["samples"]["target"]
    entry = checked(BoardEntry, value, "x")
    assert [*schema_level.check(entry), *recomputed.check(entry, runs["mixed"])] == []


def test_a_leaderboard_has_columns_where_an_entry_has_them(runs: dict[str, Run], tmp_path: Path) -> None:
    for name, run in runs.items():
        boards.add(tmp_path / "board", run, name)
    out = site.build(tmp_path / "board", tmp_path / "site")
    text = (out / "index.html").read_text()
    assert 'data-sort="no_target.n_acc"' in text
    assert "<dt>N-acc</dt>" in (out / "method.html").read_text()
    rows = list(csv.DictReader((out / "data/gres.csv").read_text().splitlines()))
    assert {row["model"]: float(row["no_target_n_acc"]) for row in rows} == {"mixed": 0.5, "oracle": 1.0, "empty": 1.0}
    assert {row["no_target_t_acc_low"] for row in rows if row["model"] == "empty"} == {"0.0"}


@pytest.mark.slow
def test_a_sample_without_target_is_shown_in_words(browser: Browser, page: Path) -> None:
    with browsing.visit(browser, page.as_uri(), viewport={"width": 390, "height": 800}) as made:
        rows = made.page.locator(".samples .absent")
        assert rows.all_inner_texts() == ["no such object"] * 2
        browsing.open_sample(made.page, 2)
        assert made.page.locator(".stage .absent").inner_text() == "Ground truth: no such object"
        assert "no such object an empty mask is right" in made.page.locator(".facts").inner_text().replace("\n", " ")
        made.page.get_by_label("ground truth").uncheck()
        assert not made.page.locator(".stage .absent").is_visible()
        made.page.get_by_label("ground truth").check()
        assert made.problems == []
        made.page.get_by_role("button", name="Previous sample").click()
        made.page.wait_for_function("() => HL.gallery.player.sample === 1 && HL.gallery.player.episodes")
        assert made.page.locator(".stage .absent").count() == 0
        assert "Action no such object" in made.page.locator(".facts").inner_text().replace("\n", " ")
        assert "∅ 0" in made.page.locator(".chip").last.inner_text()
        assert browsing.accessibility(made.page) == []
