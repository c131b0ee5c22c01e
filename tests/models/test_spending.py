"""Limits on requests and dollars: kept, clean, and continued from."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.models.api.limits import LimitReached
from hlmat_bench.testing import Answer, ChatServer, Failure, completion

pytestmark = pytest.mark.slow

TOKENS_IN, TOKENS_OUT = 400, 10
PRICES = "- {model: fake, input: 2.0, output: 20.0}"
COST = (TOKENS_IN * 2.0 + TOKENS_OUT * 20.0) / 1e6  # 0.001 dollars


def reply(text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT}
    return completion([text]) | {"usage": usage}


class Clicker:
    """A server that clicks somewhere else at every step, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: Any, image: Any, prompt: str) -> Answer:
        [name] = re.findall("The object: (.*)\n", prompt)
        self.asked[name] += 1
        return reply(f"Positive point: ({100 * self.asked[name]}, 500)")


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    (tmp_path / "prices.yaml").write_text(PRICES)
    return tmp_path / "prices.yaml"


def play(server: ChatServer, task: str, tool: str, out: Path, extra: str = "", **options: Any) -> hlmat_bench.Run:
    model = f"openai,model=fake,base_url={server.base_url},points=xy1000,retries=0{extra}"
    return hlmat_bench.run(model, task, tool, out=out, **{"limit": 10, "budget": 3, **options})


def test_the_number_of_requests_is_kept_and_no_episode_is_cut(task: str, tool: str, tmp_path: Path) -> None:
    """Ten episodes of three requests, ten requests a call: three episodes a call, and one left for the last."""
    clicker, out = Clicker(), tmp_path / "run"
    with ChatServer(clicker) as server:
        for finished in (3, 6, 9):
            with pytest.raises(LimitReached, match=f"{finished} of 10 episodes are done"):
                play(server, task, tool, out, max_requests=10)
            run = hlmat_bench.Run(out)
            assert run.scores()["n"] == finished == len(list(run.episodes()))
            assert len(server.asked) == 3 * finished
            assert run.manifest["finished"] is None
        run = play(server, task, tool, out, max_requests=10)
        whole = play(server, task, tool, tmp_path / "whole")
    assert set(clicker.asked.values()) == {6}  # thrice in each of the two runs
    assert [e.sample_id for e in run.episodes()] == [e.sample_id for e in whole.episodes()]
    assert run.manifest["protocol_fingerprint"] == whole.manifest["protocol_fingerprint"]
    assert run.manifest["finished"]


def test_what_an_episode_does_not_ask_is_left_for_others(task: str, tool: str, tmp_path: Path) -> None:
    """Each episode stops at once: ten requests are ten episodes."""
    with ChatServer(lambda *_: "Finish") as server:
        assert play(server, task, tool, tmp_path / "run", max_requests=12).scores()["n"] == 10
        with pytest.raises(LimitReached, match=r"after 8 requests.* 8 of 10"):
            play(server, task, tool, tmp_path / "less", max_requests=10)


def test_failed_requests_count(task: str, tool: str, tmp_path: Path) -> None:
    """One episode stops at once and two fail; of five requests two are left, too few for an episode of three."""
    answers: list[Answer] = ["Finish"]
    server = ChatServer(lambda *_: answers.pop() if answers else Failure(400))
    with server, pytest.raises(LimitReached, match="3 of 10"):
        play(server, task, tool, tmp_path / "run", max_requests=5, concurrency=1)


def test_dollars_are_recorded_added_up_and_kept(task: str, tool: str, tmp_path: Path, prices: Path) -> None:
    with ChatServer(Clicker()) as server:
        with pytest.raises(LimitReached, match=r"\$0\.009.* 3 of 10"):
            play(server, task, tool, tmp_path / "run", f",prices={prices}", max_cost=11 * COST, concurrency=1)
        run = play(server, task, tool, tmp_path / "run", f",prices={prices}")
    for episode in run.episodes():
        assert [step.cost for step in episode.steps] == pytest.approx([COST] * 3)
    assert run.scores()["cost"]["dollars"] == pytest.approx(30 * COST)
    assert run.to_dataframe()["cost"].sum() == pytest.approx(30 * COST)


def test_dollars_are_exceeded_by_no_more_than_what_is_under_way(
    task: str, tool: str, tmp_path: Path, prices: Path
) -> None:
    """All ten episodes begin before the first reply says what one costs."""
    with ChatServer(Clicker()) as server:
        with pytest.raises(LimitReached):
            play(server, task, tool, tmp_path / "run", f",prices={prices}", max_cost=5 * COST, concurrency=10)
        assert 5 <= len(server.asked) <= 5 + 9


def test_an_unknown_price_is_unknown_and_never_nothing(task: str, tool: str, tmp_path: Path, prices: Path) -> None:
    with ChatServer(Clicker()) as server:
        run = play(server, task, tool, tmp_path / "run")
        assert run.scores()["cost"]["dollars"] is None
        assert all("cost" not in step.to_json() for episode in run.episodes() for step in episode.steps)
        with pytest.raises(UsageError, match="price of fake is unknown"):
            play(server, task, tool, tmp_path / "other", max_cost=1.0)
        assert not (tmp_path / "other").exists()
    with ChatServer(lambda *_: completion(["Finish"]) | {"usage": None}) as server:
        run = play(server, task, tool, tmp_path / "free", f",prices={prices}")
        assert run.scores()["cost"]["dollars"] is None
        with pytest.raises(UsageError, match="does not say how many tokens"):
            play(server, task, tool, tmp_path / "limited", f",prices={prices}", max_cost=1.0)


def test_one_unknown_cost_makes_the_sum_unknown(task: str, tool: str, tmp_path: Path, prices: Path) -> None:
    answers = [reply("Finish"), completion(["Finish"]) | {"usage": None}]
    with ChatServer(lambda *_: answers[0] if len(answers) == 1 else answers.pop()) as server:
        run = play(server, task, tool, tmp_path / "run", f",prices={prices}", concurrency=1)
    costs = [step.cost for episode in run.episodes() for step in episode.steps]
    assert costs[0] is None
    assert costs[1:] == pytest.approx([COST] * 9)
    assert run.scores()["cost"]["dollars"] is None


def test_the_command_line_ends_with_one_sentence_and_goes_on(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(Clicker()) as server:
        words = [sys.executable, "-m", "hlmat_bench", "run", "--task", task, "--segmenter", tool, "--limit", "4"]
        words += ["--model", f"openai,model=fake,base_url={server.base_url},points=xy1000", "--budget", "3"]
        words += ["--out", str(tmp_path / "run"), "--max-requests", "6", "--max-cost"]
        refused = subprocess.run([*words, "1"], capture_output=True, text=True)
        ends = [subprocess.run(words[:-1], capture_output=True, text=True) for _ in range(2)]
    assert refused.returncode == 2
    assert "prices=" in refused.stderr
    assert [done.returncode for done in ends] == [2, 0]
    assert ends[0].stderr.splitlines()[-1] == (
        "error: A limit is reached after 6 requests: 2 of 4 episodes are done and scored; the same command continues "
        "from there."
    )


def test_limits_that_make_no_sense_are_refused(task: str, tool: str, tmp_path: Path) -> None:
    with ChatServer(lambda *_: "Finish") as server, pytest.raises(UsageError, match="may take 3 requests"):
        play(server, task, tool, tmp_path / "run", max_requests=2)
    with pytest.raises(UsageError, match="oracle runs here"):
        hlmat_bench.run("oracle", task, tool, out=tmp_path / "run", max_requests=100)
    assert not (tmp_path / "run").exists()
