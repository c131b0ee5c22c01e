"""Entries of the leaderboard: what they hold, and which files are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from hlmat_bench.core.content import folder
from hlmat_bench.core.errors import UsageError
from hlmat_bench.reports.leaderboard import entry as entries
from hlmat_bench.reports.leaderboard.entry import BoardEntry, read_entry
from hlmat_bench.reports.leaderboard.files import MAX_BYTES, MAX_VALUES
from hlmat_bench.reports.leaderboard.submission import make_entry
from hlmat_bench.runs.run_folder import Run
from tests.support import boards


@pytest.fixture(scope="module")
def run(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return boards.play(tmp_path_factory.mktemp("played") / "run", task, tool)


@pytest.fixture(scope="module")
def entry(run: Run) -> BoardEntry:
    return make_entry(run, boards.DECLARED)


def test_the_published_json_schema_is_that_of_the_code() -> None:
    published = (folder("leaderboard") / "entry.schema.json").read_text()
    assert published == entries.json_schema(), (
        "run: python -m hlmat_bench.reports.leaderboard.entry > leaderboard/entry.schema.json"
    )


def test_an_entry_holds_what_the_masks_give(run: Run, entry: BoardEntry) -> None:
    def pixels(rle: dict[str, Any]) -> np.ndarray[Any, Any]:
        return coco.decode({"size": rle["size"], "counts": rle["counts"].encode()}).astype(bool)

    lines = (run.folder / "episodes.jsonl").read_text().splitlines()
    ious = []
    for number, episode in enumerate(map(json.loads, lines)):
        gt = pixels(episode["gt"])
        curve = [np.sum(gt & pixels(s["mask"])) / np.sum(gt | pixels(s["mask"])) for s in episode["steps"]]
        last = pixels(episode["steps"][-1]["mask"])
        assert entry.samples.id[number] == episode["sample_id"]
        assert entry.samples.intersection[number] == np.sum(gt & last)
        assert entry.samples.union[number] == np.sum(gt | last)
        reached = [t for t, iou in enumerate(curve, 1) if iou >= 0.80]
        assert entry.samples.first["0.80"][number] == (reached[0] if reached else None)
        assert len(entry.samples.marks[number]) == 8 * (1 + len(episode["steps"]))
        ious.append(curve[-1])
    assert entry.answer.miou == pytest.approx(np.mean(ious))
    assert entry.scores.noc["0.80"].mean == run.scores()["noc"]["0.80"]["mean"]


def test_steps_are_counted_by_kind_and_click(run: Run, entry: BoardEntry) -> None:
    episodes = [json.loads(line) for line in (run.folder / "episodes.jsonl").read_text().splitlines()]
    assert entry.scores.steps is not None
    assert len(entry.scores.steps) == 8
    for t in range(4):
        played = sum(len(episode["steps"]) > t for episode in episodes)
        unread = sum(len(e["steps"]) > t and e["steps"][t]["action"]["kind"] == "invalid" for e in episodes)
        assert sum(counts[t] for counts in entry.scores.steps.values()) == played
        assert entry.scores.steps["unparsable"][t] == unread


def test_an_entry_of_an_earlier_version_is_still_taken_and_written_the_same(entry: BoardEntry, tmp_path: Path) -> None:
    value = boards.dumped(entry)
    del value["scores"]["steps"]
    assert "report" not in value
    path = tmp_path / f"{entry.id}.json"
    path.write_text(json.dumps(value))
    assert boards.dumped(read_entry(path)) == value


def test_the_same_run_gives_the_same_entry_and_times_do_not_matter(run: Run, entry: BoardEntry, tmp_path: Path) -> None:
    assert make_entry(run, boards.DECLARED) == entry
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_bytes((run.folder / "run.json").read_bytes())
    (copy / "episodes.jsonl").write_bytes((run.folder / "episodes.jsonl").read_bytes())

    def slower(episodes: list[dict[str, Any]]) -> None:
        for step in episodes[0]["steps"]:
            step["seconds"]["model"] = 9.0

    boards.edit(copy, slower)
    later = make_entry(Run(copy), boards.DECLARED)
    assert (later.episodes_sha256, later.samples) == (entry.episodes_sha256, entry.samples)


def test_no_folder_of_the_submitter_is_in_an_entry(run: Run, tmp_path: Path) -> None:
    changed = json.loads((run.folder / "run.json").read_text())
    changed["argv"] += ["--segmenter", "sam_h,checkpoint=/home/annabel/weights/sam_h.pth", "--data-root=~/annabel/data"]
    changed["model"]["pretrained"] = "/home/annabel/models/Qwen3-VL-8B"
    changed["model"]["hub"] = "Qwen/Qwen3-VL-8B"
    changed["task"]["source"]["root"] = "/home/annabel/data"
    (tmp_path / "run.json").write_text(json.dumps(changed))
    (tmp_path / "episodes.jsonl").write_bytes((run.folder / "episodes.jsonl").read_bytes())
    text = json.dumps(make_entry(Run(tmp_path), boards.DECLARED).model_dump())
    assert "annabel" not in text
    assert "sam_h.pth" in text
    assert '"Qwen/Qwen3-VL-8B"' in text


def test_only_whole_runs_are_entered(run: Run, tmp_path: Path) -> None:
    for changes, problem in (
        ({"finished": None}, "not finished"),
        ({"shard": "1/2"}, "merge"),
        ({"task": {**run.manifest["task"], "kind": "filtering"}}, "filtering"),
    ):
        (tmp_path / "run.json").write_text(json.dumps({**run.manifest, **changes}))
        with pytest.raises(UsageError, match=problem):
            make_entry(Run(tmp_path), boards.DECLARED)


def _nested(value: dict[str, Any]) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    value["manifest"]["model"]["deep"] = deep


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an unknown key": (lambda v: v.update(extra=1), "extra"),
    "an unknown key inside": (lambda v: v["scores"]["cost"].update(__proto__=1), "scores.cost.__proto__"),
    "a key left out": (lambda v: v.pop("training_data"), "training_data"),
    "a long text": (lambda v: v.update(title="x" * 10**6), "title"),
    "a long text deep inside": (lambda v: v["manifest"]["model"].update(x="y" * 10**6), "manifest.model"),
    "a huge count": (lambda v: v["scores"].update(n=10**9), "scores.n"),
    "a huge budget": (lambda v: v["scores"].update(budget=10**9), "scores.budget"),
    "huge areas": (lambda v: v["samples"].update(union=[10**12] * 16), "samples.union"),
    "an id that leads elsewhere": (lambda v: v.update(id="../../x"), "id"),
    "a task that leads elsewhere": (lambda v: v["manifest"]["task"].update(name="a/b"), "manifest.task.name"),
    "a group that leads elsewhere": (lambda v: v["manifest"]["task"].update(group=".."), "manifest.task.group"),
    "a link that runs": (lambda v: v.update(links=["javascript:alert(1)"]), "links"),
    "a link with data": (lambda v: v.update(links=["data:text/html,x"]), "links"),
    "a number as text": (lambda v: v["scores"].update(auc="0.5"), "scores.auc"),
    "an IoU above 1": (lambda v: v["scores"]["selection"]["final"].update(miou=1.5), "miou"),
    "half a surrogate": (lambda v: v.update(submitter="\ud800"), "submitter"),
    "half a surrogate inside": (lambda v: v["manifest"]["points"].update(x="\ud800"), "manifest.points"),
    "a float beyond all bounds": (lambda v: v["manifest"]["protocol"].update(x=1e300), "manifest.protocol"),
    "deep nesting": (_nested, "manifest.model"),
    "a report that runs": (lambda v: v.update(report="javascript:alert(1)"), "report"),
    "a report with a place in it": (lambda v: v.update(report="https://example.org/#sample=1"), "report"),
    "a step of an unknown kind": (lambda v: v["scores"]["steps"].update(luck=[1]), "scores.steps"),
    "columns of two lengths": (lambda v: v["samples"]["id"].pop(), "samples"),
    "a sample twice": (lambda v: v["samples"]["id"].__setitem__(0, v["samples"]["id"][1]), "samples"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_the_schema_is_refused_by_its_place(name: str, entry: BoardEntry, tmp_path: Path) -> None:
    change, place = CHANGES[name]
    value = boards.dumped(entry)
    change(value)
    path = tmp_path / f"{entry.id}.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UsageError, match=place.replace(".", r"\.")) as caught:
        read_entry(path)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(text: str, entry: BoardEntry, tmp_path: Path) -> None:
    path = tmp_path / f"{entry.id}.json"
    whole = json.dumps(boards.dumped(entry))
    path.write_text(whole.replace('"auc": ', f'"auc": {text}, "was": '))
    with pytest.raises(UsageError):
        read_entry(path)


def test_a_key_that_stands_twice_is_refused(entry: BoardEntry, tmp_path: Path) -> None:
    path = tmp_path / f"{entry.id}.json"
    path.write_text(json.dumps(boards.dumped(entry)).replace('"id": ', '"id": "other", "id": ', 1))
    with pytest.raises(UsageError, match="twice"):
        read_entry(path)


def test_the_file_is_named_after_the_entry(entry: BoardEntry, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(boards.dumped(entry)))
    with pytest.raises(UsageError, match="name it"):
        read_entry(path)


def _hostile_files(tmp: Path, good: Path) -> Iterator[Path]:
    """Files that would cost a careless reader much time or memory."""

    def file(name: str, data: bytes) -> Path:
        (tmp / name).write_bytes(data)
        return tmp / name

    with (tmp / "large.json").open("wb") as large:
        large.truncate(200 * 2**20)
    yield tmp / "large.json"
    with zipfile.ZipFile(tmp / "bomb.json", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("entry.json", bytes(300 * 2**20))
    yield tmp / "bomb.json"
    yield file("deep.json", b"[" * (MAX_BYTES // 2) + b"]" * (MAX_BYTES // 2))
    yield file("many.json", b'{"x":[' + b"[]," * (MAX_BYTES // 3 - 10) + b"[]]}")
    yield file("digits.json", b'{"x":' + b"9" * (MAX_BYTES - 10) + b"}")
    yield file("text.json", b'{"schema":"' + "\U0001f600".encode() * (MAX_BYTES // 4 - 10) + b'"}')
    (tmp / "link.json").symlink_to(good)
    yield tmp / "link.json"
    os.mkfifo(tmp / "pipe.json")
    yield tmp / "pipe.json"
    (tmp / "folder.json").mkdir()
    yield tmp / "folder.json"


# What a program takes, measured by a small one that starts it: a child's peak begins with that of who starts it.
MEASURE = """
import json, os, subprocess, sys
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=sys.stderr)
_, status, used = os.wait4(process.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_maxrss]))
"""


def calls_of(act: Callable[[], object]) -> int:
    """How many functions are called: a measure of work that no machine's load changes."""
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        with pytest.raises(UsageError):
            act()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.slow
def test_files_that_cost_much_are_refused_at_little_cost(entry: BoardEntry, tmp_path: Path) -> None:
    good = boards.put(tmp_path, boards.dumped(entry))
    for path in _hostile_files(tmp_path, good):
        command = ["-m", "hlmat_bench", "leaderboard", "verify", str(path)]
        measured = subprocess.run([sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, check=True)
        code, peak = json.loads(measured.stdout)
        assert (code, "Traceback" in measured.stderr) == (2, False), measured.stderr
        assert path.name in measured.stderr
        assert calls_of(partial(read_entry, path)) < 10 * MAX_VALUES, path.name
        assert peak * (1 if sys.platform == "darwin" else 1024) < 200 * 2**20, path.name
