"""Runs that cannot work, work half of the time, or lose files on the way: no failure becomes a score in silence."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.core.errors import PluginFailed, UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs import shards
from hlmat_bench.runs.episode_log import EARLY, HISTORY, EpisodeLog, RunLock, recorded, set_aside
from hlmat_bench.runs.reply_journal import JOURNAL
from hlmat_bench.runs.run import Run
from hlmat_bench.testing import Answer, ChatServer, Failure, completion
from tests.episodes import simple

CLICK = "Positive point: (500, 500)"
BAD = Failure(400, body=json.dumps({"error": {"message": "the model fell over"}}))


def spec(server: ChatServer, more: str = "") -> str:
    return f"openai,model=fake,base_url={server.base_url},points=xy1000,retries=0{more}"


def play(server: ChatServer, task: str, tool: str, out: Path, more: str = "", **options: Any) -> Run:
    return hlmat_bench.run(
        spec(server, more), task, tool, out=out, **{"limit": 8, "budget": 3, "concurrency": 1, **options}
    )


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hlmat_bench", *words], capture_output=True, text=True, check=False)


def stops(folder: Path) -> list[str]:
    return [json.loads(line)["stop"] for line in (folder / EPISODES).read_text().splitlines()]


class Server:
    """Answers with a click until it is broken, and counts the questions by object and step."""

    def __init__(self, broken: Callable[[str], bool] = lambda prompt: False, failure: Answer = BAD) -> None:
        self.broken, self.failure = broken, failure
        self.answered: Counter[str] = Counter()

    def __call__(self, body: Any, image: Any, prompt: str) -> Answer:
        if self.broken(prompt):
            return self.failure
        [name] = re.findall("The object: (.*)\n", prompt)
        self.answered[name] += 1
        return f"Positive point: ({100 * self.answered[name]}, 500)"


# Nothing works: the run ends, and nothing of it is baked in


def test_first_requests_that_all_fail_alike_end_the_run_and_leave_nothing(task: str, tool: str, tmp_path: Path) -> None:
    server_side = Server(broken=lambda prompt: True)
    with ChatServer(server_side) as server:
        with pytest.raises(UsageError, match=r"first 3 requests to fake failed alike.*the model fell over"):
            play(server, task, tool, tmp_path / "run")
        assert len(server.asked) == 3
        assert (tmp_path / "run" / EPISODES).read_bytes() == b""
        assert not (tmp_path / "run" / "scores.json").exists()
        server_side.broken = lambda prompt: False
        mended = play(server, task, tool, tmp_path / "run")
        assert mended.scores()["failures"]["episodes"] == 0
        assert stops(mended.folder) == ["budget"] * 8


def test_the_command_line_says_it_in_one_sentence_with_exit_code_2(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(lambda *_: BAD) as server:
        words = ["run", "--model", spec(server), "--task", task, "--segmenter", tool, "--out", str(tmp_path / "run")]
        ran = command(*words, "--limit", "2")
    assert ran.returncode == 2
    assert [line for line in ran.stderr.splitlines() if line.startswith("error: ")] == ran.stderr.splitlines()[-1:]
    assert "the model fell over" in ran.stderr
    assert "mIoU" not in ran.stdout


def test_failures_in_a_row_end_a_run_that_worked_and_the_same_command_continues(
    task: str, tool: str, tmp_path: Path
) -> None:
    """Two episodes work, then nothing: four failures in a row end the run, and none of the four is recorded."""
    server_side = Server()
    server_side.broken = lambda prompt: server_side.answered.total() >= 6
    with ChatServer(server_side) as server:
        with pytest.raises(UsageError, match=r"4 requests in a row to fake failed.*--max-failures 40"):
            play(server, task, tool, tmp_path / "run", max_failures=4)
        assert stops(tmp_path / "run") == ["budget"] * 2
        server_side.broken = lambda prompt: False
        made = play(server, task, tool, tmp_path / "run")
    assert set(server_side.answered.values()) == {3}, "no question that was answered is asked again"
    assert made.scores()["n"] == 8


def test_failures_of_several_kinds_at_the_start_do_not_end_a_run_too_early(
    task: str, tool: str, tmp_path: Path
) -> None:
    """The first three fail in three ways, and then it works."""
    answers: list[Answer] = [Failure(400, body=f'{{"error": {{"message": "{word}"}}}}') for word in ("a", "b", "c")]
    with ChatServer(lambda *_: answers.pop() if answers else "Finish") as server:
        made = play(server, task, tool, tmp_path / "run")
    assert made.scores()["failures"]["episodes"] == 3
    assert sum(made.scores()["failures"]["reasons"].values()) == 3


def test_a_run_that_is_cut_off_in_the_middle_of_episodes_asks_no_answered_question_again(
    task: str, tool: str, tmp_path: Path
) -> None:
    """Credit is used up at every fourth answer, with several episodes under way; each time the run continues."""
    server_side = Server(failure=Failure(401, body=json.dumps({"error": {"message": "no credit is left"}})))
    with ChatServer(server_side) as server:
        for credit in range(4, 24, 4):
            server_side.broken = lambda prompt, credit=credit: server_side.answered.total() >= credit
            with pytest.raises(UsageError, match="no credit is left"):
                play(server, task, tool, tmp_path / "run", concurrency=5)
            assert server_side.answered.total() == credit
        server_side.broken = lambda prompt: False
        made = play(server, task, tool, tmp_path / "run")
        whole = play(server, task, tool, tmp_path / "whole")
    assert set(server_side.answered.values()) == {6}, "three questions in each of the two runs"
    assert not (tmp_path / "run" / JOURNAL).exists()
    assert [e.sample_id for e in made.episodes()] == [e.sample_id for e in whole.episodes()]
    assert [len(e.steps) for e in made.episodes()] == [3] * 8


# Some requests fail: counted, said, and asked again


def test_failed_episodes_are_counted_and_the_same_command_asks_them_again(task: str, tool: str, tmp_path: Path) -> None:
    server_side = Server(broken=lambda prompt: "box 1\n" in prompt)
    with ChatServer(server_side) as server:
        words = ["run", "--model", spec(server), "--task", task, "--segmenter", tool, "--out", str(tmp_path / "run")]
        words += ["--limit", "8", "--budget", "3", "--concurrency", "2"]
        ran = command(*words)
        assert ran.returncode == 3, ran.stderr
        assert re.search(r"2 \(25\.0%\)", ran.stdout)
        assert "Of 8 episodes: 2 failed" in ran.stderr
        assert "the model fell over" in ran.stderr
        before = (tmp_path / "run" / EPISODES).read_text().splitlines()
        assert [json.loads(line)["stop"] == "error" for line in before] == [False, False, True, True] + [False] * 4
        assert Run(tmp_path / "run").scores()["failures"] == {
            "episodes": 2, "share": 0.25, "refused": 0, "empty": 0, "cut_off": 0, "farthest_click": 0.5,
            "replies": {"all": 18, "refused": 0, "empty": 0, "cut_off": 0, "thoughts_only": 0},
            "reasons": {json.loads(before[2])["error"]: 2},
        }  # fmt: skip
        server_side.broken = lambda prompt: False
        again = command(*words)
    assert (again.returncode, "2 episodes failed before and are asked again" in again.stderr) == (0, True)
    after = (tmp_path / "run" / EPISODES).read_text().splitlines()
    assert [json.loads(line)["sample_id"] for line in after] == [json.loads(line)["sample_id"] for line in before]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False] + [True] * 4
    assert (tmp_path / "run" / HISTORY).read_text().splitlines() == before[2:4]
    assert not (tmp_path / "run" / EARLY).exists()
    assert set(server_side.answered.values()) == {3}


@pytest.mark.parametrize("cut", ["history", "early", "done"])
def test_a_kill_while_failed_episodes_move_loses_none(tmp_path: Path, cut: str) -> None:
    """The three writes of `set_aside`, interrupted after each of them: the next call finishes the work."""
    names = [f"s/{number}" for number in range(5)]
    log = EpisodeLog(tmp_path, names)
    for name in names:
        log.append(simple(name))
    log.close()
    whole = (tmp_path / EPISODES).read_bytes()

    set_aside(tmp_path, {"s/2"})
    if cut != "done":
        (tmp_path / EPISODES).write_bytes(whole)
    if cut == "history":
        (tmp_path / EARLY).unlink()
    set_aside(tmp_path, {"s/2"})
    assert (tmp_path / HISTORY).read_bytes().count(b"\n") == 1
    assert set(recorded(tmp_path)) == {"s/0", "s/1", "s/3", "s/4"}
    log = EpisodeLog(tmp_path, names)
    log.append(simple("s/2"))
    log.close()
    assert (tmp_path / EPISODES).read_bytes() == whole


def test_a_leaderboard_takes_no_run_of_failures(task: str, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry

    with ChatServer(Server(broken=lambda prompt: "box 1\n" in prompt)) as server:
        made = play(server, task, tool, tmp_path / "run")
        declared = Declaration("somebody", "nothing of it", open_weights=True)
        with pytest.raises(UsageError, match="2 of 8 episodes failed .* more than 1%"):
            make_entry(made, declared)
        server.answer = Server()
        entry = make_entry(play(server, task, tool, tmp_path / "run"), declared)
    assert (entry.scores.failures.episodes, entry.scores.failures.share) == (0, 0.0)


def test_a_report_says_what_failed_and_what_is_missing(task: str, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.reports.run.build import report

    with ChatServer(Server(broken=lambda prompt: "box 1\n" in prompt)) as server:
        made = play(server, task, tool, tmp_path / "run")
        page = report([made.folder], images=False).read_text()
        assert "Of 8 episodes: 2 failed" in page
        assert "not finished" not in page
        with pytest.raises(UsageError, match="A limit is reached"):
            play(server, task, tool, tmp_path / "run", limit=20, max_requests=6)
        assert "not finished: " in report([made.folder], images=False).read_text()


@pytest.mark.parametrize(
    ("answer", "points", "sentence"),
    [
        (completion([""]) | {"choices": [{"message": {"content": None}, "finish_reason": "length"}]}, "xy1000",
         r"8 of 8 replies were cut off at max_tokens=128 .*--set max_tokens=4096"),
        ("Positive point: (0.45, 0.2)", "xy1000", r"All 8 clicks lie in the upper left corner.*point format xy1000"),
        ("", "xy1000", "All 8 replies were empty"),
        (CLICK, "xy1000", None),
        ("Positive point: (0.001, 0.002)", "xy1", None),
    ],
)  # fmt: skip
def test_what_makes_all_replies_useless_is_said_once(
    task: str, tool: str, tmp_path: Path, answer: Answer, points: str, sentence: str | None
) -> None:
    with ChatServer(lambda *_: answer) as server:
        words = ["run", "--model", spec(server).replace("xy1000", points), "--task", task, "--segmenter", tool]
        ran = command(*words, "--limit", "8", "--budget", "1", "--out", str(tmp_path / "run"))
    assert ran.returncode == 0
    notes = [line for line in ran.stderr.splitlines() if "openai" in line and "of 8:" not in line]
    assert (sentence is None and not any("clicks lie" in line for line in notes)) or (
        sum(bool(re.search(str(sentence), line)) for line in notes) == 1
    )


def test_seeds_fit_into_31_bits(tmp_path: Path, tool: str) -> None:
    with ChatServer(lambda *_: "Finish") as server:
        hlmat_bench.run(spec(server), "hres_synth", tool, out=tmp_path / "a", limit=40, budget=1)
        hlmat_bench.run(spec(server), "hres_synth", tool, out=tmp_path / "b", limit=40, settings={"temperature": 1})
    seeds = [asked.body["seed"] for asked in server.asked]
    assert len(set(seeds[:40])) == 40
    assert 2**30 < max(seeds) < 2**31
    assert min(seeds) >= 0


# What plug-ins hand over

MODEL = """
import asyncio, numpy as np
from hlmat_bench.errors import RequestFailed
from hlmat_bench.interfaces import Reply
from hlmat_bench.points import PointFormat

