"""Tasks of the kind refinement, from the task file to the scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import select
from hlmat_bench.runs import ceilings
from hlmat_bench.scores.scoring import score_episodes
from hlmat_bench.testing import ChatServer
from tests.scores.test_recompute import check
from tests.support.episodes import click, episode, rle

UNABLE = """
from hlmat_bench.testing import DiscSegmenter


class Unable(DiscSegmenter):
    accepts_mask = False


SEGMENTERS = {"unable": Unable}
"""


@pytest.fixture(scope="module")
def refine(boxes: Path) -> str:
    """Return the task of the fixture `boxes`, from imperfect masks."""
    path = boxes / "refine_boxes.yaml"
    path.write_text(
        "name: refine_boxes\nkind: refinement\nsource: {kind: table}\nprotocol: {budget: 3}\n"
        "refinement: {defects: [cropped, merged, eroded], bands: [[0.5, 0.7], [0.7, 0.9]], seed: 1}\n"
    )
    return str(path)


def _starts(run: hlmat_bench.Run) -> list[dict[str, Any]]:
    return [episode.initial for episode in run.episodes()]


def test_every_player_begins_with_the_same_masks_whatever_the_segmenter_and_the_seed(
    refine: str, tool: str, tmp_path: Path
) -> None:
    ways: list[dict[str, Any]] = [
        {"model": "oracle", "segmenter": tool},
        {"model": "empty", "segmenter": "graphcut", "seed": 5},
        {"model": "random", "segmenter": f"{tool},radius=3", "concurrency": 7},
    ]
    runs = [hlmat_bench.run(task=refine, limit=12, out=tmp_path / str(n), **way) for n, way in enumerate(ways)]
    assert _starts(runs[0]) == _starts(runs[1]) == _starts(runs[2])
    assert {state["defect"] for state in _starts(runs[0])} == {"cropped", "merged", "eroded"}
    assert len({json.dumps(state["mask"]) for state in _starts(runs[0])}) == 12


def test_the_model_sees_the_mask(refine: str, tool: str, tmp_path: Path) -> None:
    def answer(request: dict[str, Any], image: np.ndarray, prompt: str) -> str:
        seen[prompt] = (image == (0, 255, 0)).all(axis=2)
        return "Finish"

    seen: dict[str, np.ndarray] = {}
    with ChatServer(answer) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=segagent-qwen,image_format=png"
        run = hlmat_bench.run(model, refine, tool, out=tmp_path, limit=6, settings={"overlay.alpha": 1.0})
    for each in run.episodes():
        [shown] = [mask for prompt, mask in seen.items() if f"{each.expression}\n" in prompt]
        assert rle(shown) == each.initial["mask"]


def test_the_segmenter_goes_on_from_it(refine: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("random", refine, tool, out=tmp_path, limit=6)
    for each in run.episodes():
        mask = coco.decode(dict(each.initial["mask"])).astype(bool)
        rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
        for step in each.steps:
            _, x, y = step.action.click
            mask = mask.copy()
            mask[(rows - y) ** 2 + (columns - x) ** 2 <= 25**2] = step.action.positive
            assert rle(mask) == step.mask


@pytest.mark.slow
def test_the_scores_say_what_was_gained_by_defect_and_band(refine: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", refine, "graphcut", out=tmp_path / "a", limit=12)
    check(run.scores(), run.folder / "episodes.jsonl")
    found = run.scores()["refinement"]
    assert (found["n"], found["in_band"]) == (12, 12)
    assert set(found["by_defect"]) == {"cropped", "merged", "eroded"}
    assert set(found["by_band"]) == {"0.50-0.70", "0.70-0.90"}
    assert sum(group["n"] for group in found["by_band"].values()) == 12
    idle = hlmat_bench.run("empty", refine, "graphcut", out=tmp_path / "b", limit=12).scores()
    assert idle["refinement"]["final"]["gain"] == idle["refinement"]["final"]["worsened"] == 0
    assert idle["selection"]["final"]["miou"] == idle["refinement"]["initial_miou"] == found["initial_miou"]


def test_clicks_are_counted_from_the_initial_state() -> None:
    """By hand: one begins solved, one needs a click, one gets worse, one never gets there."""
    gt = np.zeros((10, 10), bool)
    gt[:, :5] = True

    def covering(columns: int) -> np.ndarray:
        mask = np.zeros_like(gt)
        mask[:, :columns] = True
        return mask

    runs = [(5, [5, 5]), (3, [5, 4]), (5, [2, 1]), (1, [2, 3])]
    made = []
    for number, (first, then) in enumerate(runs):
        one = episode(f"s/{number}", gt, [(click(True, n, 1), covering(c)) for n, c in enumerate(then)])
        one.initial.update(kind="masks", mask=rle(covering(first)), iou=first / 5)
        one.selected.update(select(one.steps, one.initial))
        made.append(one)
    found = score_episodes(made, budget=2, track="point")["refinement"]
    assert found["noc"]["0.80"] | {"ci": None} == {"mean": (0 + 1 + 0 + 2) / 4, "ci": None, "solved": 3, "failed": 1}
    assert found["initial_miou"] == pytest.approx((1 + 0.6 + 1 + 0.2) / 4)
    assert found["final"]["miou"] == pytest.approx((1 + 0.8 + 0.2 + 0.6) / 4)
    assert found["final"]["worsened"] == 0.25
    assert found["best"]["worsened"] == 0
    assert found["by_defect"] == found["by_band"] == {}


def test_the_table_shows_the_gain(refine: str, tool: str, tmp_path: Path) -> None:
    words = ["run", "--model", "oracle", "--task", refine, "--segmenter", tool, "--limit", "3", "--out", str(tmp_path)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0
    assert "initial mIoU" in shown.stdout
    assert "worsened" in CliRunner().invoke(app, ["score", str(tmp_path)]).stdout


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"initial": "empty"}, "begin with a given mask; leave --initial out"),
        ({"strategy": "predict"}, "predict is for tasks of the kind filtering"),
        ({"segmenter": "unable"}, "cannot start from a given mask"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], sentence: str, refine: str, tmp_path: Path) -> None:
    if "segmenter" in changes:
        file = tmp_path / "unable.py"
        file.write_text(UNABLE)
        changes = {"segmenter": str(file)}
    with pytest.raises(UsageError, match=sentence):
        hlmat_bench.run(**{"model": "oracle", "task": refine, "out": tmp_path / "run", **changes})


def test_masks_of_boxes_need_a_segmenter_that_takes_them(boxes: Path, tool: str, tmp_path: Path) -> None:
    path = boxes / "prompted.yaml"
    path.write_text(
        "name: prompted\nkind: refinement\nsource: {kind: table}\n"
        "refinement: {defects: [box, points], bands: [[0.5, 0.9]]}\n"
    )
    with pytest.raises(UsageError, match="takes no boxes"):
        hlmat_bench.run("oracle", str(path), "graphcut", out=tmp_path / "a")
    run = hlmat_bench.run("oracle", str(path), f"{tool},radius=9", out=tmp_path / "b", limit=12)
    assert {state["defect"] for state in _starts(run)} == {"box", "points"}
    for each in run.episodes():
        assert each.initial["in_band"] == (0.5 <= each.initial["iou"] <= 0.9)


def test_settings_of_the_masks_are_in_the_manifest(refine: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("empty", refine, tool, out=tmp_path / "run", limit=1)
    assert run.manifest["task"]["masks"]["seed"] == 1
    ceilings.play(refine, tool, out=tmp_path / "ceilings", limit=1)
    assert set(ceilings.find(run.manifest, tmp_path / "ceilings")) == {"oracle", "gt-box", "center", "random", "empty"}
    text = Path(refine).read_text()
    Path(refine).write_text(text.replace("seed: 1", "seed: 2"))
    try:
        with pytest.raises(UsageError, match="task.masks.seed is 1 there and 2 here"):
            hlmat_bench.run("empty", refine, tool, out=tmp_path / "run", limit=1)
        other = hlmat_bench.run("empty", refine, tool, out=tmp_path / "other", limit=1)
        assert ceilings.find(other.manifest, tmp_path / "ceilings") == {}
    finally:
        Path(refine).write_text(text)
