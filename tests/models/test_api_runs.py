"""Whole runs against a server that fails in every way, is left in the middle, and echoes the key wherever it can."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.core.text import redact
from hlmat_bench.runs.episode_log import recorded
from hlmat_bench.testing import Answer, ChatServer, Failure, completion
from tests.support.episodes import timeless
from tests.support.workers import await_that

pytestmark = pytest.mark.slow

TRAP = "Positive point: (1, 1)"  # what error texts say; no reply ever does
TRAP_PIXEL = (0, 0)
KEY = "sk-canary-8c1f5e0d"

Undisturbed: TypeAlias = "tuple[list[dict[str, Any]], Counter[str]]"

FAILURES: dict[str, Answer] = {
    "rate limit": Failure(429),
    "rate limit, with a pause": Failure(429, headers={"Retry-After": "0.1"}),
    "server error": Failure(500, body=json.dumps({"error": {"message": TRAP}})),
    "overloaded": Failure(503, body=TRAP, content_type="text/plain"),
    "reset": Failure(reset=True),
    "drop": Failure(drop=True),
    "hang": Failure(hang=60, drop=True),
    "half an answer": Failure(200, body=json.dumps(completion([TRAP])) + " ", cut=True),
    "invalid JSON": Failure(200, body=f'{{"choices": [{{"message": {{"content": "{TRAP}"}}'),
    "HTML": Failure(200, body=f"<html>{TRAP}</html>", content_type="text/html"),
    "text": Failure(200, body=TRAP, content_type="text/plain"),
    "no choices": completion([]) | {"text": TRAP},
    "an error in the body": {"error": {"message": TRAP, "code": 502}},
    "no message": {**completion([]), "choices": [{"index": 0, "error": TRAP}]},
}


class Flaky:
    """Clicks where the image says, so that every run is the same; each fifth request fails, in every way by turns.

    Attributes:
        answered: how often each question got its answer.
        held: questions that wait for `release`, from the ``hold_after``-th answer on.
    """

    def __init__(self, failures: Sequence[Answer] = (), hold_after: float = float("inf")) -> None:
        self.failures, self.hold_after = failures, hold_after
        self.answered: Counter[str] = Counter()
        self.held: set[str] = set()
        self.failed = 0
        self.requests = 0
        self.release = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, body: Any, image: Any, prompt: str) -> Answer:
        question = hashlib.sha256(image.tobytes() + prompt.encode()).hexdigest()
        with self._lock:
            self.requests += 1
            if self.failures and self.requests % 5 == 0:
                self.failed += 1
                return self.failures[self.failed % len(self.failures)]
            if self.answered.total() >= self.hold_after and not self.release.is_set():
                self.held.add(question)
            else:
                self.answered[question] += 1
        if question in self.held:
            self.release.wait(60)
        return f"Positive point: ({100 + int(question[:4], 16) % 800}, {100 + int(question[4:8], 16) % 800})"


def spec(server: ChatServer, extra: str = "") -> str:
    return f"openai,model=fake,base_url={server.base_url},points=xy1000,image_format=png,retries=20{extra}"


@pytest.fixture(scope="module")
def undisturbed(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Play against a server that never fails; return the episodes, and how often it answered each question."""
    steady = Flaky()
    with ChatServer(steady) as server:
        run = hlmat_bench.run(spec(server), task, tool, out=tmp_path_factory.mktemp("undisturbed") / "run", budget=4)
    return timeless(run), steady.answered


def check(run: hlmat_bench.Run, undisturbed: Undisturbed) -> None:
    episodes, _ = undisturbed
    assert timeless(run) == episodes
    assert len(episodes) == 40
    for episode in run.episodes():
        assert episode.error is None
        assert all((step.action.x, step.action.y) != TRAP_PIXEL for step in episode.steps)