class Odd:
    name, points = "odd", PointFormat.named("xy1000")
    async def reply(self, request):
        return {answer}

MODELS = {{"odd": Odd}}
"""


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('[Reply("Finish", cost=float("nan"))]', "cost=nan"),
        ('[Reply("Finish", seconds=-1.0)]', "seconds=-1.0"),
        ('[Reply("Finish", tokens_in=-3)]', "tokens_in=-3"),
        ('[Reply("Finish", tokens_out=2.5)]', "tokens_out=2.5"),
        ('[Reply("Finish", finish=object())]', "finish=<object"),
        ("[Reply(None)]", "text=None"),
        ("None", "returned None"),
        ('"Finish"', "returned 'Finish'"),
        ('[Reply("Finish")] * 2', "a list of 1 Reply"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_models_plugin_must_not_return_is_one_sentence(
    task: str, tool: str, tmp_path: Path, answer: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(MODEL.format(answer=answer))
    words = ["run", "--model", str(tmp_path / "odd.py"), "--task", task, "--segmenter", tool]
    ran = command(*words, "--out", str(tmp_path / "run"), "--limit", "3")
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert "The model odd" in ran.stderr
    assert said in ran.stderr
    assert ("ZeroDivisionError" in said) == (tmp_path / "run" / "errors.log").exists()


@pytest.mark.parametrize(
    "answer",
    [
        '[Reply("Finish", tokens_in=np.int64(7), tokens_out=np.uint8(2), seconds=np.float32(0.5), cost=0)]',
        '[Reply("Finish " + chr(0xD83D))]',
    ],
)
def test_numbers_of_numpy_and_half_a_surrogate_pair_are_recorded(
    task: str, tool: str, tmp_path: Path, answer: str
) -> None:
    (tmp_path / "odd.py").write_text(MODEL.format(answer=answer))
    made = hlmat_bench.run(str(tmp_path / "odd.py"), task, tool, out=tmp_path / "run", limit=5)
    assert made.scores()["n"] == 5
    (tmp_path / "run" / EPISODES).read_bytes().decode("utf-8")
    said = {step.raw for episode in made.episodes() for step in episode.steps}
    assert said <= {"Finish", "Finish \ud83d"}
    from hlmat_bench.reports.run.build import report

    report([made.folder], images=False)


SEGMENTER = """
import numpy as np
from hlmat_bench.testing import DiscSegmenter

