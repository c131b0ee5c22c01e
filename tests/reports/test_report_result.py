"""The first things that the page of a run says, against the run's scores and hand-made numbers."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from hlmat_bench import cli
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.masks import encode
from hlmat_bench.reports.build import report
from hlmat_bench.reports.run import error_maps
from hlmat_bench.runs import ceilings
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.report_runs import write_task

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write a task of twelve samples on six images."""
    return write_task(tmp_path_factory.mktemp("few") / "data", 12)


def _of_kind(few: str, kind: str) -> str:
    """Return the task with another kind."""
    path = Path(few).with_name(f"{kind}.yaml")
    path.write_text(Path(few).read_text().replace("kind: segmentation", f"kind: {kind}"))
    return str(path)


@pytest.fixture(scope="module")
def refined(few: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    task, out = _of_kind(few, "refinement"), tmp_path_factory.mktemp("r") / "run"
    return run("oracle,misplaced=0.5", task, f"{tool},radius=12", limit=6, budget=3, out=out)


@pytest.fixture(scope="module")
def rated(few: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    task, out = _of_kind(few, "filtering"), tmp_path_factory.mktemp("f") / "run"
    return run("random", task, f"{tool},radius=12", limit=6, out=out)


def _page(made: Run, out: Path, **options: object) -> str:
    return report([made.folder], out, images=False, **options).read_text()


def _verdict(page: str) -> str:
    return re.sub(r"<[^>]+>", "", re.findall(r'<p class="verdict">(.*?)</p>', page)[0])


def _tiles(page: str) -> dict[str, tuple[str, str]]:
    tile = r'<p class="label">(.*?)</p><p class="value">(.*?)</p><p class="range">(.*?)</p>'
    found = re.findall(tile, page, re.DOTALL)
    return {label.partition("<")[0].strip(): (value, below) for label, value, below in found}


def test_the_sentence_says_where_a_run_lies_between_floor_and_oracle(few: str, tool: str, tmp_path: Path) -> None:
    plays = f"{tool},radius=12"
    runs = {
        name: run(name, few, plays, out=tmp_path / "runs" / name.partition(",")[0] / "it", seed=0)
        for name in ("oracle", "center")
    }
    made = run("oracle,misplaced=0.5", few, plays, out=tmp_path / "runs" / "mine", seed=0)
    page = _page(made, tmp_path / "page")
    own, oracle, center = (
        100 * one.scores()["selection"]["final"]["miou"] for one in (made, runs["oracle"], runs["center"])
    )
    said = _verdict(page)
    assert said.startswith(f"mIoU {own:.1f} [")
    if own > center:
        share = round(100 * (own - center) / (oracle - center))
        assert (
            f"{share} % of the way from blind clicks on the centre ({center:.1f}) to the oracle ({oracle:.1f})" in said
        )
    never = made.scores()["noc"]["0.80"]["failed"]
    assert said.endswith(f"{never} of 12 samples never reach 80 % IoU." if never else "All 12 samples reach 80 % IoU.")
    assert "of the way" not in _verdict(_page(runs["oracle"], tmp_path / "oracle"))


def test_the_command_for_reference_players_makes_those_that_the_report_finds(
    few: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plays = f"{tool},radius=12"
    made = run("oracle,misplaced=0.5", few, plays, budget=3, seed=7, limit=8, out=tmp_path / "elsewhere/run")
    with pytest.raises(UsageError, match=r"No finished reference run in .* This command makes them: hlmat-bench ceil"):
        report([made.folder], tmp_path / "page", images=False, ceilings=tmp_path / "nowhere")
    page = _page(made, tmp_path / "page")
    command = re.findall(r"hlmat-bench ceilings [^<]*", page)[0]
    assert "--budget 3" in command
    assert "--seed 7" in command
    words = command.replace("&#34;", '"').split()[1:]
    words[words.index("--task") + 1] = few  # paths are cut on pages
    words[words.index("--segmenter") + 1] = plays
    assert CliRunner().invoke(cli.app, words).exit_code == 0
    again = _page(made, tmp_path / "page")
    assert "hlmat-bench ceilings" not in again
    assert '<th scope="row">oracle</th><td>ceiling</td>' in again


def test_only_fitting_runs_of_reference_players_are_taken(few: str, tool: str, tmp_path: Path) -> None:
    plays = f"{tool},radius=12"
    folder = tmp_path / "runs"
    made = run("oracle,misplaced=0.5", few, plays, limit=8, out=folder / "mine")
    run("oracle", few, plays, limit=8, budget=2, out=folder / "other-budget")
    run("oracle", few, plays, limit=4, out=folder / "fewer")
    run("oracle,misplaced=0.1", few, plays, limit=8, out=folder / "erring")
    (folder / "damaged").mkdir()
    (folder / "damaged/run.json").write_text("{")
    assert [one.folder.name for one in ceilings.near(made.manifest, folder)] == ["fewer"]
    assert "No reference players were found" in _page(made, tmp_path / "page")
    run("oracle", few, plays, out=folder / "group" / "whole")
    assert '<th scope="row">oracle</th><td>ceiling</td>' in _page(made, tmp_path / "page")


def test_a_refinement_run_has_one_number_of_clicks(refined: Run, tmp_path: Path) -> None:
    page, found = _page(refined, tmp_path / "page"), refined.scores()["refinement"]
    tiles = _tiles(page)
    for threshold in ("80", "85"):
        noc = found["noc"][f"0.{threshold}"]
        value, below = tiles[f"Clicks to {threshold} %"]
        assert value == f"{noc['mean']:.2f}"
        assert below.endswith(f"{noc['failed']} of 6 never")
    assert tiles["Gain (points)"][0] == f"{100 * found['final']['gain']:.1f}".replace("-", "−")
    with (tmp_path / "page/data/samples.csv").open(encoding="utf-8", newline="") as file:
        clicks = [row["clicks_0.85"] for row in csv.DictReader(file)]
    assert clicks.count("") == found["noc"]["0.85"]["failed"]
    assert sum(int(count or 3) for count in clicks) / 6 == pytest.approx(found["noc"]["0.85"]["mean"])
    said = _verdict(page)
    assert f"than the masks at the start ({100 * found['initial_miou']:.1f})" in said
    assert f"{round(6 * found['final']['worsened'])} of 6 samples got worse" in said
    assert "Gain by defect" in page
    assert "mask with the highest predicted IoU" not in page
    for words in ("later clicks", "mIoU at the start"):
        assert words in page


def test_a_filtering_run_has_a_page_of_its_own_kind(rated: Run, tmp_path: Path) -> None:
    page, found = _page(rated, tmp_path / "page"), rated.scores()["filtering"]
    said = _verdict(page)
    assert said.startswith(f"The predicted IoU is off by {found['mae']:.1f} points")
    assert f"would be off by {found['baseline']['mae']:.1f} points" in said
    assert _tiles(page)["MAE (points)"][0] == f"{found['mae']:.2f}"
    for word in ("Clicks to", "clicks only", "never", "initial mask", "What each click did", "Where it fails"):
        assert word not in page.partition('<section id="reproduce"')[0], word
    for title in ("Calibration", "Predicted and true IoU", "Filtering at a threshold"):
        assert f"<h2>{title}</h2>" in page
    bins = json.loads((tmp_path / "page/data/scores.json").read_text())["random"]["filtering"]["calibration"]
    for one in bins:
        assert f"<td>{100 * one['true']:.1f}</td><td>{one['n']}</td>" in page
    tiles = re.findall(r'<span class="value">said (\d+), is (\d+)</span>', page)
    apart = [abs(int(said) - int(true)) for said, true in tiles]
    assert all(first >= second - 1 for first, second in pairwise(apart))


def test_predictions_that_cannot_be_read_are_said(few: str, tool: str, tmp_path: Path) -> None:
    made = run("empty", _of_kind(few, "filtering"), f"{tool},radius=12", limit=3, out=tmp_path / "run")
    page, masks = _page(made, tmp_path / "page"), made.scores()["filtering"]["n_masks"]
    assert f"{masks} of {masks} predictions could not be read; each counts as 50 %." in page
    assert "Calibration</h2>" not in page


def test_what_was_not_predicted_is_not_shown(few: str, tool: str, tmp_path: Path) -> None:
    made = run("center", few, f"{tool},radius=12", out=tmp_path / "run")
    page = _page(made, tmp_path / "page")
    assert "mask with the highest predicted IoU" not in page
    assert "Which mask is scored" not in page
    assert "scored mask" not in page
    assert "not computed" not in page


@pytest.mark.parametrize(("strategy", "by_prediction"), [("greedy", False), ("prm", True)])
def test_the_mask_that_is_scored_is_named(tmp_path: Path, strategy: str, by_prediction: bool) -> None:
    """hlmat-tiny predicts IoUs: it is scored by its last mask, and with the PRM stop by the one that it thinks best."""
    made = run("hlmat-tiny", "synth_easy", "graphcut", limit=4, strategy=strategy, out=tmp_path / "run")
    page = _page(made, tmp_path / "page")
    assert "Which mask is scored" in page
    assert ("the scored mask is the one with the highest predicted IoU" in page) == by_prediction


def test_few_images_have_neither_interval_nor_verdict(few: str, tool: str, tmp_path: Path) -> None:
    made = run("oracle", few, f"{tool},radius=12", limit=2, out=tmp_path / "run")  # both on one image
    page = _page(made, tmp_path / "page")
    assert "[" not in _verdict(page)
    assert re.search(r'<p class="range">\[', page) is None
    assert 'class="interval"' not in page
    every = _page(run("center", few, f"{tool},radius=12", out=tmp_path / "every"), tmp_path / "page2")
    assert re.findall(r'<tr class="heat(-?\d)', every)
    assert set(re.findall(r'<tr class="heat(-?\d) weak"', every)) == {"0"}


def test_a_run_that_stopped_says_why(few: str, tool: str, tmp_path: Path) -> None:
    made = run("oracle", few, f"{tool},radius=12", out=tmp_path / "run")
    early = tmp_path / "early"
    shutil.copytree(made.folder, early)
    lines = (early / "episodes.jsonl").read_bytes().splitlines(keepends=True)
    (early / "episodes.jsonl").write_bytes(b"".join(lines[:6]))
    document = json.loads((early / "run.json").read_text())
    (early / "run.json").write_text(json.dumps(document | {"finished": None}))
    ran = CliRunner().invoke(cli.app, ["report", str(early), "--watch", "--no-images", "--out", str(tmp_path / "page")])
    assert ran.exit_code == 0, ran.output
    assert "6 of 12 samples" in ran.output
    page = (tmp_path / "page/index.html").read_text()
    assert "This run is not finished: 6 of 12 samples are here." in page
    assert "data-live" not in page
    two = CliRunner().invoke(cli.app, ["report", str(early), str(early), "--watch"])
    assert isinstance(two.exception, UsageError)


def test_an_error_map_paints_missing_blue_excess_orange_and_right_white() -> None:
    gt, mask = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    gt[10:50, 10:40] = True
    mask[10:50, 30:50] = True
    episode = {
        "size": [60, 60], "gt": encode(gt), "ignore": None, "initial": {"mask": None},
        "steps": [{"mask": encode(mask), "action": {"kind": "click", "x": 35, "y": 30, "positive": True}}],
    }  # fmt: skip
    square = error_maps.around(gt, mask)
    drawn = np.asarray(Image.open(io.BytesIO(error_maps.draw(None, episode, 1, clicks=False))).convert("RGB"), int)

    def colour(x: int, y: int) -> np.ndarray:
        scale = error_maps.SIDE / square.side
        return drawn[round((y + 0.5 - square.y) * scale), round((x + 0.5 - square.x) * scale)]

    red, green, blue = colour(20, 30)
    assert blue > max(red, green) + 60
    red, green, blue = colour(45, 30)
    assert red > green + 60 > blue + 60
    assert colour(35, 20).min() > 225
    assert abs(np.diff(colour(5, 5))).max() < 12
    empty = error_maps.draw(None, episode | {"gt": encode(np.zeros((60, 60), bool))}, 0)
    assert Image.open(io.BytesIO(empty)).size == (error_maps.SIDE, error_maps.SIDE)
