"""Playing some episodes of a run again: the others stay to the byte, the old ones are kept, nothing is lost."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import shards
from hlmat_bench.runs.episode_log import EARLY, HISTORY
from hlmat_bench.runs.redo import Choice, Condition, redo
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import Answer, ChatServer, Failure
from tests.support.episodes import timeless

BAD = Failure(400, body=json.dumps({"error": {"message": "the model fell over"}}))


def _cli(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False)


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["sample_id"] for line in lines]


class Server:
    """Fails for prompts that hold a word of `broken`, and answers the others with one more click each time."""

    def __init__(self, *broken: str) -> None:
        self.broken, self.asked = broken, list[str]()

    def __call__(self, body: Any, image: Any, prompt: str) -> Answer:
        [name] = re.findall("The object: (.*)\n", prompt)
        self.asked.append(name)
        if any(word in name for word in self.broken):
            return BAD
        return f"Positive point: ({10 * len(self.asked)}, 500)"


def _spec(server: ChatServer, more: str = "") -> str:
    return f"openai,model=fake,base_url={server.base_url},points=xy1000,retries=0{more}"


@pytest.mark.slow
def test_failed_episodes_are_played_again_by_one_command(
    task: str, tool: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server_side, folder = Server("box 1", "box 3"), tmp_path / "run"
    with ChatServer(server_side) as server:
        hlmat_bench.run(_spec(server), task, tool, out=folder, limit=8, budget=1, concurrency=1)
        before = _lines(folder / EPISODES)
        stops = [json.loads(line)["stop"] for line in before]
        server_side.broken, server_side.asked = ("box 3",), []
        ran = _cli("redo", str(folder), "--where", "stop=error", "--concurrency", "1")
        assert ran.returncode == 3, ran.stderr
        assert {name.rpartition(" ")[2] for name in server_side.asked} == {"1", "3"}
        server_side.broken, server_side.asked = (), []
        redo(folder, Choice(failed=True))
        assert {name.rpartition(" ")[2] for name in server_side.asked} == {"3"}
        redo(folder, Choice(failed=True))
        assert "nothing is played again" in caplog.text
    after = _lines(folder / EPISODES)
    assert _ids(after) == _ids(before)
    assert [old == new for old, new in zip(before, after, strict=True)] == [stop != "error" for stop in stops]
    kept = _lines(folder / HISTORY)
    assert [line for line in before if json.loads(line)["stop"] == "error"] == kept[:4]
    assert _ids(kept)[4:] == [key for key in _ids(before) if key in _ids(kept)[2:4]]
    found = Run(folder)
    assert found.scores()["failures"]["episodes"] == 0
    assert [(entry["why"], entry["episodes"]) for entry in found.manifest["redone"]] == [
        ("--where stop=error", 4), ("--failed", 2)
    ]  # fmt: skip
    assert all(entry["finished"] for entry in found.manifest["redone"])
    assert found.finished()


def test_samples_are_played_again_and_no_others(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("random", task, tool, out=tmp_path / "run", budget=2, limit=9)
    before = _lines(made.folder / EPISODES)
    chosen = _ids(before)[4:1:-2]
    again = redo(made.folder, Choice(samples=chosen))
    after = _lines(made.folder / EPISODES)
    assert [old == new for old, new in zip(before, after, strict=True)] == [key not in chosen for key in _ids(before)]
    assert timeless(again) == [_without_seconds(line) for line in before], "random clicks are of the run's seed"
    assert _lines(made.folder / HISTORY) == [before[2], before[4]]
    assert again.manifest["argv"] == made.manifest["argv"]
    assert again.manifest["started"] == made.manifest["started"]
    assert again.finished()


def _without_seconds(line: bytes) -> dict[str, Any]:
    value = json.loads(line)
    value.pop("digest", None)
    return value | {"steps": [{**step, "seconds": None} for step in value["steps"]]}


def test_an_unfinished_run_stays_unfinished_and_its_failures_wait(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(Server("box 1")) as server:
        with pytest.raises(UsageError, match="A limit is reached"):
            hlmat_bench.run(_spec(server), task, tool, out=tmp_path / "run", budget=1, concurrency=1, max_requests=6)
        before = _lines(tmp_path / "run" / EPISODES)
        assert [json.loads(line)["stop"] for line in before] == ["budget"] * 2 + ["error"] * 2 + ["budget"] * 2
        server.asked.clear()
        again = redo(tmp_path / "run", Choice(samples=_ids(before)[:1]))
        assert len(server.asked) == 1
    assert _lines(tmp_path / "run" / EPISODES)[1:] == before[1:]
    assert again.manifest["finished"] is None
    assert again.manifest["redone"][0]["finished"]
    assert again.scores()["n"] == 6


@pytest.mark.slow
def test_killed_at_many_moments_it_continues_with_the_same_command(task: str, tool: str, tmp_path: Path) -> None:
    whole = hlmat_bench.run("random", task, f"{tool},pause=0.02", out=tmp_path / "run", budget=2)
    first, scores = _lines(whole.folder / EPISODES), whole.scores()
    wanted = [line for line in first if json.loads(line)["steps"][-1]["iou"] < 0.3]
    assert 20 < len(wanted) < len(first)
    generator = random.Random(0)
    command = [
        sys.executable,
        "-m",
        "hlmat_bench",
        "redo",
        str(whole.folder),
        "--where",
        "iou<0.3",
        "--concurrency",
        "1",
    ]
    for played in (0, 0, 3, 6, 9, 12):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            if played == 0:  # a kill at any moment, mostly before something is played
                time.sleep(generator.uniform(0.3, 0.9))
            while _recorded(whole.folder) < len(first) - len(wanted) + played or not (whole.folder / HISTORY).exists():
                time.sleep(0.01)
            process.kill()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert sorted(set(_lines(whole.folder / HISTORY))) == sorted(wanted)
    assert len(_lines(whole.folder / HISTORY)) == len(wanted)
    assert [_without_seconds(line) for line in _lines(whole.folder / EPISODES)] == list(map(_without_seconds, first))
    found = Run(whole.folder)
    assert found.finished()
    assert found.scores() | {"cost": None} == scores | {"cost": None}
    assert [entry["episodes"] for entry in found.manifest["redone"]] == [len(wanted)]


def _recorded(folder: Path) -> int:
    return len({key for name in (EPISODES, EARLY) for key in _ids(_lines(folder / name)[:-1])})


def test_killed_between_any_two_steps_nothing_is_lost(task: str, tool: str, tmp_path: Path) -> None:
    """The states that a kill can leave, made by hand; then the same call again."""
    made = hlmat_bench.run("random", task, tool, out=tmp_path / "made", budget=1, limit=6)
    lines, choice = _lines(made.folder / EPISODES), Choice(where=[Condition.parse("stop=budget")])
    entry = {"why": choice.why(), "episodes": 6, "started": "now", "moved": False, "finished": None}

    def noted(folder: Path) -> None:
        document = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(document | {"finished": None, "redone": [entry]}))

    def half_a_history(folder: Path) -> None:
        noted(folder)
        (folder / HISTORY).write_bytes(lines[0] + b"\n" + lines[1][:50])

    def set_aside(folder: Path) -> None:
        noted(folder)
        (folder / HISTORY).write_bytes(b"\n".join(lines) + b"\n")
        (folder / EPISODES).write_bytes(b"")

    states: list[Callable[[Path], None]] = [noted, half_a_history, set_aside]
    for number, state in enumerate(states):
        folder = tmp_path / str(number)
        shutil.copytree(made.folder, folder)
        state(folder)
        again = redo(folder, choice)
        assert timeless(again) == [_without_seconds(line) for line in lines]
        assert _lines(folder / HISTORY) == lines
        assert [(each["episodes"], bool(each["finished"])) for each in again.manifest["redone"]] == [(6, True)]
        assert again.finished()


def test_the_runs_own_command_completes_a_redo_that_was_killed(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("random", task, tool, out=tmp_path / "run", budget=1, limit=4)
    lines = _lines(made.folder / EPISODES)
    document = json.loads((made.folder / "run.json").read_text())
    entry = {"why": "--sample x", "episodes": 2, "started": "now", "moved": True, "finished": None}
    (made.folder / "run.json").write_text(json.dumps(document | {"finished": None, "redone": [entry]}))
    (made.folder / HISTORY).write_bytes(b"\n".join(lines[2:]) + b"\n")
    (made.folder / EPISODES).write_bytes(b"\n".join(lines[:2]) + b"\n")
    again = hlmat_bench.run("random", task, tool, out=made.folder, budget=1, limit=4)
    assert timeless(again) == [_without_seconds(line) for line in lines]
    assert again.manifest["redone"][0]["finished"]


def test_what_run_json_does_not_hold_is_asked_for(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(Server()) as server:
        made = hlmat_bench.run(_spec(server, ",api_key=sk-1234"), task, tool, out=tmp_path / "run", limit=2, budget=1)
        assert "sk-1234" not in (made.folder / "run.json").read_text()
        with pytest.raises(UsageError, match="records no keys.*give it again with --model"):
            redo(made.folder, Choice(where=[Condition.parse("stop=*")]))
    first = _ids(_lines(made.folder / EPISODES))[0]
    with ChatServer(Server()) as server:
        moved = _spec(server, ",api_key=sk-1234")
        with pytest.raises(UsageError, match=r"holds another run \(model.*choose another"):
            redo(made.folder, Choice(samples=[first]), model=moved.replace("model=fake", "model=other"))


def test_another_segmenter_or_task_is_refused_and_nothing_is_moved(
    task: str, tool: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = hlmat_bench.run("random", task, tool, out=tmp_path / "run", budget=1, limit=4)
    before = {path.name: path.read_bytes() for path in made.folder.iterdir() if path.name != ".lock"}
    first = Choice(samples=_ids(_lines(made.folder / EPISODES))[:1])
    for other in ({"segmenter": f"{tool},radius=9"}, {"task": "hres_synth"}, {"model": "center"}):
        with pytest.raises(UsageError, match=r"holds another run"):
            redo(made.folder, first, **other)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"no plug-in file gone.py"):
        redo(made.folder, first, segmenter="gone.py")
    assert (
        f"opened with --model random --segmenter gone.py --task {task}; where one of them is elsewhere" in caplog.text
    )
    assert {path.name: path.read_bytes() for path in made.folder.iterdir() if path.name != ".lock"} == before


def test_a_merged_run_is_played_again_as_a_whole(task: str, tool: str, tmp_path: Path) -> None:
    parts = [
        hlmat_bench.run("random", task, tool, out=tmp_path / str(part), shard=f"{part}/2", budget=1).folder
        for part in (1, 2)
    ]
    shards.merge(parts, tmp_path / "merged")
    whole = timeless(Run(tmp_path / "merged"))
    again = redo(tmp_path / "merged", Choice(where=[Condition.parse("stop=*")]))
    assert timeless(again) == whole
    assert again.manifest["merged"] == ["1/2", "2/2"]
    assert again.finished()


def test_a_model_that_is_an_object_is_given_again(task: str, tool: str, tmp_path: Path) -> None:
    class Centre:
        name = "centre"
        points = hlmat_bench.PointFormat.named("xy1000")
        concurrency = 1

        async def reply(self, request: hlmat_bench.Request) -> list[hlmat_bench.Reply]:
            return [hlmat_bench.Reply("Positive point: (500, 500)")] * request.n

    made = hlmat_bench.run(Centre(), task, tool, out=tmp_path / "run", budget=1, limit=2)  # type: ignore[arg-type]
    choice = Choice(where=[Condition.parse("steps>0")])
    with pytest.raises(UsageError, match="no model called 'centre'"):
        redo(made.folder, choice)
    assert redo(made.folder, choice, model=Centre()).finished()  # type: ignore[arg-type]


RECORD = {
    "sample_id": "s/1",
    "image_id": "7",
    "image": "a (1).png",
    "ref_id": None,
    "expression": "the *left* box\nof two",
    "stop": "error",
    "error": "host: timed out [504]",
    "tags": {"kind": "thin"},
    "initial": {"iou": 0.0},
    "selected": {"final": 2, "self": 1, "best": 1},
    "steps": [
        {"iou": 0.75, "action": {"kind": "click"}},
        {"iou": 0.5, "action": {"kind": "invalid", "reason": "parse"}},
    ],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("stop=error", True), ("stop = error", True), ("stop!=error", False), ("stop=err", False), ("stop=err*", True),
        ("error=*timed out*", True), ("error=*[504]", True), ("error!=*502*", True), ("image=a (1).png", True),
        ("tags.kind=thin", True), ("tags.kind!=thin", False), ("tags.other=thin", False), ("tags.other!=thin", True),
        ("ref_id=*", False), ("ref_id!=x", True), ("expression=the*two", True), ("reason=parse", True),
        ("reason=empty", False), ("image_id=7", True), ("iou<0.5", False), ("iou<=0.5", True), ("iou=0.5", True),
        ("iou>0.4", True), ("iou!=0.5", False), ("steps>=2", True), ("steps<2", False),
    ],
)  # fmt: skip
def test_conditions_hold_as_they_read(text: str, holds: bool) -> None:
    assert Condition.parse(text).holds(RECORD, "final") is holds


def test_the_answer_of_a_search_is_the_one_it_took() -> None:
    assert Condition.parse("iou=0.75").holds(RECORD, "self")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "must look like"), ("stop", "must look like"), ("=error", "must look like"),
        ("stpo=error", "no field called 'stpo'.*Did you mean stop"), ("stop<error", "is a text"),
        ("iou<x", "is a number"), ("iou=", "is a number"), ("gt=x", "no field called 'gt'"),
    ],
)  # fmt: skip
def test_a_condition_that_is_none_is_an_error_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        Condition.parse(text)


@hypothesis.given(st.text())
def test_any_text_is_a_condition_or_an_error_and_any_value_means_itself(text: str) -> None:
    try:
        condition = Condition.parse(text)
    except UsageError:
        pass
    else:
        assert condition.holds(RECORD, "final") in (True, False)
    value = text.strip()
    if "*" not in value:
        assert Condition.parse(f"expression={text}").holds({**RECORD, "expression": value}, "final")


def test_nothing_chosen_and_unknown_samples_are_errors(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", budget=1, limit=2)
    with pytest.raises(UsageError, match="Say what to play again"):
        redo(made.folder, Choice())
    with pytest.raises(UsageError, match="not a run folder"):
        redo(tmp_path / "nowhere", Choice(failed=True))
    ran = _cli("redo", str(made.folder), "--sample", "nobody")
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert "holds no episode of the sample nobody" in ran.stderr


def test_a_run_of_an_older_version_is_refused(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", budget=1, limit=2)
    document = json.loads((made.folder / "run.json").read_text())
    for spec, sentence in (
        (None, "played by an older version"),
        ([], "spec in .*run.json is damaged"),
        ({"model": 3, "task": "x"}, "spec in .*run.json is damaged"),
    ):
        (made.folder / "run.json").write_text(json.dumps(document | {"spec": spec, "redone": [3, {}]}))
        with pytest.raises(UsageError, match=sentence):
            redo(made.folder, Choice(where=[Condition.parse("stop=*")]))
