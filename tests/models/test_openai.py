"""The openai adapter against a server on this machine: what is sent, what is retried, what is said of failures."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import JpegImagePlugin

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.points import PointFormat
from hlmat_bench.points.syntaxes import SYNTAXES
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.testing import Answer, ChatServer, Failure, completion
from tests.support.asking import (
    KEY,
    PLUGIN,
    SAYS,
    OpenAIModel,
    ask,
    check_secrecy,
    picture,
    reply_once,
    request,
    sequence,
)

pytestmark = pytest.mark.usefixtures("no_settings_from_outside")


# What is sent


def test_a_request_holds_the_image_the_prompt_and_the_decoding() -> None:
    with ChatServer(lambda *_: SAYS, key=KEY) as server:
        (reply,) = ask(server, request(max_tokens=33))
    (asked,) = server.asked
    assert (reply.text, reply.tokens_in, reply.tokens_out) == (SAYS, 4, 4)
    assert reply.seconds > 0
    assert reply.cost is None
    body = asked.body
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
    assert asked.prompt == "where is the cat"
    assert len(body.pop("messages")) == 1
    assert body == {"model": "fake", "temperature": 0.0, "seed": 7, "max_tokens": 33}


def test_png_arrives_without_loss() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 3), dtype=np.uint8)
    with ChatServer(lambda *_: SAYS) as server:
        ask(server, request(image=noise), image_format="png")
    assert server.asked[0].media_type == "image/png"
    assert server.asked[0].image is not None
    assert np.array_equal(server.asked[0].image, noise)


@pytest.mark.parametrize(("subsampling", "code", "error"), [("444", 0, 12), (444, 0, 12), ("4:2:0", 2, 255)])
def test_jpeg_arrives_with_the_colours_declared(subsampling: str | int, code: int, error: int) -> None:
    with ChatServer(lambda *_: SAYS) as server:
        ask(server, subsampling=subsampling)
    asked = server.asked[0]
    assert asked.image is not None
    assert asked.media_type == "image/jpeg"
    file = Pillow.open(io.BytesIO(asked.data))
    assert isinstance(file, JpegImagePlugin.JpegImageFile)
    assert JpegImagePlugin.get_sampling(file) == code  # 0 is 4:4:4, 2 is 4:2:0
    worst = int(np.abs(asked.image.astype(int) - picture()).max())
    assert (worst <= 12) is (code == 0)
    assert worst <= error


def test_options_change_the_request() -> None:
    options = {
        "max_tokens_param": "max_completion_tokens",
        "leave_out": "temperature+seed",
        "reasoning_effort": "low",
        "detail": "high",
    }
    with ChatServer(lambda *_: SAYS) as server:
        ask(server, request(max_tokens=5), **options)
    body = server.asked[0].body
    assert body.pop("messages")[0]["content"][0]["image_url"]["detail"] == "high"
    assert body == {"model": "fake", "max_completion_tokens": 5, "reasoning_effort": "low"}


def test_a_server_is_told_to_keep_the_tags_around_coordinates() -> None:
    """vLLM and its like drop special tokens otherwise; OpenAI's own service knows no such field."""
    for name, syntax in SYNTAXES.items():
        with ChatServer(lambda *_: SAYS) as server:
            reply_once(OpenAIModel("fake", f"xy1000-{name}", base_url=server.base_url))
            left_out = {"leave_out": "skip_special_tokens"}
            reply_once(OpenAIModel("fake", f"xy1000-{name}", base_url=server.base_url, **left_out))
        kept = [asked.body.get("skip_special_tokens") for asked in server.asked]
        begins_with_tag = syntax.write("Positive", "500", "250").startswith("<")
        assert kept == [False if begins_with_tag else None, None], name


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    monkeypatch.setenv("OTHER_KEY", "two")
    with ChatServer(lambda *_: SAYS) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        for options in ({}, {"key_env": "OTHER_KEY"}, {"api_key": "three"}, {"key_env": "ABSENT"}):
            reply_once(OpenAIModel("fake", "xy1000", **options))
    sent = [asked.headers.get("authorization") for asked in server.asked]
    assert sent == ["Bearer one", "Bearer two", "Bearer three", None]


def test_a_user_and_a_password_in_the_address_stand_in_for_a_key() -> None:
    with ChatServer(lambda *_: SAYS) as server:
        url = server.base_url.replace("://", "://me:s%40crets@")
        for options in ({}, {"api_key": KEY}):
            reply_once(OpenAIModel("fake", "xy1000", base_url=url, **options))
    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Basic bWU6c0BjcmV0cw==", f"Bearer {KEY}"]  # base64 of me:s@crets


def test_requests_run_at_the_same_time() -> None:
    there = []

    def answer(body: Any, image: Any, prompt: str) -> Answer:
        there.append(prompt)
        for _ in range(500):  # until all four are here
            if len(there) == 4:
                return SAYS
            time.sleep(0.01)
        return Failure(400)

    async def together() -> list[list[Reply]]:
        model = OpenAIModel("fake", "xy1000", base_url=server.base_url)
        replies = await asyncio.gather(*(model.reply(request(prompt=str(i))) for i in range(4)))
        await model.close()
        return replies

    with ChatServer(answer) as server:
        assert [reply.text for (reply,) in asyncio.run(together())] == [SAYS] * 4