class Session:
    def __init__(self, image):
        self.shape = image.shape[:2]
    def predict(self, clicks, box=None):
        return {mask}

class Odd(DiscSegmenter):
    def open(self, image):
        return Session(image)

SEGMENTERS = {{"odd": Odd}}
"""


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("None", "returned NoneType"),
        ("np.zeros((3, 4), bool)", r"returned bool (3, 4)"),
        ("np.full(self.shape, np.nan)", "returned float64"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_a_segmenters_plugin_must_not_return_is_one_sentence(
    task: str, tmp_path: Path, mask: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(SEGMENTER.format(mask=mask))
    with pytest.raises(PluginFailed) as caught:
        hlmat_bench.run("center", task, str(tmp_path / "odd.py"), out=tmp_path / "run", limit=3)
    assert said in str(caught.value)
    assert "the sample boxes/" in str(caught.value)


# Files that are lost, doubled or changed


def test_a_folder_with_episodes_and_no_manifest_is_refused(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=3)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"holds episodes but no run\.json"):
        hlmat_bench.run("random", task, tool, out=tmp_path, limit=3)


def test_a_sample_that_stands_twice_is_named_with_its_lines(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4)
    lines = (tmp_path / EPISODES).read_bytes().splitlines(keepends=True)
    (tmp_path / EPISODES).write_bytes(b"".join([*lines, lines[1]]))
    for reads in (made.score, lambda: hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=4)):
        with pytest.raises(UsageError, match="stands twice in .*, in the lines 2 and 5"):
            reads()


def test_a_lock_that_does_not_hold_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunLock(tmp_path):
        pass
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)  # a file system that grants every lock
    with pytest.raises(UsageError, match="no locks that work.*--no-lock"), RunLock(tmp_path):
        pass
    with RunLock(tmp_path, used=False):
        pass


@pytest.fixture
def copied(task: str, tmp_path: Path) -> Path:
    """The task's data, to be changed."""
    shutil.copytree(Path(task).parent, tmp_path / "data")
    return tmp_path / "data"


