"""The commands of a leaderboard: submit, verify and build."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.leaderboard import repository
from tests.support import boards


@pytest.mark.slow
def test_the_command_line_submits_verifies_and_records(task: str, tool: str, tmp_path: Path) -> None:
    run = boards.play(tmp_path / "run", task, tool).folder
    folder = tmp_path / "board" / "entries"
    folder.mkdir(parents=True)
    runner = CliRunner()
    declared = ["--submitter", "Me", "--training-data", "None", "--closed-weights", "--link", "https://example.org"]
    declared += ["--report", "https://example.org/report/"]
    said = runner.invoke(app, ["leaderboard", "submit", str(run), *declared, "--name", "mine", "--out", str(folder)])
    assert said.exit_code == 0, said.output
    entry = folder / "mine.json"
    assert json.loads(entry.read_text())["weights"] == "closed"
    assert json.loads(entry.read_text())["report"] == "https://example.org/report/"
    said = runner.invoke(app, ["leaderboard", "verify", str(entry), "--run", str(run), "--record"])
    assert (said.exit_code, "mine.json: recomputed" in said.output) == (0, True)
    [listed] = repository.read_repository(tmp_path / "board").listed
    assert listed.level == "recomputed"

    copied = [*declared, "--name", "copied", "--title", "Other", "--out", str(folder)]
    assert runner.invoke(app, ["leaderboard", "submit", str(run), *copied]).exit_code == 0
    said = runner.invoke(app, ["leaderboard", "verify", str(folder / "copied.json")])
    assert said.exit_code == 0
    assert "copied.json: the same run as mine" in " ".join(said.output.split())
    said = runner.invoke(app, ["leaderboard", "build", str(tmp_path / "board")])
    assert "mine is the same run as copied" in " ".join(said.output.split())  # of one day, the first id is the first
    (folder / "copied.json").unlink()

    value = json.loads(entry.read_text())
    entry.write_text(json.dumps(value | {"title": "Another name"}))
    [listed] = repository.read_repository(tmp_path / "board").listed
    assert listed.level == "schema"  # the level was that of another file

    value["scores"]["selection"]["final"]["miou"] = 0.99
    entry.write_text(json.dumps(value))
    said = runner.invoke(app, ["leaderboard", "verify", str(entry), "--run", str(run)])
    assert (said.exit_code, "FAILED mine.json: scores.selection.final.miou" in said.output) == (1, True)
    with pytest.raises(UsageError, match="contradicts itself"):
        repository.read_repository(tmp_path / "board")
