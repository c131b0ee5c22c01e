"""Suites played: resumed after a kill, with parts that are missing, and skipped when they are done."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.runs.run import run as play_run
from hlmat_bench.runs.run_folder import Run

pytestmark = pytest.mark.slow

TABLES = ("table.md", "table.csv", "table.tex", "table.json")


def write(folder: Path, task: str, tool: str, **changes: Any) -> str:
    """Make a suite of four runs: two players with two budgets, and how much more clicks are worth."""
    suite = {
        "schema": "hlmat-suite/1",
        "name": "small",
        "title": "A small one",
        "models": {"oracle": "oracle", "random": "random"},
        "segmenters": {"tool": tool},
        "tables": [
            {
                "name": "t",
                "title": "T",
                "runs": {"task": task, "segmenter": "tool", "score": "miou"},
                "rows": [
                    {"name": "oracle", "model": "oracle"},
                    {"name": "random", "model": "random"},
                    {"name": "more", "model": "oracle", "minus": "random"},
                ],
                "columns": [{"name": "3", "budget": 3}, {"name": "5"}],
            }
        ],
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**suite, **changes}))
    return str(path)


def suite(*words: str) -> Any:
    return CliRunner().invoke(app, ["suite", *words])


def cells(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    value = json.loads((out / "table.json").read_text())
    return {(cell["row"], cell["column"]): cell for table in value["tables"] for cell in table["cells"]}


def test_killed_and_resumed_it_has_the_table_of_an_undisturbed_one(task: str, tool: str, tmp_path: Path) -> None:
    path = write(tmp_path, task, f"{tool},pause=0.02")
    assert suite(path, "--out", str(tmp_path / "whole")).exit_code == 0
    killed = tmp_path / "killed"
    command = [sys.executable, "-m", "hlmat_bench", "suite", path, "--out", str(killed)]
    for name, blow in (("t__oracle__3", signal.SIGKILL), ("t__random__3", signal.SIGINT)):  # in the middle of these
        episodes = killed / name / "episodes.jsonl"
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not episodes.exists() or len(episodes.read_bytes().splitlines()) < 8:
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(blow)
        assert process.wait() == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130}[blow]
        assert len(episodes.read_bytes().splitlines()) < 40
        assert not (killed / "table.json").exists()
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "4 of 4 runs, 160 of 160 samples" in ran.stderr
    for name in TABLES:
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_its_runs_are_those_of_the_command_run(task: str, tool: str, tmp_path: Path) -> None:
    assert suite(write(tmp_path, task, tool), "--out", str(tmp_path / "s"), "--limit", "6").exit_code == 0
    alone = play_run("oracle", task, tool, budget=3, limit=6, out=tmp_path / "alone")
    ours = Run(tmp_path / "s" / "t__oracle__3")
    for key in ("model", "task", "segmenter", "protocol", "protocol_fingerprint", "points", "seed", "limit"):
        assert ours.manifest[key] == alone.manifest[key]
    assert ours.scores() | {"cost": None} == alone.scores() | {"cost": None}
    cell = cells(tmp_path / "s")["oracle", "3"]
    final = alone.scores()["selection"]["final"]
    assert cell["scores"]["miou"]["value"] == pytest.approx(100 * final["miou"])
    assert cell["scores"]["miou"]["ci"] == pytest.approx([100 * end for end in final["miou_ci"]])
    assert (cell["n"], cell["limit"], cell["rule"]) == (6, 6, "final")


def test_what_is_done_is_not_opened_again(task: str, tool: str, tmp_path: Path) -> None:
    """The segmenter is taken away, so that nothing could be played."""
    gone = tmp_path / "tool.py"
    gone.write_text(Path(tool).read_text())
    path, out = write(tmp_path, task, str(gone)), tmp_path / "s"
    assert suite(path, "--out", str(out), "--limit", "3").exit_code == 0
    before = {name: (out / name).read_bytes() for name in TABLES}
    gone.unlink()
    assert suite(path, "--out", str(out), "--limit", "3").exit_code == 0
    assert {name: (out / name).read_bytes() for name in TABLES} == before
    more = suite(path, "--out", str(out), "--limit", "4")
    assert more.exit_code == 1
    assert "There is no plug-in file" in more.stdout


def test_a_larger_limit_goes_on(task: str, tool: str, tmp_path: Path) -> None:
    path, out = write(tmp_path, task, tool), tmp_path / "s"
    for limit in (3, 5):
        assert suite(path, "--out", str(out), "--limit", str(limit)).exit_code == 0
        assert {cell["n"] for cell in cells(out).values()} == {limit}


def test_what_cannot_be_played_does_not_stop_the_rest(
    task: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its data, its checkpoint, its key, its plug-in, or the run that it takes boxes from."""
    for name in ("OPENAI_API_KEY", "HLMAT_DATA"):
        monkeypatch.delenv(name, raising=False)
    boxes = {"model": "keyless", "strategy": "box-only"}
    rows = [
        {"name": "no data", "task": "hres_dis"},
        {"name": "no checkpoint", "segmenter": "sam"},
        {"name": "no key", "model": "keyless"},
        {"name": "no plug-in", "model": "nobody"},
        {"name": "no boxes", "boxes": boxes},
        {"name": "no predictions", "strategy": "prm"},
        {"name": "fine"},
        {"name": "no difference", "minus": "no data"},
    ]
    runs = {"task": task, "segmenter": "tool", "model": "oracle", "score": "miou"}
    tables = [{"name": "t", "title": "T", "runs": runs, "rows": rows, "columns": [{"name": "A"}]}]
    path = write(
        tmp_path, task, tool,
        models={"oracle": "oracle", "keyless": "openai,model=x,points=xy1000", "nobody": "nobody"},
        segmenters={"tool": tool, "sam": "sam_h"},
        tables=tables,
    )  # fmt: skip
    ran = suite(path, "--out", str(tmp_path / "s"), "--limit", "2")
    assert ran.exit_code == 1
    found = cells(tmp_path / "s")
    assert found["fine", "A"]["n"] == 2
    assert found["fine", "A"]["reason"] is None
    reasons = {row: cell["reason"] for (row, _), cell in found.items() if row != "fine"}
    assert "hres_dis needs a data root" in reasons["no data"]
    assert "checkpoint" in reasons["no checkpoint"]
    assert "OPENAI_API_KEY" in reasons["no key"]
    assert "There is no model called 'nobody'" in reasons["no plug-in"]
    assert reasons["no boxes"] == reasons["no key"]
    assert "needs a predicted IoU" in reasons["no predictions"]
    assert reasons["no difference"] == reasons["no data"]
    assert all(cell["scores"] == {"miou": None} for (row, _), cell in found.items() if row != "fine")
    for reason in reasons.values():
        assert reason in ran.stdout


