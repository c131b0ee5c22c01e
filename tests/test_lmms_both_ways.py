"""lmms-eval both ways, with the real package: our engine asks its models, and its command line plays our tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hlmat_bench.content import folder
from hlmat_bench.runs import Run, folder_name, run
from hlmat_bench.testing import tiny_vlm
from tests import lmms_site
from tests.lmms_site import ON_CPU

FAILS = "the topmost wheel"  # in the expression of the second sample
SETTINGS = {"history": True, "overlay.color": "blue", "overlay.alpha": 0.3, "max_tokens": 24}
#: `lmms-eval eval`, spared its own 3,200 task files, which it would read for every evaluation.
COMMAND_LINE = """
from functools import partial
import lmms_eval.__main__ as command_line
command_line.TaskManager = partial(command_line.TaskManager, include_defaults=False)
command_line.cli_evaluate()
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
        clicker = {"model": "clicker", "limit": 5}
        options = f"fails={FAILS},log={self.log}"
        qwen = {"model": "qwen2_5_vl", "limit": 2, "device": "cpu"}
        evaluations = [
            clicker | {"model_args": f"pretrained=chat,{options}"},
            clicker | {"model_args": f"pretrained=simple,fails={FAILS}", "force_simple": True},
            qwen | {"model_args": f"pretrained={checkpoints['random']},device_map=cpu"},
            qwen | {"model_args": f"pretrained={checkpoints['reciting']},device_map=cpu", "force_simple": True},
            clicker | {"model_args": "pretrained=cached", "use_cache": str(place / "cache")},
        ]
        begun = place / "runs" / folder_name("lmms-eval.chat", "hres_synth", tool, None)
        outside(begun, tool, 2, name="clicker", pretrained="chat", fails=FAILS, log=str(self.log))
        common = {
            "tasks": "hlmat_hres_synth",
            "include_path": str(folder("tasks") / "lmms"),
            "output_path": str(place / "results"),
        }
        config = place / "evaluations.yaml"
        config.write_text(yaml.safe_dump([common | evaluation for evaluation in evaluations]))
        self.ran = subprocess.run(
            [sys.executable, "-c", COMMAND_LINE, "--config", config, "--log_samples"],
            cwd=place,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join([str(package), *sys.path]),
                "HF_HOME": str(place / "hf"),
                "OMP_NUM_THREADS": "1",
                "HLMAT_POINTS": "xy1000",
                "HLMAT_RESIZE": "fit-long320",
                "HLMAT_SEGMENTER": tool,
                "HLMAT_BUDGET": "4",
                "HLMAT_SETTINGS": json.dumps(SETTINGS),
                "HLMAT_OUT": str(place / "runs"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.asked = len(self.log.read_text().splitlines())

    def run(self, name: str) -> Run:
        [found] = (self.place / "runs").glob(f"lmms-eval.{name}__hres_synth__*")
        return Run(found)

    def results(self) -> list[dict[str, float]]:
        """The metrics of each evaluation, in their order."""
        files = sorted((self.place / "results").rglob("*results.json"), key=lambda path: path.stat().st_mtime_ns)
        return [json.loads(file.read_text())["results"]["hlmat_hres_synth"] for file in files]


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory, package: Path, tool: str, checkpoints: dict[str, Path]) -> Inside:
    return Inside(tmp_path_factory.mktemp("inside"), package, tool, checkpoints)


def outside(out: Path, tool: str, limit: int, **options: Any) -> Run:
    """The run that `inside` plays, the other way round."""
    made = lmms_site.model(resize="fit-long320", **options)
    return run(made, "hres_synth", tool, budget=4, limit=limit, out=out, settings=SETTINGS)


def told(played: Run) -> list[dict[str, Any]]:
    """The episodes without what is measured anew each time."""
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
    options = {"pretrained": name, "fails": FAILS, **({} if simple else {"log": str(inside.log)})}
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


def test_a_failure_string_is_a_failure_in_both_directions(inside: Inside, tmp_path: Path, tool: str) -> None:
    ours = outside(tmp_path, tool, 5, name="clicker", fails=FAILS, batch_size=5)
    for played in (inside.run("chat"), ours):
        failed = [episode for episode in played.episodes() if episode.stop == "error"]
        assert [episode.expression for episode in failed] == [FAILS]
        [step] = failed[0].steps
        assert (step.raw, step.action.reason) == (None, "api")
        assert "Connection refused" in (failed[0].error or "")
        assert played.scores()["n"] == 5


def test_inside_lmms_eval_a_run_goes_on_and_nothing_is_asked_twice(inside: Inside) -> None:
    episodes = list(inside.run("chat").episodes())
    assert (inside.run("chat").manifest["limit"], len(episodes)) == (5, 5)
    assert inside.asked == sum(len(episode.steps) for episode in episodes)


def test_lmms_eval_reports_our_scores(inside: Inside) -> None:
    results = inside.results()
    assert len(results) == 4
    for name, reported in zip(("chat", "simple", "random", "reciting"), results, strict=True):
        scores = inside.run(name).scores()
        last = [episode.steps[-1].iou for episode in inside.run(name).episodes()]
        assert reported["miou,none"] == pytest.approx(np.mean(last))
        assert reported["ciou,none"] == scores["selection"]["final"]["ciou"]
        assert reported["noc@80,none"] == scores["noc"]["0.80"]["mean"]
        assert reported["auc,none"] == scores["auc"]


def test_the_response_cache_is_refused_in_one_sentence(inside: Inside) -> None:
    assert inside.ran.returncode == 1
    assert "--use_cache" in inside.ran.stderr.splitlines()[-1]
    assert inside.ran.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in inside.ran.stderr
    assert not list((inside.place / "runs").glob("*cached*"))
