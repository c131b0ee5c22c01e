"""Runs played again: masks compared with the record, regret against the oracle computed by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.clicks import Click, next_click
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs.replay import ReplayedStep, reopened, replay_folder, replayed, tolerance
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.scores.intervals import bootstrap
from hlmat_bench.testing import DiscSegmenter
from tests.support.episodes import iou, read_lines, rle, write_lines
from tests.support.sam_weights import weights_of

PLAIN = """
from hlmat_bench.testing import DiscSegmenter


class Plain(DiscSegmenter):
    accepts_mask = False


SEGMENTERS = {"discs": Plain}
"""


def changed(run: Run, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the record of a run."""
    values = read_lines(run.folder)
    for value in values:
        change(value)
    write_lines(run.folder, values)


def discs(size: tuple[int, int], clicks: list[Click]) -> np.ndarray:
    """Draw what `DiscSegmenter` draws."""
    mask = np.zeros(size, bool)
    rows, columns = np.ogrid[: size[0], : size[1]]
    for positive, x, y in clicks:
        mask[(rows - y) ** 2 + (columns - x) ** 2 <= 25**2] = positive
    return mask


def regrets_of(episode: dict[str, Any]) -> list[float]:
    """Of each click of a run with discs, from the record's actions alone."""
    gt, clicks, regrets = coco.decode(episode["gt"]) > 0, [], []
    ignore = coco.decode(episode["ignore"]) > 0 if episode["ignore"] else np.zeros_like(gt)
    for step in episode["steps"]:
        action = step["action"]
        if action["kind"] == "click":
            before = discs(gt.shape, clicks)
            best = next_click(gt, before, ignore=ignore, clicked=clicks)
            ideal = before if best is None else discs(gt.shape, [*clicks, best])
            clicks.append(Click(action["positive"], action["x"], action["y"]))
            gains = [iou(gt & ~ignore, mask & ~ignore) for mask in (ideal, discs(gt.shape, clicks))]
            regrets.append(gains[0] - gains[1])
    return regrets


