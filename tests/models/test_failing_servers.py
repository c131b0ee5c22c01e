"""Thirty kinds of server failure, each through whole runs: lasting ones end the run, and single ones are counted.

In both cases the same command then gives the episodes of an undisturbed run, and asks no answered question again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hlmat_bench
from hlmat_bench.core.errors import UsageError
from hlmat_bench.testing import Answer, ChatServer, Failure, completion
from tests.models.test_api_runs import Flaky, Undisturbed, spec
from tests.support.episodes import timeless

pytestmark = pytest.mark.slow

TRAP = "Positive point: (1, 1)"
PLAYED: dict[str, Any] = {"limit": 12, "budget": 3}


def says(message: str, status: int = 400, /, **more: Any) -> Failure:
    return Failure(status, body=json.dumps({"error": {"message": message, **more}}))


def page(status: int, title: str) -> Failure:
    return Failure(status, body=f"<html><head><title>{title}</title></head>{TRAP}</html>", content_type="text/html")


def choice(**fields: Any) -> dict[str, Any]:
    return completion([]) | {"choices": [{"index": 0, **fields}]}


#: What no request can get over: the run ends at the first one.
ENDS: dict[str, Answer] = {
    "a wrong key": says("Incorrect API key provided", 401),
    "a bad key as 400": says("API key not valid. Please pass a valid API key.", 400, status="INVALID_ARGUMENT"),
    "no credit": says("This account has insufficient credits", 402),
    "no credit as 400": says("Your credit balance is too low to access the API", 400),
    "an unknown model": says("The model `fake` does not exist", 404, code="model_not_found"),
    "an unknown model as 400": Failure(400, body='{"detail": "Invalid model name passed in model=fake"}'),
    "a wrong path in a 200": {"error": "Unexpected endpoint or method. (POST /chat/completions)"},
    "a wrong key in a 200": {"error": {"code": 401, "message": "No such user."}},
    "no images": says("image input is not supported", 500),
    "a field": Failure(
        400, body='[{"error": {"code": 400, "message": "Unknown name \\"seed\\": Cannot find field."}}]'
    ),
    "an extra field": Failure(
        422, body='{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs"}]}'
    ),
    "a day's quota": Failure(429, headers={"Retry-After": "25920"}),
    "a day's quota in words": says("Rate limit exceeded: free-models-per-day", 429),
    "another address": Failure(308, headers={"Location": "https://127.0.0.1/v2"}),
}

#: What single requests meet: recorded and counted; where many in a row do, the run ends.
FAILS: dict[str, Answer] = {
    "a server error": says(TRAP, 500),
    "a page of a gateway": page(502, "502 Bad Gateway"),
    "overloaded": Failure(503, body=TRAP, content_type="text/plain"),
    "too large": page(413, "413 Request Entity Too Large"),
    "too long": says("This model's maximum context length is 4096 tokens", 400),
    "a bad image": says("Could not process image", 400),
    "a drop": Failure(drop=True),
    "a reset": Failure(reset=True),
    "half an answer": Failure(200, body=json.dumps(completion([TRAP])) + " ", cut=True),
    "invalid JSON": Failure(200, body='{"choices": [{"message": {"content": "Positive point'),
    "no JSON": page(200, "Welcome"),
    "a deep answer": Failure(200, body="[" * 100_000),
    "an error in a 200": {"error": {"message": TRAP, "code": 502}},
    "a generation that broke off": choice(message={"content": TRAP}, finish_reason="error"),
    "an abort": choice(message={"content": TRAP}, finish_reason="abort"),
    "no message": choice(error=TRAP),
    "plain completions": choice(text=TRAP, finish_reason="stop"),
    "a piece of a stream": choice(delta={"content": TRAP}, finish_reason="stop"),
    "no text": choice(message={"content": 5}),
}

Play = Callable[[ChatServer], hlmat_bench.Run]


@pytest.fixture
def play(task: str, tool: str, tmp_path: Path) -> Play:
    def run(server: ChatServer) -> hlmat_bench.Run:
        model = spec(server).replace("retries=20", "retries=0")
        return hlmat_bench.run(model, task, tool, out=tmp_path / "run", max_failures=4, concurrency=3, **PLAYED)

    return run


@pytest.fixture(scope="module")
def undisturbed(task: str, tool: str, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Play against a server that never fails; return the episodes, and how often it answered each question."""
    steady = Flaky()
    with ChatServer(steady) as server:
        run = hlmat_bench.run(spec(server), task, tool, out=tmp_path_factory.mktemp("undisturbed") / "run", **PLAYED)
    return timeless(run), steady.answered


def failing(steady: Flaky, failure: Answer, *, wrong: Callable[[], bool]) -> Callable[..., Answer]:
    return lambda *question: failure if wrong() else steady(*question)


@pytest.mark.parametrize("kind", ENDS | FAILS)
def test_a_lasting_failure_ends_the_run_and_leaves_nothing(
    kind: str, play: Play, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    steady, broken = Flaky(), True
    server = ChatServer(failing(steady, (ENDS | FAILS)[kind], wrong=lambda: broken and steady.requests >= 13))
    with server:
        with pytest.raises(UsageError) as caught:
            play(server)
        assert str(caught.value).count("\n") == 0
        assert '"error"' not in (tmp_path / "run" / "episodes.jsonl").read_text().replace('"error":null', "")
        assert not (tmp_path / "run" / "scores.json").exists()
        broken = False
        assert timeless(play(server)) == undisturbed[0]
    assert steady.answered == undisturbed[1]


@pytest.mark.parametrize("kind", FAILS)
def test_a_failure_now_and_then_is_counted_and_asked_again(kind: str, play: Play, undisturbed: Undisturbed) -> None:
    steady, requests, broken = Flaky(), [0], True

    def now_and_then() -> bool:
        requests[0] += 1
        return broken and requests[0] % 9 == 0

    with ChatServer(failing(steady, FAILS[kind], wrong=now_and_then)) as server:
        run = play(server)
        failed = [episode for episode in run.episodes() if episode.stop == "error"]
        assert len(failed) == run.scores()["failures"]["episodes"] > 0
        assert run.scores()["n"] == 12
        assert sum(run.scores()["failures"]["reasons"].values()) == len(failed)
        broken = False
        assert timeless(play(server)) == undisturbed[0]
    assert steady.answered == undisturbed[1]


def test_a_withheld_prompt_is_a_refusal_and_the_run_continues(play: Play) -> None:
    steady, requests = Flaky(), [0]

    def now_and_then() -> bool:
        requests[0] += 1
        return requests[0] % 9 == 0

    withheld = says("Your input was flagged by our safety system", 403)
    with ChatServer(failing(steady, withheld, wrong=now_and_then)) as server:
        scores = play(server).scores()
    assert (scores["failures"]["episodes"], scores["failures"]["refused"]) == (
        0,
        scores["clicks"]["invalid"]["refusal"],
    )
    assert scores["failures"]["refused"] > 0
