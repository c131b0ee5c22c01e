"""The paper's suites from end to end: a stand-in that writes as SegAgent and Qwen-VL-Chat do, on a small task."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hlmat_bench.cli import app
from hlmat_bench.core.types import Image
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.suites.definition import load_suite
from hlmat_bench.runs.suites.expansion import expand
from hlmat_bench.testing import ChatServer
from tests.runs.test_suite_runs import cells

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 60, 80


def say(body: dict[str, Any], image: Image | None, prompt: str) -> list[str]:
    """Numbers that depend on the picture and the draw, written in the model's own format."""
    assert image is not None
    texts = []
    for draw in range(body.get("n") or 1):
        numbers = hashlib.sha256(image.tobytes() + bytes([draw])).digest()
        first, second, value = (number / 256 for number in numbers[:3])
        if "Answer with one line in exactly this form: Current IOU: 50" in prompt:
            texts.append(f"Current IOU: {100 * value:.0f}")
        elif "smallest box" in prompt:
            texts.append(f"<box>({200 * first:.0f},{300 * second:.0f}),({500 + 400 * first:.0f},900)</box>")
        elif body["model"] == "segagent-llava":
            texts.append(f"Current IOU: {100 * value:.0f}, Positive point: ({first:.3f}, {second:.3f})")
        else:
            point = f"({1000 * first:.0f}, {1000 * second:.0f})"
            texts.append(f"Current IOU: {100 * value:.0f}, Positive point: {point}")
    return texts


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer(say) as running:
        yield running


def play(name: str, server: ChatServer, task: str, tool: str, out: Path) -> Result:
    """Return the suite with the stand-in behind each model's own entry, and small parts in place of all others."""
    plan = expand(load_suite(name))
    words = ["suite", name, "--out", str(out), "--limit", "2"]
    for model, spec in plan.suite.models.items():
        served = spec if model == "oracle" else f"{spec},base_url={server.base_url}"
        words += ["--model", f"{model}={served}"]
    for segmenter in plan.suite.segmenters:
        words += ["--segmenter", f"{segmenter}={tool}"]
    for wanted in dict.fromkeys(run.task for run in plan.runs):
        words += ["--task", f"{wanted}={'filter_hres_synth' if wanted.startswith('filter') else task}"]
    return CliRunner().invoke(app, words)


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("paper-table1", 5), ("paper-table2", 8), ("paper-table3", 2), ("paper-table4", 4), ("paper-table5", 4),
        ("paper-table6", 3), ("paper-fig3", 1), ("paper-fig4", 3),
    ],
)  # fmt: skip
def test_it_is_played_and_its_table_is_full(
    name: str, runs: int, server: ChatServer, task: str, tool: str, tmp_path: Path
) -> None:
    ran = play(name, server, task, tool, tmp_path)
    assert ran.exit_code == 0, ran.output
    plan = expand(load_suite(name))
    shown = cells(tmp_path)
    for table in plan.suite.tables:
        for cell in plan.cells[table.name]:
            made = shown[cell.row, cell.column]
            assert made["published"] == cell.published
            if cell.run is not None:
                assert made["masks"] == (10 if name == "paper-table3" else None)  # five of each sample
                assert (made["n"], made["limit"], made["reason"], made["failed_requests"]) == (2, 2, None, 0)
                assert [*made["scores"]] == [measure.name for measure in cell.measures]
                assert all(score is not None for score in made["scores"].values())
    assert len(list(tmp_path.glob("*/run.json"))) == runs
    assert "A MINIATURE: of each task only the first samples were played, 2 at most" in ran.stdout
    assert "A MINIATURE" in (tmp_path / "table.tex").read_text()


def test_points_are_read_as_segagent_writes_them(server: ChatServer, task: str, tool: str, tmp_path: Path) -> None:
    """(y, x) of 1000, and the IoU of a mask is that of the reply to it."""
    assert play("paper-table5", server, task, tool, tmp_path).exit_code == 0
    for episode in Run(tmp_path / "table5__refcoco-val__no-box").episodes():
        for step in episode.steps:
            assert step.raw is not None
            value, y, x = map(
                int, re.fullmatch(r"Current IOU: (\d+), Positive point: \((\d+), (\d+)\)", step.raw).groups()
            )
            assert step.action.predicted_iou == pytest.approx(value / 100)
            if step.action.kind == "click":
                assert (step.action.y, step.action.x) == (
                    min(round(y / 1000 * HEIGHT), HEIGHT - 1),
                    min(round(x / 1000 * WIDTH), WIDTH - 1),
                )


def test_the_box_is_that_of_the_other_run(server: ChatServer, task: str, tool: str, tmp_path: Path) -> None:
    assert play("paper-table5", server, task, tool, tmp_path).exit_code == 0
    theirs, ours, own = (
        [json.loads(line) for line in (tmp_path / f"table5__refcoco-val__{name}" / "episodes.jsonl").open()]
        for name in ("qwen-box__boxes", "qwen-box", "self-box")
    )
    assert [each["initial"]["box"] for each in ours] == [each["steps"][0]["action"]["box"] for each in theirs]
    assert {each["initial"]["kind"] for each in ours} == {"box-from"}
    assert {each["initial"]["kind"] for each in own} == {"model-box"}
    assert {each["initial"]["kind"] for each in theirs} == {"empty"}
    assert all(len(each["steps"]) == 1 for each in theirs)


def test_a_search_is_read_from_the_mask_that_it_chose(server: ChatServer, task: str, tool: str, tmp_path: Path) -> None:
    assert play("paper-fig4", server, task, tool, tmp_path).exit_code == 0
    shown = cells(tmp_path)
    means = {}
    for row, rule in (("Fixed steps", "final"), ("PRM stop", "self"), ("Tree search, 4 candidates", "self")):
        cell = shown[row, "DIS5K"]
        assert cell["rule"] == rule
        episodes = [json.loads(line) for line in (tmp_path / cell["run"] / "episodes.jsonl").open()]
        ious = [([each["initial"]] + each["steps"])[each["selected"][rule]]["iou"] for each in episodes]
        means[row] = 100 * sum(ious) / len(ious)
        assert cell["scores"]["miou"]["value"] == pytest.approx(means[row])
    gain = shown["Tree search, gain over PRM stop", "DIS5K"]["scores"]["miou"]["value"]
    assert gain == pytest.approx(means["Tree search, 4 candidates"] - means["PRM stop"])


def test_any_model_takes_segagents_place(server: ChatServer, task: str, tool: str, tmp_path: Path) -> None:
    """One that predicts no IoU is asked for it, where there is a search."""
    words = ["suite", "paper-table2", "--out", str(tmp_path), "--limit", "2", "--set", "prm=ask"]
    words += ["--model", f"segagent-llava=openai,model=any,points=xy1000,base_url={server.base_url}"]
    words += ["--segmenter", f"simpleclick_l={tool}", "--task", f"hres_thinobject={task}"]
    assert CliRunner().invoke(app, words).exit_code == 0
    shown = cells(tmp_path)
    assert {cell["rule"] for (row, _), cell in shown.items() if row == "with PRM"} == {"self"}
    assert {cell["rule"] for (row, _), cell in shown.items() if row == "without PRM"} == {"final"}
    assert Run(tmp_path / shown["with PRM", "7"]["run"]).manifest["protocol"]["prm"] == "ask"
    assert shown["with PRM", "1"]["scores"] == shown["without PRM", "1"]["scores"]
