"""scores.json against a second implementation that sees episodes.jsonl alone: every number, to 1e-9."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.protocol.records import Episode
from hlmat_bench.testing import ChatServer, Failure
from tests.support.episodes import click, episode

SCRIPT = Path(__file__).with_name("recompute.py")
SIZE = (120, 160)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every number and text with the way to it; empty lists and objects, too."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from leaves(inner, f"{path}/{key}")
    else:
        yield path, value


def check(scores: dict[str, Any], episodes: Path) -> dict[str, Any]:
    """Compare all leaves with those that the script computes; return them."""
    command = [sys.executable, str(SCRIPT), str(episodes), str(scores["budget"]), scores["track"]]
    again = dict(leaves(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)))
    ours = dict(leaves(scores))
    assert ours.keys() == again.keys()
    for path, value in ours.items():
        if isinstance(value, float):
            assert abs(value - again[path]) < 1e-9, path
        else:
            assert value == again[path], path
    return ours


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a task with objects of all sizes, thin ones, ignored pixels, tags and expressions of all lengths."""
    folder = tmp_path_factory.mktemp("varied")
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    comb = (columns % 8 < 3) & (rows > 10) & (rows < 110) | (rows < 6) & (columns < 150)
    objects = {
        "dot": (rows - 30) ** 2 + (columns - 40) ** 2 < 100,
        "disc": (rows - 60) ** 2 + (columns - 80) ** 2 < 45**2,
        "all": (rows > 2) & (columns < 150),
        "comb": comb,
        "pole": (columns > 20) & (columns < 24) & (rows >= 0),
    }
    lines = ["image,mask,expression,ref_id,ignore,tag:level"]
    for folder_name in ("images", "masks"):
        (folder / folder_name).mkdir()
    masks = objects | {"band": (rows > 50) & (rows < 70) & (columns >= 0)}
    for name, mask in masks.items():
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), mask * np.uint8(255))
    for number, name in enumerate(objects):
        noise = np.random.default_rng(number).integers(0, 90, (*SIZE, 3), np.uint8)
        cv2.imwrite(str(folder / "images" / f"{number // 2}.png"), noise)
        ignore, level = ("band.png", "hard") if number % 2 else ("", "easy")
        for words in (2, 4, 12) if number < 2 else (7,):
            expression = " ".join([name, *["very"] * (words - 1)])
            lines.append(f"{number // 2}.png,{name}.png,{expression},{name},{ignore},{level}")
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    (folder / "varied.yaml").write_text("name: varied\nsource: {kind: table}\nprotocol: {budget: 4}\n")
    return str(folder / "varied.yaml")


REPLIES = [
    "Current IOU: 0, Positive point: (250, 250)",
    "Current IOU: 83, Positive point: (500, 500)",
    "Current IOU: 20, Negative point: (900, 100)",
    "Positive point: (500, 500)",
    "Positive point: (5000, 1)",
    "I'm sorry, I can't help with that.",
    "",
    "somewhere on the left",
    "Current IOU: 0.91, Finish",
    "Negative point: (10, 990)",
]


def _scripted(folder: Path, ids: list[str]) -> str:
    """Make a model whose replies are valid, invalid and final by turns."""
    lines = {name: [REPLIES[(3 * number + t * t) % len(REPLIES)] for t in range(4)] for number, name in enumerate(ids)}
    (folder / "replies.json").write_text(json.dumps(lines))
    return f"scripted,file={folder / 'replies.json'}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("oracle", {}),
        ("oracle", {"initial": "gt-box"}),
        ("random", {"budget": 6}),
        ("gt-box", {}),
        ("center", {}),
        ("empty", {"budget": 1}),
        ("oracle", {"strategy": "tree", "budget": 2, "settings": {"prm": "oracle", "candidates": 2}}),
        ("oracle,misplaced=0.5", {"strategy": "tree", "budget": 3, "settings": {"prm": "noisy", "stop.patience": 3}}),
        ("oracle,misplaced=0.5", {"strategy": "prm", "budget": 3, "settings": {"prm": "ask"}}),
    ],
)
def test_runs_of_reference_players(
    model: str, settings: dict[str, Any], varied: str, tool: str, tmp_path: Path
) -> None:
    run = hlmat_bench.run(model, varied, tool, out=tmp_path, **settings)
    ours = check(run.scores(), run.folder / "episodes.jsonl")
    assert len(ours) > 200


