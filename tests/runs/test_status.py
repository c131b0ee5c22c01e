"""What `status` says of runs, watched from outside: while they play, when they are killed, and when they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import heartbeat
from hlmat_bench.runs.episode_log import EARLY
from hlmat_bench.runs.heartbeat import HEARTBEAT
from hlmat_bench.runs.status import StatusReader
from hlmat_bench.runs.tally import RunTally
from tests.support.episodes import click, episode, simple

KEYS = (
    "sample_id",
    "image_id",
    "steps",
    "selected",
    "final",
    "initial",
    "iou",
    "stop",
    "error",
    "action",
    "kind",
    "cost",
)


def _status(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hlmat_bench", "status", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _look(folder: Path) -> dict[str, Any]:
    ran = _status(str(folder), "--json")
    assert (ran.returncode, ran.stderr) == (0, "")
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["schema"] == "hlmat-status/1"
    return found


@contextmanager
def _playing(task: str, tool: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Play a run of 40 samples slowly in another process; the block begins when it has recorded some."""
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", f"{tool},pause=0.1", "--out", str(folder)]
    words += ["--concurrency", "1"]
    process = subprocess.Popen([sys.executable, "-m", "hlmat_bench", *words], stderr=subprocess.DEVNULL)
    try:
        _until(lambda: (folder / EPISODES).exists() and (folder / EPISODES).stat().st_size > 0)
        yield process
    finally:
        process.kill()
        process.wait()


def _until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.05)


def _lines(folder: Path) -> int:
    return (folder / EPISODES).read_bytes().count(b"\n")