# What is retried, and what is not


@pytest.mark.slow
@pytest.mark.parametrize(
    "failure", [Failure(429), Failure(500), Failure(503), Failure(408), Failure(drop=True), Failure(hang=60, drop=True)]
)
def test_a_passing_failure_is_retried(failure: Failure) -> None:
    with ChatServer(sequence(failure, SAYS)) as server:
        (reply,) = ask(server, timeout=3.0, retries=1)
    assert reply.text == SAYS
    assert len(server.asked) == 2
    assert server.asked[0].body == server.asked[1].body


@pytest.mark.slow
def test_retry_after_is_heeded() -> None:
    came = []

    def answer(*_: Any) -> Answer:
        came.append(time.monotonic())
        return Failure(429, headers={"Retry-After": "1"}) if len(came) == 1 else SAYS

    with ChatServer(answer) as server:
        ask(server, retries=1)
    assert came[1] - came[0] >= 0.95


@pytest.mark.slow
def test_a_request_ends_at_its_deadline() -> None:
    with ChatServer(lambda *_: Failure(hang=60)) as server:
        with pytest.raises(RequestFailed, match="within 1 seconds, all attempts together") as caught:
            ask(server, deadline=1)
        check_secrecy(caught.value)
        with pytest.raises(RequestFailed):
            ask(server, timeout=0.5, deadline=1.2)
    assert 2 <= len(server.asked) <= 1 + 3


@pytest.mark.slow
def test_a_server_that_refuses_many_requests_is_asked_fewer_at_once() -> None:
    busy, refused = 0, 0
    lock = threading.Lock()

    def answer(*_: Any) -> Answer:
        nonlocal busy, refused
        with lock:
            busy += 1
            full = busy > 4
            refused += full
        time.sleep(0.01)
        with lock:
            busy -= 1
        return Failure(429) if full else SAYS

    async def together() -> list[list[Reply]]:
        model = OpenAIModel("fake", "xy1000", base_url=server.base_url, retries=20)
        replies = await asyncio.gather(*(model.reply(request(prompt=str(i))) for i in range(60)))
        await model.close()
        return replies

    with ChatServer(answer) as server:
        assert [reply.text for (reply,) in asyncio.run(together())] == [SAYS] * 60
    assert 0 < refused < 120


FOREVER = {
    "server error": (Failure(500), "HTTP 500"),
    "drop": (Failure(drop=True), "the connection to 127.0.0.1 broke"),
    "reset": (Failure(reset=True), "the connection to 127.0.0.1 broke"),
    "half an answer": (Failure(200, body="{}", cut=True), "the connection to 127.0.0.1 broke"),
    "hang": (Failure(hang=60), "did not answer within 0.5 seconds"),
    "bad request": (Failure(400), "HTTP 400"),
    "too large": (Failure(413), "HTTP 413"),
    "invalid JSON": (Failure(200, body='{"choices": ['), "not a JSON object"),
    "not UTF-8": (Failure(200, body='{"choices": "\udcff"}'), "not a JSON object"),
    "HTML": (Failure(200, body="<html>hello</html>", content_type="text/html"), "not a JSON object"),
    "empty body": (Failure(200, body=""), "not a JSON object"),
    "list": (Failure(200, body="[]"), "not a JSON object"),
    "null": (Failure(200, body="null"), "not a JSON object"),
    "no choices": (completion([]), "has no choice"),
    "choices null": ({**completion([]), "choices": None}, "has no choice"),
    "choices odd": ({**completion([]), "choices": [1, None]}, "without text"),
    "nested too deep": (Failure(200, body="[" * 100_000), "not a JSON object"),
    "plain completions": (
        {**completion([]), "choices": [{"text": SAYS, "finish_reason": "stop"}]},
        "plain completion",
    ),
    "a piece of a stream": ({**completion([]), "choices": [{"delta": {"content": SAYS}}]}, "a part of a stream"),
    "broken off": (
        {**completion([]), "choices": [{"message": {"content": SAYS}, "finish_reason": "abort"}]},
        "was interrupted (finish_reason abort)",
    ),
    "broken off, with an error": (
        {**completion([]), "choices": [{"message": {"content": SAYS}, "error": {"code": 502, "message": "lost"}}]},
        "lost",
    ),
    "an error beside choices": ({**completion([SAYS]), "error": {"message": "lost"}}, "lost"),
    "error in the body": ({"error": {"message": f"overloaded {KEY}", "code": 502}}, "overloaded ***"),
    "content null": ({**completion([]), "choices": [{"message": {"content": None}}]}, "without text"),
    "content a number": ({**completion([]), "choices": [{"message": {"content": 5}}]}, "without text"),
    "message null": ({**completion([]), "choices": [{"message": None}]}, "without text"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FOREVER)
def test_a_lasting_failure_is_a_failed_request(case: str) -> None:
    answer, reason = FOREVER[case]
    with ChatServer(lambda *_: answer) as server, pytest.raises(RequestFailed) as caught:
        ask(server, timeout=0.5 if case == "hang" else 10, retries=1)
    assert reason in str(caught.value)
    check_secrecy(caught.value)
    assert len(server.asked) == (1 if case in ("bad request", "too large") else 2)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Failure(401, body=json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}})), "OPENAI_API_KEY"),
        (Failure(403), "OPENAI_API_KEY"),
        (Failure(404), "model=fake"),
        (Failure(404, body=f"<html>{KEY}", content_type="text/html"), "base_url="),
        (Failure(308, headers={"Location": f"http://127.0.0.1:1/{KEY}"}), "base_url="),
        (Failure(400, code="unsupported_parameter"), "max_tokens_param=max_completion_tokens"),
        (Failure(400, code="unsupported_value"), "leave_out=temperature"),
        (Failure(429, code="insufficient_quota"), "add credit"),
    ],
)
def test_what_no_request_can_escape_is_told_to_the_user(failure: Failure, reason: str) -> None:
    with ChatServer(lambda *_: failure) as server, pytest.raises(UsageError) as caught:
        ask(server, retries=0)
    assert reason in str(caught.value)
    check_secrecy(caught.value)