def test_a_server_that_fails_in_every_way_changes_nothing(
    task: str, tool: str, tmp_path: Path, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hlmat_bench.models.api.retries.FIRST_PAUSE", 0.01)
    flaky = Flaky(list(FAILURES.values()))
    with ChatServer(flaky) as server:
        run = hlmat_bench.run(spec(server, ",timeout=4"), task, tool, out=tmp_path / "run", budget=4)
    assert flaky.failed >= 2 * len(FAILURES)
    check(run, undisturbed)
    assert flaky.answered == undisturbed[1]  # a question that comes twice: a click that left the mask as it was


def test_a_killed_run_continues_and_asks_nothing_again(
    task: str, tool: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """Killed when all eight running episodes wait for a reply: what was answered before is on disk."""
    failures = [failure for name, failure in FAILURES.items() if "rate limit" not in name]  # which slow down the rest
    flaky = Flaky(failures, hold_after=60)
    with ChatServer(flaky) as server:
        options = {"out": str(tmp_path / "run"), "budget": 4, "cache": str(tmp_path / "cache")}
        model = spec(server, ",timeout=4")
        code = f"import hlmat_bench; hlmat_bench.run({model!r}, {task!r}, {tool!r}, **{options!r})"
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        assert await_that(lambda: len(flaky.held) >= 8 or process.poll() is not None, seconds=60)
        assert process.poll() is None, process.stderr and process.stderr.read()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        flaky.release.set()
        finished = len(recorded(tmp_path / "run"))
        run = hlmat_bench.run(model, task, tool, **options)
    assert 0 < finished < 40
    check(run, undisturbed)
    assert set(flaky.answered) == set(undisturbed[1])
    assert set(flaky.answered.values()) == {1}


def test_a_server_that_goes_away_ends_the_run_and_the_same_command_goes_on(
    task: str, tool: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    """Connections break, then nobody listens: no episode is recorded as one that failed."""
    steady, leaving = Flaky(), threading.Event()

    def leave(*question: Any) -> Answer:
        if steady.requests < 60:
            return steady(*question)
        leaving.set()
        return Failure(drop=True)

    def play(model: str) -> hlmat_bench.Run:
        return hlmat_bench.run(model, task, tool, out=tmp_path / "run", budget=4)

    with ThreadPoolExecutor(1) as pool:
        with ChatServer(leave) as server:
            under_way = pool.submit(play, spec(server).replace("retries=20", "retries=3"))
            assert leaving.wait(60)
        with pytest.raises(UsageError, match=r"no server at 127\.0\.0\.1.*start it"):
            under_way.result(60)
    assert 0 < len(recorded(tmp_path / "run")) < 40
    with ChatServer(Flaky()) as server:
        check(play(spec(server)), undisturbed)


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (Failure(402, body=json.dumps({"error": {"message": "Insufficient credits"}})), "add credit"),
        (Failure(429, headers={"Retry-After": "25920"}), "used up until"),
        ({"error": {"message": "No more for today", "code": 402}}, "add credit"),
    ],
)
def test_a_quota_that_is_used_up_ends_the_run_and_the_same_command_continues(
    refusal: Answer, said: str, task: str, tool: str, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    steady, open_again = Flaky(), threading.Event()

    def answer(*question: Any) -> Answer:
        return steady(*question) if steady.requests < 30 or open_again.is_set() else refusal

    with ChatServer(answer) as server:
        with pytest.raises(UsageError, match=said):
            hlmat_bench.run(spec(server), task, tool, out=tmp_path / "run", budget=4, concurrency=4)
        assert 0 < len(recorded(tmp_path / "run")) < 40
        open_again.set()
        check(hlmat_bench.run(spec(server), task, tool, out=tmp_path / "run", budget=4), undisturbed)


def test_refusals_empty_replies_truncation_and_filters_are_told_apart(task: str, tool: str, tmp_path: Path) -> None:
    def answer(body: Any, image: Any, prompt: str) -> Answer:
        endings = [
            ("stop", {"content": "Positive point: (500, 500)"}),
            ("length", {"content": "Positive point: (50"}),
            ("length", {"content": ""}),
            ("stop", {"content": ""}),
            ("stop", {"content": "I cannot help with that."}),
            ("stop", {"content": None, "refusal": "Positive point: (500, 500) would be harmful."}),
            ("content_filter", {"content": "Positive point: (500, 500)"}),
        ]
        reason, message = endings[int(prompt.split(" box ")[1].split("\n")[0])]
        return completion([]) | {"choices": [{"finish_reason": reason, "message": message}]}

    with ChatServer(answer) as server:
        run = hlmat_bench.run(spec(server), task, tool, out=tmp_path / "run", limit=14, budget=1)
    steps = {episode.expression: episode.steps[0] for episode in run.episodes()}
    told = [(steps[f"the left box {i}"].action.reason, steps[f"the left box {i}"].finish) for i in range(7)]
    assert told == [
        (None, None),
        ("parse", "length"),
        ("empty", "length"),
        ("empty", None),
        ("refusal", None),
        ("refusal", "refusal"),
        ("refusal", "content_filter"),
    ]
    clicks = run.scores()["clicks"]
    assert clicks["invalid"] == {"empty": 4, "parse": 2, "refusal": 6}
    assert clicks["finish"] == {"content_filter": 2, "length": 4, "refusal": 2}
    assert list(run.to_dataframe()["finish"].dropna()) == ["length"] * 4 + ["refusal"] * 2 + ["content_filter"] * 2


def echoes() -> list[Answer]:
    """Everything in a response that a server can write the key into."""
    error = {"error": {"message": f"bad {KEY}", "type": KEY, "param": KEY, "code": KEY}}
    usage = {"prompt_tokens": KEY, "completion_tokens": 3, KEY: 1}
    choice = {"index": 0, "finish_reason": KEY, "message": {"role": KEY, "content": "x", "refusal": f"no {KEY}"}}
    return [
        f"Positive point: (500, 500) {KEY}",
        completion([f"say {KEY}"], model=KEY) | {"id": KEY, "system_fingerprint": KEY, "usage": usage},
        completion([]) | {"choices": [choice]},
        completion([]) | {"choices": [{"message": {"content": f"{KEY}{KEY}"}, "logprobs": KEY}]},
        completion([]) | error,
        completion([]) | {"error": KEY},
        Failure(400, body=json.dumps(error)),
        Failure(400, body=json.dumps({"error": {"code": "content_filter", "message": KEY}})),
        Failure(400, body=f"<html>{KEY}</html>", content_type="text/html"),
        Failure(429, body=KEY, content_type=f"text/{KEY}", headers={"Retry-After": KEY, "X-Request-Id": KEY}),
        Failure(500, body=json.dumps(error), headers={KEY: KEY}),
        Failure(200, body=KEY),
        Failure(200, body=KEY * 100, cut=True),
    ]


def test_the_key_reaches_no_file_no_log_and_no_screen(
    task: str, tool: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = echoes()
    with ChatServer(lambda *_: answers[len(server.asked) % len(answers)]) as server, caplog.at_level(logging.INFO):
        run = hlmat_bench.run(
            spec(server, f",retries=0,deadline=2,api_key={KEY}"), task, tool, out=tmp_path / "run", budget=2,
            cache=tmp_path / "cache", concurrency=1,
        )  # fmt: skip
        assert run.scores()["n"] == 40
        assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in server.asked)
        assert len(server.asked) > 2 * len(answers)
    errors = {episode.error for episode in run.episodes()}
    assert any("***" in str(error) for error in errors)
    assert KEY not in caplog.text
    search(tmp_path)


def test_the_command_line_shows_no_key(task: str, tool: str, tmp_path: Path) -> None:
    """Named in every way at once: as an option, in the environment, and in the address."""
    error = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    answers: list[Answer] = ["Finish", "Finish", Failure(401, body=json.dumps(error))]
    with ChatServer(lambda *_: answers.pop(0) if len(answers) > 1 else answers[0]) as server:
        url = server.base_url.replace("://", f"://user:{KEY}@")
        words = ["run", "--task", task, "--segmenter", tool, "--limit", "5", "--cache", "cache"]
        for model in (f"openai,model=m,points=xy1000,base_url={url},api_key={KEY}", "openai,api_key=" + KEY):
            for limit in ([], ["--limit", "1"]):
                done = subprocess.run(
                    [sys.executable, "-m", "hlmat_bench", *words, *limit, "--model", model],
                    cwd=tmp_path, env=os.environ | {"OPENAI_API_KEY": KEY}, capture_output=True, text=True,
                )  # fmt: skip
                assert KEY not in done.stdout + done.stderr
                assert "Traceback" not in done.stderr
        search(tmp_path)
        assert list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("openai,api_key=abc,points=xy1", "openai,api_key=***,points=xy1"),
        ("x,base_url=https://me:secret@host/v1,n=1", "x,base_url=https://***@host/v1,n=1"),
        ("x,base_url=http://host:80/v1,name=a@b", "x,base_url=http://host:80/v1,name=a@b"),
        ("x,base_url=http://host/v1?a=b&key=abc&c=d", "x,base_url=http://host/v1?a=b&key=***&c=d"),
        ("x,headers=X-Auth:Bearer abc+X-Team:b c,n=1", "x,headers=***,n=1"),
        ("x,key_env=MY_KEY,key_header=api-key,n=1", "x,key_env=MY_KEY,key_header=api-key,n=1"),
        ("max_tokens=4096", "max_tokens=4096"),
    ],
)
def test_a_command_line_is_shown_without_secrets(word: str, shown: str) -> None:
    assert redact(word) == shown


def search(folder: Path) -> None:
    """Check that the key is in no file under a folder, and in no file's name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY not in str(path)
        assert KEY.encode() not in path.read_bytes()