@pytest.mark.slow
def test_a_run_is_followed_from_outside_until_it_is_killed(task: str, tool: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with _playing(task, tool, folder) as process:
        before = _lines(folder)
        found = _look(folder)
        assert (found["state"], found["total"], found["workers"]) == ("playing", 40, 1)
        assert before <= found["done"] <= _lines(folder)
        assert "It plays." in _status(str(folder)).stdout
        process.send_signal(signal.SIGKILL)
        process.wait()
    found = _look(folder)
    assert (found["state"], found["workers"], found["seconds_left"]) == ("killed", 0, None)
    assert found["done"] == _lines(folder)
    values = [json.loads(line) for line in (folder / EPISODES).read_bytes().splitlines()]
    assert found["miou"] == pytest.approx(np.mean([value["steps"][-1]["iou"] for value in values]))
    assert "It was killed" in _status(str(folder)).stdout


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_a_watch_ends_with_the_run(task: str, tool: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with _playing(task, tool, folder) as process:
        command = [sys.executable, "-m", "hlmat_bench", "status", str(folder), "--watch", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            assert json.loads(watcher.stdout.readline())["state"] == "playing"
            process.send_signal(signal.SIGINT)
            process.wait()
            last = json.loads(watcher.stdout.readlines()[-1])
    assert last["state"] == "stopped"
    assert last["why"]
    assert watcher.returncode == 0
    assert _look(folder)["state"] == "stopped"


@pytest.mark.slow
def test_an_interrupt_ends_a_watch_without_a_word(task: str, tool: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with _playing(task, tool, folder):
        command = [sys.executable, "-m", "hlmat_bench", "status", str(folder), "--watch"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watcher:
            assert watcher.stdout is not None
            assert watcher.stderr is not None
            watcher.stdout.readline()
            watcher.send_signal(signal.SIGINT)
            assert watcher.stderr.read() == ""
    assert watcher.returncode == 0


def test_a_finished_run_has_the_numbers_of_its_scores(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("random", task, tool, out=tmp_path / "run", budget=2)
    found, scores = StatusReader(made.folder).look(), made.scores()
    assert (found["state"], found["done"], found["total"]) == ("finished", 40, 40)
    assert found["miou"] == pytest.approx(scores["selection"]["final"]["miou"])
    assert found["miou_ci"] == pytest.approx(scores["selection"]["final"]["miou_ci"])
    assert found["dollars"] is None
    assert found["failures"] == {"episodes": 0, "reasons": {}}


def test_a_run_that_ends_with_an_error_says_which(task: str, tool: str, tmp_path: Path) -> None:
    class Broken:
        name = "broken"
        points = hlmat_bench.PointFormat.named("xy1000")
        concurrency = 1

        async def reply(self, request: hlmat_bench.Request) -> list[hlmat_bench.Reply]:
            raise hlmat_bench.RequestFailed("the server burnt down, api_key=abc123")

    with pytest.raises(UsageError, match="burnt down"):
        hlmat_bench.run(Broken(), task, tool, out=tmp_path / "run")  # type: ignore[arg-type]
    found = StatusReader(tmp_path / "run").look()
    assert found["state"] == "stopped"
    assert "The first 3 requests to broken failed alike" in found["why"]
    assert "abc123" not in (tmp_path / "run" / HEARTBEAT).read_text()


def test_an_old_folder_without_a_heartbeat_and_a_file_that_is_none(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4, budget=1)
    for damage in (None, b"", b"{", b"[]", b'{"schema": "hlmat-heartbeat/1", "state": 3}', b"\xff" * 10):
        if damage is None:
            (made.folder / HEARTBEAT).unlink()
        else:
            (made.folder / HEARTBEAT).write_bytes(damage)
        assert StatusReader(made.folder).look()["state"] == "finished"
    _edit(made.folder / "run.json", finished=None)
    ran = _status(str(made.folder))
    assert (ran.returncode, "no heartbeat" in ran.stdout) == (0, True)


def test_only_time_tells_whether_the_run_of_another_machine_goes_on(task: str, tool: str, tmp_path: Path) -> None:
    """Calendar clocks are not believed: one of the heartbeats is of next year, the other of 1970."""
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4, budget=1)
    _edit(made.folder / "run.json", finished=None)
    for year in (2099, 1970):
        elsewhere = {"process": {"machine": "another", "pid": os.getpid(), "born": 1}, "state": "playing"}
        _edit(made.folder / HEARTBEAT, **elsewhere, updated=f"{year}-01-01T00:00:00+00:00")
        os.utime(made.folder / HEARTBEAT, (0, 0))
        assert StatusReader(made.folder, patience=0.5).look()["state"] == "silent"
        reader = StatusReader(made.folder, patience=0.5)
        reader.look()
        _edit(made.folder / HEARTBEAT, beat=year + 1)
        assert reader.look()["state"] == "playing"


def test_a_heartbeat_of_a_process_that_ended_on_this_machine_is_a_killed_run(
    task: str, tool: str, tmp_path: Path
) -> None:
    """Its number may be that of another process by now, which was started at another time."""
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4, budget=1)
    _edit(made.folder / "run.json", finished=None)
    process = json.loads((made.folder / HEARTBEAT).read_text())["process"]
    assert process["pid"] == os.getpid()
    _edit(made.folder / HEARTBEAT, state="playing", process={**process, "born": process["born"] - 1})
    assert StatusReader(made.folder).look()["state"] == "killed"


def test_a_folder_that_is_none_or_vanishes_is_an_error_in_one_sentence(task: str, tool: str, tmp_path: Path) -> None:
    ran = _status(str(tmp_path / "nowhere"))
    assert (ran.returncode, ran.stdout) == (2, "")
    what_to_do = "name a folder that `hlmat-bench run` has written"
    nowhere = tmp_path / "nowhere"
    assert ran.stderr.splitlines() == [f"error: {nowhere} is not a run folder (no run.json); {what_to_do}."]
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=2, budget=1)
    reader = StatusReader(made.folder)
    reader.look()
    shutil.rmtree(made.folder)
    with pytest.raises(UsageError, match="is not a run folder"):
        reader.look()


def test_files_are_read_while_they_grow_are_cut_and_are_replaced(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4, budget=1)
    path, early = made.folder / EPISODES, made.folder / EARLY
    whole = path.read_bytes().splitlines(keepends=True)
    reader = StatusReader(made.folder)

    def done() -> int:
        return int(reader.look()["done"])

    path.write_bytes(b"".join(whole[:2]) + whole[2][:-5])
    assert done() == 2  # the third line is not whole
    path.write_bytes(b"".join(whole[:3]))
    early.write_bytes(whole[3])
    assert done() == 4
    path.write_bytes(b"".join(whole))
    assert done() == 4  # it stands in both files
    early.unlink()
    path.write_bytes(whole[0] + b"no JSON\n" + whole[2])
    found = reader.look()
    assert (found["done"], found["damaged_lines"]) == (2, 1)
    path.write_bytes(b"")
    assert done() == 0
    path.unlink()
    assert done() == 0
    path.write_bytes(b"".join(whole[::-1]))
    assert done() == 4


def test_failures_and_invalid_replies_are_counted_by_kind(task: str, tool: str, tmp_path: Path) -> None:
    """Three episodes by hand: one with two unreadable replies, two that failed for one reason; two have a cost."""
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=3, budget=1)
    gt = np.zeros((4, 6), bool)
    gt[1:3, 2:5] = True
    invalid = hlmat_bench.actions.Action("invalid", reason="parse")
    values = [
        episode("a", gt, [(invalid, ~gt), (invalid, gt)]).to_json(),
        episode("b", gt, [(click(True, 1, 1), gt)], stop="error").to_json() | {"error": "gone"},
        episode("c", gt, [(click(True, 1, 1), ~gt)], stop="error").to_json() | {"error": "gone"},
    ]
    values[0]["steps"][0]["cost"], values[1]["steps"][0]["cost"] = 0.25, 0.5
    (made.folder / EPISODES).write_text("".join(json.dumps(value) + "\n" for value in values))
    found = StatusReader(made.folder).look()
    assert found["failures"] == {"episodes": 2, "reasons": {"gone": 2}}
    assert found["invalid"] == {"parse": 2}
    assert found["dollars"] == 0.75
    assert found["miou"] == pytest.approx(2 / 3)  # 1, 1 and 0
    text = _status(str(made.folder)).stdout
    assert "failed 2 times: gone" in text
    assert "invalid replies: 2 parse" in text


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=6)
    ),
    max_leaves=12,
)


