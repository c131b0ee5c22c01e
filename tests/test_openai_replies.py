"""The replies of the openai adapter: how many, why they ended, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlmat_bench.chat import read_error
from hlmat_bench.interfaces import Reply
from hlmat_bench.testing import ChatServer, Failure, completion
from tests.asking import (
    KEY,
    SAYS,
    ask,
    no_settings_from_outside,
    request,
)

__all__ = ["no_settings_from_outside"]


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
    "of another kind": ({"finish_reason": "eos", "message": {"content": SAYS}}, SAYS, None),
    "odd": ({"finish_reason": ["stop"], "message": {"content": SAYS}}, SAYS, None),
}


@pytest.mark.parametrize("case", ENDINGS)
def test_why_a_reply_ended_is_told(case: str) -> None:
    choice, text, finish = ENDINGS[case]
    with ChatServer(lambda *_: {**completion([]), "choices": [choice]}) as server:
        (reply,) = ask(server)
    assert (reply.text, reply.finish) == (text, finish)


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_prompt_that_the_service_withholds_is_a_filtered_reply(code: str) -> None:
    with ChatServer(lambda *_: Failure(400, code=code)) as server:
        replies = ask(server, request(n=2, temperature=1.0))
    assert replies == [Reply("", finish="content_filter", seconds=reply.seconds) for reply in replies]
    assert len(replies) == 2


def test_the_key_is_blotted_out_of_a_reply_but_a_word_in_its_place_is_not() -> None:
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


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=80))
def test_texts_arrive_unchanged(text: str) -> None:
    with ChatServer(lambda *_: text) as server:
        assert [reply.text for reply in ask(server, request(prompt=text))] == [text]
    assert server.asked[0].prompt == text


def test_usage_that_makes_no_sense_is_left_out() -> None:
    for usage in (None, 5, {"prompt_tokens": "many"}, {}):
        with ChatServer(lambda *_, usage=usage: {**completion(["x"]), "usage": usage}) as server:
            (reply,) = ask(server)
        assert (reply.tokens_in, reply.tokens_out) == (None, None)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            b'{"error": {"message": "Too long.", "code": "context_length_exceeded"}}',
            "Too long.",
            "context_length_exceeded",
        ),
        (b'{"error": {"message": "Overloaded", "code": 503}}', "Overloaded", None),
        (b'{"error": "no such model"}', "no such model", None),
        (b'{"message": "busy"}', "busy", None),
        (b"[1]", "[1]", None),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>", None),
        (b"\xff", "\ufffd", None),
        (b"", "", None),
    ],
)
def test_what_a_server_says_beside_a_status_that_means_no(body: bytes, message: str, code: str | None) -> None:
    assert read_error(body) == (message, code)
