"""The whole way: from `run` to a scored folder that survives kills, repeats and mistakes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs import shards
from hlmat_bench.runs.measuring import measured
from hlmat_bench.runs.run_folder import Run
from tests.support.episodes import read_lines


def _without_seconds(folder: Path) -> list[dict[str, Any]]:
    values = read_lines(folder)
    for value in values:
        for step in value["steps"]:
            del step["seconds"]
    return values


def _cli(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False, **more
    )


def test_the_same_command_twice_writes_the_same_episodes(task: str, tool: str, tmp_path: Path) -> None:
    for name, concurrency in (("a", 1), ("b", 7)):
        hlmat_bench.run("random", task, tool, out=tmp_path / name, seed=3, concurrency=concurrency)
    assert _without_seconds(tmp_path / "a") == _without_seconds(tmp_path / "b")
    hlmat_bench.run("random", task, tool, out=tmp_path / "c", seed=4)
    assert _without_seconds(tmp_path / "a") != _without_seconds(tmp_path / "c")


@pytest.mark.slow
def test_killed_twenty_times_and_resumed_it_is_the_undisturbed_run(task: str, tool: str, tmp_path: Path) -> None:
    """SIGKILL at random moments: nothing lost, repeated or half-written."""
    undisturbed = hlmat_bench.run("oracle", task, f"{tool},pause=0.01", out=tmp_path / "whole")
    folder = tmp_path / "killed"
    words = [
        "run",
        "--model",
        "oracle",
        "--task",
        task,
        "--segmenter",
        f"{tool},pause=0.01",
        "--out",
        str(folder),
    ]
    generator = random.Random(0)
    before = 0
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-m", "hlmat_bench", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(generator.uniform(0.5, 1.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
        files = [folder / name for name in ("episodes.jsonl", "episodes.early.jsonl") if (folder / name).exists()]
        whole = {json.loads(line)["sample_id"] for file in files for line in _whole_lines(file)}
        assert len(whole) >= before, "an episode that was written is gone"
        before = len(whole)
    assert _cli(*words).returncode == 0
    assert _without_seconds(folder) == _without_seconds(undisturbed.folder)
    scores = Run(folder).scores()
    assert scores | {"cost": None} == undisturbed.scores() | {"cost": None}


def _whole_lines(path: Path) -> list[bytes]:
    return [line for line in path.read_bytes().split(b"\n")[:-1] if line]


def test_a_finished_run_is_not_played_again(task: str, tool: str, tmp_path: Path) -> None:
    first = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=3)
    stamp = (tmp_path / "episodes.jsonl").read_bytes()
    assert first.manifest["limit"] == 3
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=3)
    assert (tmp_path / "episodes.jsonl").read_bytes() == stamp
    longer = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=9)
    assert (tmp_path / "episodes.jsonl").read_bytes().startswith(stamp)
    assert longer.scores()["n"] == 9


def test_runs_of_other_strategies_and_initial_states_have_other_folders(
    task: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    searched: dict[str, Any] = {"strategy": "prm", "settings": {"prm": "oracle"}}
    ways: list[dict[str, Any]] = [{}, {"initial": "gt-box"}, searched, searched | {"initial": "gt-box"}]
    folders = [hlmat_bench.run("oracle", task, tool, limit=1, **way).folder for way in ways]
    endings = ["discs.py", "discs.py__gt-box", "discs.py__prm", "discs.py__prm__gt-box"]
    assert all(folder.name.endswith(ending) for folder, ending in zip(folders, endings, strict=True))
    assert len(set(folders)) == len(ways)


@pytest.mark.slow
def test_shards_merge_into_the_undivided_run(task: str, tool: str, tmp_path: Path) -> None:
    whole = hlmat_bench.run("oracle", task, tool, out=tmp_path / "whole")
    parts = []
    for number in (2, 3, 1):
        parts.append(hlmat_bench.run("oracle", task, tool, out=tmp_path / f"{number}", shard=f"{number}/3").folder)
    shards.merge(parts, tmp_path / "merged")
    assert _without_seconds(tmp_path / "merged") == _without_seconds(whole.folder)
    merged = Run(tmp_path / "merged")
    assert merged.manifest["protocol_fingerprint"] == whole.manifest["protocol_fingerprint"]
    assert merged.scores()["selection"] == whole.scores()["selection"]
    assert len(measured(merged.folder, 7, "final")) == 40
    with pytest.raises(UsageError, match=re.escape("each shard from 1/3 to 3/3 once; 2/3, 3/3 missing.")):
        shards.merge([tmp_path / "1"], tmp_path / "other")
    with pytest.raises(UsageError, match=re.escape("3/3 missing; 2/3 given more than once.")):
        shards.merge([tmp_path / "1", tmp_path / "2", tmp_path / "2"], tmp_path / "other")


def test_the_manifest_says_what_the_run_is(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=2, seed=5, settings={"overlay.color": "blue"})
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["schema"] == "hlmat-run/1"
    assert manifest["protocol"]["overlay"] == {"color": [0, 0, 255], "alpha": 0.5}
    assert manifest["protocol"]["id"] == "hlmat/1"
    assert manifest["segmenter"] == {"name": "discs", "radius": 25}
    assert len(manifest["task"]["digest"]) == 64
    assert (manifest["seed"], manifest["limit"], manifest["model"]["name"]) == (5, 2, "oracle")
    assert manifest["started"] <= manifest["finished"]
    assert made.scores()["schema"] == "hlmat-scores/1"


def test_the_fingerprint_follows_settings_and_segmenter_not_model_or_machine(
    task: str, tool: str, tmp_path: Path
) -> None:
    def fingerprint(name: str, model: str = "oracle", radius: int = 25, **more: Any) -> str:
        made = hlmat_bench.run(model, task, f"{tool},radius={radius}", out=tmp_path / name, limit=1, **more)
        return str(made.manifest["protocol_fingerprint"])

    base = fingerprint("a")
    assert fingerprint("b", model="random", concurrency=2, seed=9) == base
    others = [
        fingerprint("c", radius=9),
        fingerprint("d", budget=4),
        fingerprint("e", settings={"overlay.alpha": 0.4}),
        fingerprint("f", initial="gt-box"),
    ]
    assert len({base, *others}) == 5


def test_replay_plays_the_same_clicks_on_the_same_segmenter(task: str, tool: str, tmp_path: Path) -> None:
    first = hlmat_bench.run("random", task, tool, out=tmp_path / "a", limit=6)
    again = hlmat_bench.run(f"replay,run={first.folder}", task, tool, out=tmp_path / "b", limit=6)
    for one, two in zip(first.episodes(), again.episodes(), strict=True):
        assert [step.action for step in one.steps] == [step.action for step in two.steps]
        assert [step.mask for step in one.steps] == [step.mask for step in two.steps]


def test_scripted_replies_in_a_models_own_format(task: str, tool: str, tmp_path: Path) -> None:
    path = tmp_path / "replies.json"
    path.write_text(json.dumps(["Current IOU: 0, Positive point: (500, 250)", "no idea", "Finish"]))
    made = hlmat_bench.run(f"scripted,file={path},points=segagent-qwen", task, tool, out=tmp_path / "run", limit=2)
    [first, _] = made.episodes()
    assert [step.action.kind for step in first.steps] == ["click", "invalid", "stop"]
    assert (first.steps[0].action.x, first.steps[0].action.y) == (20, 30)
    assert made.scores()["clicks"]["invalid"] == {"parse": 2}


def test_a_dataframe_has_one_row_per_step(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=3)
    frame = made.to_dataframe()
    assert len(frame) == sum(len(episode.steps) for episode in made.episodes())
    last = frame.groupby("sample_id")["iou"].last().mean()
    assert last == pytest.approx(made.scores()["selection"]["final"]["miou"])


def test_gt_box_and_the_floors(task: str, tool: str, tmp_path: Path) -> None:
    scores = {
        name: hlmat_bench.run(name, task, tool, out=tmp_path / name, limit=8).scores()
        for name in ("oracle", "gt-box", "center", "random", "empty")
    }
    ious = {name: value["selection"]["final"]["miou"] for name, value in scores.items()}
    assert ious["gt-box"] == 1.0, "the objects are boxes"
    assert ious["empty"] == 0.0
    assert ious["oracle"] > ious["random"]
    assert scores["gt-box"]["track"] == "box+point"
    assert scores["oracle"]["track"] == "point"


def test_it_runs_inside_a_running_event_loop(task: str, tool: str, tmp_path: Path) -> None:
    """As in a notebook."""
    import asyncio

    async def cell() -> int:
        return int(hlmat_bench.run("empty", task, tool, out=tmp_path, limit=2).scores()["n"])

    assert asyncio.run(cell()) == 2


@pytest.mark.slow
def test_a_second_process_on_the_same_folder_is_refused(task: str, tool: str, tmp_path: Path) -> None:
    words = [
        "run",
        "--model",
        "oracle",
        "--task",
        task,
        "--segmenter",
        f"{tool},pause=0.05",
        "--out",
        str(tmp_path),
    ]
    first = subprocess.Popen([sys.executable, "-m", "hlmat_bench", *words], stderr=subprocess.DEVNULL)
    while not (tmp_path / "episodes.jsonl").exists():
        time.sleep(0.05)
    second = _cli(*words)
    assert second.returncode == 2
    assert "Another process is writing" in second.stderr
    first.kill()
    first.wait()


def test_settings_of_another_run_are_refused_in_one_sentence(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=1)
    kept = (tmp_path / "episodes.jsonl").read_bytes()
    for change in ({"budget": 3}, {"seed": 1}, {"model": "random"}, {"settings": {"overlay.alpha": 0.1}}):
        arguments = {"model": "oracle", "task": task, "segmenter": tool, "out": tmp_path} | change
        with pytest.raises(UsageError, match="holds another run"):
            hlmat_bench.run(**arguments)
    assert (tmp_path / "episodes.jsonl").read_bytes() == kept


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--model": "oracel"}, "no model called 'oracel'. Did you mean oracle"),
        ({"--task": "res_refcoco_vall"}, "no task called 'res_refcoco_vall'. Did you mean res_refcoco_val"),
        ({"--segmenter": "grapcut"}, "no segmenter called 'grapcut'. Did you mean graphcut"),
        ({"--set": "overlay.colour=blue"}, "Did you mean overlay.color"),
        ({"--set": "blue"}, "--set takes key=value"),
        ({"--shard": "5/4"}, "--shard must look like 1/4"),
        ({"--limit": "0"}, "--limit must be 1 or more"),
        ({"--model": "gt-box", "--segmenter": "graphcut"}, "takes no boxes"),
        ({"--task": "res_refcoco_val", "--data-root": "/nonexistent"}, "/nonexistent"),
        ({"--out": "/dev/null/x"}, "choose another --out"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_sentence_and_exit_code_2(
    task: str, tool: str, tmp_path: Path, change: dict[str, str], sentence: str
) -> None:
    words = {
        "--model": "oracle",
        "--task": task,
        "--segmenter": tool,
        "--out": str(tmp_path / "run"),
    } | change
    ran = _cli("run", *(word for pair in words.items() for word in pair))
    assert ran.returncode == 2, ran.stderr
    assert sentence in ran.stderr
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
def test_an_unwritable_folder_is_one_sentence(task: str, tool: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        folder = Path("/proc/hlmat")
    else:
        folder = tmp_path / "locked" / "run"
        folder.parent.mkdir(mode=0o500)
    ran = _cli("run", "--model", "oracle", "--task", task, "--segmenter", tool, "--out", str(folder))
    assert (ran.returncode, "choose another --out" in ran.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left", "finished"),
    [(0, 0), (0.5, 14)],  # what cannot be opened is found before the first episode, what breaks off at its turn
)
def test_a_broken_image_in_the_middle_keeps_what_was_finished(
    task: str, tool: str, tmp_path: Path, left: float, finished: int
) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(Path(task).parent, data)
    whole = (data / "images" / "7.png").read_bytes()
    (data / "images" / "7.png").write_bytes(whole[: int(left * len(whole))])
    words = [
        "--model",
        "oracle",
        "--task",
        str(data / "boxes.yaml"),
        "--segmenter",
        tool,
        "--out",
        str(tmp_path / "r"),
    ]
    ran = _cli("run", *words, "--concurrency", "1")
    assert ran.returncode == 2
    assert "7.png" in ran.stderr
    episodes = tmp_path / "r" / "episodes.jsonl"
    assert (len(_whole_lines(episodes)) if episodes.exists() else 0) == finished
    shutil.copy(Path(task).parent / "images" / "7.png", data / "images" / "7.png")
    assert _cli("run", *words).returncode == 0
    assert Run(tmp_path / "r").scores()["n"] == 40


@pytest.mark.slow
def test_scores_are_recomputed_from_the_folder_alone(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4)
    scores = made.scores()
    (tmp_path / "run" / "scores.json").unlink()
    ran = _cli("score", str(tmp_path / "run"), cwd=tmp_path)
    assert ran.returncode == 0
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == scores
    assert f"{100 * scores['selection']['final']['miou']:.1f}" in ran.stdout
    assert _cli("score", str(tmp_path)).returncode == 2


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_is_one_sentence_and_the_run_goes_on(
    task: str, tool: str, tmp_path: Path
) -> None:
    words = [
        sys.executable, "-m", "hlmat_bench", "run", "--model", "oracle", "--task", task,
        "--segmenter", f"{tool},pause=0.2", "--out", str(tmp_path / "run"), "--concurrency", "1",
    ]  # fmt: skip
    program = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    episodes = tmp_path / "run" / "episodes.jsonl"
    while not episodes.exists() or not episodes.read_text():
        assert program.poll() is None
        time.sleep(0.02)
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert "what was finished is kept" in errors
    assert "Traceback" not in errors
    kept = episodes.read_text()
    assert 0 < len(kept.splitlines()) < 40
    hlmat_bench.run("oracle", task, f"{tool},pause=0.2", out=tmp_path / "run", limit=len(kept.splitlines()))
    assert episodes.read_text() == kept