VALID = simple("a").to_json()
#: A valid episode in which some values are others.
CHANGED = st.builds(
    lambda value, step: {**VALID, **value, "steps": value.get("steps", [{**VALID["steps"][0], **step}])},
    st.dictionaries(st.sampled_from(sorted(VALID)), JSON, max_size=2),
    st.dictionaries(st.sampled_from(["iou", "cost", "action"]), JSON | st.just(10**400), max_size=2),
)


@hypothesis.given(
    st.lists(st.binary(max_size=40) | (JSON | CHANGED).map(lambda it: json.dumps(it).encode()), max_size=6)
)
def test_whatever_stands_in_the_files_each_line_is_an_episode_or_damaged(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / EPISODES).write_bytes(b"".join(line + b"\n" for line in lines))
        (folder / HEARTBEAT).write_bytes(b"".join(lines))
        tally = RunTally(folder, {"task": {"kind": "segmentation"}, "protocol": {}})
        tally.update()
        numbers = tally.numbers(interval=True)
        assert numbers["done"] + numbers["damaged_lines"] <= len(lines)
        json.dumps(numbers, allow_nan=False)
        assert heartbeat.read(folder) is None


def test_texts_of_servers_are_harmless_for_a_terminal(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=1, budget=1)
    value = json.loads((made.folder / EPISODES).read_text()) | {"stop": "error", "error": "a\x1b[2Jb\u202ec"}
    (made.folder / EPISODES).write_text(json.dumps(value) + "\n")
    assert "failed 1 times: a[2Jbc\n" in _status(str(made.folder)).stdout


def test_filtering_runs_have_no_running_miou(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=2, budget=1)
    _edit(made.folder / "run.json", task={**made.manifest["task"], "kind": "filtering"})
    found = StatusReader(made.folder).look()
    assert (found["done"], found["miou"], found["miou_ci"]) == (2, None, None)


@pytest.mark.slow
def test_the_lines_of_a_run_without_a_terminal_show_the_numbers_too(task: str, tool: str, tmp_path: Path) -> None:
    words = ["run", "--model", "oracle", "--task", task, "--segmenter", f"{tool},pause=0.1", "--out", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "hlmat_bench", *words, "--limit", "10"], capture_output=True, text=True, check=True
    )
    line = ran.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"oracle on boxes: 10 of 10, so far mIoU \d+\.\d, 0\.0 % invalid, .* episodes/s, 1 worker", line
    )


def _edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_heartbeat_that_cannot_be_written_disturbs_no_run(task: str, tool: str, tmp_path: Path) -> None:
    (tmp_path / "run" / HEARTBEAT).mkdir(parents=True)
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=2, budget=1)
    assert made.finished()
    assert StatusReader(made.folder).look()["state"] == "finished"