@pytest.mark.parametrize("ignored", [0, 25])
def test_regret_is_what_the_oracle_would_have_gained_more(ignored: int, task: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("random", task, tool, out=tmp_path, limit=10, budget=3)
    assert run.scores()["clicks"]["regret"] is None
    if ignored:
        band = np.zeros((60, 80), bool)
        band[:ignored] = True
        changed(run, lambda value: value.update(ignore=rle(band)))
    found = replay_folder(run.folder, tool, task)
    assert (found.masks, found.differing, found.largest) == (30, [], 0.0)
    values = [json.loads(line) for line in (run.folder / EPISODES).read_text().splitlines()]
    expected = [regrets_of(value) for value in values]
    scores = run.score()
    clicks = scores["clicks"]
    flat = [regret for each in expected for regret in each]
    assert len(flat) == 30
    assert clicks["regret"] == pytest.approx(np.mean(flat), abs=1e-12)
    images = [value["image_id"] for value, each in zip(values, expected, strict=True) for _ in each]
    interval = bootstrap(flat, np.ones(len(flat)), images)
    assert clicks["regret_ci"] == pytest.approx([interval.low[0], interval.high[0]])
    assert clicks["localisation"]["regret"] == pytest.approx(np.mean([each[0] for each in expected]), abs=1e-12)
    assert clicks["by_step"][2]["regret"] == pytest.approx(np.mean([each[2] for each in expected]), abs=1e-12)
    assert scores["replay"] == {"masks": 30, "differing": 0, "largest": 0.0}
    assert run.scores() == scores


@pytest.mark.slow
def test_the_oracle_has_no_regret_with_graphcut(tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", "hres_synth", "graphcut", out=tmp_path, limit=2, budget=3)
    found = replay_folder(run.folder)
    assert (found.masks, found.largest, found.tolerance) == (6, 0.0, 0.0)
    assert {regret for steps in found.regrets.values() for regret in steps.values()} == {0.0}
    assert run.score()["clicks"]["regret_ci"] == [0.0, 0.0]


def test_regret_goes_when_episodes_come(task: str, tool: str, tmp_path: Path) -> None:
    words = {"model": "random", "task": task, "segmenter": tool, "out": tmp_path, "budget": 2}
    run = hlmat_bench.run(**words, limit=3)
    replay_folder(run.folder, tool, task)
    assert run.score()["clicks"]["regret"] is not None
    more = hlmat_bench.run(**words, limit=4).scores()
    assert more["clicks"]["regret"] is None
    assert "replay" not in more


@pytest.mark.slow
def test_a_network_with_boxes_gives_its_masks_again(task: str, tmp_path: Path) -> None:
    sam = f"sam,pretrained={weights_of('sam', tmp_path / 'weights')},device=cpu"
    run = hlmat_bench.run("oracle", task, sam, out=tmp_path / "run", limit=4, budget=3, initial="gt-box")
    found = replay_folder(run.folder, sam, task)
    assert found.tolerance == tolerance(run.manifest["segmenter"]) == 1e-4
    assert (found.masks, found.differing) == (4 * (1 + 3), [])
    assert {regret for steps in found.regrets.values() for regret in steps.values()} == {0.0}


def test_masks_that_are_not_the_segmenters_are_named(task: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("random", task, tool, out=tmp_path, limit=4, budget=2)
    forged = next(run.episodes()).sample_id

    def forge(value: dict[str, Any]) -> None:
        if value["sample_id"] == forged:
            value["steps"][1]["mask"] = value["gt"]

    changed(run, forge)
    words = ["score", str(tmp_path), "--replay", "--segmenter", tool, "--task", task]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 1
    assert f"1 of 8 masks are not those recorded: {forged} step 2 (" in shown.stdout
    assert run.scores()["replay"]["differing"] == 1


def test_the_command_says_that_all_masks_agree(task: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("random", task, tool, out=tmp_path, limit=2, budget=2)
    shown = CliRunner().invoke(app, ["score", str(tmp_path), "--replay", "--segmenter", tool, "--task", task])
    assert shown.exit_code == 0, shown.output
    assert CliRunner().invoke(app, ["score", str(tmp_path)]).exit_code == 0
    regret = run.scores()["clicks"]["regret"]
    assert (
        f"4 masks were predicted again, all as recorded. The mean regret of 4 clicks is {100 * regret:.1f} points"
        in shown.stdout
    )


def test_a_box_with_the_first_click_and_replies_without_effect(task: str, tool: str, tmp_path: Path) -> None:
    replies = ["<box>(0,0),(500,500)</box> Positive point: (250, 250)", "what?", "Negative point: (100, 100)", "Finish"]
    (tmp_path / "replies.json").write_text(json.dumps(replies))
    model = f"scripted,file={tmp_path / 'replies.json'}"
    run = hlmat_bench.run(model, task, tool, out=tmp_path / "run", limit=2, settings={"track": "box+point"})
    steps = list(replayed(run.episodes(), *reopened(run.manifest, segmenter=tool, task=task)))
    assert [(step.t, step.action and step.action.kind) for step in steps] == 2 * [
        (1, "click"), (2, "invalid"), (3, "click"), (4, "stop"),
    ]  # fmt: skip
    assert all(step.differing == 0 and step.oracle is None for step in steps)
    assert steps[0].mask[:30, :40].all()
    assert (steps[1].mask == steps[0].mask).all()
    assert not steps[0].before.any()


def test_a_given_initial_mask_is_taken_up_where_the_segmenter_can(task: str, tool: str, tmp_path: Path) -> None:
    """The record of a run that began with a given mask, written by hand."""
    run = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=1, budget=1)
    start = np.zeros((60, 80), bool)
    start[:5, :7] = True

    def begin(value: dict[str, Any]) -> None:
        value["initial"] = {"kind": "mask", "mask": rle(start), "iou": 0.0}
        value["steps"][0]["mask"] = rle((coco.decode(value["steps"][0]["mask"]) > 0) | start)

    changed(run, begin)
    found = replay_folder(run.folder, tool, task)
    assert (found.masks, found.largest) == (2, 0.0)
    (tmp_path / "plain.py").write_text(PLAIN)
    with pytest.raises(UsageError, match=r"cannot be replayed: discs cannot start from one"):
        replay_folder(run.folder, str(tmp_path / "plain.py"), task)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda value: value["steps"][0].update(action={"kind": "predict"}), "has no clicks to replay"),
        (lambda value: value.update(sample_id="nobody"), "The sample nobody is not in the data"),
        (
            lambda value: value.update(
                size=[30, 40],
                gt=rle(np.eye(30, 40, dtype=bool)),
                steps=[],
                selected={"final": 0, "self": 0, "best": 0},
            ),
            r"The image of .* is \(60, 80\) here and \(30, 40\) in the record",
        ),
    ],
)
def test_what_cannot_be_replayed_is_a_sentence(
    change: Callable[[dict[str, Any]], None], sentence: str, task: str, tool: str, tmp_path: Path
) -> None:
    run = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=1, budget=1)
    changed(run, change)
    with pytest.raises(UsageError, match=sentence):
        replay_folder(run.folder, tool, task)


def test_segmenter_and_data_must_be_the_runs(task: str, tool: str, boxes: Path, tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=1, budget=1)
    document = run.manifest
    with pytest.raises(UsageError, match="segmenter discs is not a name here; give its file with --segmenter"):
        reopened(document, task=task)
    with pytest.raises(UsageError, match=r"\(segmenter.radius is 25 in its manifest and 9 here\)"):
        reopened(document, segmenter=f"{tool},radius=9", task=task)
    with pytest.raises(UsageError, match="There is no task called 'boxes'"):
        reopened(document, segmenter=tool)
    with pytest.raises(UsageError, match="A replay keeps the run's protocol"):
        replay_folder(run.folder, tool, task, settings={"overlay.color": "blue"})
    other = tmp_path / "other.yaml"
    other.write_text("name: boxes\nsource: {kind: table, table: fewer.csv}\n")
    lines = (boxes / "expressions.csv").read_text().splitlines(keepends=True)
    (tmp_path / "fewer.csv").write_text("".join(lines[:-1]))
    for name in ("images", "masks"):
        (tmp_path / name).symlink_to(boxes / name)
    with pytest.raises(UsageError, match="This is not the data of the run"):
        reopened(document, segmenter=tool, task=str(other))


def test_damaged_findings_are_a_sentence(task: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=1, budget=1)
    for text in ("{", "[]", '{"schema": "other"}', '{"schema": "hlmat-replay/1"}'):
        (tmp_path / "replay.json").write_text(text)
        with pytest.raises(UsageError, match="replay.json is damaged"):
            run.score()


def test_an_episode_without_clicks_opens_no_image(task: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run("empty", task, tool, out=tmp_path, limit=3)
    _, source = reopened(run.manifest, segmenter=tool, task=task)
    segmenter = DiscSegmenter()
    steps: list[ReplayedStep] = list(replayed(run.episodes(), segmenter, source, oracle=True))
    assert [step.differing for step in steps] == [0.0] * 3
    assert segmenter.sessions == []
