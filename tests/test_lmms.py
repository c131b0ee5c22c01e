"""lmms-eval both ways, with the real package: our engine asks its models, and its command line plays our tasks."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import ImageFile

from hlmat_bench import plugins
from hlmat_bench.content import folder
from hlmat_bench.errors import UsageError
from hlmat_bench.interfaces import BatchModel, Model, Request
from hlmat_bench.records import read_episodes
from hlmat_bench.runs import Run, folder_name, run
from hlmat_bench.tasks import task_names
from hlmat_bench.testing import tiny_vlm

TASKS = folder("tasks") / "lmms"
FAILS = "the topmost wheel"  # in the expression of the second sample
SETTINGS = {"history": True, "overlay.color": "blue", "overlay.alpha": 0.3, "max_tokens": 24}
ON_CPU = {"device": "cpu", "device_map": "cpu"}
#: `lmms-eval eval`, spared its own 3,200 task files, which it would read for every evaluation.
COMMAND_LINE = """
from functools import partial
import lmms_eval.__main__ as command_line
command_line.TaskManager = partial(command_line.TaskManager, include_defaults=False)
command_line.cli_evaluate()
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package that brings lmms-eval a model."""
    place = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("lmms_clicker.py"), place)
    (place / "lmms_clicker_with_more.py").write_text("import a_package_that_nobody_has\n")
    info = place / "lmms_clicker-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lmms-clicker\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[lmms_eval.models]\nclicker = lmms_clicker:MODELS\n")
    return place


@pytest.fixture(scope="module", autouse=True)
def lmms_eval(package: Path) -> Iterator[None]:
    """lmms-eval in this process, offline, with that package, and without its switch for damaged images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.syspath_prepend(str(package))
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", False)
        from lmms_eval import models

        models.MODEL_REGISTRY_V2.load_entrypoint_manifests(overwrite=True)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


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
        common = {"tasks": "hlmat_hres_synth", "include_path": str(TASKS), "output_path": str(place / "results")}
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


def model(**options: Any) -> Any:
    return plugins.build("model", "lmms", {"points": "xy1000", **options})


def outside(out: Path, tool: str, limit: int, **options: Any) -> Run:
    """The run that `inside` plays, the other way round."""
    made = model(resize="fit-long320", **options)
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


def requests(count: int, **changes: Any) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(
            rng.integers(0, 255, (60 + i, 90, 3), dtype=np.uint8), f"where is {i}?", max_tokens=9, seed=i, **changes
        )
        for i in range(count)
    ]


def test_a_turn_of_the_episodes_under_way_is_one_call(tmp_path: Path, tool: str) -> None:
    import lmms_clicker  # type: ignore[import-not-found]

    made = model(name="clicker", batch_size=4)
    assert isinstance(made, Model)
    assert isinstance(made, BatchModel)
    lmms_clicker.CALLS.clear()
    run(made, "hres_synth", tool, budget=3, limit=4, out=tmp_path)
    lengths = [len(episode.steps) for episode in read_episodes(tmp_path / "episodes.jsonl")]
    turns = range(1, max(lengths) + 1)
    assert [sum(length >= t for length in lengths) for t in turns] == lmms_clicker.CALLS


def test_decoding_is_plain_and_complete() -> None:
    import lmms_clicker

    lmms_clicker.DECODING.clear()
    made = model(name="clicker")
    [[reply]] = made.reply_batch(requests(1))
    assert reply.tokens_in == 7
    assert reply.tokens_out == 5
    made.reply_batch(requests(1, temperature=0.5))
    greedy, drawn = lmms_clicker.DECODING
    assert greedy == {
        "until": [], "max_new_tokens": 9, "temperature": 0.0, "do_sample": False, "top_p": 1.0, "num_beams": 1
    }  # fmt: skip
    assert drawn == greedy | {"temperature": 0.5, "do_sample": True}


def test_draws_come_from_the_seed_and_differ(checkpoints: dict[str, Path]) -> None:
    made = model(name="qwen2_5_vl", pretrained=str(checkpoints["random"]), batch_size=2, **ON_CPU)
    asked = requests(2, temperature=1.0, n=3)
    first, again = made.reply_batch(asked), made.reply_batch(asked)
    texts = [[reply.text for reply in replies] for replies in first]
    assert texts == [[reply.text for reply in replies] for replies in again]
    assert all(len(set(replies)) == 3 for replies in texts)
    greedy = made.reply_batch(requests(2, n=3))
    assert all(len({reply.text for reply in replies}) == 1 and len(replies) == 3 for replies in greedy)
    [alone] = asyncio.run(made.reply(requests(1)[0]))
    assert alone.text == greedy[0][0].text


