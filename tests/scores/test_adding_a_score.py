"""The score of docs/adding-a-score.md shows wherever scores show, with the value that its records give by hand."""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from hlmat_bench.cli import app
from hlmat_bench.protocol.records import read_episodes
from hlmat_bench.scores import further, registry
from hlmat_bench.scores.episodes import EpisodeScores, score_episode
from tests.support import episodes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-score.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def declared() -> Iterator[None]:
    """Declare the score of the page, as its file would."""
    exec(compile(blocks("python")[0], str(PAGE), "exec"), vars(further))
    yield
    del registry.further()["first_iou"]


@pytest.fixture
def shown(declared: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the commands of the page print, called in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    Path("board/entries").mkdir(parents=True)
    printed = []
    for line in blocks("sh")[0].splitlines():
        result = CliRunner().invoke(app, shlex.split(line)[1:], catch_exceptions=False)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        printed.append(result.stdout)
    return printed


def by_hand(folder: str) -> float:
    """Return the mean of the recorded IoUs after the first click."""
    return float(np.mean([one.iou_at(1) for one in read_episodes(Path(folder) / "episodes.jsonl")]))


def test_the_test_of_the_page(declared: None) -> None:
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[1], str(PAGE), "exec"), names)
    names["test_first_iou"]()


def test_it_shows_everywhere(shown: list[str]) -> None:
    oracle, random = by_hand("runs/oracle"), by_hand("runs/random")
    assert 0.1 < oracle < 1
    found = json.loads(Path("runs/oracle/scores.json").read_text())["further"]["first_iou"]
    assert (found["value"], found["n"]) == (pytest.approx(oracle), 4)
    low, high = found["ci"]
    assert low <= oracle <= high

    cell = f"{100 * oracle:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    for printed in (shown[0], shown[2]):
        assert "First IoU" in printed
        assert cell in printed
    [compared] = [line for line in shown[4].splitlines() if line.startswith("First IoU")]
    assert f"{100 * (oracle - random):+.1f} [".replace("-", "−") in compared

    report = Path("runs/oracle/report/index.html").read_text()
    labelled = rf'<p class="label">First IoU\b(?:(?!</p>).)*</p><p class="value">{100 * oracle:.1f}</p>'
    assert re.search(labelled, report, re.DOTALL)
    assert "The mean IoU over samples after the first click." in report
    comparison = Path("runs/both/index.html").read_text()
    assert '<th scope="row">First IoU</th>' in comparison
    assert all(f"{100 * value:.1f} [" in comparison for value in (oracle, random))

    entry = json.loads(Path("board/entries/oracle.json").read_text())
    assert entry["scores"]["further"] == {"first_iou": found}
    for page in ("group-synth.html", "entries/oracle.html"):
        assert "First IoU" in (Path("site") / page).read_text(), page
    with Path("site/data/synth.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    assert float(row["first_iou"]) == found["value"]


def test_a_suite_shows_it_and_verification_computes_it_again(shown: list[str]) -> None:
    line = {"name": "only"}
    suite = {
        "schema": "hlmat-suite/1", "name": "mine", "title": "Mine", "models": {"m": "oracle"},
        "segmenters": {"s": "graphcut"},
        "tables": [
            {
                "name": "t", "title": "T", "rows": [line], "columns": [line],
                "runs": {
                    "task": "hres_synth", "model": "m", "segmenter": "s", "budget": 2, "limit": 4, "score": "first_iou",
                },
            }
        ],
    }  # fmt: skip
    Path("mine.yaml").write_text(yaml.safe_dump(suite))
    result = CliRunner().invoke(app, ["suite", "mine.yaml", "--out", "suite"], catch_exceptions=False)
    assert "First IoU" in result.stdout
    [cell] = json.loads(Path("suite/table.json").read_text())["tables"][0]["cells"]
    assert cell["scores"]["first_iou"]["value"] == pytest.approx(100 * by_hand("runs/oracle"))

    verify = ["leaderboard", "verify", "board/entries/oracle.json", "--run", "runs/oracle"]
    assert "recomputed" in CliRunner().invoke(app, verify).stdout
    path = Path("board/entries/oracle.json")
    entry = json.loads(path.read_text())
    entry["scores"]["further"]["first_iou"]["value"] += 0.01
    path.write_text(json.dumps(entry))
    refused = CliRunner().invoke(app, verify)
    assert refused.exit_code == 1
    assert "scores.further.first_iou.value" in refused.stdout
    del entry["scores"]["further"]  # made before the score was declared
    path.write_text(json.dumps(entry))
    assert "recomputed" in CliRunner().invoke(app, verify).stdout


def test_a_ratio_is_a_sum_over_a_sum_and_null_where_there_is_nothing_to_divide_by() -> None:
    def covered(sample: EpisodeScores) -> tuple[float, float]:
        return sample.intersection[-1], sample.union[0]

    registry.score("covered", title="Covered", definition="What is covered of all objects.", ratio=True)(covered)
    try:
        found = []
        for sizes in ((1, 9), (0, 0)):
            gts = [np.arange(10).reshape(1, 10) < size for size in sizes]
            half = np.arange(10).reshape(1, 10) < 3
            made = [episodes.episode(str(n), gt, [(episodes.click(True, 0, 0), half)]) for n, gt in enumerate(gts)]
            found.append(registry.further_scores([score_episode(one, 2) for one in made])["covered"])
    finally:
        del registry.further()["covered"]
    assert found[0]["value"] == (1 + 3) / (1 + 9)
    assert found[1] == {"value": None, "ci": None, "n": 2}


@pytest.mark.parametrize("key", ["miou", "noc@85", "First", "a b", "", "wins", "id"])
def test_keys_that_are_taken_or_no_names_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match="no key for a new score"):
        registry.score(key, title="T", definition="D")


def test_a_function_that_does_not_return_what_it_declares_is_named() -> None:
    made = registry.score("odd", title="T", definition="D", ratio=True)
    made(lambda sample: sample.score)
    gt = np.ones((1, 2), bool)
    try:
        with pytest.raises(TypeError, match="odd has ratio=True"):
            score_episode(episodes.episode("a", gt, [(episodes.click(True, 0, 0), gt)]), 2)
    finally:
        del registry.further()["odd"]
