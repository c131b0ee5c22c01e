"""Tasks of the kind filtering, from the task file to the scores, which are recomputed with pandas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.clicks.random import generator_of, random_points
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.samples import Truth
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.filtering import correlation, filtering_scores, ranked
from hlmat_bench.testing import ChatServer, Failure
from tests.scores.test_recompute import leaves
from tests.support.episodes import iou

SCRIPT = Path(__file__).with_name("recompute_filtering.py")


@pytest.fixture(scope="module")
def rate(boxes: Path) -> str:
    """Return the task of the fixture `boxes`, with masks to be rated."""
    path = boxes / "filter_boxes.yaml"
    path.write_text("name: filter_boxes\nkind: filtering\nsource: {kind: table}\nprotocol: {budget: 4}\n")
    return str(path)


def _recomputed(run: Run) -> None:
    command = [sys.executable, str(SCRIPT), str(run.folder / "episodes.jsonl")]
    again = dict(leaves(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)))
    ours = dict(leaves(run.scores()["filtering"]))
    assert ours.keys() == again.keys()
    for path, value in ours.items():
        assert value == pytest.approx(again[path], abs=1e-9), path


def _masks(run: Run) -> list[Any]:
    return [step.mask for episode in run.episodes() for step in episode.steps]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["oracle", "random", "empty"])
def test_every_number_is_recomputed(model: str, rate: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run(model, rate, tool, out=tmp_path, limit=12)
    _recomputed(run)
    found = run.scores()["filtering"]
    assert found["n_masks"] == 48
    assert found["unparsable"] == (48 if model == "empty" else 0)
    if model == "oracle":
        assert found["mae"] < 1e-3
        assert found["pearson"] == pytest.approx(1)
    if model == "empty":
        assert found["pearson"] is None


def test_a_step_holds_a_mask_of_points_and_what_is_said_of_it(rate: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("random", rate, tool, out=tmp_path, limit=6)
    for episode in run.episodes():
        gt = coco.decode(dict(episode.gt)).astype(bool)
        assert (episode.stop, len(episode.steps), episode.initial["kind"]) == ("budget", 4, "empty")
        for step in episode.steps:
            assert step.action.to_json() == {"kind": "predict"}
            assert step.iou == iou(gt, coco.decode(dict(step.mask)).astype(bool))
        highest = max(episode.steps, key=lambda step: step.action.predicted_iou)
        assert episode.selected["self"] == highest.t
    assert len({json.dumps(mask) for mask in _masks(run)}) > 12


def test_nobody_clicked_so_there_are_no_scores_of_clicks(rate: str, tool: str, tmp_path: Path) -> None:
    scores = hlmat_bench.run("oracle", rate, tool, out=tmp_path, limit=4).scores()
    assert (scores["selection"], scores["noc"], scores["curve"], scores["auc"]) == ({}, {}, [], None)
    assert (scores["clicks"]["total"], scores["refinement"], scores["n"]) == (0, None, 4)
    shown = CliRunner().invoke(app, ["score", str(tmp_path)]).stdout
    assert "Spearman" in shown
    assert "NoC" not in shown


@pytest.mark.slow
def test_a_model_says_it_in_its_reply_or_is_asked(rate: str, tool: str, tmp_path: Path) -> None:
    """A server in SegAgent's format; it fails on some masks and thinks too long about others."""

    def answer(request: dict[str, Any], image: np.ndarray, prompt: str) -> Any:
        painted = int(image.astype(int).sum()) % 5
        if painted == 0:
            return Failure(status=500)
        said = f"Current IOU: {20 * painted}" if painted < 4 else "<think>Is it Current IOU: 80 or"
        return said if "Estimate the intersection" in prompt else f"{said}, Positive point: (500, 500)"

    with ChatServer(answer) as server:
        spec = f"model=fake,base_url={server.base_url},points=segagent-qwen,retries=0"
        asked = hlmat_bench.run(f"openai,{spec}", rate, tool, out=tmp_path / "ask", limit=10)
        assert all("Estimate the intersection" in each.prompt for each in server.asked)
        replied = hlmat_bench.run(f"segagent-qwen,{spec}", rate, tool, out=tmp_path / "reply", limit=10)
        assert "Please optimize the semi-transparent green mask" in server.asked[-1].prompt
    assert (asked.manifest["protocol"]["prm"], replied.manifest["protocol"]["prm"]) == ("ask", "reply")
    oracle = hlmat_bench.run("oracle", rate, tool, out=tmp_path / "oracle", limit=10)
    assert _masks(asked) == _masks(replied) == _masks(oracle)
    for run in (asked, replied):
        steps = [step for episode in run.episodes() for step in episode.steps]
        failed = [step for step in steps if step.raw is None]
        silent = [step for step in steps if step.raw and step.raw.startswith("<think>")]
        assert failed
        assert silent
        assert run.scores()["filtering"]["unparsable"] == len(failed) + len(silent)
        assert len(steps) == 40
        assert all(step.tokens["out"] for step in steps if step.raw is not None)
        _recomputed(run)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"strategy": "tree"}, "Episodes of filter_boxes have no clicks"),
        ({"initial": "gt-box"}, "makes its own masks; leave --initial out"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, str], sentence: str, rate: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        hlmat_bench.run("oracle", rate, out=tmp_path, **changes)


