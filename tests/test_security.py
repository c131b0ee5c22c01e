"""What SECURITY.md claims, as far as no other test tries it."""

from __future__ import annotations

import json
import os
import re
import tracemalloc
from pathlib import Path

import pytest

from hlmat_bench.cli import app
from hlmat_bench.core import files
from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.data.tasks import load_task
from hlmat_bench.reports.build import report
from hlmat_bench.runs.run import run
from hlmat_bench.runs.run_folder import Run
from tests.support.data_files import write_json, write_task

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import pathlib

pathlib.Path({marker!r}).write_text("ran")
"""


def test_every_claim_names_tests_that_are_there() -> None:
    text = (ROOT / "SECURITY.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text)
    assert len(named) > 20
    for path, name in named:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path}::{name}"
    claims = re.split(
        r"^- ", text.partition("## What does not run code")[2].partition("## Keys")[0], flags=re.MULTILINE
    )
    assert [claim for claim in claims[1:] if "::test_" not in claim] == []


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:pathlib.Path.touch [MARKER]",
        "!!python/object/new:os.system [touch MARKER]",
        "!!python/module:antigravity",
        "a: !!python/name:os.system",
        "!unknown {a: 1}",
    ],
)
def test_yaml_makes_no_objects(text: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    (tmp_path / "a.yaml").write_text(text.replace("MARKER", str(marker)))
    with pytest.raises(UsageError, match="not readable YAML"):
        files.read(tmp_path / "a.yaml", "file")
    assert not marker.exists()


def test_yaml_anchors_take_no_memory(tmp_path: Path) -> None:
    """Nine levels of nine references, of which a copy would be 387 million texts."""
    lines = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path = tmp_path / "own.yaml"
    path.write_text("\n".join(["name: own", "source: {kind: table}", *lines]))
    tracemalloc.start()
    with pytest.raises(UsageError):
        load_task(path)
    assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["../own.yaml", "/etc/passwd", "..\\own.yaml", "a/../../own.yaml"])
def test_names_in_annotations_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "expressions.csv").write_text(f"image,mask,expression\n{name},a.png,it\n")
    shape = {"id": 1, "image_id": 1, "segmentation": [[0, 0, 9, 0, 9, 9]], "caption": "it"}
    image = {"id": 1, "file_name": name, "height": 10, "width": 10}
    write_json(tmp_path / "coco.json", {"images": [image], "annotations": [shape]})
    entry = {"image_name": name, "height": 10, "width": 10, "gt_ann": {"caption": ["it"], **shape}}
    write_json(tmp_path / "segagent.json", {"data": [entry]})
    for source in (
        {"kind": "table"},
        {"kind": "coco", "annotations": "coco.json", "images": "images"},
        {"kind": "segagent", "annotations": "segagent.json", "images": "images"},
    ):
        with pytest.raises(UsageError, match="is not inside the image folder"):
            load_task(write_task(tmp_path, source)).source()


def test_a_run_folder_names_no_code(task: str, tool: str, tmp_path: Path) -> None:
    made = run("center", task, tool, out=tmp_path / "run", budget=1, limit=2)
    marker = tmp_path / "it-ran"
    (made.folder / "evil.py").write_text(CODE.format(marker=str(marker)))
    own = made.folder / "own.yaml"
    own.write_text("name: boxes\nsource: {kind: evil.py}\n")
    words = ["hlmat-bench", "run", "--task", str(own), "--model", "./evil.py"]
    named = {"name": str(made.folder / "evil.py")}
    changes = {"argv": words, "model": named, "segmenter": named}
    write_json(made.folder / "run.json", json.loads((made.folder / "run.json").read_text()) | changes)
    with pytest.raises(UsageError, match="names the layout evil.py, a Python file, which would run"):
        report([made.folder])
    for command in (
        ["score", str(made.folder)],
        ["report", str(made.folder), "--no-images"],
        ["compare", str(made.folder), str(made.folder)],
        ["status", str(made.folder)],
        ["score", str(made.folder), "--replay"],
    ):
        with pytest.raises((SystemExit, UsageError)):
            app(command)
    assert not marker.exists()
    with pytest.raises(UsageError, match="defines no LAYOUTS"):
        load_task(own)
    assert marker.exists()  # the bait is real


@pytest.mark.parametrize("name", ["run.json", "episodes.jsonl"])
def test_a_run_folder_has_plain_files(name: str, task: str, tool: str, tmp_path: Path) -> None:
    made = run("center", task, tool, out=tmp_path / "run", budget=1, limit=2)
    (made.folder / name).unlink()
    os.mkfifo(made.folder / name)
    with pytest.raises(UsageError, match="is a pipe or a device"):
        Run(made.folder)
    (made.folder / name).unlink()
    (made.folder / name).symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        Run(made.folder)


@pytest.mark.parametrize("kind", [UsageError, RequestFailed])
def test_messages_control_no_terminal(kind: type[Exception]) -> None:
    said = str(kind("no file \x1b[2J\x1b]0;owned\x07 \u202egnp.exe\r\nTraceback \ud800" + "x" * 10**6))
    assert said.isprintable()
    assert said.startswith("no file \\x1b[2J\\x1b]0;owned\\x07 \\u202egnp.exe  Traceback \\ud800x")
    assert len(said) <= 2000
