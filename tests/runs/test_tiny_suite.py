"""The suite of hlmat-tiny, its page, and the script that judges a model: played with prepared replies."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.runs.run import run
from hlmat_bench.runs.suites.definition import load_suite
from hlmat_bench.runs.suites.expansion import Cell, expand

ROOT = Path(__file__).resolve().parents[2]
REPLIES = [
    "Current IOU: 0, Positive point: (500, 500)",
    "Current IOU: 40, Negative point: (100, 100)",
    "Current IOU: 30, Positive point: (400, 500)",
    "Current IOU: 20, Finish",
]


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str, str], Cell]:
    plan = expand(load_suite("tiny"))
    return {(name, cell.row, cell.column): cell for name, cells in plan.cells.items() for cell in cells}


def run_of(cell: Cell) -> Any:
    assert cell.run is not None
    return cell.run


def test_tables_share_their_runs(cells: dict[tuple[str, str, str], Cell]) -> None:
    """An hour on two cores is what the suite may cost: the run of fixed steps is played once for five tables."""
    fixed = run_of(cells["figure4", "Fixed steps", "synth_easy"])
    assert fixed is cells["players", "hlmat-tiny", "synth_easy"].run
    assert all(cells["table2", steps, "without PRM"].run is fixed for steps in "1357")
    assert fixed is cells["table4", "Green", "mIoU"].run is cells["table5", "hlmat-tiny", "nothing"].run
    assert fixed is cells["table6", "a token per number", "mIoU"].run
    stop = run_of(cells["figure4", "PRM stop", "synth_easy"])
    assert cells["table2", "7", "with PRM"].run is stop
    assert [run_of(cells["table2", steps, "with PRM"]).budget for steps in "135"] == [1, 3, 5]
    assert len({run_of(cell).name for cell in cells.values()}) == 30


def test_gains_are_those_of_the_claims(cells: dict[tuple[str, str, str], Cell]) -> None:
    pairs = {
        "StaR+, gain over SFT": ("Fixed steps, trained with StaR+", "Fixed steps"),
        "PRM stop, gain over fixed steps": ("PRM stop", "Fixed steps"),
        "Tree search, gain over PRM stop": ("Tree search, 4 candidates", "PRM stop"),
    }
    for column in ("synth_easy", "hres_synth, out of distribution"):
        for gain, (more, less) in pairs.items():
            cell = cells["figure4", gain, column]
            assert (cell.run, cell.minus) == tuple(cells["figure4", row, column].run for row in (more, less))


@pytest.mark.slow
def test_the_suite_and_its_page(tmp_path: Path) -> None:
    """Four samples of each run of figure 4; what is not played keeps a dash, and the page its places."""
    (tmp_path / "replies.json").write_text(json.dumps(REPLIES))
    model = f"scripted,file={tmp_path}/replies.json,points=xy1000"
    rows = ["Fixed steps", "PRM stop", "PRM stop, gain over fixed steps"]
    words = [word for row in rows for word in ("--row", row)] + ["--model", f"tiny={model}", "--set", "prm=reply"]
    ran = CliRunner().invoke(app, ["suite", "tiny", "--limit", "4", "--out", str(tmp_path / "out"), *words])
    assert ran.exit_code == 0, ran.output
    page = shutil.copyfile(ROOT / "docs" / "tiny.md", tmp_path / "tiny.md")
    places = page.read_text().count("<!-- end -->")
    command = [sys.executable, ROOT / "examples" / "tiny" / "tables.py", tmp_path / "out", "--page", page]
    for _ in range(2):  # the second time changes nothing
        subprocess.run(command, check=True)
        written = page.read_text()
        assert written.count("<!-- end -->") == places
        [found] = [line for line in written.splitlines() if line.startswith("- PRM stop, gain over fixed steps, synth")]
        assert "points (" in found
        [table] = [part for part in written.split("<!-- ") if part.startswith("figure4 -->")]
        assert table.count("| Fixed steps |") == 1


@pytest.mark.slow
def test_the_judge_knows_a_perfect_player_that_does_not_look(tmp_path: Path) -> None:
    """The oracle makes no error, whatever the picture and the words are, and never says that it has finished early."""
    command = [sys.executable, ROOT / "examples" / "tiny" / "evaluate.py", "--model", "oracle", "--samples", "3"]
    subprocess.run([*command, "--out", tmp_path, "--name", "mine"], check=True, capture_output=True)
    scores = json.loads((tmp_path / "mine-scores-0-3.json").read_text())
    assert scores["n"] == 3
    for name in ("first_click", "shuffled", "blank", "hit_1", "hit_7", "sign", "stops_when_perfect"):
        assert scores[name]["value"] == 1, name
    for name in ("below_oracle", "stops_early", "invalid"):
        assert scores[name]["value"] == 0, name
    assert 1 / 5 <= scores["random_object"]["value"] <= 1 / 2
    assert scores["iou_error"]["value"] is None  # it predicts nothing
    assert scores["shuffled"]["met"] is False
    assert (
        "| shuffled | 100.0 | 100.0 to 100.0 | 3 | at most 30 | no |" in (tmp_path / "mine-scores-0-3.md").read_text()
    )


@pytest.mark.slow
def test_imperfect_masks_of_synth_easy(tmp_path: Path) -> None:
    """What `refine_synth_easy` begins with is in its band, and what `filter_synth_easy` shows varies."""
    refined = list(run("oracle", "refine_synth_easy", limit=4, budget=2, out=tmp_path / "refine").episodes())
    for episode in refined:
        low, high = episode.initial["band"]
        assert episode.initial["in_band"] == (low <= episode.initial["iou"] <= high)
        assert episode.steps[-1].iou > episode.initial["iou"]
    assert sum(episode.initial["in_band"] for episode in refined) >= 3
    rated = list(run("oracle", "filter_synth_easy", limit=2, out=tmp_path / "filter").episodes())
    for episode in rated:
        assert [step.action.kind for step in episode.steps] == ["predict"] * 5
        assert len({step.iou for step in episode.steps}) > 1
        assert all(step.action.predicted_iou == pytest.approx(step.iou, abs=0.01) for step in episode.steps)
