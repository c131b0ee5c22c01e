"""The lmms adapter: models of the real lmms-eval, in batches."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlmat_bench.core.errors import RequestFailed, UsageError
from hlmat_bench.models import lmms_eval as convention
from hlmat_bench.protocol import plugins
from hlmat_bench.protocol.interfaces import BatchModel, Model, Request
from hlmat_bench.protocol.records import read_episodes
from hlmat_bench.runs.opening import folder_name
from hlmat_bench.runs.run import run
from hlmat_bench.testing import ChatServer, Failure, contract, tiny_vlm
from tests.support import lmms_site
from tests.support.lmms_site import ON_CPU, model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """lmms-eval in this process, with a user's package."""
    with lmms_site.entered(tmp_path_factory.mktemp("site")) as place:
        yield place


def requests(count: int, **changes: Any) -> list[Request]:
    rng = np.random.default_rng(0)
    return [
        Request(
            rng.integers(0, 255, (60 + i, 90, 3), dtype=np.uint8), f"where is {i}?", max_tokens=9, seed=i, **changes
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("simple", [True, False])
def test_the_contract_of_models_holds(tmp_path: Path, simple: bool) -> None:
    path = str(tiny_vlm(tmp_path))
    made = model(name="qwen2_5_vl", pretrained=path, force_simple=simple, batch_size=3, **ON_CPU)
    assert [finding for finding in contract.check("model", made) if finding.broken] == []


def test_a_turn_of_the_episodes_under_way_is_one_call(tmp_path: Path, tool: str) -> None:
    import lmms_clicker  # type: ignore[import-not-found]

    made = model(name="clicker", batch_size=4)
    assert isinstance(made, Model)
    assert isinstance(made, BatchModel)
    lmms_clicker.CALLS.clear()
    run(made, "hres_synth", tool, budget=3, limit=4, out=tmp_path)
    lengths = [len(episode.steps) for episode in read_episodes(tmp_path / "episodes.jsonl")]
    turns = range(1, max(lengths) + 1)
    assert [sum(length >= t for length in lengths) for t in turns] == lmms_clicker.CALLS


@pytest.mark.parametrize("simple", [True, False])
def test_what_its_own_api_models_write_for_a_failure_is_known(simple: bool) -> None:
    def answer(body: dict[str, Any], image: Any, prompt: str) -> str | Failure:
        return Failure(400) if prompt == "where is 1?" else f"{image.shape[0]} {prompt}"

    with ChatServer(answer) as server:
        address = {"base_url": server.base_url, "api_key": "sk-1", "max_retries": 1}
        made = model(name="openai", model="fake", force_simple=simple, batch_size=3, **address)
        first, failed, last = made.reply_batch(requests(3))
    assert (first[0].text, last[0].text) == ("60 where is 0?", "62 where is 2?")
    assert isinstance(failed, RequestFailed)
    assert "400" in str(failed)
    assert "the key" in failed.advice
    assert "sk-1" not in json.dumps(made.spec())


def test_the_batch_size_of_a_run_reaches_the_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Qwen2_5_VLForConditionalGeneration as Network

    made = model(name="qwen2_5_vl", pretrained=str(tiny_vlm(tmp_path)), **ON_CPU)
    generate, sizes = Network.generate, []

    def counted(self: Any, *args: Any, **inputs: Any) -> Any:
        sizes.append(len(inputs["input_ids"]))
        return generate(self, *args, **inputs)

    monkeypatch.setattr(Network, "generate", counted)
    made.reply_batch(requests(3))
    made.batch_size = 3
    made.reply_batch(requests(3))
    assert sizes == [1, 1, 1, 3]


def test_decoding_is_plain_and_complete() -> None:
    import lmms_clicker

    lmms_clicker.DECODING.clear()
    made = model(name="clicker")
    [[reply]] = made.reply_batch(requests(1))
    assert reply.tokens_in == 7
    assert reply.tokens_out == 5
    made.reply_batch(requests(1, temperature=0.5))
    greedy, drawn = lmms_clicker.DECODING
    assert greedy == {
        "until": [], "max_new_tokens": 9, "temperature": 0.0, "do_sample": False, "top_p": 1.0, "num_beams": 1
    }  # fmt: skip
    assert drawn == greedy | {"temperature": 0.5, "do_sample": True}


def test_draws_come_from_the_seed_and_differ(tmp_path: Path) -> None:
    made = model(name="qwen2_5_vl", pretrained=str(tiny_vlm(tmp_path)), batch_size=2, **ON_CPU)
    asked = requests(2, temperature=1.0, n=3)
    first, again = made.reply_batch(asked), made.reply_batch(asked)
    texts = [[reply.text for reply in replies] for replies in first]
    assert texts == [[reply.text for reply in replies] for replies in again]
    assert all(len(set(replies)) == 3 for replies in texts)
    greedy = made.reply_batch(requests(2, n=3))
    assert all(len({reply.text for reply in replies}) == 1 and len(replies) == 3 for replies in greedy)
    [alone] = asyncio.run(made.reply(requests(1)[0]))
    assert alone.text == greedy[0][0].text


def test_secrets_stay_out_of_the_manifest_and_the_folder(tmp_path: Path, tool: str) -> None:
    spec = "lmms,name=clicker,points=xy1000,pretrained=x,fails=no"
    made = model(name="clicker", pretrained="x", log=str(tmp_path / "log"))
    assert made.spec()["options"] == {"pretrained": "x", "log": str(tmp_path / "log")}
    hidden = convention.describe("openai", "chat", {"api_key": "sk-1", "hf_token": "hf_1", "max_new_tokens": 9})
    assert hidden["options"] == {"api_key": "***", "hf_token": "***", "max_new_tokens": 9}
    assert "sk-1" not in folder_name(spec + ",api_key=sk-1", "hres_synth", "graphcut")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "qwen2_5vl"}, "no model of lmms-eval called 'qwen2_5vl'. Did you mean qwen2_5_vl"),
        ({"name": "clicker", "points": None}, "lmms needs name="),
        ({"name": "clicker", "colour": "red"}, "cannot be made with colour"),
        ({"name": "needs_more"}, "run: pip install a_package_that_nobody_has"),
        ({"name": "clicker", "continual_mode": True}, "Leave out continual_mode"),
        ({"name": "qwen2_5_vl", "pretrained": "/no/such/folder", **ON_CPU}, "check its options"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        model(**options)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_without_lmms_eval_the_list_of_models_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'hlmat-bench[lmms]'" in (plugins.find("model", "lmms").missing or "")


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (RuntimeError("odd\nshape"), RequestFailed, "RuntimeError: odd shape"),
        (KeyError("pixel_values"), RequestFailed, "KeyError: 'pixel_values'"),
        (AttributeError("no such attribute"), RequestFailed, "AttributeError: no such attribute"),
        (AssertionError("no CUDA"), UsageError, "does not run here: AssertionError: no CUDA"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), UsageError, "batch_size below 1"),
        (RuntimeError("CUDA error: device-side assert triggered"), UsageError, "run the same command again"),
    ],
)
def test_what_a_model_raises_is_one_sentence(
    raised: Exception, expected: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lmms_clicker

    def fail(self: Any, asked: Any) -> list[Any]:
        raise raised

    made = model(name="clicker")
    monkeypatch.setattr(lmms_clicker.ChatClicker, "generate_until", fail)
    with pytest.raises(expected) as caught:
        made.reply_batch(requests(1))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, RequestFailed):
        assert "options of its class" in caught.value.advice


@pytest.mark.parametrize("outputs", [None, [], ["Finish"] * 3])
def test_a_model_that_does_not_answer_each_request_has_failed(outputs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import lmms_clicker

    made = model(name="clicker", batch_size=2)
    monkeypatch.setattr(lmms_clicker.ChatClicker, "generate_until", lambda self, asked: outputs)
    with pytest.raises(RequestFailed, match="replies to 2 requests") as caught:
        made.reply_batch(requests(2))
    assert caught.value.advice == "take batch_size=1"