def test_another_suite_or_other_settings_do_not_mix_in_one_folder(task: str, tool: str, tmp_path: Path) -> None:
    out = str(tmp_path / "s")
    assert suite(write(tmp_path, task, tool), "--out", out, "--limit", "1").exit_code == 0
    other = suite(write(tmp_path, task, tool), "--out", out, "--limit", "1", "--set", "overlay.color=blue")
    assert other.exit_code == 1
    assert "holds another run (protocol.overlay.color" in other.stdout
    named = subprocess.run(
        [sys.executable, "-m", "hlmat_bench", "suite", write(tmp_path, task, tool, name="large"), "--out", out],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert named.returncode == 2
    assert "suite.json belongs to another suite; choose another --out." in named.stderr


def test_usage_errors_end_it_before_anything_is_played(task: str, tool: str, tmp_path: Path) -> None:
    path = write(tmp_path, task, tool)
    for words, sentence in (
        ([path, "--set", "overlay.colour=red"], "There is no setting called 'overlay.colour'."),
        ([path, "--model", "gpt=oracle"], "There is no model of the suite called 'gpt'."),
        (["paper-table7"], "There is no suite called 'paper-table7'."),
    ):
        ran = subprocess.run(
            [sys.executable, "-m", "hlmat_bench", "suite", *words, "--out", str(tmp_path / "s")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ran.returncode == 2
        assert ran.stderr.startswith(f"error: {sentence}")
        assert ran.stderr.count("\n") == 1
        assert not (tmp_path / "s").exists()