def test_secrets_stay_out_of_the_manifest_and_the_folder(tmp_path: Path, tool: str) -> None:
    spec = "lmms,name=clicker,points=xy1000,pretrained=x,fails=no"
    made = model(name="clicker", pretrained="x", log=str(tmp_path / "log"))
    assert made.spec()["options"] == {"pretrained": "x", "log": str(tmp_path / "log")}
    from hlmat_bench.lmms import convention

    hidden = convention.describe("openai", "chat", {"api_key": "sk-1", "hf_token": "hf_1", "max_new_tokens": 9})
    assert hidden["options"] == {"api_key": "***", "hf_token": "***", "max_new_tokens": 9}
    assert "sk-1" not in folder_name(spec + ",api_key=sk-1", "hres_synth", "graphcut", None)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "qwen2_5vl"}, "no model of lmms-eval called 'qwen2_5vl'. Did you mean qwen2_5_vl"),
        ({"name": "clicker", "points": None}, "lmms needs name="),
        ({"name": "clicker", "colour": "red"}, "cannot be made with colour"),
        ({"name": "needs_more"}, "run: pip install a_package_that_nobody_has"),
        ({"name": "clicker", "continual_mode": True}, "Leave out continual_mode"),
        ({"name": "qwen2_5_vl", "pretrained": "/no/such/folder", **ON_CPU}, "check its options"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        model(**options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_raises_has_failed_and_one_that_cannot_run_here_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import lmms_clicker

    from hlmat_bench.errors import RequestFailed

    made = model(name="clicker")
    for raised, expected in ((RuntimeError("odd\nshape"), RequestFailed), (AssertionError("no CUDA"), UsageError)):

        def fail(self: Any, asked: Any, raised: Exception = raised) -> list[Any]:
            raise raised

        monkeypatch.setattr(lmms_clicker.ChatClicker, "generate_until", fail)
        with pytest.raises(expected, match="clicker"):
            made.reply_batch(requests(1))


def test_every_task_of_ours_is_one_of_lmms_eval(package: Path) -> None:
    from lmms_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert manager.match_tasks(["hlmat_*"]) == sorted(f"hlmat_{name}" for name in task_names())
    assert len(manager.match_tasks(["hlmat_res_*"])) == 8
    for name in task_names():
        text = (TASKS / f"hlmat_{name}.yaml").read_text()
        assert f"metadata: {{hlmat: {{task: {name}}}}}" in text


def test_the_command_prints_the_folder() -> None:
    ran = subprocess.run([sys.executable, "-m", "hlmat_bench", "lmms", "tasks"], capture_output=True, text=True)
    assert Path(ran.stdout.strip()) == TASKS


def inner(**fields: Any) -> Any:
    """The task as lmms-eval makes it from a YAML file."""
    from hlmat_bench.lmms.task import HlmatTask

    return HlmatTask({"task": "mine", "metadata": {"hlmat": {"task": "hres_synth", "points": "xy1000", **fields}}})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"points": None}, "HLMAT_POINTS"),
        ({"points": "xy12"}, "xy12"),
        ({"task": "hres_sinth"}, "Did you mean hres_synth"),
        ({"segmentor": "graphcut"}, "Did you mean segmenter"),
        ({"budget": "many"}, "HLMAT_BUDGET"),
        ({"settings": "{"}, "HLMAT_SETTINGS"),
    ],
)
def test_a_wrong_field_ends_lmms_eval_with_one_sentence(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SystemExit) as end:
        inner(**fields)
    assert sentence in str(end.value.code)


@pytest.mark.parametrize(
    ("given", "build", "sentence"),
    [
        ({"gen_kwargs": "temperature=1"}, {}, "--gen_kwargs"),
        ({"system_instruction": "be brief"}, {}, "--system_instruction"),
        ({}, {"offset": 3}, "--offset"),
        ({}, {"world_size": 2}, "one process"),
        (None, {}, "HLMAT_MODEL"),
    ],
)
def test_what_would_change_the_protocol_is_refused(
    given: dict[str, Any] | None, build: dict[str, Any], sentence: str
) -> None:
    task = inner()
    if given is not None:
        plain = {"model": "clicker", "model_args": "", "device": None, "force_simple": False}
        task.args = argparse.Namespace(**plain, **given)
    with pytest.raises(SystemExit) as end:
        task.build_all_requests(**build)
    assert sentence in str(end.value.code)


def test_the_environment_replaces_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    from hlmat_bench.lmms.options import Options

    section = {"task": "hres_synth", "points": "xy1000", "budget": 3}
    read = Options.read(section, {"HLMAT_POINTS": "yx1", "HLMAT_SETTINGS": "{history: true}", "HLMAT_TASK": "davis"})
    assert (read.points, read.budget, read.settings, read.task) == ("yx1", 3, {"history": True}, "hres_synth")
