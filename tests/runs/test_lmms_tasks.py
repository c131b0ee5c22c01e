"""Our tasks as lmms-eval makes them from their YAML files; what it does with them is in test_lmms_both_ways.py."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageFile

from hlmat_bench.core.content import folder
from hlmat_bench.data.tasks import load_task, task_names
from hlmat_bench.runs.lmms_eval.options import Options
from tests.support import lmms_site

pytestmark = pytest.mark.slow

TASKS = folder("tasks") / "lmms"


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """lmms-eval in this process, with a user's package."""
    with lmms_site.entered(tmp_path_factory.mktemp("site")) as place:
        yield place


def test_every_task_of_ours_is_one_of_lmms_eval() -> None:
    from lmms_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    tasks = [load_task(name) for name in task_names()]
    ours = [task.name for task in tasks if task.kind != "filtering" and task.group != "train"]
    assert manager.match_tasks(["hlmat_*"]) == sorted(f"hlmat_{name}" for name in ours)
    assert len(manager.match_tasks(["hlmat_res_refcoco*"])) == 8
    for name in ours:
        text = (TASKS / f"hlmat_{name}.yaml").read_text()
        assert f"metadata: {{hlmat: {{task: {name}}}}}" in text


def test_the_command_prints_the_folder() -> None:
    ran = subprocess.run([sys.executable, "-m", "hlmat_bench", "lmms", "tasks"], capture_output=True, text=True)
    assert Path(ran.stdout.strip()) == TASKS


def inner(**fields: Any) -> Any:
    """Return the task as lmms-eval makes it from a YAML file."""
    from hlmat_bench.runs.lmms_eval.task import HlmatTask

    return HlmatTask({"task": "mine", "metadata": {"hlmat": {"task": "hres_synth", "points": "xy1000", **fields}}})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"points": None}, "HLMAT_POINTS"),
        ({"points": "xy12"}, "xy12"),
        ({"task": "hres_sinth"}, "Did you mean hres_synth"),
        ({"task": "filter_hres_synth"}, "filter_hres_synth asks for IoUs, which lmms-eval has no metrics for"),
        ({"segmentor": "graphcut"}, "Did you mean segmenter"),
        ({"budget": "many"}, "HLMAT_BUDGET"),
        ({"settings": "{"}, "HLMAT_SETTINGS"),
        ({"settings": "history"}, "HLMAT_SETTINGS"),
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


def test_a_damaged_image_is_an_error_inside_lmms_eval_too(
    boxes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lmms-eval tells Pillow to fill up such images; the switch is as it was afterwards."""
    shutil.copytree(boxes, tmp_path / "data")
    picture = tmp_path / "data" / "images" / "0.png"
    picture.write_bytes(picture.read_bytes()[:-2000])
    task = inner(task=str(tmp_path / "data" / "boxes.yaml"), model="nobody", out=str(tmp_path / "runs"))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    task.build_all_requests(limit=1)
    [episode] = task.instances
    with pytest.raises(SystemExit, match="0.png cannot be read"):
        _ = episode.args
    assert ImageFile.LOAD_TRUNCATED_IMAGES


def test_a_strategy_that_mixes_decodings_is_refused(boxes: Path, tmp_path: Path) -> None:
    """lmms-eval's loop keeps the decoding of an episode's first round; a tree draws, and then judges greedily."""
    searching = {"strategy": "tree", "settings": {"prm": "reply", "candidates": 2}}
    task = inner(task=str(boxes / "boxes.yaml"), model="nobody", out=str(tmp_path / "runs"), **searching)
    task.build_all_requests(limit=1)
    _, decoding, _, following, *_ = task.instances[0].args
    assert decoding["do_sample"]
    following(None, ["Current IOU: 0, Positive point: (300, 300)"])
    with pytest.raises(SystemExit, match="decodes all replies of an episode alike"):
        following(None, ["Current IOU: 0, Positive point: (600, 600)"])


def test_the_environment_replaces_a_field() -> None:
    section = {"task": "hres_synth", "points": "xy1000", "budget": 3, "settings": {"history": False, "jpeg": 75}}
    read = Options.read(section, {"HLMAT_POINTS": "yx1", "HLMAT_SETTINGS": "{history: true}", "HLMAT_TASK": "davis"})
    assert (read.points, read.budget, read.settings, read.task) == (
        "yx1",
        3,
        {"history": True, "jpeg": 75},
        "hres_synth",
    )