CUTTER = """
import os
from hlmat_bench.testing import DiscSegmenter

class Cutter(DiscSegmenter):
    opened = 0
    def open(self, image):
        Cutter.opened += 1
        if Cutter.opened == 30:
            {deed}
        return super().open(image)

SEGMENTERS = {{"cutter": Cutter}}
"""


@pytest.mark.parametrize("deed", ["os.truncate(PATH, 100)", "os.remove(PATH)"])
def test_episodes_that_vanish_while_a_run_goes_on_are_noticed(task: str, tmp_path: Path, deed: str) -> None:
    path = tmp_path / "run" / EPISODES
    (tmp_path / "cutter.py").write_text(CUTTER.format(deed=deed.replace("PATH", repr(str(path)))))
    with pytest.raises(UsageError) as caught:
        hlmat_bench.run("center", task, str(tmp_path / "cutter.py"), out=tmp_path / "run", concurrency=1)
    assert str(path) in str(caught.value) or "run it first" in str(caught.value)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is None


@pytest.mark.parametrize(("file", "name"), [("images/3.png", "image"), ("masks/3_left.png", "ground truth")])
def test_data_that_changes_while_a_run_goes_on_is_noticed(copied: Path, tmp_path: Path, file: str, name: str) -> None:
    """The segmenter replaces a file that was played before by another of the same kind."""
    deed = f"import shutil; shutil.copy({str(copied / file.replace('3', '9', 1))!r}, {str(copied / file)!r})"
    (tmp_path / "cutter.py").write_text(CUTTER.format(deed=deed))
    with pytest.raises(UsageError, match=f"The {name} of the sample boxes/3_.* is not the one"):
        hlmat_bench.run(
            "center", str(copied / "boxes.yaml"), str(tmp_path / "cutter.py"), out=tmp_path / "run", concurrency=1
        )
    assert json.loads((tmp_path / "run" / "run.json").read_text())["finished"] is None