def test_a_run_with_invalid_replies_stops_and_predictions(varied: str, tool: str, tmp_path: Path) -> None:
    ids = [each.sample_id for each in hlmat_bench.run("empty", varied, tool, out=tmp_path / "ids").episodes()]
    run = hlmat_bench.run(_scripted(tmp_path, ids), varied, tool, out=tmp_path / "run")
    ours = check(run.scores(), run.folder / "episodes.jsonl")
    reasons = {path.rsplit("/", 1)[1] for path in ours if path.startswith("/clicks/invalid/")}
    assert {"parse", "out_of_bounds", "refusal", "empty"} <= reasons
    assert ours["/selection/self/miou"] != ours["/selection/final/miou"]
    assert {path.split("/")[3] for path in ours if path.startswith("/bands/")} >= {"small", "medium", "large", "thin"}
    assert "/slices/level/hard/noc/0.85/ci/1" in ours
    assert any(each.stop == "stop" for each in run.episodes())
    assert any(each.ignore for each in run.episodes())


@pytest.mark.slow
def test_a_run_with_boxes_costs_ends_and_failures(varied: str, tool: str, tmp_path: Path) -> None:
    """A server that writes a box first, then clicks; one that cuts replies off, and one that fails for good."""

    def answer(request: dict[str, Any], image: Any, prompt: str) -> Any:
        if "comb" in prompt:
            return Failure(status=500)
        choice = {
            "message": {"role": "assistant", "content": "<box>(10,20),(600,700)</box> Positive point: (300, 300)"}
        }
        return {
            "choices": [choice | {"index": 0, "finish_reason": "length" if "disc" in prompt else "stop"}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 7},
        }

    prices = tmp_path / "prices.yaml"
    prices.write_text("- {model: fake, input: 1.5, output: 6}\n")
    with ChatServer(answer) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=segagent-qwen,retries=0,prices={prices}"
        run = hlmat_bench.run(model, varied, tool, out=tmp_path, settings={"track": "box+point"})
    ours = check(run.scores(), run.folder / "episodes.jsonl")
    assert ours["/clicks/finish/length"] > 0
    assert ours["/clicks/invalid/api"] > 0
    assert ours["/cost/dollars"] > 0
    assert ours["/track"] == "box+point"


@pytest.mark.parametrize("change", [lambda gt: np.zeros_like(gt), lambda gt: gt, lambda gt: ~gt])
def test_objects_that_are_empty_or_everything(change: Callable[[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    from hlmat_bench.scores.scoring import score_episodes

    gt = np.zeros((12, 9), bool)
    rest = np.ones_like(gt)
    made: list[Episode] = [
        episode("a", change(gt), [(click(True, 3, 3), rest), (click(False, 2, 2), gt)], image_id="i"),
        episode("b", change(gt), [(click(False, 3, 3), gt)], image_id="i"),
        episode("c", change(rest), [(click(True, 3, 3), rest)], image_id="j", tags={"one": "x", "two": "y"}),
    ]
    path = tmp_path / "episodes.jsonl"
    path.write_text("".join(json.dumps(each.to_json()) + "\n" for each in made))
    check(score_episodes(made, budget=3, track="point"), path)


def test_the_script_knows_nothing_of_hlmat_bench() -> None:
    for file in SCRIPT.parent.glob("recompute*.py"):
        assert "import hlmat" not in file.read_text()
        assert "from hlmat" not in file.read_text()