def test_a_wrong_key_and_an_unknown_model_on_the_fake_server() -> None:
    with ChatServer(lambda *_: SAYS, key="another", models=["other"]) as server:
        with pytest.raises(UsageError, match=r"key provided: \*\*\*") as caught:
            ask(server)
        check_secrecy(caught.value)
        with pytest.raises(UsageError, match="'fake' does not exist"):
            ask(server, api_key="another")


def test_an_absent_server_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = OpenAIModel("fake", "xy1000", base_url=f"http://127.0.0.1:{port}/v1", retries=1000)
    with pytest.raises(UsageError, match=f"no server at 127.0.0.1:{port}"):
        reply_once(model)
    model = OpenAIModel("fake", "xy1000", base_url="http://no-such-host.invalid/v1", retries=1000)
    with pytest.raises(UsageError, match="no server at no-such-host.invalid:80"):
        reply_once(model)


def test_a_server_that_goes_away_later_is_told_too() -> None:
    with ChatServer(lambda *_: SAYS) as server:
        model = OpenAIModel("fake", "xy1000", base_url=server.base_url, retries=0)
        reply_once(model)
    with pytest.raises(UsageError, match=r"no server at 127\.0\.0\.1"):
        reply_once(model)


# What a user can get wrong; what is said of the model


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "model= and points="),
        ({"model": "m"}, "model= and points="),
        ({"model": "m", "points": "zz"}, "point format"),
        ({"model": "m", "points": "xy1", "base_url": "localhost:8000"}, "http://localhost:8000/v1"),
        ({"model": "m", "points": "xy1"}, "OPENAI_API_KEY"),
        ({"model": "m", "points": "xy1", "key_env": "MY_KEY"}, "MY_KEY"),
        ({"model": "m", "points": "xy1", "api_key": "k", "image_format": "gif"}, "image format"),
        ({"model": "m", "points": "xy1", "api_key": "k", "quality": 0}, "quality"),
        ({"model": "m", "points": "xy1", "api_key": "k", "subsampling": "411"}, "subsampling"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        OpenAIModel(**options)


def test_the_spec_holds_what_answers_depend_on_and_no_secret() -> None:
    spec = {}
    for name, more in {"a": {}, "b": {"quality": 75}, "c": {"image_format": "png"}, "d": {"detail": "low"}}.items():
        url = "https://user:canary-password@llm.example.org:8443/secret/v1"
        model = OpenAIModel("big-model", "segagent-qwen", base_url=url, api_key=KEY, **more)
        spec[name] = json.dumps(model.spec(), sort_keys=True)
        assert KEY not in spec[name] + repr(model) + str(model)
        assert "canary" not in spec[name]
    assert len(set(spec.values())) == 4
    first = json.loads(spec["a"])
    assert first["host"] == "llm.example.org"
    assert first["image"] == {"format": "jpeg", "quality": 95, "subsampling": "4:4:4", "detail": None}
    assert model.points == PointFormat.named("segagent-qwen")
    assert (model.name, model.concurrency, model.deterministic) == ("big-model", 8, True)


def test_a_model_that_draws_at_temperature_0_is_not_deterministic() -> None:
    options = {"model": "m", "points": "xy1", "api_key": "k"}
    assert not OpenAIModel(**options, leave_out="temperature").deterministic
    assert not OpenAIModel(**options, deterministic=False).deterministic


def test_listing_imports_no_client() -> None:
    code = (
        "import sys; from hlmat_bench.protocol import plugins; "
        f"print(plugins.find('model', {str(PLUGIN)!r}).missing, 'openai' in sys.modules, 'cv2' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["None", "False", "False"]
