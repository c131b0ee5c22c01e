"""lmms-eval both ways, with the real package: our engine asks its models, and its command line plays our tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hlmat_bench.core.content import folder
from hlmat_bench.runs.opening import folder_name
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import tiny_vlm
from tests.support import lmms_site
from tests.support.lmms_site import ON_CPU

pytestmark = pytest.mark.slow

FAILS = "the topmost wheel"  # in the expression of the second sample
FAILING = {"fails": FAILS, "api_key": "sk-0123456789"}
SETTINGS = {"history": True, "overlay.color": "blue", "overlay.alpha": 0.3, "max_tokens": 24}
#: `lmms-eval eval`, spared its own 3,200 task files, which it would read for every evaluation.
COMMAND_LINE = """
from functools import partial
import lmms_eval.__main__ as command_line
command_line.TaskManager = partial(command_line.TaskManager, include_defaults=False)
command_line.cli_evaluate()
"""
#: A user's own task file for lmms-eval.
MINE = """
task: mine
class: !function hlmat_bench.runs.lmms_eval.task.HlmatTask
metadata: {hlmat: {task: hres_synth, model: drawn, settings: {temperature: 0.9}}}
"""


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """lmms-eval in this process, with a user's package."""
    with lmms_site.entered(tmp_path_factory.mktemp("site")) as place:
        yield place


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that says what depends on the image, and one that recites a click."""
    place = tmp_path_factory.mktemp("vlm")
    return {
        "random": tiny_vlm(place / "random"),
        "reciting": tiny_vlm(place / "reciting", says=["Positive", " point:", " (300,", " 600)"]),
    }


class Inside:
    """What `lmms-eval eval` did with our tasks: several evaluations of one call, then one with a cache.

    The first goes on with a run of ours that played two samples.
    """

    def __init__(self, place: Path, package: Path, tool: str, checkpoints: dict[str, Path]) -> None:
        self.place, self.log = place, place / "asked.log"
        begun = place / "runs" / folder_name("lmms-eval.chat", "hres_synth", tool)
        outside(begun, tool, 2, name="clicker", pretrained="chat", log=str(self.log), **FAILING)
        (place / "mine").mkdir()
        (place / "mine" / "mine.yaml").write_text(MINE)
        config = place / "evaluations.yaml"
        config.write_text(yaml.safe_dump(self._evaluations(checkpoints)))
        self.ran = subprocess.run(
            [sys.executable, "-c", COMMAND_LINE, "--config", config, "--log_samples"],
            cwd=place,
            env=os.environ | self._environment(package, tool),
            capture_output=True,
            text=True,
            check=False,
        )
        self.asked = len(self.log.read_text().splitlines())

    def _evaluations(self, checkpoints: dict[str, Path]) -> list[dict[str, Any]]:
        ours = {"tasks": "hlmat_hres_synth", "include_path": str(folder("tasks") / "lmms")}
        mine = {"tasks": "mine", "include_path": str(self.place / "mine")}
        clicker = {"model": "clicker", "limit": 5} | ours
        qwen = {"model": "qwen2_5_vl", "limit": 2, "device": "cpu"} | ours
        random, reciting = (f"pretrained={checkpoints[name]},device_map=cpu" for name in ("random", "reciting"))
        failing = ",".join(f"{key}={value}" for key, value in FAILING.items())
        evaluations = [
            clicker | {"model_args": f"pretrained=chat,log={self.log},{failing}"},
            clicker | {"model_args": f"pretrained=simple,{failing}", "force_simple": True},
            qwen | {"model_args": random},
            qwen | {"model_args": reciting, "force_simple": True},
            qwen | {"model_args": random} | mine,
            clicker | {"model_args": "pretrained=cached", "use_cache": str(self.place / "cache")},
        ]
        return [evaluation | {"output_path": str(self.place / "results")} for evaluation in evaluations]

    def _environment(self, package: Path, tool: str) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join([str(package), *sys.path]),
            "HF_HOME": str(self.place / "hf"),
            "HLMAT_POINTS": "xy1000",
            "HLMAT_RESIZE": "fit-long320",
            "HLMAT_SEGMENTER": tool,
            "HLMAT_BUDGET": "4",
            "HLMAT_SETTINGS": json.dumps(SETTINGS),
            "HLMAT_OUT": str(self.place / "runs"),
        }

    def run(self, name: str) -> Run:
        [found] = (self.place / "runs").glob(f"lmms-eval.{name}__hres_synth__*")
        return Run(found)

    def results(self) -> list[dict[str, float]]:
        """Return the metrics of each evaluation, in their order."""
        files = sorted((self.place / "results").rglob("*results.json"), key=lambda path: path.stat().st_mtime_ns)
        return [next(iter(json.loads(file.read_text())["results"].values())) for file in files]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, package: Path, tool: str, checkpoints: dict[str, Path]) -> Inside:
    return Inside(tmp_path_factory.mktemp("inside"), package, tool, checkpoints)


def outside(out: Path, tool: str, limit: int, settings: Mapping[str, Any] = SETTINGS, **options: Any) -> Run:
    """Play the run of `inside` the other way round."""
    made = lmms_site.model(resize="fit-long320", **options)
    return run(made, "hres_synth", tool, budget=4, limit=limit, out=out, settings=settings)


def told(played: Run) -> list[dict[str, Any]]:
    """Return the episodes without what is measured anew each time."""
    episodes = [episode.to_json() for episode in played.episodes()]
    for episode in episodes:
        for step in episode["steps"]:
            del step["seconds"], step["tokens"]
    return episodes


def identity(played: Run) -> dict[str, Any]:
    return {key: played.manifest[key] for key in played.manifest if key not in ("argv", "started", "finished", "limit")}


@pytest.mark.parametrize(("name", "simple"), [("chat", False), ("simple", True)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_both_ways_give_the_same_episodes(
    inside: Inside, tmp_path: Path, tool: str, name: str, simple: bool, batch_size: int
) -> None:
    options = {"pretrained": name, **FAILING, **({} if simple else {"log": str(inside.log)})}
    ours = outside(tmp_path, tool, 5, name="clicker", force_simple=simple, batch_size=batch_size, **options)
    theirs = inside.run(name)
    assert told(theirs) == told(ours)
    assert identity(theirs) == identity(ours)
    assert theirs.scores()["selection"] == ours.scores()["selection"]
    assert {"budget", "error"} <= {episode.stop for episode in ours.episodes()}


@pytest.mark.parametrize(("checkpoint", "simple"), [("random", False), ("reciting", True)])
def test_both_ways_agree_on_a_model_of_lmms_eval_itself(
    inside: Inside, tmp_path: Path, tool: str, checkpoints: dict[str, Path], checkpoint: str, simple: bool
) -> None:
    path = str(checkpoints[checkpoint])
    ours = outside(tmp_path, tool, 2, name="qwen2_5_vl", pretrained=path, force_simple=simple, **ON_CPU)
    assert told(inside.run(checkpoint)) == told(ours)
    assert identity(inside.run(checkpoint)) == identity(ours)
    kinds = [[step.action.kind for step in episode.steps] for episode in ours.episodes()]
    assert kinds == ([["click", "invalid"]] * 2 if simple else [["invalid"]] * 2)


def test_both_ways_draw_the_same(inside: Inside, tmp_path: Path, tool: str, checkpoints: dict[str, Path]) -> None:
    settings = SETTINGS | {"temperature": 0.9}
    ours = outside(tmp_path, tool, 2, settings, name="qwen2_5_vl", pretrained=str(checkpoints["random"]), **ON_CPU)
    assert told(inside.run("drawn")) == told(ours)
    said = [step.raw for episode in ours.episodes() for step in episode.steps]
    assert len(set(said)) == 8


def test_a_failure_string_is_a_failure_in_both_directions(inside: Inside, tmp_path: Path, tool: str) -> None:
    ours = outside(tmp_path, tool, 5, name="clicker", batch_size=5, **FAILING)
    for played in (inside.run("chat"), ours):
        failed = [episode for episode in played.episodes() if episode.stop == "error"]
        assert [episode.expression for episode in failed] == [FAILS]
        [step] = failed[0].steps
        assert (step.raw, step.action.reason) == (None, "api")
        assert "Incorrect API key provided: ***." in (failed[0].error or "")
        assert played.scores()["n"] == 5


def test_inside_lmms_eval_a_run_goes_on_and_nothing_is_asked_twice(inside: Inside) -> None:
    episodes = list(inside.run("chat").episodes())
    assert (inside.run("chat").manifest["limit"], len(episodes)) == (5, 5)
    [failed] = map(json.loads, (inside.run("chat").folder / "history.jsonl").read_text().splitlines())  # asked again
    assert inside.asked == sum(len(episode.steps) for episode in episodes) + len(failed["steps"])


def test_lmms_eval_reports_our_scores(inside: Inside) -> None:
    results = inside.results()
    for name, reported in zip(("chat", "simple", "random", "reciting", "drawn"), results, strict=True):
        scores = inside.run(name).scores()
        last = [episode.steps[-1].iou for episode in inside.run(name).episodes()]
        assert reported["miou,none"] == pytest.approx(np.mean(last))
        assert reported["ciou,none"] == scores["selection"]["final"]["ciou"]
        assert reported["noc@80,none"] == scores["noc"]["0.80"]["mean"]
        assert reported["auc,none"] == scores["auc"]


def test_no_key_is_in_any_file(inside: Inside, tmp_path: Path, tool: str) -> None:
    outside(tmp_path / "ours", tool, 2, name="clicker", **FAILING)
    files = [*(inside.place / "runs").rglob("*"), *tmp_path.rglob("*")]
    written = [file.read_text() for file in files if file.is_file()]
    assert any('"api_key": "***"' in text for text in written)
    assert not any(FAILING["api_key"] in text for text in [*written, *map(str, files)])


def test_the_response_cache_is_refused_in_one_sentence(inside: Inside) -> None:
    assert inside.ran.returncode == 1
    assert "--use_cache" in inside.ran.stderr.splitlines()[-1]
    assert inside.ran.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in inside.ran.stderr
    assert not list((inside.place / "runs").glob("*cached*"))
