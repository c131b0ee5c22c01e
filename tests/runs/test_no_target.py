"""Runs of a task with samples without an object: played, continued, replayed, verified and submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core import masks
from hlmat_bench.data.tasks import load_task
from hlmat_bench.points import PointFormat
from hlmat_bench.points.resize import UNCHANGED
from hlmat_bench.protocol.records import Episode
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.reports.leaderboard.verify.verification import Evidence, verify
from hlmat_bench.runs import ceilings, redo, replay
from hlmat_bench.runs.lmms_eval.relay import RelayedRun, RelayModel
from hlmat_bench.runs.plan import RunSetup, RunSpec
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.runs.writer import RunWriter
from hlmat_bench.testing import ChatServer
from tests.support import boards
from tests.support.episodes import timeless

#: The samples without an object are those whose expression begins with "no".
EXPRESSIONS = ["the left box", "the right box", "no cat", "no dog", "no bird"]


@pytest.fixture(scope="module")
def absent(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make a task with two objects and three expressions without one."""
    folder = tmp_path_factory.mktemp("absent")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    lines = ["image,mask,expression"]
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for number, expression in enumerate(EXPRESSIONS):
        mask = np.zeros((60, 80), np.uint8)
        if not expression.startswith("no"):
            mask[20:40, 10 + 40 * number : 30 + 40 * number] = 255
        cv2.imwrite(str(folder / "images" / f"{number // 2}.png"), noise + np.uint8(number // 2))
        cv2.imwrite(str(folder / "masks" / f"{number}.png"), mask)
        lines.append(f"{number // 2}.png,{number}.png,{expression}")
    (folder / "expressions.csv").write_text("\n".join(lines) + "\n")
    (folder / "absent.yaml").write_text(
        "name: absent\nsource: {kind: table, allow_empty: true}\nprotocol: {budget: 4, no_target: true}\n"
    )
    return str(folder / "absent.yaml")


def _episodes(run: Run) -> dict[str, Episode]:
    return {episode.expression: episode for episode in run.episodes()}


def _kinds(run: Run) -> dict[str, list[str]]:
    return {name: [step.action.kind for step in episode.steps] for name, episode in _episodes(run).items()}


def _verified(run: Run, task: str, tool: str) -> tuple[str | None, list[str]]:
    verdict = verify(make_entry(run, boards.DECLARED), Evidence(run.folder, tool, task=task))
    return verdict.level, [f"{finding.place}: {finding.problem}" for finding in verdict.findings]


#: What a model says in turn about each sample: at once, after two clicks, wrongly, as an end, and never.
SCRIPT = {
    "the left box": ["Positive point: (20, 30)", "Finish"],
    "the right box": ["Positive point: (60, 30)", "There is no such object in the image."],
    "no cat": ["No object"],
    "no dog": ["Positive point: (20, 30)", "Negative point: (60, 30)", "No object"],
    "no bird": ["Positive point: (20, 30)", "Finish"],
}


def _scripted(task: str, folder: Path) -> str:
    ids = {sample.expression: sample.id for sample in load_task(task).source().samples()}
    (folder / "script.json").write_text(json.dumps({ids[name]: lines for name, lines in SCRIPT.items()}))
    return f"scripted,file={folder / 'script.json'},points=pixel"


def test_a_model_that_says_it_rightly_and_wrongly(absent: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run(_scripted(absent, tmp_path), absent, tool, out=tmp_path / "run")
    assert run.manifest["protocol"]["no_target"] is True
    assert "{no_target}" in run.manifest["protocol"]["prompt"]
    assert _kinds(run) == {
        "the left box": ["click", "stop"],
        "the right box": ["click", "none"],
        "no cat": ["none"],
        "no dog": ["click", "click", "none"],
        "no bird": ["click", "stop"],
    }
    episodes = _episodes(run)
    assert {name: episode.stop for name, episode in episodes.items()} == {
        "the left box": "stop", "the right box": "none", "no cat": "none", "no dog": "none", "no bird": "stop",
    }  # fmt: skip
    for name in ("the right box", "no cat", "no dog"):
        assert masks.area(episodes[name].steps[-1].mask) == 0
    assert [episodes[name].steps[-1].iou for name in ("no cat", "no dog", "no bird")] == [1.0, 1.0, 0.0]
    assert episodes["the right box"].steps[-1].iou == 0.0
    assert run.scores()["n"] == 5
    again = replay.replay_folder(run.folder, segmenter=tool, task=absent)
    assert (again.masks, again.largest) == (10, 0.0)
    assert _verified(run, absent, tool) == ("replayed", [])
    repeated = hlmat_bench.run(f"replay,run={run.folder}", absent, tool, out=tmp_path / "repeated")
    assert _kinds(repeated) == _kinds(run)


def test_a_run_that_was_stopped_continues(absent: str, tool: str, tmp_path: Path) -> None:
    model = _scripted(absent, tmp_path)
    whole = hlmat_bench.run(model, absent, tool, out=tmp_path / "whole")
    hlmat_bench.run(model, absent, tool, out=tmp_path / "parts", limit=3)
    parts = hlmat_bench.run(model, absent, tool, out=tmp_path / "parts")
    assert timeless(parts) == timeless(whole)
    redo.redo(parts.folder, redo.Choice(where=[redo.Condition.parse("stop=none")]))
    assert timeless(Run(parts.folder)) == timeless(whole)


def test_ceilings_and_floors(absent: str, tool: str, tmp_path: Path) -> None:
    made = ceilings.play(absent, tool, out=tmp_path)
    for name in ("oracle", "gt-box"):
        assert {expression: kinds for expression, kinds in _kinds(made[name]).items() if expression[:2] == "no"} == {
            "no cat": ["none"], "no dog": ["none"], "no bird": ["none"],
        }  # fmt: skip
        assert not {"none"} & set(_kinds(made[name])["the left box"])
    assert set(map(tuple, _kinds(made["empty"]).values())) == {("stop",)}
    assert not any("none" in kinds for name in ("center", "random") for kinds in _kinds(made[name]).values())
    for run in made.values():
        assert _verified(run, absent, tool) == ("replayed", [])
    player = hlmat_bench.run("oracle,misplaced=0.5", absent, tool, out=tmp_path / "erring")
    assert _kinds(player)["no cat"] == ["none"]
    assert set(ceilings.find(player.manifest, tmp_path)) == set(made)
    otherwise = hlmat_bench.run("oracle", absent, tool, out=tmp_path / "other", settings={"no_target": False})
    assert _kinds(otherwise)["no cat"] == ["stop"]
    assert not ceilings.find(otherwise.manifest, tmp_path)


def _speaker(body: dict[str, Any], image: Any, prompt: str) -> str | list[str]:
    """Say that there is no object, click, or give a box, by what the prompt and the picture are."""
    if (count := body.get("n", 1)) > 1:
        return [str(_speaker({}, image + np.uint8(number), prompt)) for number in range(count)]
    number = int(image.astype(np.int64).sum())
    worth = f"Current IOU: {number % 90 + 10}, "
    if "answer: No object" not in prompt:
        return worth
    said = boards.clicker(260)({}, image, prompt)
    if "smallest box" in prompt:
        return "No object" if "The object: no" in prompt else "<box>(100, 200), (400, 500)</box>"
    return {0: f"{worth}No object", 1: "<action>Terminate</action>", 2: f"{worth}Finish"}.get(
        number % 6, f"{worth}{said}"
    )


PLAYED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "prm": {"strategy": "prm", "settings": {"prm": "reply", "stop.patience": 3}},
    "prm, asked": {"strategy": "prm", "settings": {"prm": "ask", "stop.patience": 3}},
    "tree": {"strategy": "tree", "settings": {"prm": "reply", "candidates": 3, "stop.patience": 2}},
    "tree, asked": {"strategy": "tree", "settings": {"prm": "ask", "stop.patience": 2, "history": True}},
    "tree, oracle": {"strategy": "tree", "settings": {"prm": "oracle", "stop.patience": 2}},
    "box only": {"strategy": "box-only"},
    "model-box": {"initial": "model-box"},
    "gt-box": {"initial": "gt-box"},
}


@pytest.mark.parametrize("how", PLAYED)
def test_runs_of_every_strategy_are_verified(how: str, absent: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(_speaker) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000-text,image_format=png,retries=0"
        run = hlmat_bench.run(model, absent, f"{tool},radius=10", out=tmp_path / "run", **PLAYED[how])
    assert any("none" in kinds for kinds in _kinds(run).values())
    assert _verified(run, absent, f"{tool},radius=10") == ("replayed", [])


def test_another_program_may_ask(absent: str, tool: str, tmp_path: Path) -> None:
    """As lmms-eval does."""

    def opened(model: RelayModel) -> tuple[RunSetup, RunWriter]:
        setup = RunSpec("relayed", absent, tool).open(model)
        return setup, RunWriter.of(tmp_path / "relayed", setup, setup.manifest())

    relayed = RelayedRun(RelayModel("relayed", PointFormat.named("pixel"), UNCHANGED, {}, ()), opened)
    for sample in RunSpec("relayed", absent, tool).open_data().samples:
        for line in SCRIPT[sample.expression]:
            question = relayed.question(sample.id)
            assert question is not None
            assert question.request.prompt.endswith("If there is no such object in the image, answer: No object")
            relayed.answer(line)
        assert relayed.question(sample.id) is None
    played = hlmat_bench.run(_scripted(absent, tmp_path), absent, tool, out=tmp_path / "played")
    assert _kinds(relayed.result) == _kinds(played)


def test_runs_may_begin_with_what_such_a_run_left(absent: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(_speaker) as server:
        model = f"openai,model=fake,base_url={server.base_url},points=xy1000-text,image_format=png,retries=0"
        boxed = hlmat_bench.run(model, absent, tool, out=tmp_path / "boxed", strategy="box-only")
    for state in (f"box-from={boxed.folder}", f"mask-from={boxed.folder}"):
        run = hlmat_bench.run(
            "oracle", absent, "graphcut" if "mask" in state else tool, initial=state, out=tmp_path / state[:4]
        )
        episodes = _episodes(run)
        for name, episode in episodes.items():
            begun = episode.initial["mask"]
            assert (begun is not None and masks.area(begun) > 0) is not name.startswith("no")
        assert [episodes[name].stop for name in EXPRESSIONS[2:]] == ["none"] * 3


def test_a_beam_search_may_end_with_it(absent: str, tool: str, tmp_path: Path) -> None:
    beam = Path(__file__).parents[2] / "examples" / "beam_search.py"
    settings = {"prm": "oracle", "candidates": 2, "temperature": 1}
    run = hlmat_bench.run(
        "oracle,misplaced=0.5", absent, tool, strategy=str(beam), settings=settings, out=tmp_path / "run"
    )
    assert [_kinds(run)[name] for name in EXPRESSIONS[2:]] == [["none"]] * 3
    assert _verified(run, absent, tool) == ("replayed", [])


def test_a_submitter_cannot_say_it_for_the_model(absent: str, tool: str, tmp_path: Path) -> None:
    run = hlmat_bench.run(_scripted(absent, tmp_path), absent, tool, out=tmp_path / "run")

    def claim(episodes: list[dict[str, Any]]) -> None:
        for episode in episodes:
            if episode["expression"] == "no bird":
                blank = masks.encode(np.zeros((60, 80), bool))
                episode["steps"][1] |= {"action": {"kind": "none"}, "mask": blank, "iou": 1.0}
                episode |= {"stop": "none", "selected": {"final": 2, "self": 2, "best": 0}}

    boards.edit(run.folder, claim)
    level, findings = _verified(Run(run.folder), absent, tool)
    assert level is None
    assert len(findings) == 1
    assert 'step 2, action: says {"kind": "none"}, but the reply {"kind": "stop"}' in findings[0]


@pytest.mark.parametrize("split", ["val", "testA", "testB"])
def test_the_tasks_of_grefcoco_allow_the_answer(split: str) -> None:
    assert load_task(f"gres_grefcoco_{split}").protocol["no_target"] is True
