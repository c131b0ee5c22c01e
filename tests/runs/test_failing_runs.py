"""Runs that cannot work, or work half of the time: no failure becomes a score in silence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.protocol.records import EPISODES
from hlmat_bench.runs.episode_log import EARLY, HISTORY
from hlmat_bench.runs.reply_journal import JOURNAL
from hlmat_bench.runs.run_folder import Run
from hlmat_bench.testing import Answer, ChatServer, Failure, completion

pytestmark = pytest.mark.slow

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
        corrected = play(server, task, tool, tmp_path / "run")
        assert corrected.scores()["failures"]["episodes"] == 0
        assert stops(corrected.folder) == ["budget"] * 8


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
    """Credit is used up at every fourth answer, with several running episodes; each time the run continues."""
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
        assert re.search(r"2 \(25\.0 %\)", ran.stdout)
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


def test_a_leaderboard_takes_no_run_of_failures(task: str, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.reports.leaderboard.submission import Declaration, make_entry

    with ChatServer(Server(broken=lambda prompt: "box 1\n" in prompt)) as server:
        made = play(server, task, tool, tmp_path / "run")
        declared = Declaration("A. Person", "not trained on it", open_weights=True)
        with pytest.raises(UsageError, match="2 of 8 episodes failed .* more than 1%"):
            make_entry(made, declared)
        server.answer = Server()
        entry = make_entry(play(server, task, tool, tmp_path / "run"), declared)
    assert (entry.scores.failures.episodes, entry.scores.failures.share) == (0, 0.0)


def test_a_report_says_what_failed_and_what_is_missing(task: str, tool: str, tmp_path: Path) -> None:
    from hlmat_bench.reports.build import report

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
        ("Positive point: (0.45, 0.2)", "xy1000", r"All 8 clicks are in the upper left corner.*point format xy1000"),
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
    notes = [line for line in ran.stderr.splitlines() if " on boxes: " not in line]
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