def test_scores_that_are_not_of_these_episodes_are_computed_again(task: str, tool: str, tmp_path: Path) -> None:
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=6)
    right = made.scores()
    wrong = json.loads((tmp_path / "scores.json").read_text())
    wrong["selection"]["final"]["miou"] = 0.999
    (tmp_path / "scores.json").write_text(json.dumps(wrong))
    assert Run(tmp_path).scores() == right
    assert json.loads((tmp_path / "scores.json").read_text()) == right
    lines = (tmp_path / EPISODES).read_bytes().splitlines(keepends=True)
    (tmp_path / EPISODES).write_bytes(b"".join(lines[:5]))
    assert Run(tmp_path).scores()["n"] == 5
    assert not Run(tmp_path).finished()


@pytest.mark.parametrize("loss", ["lost", "torn", "limit", "unfinished"])
def test_shards_that_lack_episodes_are_not_merged_in_silence(task: str, tool: str, tmp_path: Path, loss: str) -> None:
    limit = 5 if loss == "limit" else None
    parts = [
        hlmat_bench.run(
            "oracle", task, tool, out=tmp_path / f"{n}", shard=f"{n}/2", limit=limit if n == 2 else None
        ).folder
        for n in (1, 2)
    ]
    path = parts[1] / EPISODES
    if loss == "lost":
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-3]))
    if loss == "torn":
        path.write_bytes(path.read_bytes()[:-7])
    if loss == "unfinished":
        document = json.loads((parts[1] / "run.json").read_text())
        (parts[1] / "run.json").write_text(json.dumps(document | {"finished": None}))
    with pytest.raises(UsageError, match=r"--allow-incomplete"):
        shards.merge(parts, tmp_path / "merged")
    shards.merge(parts, tmp_path / "merged", allow_incomplete=True)
    merged = Run(tmp_path / "merged")
    assert merged.manifest["finished"] is None
    assert (
        merged.scores()["n"]
        == merged.manifest["samples"]
        == sum(path.read_bytes().count(b"\n") for path in (parts[0] / EPISODES, parts[1] / EPISODES))
    )


@pytest.mark.parametrize(("file", "name"), [("images/0.png", "image"), ("masks/0_left.png", "ground truth")])
def test_data_that_changes_under_a_run_is_refused(
    copied: Path, tool: str, tmp_path: Path, file: str, name: str
) -> None:
    task, other = str(copied / "boxes.yaml"), file.replace("0", "9", 1)
    hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4)
    shutil.copy(copied / other, copied / file)
    with pytest.raises(UsageError, match=f"The {name} of the sample .* is not the one"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=8)


def test_a_truth_that_was_corrected_before_its_turn_lets_the_run_continue(
    copied: Path, tool: str, tmp_path: Path
) -> None:
    task = str(copied / "boxes.yaml")
    hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", limit=4)
    shutil.copy(copied / "masks/9_left.png", copied / "masks/7_left.png")
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path / "run")
    assert made.scores()["n"] == 40


def test_a_smaller_limit_keeps_what_is_there(task: str, tool: str, tmp_path: Path) -> None:
    hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=6)
    made = hlmat_bench.run("oracle", task, tool, out=tmp_path, limit=2)
    assert (made.scores()["n"], made.manifest["limit"], made.manifest["samples"]) == (6, 6, 6)


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ("(_ for _ in ()).throw(MemoryError())", "The memory does not suffice"),
        (
            "(_ for _ in ()).throw(type('OutOfMemoryError', (RuntimeError,), {{}})('CUDA out of memory.'))",
            "--concurrency",
        ),
    ],
)
def test_memory_that_does_not_suffice_in_a_segmenter_is_one_sentence(
    task: str, tmp_path: Path, mask: str, said: str
) -> None:
    (tmp_path / "odd.py").write_text(SEGMENTER.format(mask=mask.format()))
    words = ["run", "--model", "center", "--task", task, "--segmenter", str(tmp_path / "odd.py"), "--limit", "3"]
    ran = command(*words, "--out", str(tmp_path / "run"))
    assert (ran.returncode, "Traceback" in ran.stderr) == (2, False)
    assert said in ran.stderr
    assert "the sample boxes/" in ran.stderr
