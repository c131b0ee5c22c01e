"""The replies of the openai adapter: how many, why they ended, and what they cost."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.core.errors import RequestFailed, TryAgain
from hlmat_bench.models.api import chat
from hlmat_bench.models.api.decisions import ErrorAnswer
from hlmat_bench.protocol.interfaces import Reply
from hlmat_bench.testing import ChatServer, Failure, completion
from tests.support.asking import KEY, SAYS, ask, request

pytestmark = pytest.mark.usefixtures("no_settings_from_outside")


def test_n_replies_come_from_one_request_where_the_server_can() -> None:
    with ChatServer(lambda *_: ["a b", "c", "d"]) as server:
        replies = ask(server, request(n=3, temperature=0.7))
    assert [reply.text for reply in replies] == ["a b", "c", "d"]
    assert [reply.tokens_out for reply in replies] == [2, 1, 1]  # the server says 4 for all
    assert len(server.asked) == 1
    assert (server.asked[0].body["n"], server.asked[0].body["temperature"]) == (3, 0.7)


def test_a_server_that_gives_fewer_is_asked_again_with_other_seeds() -> None:
    with ChatServer(lambda body, image, prompt: [f"seed {body['seed']}"]) as server:
        replies = ask(server, request(n=3, temperature=1.0))
    assert [reply.text for reply in replies] == ["seed 7", "seed 8", "seed 9"]
    assert [asked.body.get("n") for asked in server.asked] == [3, 2, None]


def test_more_choices_than_wanted_are_dropped() -> None:
    with ChatServer(lambda *_: ["a", "b", "c"]) as server:
        assert [reply.text for reply in ask(server)] == ["a"]


def test_refusals_and_empty_texts_are_replies() -> None:
    refusal = {**completion([]), "choices": [{"message": {"content": None, "refusal": "I can't help with that."}}]}
    for answer, text in ((refusal, "I can't help with that."), ("", ""), (" \n", " \n")):
        with ChatServer(lambda *_, answer=answer: answer) as server:
            assert [reply.text for reply in ask(server)] == [text]


ENDINGS: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "whole": ({"finish_reason": "stop", "message": {"content": SAYS}}, SAYS, "stop"),
    "cut off": ({"finish_reason": "length", "message": {"content": "Positive po"}}, "Positive po", "length"),
    "all thought": ({"finish_reason": "length", "message": {"content": None}}, "", "length"),
    "nothing": ({"finish_reason": "stop", "message": {"content": None}}, "", "stop"),
    "filtered": ({"finish_reason": "content_filter", "message": {"content": None}}, "", "content_filter"),
    "half filtered": ({"finish_reason": "content_filter", "message": {"content": "Pos"}}, "Pos", "content_filter"),
    "refused": ({"finish_reason": "stop", "message": {"content": None, "refusal": "No."}}, "No.", "refusal"),
    "not refused": ({"finish_reason": "stop", "message": {"content": SAYS, "refusal": None}}, SAYS, "stop"),
    "a call": ({"finish_reason": "tool_calls", "message": {"content": SAYS}}, SAYS, None),
    "not yet": ({"finish_reason": None, "message": {"content": SAYS}}, SAYS, None),
    "ends of a turn": ({"finish_reason": "end_turn", "message": {"content": None}}, "", "stop"),
    "token of the end": ({"finish_reason": "eos", "message": {"content": SAYS}}, SAYS, "stop"),
    "Google's stop": ({"finish_reason": "STOP", "message": {"content": None}}, "", "stop"),
    "Google's length": ({"finish_reason": "MAX_TOKENS", "message": {"content": None}}, "", "length"),
    "Mistral's length": ({"finish_reason": "model_length", "message": {"content": "Pos"}}, "Pos", "length"),
    "Google's safety": ({"finish_reason": "SAFETY", "message": {"content": None}}, "", "content_filter"),
    "Google's filter": (
        {"finish_reason": "content_filter: PROHIBITED_CONTENT", "message": {}},
        "",
        "content_filter",
    ),
    "filtered without a message": ({"finish_reason": "content_filter"}, "", "content_filter"),
    "Zhipu's filter": ({"finish_reason": "sensitive", "message": {"content": ""}}, "", "content_filter"),
    "refused by its reason": ({"finish_reason": "refusal", "message": {"content": None}}, "", "refusal"),
    "parts": (
        {"finish_reason": "stop", "message": {"content": [{"type": "text", "text": SAYS[:9]}, {"text": SAYS[9:]}]}},
        SAYS,
        "stop",
    ),
    "no parts": ({"finish_reason": "stop", "message": {"content": []}}, "", "stop"),
    "half a surrogate pair": ({"finish_reason": "stop", "message": {"content": "a\ud83d"}}, "a\ud83d", "stop"),
    "too long": ({"finish_reason": "stop", "message": {"content": "ab" * 600_000}}, "ab" * 500_000, "length"),
    "a tool's call": (
        {
            "finish_reason": "tool_calls",
            "message": {
                "content": None,
                "tool_calls": [
                    {"type": "function", "function": {"name": "click", "arguments": '{"coordinate": [5, 6]}'}}
                ],
            },
        },
        '<tool_call>\n{"name": "click", "arguments": {"coordinate": [5, 6]}}\n</tool_call>',
        None,
    ),
    "odd": ({"finish_reason": ["stop"], "message": {"content": SAYS}}, SAYS, None),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_why_a_reply_ended_is_told(case: str) -> None:
    choice, text, finish = ENDINGS[case]
    with ChatServer(lambda *_: {**completion([]), "choices": [choice]}) as server:
        (reply,) = ask(server)
    assert (reply.text, reply.finish) == (text, finish)


THOUGHTS: dict[str, tuple[dict[str, Any], str, bool]] = {
    "none": ({"content": SAYS, "reasoning_content": None, "reasoning": ""}, SAYS, False),
    "vLLM": ({"content": SAYS, "reasoning_content": "hm"}, SAYS, True),
    "a router": ({"content": "", "reasoning": "hm"}, "", True),
    "only thoughts": ({"content": None, "reasoning": "hm"}, "", True),
    "parts": (
        {"content": [{"type": "thinking", "thinking": [{"text": "(1, 1)"}]}, {"type": "text", "text": SAYS}]},
        SAYS,
        True,
    ),
    "only parts of thought": ({"content": [{"type": "thinking", "thinking": []}]}, "", True),
}  # fmt: skip


@pytest.mark.parametrize("case", THOUGHTS)
def test_thoughts_in_a_field_of_their_own_are_no_text(case: str) -> None:
    message, text, thought = THOUGHTS[case]
    with ChatServer(lambda *_: {**completion([]), "choices": [{"message": message}]}) as server:
        (reply,) = ask(server)
    assert (reply.text, reply.thought) == (text, thought)


def test_a_response_without_a_choice_that_counts_tokens_is_paid_and_empty(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("- {model: fa*, input: 10, output: 100}")
    usage = {"prompt_tokens": 400, "completion_tokens": 0}
    with ChatServer(lambda *_: {"choices": [], "usage": usage}) as server:
        replies = ask(server, request(n=2, temperature=1.0), prices=str(tmp_path / "prices.yaml"))
    assert [(reply.text, reply.tokens_in, reply.tokens_out) for reply in replies] == [("", 400, 0)] * 2
    assert [reply.cost for reply in replies] == pytest.approx([0.002] * 2)
    assert len(server.asked) == 1


def events(*chunks: dict[str, Any] | str, end: str = "\n\n") -> Failure:
    lines = [chunk if isinstance(chunk, str) else f"data: {json.dumps(chunk)}" for chunk in chunks]
    return Failure(200, body=end.join(lines) + end, content_type="text/event-stream")


def piece(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\n"])
def test_a_stream_of_events_is_read_as_one_answer(end: str) -> None:
    stream = events(
        ": wait a little",
        piece(role="assistant", content=""),
        piece(reasoning_content="hm"),
        piece(content="Positive "),
        piece(1, content="Fin"),
        piece(content="point: (1, 2)"),
        piece(1, content="ish", finish="stop"),
        piece(finish="MAX_TOKENS"),
        {"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 9}},
        "data: [DONE]",
        end=end,
    )
    with ChatServer(lambda *_: stream) as server:
        replies = ask(server, request(n=2, temperature=1.0), stream=True)
    assert [(reply.text, reply.finish, reply.thought) for reply in replies] == [
        ("Positive point: (1, 2)", "length", True),
        ("Finish", "stop", False),
    ]
    assert [(reply.tokens_in, reply.tokens_out) for reply in replies] == [(30, 5), (30, 4)]
    assert server.asked[0].body["stream"] is True
    assert server.asked[0].body["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (events(piece(content="Positive point: (1")), "the stream of the answer was interrupted"),
        (events(piece(content="Pos"), {"error": {"message": "lost", "code": 502}}), "lost"),
        (events("data: [DONE]"), "not a JSON object"),
    ],
)
def test_a_stream_that_breaks_off_is_no_reply(stream: Failure, reason: str) -> None:
    with ChatServer(lambda *_: stream) as server, pytest.raises(RequestFailed, match=reason):
        ask(server, retries=1)
    assert len(server.asked) == 2


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"data: {text}".encode(errors="replace")))
def test_any_body_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(TryAgain, ErrorAnswer):
        assert chat.read(body, 1, None)


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_prompt_that_the_service_withholds_is_a_filtered_reply(code: str) -> None:
    with ChatServer(lambda *_: Failure(400, code=code)) as server:
        replies = ask(server, request(n=2, temperature=1.0))
    assert replies == [Reply("", finish="content_filter", seconds=reply.seconds) for reply in replies]
    assert len(replies) == 2


def test_the_key_is_removed_from_a_reply_but_a_word_in_its_place_is_not() -> None:
    with ChatServer(lambda *_: f"{KEY} none {KEY}") as server:
        assert ask(server)[0].text == "*** none ***"
        assert ask(server, api_key="none")[0].text == f"{KEY} none {KEY}"


def test_the_cost_of_a_response_is_shared_out(tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text("- {model: fa*, input: 10, output: 100}")
    usage = {"prompt_tokens": 300, "completion_tokens": 30}
    with ChatServer(lambda *_: completion(["a", "b", "c"]) | {"usage": usage}) as server:
        for n in (1, 2, 3):
            replies = ask(server, request(n=n, temperature=1.0), prices=str(tmp_path / "prices.yaml"))
            assert [reply.cost for reply in replies] == pytest.approx([0.006 / n] * n)
        assert ask(server)[0].cost is None


@pytest.mark.slow
@settings(max_examples=30)
@given(st.text(max_size=80))
def test_texts_arrive_unchanged(text: str) -> None:
    with ChatServer(lambda *_: text) as server:
        assert [reply.text for reply in ask(server, request(prompt=text))] == [text]
    assert server.asked[0].prompt == text


def test_usage_that_makes_no_sense_is_left_out() -> None:
    senseless = (-1, 1e300, 0.5, True, float("nan"), 10**12)
    zeros = {"prompt_tokens": 0, "completion_tokens": 0}
    pairs = [{"prompt_tokens": value, "completion_tokens": value} for value in senseless]
    for usage in (None, 5, {"prompt_tokens": "many"}, {}, zeros, *pairs):
        with ChatServer(lambda *_, usage=usage: {**completion(["x"]), "usage": usage}) as server:
            (reply,) = ask(server)
        assert (reply.tokens_in, reply.tokens_out) == (None, None)


def test_whole_numbers_of_tokens_may_be_floats() -> None:
    usage = {"prompt_tokens": 12.0, "completion_tokens": 0}
    with ChatServer(lambda *_: {**completion([""]), "usage": usage}) as server:
        (reply,) = ask(server)
    assert (reply.tokens_in, reply.tokens_out) == (12, 0)
