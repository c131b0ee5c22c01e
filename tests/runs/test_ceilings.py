"""All reference policies in one pass: the runs that five commands make, with one encoder pass per image."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import hlmat_bench
from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.runs import ceilings
from hlmat_bench.runs.run_folder import Run
from tests.support.episodes import read_lines

pytestmark = pytest.mark.slow

COUNTED = """
from pathlib import Path

from hlmat_bench.core.cache import Cache
from hlmat_bench.testing import DiscSegmenter


def encode(image):
    with Path(__file__).with_name("passes").open("a") as file:
        print(image.shape, file=file)


class Counted(DiscSegmenter):
    def __init__(self):
        super().__init__()
        self.embeddings = Cache(4)

    def open(self, image):
        self.embeddings.get(image.tobytes(), lambda: encode(image))
        return super().open(image)


SEGMENTERS = {"counted": Counted}
"""
PLAYERS = ["oracle", "gt-box", "center", "random", "empty"]


def episodes(folder: Path) -> str:
    """Return the file of episodes, apart from seconds."""
    values = read_lines(folder)
    for value in values:
        for step in value["steps"]:
            del step["seconds"]
    return json.dumps(values)


def lasting(manifest: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key not in ("started", "finished", "argv", "spec")}


def test_they_are_the_runs_of_five_commands(task: str, tool: str, tmp_path: Path) -> None:
    made = ceilings.play(task, tool, out=tmp_path / "c", budget=3, seed=2, limit=11, concurrency=5)
    assert list(made) == PLAYERS
    for name in PLAYERS:
        alone = hlmat_bench.run(name, task, tool, out=tmp_path / name, budget=3, seed=2, limit=11)
        assert episodes(made[name].folder) == episodes(alone.folder)
        assert lasting(made[name].manifest) == lasting(alone.manifest)
        assert made[name].scores() | {"cost": None} == alone.scores() | {"cost": None}
        assert sorted(file.name for file in made[name].folder.iterdir() if not file.name.startswith(".")) == [
            "episodes.jsonl", "measures.jsonl", "run.json", "scores.json",
        ]  # fmt: skip


def test_the_box_plays_where_the_segmenter_takes_boxes(tmp_path: Path) -> None:
    made = ceilings.play("hres_synth", "graphcut", out=tmp_path, limit=2, budget=2)
    assert list(made) == ["oracle", "center", "random", "empty"]


def test_an_image_is_encoded_once_for_all(task: str, tmp_path: Path) -> None:
    """Twenty images, of which the cache holds four."""
    path = tmp_path / "counted.py"
    path.write_text(COUNTED)
    made = ceilings.play(task, str(path), out=tmp_path / "c", budget=2, concurrency=3)
    assert {name: run.scores()["n"] for name, run in made.items()} == dict.fromkeys(PLAYERS, 40)
    assert (tmp_path / "passes").read_text().splitlines() == ["(60, 80, 3)"] * 20


def test_killed_and_resumed_they_are_the_undisturbed_ones(task: str, tool: str, tmp_path: Path) -> None:
    slow = f"{tool},pause=0.01"
    undisturbed = ceilings.play(task, slow, out=tmp_path / "whole")
    words = ["ceilings", "--task", task, "--segmenter", slow, "--out", str(tmp_path / "killed")]
    command = [sys.executable, "-m", "hlmat_bench", *words]
    generator = random.Random(0)
    for _ in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(generator.uniform(0.6, 1.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in ran.stdout.splitlines()[3:8]] == PLAYERS
    for name, run in undisturbed.items():
        assert episodes(run.folder) == episodes(tmp_path / "killed" / run.folder.parent.name / name)


def test_a_run_finds_those_with_its_data_segmenter_and_rules(task: str, tool: str, tmp_path: Path) -> None:
    root = tmp_path / "c"
    made = ceilings.play(task, tool, out=root, limit=4, budget=2)

    def found(name: str, model: str = "random", **more: Any) -> list[str]:
        given = {"segmenter": tool, "limit": 4, "budget": 2} | more
        run = hlmat_bench.run(model, task, out=tmp_path / name, **given)
        there = ceilings.find(run.manifest, root)
        assert all(there[player].folder == made[player].folder for player in there)
        return list(there)

    assert found("same") == PLAYERS
    assert found("painted otherwise", settings={"overlay.color": "blue"}) == PLAYERS
    assert found("with boxes", "gt-box") == PLAYERS
    assert found("fewer", limit=3) == PLAYERS
    assert found("more", limit=5) == found("all", limit=None) == []
    assert found("a part", shard="1/2", limit=2) == []
    assert found("budget", budget=3) == found("seed", seed=1) == found("initial", initial="gt-box") == []
    assert found("segmenter", segmenter=f"{tool},radius=9") == []
    ceilings.play(task, tool, out=root, budget=2)
    assert found("a part", shard="1/2", limit=2) == found("all", limit=None) == PLAYERS
    manifest = json.loads((made["oracle"].folder / "run.json").read_text())
    (made["oracle"].folder / "run.json").write_text(json.dumps(manifest | {"finished": None}))
    assert found("same") == PLAYERS[1:]
    assert ceilings.find(Run(tmp_path / "same").manifest, tmp_path / "nowhere") == {}


def test_the_command_prints_the_table_of_run(task: str, tool: str, tmp_path: Path) -> None:
    words = ["--task", task, "--segmenter", tool, "--out", str(tmp_path), "--limit", "2"]
    shown = CliRunner().invoke(app, ["ceilings", *words])
    assert shown.exit_code == 0, shown.output
    assert "boxes with" in shown.output
    assert "NoC@85" in shown.output
    for name in PLAYERS:
        assert any(line.split()[:2] == [name, "2"] for line in shown.output.splitlines())


def test_a_second_process_is_kept_out(task: str, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.runs.run_lock import RunLock

    made = ceilings.play(task, tool, out=tmp_path, limit=1)
    with RunLock(made["center"].folder), pytest.raises(UsageError, match="Another process is writing"):
        ceilings.play(task, tool, out=tmp_path, limit=2)