def test_a_noisy_oracle_predicts_as_well_as_it_is_told(rate: str, tool: str, tmp_path: Path) -> None:
    found = [
        hlmat_bench.run(
            "empty", rate, tool, out=tmp_path / str(correlation), settings={"prm": "noisy", "correlation": correlation}
        ).scores()["filtering"]
        for correlation in (1.0, 0.0)
    ]
    assert found[0]["spearman"] == pytest.approx(1)
    assert found[1]["pearson_ci"][0] < 0.1 < found[0]["pearson"]


def test_runs_without_predictions_have_no_such_section() -> None:
    assert filtering_scores([]) is None


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=12),
)
def test_weighted_correlations_are_those_of_repeated_samples(rows: list[tuple[int, int, int]]) -> None:
    x, y, weights = (np.array(column, float) for column in zip(*rows, strict=True))
    table = pd.DataFrame({"x": x, "y": y}).loc[np.repeat(np.arange(len(x)), weights.astype(int))]
    if not len(table) or min(table.nunique()) < 2:
        assert not len(table) or np.isnan(correlation(x, y, weights))
        return
    assert correlation(x, y, weights) == pytest.approx(table.x.corr(table.y), abs=1e-9)
    ranks = correlation(ranked(x, weights), ranked(y, weights), weights)
    assert ranks == pytest.approx(table.x.rank().corr(table.y.rank()), abs=1e-9)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 50), st.booleans())
def test_random_points_lie_where_they_should(positive: int, negative: int, seed: int, ignoring: bool) -> None:
    gt = np.zeros((20, 30), bool)
    gt[5:9, 10:16] = True
    gt[6, 12:14] = False
    ignore = np.zeros_like(gt)
    ignore[5, :] = ignoring
    points = random_points(Truth(gt, ignore if ignoring else None), positive, negative, generator_of(seed, "a"))
    assert points == random_points(Truth(gt, ignore if ignoring else None), positive, negative, generator_of(seed, "a"))
    assert len({(x, y) for _, x, y in points}) == len(points)
    assert sum(point.positive for point in points) == positive
    assert len(points) - positive == min(negative, 2)
    assert all(gt[y, x] == sign and not ignore[y, x] for sign, x, y in points)
    assert all(10 <= x < 16 and 5 <= y < 9 for _, x, y in points)


def test_an_empty_object_has_no_points() -> None:
    assert random_points(Truth(np.zeros((4, 4), bool)), 3, 3, generator_of(0, "a")) == []
