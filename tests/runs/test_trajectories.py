"""The commands of the group trajectories: a set is a run folder, and improving a model's run never lowers an IoU."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.protocol.interfaces import Reply, Request
from hlmat_bench.runs.improving import compare
from hlmat_bench.runs.run_folder import Run
from tests.support.episodes import read_lines, timeless


class Silent:
    """A model that says nothing."""

    name, points = "silent", PointFormat.named("xy1000")

    async def reply(self, request: Request) -> list[Reply]:
        return [Reply("")] * request.n


def trajectories(*words: object) -> str:
    result = CliRunner().invoke(app, ["trajectories", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def ious(episode: dict) -> list[float]:
    return [episode["initial"]["iou"], *(step["iou"] for step in episode["steps"])]


def test_generated_trajectories_never_lower_the_iou_and_are_an_ordinary_run(
    task: str, tool: str, tmp_path: Path
) -> None:
    out = tmp_path / "set"
    words = ["generate", "--task", task, "--segmenter", tool, "--spread", 0.5, "--max-steps", 4, "--out", out]
    trajectories(*words, "--limit", 10)
    began = (out / "episodes.jsonl").read_bytes()
    trajectories(*words)
    assert (out / "episodes.jsonl").read_bytes().startswith(began)
    episodes = read_lines(out)
    assert len(episodes) == 40
    assert all(max(map(len, [e["steps"] for e in episodes])) <= 4 and ious(e) == sorted(ious(e)) for e in episodes)
    assert Run(out).scores()["n"] == 40
    elsewhere = tmp_path / "again"
    trajectories(*words[:-1], elsewhere)
    assert timeless(Run(elsewhere)) == timeless(Run(out))


def test_varied_starts_are_drawn_by_their_shares(task: str, tool: str, tmp_path: Path) -> None:
    out = tmp_path / "set"
    words = ["generate", "--task", task, "--segmenter", tool, "--out", out]
    trajectories(*words, "--initial", "empty:2,gt-box:1,points:1,generated:1")
    begun = Counter(episode["initial"]["kind"] for episode in read_lines(out))
    assert set(begun) == {"empty", "gt-box", "points", "generated"}
    assert begun["empty"] > max(begun["gt-box"], begun["points"], begun["generated"])
    protocol = json.loads((out / "run.json").read_text())["protocol"]
    assert protocol["initial"] == "varied=empty:2,gt-box:1,points:1,generated:1"


@pytest.mark.parametrize(
    "shares", ["empty:0,points", "empty:x", "empty,empty", "nothing:1", ":1", "empty:-1", "empty:nan"]
)
def test_shares_that_are_none_are_refused(task: str, tool: str, tmp_path: Path, shares: str) -> None:
    with pytest.raises(UsageError, match="varied= takes some of empty, gt-box, points, generated"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path, initial=f"varied={shares}")


def test_a_model_is_not_asked_by_the_annotator(task: str, tool: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="annotate clicks by the ground truth and asks no model"):
        hlmat_bench.run(Silent(), task, tool, out=tmp_path, strategy="annotate")


def test_improved_trajectories_keep_good_clicks_and_reach_what_the_oracle_reaches(
    task: str, tool: str, tmp_path: Path
) -> None:
    oracle = hlmat_bench.run("oracle", task, tool, out=tmp_path / "oracle", budget=4)
    model = hlmat_bench.run("oracle,misplaced=0.5", task, tool, out=tmp_path / "model", budget=4)
    said = trajectories("improve", model.folder, "--out", tmp_path / "set", "--round", 2)
    made = Run(tmp_path / "set")
    counts = compare(model.folder, made.folder)
    assert 0 < counts.kept < counts.model
    assert f"Clicks of the model: {counts.model}, of which {counts.kept} are kept" in said
    assert all(ious(episode) == sorted(ious(episode)) for episode in read_lines(made.folder))
    assert made.scores()["selection"]["final"]["miou"] >= oracle.scores()["selection"]["final"]["miou"] - 0.01
    assert made.manifest["rollouts"]["model"]["name"] == "oracle,misplaced=0.5"
    assert made.manifest["rollouts"]["round"] == 2


def test_several_runs_are_improved_by_one_command(task: str, tool: str, tmp_path: Path) -> None:
    runs = [
        hlmat_bench.run("oracle,misplaced=0.5", task, tool, out=tmp_path / name, seed=seed, limit=4).folder
        for seed, name in enumerate(("first", "second"))
    ]
    trajectories("improve", *runs, "--out", tmp_path / "sets")
    made = [Run(tmp_path / "sets" / name) for name in ("first", "second")]
    assert [run.manifest["seed"] for run in made] == [0, 1]
    with pytest.raises(UsageError, match="folders of one name"):
        trajectories("improve", runs[0], tmp_path / "sets" / "first", "--out", tmp_path / "other")


def test_a_run_that_lacks_episodes_is_not_improved_in_silence(task: str, tool: str, tmp_path: Path) -> None:
    model = hlmat_bench.run("oracle", task, tool, out=tmp_path / "model", limit=3)
    with pytest.raises(UsageError, match="has no episode for 37 of 40 samples"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path / "set", strategy=f"improve={model.folder}")
    with pytest.raises(UsageError, match="round"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path / "set", strategy=f"improve={model.folder},round=x")
